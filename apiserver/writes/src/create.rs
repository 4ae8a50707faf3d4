//! Create: decode, mutating admission, allocate, prepare, validate, validating admission, store, encode; in that order
//! for every resource. Follows `endpoints/handlers/create.go` and `registry/generic/registry/store.go` (Create).

use std::sync::Arc;

use cache::Entry;
use machinery::field::ErrorList;
use machinery::status::StatusError;
use model::options::Write;
use model::resource::Resource;
use serde_json::{Value, json};

use crate::admission::{self, Operation, Options};
use crate::allocation::Allocation;
use crate::place::Place;
use crate::strategy::WriteContext;
use crate::{managed_fields, metadata};

/// How often a generated name is made anew when it is taken, as upstream.
const NAME_TRIES: usize = 8;

/// The steps of a create from admission on, for requests and for the server itself. `obj` is decoded and defaulted.
pub async fn create(cx: &WriteContext<'_>, obj: Value, options: &Write) -> Result<Arc<Entry>, StatusError> {
    let generated = machinery::meta::name(&obj).is_empty() && !machinery::meta::generate_name(&obj).is_empty();
    if !generated {
        return create_once(cx, obj, options).await;
    }
    let mut tries = 0;
    loop {
        tries += 1;
        match create_once(cx, obj.clone(), options).await {
            Err(error) if error.is_already_exists() && tries < NAME_TRIES => {}
            Err(error) if error.is_already_exists() => {
                return Err(StatusError::generate_name_conflict(
                    &cx.resource.group_resource(),
                    machinery::meta::generate_name(&obj),
                    1,
                ));
            }
            outcome => return outcome,
        }
    }
}

async fn create_once(cx: &WriteContext<'_>, mut obj: Value, options: &Write) -> Result<Arc<Entry>, StatusError> {
    let row = cx.resource;
    metadata::prepare_for_create(cx, &mut obj)?;
    managed_fields::on_write(cx, None, &mut obj, options).await;
    model::encoding::normalise(&mut obj, &row.kind());
    let name = machinery::meta::name(&obj).to_string();
    let request = admission::Request::new(cx, Operation::Create, &name, None, Options::Write(options));
    cx.registry.admission().admit(&request, &mut obj).await?;
    cx.warn(metadata::dedup_admitted_owners(&mut obj));

    cx.may_begin()?;
    let mut allocation = Allocation::default();
    let outcome = match row.strategy.begin_create(cx, &mut obj, &mut allocation).await {
        Ok(()) => finish_create(cx, &mut obj, &name, &request).await,
        Err(error) => Err(error),
    };
    allocation.settle(outcome.is_ok() && !cx.dry_run).await;
    outcome
}

async fn finish_create(
    cx: &WriteContext<'_>,
    obj: &mut Value,
    name: &str,
    request: &admission::Request<'_>,
) -> Result<Arc<Entry>, StatusError> {
    let row = cx.resource;
    if row.has_status()
        && !row.strategy.keeps_status_on_create()
        && let Some(members) = obj.as_object_mut()
    {
        members.remove("status");
    }
    if row.generation.is_some_and(|counts| counts.from_create) {
        obj["metadata"]["generation"] = json!(1);
    }
    row.strategy.prepare_for_create(cx, obj);
    invalid(row, name, metadata::validate(cx, obj).into_iter().chain(row.strategy.validate(cx, obj)).collect())?;
    cx.registry.admission().validate(request, obj).await?;

    // Upstream's store refuses it, after all else, and passes over what is no version at all.
    if let Some(version) = metadata::metadata_mut(obj).remove("resourceVersion")
        && version.as_str().and_then(|v| v.parse::<u64>().ok()).is_some_and(|version| version != 0)
    {
        return Err(StatusError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let place = Place::new(cx, name)?;
    let object = place.encode(obj).await?;
    // Nobody needs it while the store syncs, and the next request takes its memory while that is still in the CPU's caches.
    drop(std::mem::take(obj));
    if cx.dry_run {
        return match place.stored().await? {
            Some(_) => Err(StatusError::already_exists(&row.group_resource(), name)),
            None => place.entry(0, object),
        };
    }
    match place.put(object, None).await? {
        Ok(entry) => Ok(entry),
        Err(Some(there)) if machinery::meta::deletion_timestamp(&there.decode()).is_some() => {
            let mut error = StatusError::already_exists(&row.group_resource(), name);
            error.message = format!("object is being deleted: {}", error.message);
            Err(error)
        }
        Err(_) => Err(StatusError::already_exists(&row.group_resource(), name)),
    }
}

/// 422 with all faults, if there are any.
pub fn invalid(row: &Resource, name: &str, errors: ErrorList) -> Result<(), StatusError> {
    if errors.is_empty() { Ok(()) } else { Err(StatusError::invalid(&row.group_kind(), name, errors)) }
}

/// A name from `generateName`: cut to leave room, and five characters that make no words.
pub fn generate_name(base: &str) -> String {
    let suffix = model::random::random_suffix();
    let cut = base.char_indices().nth(58).map_or(base.len(), |(at, _)| at);
    format!("{}{suffix}", &base[..cut])
}
