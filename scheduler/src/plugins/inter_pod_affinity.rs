//! Pods that want to be, or not to be, in the same domain of nodes as other pods.
//!
//! Existing pods are visited by shape, and nodes without any pod that has such terms are not visited at all when the
//! incoming pod has none either.

use std::{collections::BTreeSet, sync::Arc};

use machinery::field::{self, Path};
use serde::Deserialize;
use serde_json::Value;

use super::{arguments, faultless};
use crate::{
    cache::{
        Snapshot,
        domains::Domains,
        node::Node,
        pod::PodInfo,
        shape::{AffinityTerm, PodShape},
    },
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Cycle, Filter, MAX_NODE_SCORE, Plugin, PreFilter, Scope, Score},
        status::{Code, Status},
    },
};

/// See the module.
pub struct InterPodAffinity {
    hard_weight: i64,
    ignore_preferred_of_existing: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Arguments {
    hard_pod_affinity_weight: Option<i64>,
    ignore_preferred_terms_of_existing_pods: bool,
}

impl InterPodAffinity {
    /// From InterPodAffinityArgs.
    pub fn new(args: &Value) -> Result<Self, String> {
        let args: Arguments = arguments(args)?;
        let hard_weight = args.hard_pod_affinity_weight.unwrap_or(1);
        if !(0..=100).contains(&hard_weight) {
            let path = Path::new("hardPodAffinityWeight");
            faultless(&[field::Error::invalid(&path, hard_weight, "not in valid range [0, 100]")])?;
        }
        Ok(Self { hard_weight, ignore_preferred_of_existing: args.ignore_preferred_terms_of_existing_pods })
    }
}

/// A number for each domain of each label that was counted by: pods, or what they weigh.
#[derive(Clone, Default)]
struct Counts(Vec<Count>);

#[derive(Clone)]
struct Count {
    key: Arc<str>,
    domains: Arc<Domains>,
    /// By the domain's number.
    numbers: Vec<i64>,
    /// How many of them are not zero.
    used: usize,
}

impl Counts {
    /// Adds to the domain that a label makes of the node, if the node has that label.
    fn add(&mut self, snapshot: &Snapshot, node: &Node, key: &Arc<str>, by: i64) {
        let at = self.0.iter().position(|count| count.key == *key).unwrap_or_else(|| {
            let domains = snapshot.domains(key);
            self.0.push(Count { key: key.clone(), numbers: vec![0; domains.numbers()], domains, used: 0 });
            self.0.len() - 1
        });
        let Count { domains, numbers, used, .. } = &mut self.0[at];
        if let Some(domain) = domains.at(node.place) {
            let number = &mut numbers[domain];
            *used -= usize::from(*number != 0);
            *number += by;
            *used += usize::from(*number != 0);
        }
    }

    /// Whether every domain has zero.
    fn is_empty(&self) -> bool {
        self.0.iter().all(|count| count.used == 0)
    }

    /// Of the domain that a label makes of the node; `None` if the node lacks that label.
    fn of(&self, node: &Node, key: &Arc<str>) -> Option<i64> {
        match self.0.iter().find(|count| count.key == *key) {
            Some(count) => count.at(node),
            None => node.object().labels.get(key).map(|_| 0),
        }
    }

    /// Of all domains that the node is in.
    fn all(&self, node: &Node) -> impl Iterator<Item = i64> {
        self.0.iter().filter_map(|count| count.at(node))
    }
}

impl Count {
    fn at(&self, node: &Node) -> Option<i64> {
        self.domains.at(node.place).map(|domain| self.numbers[domain])
    }
}

fn matches(snapshot: &Snapshot, term: &AffinityTerm, shape: &PodShape) -> bool {
    term.matches(shape, snapshot.namespaces.get(&shape.namespace))
}

fn matches_all(snapshot: &Snapshot, terms: &[AffinityTerm], shape: &PodShape) -> bool {
    !terms.is_empty() && terms.iter().all(|term| matches(snapshot, term, shape))
}

#[derive(Clone, Default)]
struct FilterState {
    /// Domains that existing pods keep this pod out of.
    existing_anti: Counts,
    /// Domains with pods this pod must be with.
    affinity: Counts,
    /// Domains with pods this pod must not be with.
    anti: Counts,
}

/// What pods of one shape mean to the incoming pod: the labels whose domains they count in.
#[derive(Default)]
struct Meaning {
    existing_anti: Vec<Arc<str>>,
    affinity: Vec<Arc<str>>,
    anti: Vec<Arc<str>>,
}

impl Meaning {
    fn of(snapshot: &Snapshot, incoming: &PodShape, other: &PodShape) -> Self {
        let keys = |terms: &[AffinityTerm], of: &PodShape| {
            terms.iter().filter(|term| matches(snapshot, term, of)).map(|term| term.topology_key.clone()).collect()
        };
        let own = &incoming.affinity;
        let together = matches_all(snapshot, &own.required, other);
        Self {
            existing_anti: keys(&other.affinity.anti_required, incoming),
            affinity: if together { keys(&own.required, other) } else { Vec::new() },
            anti: keys(&own.anti_required, other),
        }
    }

    fn is_nothing(&self) -> bool {
        self.existing_anti.is_empty() && self.affinity.is_empty() && self.anti.is_empty()
    }
}

impl FilterState {
    fn count(&mut self, snapshot: &Snapshot, meaning: &Meaning, node: &Node, by: i64) {
        for (counts, keys) in [
            (&mut self.existing_anti, &meaning.existing_anti),
            (&mut self.affinity, &meaning.affinity),
            (&mut self.anti, &meaning.anti),
        ] {
            keys.iter().for_each(|key| counts.add(snapshot, node, key, by));
        }
    }
}

impl PreFilter for InterPodAffinity {
    fn pre_filter(&self, cycle: &mut Cycle<'_>) -> (Status, Option<BTreeSet<Arc<str>>>) {
        let (snapshot, shape) = (cycle.snapshot, cycle.pod.shape.shape.clone());
        let own_terms = !shape.affinity.required.is_empty() || !shape.affinity.anti_required.is_empty();
        if !own_terms && snapshot.with_anti_affinity == 0 {
            return (Status::skip(), None);
        }
        // What shapes mean, asked once instead of on every node.
        let meanings =
            snapshot.shapes.each(|other| Some(Meaning::of(snapshot, &shape, other)).filter(|m| !m.is_nothing()));
        let mut state = FilterState::default();
        for place in &snapshot.order {
            let node = snapshot.node(*place);
            if !own_terms && node.with_anti_affinity == 0 {
                continue;
            }
            for count in &node.shapes {
                if let Some(meaning) = &meanings[count.slot as usize] {
                    state.count(snapshot, meaning, node, i64::from(count.total));
                }
            }
        }
        if !own_terms && state.existing_anti.is_empty() {
            return (Status::skip(), None);
        }
        cycle.state.put(state);
        (Status::success(), None)
    }

    fn trial(&self, cycle: &mut Cycle<'_>, pod: &PodInfo, node: &Node, added: bool) {
        let snapshot = cycle.snapshot;
        let shape = cycle.pod.shape.shape.clone();
        if let Some(state) = cycle.state.get_mut::<FilterState>() {
            let meaning = Meaning::of(snapshot, &shape, &pod.shape.shape);
            state.count(snapshot, &meaning, node, if added { 1 } else { -1 });
        }
    }
}

impl Filter for InterPodAffinity {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        let Some(state) = cycle.state.get::<FilterState>() else { return Status::success() };
        let shape = &cycle.pod.shape.shape;
        let mut together = true;
        let mut keyed = true;
        for term in &shape.affinity.required {
            match state.affinity.of(node, &term.topology_key) {
                Some(count) if count > 0 => {}
                Some(_) => together = false,
                None => keyed = false,
            }
        }
        // The first of a series that wants to be together has nobody to be with.
        let first = || state.affinity.is_empty() && matches_all(cycle.snapshot, &shape.affinity.required, shape);
        if !keyed || !(together || first()) {
            return Status::new(Code::UnschedulableAndUnresolvable, "node(s) didn't match pod affinity rules");
        }
        let anti = &shape.affinity.anti_required;
        if anti.iter().any(|term| state.anti.of(node, &term.topology_key).is_some_and(|count| count > 0)) {
            return Status::new(Code::Unschedulable, "node(s) didn't match pod anti-affinity rules");
        }
        if state.existing_anti.all(node).any(|count| count > 0) {
            return Status::new(Code::Unschedulable, "node(s) didn't satisfy existing pods anti-affinity rules");
        }
        Status::success()
    }
}

/// What the domains weigh.
#[derive(Clone, Default)]
struct ScoreState(Counts);

impl Score for InterPodAffinity {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn pre_score(&self, cycle: &mut Cycle<'_>, _: &[u32]) -> Status {
        let (snapshot, shape) = (cycle.snapshot, &cycle.pod.shape.shape);
        let own = &shape.affinity;
        let own_terms = !own.preferred.is_empty() || !own.anti_preferred.is_empty();
        if !own_terms && (self.ignore_preferred_of_existing || snapshot.with_affinity == 0) {
            return Status::skip();
        }
        let mut state = ScoreState::default();
        for place in &snapshot.order {
            let node = snapshot.node(*place);
            if !own_terms && node.with_affinity == 0 {
                continue;
            }
            for count in &node.shapes {
                let Some(other) = snapshot.shapes.get(count.slot) else { continue };
                let pods = i64::from(count.total);
                for (sign, terms) in [(1, &own.preferred), (-1, &own.anti_preferred)] {
                    for (weight, term) in terms {
                        if matches(snapshot, term, other) {
                            state.0.add(snapshot, node, &term.topology_key, sign * i64::from(*weight) * pods);
                        }
                    }
                }
                if !other.affinity.any {
                    continue;
                }
                if self.hard_weight > 0 {
                    for term in &other.affinity.required {
                        if matches(snapshot, term, shape) {
                            state.0.add(snapshot, node, &term.topology_key, self.hard_weight * pods);
                        }
                    }
                }
                for (sign, terms) in [(1, &other.affinity.preferred), (-1, &other.affinity.anti_preferred)] {
                    for (weight, term) in terms {
                        if matches(snapshot, term, shape) {
                            state.0.add(snapshot, node, &term.topology_key, sign * i64::from(*weight) * pods);
                        }
                    }
                }
            }
        }
        if state.0.is_empty() {
            return Status::skip();
        }
        cycle.state.put(state);
        Status::success()
    }

    fn score(&self, cycle: &Cycle<'_>, node: &Node) -> i64 {
        let Some(state) = cycle.state.get::<ScoreState>() else { return 0 };
        state.0.all(node).sum()
    }

    fn normalize(&self, _: &Cycle<'_>, _: &[u32], scores: &mut [i64]) {
        let (Some(lowest), Some(highest)) = (scores.iter().copied().min(), scores.iter().copied().max()) else {
            return;
        };
        for score in scores {
            *score = if highest > lowest {
                (MAX_NODE_SCORE as f64 * ((*score - lowest) as f64 / (highest - lowest) as f64)) as i64
            } else {
                0
            };
        }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn events(&self) -> Action {
        Action::POD_ADD
            .or(Action::POD_DELETE)
            .or(Action::POD_UPDATE_LABEL)
            .or(Action::NODE_ADD)
            .or(Action::NODE_UPDATE_LABEL)
    }

    fn hint(&self, pod: &PodInfo, event: &Event, context: &HintContext<'_>) -> Hint {
        let own = &pod.shape.shape.affinity;
        let all = |terms: &[AffinityTerm], shape: &PodShape| {
            !terms.is_empty()
                && terms.iter().all(|term| term.matches(shape, context.snapshot.namespaces.get(&shape.namespace)))
        };
        match &event.change {
            Change::Pod { old, new } => {
                if let (Some(_), Some(new)) = (old, new)
                    && new.uid == pod.uid
                {
                    return Hint::Queue;
                }
                if [old, new].into_iter().flatten().any(|other| !other.is_assigned() && other.nominated_node.is_empty())
                {
                    return Hint::Skip;
                }
                match (old, new) {
                    (Some(old), Some(new)) => {
                        let (before, after) = (&old.shape.shape, &new.shape.shape);
                        Hint::from(
                            (!all(&own.required, before) && all(&own.required, after))
                                || (all(&own.anti_required, before) && !all(&own.anti_required, after)),
                        )
                    }
                    (None, Some(new)) => Hint::from(all(&own.required, &new.shape.shape)),
                    (Some(gone), None) => Hint::from(
                        all(&own.anti_required, &gone.shape.shape)
                            || all(&gone.shape.shape.affinity.anti_required, &pod.shape.shape),
                    ),
                    (None, None) => Hint::Skip,
                }
            }
            Change::Node { old, new: Some(new) } => {
                let helps = |term: &AffinityTerm, anti: bool| {
                    let after = new.labels.get(&term.topology_key);
                    match old.as_ref().map(|old| old.labels.get(&term.topology_key)) {
                        // A new node: anti-affinity is content with one that lacks the label, too.
                        None => anti || after.is_some(),
                        Some(before) => match (before, after) {
                            (None, Some(_)) => !anti,
                            (Some(_), None) => anti,
                            (before, after) => before != after,
                        },
                    }
                };
                Hint::from(
                    own.required.iter().any(|term| helps(term, false))
                        || own.anti_required.iter().any(|term| helps(term, true)),
                )
            }
            _ => Hint::Skip,
        }
    }

    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}
