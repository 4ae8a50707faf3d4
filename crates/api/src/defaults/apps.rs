//! apps/v1 and batch/v1.

use machinery::json::Fields;
use serde_json::{Map, Value, json};

use super::{Row, each, empty, inner, inner_if, or, or_zero};

pub(super) const RULES: &[Row] = &[
    ("apps.v1", "Deployment", deployment),
    ("apps.v1", "ReplicaSet", |m| or(inner(m, "spec"), "replicas", 1)),
    ("apps.v1", "DaemonSet", daemon_set),
    ("apps.v1", "StatefulSet", stateful_set),
    ("batch.v1", "Job", job),
    ("batch.v1", "CronJob", cron_job),
    ("batch.v1", "PodFailurePolicyOnPodConditionsPattern", |m| or_zero(m, "status", "True")),
];

fn deployment(deployment: &mut Map<String, Value>) {
    let spec = inner(deployment, "spec");
    or(spec, "replicas", 1);
    let strategy = inner(spec, "strategy");
    or_zero(strategy, "type", "RollingUpdate");
    if strategy.text("type") == "RollingUpdate" {
        let rolling = inner(strategy, "rollingUpdate");
        or(rolling, "maxUnavailable", "25%");
        or(rolling, "maxSurge", "25%");
    }
    or(spec, "revisionHistoryLimit", 10);
    or(spec, "progressDeadlineSeconds", 600);
}

fn daemon_set(set: &mut Map<String, Value>) {
    // Upstream keeps it as a field, and shows it as the annotation that it is in this version.
    or(inner(inner(set, "metadata"), "annotations"), "deprecated.daemonset.template.generation", "0");
    let spec = inner(set, "spec");
    let strategy = inner(spec, "updateStrategy");
    or_zero(strategy, "type", "RollingUpdate");
    if strategy.text("type") == "RollingUpdate" {
        let rolling = inner(strategy, "rollingUpdate");
        or(rolling, "maxUnavailable", 1);
        or(rolling, "maxSurge", 0);
    }
    or(spec, "revisionHistoryLimit", 10);
}

fn stateful_set(set: &mut Map<String, Value>) {
    let spec = inner(set, "spec");
    // Upstream's conversion names the kind, for clients that look only at the object.
    for claim in each(spec, "volumeClaimTemplates") {
        claim.insert("apiVersion".into(), "v1".into());
        claim.insert("kind".into(), "PersistentVolumeClaim".into());
    }
    or_zero(spec, "podManagementPolicy", "OrderedReady");
    let strategy = inner(spec, "updateStrategy");
    if empty(strategy, "type") {
        strategy.insert("type".into(), "RollingUpdate".into());
        inner(strategy, "rollingUpdate");
    }
    if strategy.text("type") == "RollingUpdate"
        && let Some(rolling) = inner_if(strategy, "rollingUpdate")
    {
        or(rolling, "partition", 0);
    }
    let retention = inner(spec, "persistentVolumeClaimRetentionPolicy");
    or_zero(retention, "whenDeleted", "Retain");
    or_zero(retention, "whenScaled", "Retain");
    or(spec, "replicas", 1);
    or(spec, "revisionHistoryLimit", 10);
    // Always said, and protobuf does not carry it (`apps/v1/conversion.go`).
    if let Some(Value::Array(claims)) = spec.get_mut("volumeClaimTemplates") {
        for claim in claims.iter_mut().filter_map(Value::as_object_mut) {
            claim.insert("kind".into(), "PersistentVolumeClaim".into());
            claim.insert("apiVersion".into(), "v1".into());
        }
    }
}

fn job(job: &mut Map<String, Value>) {
    let labels = job.get("spec").and_then(|s| s.pointer("/template/metadata/labels")).cloned();
    let spec = inner(job, "spec");
    if !spec.contains_key("parallelism") {
        or(spec, "completions", 1);
    }
    or(spec, "parallelism", 1);
    let by_index = spec.contains_key("backoffLimitPerIndex");
    or(spec, "backoffLimit", if by_index { i32::MAX } else { 6 });
    or(spec, "completionMode", "NonIndexed");
    or(spec, "suspend", false);
    let by_policy = spec.contains_key("podFailurePolicy");
    or(spec, "podReplacementPolicy", if by_policy { "Failed" } else { "TerminatingOrFailed" });
    or(spec, "manualSelector", json!(false));
    if let Some(labels) = labels.filter(Value::is_object) {
        or_zero(inner(job, "metadata"), "labels", labels);
    }
}

fn cron_job(job: &mut Map<String, Value>) {
    let spec = inner(job, "spec");
    or_zero(spec, "concurrencyPolicy", "Allow");
    or(spec, "suspend", false);
    or(spec, "successfulJobsHistoryLimit", 3);
    or(spec, "failedJobsHistoryLimit", 1);
}
