//! The decisions about a job, in the order of upstream's `syncJob`: what its pods say, whether it is over, which pods to
//! make or delete, and what the status says then. The shell carries out the plan in between.
//!
//! A job comes to its end in two steps. Once it is decided, the status says so by a first condition (SuccessCriteriaMet or
//! FailureTarget), and is never decided again; the last condition (Complete or Failed) follows when no pod runs any more
//! and each one is counted.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use super::{
    backoff::{self, Failures},
    indexes::Indexes,
    member::Member,
    policies::{self, Failure},
    wanted::{Wanted, condition, ensure, holds},
};
use crate::util::pods;

/// Most pods made, or deleted as surplus, in one pass.
pub(super) const BURST: usize = 500;

/// What is seen of a job.
pub(super) struct Observed<'a> {
    pub(super) job: &'a Job,
    /// Its pods, in any order.
    pub(super) pods: Vec<Arc<Pod>>,
    /// UIDs of pods whose finalizer was asked to be removed, and has not been seen removed yet.
    pub(super) removing: &'a HashSet<String>,
    /// The pods made and deleted before were seen to be.
    pub(super) satisfied: bool,
    pub(super) failures: Failures,
    pub(super) now: Timestamp,
}

/// What to do about the pods.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// The job is over: delete all that are active. Their finalizers stay until they are counted.
    End(Vec<Arc<Pod>>),
    /// Do nothing yet.
    Wait,
    /// Delete these with their finalizers: they will not be counted.
    Remove(Vec<Arc<Pod>>),
    /// Make pods, each of an index if the job has them.
    Create(Vec<Option<i32>>),
    /// Make pods, after that time.
    Later(Duration),
    Nothing,
}

/// What came of the plan.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) created: i32,
    pub(super) deleted: i32,
    /// Of the deleted ones.
    pub(super) ready: i32,
}

/// Something to tell of the job: type, reason and message of an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said(pub(super) &'static str, pub(super) String, pub(super) String);

/// One pass over a job.
pub(super) struct Pass {
    pub(super) wanted: Wanted,
    /// The status to write.
    pub(super) status: JobStatus,
    /// In the order of their indexes.
    pub(super) members: Vec<Member>,
    pub(super) deleting: bool,
    pub(super) satisfied: bool,
    /// Whether the status differs from the one that is there.
    pub(super) changed: bool,
    pub(super) succeeded: i32,
    pub(super) indexes: ByIndex,
    /// The condition with which the job ends; of the first or of the last step.
    pub(super) end: Option<JobCondition>,
    pub(super) failures: Failures,
    /// What rules of the failure policy did about pods that are counted now.
    pub(super) handled: Vec<&'static str>,
    /// When time alone will change something.
    pub(super) check_in: Option<Duration>,
    active: i32,
    ready: i32,
    pub(super) terminating: i32,
    pub(super) now: Timestamp,
}

/// What is known of the indexes of an indexed job; of others, nothing.
#[derive(Default)]
pub(super) struct ByIndex {
    /// As the status has them.
    pub(super) succeeded_before: Indexes,
    pub(super) succeeded: Indexes,
    /// Only with a limit for each index.
    pub(super) failed: Option<Indexes>,
    /// With such a limit, the failed pods that stay until they have a successor, which counts on from theirs.
    pub(super) awaiting_successor: BTreeMap<i32, Member>,
}

impl Pass {
    /// Looks at the job, and says what to do about its pods.
    pub(super) fn begin(observed: Observed<'_>) -> (Self, Plan) {
        let Observed { job, pods, removing, satisfied, failures, now } = observed;
        let wanted = Wanted::of(job);
        let mut members: Vec<Member> = pods.into_iter().map(|pod| Member::new(pod, removing)).collect();
        members.sort_by_key(|m| m.index);
        let mut status = job.status.clone().unwrap_or_default();
        status.uncounted_terminated_pods.get_or_insert_default();
        if status.start_time.is_none() && !wanted.suspended {
            status.start_time = Some(Time(now));
        }
        let active = members.iter().filter(|m| pods::is_active(&m.pod));
        let mut pass = Self {
            active: active.clone().count() as i32,
            ready: active.filter(|m| pods::is_ready(&m.pod)).count() as i32,
            terminating: members.iter().filter(|m| m.is_terminating()).count() as i32,
            deleting: job.metadata.deletion_timestamp.is_some(),
            changed: false,
            succeeded: 0,
            indexes: ByIndex::default(),
            end: None,
            check_in: None,
            failures: Failures::default(),
            handled: Vec::new(),
            wanted,
            status,
            members,
            satisfied,
            now,
        };
        let failed = pass.count_finished(&failures);
        pass.judge(failed);
        let plan = if pass.end.is_some() {
            Plan::End(pass.active().map(|m| m.pod.clone()).collect())
        } else if pass.satisfied && !pass.deleting {
            pass.manage()
        } else {
            Plan::Wait
        };
        (pass, plan)
    }

    fn active(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| pods::is_active(&m.pod))
    }

    /// Counts what has ended, and returns the number of failures.
    fn count_finished(&mut self, failures: &Failures) -> i32 {
        let uncounted = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let (known_succeeded, known_failed) =
            (uncounted.succeeded.unwrap_or_default(), uncounted.failed.unwrap_or_default());
        let new = |known: &[String], ended: &dyn Fn(&Member) -> bool| -> Vec<&Member> {
            let known: HashSet<&str> = known.iter().map(String::as_str).collect();
            let is_new = |m: &&Member| m.tracked && !known.contains(m.uid()) && m.is_valid(&self.wanted) && ended(m);
            self.members.iter().filter(is_new).collect()
        };
        let succeeded = new(&known_succeeded, &|m| m.has_succeeded());
        let failed = new(&known_failed, &|m| m.has_failed(&self.wanted));
        let counted = failed.iter().filter(|m| m.failure(&self.wanted) != Failure::Ignored).count();
        let pods = |members: &[&Member]| members.iter().map(|m| m.pod.clone()).collect::<Vec<_>>();
        self.failures = failures.after(&pods(&succeeded), &pods(&failed));
        self.succeeded = self.status.succeeded.unwrap_or(0) + (succeeded.len() + known_succeeded.len()) as i32;
        self.status.failed.unwrap_or(0) + (counted + known_failed.len()) as i32
    }

    /// Whether the job is over. What was decided before stands; failures come before success.
    fn judge(&mut self, failed: i32) {
        let now = self.now;
        let target = |reason: &str, message: &str| condition("FailureTarget", "True", reason, message, now);
        let conditions = self.status.conditions.as_ref();
        let mut end = holds(conditions, "SuccessCriteriaMet").cloned();
        if end.is_none() {
            end = match holds(conditions, "FailureTarget") {
                Some(decided) => Some(last_of(decided, "Failed", now)),
                None => self.failed_by_policy().map(|message| target("PodFailurePolicy", &message)),
            };
        }
        if end.is_none() {
            let left = self.deadline_left();
            if failed > self.wanted.backoff_limit || self.restarted_too_often() {
                end = Some(target("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
            } else if left == Some(Duration::ZERO) {
                end = Some(target("DeadlineExceeded", "Job was active longer than specified deadline"));
            } else {
                self.check_in = left;
            }
        }
        if self.wanted.indexed {
            self.judge_indexes(&mut end, &target);
        }
        self.end = end;
    }

    fn judge_indexes(&mut self, end: &mut Option<JobCondition>, target: &dyn Fn(&str, &str) -> JobCondition) {
        let count = self.wanted.index_count();
        self.indexes = self.indexes();
        self.succeeded = self.indexes.succeeded.total();
        if let Some(failed) = self.indexes.failed.as_ref().map(Indexes::total)
            && end.is_none()
        {
            if self.wanted.max_failed_indexes.is_some_and(|most| failed > most) {
                let message = "Job has exceeded the specified maximal number of failed indexes";
                *end = Some(target("MaxFailedIndexesExceeded", message));
            } else if failed > 0 && failed + self.succeeded >= count {
                *end = Some(target("FailedIndexes", "Job has failed indexes"));
            }
        }
        if end.is_none() {
            let met = policies::of_success(self.wanted.success_policy.as_ref(), count, &self.indexes.succeeded);
            *end = met.map(|why| condition("SuccessCriteriaMet", "True", "SuccessPolicy", &why, self.now));
        }
    }

    fn failed_by_policy(&self) -> Option<String> {
        self.wanted.failure_policy.as_ref()?;
        let failed = self.members.iter().filter(|m| m.has_failed(&self.wanted));
        failed.into_iter().find_map(|m| match m.failure(&self.wanted) {
            Failure::Job(message) => Some(message),
            _ => None,
        })
    }

    /// How long the job may still be active; none without a deadline.
    fn deadline_left(&self) -> Option<Duration> {
        let (deadline, start) = (self.wanted.active_deadline?, self.status.start_time.as_ref()?.0);
        let left = deadline.checked_sub(self.now.duration_since(start))?;
        (!self.wanted.suspended).then(|| Duration::try_from(left).unwrap_or_default())
    }

    /// Containers that the kubelet starts again count by their restarts.
    fn restarted_too_often(&self) -> bool {
        let runs = |m: &&Member| matches!(pods::phase(&m.pod), "Running" | "Pending");
        let restarts = |m: &Member| {
            let status = m.pod.status.as_ref();
            let of = |s: &&k8s_openapi::api::core::v1::PodStatus| {
                let all = s.init_container_statuses.iter().flatten().chain(s.container_statuses.iter().flatten());
                all.map(|c| i64::from(c.restart_count)).sum::<i64>()
            };
            status.as_ref().map_or(0, of)
        };
        let limit = i64::from(self.wanted.backoff_limit);
        self.wanted.restarts_on_failure && self.members.iter().filter(runs).map(restarts).sum::<i64>() >= limit.max(1)
    }

    fn indexes(&self) -> ByIndex {
        let (wanted, count) = (&self.wanted, self.wanted.index_count());
        let with_finalizer = || self.members.iter().filter(|m| m.finalizer);
        let of = |text: Option<&String>| Indexes::parse(text.map_or("", String::as_str), count);
        let new: BTreeSet<i32> =
            with_finalizer().filter(|m| m.has_succeeded()).filter_map(|m| m.valid_index(wanted)).collect();
        let succeeded_before = of(self.status.completed_indexes.as_ref());
        let succeeded = succeeded_before.with(new);
        let Some(limit) = wanted.backoff_limit_per_index else {
            return ByIndex { succeeded_before, succeeded, ..ByIndex::default() };
        };
        let has_failed_for_good = |m: &&Member| {
            m.has_failed(wanted)
                && match m.failure(wanted) {
                    Failure::Index => true,
                    Failure::Ignored => false,
                    Failure::Counted | Failure::Job(_) => m.failures_of_index() >= limit,
                }
        };
        let new: BTreeSet<i32> =
            with_finalizer().filter(has_failed_for_good).filter_map(|m| m.valid_index(wanted)).collect();
        let failed = of(self.status.failed_indexes.as_ref()).with(new);
        let awaiting_successor = self.awaiting_successor(&succeeded, &failed);
        ByIndex { succeeded_before, succeeded, failed: Some(failed), awaiting_successor }
    }

    fn awaiting_successor(&self, succeeded: &Indexes, failed: &Indexes) -> BTreeMap<i32, Member> {
        let active: HashSet<i32> = self.active().filter_map(|m| m.index).collect();
        let mut awaiting: BTreeMap<i32, Member> = BTreeMap::new();
        for member in self.members.iter().filter(|m| m.tracked && m.has_failed(&self.wanted)) {
            let Some(index) = member.valid_index(&self.wanted) else { continue };
            if succeeded.has(index) || failed.has(index) || active.contains(&index) {
                continue;
            }
            // Of several the one that counted furthest, and ended last.
            let later = |other: &Member| {
                other.all_failures_of_index() <= member.all_failures_of_index()
                    && backoff::finished_at(&other.pod) <= backoff::finished_at(&member.pod)
            };
            if awaiting.get(&index).is_none_or(later) {
                awaiting.insert(index, member.clone());
            }
        }
        awaiting
    }

    /// The status after the plan was carried out, but for what is counted; and what there is to tell.
    pub(super) fn conclude(&mut self, plan: &Plan, done: Done) -> Vec<Said> {
        let mut said = vec![];
        let active_before = self.active;
        self.active += done.created - done.deleted;
        self.terminating += done.deleted;
        self.ready -= done.ready;
        if matches!(plan, Plan::End(_)) {
            // Pods may be left that have to be counted, or some that are not even seen yet.
            if done.deleted != active_before || !self.satisfied {
                self.end = None;
            }
        } else if self.is_complete() {
            let message = "Reached expected number of succeeded pods";
            self.end = Some(condition("SuccessCriteriaMet", "True", "CompletionsReached", message, self.now));
        } else if !matches!(plan, Plan::Wait) {
            said.extend(self.suspend_or_resume());
        }
        let (active, ready, terminating) = (self.active, Some(self.ready), Some(self.terminating));
        self.changed |= self.status.active.unwrap_or(0) != active
            || self.status.ready != ready
            || self.status.terminating != terminating;
        self.status.active = (active != 0).then_some(active);
        (self.status.ready, self.status.terminating) = (ready, terminating);
        said
    }

    fn is_complete(&self) -> bool {
        let enough = self.wanted.completions.map_or(self.succeeded > 0, |n| self.succeeded >= n);
        enough && self.active == 0
    }

    fn suspend_or_resume(&mut self) -> Option<Said> {
        let now = self.now;
        let (status, reason, message, event) = match self.wanted.suspended {
            true => ("True", "JobSuspended", "Job suspended", "Suspended"),
            false => ("False", "JobResumed", "Job resumed", "Resumed"),
        };
        let new = condition("Suspended", status, reason, message, now);
        let mut conditions = self.status.conditions.take().unwrap_or_default();
        let changed = ensure(&mut conditions, new);
        self.status.conditions = (!conditions.is_empty()).then_some(conditions);
        if !changed {
            return None;
        }
        self.changed = true;
        // The time that counts for the deadline begins anew.
        self.status.start_time = (!self.wanted.suspended).then_some(Time(now));
        Some(Said("Normal", event.into(), message.into()))
    }
}

/// The condition of the last step that follows one of the first.
pub(super) fn last_of(first: &JobCondition, kind: &str, now: Timestamp) -> JobCondition {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    condition(kind, "True", &text(&first.reason), &text(&first.message), now)
}
