//! How many pods a job that is not over should have now, and which of them.

use super::{
    backoff,
    member::Member,
    sync::{BURST, Pass, Plan},
    wanted::Wanted,
};
use crate::util::pods;

impl Pass {
    /// What to do about the number of pods.
    pub(super) fn manage(&self) -> Plan {
        let active: Vec<&Member> = self.members.iter().filter(|m| pods::is_active(&m.pod)).collect();
        let count = active.len() as i32;
        if self.wanted.suspended {
            return remove(surplus(&self.wanted, active, count as usize));
        }
        let wanted = match self.wanted.completions {
            // Those that run may run on once one has succeeded.
            None if self.succeeded > 0 => count,
            None => self.wanted.parallelism,
            Some(all) => (all - self.succeeded).min(self.wanted.parallelism).max(0),
        };
        let mut surplus = surplus(&self.wanted, active, (count - wanted).max(0) as usize);
        surplus.truncate(BURST);
        if !surplus.is_empty() {
            return remove(surplus);
        }
        let leaving = if self.wanted.replaces_failed_only { self.terminating } else { 0 };
        match usize::try_from(wanted - leaving - count) {
            Ok(missing) if missing > 0 => self.create(missing.min(BURST)),
            _ => Plan::Nothing,
        }
    }

    fn create(&self, missing: usize) -> Plan {
        let each = self.wanted.backoff_limit_per_index.is_some();
        if let Some(wait) = self.failures.remaining(self.now).filter(|_| !each) {
            return Plan::Later(wait);
        }
        if !self.wanted.indexed {
            return Plan::Create(vec![None; missing]);
        }
        let pending = self.pending_indexes(missing);
        if pending.is_empty() {
            return Plan::Nothing;
        }
        if !each {
            return Plan::Create(pending.into_iter().map(Some).collect());
        }
        let wait = |index: &i32| {
            let before = self.indexes.awaiting_successor.get(index)?;
            let failures = before.all_failures_of_index().saturating_add(1);
            backoff::remaining(failures, backoff::finished_at(&before.pod), self.now)
        };
        let now: Vec<Option<i32>> = pending.iter().filter(|i| wait(i).is_none()).copied().map(Some).collect();
        match pending.iter().filter_map(wait).min() {
            Some(wait) if now.is_empty() => Plan::Later(wait),
            _ => Plan::Create(now),
        }
    }

    /// The first indexes that nobody works on, or has worked on.
    fn pending_indexes(&self, count: usize) -> Vec<i32> {
        let busy = |m: &&Member| pods::is_active(&m.pod) || (self.wanted.replaces_failed_only && m.is_terminating());
        // Members are in the order of their indexes.
        let busy = self.members.iter().filter(busy).filter_map(|m| m.index);
        let mut taken = self.indexes.succeeded.with(busy);
        if let Some(failed) = &self.indexes.failed {
            taken = taken.merge(failed);
        }
        taken.missing(count, self.wanted.index_count())
    }
}

fn remove(members: Vec<&Member>) -> Plan {
    match members.is_empty() {
        true => Plan::Nothing,
        false => Plan::Remove(members.into_iter().map(|m| m.pod.clone()).collect()),
    }
}

/// The active pods to delete, at least that many: those without an index or with an impossible one, all but one of an
/// index, then the least valuable.
fn surplus<'a>(wanted: &Wanted, active: Vec<&'a Member>, at_least: usize) -> Vec<&'a Member> {
    let mut gone = Vec::new();
    let mut left = active;
    if wanted.indexed {
        let (valid, invalid): (Vec<_>, Vec<_>) = left.into_iter().partition(|m| m.is_valid(wanted));
        let (none, beyond): (Vec<_>, Vec<_>) = invalid.into_iter().partition(|m| m.index.is_none());
        gone.extend(none);
        left = Vec::new();
        for of_index in valid.chunk_by(|a, b| a.index == b.index) {
            let mut of_index = of_index.to_vec();
            sort(&mut of_index);
            left.extend(of_index.pop());
            gone.extend(of_index);
        }
        gone.extend(beyond);
    }
    if gone.len() < at_least {
        sort(&mut left);
        left.truncate(at_least - gone.len());
        gone.extend(left);
    }
    gone
}

fn sort(members: &mut [&Member]) {
    members.sort_by(|a, b| pods::plain_deletion_order(&a.pod, &b.pod));
}
