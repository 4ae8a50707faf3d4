//! Which thresholds are met, for how long, and which conditions follow: the part of eviction that remembers.
//! Upstream: eviction_manager.go, synchronize.

use super::threshold::{Condition, Signal, Threshold};
use jiff::{SignedDuration, Timestamp};
use machinery::quantity::{Format, Quantity};
use std::collections::{BTreeMap, BTreeSet};

/// What is left of something, and how much there is in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) available: i64,
    pub(crate) capacity: i64,
}

pub(crate) type Observations = BTreeMap<Signal, Observation>;

/// Thresholds are known by their place in the configuration's list.
#[derive(Debug)]
pub(crate) struct State {
    thresholds: Vec<Threshold>,
    transition: SignedDuration,
    first_met: BTreeMap<usize, Timestamp>,
    /// Met with their grace period over, and not yet resolved.
    acted_on: BTreeSet<usize>,
    last_seen: BTreeMap<Condition, Timestamp>,
}

impl State {
    /// `transition`: how long a condition stays after it was last seen.
    pub(crate) fn new(thresholds: Vec<Threshold>, transition: SignedDuration) -> Self {
        Self {
            thresholds,
            transition,
            first_met: BTreeMap::new(),
            acted_on: BTreeSet::new(),
            last_seen: BTreeMap::new(),
        }
    }

    /// Takes note, and gives the thresholds to act on, memory's before all others.
    pub(crate) fn observe(&mut self, observations: &Observations, now: Timestamp) -> Vec<Threshold> {
        let mut met = self.met(observations, false);
        let unresolved = self.met(observations, true);
        met.extend(unresolved.intersection(&self.acted_on).copied().collect::<Vec<_>>());
        self.first_met = met.iter().map(|i| (*i, self.first_met.get(i).copied().unwrap_or(now))).collect();
        for index in &met {
            self.last_seen.insert(self.thresholds[*index].signal.condition(), now);
        }
        self.acted_on = self
            .first_met
            .iter()
            .filter(|(index, since)| now.duration_since(**since) >= self.thresholds[**index].grace)
            .map(|(index, _)| *index)
            .collect();
        let mut list: Vec<Threshold> = self.acted_on.iter().map(|index| self.thresholds[*index].clone()).collect();
        list.sort_by_key(|t| !matches!(t.signal, Signal::MemoryAvailable | Signal::AllocatableMemoryAvailable));
        list
    }

    /// Whether nothing is short any more, counting what is to be freed beyond the thresholds.
    pub(crate) fn resolved(&self, observations: &Observations) -> bool {
        self.met(observations, true).is_empty()
    }

    pub(crate) fn conditions(&self, now: Timestamp) -> BTreeSet<Condition> {
        let recent = self.last_seen.iter().filter(|(_, seen)| now.duration_since(**seen) < self.transition);
        recent.map(|(condition, _)| *condition).collect()
    }

    fn met(&self, observations: &Observations, with_reclaim: bool) -> BTreeSet<usize> {
        let met = |threshold: &Threshold| {
            let Some(observed) = observations.get(&threshold.signal) else { return false };
            let mut limit = threshold.value.of(observed.capacity);
            if let Some(more) = threshold.minimum_reclaim.as_ref().filter(|_| with_reclaim) {
                limit = limit.add(&more.of(observed.capacity));
            }
            limit > Quantity::new(observed.available, Format::DecimalSi)
        };
        self.thresholds.iter().enumerate().filter(|(_, t)| met(t)).map(|(index, _)| index).collect()
    }
}
