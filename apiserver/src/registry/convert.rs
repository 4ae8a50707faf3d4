//! Objects between the versions of their kind: built-in ones by the schema table, custom ones as their definition says, which
//! may take a webhook. What is in the version that is asked for already costs nothing.

use std::sync::Arc;

use machinery::gvk::{GroupVersion, GroupVersionKind};
use machinery::status::StatusError;
use serde_json::Value;

use super::Registry;
use super::catalogue::Resource;
use crate::cache::Entry;
use crate::extensions::conversion;
use crate::negotiation;

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
    let Some(custom) = row.types.custom() else { return Ok(negotiation::convert(object, from, to)) };
    let to = GroupVersion::new(to.group.as_str(), to.version.as_str()).to_string();
    if object["apiVersion"] == to {
        return Ok(None);
    }
    Ok(conversion::convert(registry, custom, vec![object.clone()], &to).await?.pop())
}

/// Cached objects as values in the row's version.
///
/// # Errors
/// Where a webhook could not convert them.
pub async fn entries(registry: &Registry, row: &Resource, entries: &[Arc<Entry>]) -> Result<Vec<Value>, StatusError> {
    let decoded = entries.iter().map(|entry| entry.decode());
    if let Some(custom) = row.types.custom() {
        return conversion::convert(registry, custom, decoded.collect(), &row.api_version()).await;
    }
    let (from, to) = (&registry.storing(row).storage_version, row.kind());
    Ok(decoded.map(|object| negotiation::convert(&object, from, &to).unwrap_or(object)).collect())
}

/// A cached object as a value in the row's version.
///
/// # Errors
/// Where a webhook could not convert it.
pub async fn entry(registry: &Registry, row: &Resource, entry: &Entry) -> Result<Value, StatusError> {
    let decoded = entry.decode();
    let from = &registry.storing(row).storage_version;
    Ok(object(registry, row, &decoded, from, &row.kind()).await?.unwrap_or(decoded))
}

/// Whether cached objects are in the row's version, so that their bytes are what is asked for. Where a webhook converts,
/// each is in the version that it was written in; its encoding begins with it.
pub fn cached<'e>(registry: &Registry, row: &Resource, mut entries: impl Iterator<Item = &'e Entry>) -> bool {
    match row.types.custom() {
        Some(custom) if !custom.conversion.is_by_name() => {
            let head = format!("{{\"apiVersion\":\"{}\",", row.api_version());
            entries.all(|entry| entry.body.starts_with(head.as_bytes()))
        }
        _ => registry.storing(row).storage_version == row.kind(),
    }
}
