//! ReplicaSets.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::Faults;
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

use super::{counts, immutable_selector, long_running_template, nonnegative, selected, selector};
use crate::core::pod::warnings;

/// ReplicaSets.
pub struct ReplicaSets;

impl Strategy for ReplicaSets {
    fn validate(&self, _: &WriteContext<'_>, set: &Value) -> ErrorList {
        spec(&set["spec"], &Path::new("spec"))
    }

    fn validate_update(&self, cx: &WriteContext<'_>, set: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            return status(&set["status"], &Path::new("status"));
        }
        let mut errors = spec(&set["spec"], &Path::new("spec"));
        immutable_selector(set, old, &mut errors);
        errors
    }

    fn warnings(&self, cx: &WriteContext<'_>, set: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        let mut out = Vec::new();
        let faults = names::dns1123_label(meta::name(set));
        if old.is_none() && !meta::name(set).is_empty() && !faults.is_empty() {
            out.push(format!(
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
                faults.join(" ")
            ));
        }
        out.extend(warnings::of_template(&set["spec"]["template"], &Path::new("spec").child("template")));
        out
    }
}

fn spec(spec: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    nonnegative(spec, &["replicas", "minReadySeconds"], at, &mut errors);
    // Upstream says deployment here too.
    selector(spec, "deployment", at, &mut errors);
    selected(spec, Some("invalid label selector"), at, &mut errors);
    long_running_template(spec, "ReplicaSet", at, &mut errors);
    errors
}

/// Of a ReplicaSet or ReplicationController.
pub fn status(status: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let numbers = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    nonnegative(status, &numbers, at, &mut errors);
    counts(status, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], at, &mut errors);
    let available = status.int("availableReplicas").unwrap_or(0);
    if available > status.int("readyReplicas").unwrap_or(0) {
        errors.invalid(&at.child("availableReplicas"), available, "cannot be greater than readyReplicas");
    }
    errors
}
