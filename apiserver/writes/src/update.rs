//! Update: from decode to validating admission inside the compare-and-swap loop, because each step may depend on the
//! stored object. The first try works on the cached object; a failure on a stale one is not the client's fault and is
//! tried again on the stored. Follows `registry/generic/registry/store.go` (Update) and `storage/etcd3/store.go`
//! (GuaranteedUpdate).

use std::sync::Arc;

use cache::Entry;
use machinery::field::ErrorList;
use machinery::gvk::GroupKind;
use machinery::meta;
use machinery::status::StatusError;
use model::options::Write;
use serde_json::Value;

use super::delete;
use crate::admission::{self, Operation, Options};
use crate::allocation::Allocation;
use crate::create::invalid;
use crate::place::Place;
use crate::strategy::WriteContext;
use crate::{convert, managed_fields, metadata};

/// Tries before a write that keeps colliding gives up.
const TRIES: usize = 50;

/// The outcome of an update.
pub struct Updated {
    /// The object as stored.
    pub entry: Arc<Entry>,
    /// Whether it was not there before.
    pub created: bool,
}

/// Makes the new object from the stored one.
pub type Change<'c> = dyn for<'v> FnMut(&'v Value) -> Result<Value, StatusError> + Send + 'c;

/// Changes an object: `change` sees the stored one and may be called several times.
pub async fn update(
    cx: &WriteContext<'_>,
    name: &str,
    options: &Write,
    change: &mut Change<'_>,
) -> Result<Updated, StatusError> {
    let place = Place::new(cx, name)?;
    let mut current = match place.cached() {
        Some(entry) => entry,
        None => stored(&place, name).await?,
    };
    let mut fresh = false;
    for _ in 0..TRIES {
        match attempt(cx, &place, name, options, &current, change).await {
            Ok(Attempt::Done(entry)) => return Ok(Updated { entry, created: false }),
            Ok(Attempt::Collided(Some(there))) => (current, fresh) = (there, true),
            Ok(Attempt::Collided(None)) => return Err(StatusError::not_found(&place.resource(), name)),
            Err(error) if fresh => return Err(error),
            Err(error) => {
                let there = stored(&place, name).await?;
                if there.revision == current.revision {
                    return Err(error);
                }
                (current, fresh) = (there, true);
            }
        }
    }
    Err(StatusError::server_timeout(&place.resource(), "update", 1))
}

async fn stored(place: &Place<'_>, name: &str) -> Result<Arc<Entry>, StatusError> {
    place.stored().await?.ok_or_else(|| StatusError::not_found(&place.resource(), name))
}

enum Attempt {
    Done(Arc<Entry>),
    Collided(Option<Arc<Entry>>),
}

async fn attempt(
    cx: &WriteContext<'_>,
    place: &Place<'_>,
    name: &str,
    options: &Write,
    current: &Arc<Entry>,
    change: &mut Change<'_>,
) -> Result<Attempt, StatusError> {
    let row = cx.resource;
    let old = convert::entry(cx.registry, row, current).await?.decode();
    let mut obj = change(&old)?;
    managed_fields::on_write(cx, Some(&old), &mut obj, options).await;
    model::encoding::normalise(&mut obj, &row.kind());
    check_preconditions(cx, name, options, &obj, &old)?;
    // An unconditional update is one of whatever is there.
    meta::set_resource_version(&mut obj, meta::resource_version(&old));
    metadata::prepare_for_update(cx, &mut obj, &old)?;

    let request = admission::Request::new(cx, Operation::Update, name, Some(&old), Options::Write(options));
    cx.registry.admission().admit(&request, &mut obj).await?;
    cx.warn(metadata::dedup_admitted_owners(&mut obj));
    cx.may_begin()?;
    let mut allocation = Allocation::default();
    let outcome = match row.strategy.begin_update(cx, &mut obj, &old, &mut allocation).await {
        Ok(()) => finish_update(cx, place, name, current, &old, &mut obj, &request).await,
        Err(error) => Err(error),
    };
    allocation.settle(matches!(outcome, Ok(Attempt::Done(_))) && !cx.dry_run).await;
    outcome
}

async fn finish_update(
    cx: &WriteContext<'_>,
    place: &Place<'_>,
    name: &str,
    current: &Arc<Entry>,
    old: &Value,
    obj: &mut Value,
    request: &admission::Request<'_>,
) -> Result<Attempt, StatusError> {
    let row = cx.resource;
    row.strategy.prepare_for_update(cx, obj, old);
    metadata::count_generation(cx, obj, old);
    let errors: ErrorList =
        metadata::validate_update(cx, obj, old).into_iter().chain(row.strategy.validate_update(cx, obj, old)).collect();
    invalid(row, name, errors)?;
    cx.registry.admission().validate(request, obj).await?;

    let is_due = delete::due(cx, obj) && !cx.dry_run;
    // It is no part of what is stored, and nobody asks for it any more.
    metadata::metadata_mut(obj).remove("resourceVersion");
    let mut object = place.encode(obj).await?;
    if is_due {
        return Ok(match place.remove(current).await? {
            Ok(revision) => {
                row.strategy.after_delete(cx, obj).await;
                Attempt::Done(place.entry(revision, object)?)
            }
            Err(there) => Attempt::Collided(there),
        });
    }
    if object.body.len() == current.body.len() && managed_fields::differ_in_time_alone(obj, old) {
        // A time is no change where nothing else is one.
        meta::set(obj, "managedFields", old["metadata"]["managedFields"].clone());
        let same = place.encode(obj).await?;
        object = if same.body == current.body { same } else { object };
    }
    if object.body == current.body || cx.dry_run {
        return Ok(Attempt::Done(place.entry(current.revision, object)?));
    }
    drop(std::mem::take(obj)); // as in a create
    Ok(match place.put(object, Some(current)).await? {
        Ok(entry) => Attempt::Done(entry),
        Err(there) => Attempt::Collided(there),
    })
}

/// The uid and resourceVersion that the client's object names must be the stored one's.
fn check_preconditions(
    cx: &WriteContext<'_>,
    name: &str,
    options: &Write,
    obj: &Value,
    old: &Value,
) -> Result<(), StatusError> {
    let row = cx.resource;
    let conflict = |why: &str| Err(StatusError::conflict(&row.group_resource(), name, why));
    let (uid, old_uid) = (meta::uid(obj), meta::uid(old));
    if !options.patch && !uid.is_empty() && uid != old_uid {
        return conflict(&format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}"));
    }
    let version = meta::resource_version(obj);
    if !version.is_empty() {
        machinery::go::parse_uint::<u64>(version).map_err(StatusError::unknown)?;
    }
    if version.is_empty() || version == "0" {
        if row.unconditional_update {
            return Ok(());
        }
        let path = machinery::field::Path::new("metadata").child("resourceVersion");
        let detail = "must be specified for an update";
        let errors = ErrorList::from_iter([machinery::field::Error::invalid(&path, 0, detail)]);
        // Upstream names the resource here, where other faults name the kind.
        let resource = GroupKind::new(row.group.as_ref(), row.resource.as_ref());
        return Err(StatusError::invalid(&resource, name, errors));
    }
    if version != meta::resource_version(old) {
        return conflict("the object has been modified; please apply your changes to the latest version and try again");
    }
    Ok(())
}
