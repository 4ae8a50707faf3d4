//! What a job's spec says, with the API server's defaults where it says nothing; and whether a job is over.

use k8s_openapi::{
    api::batch::v1::{Job, JobCondition, PodFailurePolicy, SuccessPolicy},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

/// Who manages jobs, as `spec.managedBy` names it.
const MANAGER: &str = "kubernetes.io/job-controller";

/// A job's spec, but for its template.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) parallelism: i32,
    /// None: it is complete with any pod that succeeds.
    pub(super) completions: Option<i32>,
    pub(super) indexed: bool,
    pub(super) backoff_limit: i32,
    pub(super) backoff_limit_per_index: Option<i32>,
    pub(super) max_failed_indexes: Option<i32>,
    pub(super) active_deadline: Option<SignedDuration>,
    pub(super) suspended: bool,
    /// A pod is replaced once it has failed, and not while it is terminating.
    pub(super) replaces_failed_only: bool,
    /// The kubelet starts containers again: their restarts count.
    pub(super) restarts_on_failure: bool,
    pub(super) failure_policy: Option<PodFailurePolicy>,
    pub(super) success_policy: Option<SuccessPolicy>,
}

impl Wanted {
    pub(super) fn of(job: &Job) -> Self {
        let spec = job.spec.clone().unwrap_or_default();
        let restarts = spec.template.spec.and_then(|s| s.restart_policy);
        Self {
            parallelism: spec.parallelism.unwrap_or(1),
            completions: spec.completions,
            indexed: spec.completion_mode.as_deref() == Some("Indexed"),
            backoff_limit: spec.backoff_limit.unwrap_or(6),
            backoff_limit_per_index: spec.backoff_limit_per_index,
            max_failed_indexes: spec.max_failed_indexes,
            active_deadline: spec.active_deadline_seconds.map(SignedDuration::from_secs),
            suspended: spec.suspend == Some(true),
            replaces_failed_only: spec.pod_replacement_policy.as_deref() == Some("Failed")
                || spec.pod_failure_policy.is_some(),
            restarts_on_failure: restarts.as_deref() == Some("OnFailure"),
            failure_policy: spec.pod_failure_policy,
            success_policy: spec.success_policy,
        }
    }

    /// Why a pod is created, in the words of the metric.
    pub(super) fn why_created(&self, have_failed: bool, some_terminate: bool) -> &'static str {
        match (self.replaces_failed_only, have_failed) {
            (true, true) => "recreate_failed",
            (false, failed) if failed || some_terminate => "recreate_terminating_or_failed",
            _ => "new",
        }
    }

    /// The number of indexes of an indexed job.
    pub(super) fn index_count(&self) -> i32 {
        self.completions.unwrap_or(0)
    }
}

/// Another program manages the job.
pub(super) fn is_managed_elsewhere(job: &Job) -> bool {
    manager_elsewhere(job).is_some()
}

/// The other program.
pub(super) fn manager_elsewhere(job: &Job) -> Option<&str> {
    job.spec.as_ref()?.managed_by.as_deref().filter(|by| *by != MANAGER)
}

/// Its completion mode.
pub(super) fn mode(job: &Job) -> &str {
    job.spec.as_ref().and_then(|s| s.completion_mode.as_deref()).unwrap_or("NonIndexed")
}

/// A completion mode of a later version.
pub(super) fn is_of_unknown_mode(job: &Job) -> bool {
    !matches!(mode(job), "NonIndexed" | "Indexed")
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// The condition if it is true.
pub(super) fn holds<'a>(conditions: Option<&'a Vec<JobCondition>>, kind: &str) -> Option<&'a JobCondition> {
    conditions?.iter().find(|c| c.type_ == kind).filter(|c| c.status == "True")
}

/// Adds a condition or changes it, and says whether that was needed. One that was never there is not said to be false.
pub(super) fn ensure(conditions: &mut Vec<JobCondition>, new: JobCondition) -> bool {
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) if (&old.status, &old.reason, &old.message) == (&new.status, &new.reason, &new.message) => false,
        Some(old) => {
            *old = new;
            true
        }
        None if new.status == "False" => false,
        None => {
            conditions.push(new);
            true
        }
    }
}
