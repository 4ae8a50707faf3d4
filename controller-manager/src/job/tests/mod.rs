//! Passes over jobs, whole: as upstream's `TestControllerSyncJob`, with all writes succeeding.

mod counting;
mod passes;

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobStatus},
        core::v1::Pod,
    },
    jiff::{SignedDuration, Timestamp},
};
use serde_json::{Value, json};

use super::{
    backoff::Failures,
    sync::{Done, Observed, Pass, Plan, Said},
};
use crate::util::{key, pods};

/// The time of all passes.
fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

/// Seconds before that.
fn before(seconds: i64) -> String {
    machinery::time::rfc3339(now() - SignedDuration::from_secs(seconds))
}

/// Some of the spec and of the status, and of the rest; the defaults are those of the API server.
fn job(spec: Value, status: Value) -> Job {
    let mut whole =
        json!({"parallelism": 2, "completions": 5, "backoffLimit": 6, "template": {"spec": {"containers": []}}});
    for (name, value) in spec.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let meta = json!({"name": "j", "namespace": "n", "uid": "u"});
    serde_json::from_value(json!({"metadata": meta, "spec": whole, "status": status})).unwrap()
}

/// Pods as words: an index with a colon if there is one, the phase, and signs: `+` ready, `!` terminating, `~` without the
/// finalizer, `#2` two failures of the index before it, `@3` made and ended 3 seconds ago instead of long ago.
fn pods_of(text: &str) -> Vec<Arc<Pod>> {
    text.split_whitespace().enumerate().map(|(n, word)| Arc::new(pod(n, word))).collect()
}

fn pod(n: usize, word: &str) -> Pod {
    let (index, rest) = word.split_once(':').map_or((None, word), |(index, rest)| (Some(index), rest));
    let phase: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    let number = |sign: char| -> Option<i64> {
        let digits: String = rest.split_once(sign)?.1.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let at = before(number('@').unwrap_or(3600));
    let mut meta = json!({"name": format!("p{n}"), "namespace": "n", "uid": format!("u{n}"), "creationTimestamp": at,
        "annotations": {}});
    if let Some(index) = index {
        meta["annotations"]["batch.kubernetes.io/job-completion-index"] = json!(index);
    }
    if let Some(count) = number('#') {
        meta["annotations"]["batch.kubernetes.io/job-index-failure-count"] = json!(count.to_string());
    }
    if !rest.contains('~') {
        meta["finalizers"] = json!(["batch.kubernetes.io/job-tracking"]);
    }
    if rest.contains('!') {
        meta["deletionTimestamp"] = json!(at);
    }
    let ready = if rest.contains('+') { "True" } else { "False" };
    let conditions = json!([{"type": "Ready", "status": ready}]);
    serde_json::from_value(json!({"metadata": meta, "status": {"phase": phase, "conditions": conditions}})).unwrap()
}

/// What one pass has done.
struct Outcome {
    plan: Plan,
    check_in: Option<u64>,
    released: usize,
    /// As written before and after the finalizers were removed.
    first: JobStatus,
    last: JobStatus,
    said: Vec<Said>,
}

/// Runs a pass whose writes all succeed.
fn pass(job: &Job, pods: Vec<Arc<Pod>>, satisfied: bool, failures: Failures) -> Outcome {
    let none = HashSet::new();
    let (mut pass, plan) = Pass::begin(Observed { job, pods, removing: &none, satisfied, failures, now: now() });
    let done = match &plan {
        Plan::End(gone) | Plan::Remove(gone) => {
            let ready = gone.iter().filter(|p| pods::is_ready(p)).count() as i32;
            Done { deleted: gone.len() as i32, ready, created: 0 }
        }
        Plan::Create(made) => Done { created: made.len() as i32, ..Done::default() },
        _ => Done::default(),
    };
    let mut said = pass.conclude(&plan, done);
    let mut count = pass.count();
    let first = pass.status.clone();
    for pod in &count.release {
        count.with_finalizer.remove(key::uid(&pod.metadata));
    }
    pass.settle(&count.with_finalizer);
    said.extend(pass.finish(&count).into_iter().flatten());
    let check_in = pass.check_in.map(|wait| wait.as_secs());
    Outcome { plan, check_in, released: count.release.len(), first, last: pass.status, said }
}

impl Outcome {
    /// What is not zero, in one line.
    fn line(&self) -> String {
        let mut words = vec![];
        match &self.plan {
            Plan::Create(made) => {
                let indexes: Vec<String> = made.iter().flatten().map(ToString::to_string).collect();
                let shown = if indexes.is_empty() { String::new() } else { format!(" [{}]", indexes.join(" ")) };
                words.push(format!("create {}{shown}", made.len()));
            }
            Plan::Remove(gone) => words.push(format!("remove {}", gone.len())),
            Plan::End(gone) => words.push(format!("end {}", gone.len())),
            Plan::Later(wait) => words.push(format!("later {}s", wait.as_secs())),
            Plan::Wait => words.push("wait".into()),
            Plan::Nothing => {}
        }
        let status = &self.last;
        for (name, count) in [
            ("release", Some(self.released as i32)),
            ("active", status.active),
            ("ready", status.ready),
            ("terminating", status.terminating),
            ("succeeded", status.succeeded),
            ("failed", status.failed),
        ] {
            if let Some(count) = count.filter(|n| *n != 0) {
                words.push(format!("{name} {count}"));
            }
        }
        words.extend(status.completed_indexes.iter().map(|text| format!("completed {text}")));
        words.extend(status.failed_indexes.iter().map(|text| format!("failed indexes '{text}'")));
        for condition in status.conditions.iter().flatten() {
            let status = if condition.status == "True" { "" } else { "not " };
            words.push(format!("{status}{}/{}", condition.type_, condition.reason.as_deref().unwrap_or_default()));
        }
        let uncounted = status.uncounted_terminated_pods.as_ref();
        assert!(uncounted.is_some_and(|u| u.succeeded.is_none() && u.failed.is_none()), "all are counted: {status:?}");
        words.join(", ")
    }
}
