//! Delete: at once, gracefully, or not before the finalizers are gone. Marking is an update like any other; the object
//! leaves the store when nothing holds it. Follows `registry/rest/delete.go` and `registry/generic/registry/store.go`.

use std::sync::Arc;

use cache::Entry;
use machinery::gvk::GroupResource;
use machinery::meta;
use machinery::status::StatusError;
use model::options::{Delete, Propagation};
use serde_json::{Value, json};

use crate::admission::{self, Operation, Options};
use crate::convert;
use crate::metadata::metadata_mut;
use crate::place::Place;
use crate::strategy::{Dependents, Grace, WriteContext};

/// The finalizer that keeps an owner until its dependents are orphaned.
const ORPHAN: &str = meta::FINALIZER_ORPHAN;
/// The finalizer that keeps an owner until its dependents are gone.
const FOREGROUND: &str = meta::FINALIZER_FOREGROUND;

/// What became of the object.
pub enum Deleted {
    /// Gone: its last state.
    Gone(Arc<Entry>),
    /// Marked, and held by a grace period or finalizers.
    Marked(Arc<Entry>),
}

/// The steps of a delete, for requests and for the server itself.
pub async fn delete(cx: &WriteContext<'_>, name: &str, options: &Delete) -> Result<Deleted, StatusError> {
    cx.warn(cx.resource.strategy.warnings_on_delete(options).map(str::to_owned));
    let place = Place::new(cx, name)?;
    let not_found = || StatusError::not_found(&place.resource(), name);
    let mut current = match place.cached() {
        Some(entry) => entry,
        None => place.stored().await?.ok_or_else(not_found)?,
    };
    let mut fresh = false;
    loop {
        let outcome = attempt(cx, &place, name, options, &current).await;
        current = match outcome {
            Ok(Ok(deleted)) => return Ok(deleted),
            Ok(Err(there)) => there.ok_or_else(not_found)?,
            Err(error) if fresh => return Err(error),
            Err(error) => {
                let there = place.stored().await?.ok_or_else(not_found)?;
                if there.revision == current.revision {
                    return Err(error);
                }
                there
            }
        };
        fresh = true;
    }
}

async fn attempt(
    cx: &WriteContext<'_>,
    place: &Place<'_>,
    name: &str,
    options: &Delete,
    current: &Arc<Entry>,
) -> Result<Result<Deleted, Option<Arc<Entry>>>, StatusError> {
    let old = convert::entry(cx.registry, cx.resource, current).await?.decode();
    check_preconditions(cx, name, options, &old)?;
    let request = admission::Request::new(cx, Operation::Delete, name, Some(&old), Options::Delete(options));
    cx.registry.admission().admit(&request, &mut Value::Null).await?;
    cx.registry.admission().validate(&request, &Value::Null).await?;

    cx.may_begin()?;
    let mut obj = old.clone();
    let graceful = mark(cx, options, &mut obj);
    metadata_mut(&mut obj).remove("resourceVersion");
    if due(cx, &obj) {
        let marked = place.encode(&obj).await?;
        // Where the object is the answer, it shows that it was being deleted.
        let shown = cx.resource.returns_deleted.then(|| marked.clone());
        let last = |revision| match shown {
            Some(object) => place.entry(revision, object),
            None => Ok(Arc::new(current.at(revision))),
        };
        if cx.dry_run {
            return Ok(Ok(Deleted::Gone(last(current.revision)?)));
        }
        // What can end gracefully is seen to end: watchers are told of its deletion time before they are told that it is
        // gone. Kubelets stop a pod by the first.
        let tell = graceful && marked.body != current.body;
        let told = match tell {
            true => match place.put(marked, Some(current)).await? {
                Ok(told) => told,
                Err(there) => return Ok(Err(there)),
            },
            false => current.clone(),
        };
        return Ok(match place.remove(&told).await? {
            Ok(revision) => {
                cx.resource.strategy.after_delete(cx, &old).await;
                Ok(Deleted::Gone(last(revision)?))
            }
            // Whoever was told may have been faster.
            Err(None) if tell => Ok(Deleted::Gone(last(told.revision)?)),
            Err(there) => Err(there),
        });
    }
    let object = place.encode(&obj).await?;
    if object.body == current.body || cx.dry_run {
        return Ok(Ok(Deleted::Marked(place.entry(current.revision, object)?)));
    }
    Ok(place.put(object, Some(current)).await?.map(Deleted::Marked))
}

/// Sets the deletion time, the grace period and the finalizers that a delete request asks for. Whether the kind can end
/// gracefully.
fn mark(cx: &WriteContext<'_>, options: &Delete, obj: &mut Value) -> bool {
    let row = cx.resource;
    let (graceful, first) = match row.strategy.grace(obj, options.grace_period_seconds) {
        Grace::Seconds(seconds) => (true, seconds.max(0)),
        Grace::None => (false, 0),
    };
    let marked = meta::deletion_timestamp(obj).is_some();
    let given = obj["metadata"]["deletionGracePeriodSeconds"].as_i64();
    // What is going already goes faster only for who asks for less time by number. Otherwise a kubelet would lose a pod whose
    // containers have ended before it has cleaned up after them.
    let left = given.filter(|given| graceful && marked && *given > 0);
    let less = options.grace_period_seconds.map(|asked| if asked < 0 { 1 } else { asked });
    if left.is_some_and(|left| less.is_none_or(|less| less >= left)) {
        return graceful;
    }
    let before: Vec<String> = meta::finalizers(obj).map(str::to_string).collect();
    let finalizers = collected(before.clone(), row.strategy.dependents(), options.propagation);
    if finalizers != before {
        let meta = metadata_mut(obj);
        if finalizers.is_empty() {
            meta.remove("finalizers");
        } else {
            meta.insert("finalizers".into(), json!(finalizers));
        }
    }
    row.strategy.mark_deleting(cx, obj);
    // Marked before, or by the strategy itself.
    if meta::deletion_timestamp(obj).is_some() && left.is_none() {
        return graceful;
    }
    let generation = meta::generation(obj);
    let (at, seconds) = match (meta::deletion_timestamp(obj), left, less) {
        // Less time counts from when deletion was asked for first. Where that is over, a graceful end still has a second.
        (Some(at), Some(left), Some(less)) => match after(at, less - left) {
            at if at < cx.now => (cx.now, less.min(1)),
            at => (at, less),
        },
        _ => (after(cx.now, first), first),
    };
    let meta = metadata_mut(obj);
    meta.insert("deletionTimestamp".into(), machinery::time::rfc3339(at).into());
    meta.insert("deletionGracePeriodSeconds".into(), json!(seconds));
    if generation > 0 && !marked {
        meta.insert("generation".into(), json!(generation + 1));
    }
    graceful
}

/// The finalizers with those by which garbage collection is told what becomes of dependents: as the request says, or else as
/// the finalizers that are there say, or else as is the kind's way (`deletionFinalizersForGarbageCollection`).
fn collected(mut finalizers: Vec<String>, kind: Dependents, asked: Option<Propagation>) -> Vec<String> {
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    let said = match asked {
        Some(propagation) => Some(propagation),
        None if has(ORPHAN) || has(FOREGROUND) => None,
        None if kind == Dependents::Orphan => Some(Propagation::Orphan),
        None => None,
    };
    let (Some(propagation), true) = (said, kind != Dependents::None) else { return finalizers };
    finalizers.retain(|f| f != ORPHAN && f != FOREGROUND);
    match propagation {
        Propagation::Orphan => finalizers.push(ORPHAN.into()),
        Propagation::Foreground => finalizers.push(FOREGROUND.into()),
        Propagation::Background => {}
    }
    finalizers
}

fn after(start: jiff::Timestamp, seconds: i64) -> jiff::Timestamp {
    start.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(start)
}

/// Whether an object that is marked has nothing left that holds it: no grace period, no finalizers.
pub fn due(cx: &WriteContext<'_>, obj: &Value) -> bool {
    meta::deletion_timestamp(obj).is_some()
        && obj["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default() == 0
        && meta::finalizers(obj).next().is_none()
        && !cx.resource.strategy.held(obj)
}

/// That the object is the one a delete means.
pub fn check_preconditions(
    cx: &WriteContext<'_>,
    name: &str,
    options: &Delete,
    old: &Value,
) -> Result<(), StatusError> {
    let conflict = |what: &str, asked: &str, there: &str, perhaps: &str| {
        let why = format!(
            "the {what} in the precondition ({asked}) does not match the {what} in record ({there}). The object might have been {perhaps}"
        );
        // Upstream names the kind here.
        let kind = GroupResource::new(cx.resource.group.as_ref(), cx.resource.kind.as_ref());
        Err(StatusError::conflict(&kind, name, &why))
    };
    match (&options.uid, &options.resource_version) {
        (Some(uid), _) if uid != meta::uid(old) => conflict("UID", uid, meta::uid(old), "deleted and then recreated"),
        (_, Some(version)) if version != meta::resource_version(old) => {
            conflict("ResourceVersion", version, meta::resource_version(old), "modified")
        }
        _ => Ok(()),
    }
}
