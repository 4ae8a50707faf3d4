//! The generic part of every write: what the server sets in metadata, what clients may not change there, and the
//! status/spec split. Follows `registry/rest/{create,update,meta}.go`.

use machinery::field::{ErrorList, Path};
use machinery::meta;
use machinery::status::StatusError;
use serde_json::{Map, Value, json};

use super::strategy::WriteContext;

/// Metadata of an object to be created: namespace, generated name, uid, creation time; nothing a client may not set.
pub fn prepare_for_create(cx: &WriteContext<'_>, obj: &mut Value) -> Result<(), StatusError> {
    let row = cx.resource;
    let meta = metadata_mut(obj);
    check_namespace(meta, cx.namespace)?;
    for server_set in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation"] {
        if server_set == "resourceVersion"
            && meta.get(server_set).and_then(Value::as_str).is_some_and(|v| !v.is_empty() && v != "0")
        {
            return Err(StatusError::bad_request("resourceVersion should not be set on objects to be created"));
        }
        meta.remove(server_set);
    }
    let text =
        |meta: &Map<String, Value>, key: &str| meta.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let base = text(meta, "generateName");
    if !base.is_empty() && text(meta, "name").is_empty() {
        meta.insert("name".into(), crate::endpoints::create::generate_name(&base).into());
    }
    if row.namespaced
        && let Some(namespace) = cx.namespace
    {
        meta.insert("namespace".into(), namespace.into());
    }
    meta.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    meta.insert("creationTimestamp".into(), machinery::time::rfc3339(cx.now).into());
    Ok(())
}

/// Metadata and the status/spec split of an update. `old` is the stored object with its resourceVersion.
pub fn prepare_for_update(cx: &WriteContext<'_>, obj: &mut Value, old: &Value) -> Result<(), StatusError> {
    let row = cx.resource;
    let old_meta = old["metadata"].as_object().cloned().unwrap_or_default();
    {
        let meta = metadata_mut(obj);
        check_namespace(meta, cx.namespace)?;
        if row.namespaced
            && let Some(namespace) = cx.namespace
        {
            meta.insert("namespace".into(), namespace.into());
        }
        // Given by the server and by nobody else. A missing uid means "whatever it is"; another one was refused before.
        for kept in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "selfLink",
            "generateName",
        ] {
            keep(meta, &old_meta, kept);
        }
    }
    match cx.subresource {
        Some("status") => {
            // Only status and metadata pass; strategies that guard more of the metadata (pods' owners) do so themselves.
            let (status, meta) = (obj.get("status").cloned(), obj["metadata"].take());
            *obj = old.clone();
            set_or_remove(obj, "status", status);
            obj["metadata"] = meta;
        }
        _ if row.has_status() && cx.subresource.is_none() => set_or_remove(obj, "status", old.get("status").cloned()),
        _ => {}
    }
    Ok(())
}

/// Raises `metadata.generation` when anything but metadata and status changed (a status that is no part of its own is like
/// any field). After the strategy had its say.
pub fn count_generation(cx: &WriteContext<'_>, obj: &mut Value, old: &Value) {
    // A binding is no change of what is wanted: upstream's does not count it either.
    if !cx.resource.generation || cx.subresource == Some("binding") {
        return;
    }
    let apart = |key: &str| key == "metadata" || (key == "status" && cx.resource.has_status());
    let same = |key: &String| apart(key) || equal(obj.get(key), old.get(key));
    let keys = |v: &Value| v.as_object().map(|m| m.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let unchanged = keys(obj).iter().all(same)
        && keys(old).iter().all(same)
        && (cx.subresource.is_some() || !cx.resource.strategy.counts_as_change(obj, old));
    let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
    let next = if unchanged { generation } else { generation + 1 };
    if next > 0 {
        obj["metadata"]["generation"] = json!(next);
    }
}

/// Whether two values are the same to a reader: stored objects say `null` where upstream writes an empty list so, and a
/// decoded body then has nothing.
fn equal(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a.filter(|v| !v.is_null()), b.filter(|v| !v.is_null())) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.iter().all(|(key, value)| equal(Some(value), b.get(key)))
                && b.keys().all(|key| a.contains_key(key) || b[key].is_null())
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(Some(a), Some(b)))
        }
        (a, b) => a == b,
    }
}

/// Faults of the metadata of any object.
pub fn validate(cx: &WriteContext<'_>, obj: &Value) -> ErrorList {
    let row = cx.resource;
    meta::validate_object_meta(obj, row.namespaced, row.name_rule, &Path::new("metadata"))
}

/// Faults of a metadata update.
pub fn validate_update(cx: &WriteContext<'_>, obj: &Value, old: &Value) -> ErrorList {
    let mut errors =
        meta::validate_object_meta(obj, cx.resource.namespaced, cx.resource.name_rule, &Path::new("metadata"));
    errors.extend(meta::validate_object_meta_update(obj, old, &Path::new("metadata")));
    errors
}

fn check_namespace(meta: &Map<String, Value>, namespace: Option<&str>) -> Result<(), StatusError> {
    let given = meta.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if given.is_empty() || Some(given) == namespace {
        return Ok(());
    }
    Err(StatusError::bad_request(match namespace {
        Some(_) => "the namespace of the provided object does not match the namespace sent on the request",
        None => "namespace may not be set on cluster-scoped objects",
    }))
}

fn keep(meta: &mut Map<String, Value>, old: &Map<String, Value>, key: &str) {
    match old.get(key) {
        Some(value) => meta.insert(key.into(), value.clone()),
        None => meta.remove(key),
    };
}

fn set_or_remove(obj: &mut Value, key: &str, value: Option<Value>) {
    let Some(members) = obj.as_object_mut() else { return };
    match value {
        Some(value) => members.insert(key.into(), value),
        None => members.remove(key),
    };
}

/// The metadata of an object, made where it is missing.
pub fn metadata_mut(obj: &mut Value) -> &mut Map<String, Value> {
    if !obj["metadata"].is_object() {
        obj["metadata"] = json!({});
    }
    obj["metadata"].as_object_mut().expect("just made an object")
}
