//! Counting pods, each exactly once, whenever the controller is stopped and started again (upstream's
//! `trackJobStatusAndRemoveFinalizers`).
//!
//! Each pod has a finalizer, and can't go before it is counted. First the status gets the pod's UID, among those that are
//! not counted yet; then the finalizer is removed; then the counter rises and the UID goes. Whoever finds a UID whose pod
//! has no finalizer any more counts it, so that no step is done twice or left out. Indexes need no UIDs when they succeed:
//! the index itself says that it is counted.

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::api::{
    batch::v1::{JobCondition, UncountedTerminatedPods},
    core::v1::Pod,
};

use super::{
    indexes::Indexes,
    member::Member,
    policies::Failure,
    sync::{Pass, Said, last_of},
    wanted::{ensure, holds},
};

/// Most pods that are counted in one pass: their UIDs fit into the status, and other jobs get their turn.
const MOST_UNCOUNTED: usize = 500;

/// What is being counted.
pub(super) struct Count {
    /// Pods whose finalizer goes once the status is written.
    pub(super) release: Vec<Arc<Pod>>,
    /// UIDs of those that still have it.
    pub(super) with_finalizer: HashSet<String>,
    /// There was more to count.
    more: bool,
}

impl Pass {
    /// Puts what has ended into the status, which has to be written, if it changed, before any pod is released.
    pub(super) fn count(&mut self) -> Count {
        let with_finalizer = self.members.iter().filter(|m| m.tracked).map(|m| m.uid().to_owned()).collect();
        let known = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        self.settle(&with_finalizer);
        let mut count = Count { release: vec![], with_finalizer, more: false };
        let mut uncounted = self.status.uncounted_terminated_pods.take().unwrap_or_default();
        let new_indexes = self.collect(&known, &mut uncounted, &mut count);
        self.status.uncounted_terminated_pods = Some(uncounted);
        if self.wanted.indexed {
            self.tell_indexes(new_indexes);
        }
        self.tell_end();
        count
    }

    /// Adds the UIDs of what has ended, and returns the indexes that have succeeded.
    fn collect(
        &mut self,
        known: &UncountedTerminatedPods,
        uncounted: &mut UncountedTerminatedPods,
        count: &mut Count,
    ) -> Vec<i32> {
        let set = |uids: &Option<Vec<String>>| uids.iter().flatten().cloned().collect::<HashSet<_>>();
        let (known_succeeded, known_failed) = (set(&known.succeeded), set(&known.failed));
        let failing = self.end.as_ref().is_some_and(|end| end.type_ != "SuccessCriteriaMet");
        let mut new_indexes = vec![];
        for member in self.members.iter().filter(|m| m.tracked) {
            let failed = member.has_failed(&self.wanted);
            if !self.can_release(member, failed) {
                continue;
            }
            count.release.push(member.pod.clone());
            let (uid, index) = (member.uid(), member.valid_index(&self.wanted));
            let failed_before = known_failed.contains(uid);
            if member.has_succeeded() && !failed_before {
                if self.wanted.indexed {
                    new_indexes.extend(index.filter(|index| !self.indexes.succeeded_before.has(*index)));
                } else if !known_succeeded.contains(uid) {
                    uncounted.succeeded.get_or_insert_default().push(uid.to_owned());
                    self.changed = true;
                }
            } else if (failed || failing) && !failed_before && member.is_valid(&self.wanted) {
                // Once the job has failed, whatever has not ended counts as failed.
                let (action, failure) = member.judged(&self.wanted);
                self.handled.extend(action);
                if failure != Failure::Ignored {
                    uncounted.failed.get_or_insert_default().push(uid.to_owned());
                    self.changed = true;
                }
            }
            let length = |uids: &Option<Vec<String>>| uids.as_ref().map_or(0, Vec::len);
            if new_indexes.len() + length(&uncounted.succeeded) + length(&uncounted.failed) >= MOST_UNCOUNTED {
                count.more = true;
                break;
            }
        }
        self.changed |= !new_indexes.is_empty();
        new_indexes
    }

    fn can_release(&self, member: &Member, failed: bool) -> bool {
        let awaits_successor = || {
            let of_index = member.index.and_then(|index| self.indexes.awaiting_successor.get(&index));
            of_index.is_some_and(|waiting| waiting.uid() == member.uid())
        };
        self.deleting || self.end.is_some() || member.has_succeeded() || (failed && !awaits_successor())
    }

    fn tell_indexes(&mut self, new: Vec<i32>) {
        let some = |text: String| (!text.is_empty()).then_some(text);
        self.indexes.succeeded = self.indexes.succeeded.with(new);
        let completed = some(self.indexes.succeeded.to_string());
        let failed = self.indexes.failed.as_ref().map(Indexes::to_string);
        self.changed |= completed.as_deref().unwrap_or("") != self.status.completed_indexes.as_deref().unwrap_or("")
            || failed != self.status.failed_indexes;
        self.status.succeeded = Some(self.indexes.succeeded.total()).filter(|n| *n != 0);
        (self.status.completed_indexes, self.status.failed_indexes) = (completed, failed);
    }

    /// The condition of the first step goes into the status; that of the last one is kept for the end.
    fn tell_end(&mut self) {
        let Some(end) = self.end.take() else { return };
        let last = match end.type_.as_str() {
            "FailureTarget" => "Failed",
            "SuccessCriteriaMet" => "Complete",
            _ => return self.end = Some(end),
        };
        if holds(self.status.conditions.as_ref(), &end.type_).is_none() {
            self.status.conditions.get_or_insert_default().push(end.clone());
            self.changed = true;
        }
        self.end = Some(last_of(&end, last, self.now));
    }

    /// Counts those that lost their finalizer.
    pub(super) fn settle(&mut self, with_finalizer: &HashSet<String>) {
        let mut uncounted = self.status.uncounted_terminated_pods.take().unwrap_or_default();
        let (succeeded, failed) = (&mut self.status.succeeded, &mut self.status.failed);
        for (uids, counter) in [(&mut uncounted.succeeded, succeeded), (&mut uncounted.failed, failed)] {
            let before = uids.as_ref().map_or(0, Vec::len);
            uids.iter_mut().for_each(|uids| uids.retain(|uid| with_finalizer.contains(uid)));
            let gone = before - uids.as_ref().map_or(0, Vec::len);
            if gone > 0 {
                *counter = Some(counter.unwrap_or(0) + gone as i32);
                self.changed = true;
            }
            uids.take_if(|uids| uids.is_empty());
        }
        self.status.uncounted_terminated_pods = Some(uncounted);
    }

    /// Ends the job if everything is counted and nothing is terminating any more; returns what there is to tell then.
    pub(super) fn finish(&mut self, count: &Count) -> Option<Vec<Said>> {
        let end = self.end.clone()?;
        let uncounted = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let empty = |uids: &Option<Vec<String>>| uids.as_ref().is_none_or(Vec::is_empty);
        if count.more || !empty(&uncounted.succeeded) || !empty(&uncounted.failed) || self.terminating > 0 {
            return None;
        }
        if end.type_ == "Complete" {
            self.status.completion_time.clone_from(&end.last_transition_time);
        }
        ensure(self.status.conditions.get_or_insert_default(), end.clone());
        self.changed = true;
        Some(self.tell_finish(&end))
    }

    fn tell_finish(&self, end: &JobCondition) -> Vec<Said> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        if end.type_ != "Complete" {
            return vec![Said("Warning", text(&end.reason), text(&end.message))];
        }
        let mut said = vec![];
        if self.wanted.completions.is_some_and(|n| self.status.succeeded.unwrap_or(0) > n) {
            let message = "Too many succeeded pods running after completion count reached";
            said.push(Said("Warning", "TooManySucceededPods".into(), message.into()));
        }
        said.push(Said("Normal", "Completed".into(), "Job completed".into()));
        said
    }
}
