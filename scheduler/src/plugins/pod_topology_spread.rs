//! Spreads the pods of a workload over domains of nodes: by the pod's own constraints, or by default over hosts and zones.
//!
//! Pods are counted by shape: whether a constraint selects a shape is asked once a cycle, not once for every pod.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use machinery::{
    field::{self, Path},
    names::qualified_name,
};
use serde::Deserialize;
use serde_json::Value;

use super::{arguments, faultless};
use crate::{
    cache::{
        Snapshot,
        domains::Domains,
        labels::{Interner, Selector},
        node::{Node, NodeObject},
        pod::PodInfo,
        shape::{PodShape, SpreadConstraint},
    },
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Cycle, Filter, MAX_NODE_SCORE, Plugin, PreFilter, Scope, Score},
        status::{Code, Status},
    },
};

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// See the module.
pub struct PodTopologySpread {
    defaults: Vec<SpreadConstraint>,
    /// The defaults are the built-in ones: then a node may lack a label.
    system_defaults: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Arguments {
    default_constraints: Vec<TopologySpreadConstraint>,
    defaulting_type: Option<String>,
}

fn faults(kind: &str, constraints: &[TopologySpreadConstraint]) -> Vec<field::Error> {
    let mut faults = Vec::new();
    let path = Path::new("defaultingType");
    if !["System", "List"].contains(&kind) {
        faults.push(field::Error::not_supported(&path, kind, ["System", "List"]));
    } else if kind == "System" && !constraints.is_empty() {
        faults.push(field::Error::invalid(&path, kind, "when .defaultConstraints are not empty"));
    }
    for (index, constraint) in constraints.iter().enumerate() {
        let path = Path::new("defaultConstraints").index(index);
        if constraint.max_skew <= 0 {
            let path = path.child("maxSkew");
            faults.push(field::Error::invalid(&path, constraint.max_skew, "not in valid range (0, inf)"));
        }
        let (key, key_path) = (&constraint.topology_key, path.child("topologyKey"));
        if key.is_empty() {
            faults.push(field::Error::required(&key_path, "can not be empty"));
        } else {
            let invalid = |why| field::Error::invalid(&key_path, key.as_str(), why);
            faults.extend(qualified_name(key).into_iter().map(invalid));
        }
        let (action, action_path) = (&constraint.when_unsatisfiable, path.child("whenUnsatisfiable"));
        let supported = ["DoNotSchedule", "ScheduleAnyway"];
        if action.is_empty() {
            faults.push(field::Error::required(&action_path, "can not be empty"));
        } else if !supported.contains(&action.as_str()) {
            faults.push(field::Error::not_supported(&action_path, action.as_str(), supported));
        }
        if constraint.label_selector.is_some() {
            let why = "constraint must not define a selector, as they deduced for each pod";
            faults.push(field::Error::forbidden(&path.child("labelSelector"), why));
        }
        let same = |other: &TopologySpreadConstraint| other.topology_key == *key && other.when_unsatisfiable == *action;
        if constraints[..index].iter().any(same) {
            faults.push(field::Error::duplicate(&path, format!("{{{key}, {action}}}")));
        }
    }
    faults
}

impl PodTopologySpread {
    /// From PodTopologySpreadArgs.
    pub fn new(args: &Value, interner: &mut Interner) -> Result<Self, String> {
        let args: Arguments = arguments(args)?;
        let mut system = |key: &str, max_skew: i32| {
            let constraint = TopologySpreadConstraint {
                max_skew,
                topology_key: key.to_owned(),
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                ..Default::default()
            };
            SpreadConstraint::new(&constraint, Selector::Nothing, interner)
        };
        let kind = args.defaulting_type.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("System");
        faultless(&faults(kind, &args.default_constraints))?;
        if kind == "System" {
            return Ok(Self { defaults: vec![system(HOSTNAME, 3), system(ZONE, 5)], system_defaults: true });
        }
        let own = |constraint| SpreadConstraint::new(constraint, Selector::Nothing, interner);
        Ok(Self { defaults: args.default_constraints.iter().map(own).collect(), system_defaults: false })
    }

    fn constraints(&self, snapshot: &Snapshot, shape: &PodShape, hard: bool) -> Vec<SpreadConstraint> {
        if !shape.spread.is_empty() {
            return shape.spread.iter().filter(|constraint| constraint.hard == hard).cloned().collect();
        }
        let mut chosen: Vec<_> = self.defaults.iter().filter(|constraint| constraint.hard == hard).cloned().collect();
        if !chosen.is_empty() {
            let selector = snapshot.owners.default_selector(shape);
            if selector.is_everything() {
                return Vec::new();
            }
            for constraint in &mut chosen {
                constraint.selector = selector.clone();
            }
        }
        chosen
    }
}

/// Instead of a number of pods: no node of the domain counts.
const NOT_COUNTED: i64 = -1;

/// Of each constraint.
fn domains(snapshot: &Snapshot, constraints: &[SpreadConstraint]) -> Arc<[Arc<Domains>]> {
    constraints.iter().map(|constraint| snapshot.domains(&constraint.topology_key)).collect()
}

fn not_counted(domains: &[Arc<Domains>]) -> Vec<Vec<i64>> {
    domains.iter().map(|domains| vec![NOT_COUNTED; domains.numbers()]).collect()
}

/// Whether the node at a place has the labels of all constraints.
fn has_all_keys(domains: &[Arc<Domains>], place: u32) -> bool {
    domains.iter().all(|domains| domains.at(place).is_some())
}

impl SpreadConstraint {
    /// Whether it counts all nodes that have its label, without a look at them.
    fn counts_all(&self, shape: &PodShape) -> bool {
        let picks = shape.node_selector.is_some() || shape.required_nodes.is_some();
        !(self.honor_taints || (self.honor_affinity && picks))
    }

    fn counts_node(&self, shape: &PodShape, node: &NodeObject) -> bool {
        (!self.honor_affinity || shape.admits_node(&node.labels, &node.name))
            && (!self.honor_taints || shape.untolerated(&node.taints).is_none())
    }
}

/// For each constraint, the slots of the shapes it selects.
fn selections(snapshot: &Snapshot, namespace: &Arc<str>, constraints: &[SpreadConstraint]) -> Vec<Arc<Vec<bool>>> {
    let mut all: Vec<Arc<Vec<bool>>> = Vec::with_capacity(constraints.len());
    for (index, constraint) in constraints.iter().enumerate() {
        let same = constraints[..index].iter().position(|earlier| earlier.selector == constraint.selector);
        let selected = match same {
            Some(earlier) => all[earlier].clone(),
            // A selector of everything counts nothing, as upstream has it.
            None if constraint.selector.is_everything() => Arc::default(),
            None => Arc::new(
                snapshot
                    .shapes
                    .each(|shape| shape.namespace == *namespace && constraint.selector.matches(&shape.labels)),
            ),
        };
        all.push(selected);
    }
    all
}

fn count(node: &Node, selected: &[bool]) -> i64 {
    node.shapes
        .iter()
        .filter(|shape| selected.get(shape.slot as usize).copied().unwrap_or(false))
        .map(|shape| i64::from(shape.live))
        .sum()
}

/// Pods in each domain of each hard constraint.
#[derive(Clone)]
struct HardState {
    constraints: Arc<[SpreadConstraint]>,
    domains: Arc<[Arc<Domains>]>,
    /// By the domain's number.
    counts: Vec<Vec<i64>>,
    lowest: Vec<i64>,
    /// 1 where the pod itself counts.
    own: Arc<[i64]>,
}

impl HardState {
    fn find_lowest(&mut self) {
        self.lowest = self
            .counts
            .iter()
            .zip(self.constraints.iter())
            .map(|(counts, constraint)| {
                let counted = counts.iter().filter(|count| **count != NOT_COUNTED);
                let (domains, lowest) =
                    counted.fold((0, i64::MAX), |(domains, lowest), count| (domains + 1, lowest.min(*count)));
                if domains == 0 || domains < constraint.min_domains { 0 } else { lowest }
            })
            .collect();
    }
}

impl PreFilter for PodTopologySpread {
    fn pre_filter(&self, cycle: &mut Cycle<'_>) -> (Status, Option<BTreeSet<Arc<str>>>) {
        let (snapshot, shape) = (cycle.snapshot, &cycle.pod.shape.shape);
        let constraints = self.constraints(snapshot, shape, true);
        if constraints.is_empty() {
            return (Status::skip(), None);
        }
        let selected = selections(snapshot, &shape.namespace, &constraints);
        let domains = domains(snapshot, &constraints);
        let mut counts = not_counted(&domains);
        for &place in &snapshot.order {
            if !has_all_keys(&domains, place) {
                continue;
            }
            let node = snapshot.node(place);
            for (index, constraint) in constraints.iter().enumerate() {
                if let Some(domain) = domains[index].at(place)
                    && constraint.counts_node(shape, node.object())
                {
                    let sum = &mut counts[index][domain];
                    *sum = (*sum).max(0) + count(node, &selected[index]);
                }
            }
        }
        let own = constraints.iter().map(|constraint| i64::from(constraint.selector.matches(&shape.labels))).collect();
        let mut state = HardState { constraints: constraints.into(), domains, counts, lowest: Vec::new(), own };
        state.find_lowest();
        cycle.state.put(state);
        (Status::success(), None)
    }

    fn trial(&self, cycle: &mut Cycle<'_>, pod: &PodInfo, node: &Node, added: bool) {
        let shape = &cycle.pod.shape.shape;
        let Some(state) = cycle.state.get_mut::<HardState>() else { return };
        let moved = &pod.shape.shape;
        if moved.namespace != shape.namespace || !has_all_keys(&state.domains, node.place) {
            return;
        }
        for (index, constraint) in state.constraints.iter().enumerate() {
            if let Some(domain) = state.domains[index].at(node.place)
                && constraint.selector.matches(&moved.labels)
                && constraint.counts_node(shape, node.object())
            {
                let sum = &mut state.counts[index][domain];
                *sum = (*sum).max(0) + if added { 1 } else { -1 };
            }
        }
        state.find_lowest();
    }
}

impl Filter for PodTopologySpread {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        let Some(state) = cycle.state.get::<HardState>() else { return Status::success() };
        for (index, constraint) in state.constraints.iter().enumerate() {
            let Some(domain) = state.domains[index].at(node.place) else {
                return Status::new(
                    Code::UnschedulableAndUnresolvable,
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                );
            };
            let there = state.counts[index][domain].max(0);
            if there + state.own[index] - state.lowest[index] > i64::from(constraint.max_skew) {
                return Status::new(Code::Unschedulable, "node(s) didn't match pod topology spread constraints");
            }
        }
        Status::success()
    }
}

/// What scoring worked out for the soft constraints.
#[derive(Clone)]
struct SoftState {
    constraints: Vec<SpreadConstraint>,
    domains: Arc<[Arc<Domains>]>,
    selected: Vec<Arc<Vec<bool>>>,
    /// Pods in each domain that an admitted node is in, by its number; not for the host name, counted node by node.
    counts: Vec<Vec<i64>>,
    weights: Vec<f64>,
    require_all: bool,
}

impl Score for PodTopologySpread {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn pre_score(&self, cycle: &mut Cycle<'_>, nodes: &[u32]) -> Status {
        let (snapshot, shape) = (cycle.snapshot, &cycle.pod.shape.shape);
        let constraints = self.constraints(snapshot, shape, false);
        if constraints.is_empty() {
            return Status::skip();
        }
        let require_all = !shape.spread.is_empty() || !self.system_defaults;
        let domains = domains(snapshot, &constraints);
        let mut counts = not_counted(&domains);
        let mut considered = 0;
        for &place in nodes {
            if require_all && !has_all_keys(&domains, place) {
                continue;
            }
            considered += 1;
            for (index, constraint) in constraints.iter().enumerate() {
                if &*constraint.topology_key != HOSTNAME {
                    counts[index][domains[index].at_or_unnamed(place)] = 0;
                }
            }
        }
        let selected = selections(snapshot, &shape.namespace, &constraints);
        let any_lacks_key = require_all && !domains.iter().all(|domains| domains.is_complete());
        for (index, constraint) in constraints.iter().enumerate() {
            if &*constraint.topology_key == HOSTNAME {
                continue;
            }
            if constraint.counts_all(shape) && !any_lacks_key {
                snapshot.add_live(&constraint.topology_key, &selected[index], &mut counts[index]);
                continue;
            }
            for &place in &snapshot.order {
                let node = snapshot.node(place);
                let here = count(node, &selected[index]);
                if here == 0
                    || (require_all && !has_all_keys(&domains, place))
                    || !constraint.counts_node(shape, node.object())
                {
                    continue;
                }
                let sum = &mut counts[index][domains[index].at_or_unnamed(place)];
                if *sum != NOT_COUNTED {
                    *sum += here;
                }
            }
        }
        let weights = constraints
            .iter()
            .zip(&counts)
            .map(|(constraint, counts)| {
                let counted = || counts.iter().filter(|count| **count != NOT_COUNTED).count();
                let domains = if &*constraint.topology_key == HOSTNAME { considered } else { counted() };
                ((domains + 2) as f64).ln()
            })
            .collect();
        cycle.state.put(SoftState { constraints, domains, selected, counts, weights, require_all });
        Status::success()
    }

    fn score(&self, cycle: &Cycle<'_>, node: &Node) -> i64 {
        let Some(state) = cycle.state.get::<SoftState>() else { return 0 };
        if state.require_all && !has_all_keys(&state.domains, node.place) {
            return 0;
        }
        let mut score = 0.0;
        for (index, constraint) in state.constraints.iter().enumerate() {
            let Some(domain) = state.domains[index].at(node.place) else { continue };
            let pods = if &*constraint.topology_key == HOSTNAME {
                count(node, &state.selected[index])
            } else {
                state.counts[index][domain].max(0)
            };
            score += pods as f64 * state.weights[index] + f64::from(constraint.max_skew - 1);
        }
        score.round() as i64
    }

    fn normalize(&self, cycle: &Cycle<'_>, nodes: &[u32], scores: &mut [i64]) {
        let Some(state) = cycle.state.get::<SoftState>() else { return };
        let ignored = |place: &u32| state.require_all && !has_all_keys(&state.domains, *place);
        let counted = || nodes.iter().zip(scores.iter()).filter(|(place, _)| !ignored(place)).map(|(_, score)| *score);
        let (lowest, highest) = (counted().min().unwrap_or(0), counted().max().unwrap_or(0));
        for (place, score) in nodes.iter().zip(scores) {
            *score = if ignored(place) {
                0
            } else if highest == 0 {
                MAX_NODE_SCORE
            } else {
                MAX_NODE_SCORE * (highest + lowest - *score) / highest
            };
        }
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn events(&self) -> Action {
        Action::POD_ADD
            .or(Action::POD_DELETE)
            .or(Action::POD_UPDATE_LABEL)
            .or(Action::POD_UPDATE_TOLERATION)
            .or(Action::NODE_ADD)
            .or(Action::NODE_DELETE)
            .or(Action::NODE_UPDATE_LABEL)
            .or(Action::NODE_UPDATE_TAINT)
    }

    fn hint(&self, pod: &PodInfo, event: &Event, _: &HintContext<'_>) -> Hint {
        let shape = &pod.shape.shape;
        // Default constraints never refuse a node unless a configuration makes them hard; then any change may help.
        if shape.spread.is_empty() {
            return Hint::Queue;
        }
        let hard = || shape.spread.iter().filter(|constraint| constraint.hard);
        let involved = |other: &PodInfo| {
            other.uid == pod.uid
                || ((other.is_assigned() || !other.nominated_node.is_empty()) && other.namespace == pod.namespace)
        };
        let selects = |other: &PodInfo| hard().any(|constraint| constraint.selector.matches(&other.shape.shape.labels));
        match &event.change {
            Change::Pod { old, new } => {
                if [old, new].into_iter().flatten().any(|other| !involved(other)) {
                    return Hint::Skip;
                }
                match (old, new) {
                    (Some(old), Some(new)) => {
                        let (before, after) = (&old.shape.shape, &new.shape.shape);
                        if new.uid == pod.uid
                            && before.tolerations != after.tolerations
                            && hard().any(|constraint| constraint.honor_taints)
                        {
                            return Hint::Queue;
                        }
                        Hint::from(hard().any(|constraint| {
                            constraint.selector.matches(&before.labels) != constraint.selector.matches(&after.labels)
                        }))
                    }
                    (Some(other), None) | (None, Some(other)) => Hint::from(selects(other)),
                    (None, None) => Hint::Skip,
                }
            }
            Change::Node { old, new } => {
                let keyed =
                    |node: &NodeObject| hard().all(|constraint| node.labels.get(&constraint.topology_key).is_some());
                match (old, new) {
                    (Some(old), Some(new)) => {
                        let (before, after) = (keyed(old), keyed(new));
                        let moved = hard().any(|constraint| {
                            old.labels.get(&constraint.topology_key) != new.labels.get(&constraint.topology_key)
                        });
                        Hint::from(before != after || (after && (moved || old.taints != new.taints)))
                    }
                    (Some(node), None) | (None, Some(node)) => Hint::from(keyed(node)),
                    (None, None) => Hint::Skip,
                }
            }
            Change::Flush => Hint::Queue,
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
