//! Deployments.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use model::check::{Faults, keep};
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

use super::{
    collisions, counts, immutable_selector, int_or_percent, int_or_percent_value, long_running_template, nonnegative,
    not_above_all, selected, selector,
};
use crate::core::pod::warnings;

/// Deployments.
pub struct Deployments;

impl Strategy for Deployments {
    fn prepare_for_update(&self, cx: &WriteContext<'_>, deployment: &mut Value, old: &Value) {
        if cx.subresource == Some("status") {
            keep(&mut deployment["metadata"], &old["metadata"], "labels");
        }
    }

    fn validate(&self, _: &WriteContext<'_>, deployment: &Value) -> ErrorList {
        spec(&deployment["spec"], &Path::new("spec"))
    }

    fn validate_update(&self, cx: &WriteContext<'_>, deployment: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            let mut errors = status(&deployment["status"], &Path::new("status"));
            collisions(deployment, old, &mut errors);
            return errors;
        }
        let mut errors = spec(&deployment["spec"], &Path::new("spec"));
        immutable_selector(deployment, old, &mut errors);
        errors
    }

    fn warnings(&self, cx: &WriteContext<'_>, deployment: &Value, _: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        warnings::of_template(&deployment["spec"]["template"], &Path::new("spec").child("template"))
    }
}

pub(super) fn spec(spec: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    nonnegative(spec, &["replicas"], at, &mut errors);
    selector(spec, "deployment", at, &mut errors);
    selected(spec, Some("invalid label selector"), at, &mut errors);
    long_running_template(spec, "ReplicaSet", at, &mut errors);
    strategy(&spec["strategy"], &at.child("strategy"), &mut errors);
    nonnegative(spec, &["minReadySeconds", "revisionHistoryLimit"], at, &mut errors);
    if let Some(seconds) = spec.int("progressDeadlineSeconds") {
        let at = at.child("progressDeadlineSeconds");
        errors.nonnegative(&at, seconds);
        if seconds <= spec.int("minReadySeconds").unwrap_or(0) {
            errors.invalid(&at, seconds, "must be greater than minReadySeconds");
        }
    }
    errors
}

fn strategy(strategy: &Value, at: &Path, errors: &mut ErrorList) {
    let rolling = strategy.sub("rollingUpdate");
    let path = at.child("rollingUpdate");
    match strategy.text("type") {
        "Recreate" if rolling.is_some() => {
            errors.forbidden(&path, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let Some(rolling) = rolling else {
                return errors.required(&path, "this should be defaulted and never be nil");
            };
            let (down, up) = (rolling.sub("maxUnavailable"), rolling.sub("maxSurge"));
            int_or_percent(down, &path.child("maxUnavailable"), errors);
            int_or_percent(up, &path.child("maxSurge"), errors);
            if int_or_percent_value(down) == 0 && int_or_percent_value(up) == 0 {
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.invalid(&path.child("maxUnavailable"), down.cloned(), detail);
            }
            not_above_all(down, &path.child("maxUnavailable"), errors);
        }
        _ => errors.unsupported(at, strategy.clone(), &["Recreate", "RollingUpdate"]),
    }
}

fn status(status: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let numbers = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    nonnegative(status, &numbers, at, &mut errors);
    counts(status, &["updatedReplicas", "readyReplicas", "availableReplicas"], at, &mut errors);
    let available = status.int("availableReplicas").unwrap_or(0);
    if available > status.int("readyReplicas").unwrap_or(0) {
        errors.invalid(&at.child("availableReplicas"), available, "cannot be greater than readyReplicas");
    }
    errors
}
