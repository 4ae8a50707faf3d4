//! Objects between the versions of their kind: built-in ones by the schema table, custom ones as their definition says, which
//! may take a webhook. What is in the version that is asked for already costs nothing; a cached object in another one
//! becomes an entry of its own, so that selectors and copying are the same for both.

use std::sync::Arc;

use cache::{Entry, Slot};
use machinery::gvk::{GroupVersion, GroupVersionKind};
use machinery::status::StatusError;
use model::custom::{Custom, conversion};
use model::resource::Resource;
use serde_json::Value;

use super::Registry;

/// An object of a row, from one version to another; `None` where it is in that already.
///
/// # Errors
/// Where a webhook could not convert it.
pub async fn object(
    registry: &Registry,
    row: &Resource,
    object: &Value,
    from: &GroupVersionKind,
    to: &GroupVersionKind,
) -> Result<Option<Value>, StatusError> {
    let Some(custom) = row.types.custom() else { return Ok(model::encoding::convert(object, from, to)) };
    let to = GroupVersion::new(to.group.as_str(), to.version.as_str()).to_string();
    if object["apiVersion"] == to {
        return Ok(None);
    }
    Ok(conversion::convert(registry, custom, vec![object.clone()], &to).await?.pop())
}

/// Cached objects in the row's version.
///
/// # Errors
/// Where a webhook could not convert them.
pub async fn entries(
    registry: &Registry,
    row: &Resource,
    mut entries: Vec<Arc<Entry>>,
) -> Result<Vec<Arc<Entry>>, StatusError> {
    let others = entries.iter_mut().filter(|entry| !is_in(registry, row, entry));
    let Some(custom) = row.types.custom() else {
        let (from, to) = (&registry.storing(row).storage_version, row.kind());
        for other in others {
            let object = other.decode();
            *other = made(other, model::encoding::convert(&object, from, &to).unwrap_or(object), &to)?;
        }
        return Ok(entries);
    };
    let others: Vec<&mut Arc<Entry>> = others.collect();
    if others.is_empty() {
        return Ok(entries);
    }
    if custom.conversion.is_by_name() {
        for other in others {
            let converted = convert(registry, row, custom, &[&*other]).await?;
            *other = converted.into_iter().next().unwrap_or_else(|| other.clone());
        }
        return Ok(entries);
    }
    let mut missing: Vec<(Slot, &mut Arc<Entry>)> = Vec::new();
    for other in others {
        let slot = other.versions.slot(&custom.api_version);
        match slot.get() {
            Some(converted) => *other = converted.clone(),
            None => missing.push((slot, other)),
        }
    }
    if let [(slot, other)] = &mut missing[..] {
        // Many watches want the same object at the same time: one of them asks.
        let ask = || async {
            let converted = convert(registry, row, custom, &[&**other]).await?.pop();
            converted.ok_or_else(|| StatusError::internal("nothing was converted"))
        };
        let converted = slot.get_or_try_init(ask).await?.clone();
        **other = converted;
    } else {
        let asked: Vec<&Arc<Entry>> = missing.iter().map(|(_, other)| &**other).collect();
        let converted = convert(registry, row, custom, &asked).await?;
        for ((slot, other), converted) in missing.into_iter().zip(converted) {
            // Another one may have been quicker, or be about to be.
            let _ = slot.set(converted.clone());
            *other = converted;
        }
    }
    Ok(entries)
}

/// A cached object in the row's version.
///
/// # Errors
/// Where a webhook could not convert it.
pub async fn entry(registry: &Registry, row: &Resource, entry: &Arc<Entry>) -> Result<Arc<Entry>, StatusError> {
    if is_in(registry, row, entry) {
        return Ok(entry.clone());
    }
    let converted = entries(registry, row, vec![entry.clone()]).await?.pop();
    Ok(converted.unwrap_or_else(|| entry.clone()))
}

/// Whether a cached object is in the row's version, so that its bytes are what is asked for. A custom one is in the version
/// that it was written in.
pub fn is_in(registry: &Registry, row: &Resource, entry: &Entry) -> bool {
    match row.types.custom() {
        Some(custom) => custom.is_in(&entry.body),
        None => {
            let stored = &registry.storing(row).storage_version;
            stored.version == row.version.as_ref() && stored.group == row.group.as_ref()
        }
    }
}

/// Whether labels and fields may be others in the row's version than in the cached one.
pub fn may_change_selection(row: &Resource) -> bool {
    row.types.custom().is_some_and(|custom| !custom.conversion.is_by_name())
}

async fn convert(
    registry: &Registry,
    row: &Resource,
    custom: &Custom,
    entries: &[&Arc<Entry>],
) -> Result<Vec<Arc<Entry>>, StatusError> {
    let objects = entries.iter().map(|entry| entry.decode()).collect();
    let converted = conversion::convert(registry, custom, objects, &custom.api_version).await?;
    let kind = row.kind();
    entries.iter().zip(converted).map(|(entry, object)| made(entry, object, &kind)).collect()
}

/// The entry of an object that was converted.
fn made(of: &Entry, mut object: Value, kind: &GroupVersionKind) -> Result<Arc<Entry>, StatusError> {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    let entry = Entry::new(of.key.clone(), of.revision, model::encoding::encode(&object, kind));
    entry.map(Arc::new).map_err(|error| StatusError::internal(error.to_string()))
}
