//! Making room: which pods of lower priority would have to go for a pod that no node admits.
//!
//! On each node that removing pods could help, all pods of lower priority are taken off a copy; if the pod fits then,
//! they are put back one by one, the most important first, and those that no longer fit are the victims. Of the nodes
//! the one is chosen whose loss is least. What comes of it is also said in the FailedScheduling message
//! (`preemption: 0/3 nodes are available: ...`), so the search runs even where nothing can be won.

use std::sync::Arc;

use crate::{
    cache::{Snapshot, node::Node, pod::PodInfo},
    cycle::{filters, trial},
    extender,
    fit_error::FitError,
    framework::{
        Framework, PluginSet,
        extension::Cycle,
        status::{Code, Status},
    },
};

/// Of the nodes that may help, at least this share is tried before choosing.
const MIN_CANDIDATE_PERCENTAGE: usize = 10;
/// And at least this many.
const MIN_CANDIDATES: usize = 100;

/// What is to be done.
#[derive(Debug, Default)]
pub struct Preemption {
    /// The node to wait for; `None`: nothing helps.
    pub node: Option<Arc<str>>,
    /// Who must go.
    pub victims: Vec<Arc<PodInfo>>,
    /// For the message.
    pub message: String,
    /// Whether an earlier nomination is void.
    pub clears_nomination: bool,
}

/// A node on which removing pods makes room.
pub struct Candidate {
    /// The node.
    pub place: u32,
    /// Who would have to go, the most important first.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many of them a disruption budget protects.
    pub violations: usize,
}

/// Decides.
pub fn preempt(
    framework: &Framework,
    cycle: &mut Cycle<'_>,
    skipped: PluginSet,
    error: &FitError,
    chance: &mut dyn FnMut(usize) -> usize,
) -> Preemption {
    let (snapshot, pod) = (cycle.snapshot, cycle.pod);
    if let Some(reason) = ineligible(snapshot, pod, error) {
        return Preemption { message: format!("preemption: {reason}"), ..Default::default() };
    }
    let mut outcome = FitError {
        all_nodes: snapshot.order.len(),
        absent: Some(Status::new(Code::UnschedulableAndUnresolvable, "Preemption is not helpful for scheduling")),
        ..Default::default()
    };
    let mut hopeful: Vec<u32> = error
        .by_node
        .iter()
        .filter(|(_, index)| error.statuses[*index as usize].code == Code::Unschedulable)
        .map(|(place, _)| *place)
        .collect();
    // A PreFilter that said "unschedulable" said it of every node.
    if error.by_node.is_empty() && error.absent.as_ref().is_some_and(|status| status.code == Code::Unschedulable) {
        hopeful = snapshot.order.clone();
    }
    let wanted = (hopeful.len() * MIN_CANDIDATE_PERCENTAGE / 100).max(MIN_CANDIDATES).min(hopeful.len());
    let offset = if hopeful.is_empty() { 0 } else { chance(hopeful.len()) };
    let mut candidates: Vec<Candidate> = Vec::new();
    for index in 0..hopeful.len() {
        let place = hopeful[(offset + index) % hopeful.len()];
        match victims_on(framework, cycle, skipped, place) {
            Ok(candidate) => candidates.push(candidate),
            Err(status) => outcome.refuse(place, status),
        }
        if candidates.len() >= wanted && candidates.iter().any(|candidate| candidate.violations == 0) {
            break;
        }
    }
    let candidates = match extender::preempt(framework, snapshot, pod, candidates) {
        Ok(candidates) => candidates,
        Err(why) => return Preemption { message: format!("preemption: {why}"), ..Default::default() },
    };
    match choose(candidates) {
        Some(best) => Preemption {
            node: Some(snapshot.node(best.place).object().name.clone()),
            victims: best.victims,
            message: String::new(),
            clears_nomination: false,
        },
        None => Preemption { message: format!("preemption: {outcome}"), clears_nomination: true, ..Default::default() },
    }
}

fn ineligible(snapshot: &Snapshot, pod: &PodInfo, error: &FitError) -> Option<&'static str> {
    if pod.never_preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let place = snapshot.place(&pod.nominated_node)?;
    if error.status_of(place).is_some_and(|status| status.code == Code::UnschedulableAndUnresolvable) {
        return None;
    }
    snapshot
        .node(place)
        .pods
        .iter()
        .any(|other| other.priority < pod.priority && other.preempted)
        .then_some("not eligible due to a terminating pod on the nominated node.")
}

/// Which of two pods is worth more: the higher priority, then the one that runs longer.
fn importance(pod: &PodInfo) -> (std::cmp::Reverse<i32>, bool, Option<jiff::Timestamp>) {
    // One that has not started counts as started now, so it comes last.
    (std::cmp::Reverse(pod.priority), pod.started.is_none(), pod.started)
}

fn victims_on(
    framework: &Framework,
    cycle: &mut Cycle<'_>,
    skipped: PluginSet,
    place: u32,
) -> Result<Candidate, Status> {
    let (snapshot, pod) = (cycle.snapshot, cycle.pod);
    let mut node = snapshot.node(place).clone();
    let mut lower: Vec<Arc<PodInfo>> =
        node.pods.iter().filter(|other| other.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(Status::new(Code::UnschedulableAndUnresolvable, "No preemption victims found for incoming pod"));
    }
    let before = cycle.state.clone();
    let result = (|| {
        for other in &lower {
            move_pod(framework, cycle, skipped, &mut node, other, false);
        }
        let status = fits(framework, cycle, skipped, &node);
        if !status.is_success() {
            return Err(status);
        }
        lower.sort_by_key(|other| importance(other));
        let (violating, harmless) = by_budget(snapshot, &lower);
        let (mut victims, mut violations) = (Vec::new(), 0);
        for (others, violates) in [(violating, true), (harmless, false)] {
            for other in others {
                move_pod(framework, cycle, skipped, &mut node, &other, true);
                if !fits(framework, cycle, skipped, &node).is_success() {
                    move_pod(framework, cycle, skipped, &mut node, &other, false);
                    violations += usize::from(violates);
                    victims.push(other);
                }
            }
        }
        victims.sort_by_key(|other| importance(other));
        Ok(Candidate { place, victims, violations })
    })();
    cycle.state = before;
    result
}

fn move_pod(
    framework: &Framework,
    cycle: &mut Cycle<'_>,
    skipped: PluginSet,
    node: &mut Node,
    pod: &Arc<PodInfo>,
    add: bool,
) {
    if add {
        node.add(pod.clone());
    } else {
        node.remove(&pod.uid);
    }
    trial(framework, skipped, cycle, pod, node, add);
}

/// The filters, also with the pods that wait for this node.
fn fits(framework: &Framework, cycle: &mut Cycle<'_>, skipped: PluginSet, node: &Node) -> Status {
    let waiting = cycle.snapshot.nominated_before(cycle.pod, node);
    if !waiting.is_empty() {
        let before = cycle.state.clone();
        let mut crowded = node.clone();
        for other in &waiting {
            move_pod(framework, cycle, skipped, &mut crowded, other, true);
        }
        let status = filters(framework, cycle, skipped, &crowded);
        cycle.state = before;
        if !status.is_success() {
            return status;
        }
    }
    filters(framework, cycle, skipped, node)
}

/// Splits pods into those whose loss would break a disruption budget and the others, in order.
fn by_budget(snapshot: &Snapshot, pods: &[Arc<PodInfo>]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: Vec<_> = snapshot.budgets.iter().map(|(key, budget)| (&key.0, budget, budget.allowed)).collect();
    pods.iter().cloned().partition(|pod| {
        let labels = &pod.shape.shape.labels;
        let mut violates = false;
        for (namespace, budget, allowed) in &mut left {
            if **namespace != pod.namespace
                || labels.is_empty()
                || budget.selector.is_everything()
                || !budget.selector.matches(labels)
                || budget.disrupted.iter().any(|name| **name == *pod.name)
            {
                continue;
            }
            *allowed -= 1;
            violates |= *allowed < 0;
        }
        violates
    })
}

/// The candidate whose loss is least: fewest broken budgets, lowest top priority, lowest sum of priorities, fewest
/// pods, the most recently started top pod, the first.
fn choose(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().filter(|candidate| !candidate.victims.is_empty()).min_by_key(|candidate| {
        let top = candidate.victims[0].priority;
        let sum: i64 = candidate.victims.iter().map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1).sum();
        let earliest = candidate
            .victims
            .iter()
            .filter(|pod| pod.priority == top)
            .map(|pod| pod.started.map_or(i128::MAX, |at| at.as_nanosecond()))
            .min();
        (candidate.violations, top, sum, candidate.victims.len(), std::cmp::Reverse(earliest))
    })
}
