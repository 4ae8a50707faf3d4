//! StatefulSets.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::{Faults, keep, same};
use serde_json::{Value, json};
use writes::strategy::{Strategy, WriteContext};

use super::{
    collisions, counts, int_or_percent, int_or_percent_value, long_running, nonnegative, not_above_all, selected,
    selector,
};
use crate::core::pod::validation::check_template;
use crate::core::pod::warnings;

/// StatefulSets.
pub struct StatefulSets;

const CHANGEABLE: [&str; 7] = [
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];

impl Strategy for StatefulSets {
    fn validate(&self, _: &WriteContext<'_>, set: &Value) -> ErrorList {
        spec(&set["spec"], true, &Path::new("spec"))
    }

    fn validate_update(&self, cx: &WriteContext<'_>, set: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            let mut errors = status(&set["status"], &Path::new("status"));
            collisions(set, old, &mut errors);
            return errors;
        }
        let at = Path::new("spec");
        let mut errors = spec(&set["spec"], false, &at);
        let mut munged = set["spec"].clone();
        for field in CHANGEABLE {
            keep(&mut munged, &old["spec"], field);
        }
        if !same(Some(&munged), Some(&old["spec"])) {
            errors.forbidden(&at, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
        }
        errors
    }

    fn warnings(&self, cx: &WriteContext<'_>, set: &Value, _: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        let at = Path::new("spec");
        let mut out = warnings::of_template(&set["spec"]["template"], &at.child("template"));
        if set["spec"].int("revisionHistoryLimit").is_some_and(|n| n < 0) {
            out.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
        }
        out
    }
}

fn spec(spec: &Value, is_new: bool, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    match spec.text("podManagementPolicy") {
        "" => errors.required(&at.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid(&at.child("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'"),
    }
    strategy(spec, &at.child("updateStrategy"), &mut errors);
    if let Some(policy) = spec.sub("persistentVolumeClaimRetentionPolicy") {
        for field in ["whenDeleted", "whenScaled"] {
            if !["Retain", "Delete"].contains(&policy.text(field)) {
                let at = at.child("persistentVolumeClaimRetentionPolicy").child(field);
                errors.unsupported(&at, policy.text(field), &["Retain", "Delete"]);
            }
        }
    }
    nonnegative(spec, &["replicas", "minReadySeconds"], at, &mut errors);
    if let Some(ordinals) = spec.sub("ordinals") {
        errors.nonnegative(&at.child("ordinals.start"), ordinals.int("start").unwrap_or(0));
    }
    let service = spec.text("serviceName");
    if is_new && !service.is_empty() {
        errors.each(&at.child("serviceName"), service, names::dns1123_label(service));
    }
    selector(spec, "statefulset", at, &mut errors);
    selected(spec, Some(""), at, &mut errors);
    let template = with_claims(spec);
    errors.extend(check_template(&template, &at.child("template")));
    errors.extend(meta::validate_labels(meta::labels(&template), &at.child("template").child("labels")));
    long_running(spec, "StatefulSet", &at.child("template"), &mut errors);
    errors
}

// The template as its pods will be: with a volume for each claim, and names of their own.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    if let Some(pod) = template["spec"].as_object_mut() {
        pod.remove("subdomain");
        pod.remove("hostname");
    }
    let claims: Vec<&str> = spec.list("volumeClaimTemplates").iter().map(meta::name).collect();
    if claims.is_empty() {
        return template;
    }
    let mut volumes: Vec<Value> =
        claims.iter().map(|name| json!({ "name": name, "persistentVolumeClaim": { "claimName": name } })).collect();
    volumes.extend(template["spec"].list("volumes").iter().filter(|v| !claims.contains(&v.text("name"))).cloned());
    template["spec"]["volumes"] = volumes.into();
    template
}

fn strategy(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let strategy = spec.sub("updateStrategy");
    let rolling = strategy.sub("rollingUpdate");
    let path = at.child("rollingUpdate");
    match strategy.text("type") {
        "" => errors.required(at, ""),
        "OnDelete" => {
            if let Some(rolling) = rolling {
                errors.invalid(&path, rolling.clone(), "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            errors.nonnegative(&path.child("partition"), rolling.int("partition").unwrap_or(0));
            let down = rolling.sub("maxUnavailable");
            if down.is_some() {
                let path = path.child("maxUnavailable");
                int_or_percent(down, &path, errors);
                if int_or_percent_value(down) == 0 {
                    errors.invalid(&path, down.cloned(), "cannot be 0");
                }
                not_above_all(down, &path, errors);
            }
        }
        _ => errors.invalid(at, strategy.cloned(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn status(status: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let numbers = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    nonnegative(status, &numbers, at, &mut errors);
    let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    counts(status, &parts, at, &mut errors);
    let available = status.int("availableReplicas").unwrap_or(0);
    if available > status.int("readyReplicas").unwrap_or(0) {
        errors.invalid(&at.child("availableReplicas"), available, "cannot be greater than status.readyReplicas");
    }
    errors
}
