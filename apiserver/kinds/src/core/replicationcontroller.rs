//! ReplicationControllers: a ReplicaSet's rules with a map for a selector.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use machinery::selector::LabelSelector;
use model::check::Faults;
use serde_json::Value;
use writes::strategy::{Dependents, Strategy, WriteContext};

use super::pod::validation::check_template;
use super::pod::warnings;
use crate::apps::replicaset;

/// ReplicationControllers.
pub struct ReplicationControllers;

impl Strategy for ReplicationControllers {
    /// As ever in version 1, which is the only one.
    fn dependents(&self) -> Dependents {
        Dependents::Orphan
    }

    fn validate(&self, _: &WriteContext<'_>, controller: &Value) -> ErrorList {
        spec(&controller["spec"], &Path::new("spec"))
    }

    fn validate_update(&self, cx: &WriteContext<'_>, controller: &Value, _: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            return replicaset::status(&controller["status"], &Path::new("status"));
        }
        spec(&controller["spec"], &Path::new("spec"))
    }

    fn warnings(&self, cx: &WriteContext<'_>, controller: &Value, _: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() || !controller["spec"].has("template") {
            return Vec::new();
        }
        warnings::of_template(&controller["spec"]["template"], &Path::new("spec").child("template"))
    }
}

fn spec(spec: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    errors.nonnegative(&at.child("minReadySeconds"), spec.int("minReadySeconds").unwrap_or(0));
    let selector = spec.object("selector").filter(|s| !s.is_empty());
    if selector.is_none() {
        errors.required(&at.child("selector"), "");
    }
    errors.nonnegative(&at.child("replicas"), spec.int("replicas").unwrap_or(0));
    let at = at.child("template");
    let Some(template) = spec.sub("template") else {
        errors.required(&at, "");
        return errors;
    };
    let set = selector.into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()));
    let selector = LabelSelector::from_set(set);
    if !selector.is_everything() && !selector.matches(&meta::labels(template)) {
        let labels = template.sub("metadata").sub("labels").cloned();
        errors.invalid(&at.child("metadata").child("labels"), labels, "`selector` does not match template `labels`");
    }
    errors.extend(check_template(template, &at));
    let pod = &template["spec"];
    if pod.text("restartPolicy") != "Always" {
        errors.unsupported(&at.child("spec").child("restartPolicy"), pod.text("restartPolicy"), &["Always"]);
    }
    if pod.has("activeDeadlineSeconds") {
        let detail = "activeDeadlineSeconds in ReplicationController is not Supported";
        errors.forbidden(&at.child("spec").child("activeDeadlineSeconds"), detail);
    }
    errors
}
