//! The rules of CustomResourceDefinition objects: which versions were ever stored, and that a definition stays until its
//! objects are gone. Follows `apiextensions-apiserver/pkg/registry/customresourcedefinition/{strategy,etcd}.go`.

use machinery::field::ErrorList;
use machinery::meta;
use machinery::time::rfc3339;
use serde_json::{Value, json};

use super::conditions::{self, Condition};
use structural::{definition_warnings, validate_definition, validate_definition_status};
use writes::metadata;
use writes::strategy::{Strategy, WriteContext};

/// Holds a definition until its objects are deleted.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// See the module.
pub struct Definitions;

impl Strategy for Definitions {
    fn prepare_for_create(&self, _cx: &WriteContext<'_>, definition: &mut Value) {
        definition["status"] = json!({});
        note_stored(definition);
    }

    fn prepare_for_update(&self, cx: &WriteContext<'_>, definition: &mut Value, _old: &Value) {
        if cx.subresource.is_none() {
            note_stored(definition);
        }
    }

    fn validate(&self, cx: &WriteContext<'_>, definition: &Value) -> ErrorList {
        beyond(validate_definition(definition, None), &metadata::validate(cx, definition))
    }

    fn validate_update(&self, cx: &WriteContext<'_>, definition: &Value, old: &Value) -> ErrorList {
        let found = match cx.subresource {
            Some("status") => validate_definition_status(definition, old),
            _ => validate_definition(definition, Some(old)),
        };
        beyond(found, &metadata::validate_update(cx, definition, old))
    }

    fn warnings(&self, cx: &WriteContext<'_>, definition: &Value, old: Option<&Value>) -> Vec<String> {
        match cx.subresource {
            Some("status") => Vec::new(),
            _ => definition_warnings(definition, old),
        }
    }

    fn mark_deleting(&self, cx: &WriteContext<'_>, definition: &mut Value) {
        if meta::deletion_timestamp(definition).is_some() {
            return;
        }
        let now = rfc3339(cx.now);
        definition["metadata"]["deletionTimestamp"] = now.as_str().into();
        if meta::finalizers(definition).all(|f| f != CLEANUP) {
            let mut finalizers: Vec<String> = meta::finalizers(definition).map(str::to_string).collect();
            finalizers.push(CLEANUP.into());
            definition["metadata"]["finalizers"] = json!(finalizers);
        }
        let why = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        let pending = Condition::of("Terminating", "True", "InstanceDeletionPending", why);
        conditions::set(definition, &pending, &now);
    }
}

/// What is not said of the metadata of every kind already.
fn beyond(mut found: ErrorList, said: &ErrorList) -> ErrorList {
    found.retain(|error| !said.contains(error));
    found
}

/// Adds the storage version to those that objects were ever stored in.
fn note_stored(definition: &mut Value) {
    let versions = definition["spec"]["versions"].as_array();
    let storage = versions.into_iter().flatten().find(|v| v["storage"] == true).map(|v| v["name"].clone());
    let Some(storage) = storage else { return };
    let stored = &mut definition["status"]["storedVersions"];
    match stored.as_array_mut() {
        Some(stored) if stored.contains(&storage) => {}
        Some(stored) => stored.push(storage),
        None => *stored = json!([storage]),
    }
}
