//! Readers. What is missing or of the wrong type reads as empty: decoding has already refused wrong types.

use crate::gvk::GroupVersionKind;
use crate::json::Fields;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// A `metav1.OwnerReference`, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerReference<'a> {
    /// As in `apps/v1`.
    pub api_version: &'a str,
    /// As in `ReplicaSet`.
    pub kind: &'a str,
    /// The owner's name.
    pub name: &'a str,
    /// The owner's UID.
    pub uid: &'a str,
    /// Whether the owner manages the object.
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for the object.
    pub block_owner_deletion: bool,
}

/// `metadata`.
pub fn metadata(object: &Value) -> Option<&Map<String, Value>> {
    object.object("metadata")
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.sub("metadata").text(name)
}

/// `apiVersion`.
pub fn api_version(object: &Value) -> &str {
    object.text("apiVersion")
}

/// `kind`.
pub fn kind(object: &Value) -> &str {
    object.text("kind")
}

/// apiVersion and kind.
pub fn gvk(object: &Value) -> GroupVersionKind {
    GroupVersionKind::of(object)
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.generateName`.
pub fn generate_name(object: &Value) -> &str {
    text(object, "generateName")
}

/// `metadata.namespace`.
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

/// `metadata.creationTimestamp`, as written.
pub fn creation_timestamp(object: &Value) -> &str {
    text(object, "creationTimestamp")
}

/// `metadata.deletionTimestamp`.
pub fn deletion_timestamp(object: &Value) -> Option<Timestamp> {
    text(object, "deletionTimestamp").parse().ok()
}

/// `metadata.deletionGracePeriodSeconds`.
pub fn deletion_grace_period_seconds(object: &Value) -> Option<i64> {
    object.sub("metadata").int("deletionGracePeriodSeconds")
}

/// `metadata.generation`.
pub fn generation(object: &Value) -> i64 {
    object.sub("metadata").int("generation").unwrap_or(0)
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    object.sub("metadata").object("labels")
}

/// One label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}

/// `metadata.annotations`.
pub fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    object.sub("metadata").object("annotations")
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object.sub("metadata").texts("finalizers")
}

/// Whether a finalizer is there.
pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    finalizers(object).any(|f| f == finalizer)
}

/// `metadata.ownerReferences`.
pub fn owner_references(object: &Value) -> impl Iterator<Item = OwnerReference<'_>> {
    object.sub("metadata").list("ownerReferences").iter().map(|r| OwnerReference {
        api_version: r.text("apiVersion"),
        kind: r.text("kind"),
        name: r.text("name"),
        uid: r.text("uid"),
        controller: r.flag("controller").unwrap_or_default(),
        block_owner_deletion: r.flag("blockOwnerDeletion").unwrap_or_default(),
    })
}

/// The owner that manages the object.
pub fn controller_of(object: &Value) -> Option<OwnerReference<'_>> {
    owner_references(object).find(|r| r.controller)
}
