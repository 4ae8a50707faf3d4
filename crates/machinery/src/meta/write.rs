//! Writers. They make `metadata` where it is missing, and remove a field rather than leave it empty.

use crate::gvk::GroupVersionKind;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// `metadata`, made if need be (a non-object is replaced).
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    entry_object(object_mut(object), "metadata")
}

fn object_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made an object just now")
}

fn entry_object<'a>(map: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    object_mut(map.entry(name).or_insert_with(|| Value::Object(Map::new())))
}

/// Sets a field of the metadata; null removes it.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    match value.into() {
        Value::Null => remove(object, field),
        value => {
            metadata_mut(object).insert(field.to_owned(), value);
        }
    }
}

/// Removes a field of the metadata.
pub fn remove(object: &mut Value, field: &str) {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove(field);
    }
}

fn set_text(object: &mut Value, field: &str, text: &str) {
    if text.is_empty() { remove(object, field) } else { set(object, field, text) }
}

/// `apiVersion` and `kind`.
pub fn set_gvk(object: &mut Value, gvk: &GroupVersionKind) {
    let map = object_mut(object);
    map.insert("apiVersion".to_owned(), gvk.api_version().into());
    map.insert("kind".to_owned(), gvk.kind.as_str().into());
}

/// `metadata.name`.
pub fn set_name(object: &mut Value, name: &str) {
    set_text(object, "name", name);
}

/// `metadata.namespace`; empty removes it.
pub fn set_namespace(object: &mut Value, namespace: &str) {
    set_text(object, "namespace", namespace);
}

/// `metadata.uid`.
pub fn set_uid(object: &mut Value, uid: &str) {
    set_text(object, "uid", uid);
}

/// `metadata.resourceVersion`; empty removes it.
pub fn set_resource_version(object: &mut Value, version: &str) {
    set_text(object, "resourceVersion", version);
}

/// `metadata.generation`; zero removes it.
pub fn set_generation(object: &mut Value, generation: i64) {
    if generation == 0 { remove(object, "generation") } else { set(object, "generation", generation) }
}

/// `metadata.creationTimestamp`, in whole seconds.
pub fn set_creation_timestamp(object: &mut Value, at: Timestamp) {
    set(object, "creationTimestamp", at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
}

/// One label.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    entry_object(metadata_mut(object), "labels").insert(key.to_owned(), value.into());
}

/// One annotation.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) {
    entry_object(metadata_mut(object), "annotations").insert(key.to_owned(), value.into());
}

/// All finalizers; none removes the field.
pub fn set_finalizers<S: Into<String>>(object: &mut Value, finalizers: impl IntoIterator<Item = S>) {
    let list: Vec<Value> = finalizers.into_iter().map(|f| Value::String(f.into())).collect();
    if list.is_empty() { remove(object, "finalizers") } else { set(object, "finalizers", list) }
}

/// Adds a finalizer at the end; says whether it was missing.
pub fn add_finalizer(object: &mut Value, finalizer: &str) -> bool {
    if super::has_finalizer(object, finalizer) {
        return false;
    }
    let list: Vec<String> = super::finalizers(object).chain([finalizer]).map(str::to_owned).collect();
    set_finalizers(object, list);
    true
}

/// Removes a finalizer; says whether it was there.
pub fn remove_finalizer(object: &mut Value, finalizer: &str) -> bool {
    if !super::has_finalizer(object, finalizer) {
        return false;
    }
    let list: Vec<String> = super::finalizers(object).filter(|f| *f != finalizer).map(str::to_owned).collect();
    set_finalizers(object, list);
    true
}
