//! What is remembered of an autoscaler between its turns: what was recommended, and what was changed. Lost with the process,
//! as upstream's.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// A change of the size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// How many pods more, or fewer.
    pub(super) change: i32,
    pub(super) at: Timestamp,
    /// No policy looks back so far: its place is free.
    pub(super) outdated: bool,
}

/// Of one autoscaler.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// Sizes that metrics asked for, before they were stabilised.
    pub(super) recommendations: Vec<(i32, Timestamp)>,
    pub(super) ups: Vec<Step>,
    pub(super) downs: Vec<Step>,
}

impl Memory {
    /// The size that an autoscaler finds is its first recommendation.
    pub(super) fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((current, now));
        }
    }

    /// Takes a recommendation, in the place of an `old` one if there is one.
    pub(super) fn recommend(&mut self, size: i32, old: Option<usize>, now: Timestamp) {
        match old.and_then(|at| self.recommendations.get_mut(at)) {
            Some(place) => *place = (size, now),
            None => self.recommendations.push((size, now)),
        }
    }

    /// Takes a change that was made. `longest_secs` is the longest period of the policies of that direction.
    pub(super) fn scaled(&mut self, before: i32, after: i32, longest_secs: i32, now: Timestamp) {
        let steps = if after > before { &mut self.ups } else { &mut self.downs };
        let cutoff = ago(now, longest_secs);
        steps.iter_mut().filter(|step| step.at < cutoff).for_each(|step| step.outdated = true);
        let new = Step { change: after.abs_diff(before) as i32, at: now, outdated: false };
        match steps.iter_mut().rfind(|step| step.outdated) {
            Some(place) => *place = new,
            None => steps.push(new),
        }
    }
}

/// Pods that were added, or taken away, in a period that ends now.
pub(super) fn changed(steps: &[Step], period_secs: i32, now: Timestamp) -> i32 {
    let cutoff = ago(now, period_secs);
    steps.iter().filter(|step| step.at > cutoff).map(|step| step.change).sum()
}

pub(super) fn ago(now: Timestamp, secs: i32) -> Timestamp {
    now.saturating_sub(SignedDuration::from_secs(i64::from(secs))).unwrap_or(Timestamp::MIN)
}
