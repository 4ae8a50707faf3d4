//! DaemonSets, with the template generation that older controllers count by.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use model::check::{Faults, same};
use serde_json::{Value, json};
use writes::strategy::{Strategy, WriteContext};

use super::{
    collisions, immutable_selector, int_or_percent, int_or_percent_value, long_running_template, nonnegative,
    not_above_all, not_empty, selected,
};
use crate::core::pod::warnings;

/// DaemonSets. The template generation is the annotation `deprecated.daemonset.template.generation` in apps/v1.
pub struct DaemonSets;

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(set: &Value) -> i64 {
    meta::annotation(set, TEMPLATE_GENERATION).and_then(|g| g.parse().ok()).unwrap_or(0)
}

impl Strategy for DaemonSets {
    fn prepare_for_create(&self, _: &WriteContext<'_>, set: &mut Value) {
        let generation = template_generation(set).max(1);
        meta::set_annotation(set, TEMPLATE_GENERATION, &generation.to_string());
        set["status"] = json!({});
    }

    fn prepare_for_update(&self, cx: &WriteContext<'_>, set: &mut Value, old: &Value) {
        if cx.subresource.is_some() {
            return;
        }
        let changed = !same(set["spec"].sub("template"), old["spec"].sub("template"));
        let generation = template_generation(old) + i64::from(changed);
        if generation > 0 {
            meta::set_annotation(set, TEMPLATE_GENERATION, &generation.to_string());
        }
    }

    fn validate(&self, _: &WriteContext<'_>, set: &Value) -> ErrorList {
        spec(&set["spec"], &Path::new("spec"))
    }

    fn validate_update(&self, cx: &WriteContext<'_>, set: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            let mut errors = status(&set["status"], &Path::new("status"));
            collisions(set, old, &mut errors);
            return errors;
        }
        let mut errors = ErrorList::new();
        immutable_selector(set, old, &mut errors);
        errors.extend(spec(&set["spec"], &Path::new("spec")));
        errors
    }

    fn warnings(&self, cx: &WriteContext<'_>, set: &Value, _: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        warnings::of_template(&set["spec"]["template"], &Path::new("spec").child("template"))
    }
}

fn spec(spec: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let selector = spec.sub("selector");
    errors.extend(meta::validate_label_selector(selector, false, &at.child("selector")));
    selected(spec, None, at, &mut errors);
    if let Some(selector) = selector {
        not_empty(selector, "daemonset", &at.child("selector"), &mut errors);
    }
    long_running_template(spec, "DaemonSet", at, &mut errors);
    nonnegative(spec, &["minReadySeconds"], at, &mut errors);
    strategy(&spec["updateStrategy"], &at.child("updateStrategy"), &mut errors);
    nonnegative(spec, &["revisionHistoryLimit"], at, &mut errors);
    errors
}

fn strategy(strategy: &Value, at: &Path, errors: &mut ErrorList) {
    let at = match strategy.text("type") {
        "OnDelete" => return,
        "RollingUpdate" => at.child("rollingUpdate"),
        _ => return errors.unsupported(at, strategy.clone(), &["RollingUpdate", "OnDelete"]),
    };
    let Some(rolling) = strategy.sub("rollingUpdate") else { return errors.required(&at, "") };
    let (down, up) = (rolling.sub("maxUnavailable"), rolling.sub("maxSurge"));
    int_or_percent(down, &at.child("maxUnavailable"), errors);
    int_or_percent(up, &at.child("maxSurge"), errors);
    not_above_all(down, &at.child("maxUnavailable"), errors);
    not_above_all(up, &at.child("maxSurge"), errors);
    match (int_or_percent_value(down) != 0, int_or_percent_value(up) != 0) {
        (true, true) => {
            errors.invalid(&at.child("maxSurge"), up.cloned(), "may not be set when maxUnavailable is non-zero");
        }
        (false, false) => errors.required(&at.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

fn status(status: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let numbers = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    nonnegative(status, &numbers, at, &mut errors);
    errors
}
