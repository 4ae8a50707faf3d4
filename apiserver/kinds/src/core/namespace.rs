//! Namespaces: held by their own list of finalizers until the namespace controller has emptied them, and terminating
//! from the delete request on (`pkg/registry/core/namespace`).

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::{Faults, keep};
use serde_json::{Value, json};
use writes::strategy::{Strategy, WriteContext};

/// Namespaces.
pub struct Namespaces;

const KUBERNETES: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Strategy for Namespaces {
    fn prepare_for_create(&self, _: &WriteContext<'_>, namespace: &mut Value) {
        namespace["status"] = json!({ "phase": "Active" });
        let mut finalizers: Vec<Value> = namespace["spec"].list("finalizers").to_vec();
        if !finalizers.iter().any(|f| f == KUBERNETES) {
            finalizers.push(KUBERNETES.into());
        }
        if !namespace["spec"].is_object() {
            namespace["spec"] = json!({});
        }
        namespace["spec"]["finalizers"] = finalizers.into();
        label(namespace);
    }

    fn prepare_for_update(&self, cx: &WriteContext<'_>, namespace: &mut Value, old: &Value) {
        match cx.subresource {
            Some("finalize") => keep(namespace, old, "status"),
            Some("status") => keep(namespace, old, "spec"),
            _ => {
                keep(namespace, old, "spec");
                keep(namespace, old, "status");
            }
        }
        label(namespace);
    }

    fn validate(&self, _: &WriteContext<'_>, namespace: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for finalizer in namespace["spec"].texts("finalizers") {
            finalizer_name(finalizer, &Path::new("spec").child("finalizers"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, cx: &WriteContext<'_>, namespace: &Value, _: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        match cx.subresource {
            Some("finalize") => {
                for (i, finalizer) in namespace["spec"].texts("finalizers").enumerate() {
                    finalizer_name(finalizer, &Path::new("spec").child("finalizers").index(i), &mut errors);
                }
            }
            Some("status") => {
                let phase = namespace["status"].text("phase");
                let at = Path::new("status").child("Phase");
                let deleted = meta::deletion_timestamp(namespace).is_some();
                if !deleted && phase != "Active" {
                    errors.invalid(&at, phase, "may only be 'Active' if `deletionTimestamp` is empty");
                }
                if deleted && phase != "Terminating" {
                    errors.invalid(&at, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
                }
            }
            _ => {}
        }
        errors
    }

    fn held(&self, namespace: &Value) -> bool {
        !namespace["spec"].list("finalizers").is_empty()
    }

    fn mark_deleting(&self, _cx: &WriteContext<'_>, namespace: &mut Value) {
        if !namespace["status"].is_object() {
            namespace["status"] = json!({});
        }
        namespace["status"]["phase"] = "Terminating".into();
    }
}

// Every namespace can be selected by its name.
fn label(namespace: &mut Value) {
    let name = meta::name(namespace).to_owned();
    if !name.is_empty() {
        meta::set_label(namespace, NAME_LABEL, &name);
    }
}

fn finalizer_name(name: &str, at: &Path, errors: &mut ErrorList) {
    errors.each(at, name, names::qualified_name(name));
    if !name.contains('/') && ![KUBERNETES, "orphan", "foregroundDeletion"].contains(&name) {
        errors.invalid(at, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}
