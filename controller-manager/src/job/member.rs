//! A job's pods: what the controller asks about each, and the pods that it makes.

use std::{collections::HashSet, sync::Arc};

use client::Change;
use controller::controller_ref;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
};

use super::{policies, policies::Failure, wanted::Wanted};
use crate::{
    metrics,
    util::{key, pod_control::pod_from_template, pods},
};

/// Keeps a pod until its job has counted it.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// The longest prefix of a generated name.
const PREFIX_LIMIT: usize = 58;

/// A pod of the job.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) pod: Arc<Pod>,
    /// Of an indexed job, if it has one that is possible at all.
    pub(super) index: Option<i32>,
    /// It has the finalizer.
    pub(super) finalizer: bool,
    /// It has the finalizer, and its removal was not asked for yet: it is still to be counted.
    pub(super) tracked: bool,
}

impl Member {
    /// `removing`: the UIDs of pods whose finalizer is being removed.
    pub(super) fn new(pod: Arc<Pod>, removing: &HashSet<String>) -> Self {
        let finalizer = has_finalizer(&pod);
        let tracked = finalizer && !removing.contains(key::uid(&pod.metadata));
        Self { index: index(&pod), finalizer, tracked, pod }
    }

    pub(super) fn uid(&self) -> &str {
        key::uid(&self.pod.metadata)
    }

    pub(super) fn has_succeeded(&self) -> bool {
        pods::phase(&self.pod) == "Succeeded"
    }

    /// Failed, or as good as that: a deleted pod may never get as far.
    pub(super) fn has_failed(&self, wanted: &Wanted) -> bool {
        match pods::phase(&self.pod) {
            "Failed" => true,
            "Succeeded" => false,
            _ => !wanted.replaces_failed_only && pods::is_terminating(&self.pod),
        }
    }

    /// Terminating, and not finished yet.
    pub(super) fn is_terminating(&self) -> bool {
        pods::is_terminating(&self.pod) && !pods::is_finished(&self.pod)
    }

    /// Not of an index that the job does not have, or no more has.
    pub(super) fn is_valid(&self, wanted: &Wanted) -> bool {
        !wanted.indexed || self.valid_index(wanted).is_some()
    }

    pub(super) fn valid_index(&self, wanted: &Wanted) -> Option<i32> {
        self.index.filter(|index| *index < wanted.index_count())
    }

    pub(super) fn failure(&self, wanted: &Wanted) -> Failure {
        self.judged(wanted).1
    }

    /// The same, and the action of the rule that decides.
    pub(super) fn judged(&self, wanted: &Wanted) -> (Option<&'static str>, Failure) {
        policies::of_failure(wanted.failure_policy.as_ref(), &self.pod)
    }

    /// Failed pods of its index before it.
    pub(super) fn failures_of_index(&self) -> i32 {
        count(&self.pod, FAILURES)
    }

    /// The same with those that the policy ignores.
    pub(super) fn all_failures_of_index(&self) -> i32 {
        self.failures_of_index().saturating_add(count(&self.pod, IGNORED_FAILURES))
    }
}

/// Counts pods that ended with the finalizer on them, and those of them that lost it or went.
pub(super) fn tally_tracked(change: &Change<Pod>) {
    let ended = |pod: &Pod| pods::is_finished(pod) && has_finalizer(pod);
    let (was, is) = match change {
        Change::Added(pod) => (false, ended(pod)),
        Change::Updated { old, new } => (ended(old), ended(new)),
        Change::Deleted(pod) => (ended(pod), false),
    };
    if was != is {
        metrics::JOB_PODS_TRACKED.with(&[if is { "add" } else { "delete" }]).add(1);
    }
}

pub(super) fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn index(pod: &Pod) -> Option<i32> {
    annotation(pod, INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// What anybody may have written there: 0 if it is no count.
fn count(pod: &Pod, name: &str) -> i32 {
    annotation(pod, name).and_then(|text| text.parse().ok()).filter(|count| *count >= 0).unwrap_or(0)
}

/// A new pod of the job, of an index if the job has them. `replaced` is the failed pod of the index that it follows.
pub(super) fn new_pod(job: &Job, wanted: &Wanted, index: Option<i32>, replaced: Option<&Member>) -> Pod {
    let name = key::name(&job.metadata);
    let template = job.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let mut pod = pod_from_template(&template, name, controller_ref(job));
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    let Some(index) = index else { return pod };
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.into(), index.to_string());
    if wanted.backoff_limit_per_index.is_some() {
        let (mut failures, mut ignored) = (0, 0);
        if let Some(replaced) = replaced {
            failures = replaced.failures_of_index();
            ignored = count(&replaced.pod, IGNORED_FAILURES);
            let more = if replaced.failure(wanted) == Failure::Ignored { &mut ignored } else { &mut failures };
            *more = more.saturating_add(1);
        }
        annotations.insert(FAILURES.into(), failures.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED_FAILURES.into(), ignored.to_string());
        }
    }
    pod.metadata.labels.get_or_insert_default().insert(INDEX.into(), index.to_string());
    pod.metadata.generate_name = Some(prefix(name, index));
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(format!("{name}-{index}"));
        spec.init_containers.iter_mut().flatten().chain(&mut spec.containers).for_each(add_variable);
    }
    pod
}

fn prefix(job: &str, index: i32) -> String {
    let end = format!("-{index}-");
    // Names are ASCII.
    let start = job.get(..PREFIX_LIMIT.saturating_sub(end.len())).unwrap_or(job);
    format!("{start}{end}")
}

fn add_variable(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|v| v.name == INDEX_VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector { field_path: format!("metadata.labels['{INDEX}']"), ..Default::default() };
    variables.push(EnvVar {
        name: INDEX_VARIABLE.into(),
        value_from: Some(EnvVarSource { field_ref: Some(field), ..Default::default() }),
        ..Default::default()
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(spec: &Value) -> Job {
        let template = json!({
            "metadata": {"labels": {"job-name": "j"}, "annotations": {"a": "b"}, "finalizers": ["other"]},
            "spec": {"containers": [{"name": "c"}, {"name": "own", "env": [{"name": "JOB_COMPLETION_INDEX", "value": "x"}]}],
                "initContainers": [{"name": "i"}]},
        });
        let mut spec = spec.clone();
        spec["template"] = template;
        serde_json::from_value(json!({"metadata": {"name": "j", "namespace": "n", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn failed(annotations: Value) -> Member {
        let value = json!({"metadata": {"annotations": annotations}, "status": {"phase": "Failed"}});
        Member::new(Arc::new(serde_json::from_value(value).unwrap()), &HashSet::new())
    }

    fn made(spec: &Value, index: Option<i32>, replaced: Option<&Member>) -> Value {
        let job = job(spec);
        serde_json::to_value(new_pod(&job, &Wanted::of(&job), index, replaced)).unwrap()
    }

    #[test]
    fn a_pod_without_an_index() {
        let pod = made(&json!({}), None, None);
        assert_eq!(pod["metadata"]["generateName"], "j-");
        assert_eq!(pod["metadata"]["finalizers"], json!(["other", FINALIZER]));
        assert_eq!(pod["metadata"]["annotations"], json!({"a": "b"}));
        assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "u");
        assert!(pod["spec"]["hostname"].is_null() && pod["spec"]["containers"][0]["env"].is_null());
    }

    #[test]
    fn a_pod_of_an_index() {
        let pod = made(&json!({"completionMode": "Indexed"}), Some(3), None);
        assert_eq!(pod["metadata"]["generateName"], "j-3-");
        assert_eq!(pod["metadata"]["annotations"], json!({"a": "b", INDEX: "3"}));
        assert_eq!(pod["metadata"]["labels"], json!({"job-name": "j", INDEX: "3"}));
        assert_eq!(pod["spec"]["hostname"], "j-3");
        let path = json!({"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}});
        for container in [&pod["spec"]["containers"][0], &pod["spec"]["initContainers"][0]] {
            assert_eq!(container["env"], json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": path}]));
        }
        assert_eq!(pod["spec"]["containers"][1]["env"], json!([{"name": "JOB_COMPLETION_INDEX", "value": "x"}]));
        let long = prefix(&"x".repeat(60), 12);
        assert_eq!((long.len(), long.ends_with("x-12-")), (58, true));
    }

    #[test]
    fn failures_of_an_index_are_handed_on() {
        let ignore = json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "D", "status": "True"}]}]});
        let spec = json!({"completionMode": "Indexed", "backoffLimitPerIndex": 2, "podFailurePolicy": ignore});
        let counts = |replaced: Option<&Member>| {
            let pod = made(&spec, Some(0), replaced);
            let of = |name: &str| pod["metadata"]["annotations"][name].as_str().map(str::to_owned);
            (of(FAILURES).unwrap(), of(IGNORED_FAILURES))
        };
        assert_eq!(counts(None), ("0".into(), None));
        assert_eq!(counts(Some(&failed(json!({})))), ("1".into(), None));
        let mut before = failed(json!({FAILURES: "4", IGNORED_FAILURES: "2"}));
        assert_eq!((before.failures_of_index(), before.all_failures_of_index()), (4, 6));
        assert_eq!(counts(Some(&before)), ("5".into(), Some("2".into())));
        let mut pod = (*before.pod).clone();
        pod.status = serde_json::from_value(json!({"conditions": [{"type": "D", "status": "True"}]})).unwrap();
        before.pod = Arc::new(pod);
        assert_eq!(counts(Some(&before)), ("4".into(), Some("3".into())));
        for wrong in ["-1", "x", "99999999999", ""] {
            assert_eq!(failed(json!({FAILURES: wrong})).failures_of_index(), 0);
        }
    }

    #[test]
    fn indexes_that_are_none() {
        for (text, want) in [("0", Some(0)), ("12", Some(12)), ("-1", None), ("x", None), ("", None)] {
            assert_eq!(failed(json!({INDEX: text})).index, want);
        }
        assert_eq!(failed(json!({})).index, None);
    }
}
