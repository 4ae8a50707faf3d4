//! One scheduling cycle: from a snapshot and a pod to a decision, touching nothing else.
//!
//! What makes it fast: filters and scores that depend on nothing but the pod's shape and a node are answered from memory
//! for all pods of a shape, as long as the node is the same ([`memory`]), the rest is arithmetic on a node's numbers, and
//! no buffer is allocated anew in each cycle. What it decides is upstream's `schedulePod`: the nodes are visited in turn
//! from where the last cycle stopped, until enough are found; the highest weighted sum wins, and chance among equals.

mod memory;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use memory::{Memo, Memos, ShapeMemo, raw_scores};

use crate::{
    cache::{Snapshot, node::Node, pod::PodInfo},
    extender,
    fit_error::FitError,
    framework::{
        Framework, KEPT_SCORES, PluginSet,
        extension::{Cycle, MAX_NODE_SCORE},
        status::{Code, Status},
    },
    metrics::{Point, SAMPLE},
    why::Score,
};

/// Fewer nodes than this are all looked at.
const MIN_FEASIBLE_NODES: usize = 100;
/// However large the cluster, this percentage of it is looked for.
const MIN_FEASIBLE_PERCENTAGE: usize = 5;

/// What came of a cycle.
#[derive(Debug)]
pub enum Decision {
    /// A node was found.
    Bind {
        /// Its place in the snapshot.
        place: u32,
        /// Nodes that admit the pod.
        feasible: usize,
        /// Nodes looked at.
        evaluated: usize,
        /// What each plugin gave it; none if there was no other.
        scores: Vec<Score>,
    },
    /// No node admits the pod.
    Unschedulable(Box<FitError>),
    /// There is no node at all.
    NoNodes,
    /// A plugin failed.
    Error(String),
}

/// Buffers and memories that outlive a cycle; they never change what is decided.
#[derive(Default)]
pub struct Workspace {
    memos: Memos,
    cycles: u64,
    start: usize,
    feasible: Vec<u32>,
    totals: Vec<i64>,
    raw: Vec<i64>,
}

/// How many nodes to find before scoring (`numFeasibleNodesToFind`).
pub fn nodes_to_find(percentage: u32, all: usize) -> usize {
    if all < MIN_FEASIBLE_NODES {
        return all;
    }
    let percentage = match percentage as usize {
        0 => 50usize.saturating_sub(all / 125).max(MIN_FEASIBLE_PERCENTAGE),
        set => set,
    };
    (all * percentage / 100).max(MIN_FEASIBLE_NODES)
}

/// Decides. `chance(n)` gives a number below n. Also returns the state that plugins built, for trying preemption on.
pub fn schedule_one<'a>(
    framework: &Framework,
    snapshot: &'a Snapshot,
    pod: &'a PodInfo,
    workspace: &mut Workspace,
    chance: &mut dyn FnMut(usize) -> usize,
) -> (Decision, Cycle<'a>, PluginSet) {
    let mut cycle = Cycle::new(pod, snapshot);
    cycle.measured = workspace.cycles.is_multiple_of(SAMPLE);
    let mut skipped = PluginSet::default();
    let decision = decide(framework, &mut cycle, &mut skipped, workspace, chance);
    (decision, cycle, skipped)
}

fn decide(
    framework: &Framework,
    cycle: &mut Cycle<'_>,
    skipped: &mut PluginSet,
    workspace: &mut Workspace,
    chance: &mut dyn FnMut(usize) -> usize,
) -> Decision {
    let snapshot = cycle.snapshot;
    let all = snapshot.order.len();
    if all == 0 {
        return Decision::NoNodes;
    }
    let mut error = FitError { all_nodes: all, ..Default::default() };
    let begun = Instant::now();
    let only = match pre_filters(framework, cycle, skipped, &mut error) {
        Ok(only) => only,
        Err((code, message)) => {
            framework.metrics.ran(Point::PreFilter, code, begun.elapsed());
            return message.map_or_else(|| Decision::Unschedulable(Box::new(error)), Decision::Error);
        }
    };
    framework.metrics.ran(Point::PreFilter, Code::Success, begun.elapsed());

    workspace.cycles += 1;
    let mut memo = workspace.memos.take(cycle.pod.shape.serial, workspace.cycles, snapshot.nodes.len());
    let begun = Instant::now();
    let found = find(framework, cycle, *skipped, workspace, &mut memo, &mut error, only.as_ref());
    let code = if found.is_ok() { Code::Success } else { Code::Error };
    framework.metrics.ran(Point::Filter, code, begun.elapsed());
    for &index in framework.object_filters.iter().chain(&framework.pod_filters) {
        if !skipped.contains(index) {
            framework.metrics.evaluated(index, Point::Filter);
        }
    }
    let evaluated = workspace.feasible.len() + error.by_node.len();
    let decision = match (found, workspace.feasible.as_slice()) {
        (Err(message), _) => return Decision::Error(message),
        (Ok(()), []) => Decision::Unschedulable(Box::new(error)),
        (Ok(()), [place]) => Decision::Bind { place: *place, feasible: 1, evaluated, scores: Vec::new() },
        (Ok(()), several) => {
            let feasible = several.len();
            match choose(framework, cycle, workspace, &mut memo, chance) {
                Ok((place, scores)) => Decision::Bind { place, feasible, evaluated, scores },
                Err(message) => Decision::Error(message),
            }
        }
    };
    workspace.memos.put(cycle.pod.shape.serial, memo);
    decision
}

/// Nodes by name.
type Names = BTreeSet<Arc<str>>;

/// Runs all PreFilters: the nodes that they narrow the search to, or the code with which they end the cycle, with a
/// message where that is an error.
fn pre_filters(
    framework: &Framework,
    cycle: &mut Cycle<'_>,
    skipped: &mut PluginSet,
    error: &mut FitError,
) -> Result<Option<Names>, (Code, Option<String>)> {
    let mut only: Option<Names> = None;
    for &index in &framework.pre_filters {
        let plugin = &framework.plugins[index];
        let Some(pre_filter) = plugin.pre_filter() else { continue };
        let begun = cycle.measured.then(Instant::now);
        let (status, names) = pre_filter.pre_filter(cycle);
        if let Some(begun) = begun {
            framework.metrics.plugin_ran(index, Point::PreFilter, status.code, begun.elapsed());
        }
        match status.code {
            Code::Skip => skipped.insert(index),
            Code::Success => framework.metrics.evaluated(index, Point::PreFilter),
            Code::Error => {
                let message = format!("running PreFilter plugin {:?}: {}", plugin.name(), status.message());
                return Err((Code::Error, Some(message)));
            }
            code => {
                error.plugins = PluginSet::default();
                error.plugins.insert(index);
                error.pre_filter_message = status.message();
                error.absent = Some(status);
                return Err((code, None));
            }
        }
        if let Some(names) = names {
            error.plugins.insert(index);
            only = Some(match only {
                None => names,
                Some(others) => others.intersection(&names).cloned().collect(),
            });
            if only.as_ref().is_some_and(BTreeSet::is_empty) {
                let names = framework.names(error.plugins);
                let message = match names.as_slice() {
                    [one] => format!("node(s) didn't satisfy plugin {one}"),
                    several => format!("node(s) didn't satisfy plugin(s) {} simultaneously", go_list(several)),
                };
                error.pre_filter_message = message.clone();
                error.absent = Some(Status::new(Code::UnschedulableAndUnresolvable, message));
                return Err((Code::UnschedulableAndUnresolvable, None));
            }
        }
    }
    Ok(only)
}

/// Looks for nodes that admit the pod, until there are enough; an error is a plugin's or an extender's.
fn find(
    framework: &Framework,
    cycle: &mut Cycle<'_>,
    skipped: PluginSet,
    workspace: &mut Workspace,
    memo: &mut ShapeMemo,
    error: &mut FitError,
    only: Option<&Names>,
) -> Result<(), String> {
    let (snapshot, all) = (cycle.snapshot, cycle.snapshot.order.len());
    let Workspace { feasible, start, .. } = workspace;
    feasible.clear();
    let mut look = |cycle: &mut Cycle<'_>, error: &mut FitError, feasible: &mut Vec<u32>, place: u32| {
        match evaluate(framework, cycle, skipped, memo, place) {
            Verdict::Yes => feasible.push(place),
            Verdict::No(status, plugin) => error.refuse_by(plugin, place, status),
            Verdict::Failed(message) => return Err(message),
        }
        Ok(())
    };
    // A pod that made room for itself tries that node first.
    if let Some(place) = snapshot.place(&cycle.pod.nominated_node).filter(|place| snapshot.is_present(*place)) {
        look(cycle, error, feasible, place)?;
        extender::filter(framework, snapshot, cycle.pod, feasible, error)?;
        if !feasible.is_empty() {
            return Ok(());
        }
    }
    error.by_node.clear();
    if let Some(names) = only {
        error.absent = Some(Status::new(
            Code::UnschedulableAndUnresolvable,
            format!("node(s) didn't satisfy plugin(s) {}", go_list(&framework.names(error.plugins))),
        ));
        for name in names {
            if let Some(place) = snapshot.place(name).filter(|place| snapshot.is_present(*place)) {
                look(cycle, error, feasible, place)?;
            }
        }
    } else {
        let wanted = nodes_to_find(framework.percentage_of_nodes_to_score, all);
        let mut visited = 0;
        while visited < all && feasible.len() < wanted {
            let place = snapshot.order[(*start + visited) % all];
            visited += 1;
            look(cycle, error, feasible, place)?;
        }
        *start = (*start + visited) % all;
    }
    extender::filter(framework, snapshot, cycle.pod, feasible, error)
}

enum Verdict {
    Yes,
    No(Status, usize),
    Failed(String),
}

fn evaluate(
    framework: &Framework,
    cycle: &mut Cycle<'_>,
    skipped: PluginSet,
    memo: &mut ShapeMemo,
    place: u32,
) -> Verdict {
    let snapshot = cycle.snapshot;
    let node = snapshot.node(place);
    let mut kept = memo.nodes[place as usize];
    if kept.generation != node.object_generation {
        kept = Memo { generation: node.object_generation, ..Memo::default() };
        for &index in &framework.object_filters {
            let Some(filter) = framework.plugins[index].filter() else { continue };
            let status = filter.filter(cycle, node);
            if status.is_success() {
                continue;
            }
            let at = memo.refusals.iter().position(|(known, plugin)| *plugin == index && *known == status);
            let at = at.unwrap_or_else(|| {
                memo.refusals.push((status, index));
                memo.refusals.len() - 1
            });
            kept.refusal = at as u16 + 1;
            break;
        }
        if kept.refusal == 0 {
            kept.object_scores = raw_scores(framework, &framework.object_scores, cycle, node);
        }
        memo.nodes[place as usize] = kept;
    }
    if kept.refusal != 0 {
        let (status, plugin) = &memo.refusals[kept.refusal as usize - 1];
        return Verdict::No(status.clone(), *plugin);
    }
    // Pods that wait for this node with at least this pod's priority count as if they ran there already, but the pod
    // must fit without them, too: they may never come.
    let waiting = snapshot.nominated_before(cycle.pod, node);
    if !waiting.is_empty() {
        let mut crowded = node.clone();
        let before = cycle.state.clone();
        for other in waiting {
            crowded.add(other.clone());
            trial(framework, skipped, cycle, &other, &crowded, true);
        }
        let verdict = pod_filters(framework, cycle, skipped, &crowded);
        cycle.state = before;
        if !matches!(verdict, Verdict::Yes) {
            return verdict;
        }
    }
    pod_filters(framework, cycle, skipped, node)
}

/// Tells the plugins' state that a pod was put on or taken off a node.
pub fn trial(
    framework: &Framework,
    skipped: PluginSet,
    cycle: &mut Cycle<'_>,
    pod: &PodInfo,
    node: &Node,
    added: bool,
) {
    for &index in &framework.pre_filters {
        if skipped.contains(index) {
            continue;
        }
        if let Some(pre_filter) = framework.plugins[index].pre_filter() {
            pre_filter.trial(cycle, pod, node, added);
        }
    }
}

/// All filters on one node as it is given, for preemption's trials: the first refusal.
pub fn filters(framework: &Framework, cycle: &Cycle<'_>, skipped: PluginSet, node: &Node) -> Status {
    for &index in framework.object_filters.iter().chain(&framework.pod_filters) {
        if skipped.contains(index) {
            continue;
        }
        if let Some(filter) = framework.plugins[index].filter() {
            let status = filter.filter(cycle, node);
            if !status.is_success() {
                return status;
            }
        }
    }
    Status::success()
}

fn pod_filters(framework: &Framework, cycle: &Cycle<'_>, skipped: PluginSet, node: &Node) -> Verdict {
    for &index in &framework.pod_filters {
        if skipped.contains(index) {
            continue;
        }
        let plugin = &framework.plugins[index];
        let Some(filter) = plugin.filter() else { continue };
        let begun = cycle.measured.then(Instant::now);
        let status = filter.filter(cycle, node);
        if let Some(begun) = begun {
            framework.metrics.plugin_ran(index, Point::Filter, status.code, begun.elapsed());
        }
        match status.code {
            Code::Success => {}
            Code::Error => {
                return Verdict::Failed(format!("running {:?} filter plugin: {}", plugin.name(), status.message()));
            }
            _ => return Verdict::No(status, index),
        }
    }
    Verdict::Yes
}

/// The best of the nodes found, and what each plugin gave it.
fn choose(
    framework: &Framework,
    cycle: &mut Cycle<'_>,
    workspace: &mut Workspace,
    memo: &mut ShapeMemo,
    chance: &mut dyn FnMut(usize) -> usize,
) -> Result<(u32, Vec<Score>), String> {
    let Workspace { feasible, totals, raw, .. } = workspace;
    totals.clear();
    totals.resize(feasible.len(), 0);
    raw.clear();
    let mut scored: Vec<(usize, i64)> = Vec::with_capacity(framework.plugins.len());
    let (begun, mut preparing) = (Instant::now(), Duration::ZERO);
    for place in feasible.iter() {
        let (node, kept) = (cycle.snapshot.node(*place), &mut memo.nodes[*place as usize]);
        if kept.node_generation != node.generation {
            kept.node_generation = node.generation;
            kept.node_scores = raw_scores(framework, &framework.node_scores, cycle, node);
        }
    }
    type Kept = fn(&Memo) -> &[i32; KEPT_SCORES];
    let mut add =
        |cycle: &mut Cycle<'_>, index: usize, weight: i64, kept: Option<(Kept, usize)>| -> Result<(), String> {
            let plugin = &framework.plugins[index];
            let Some(score) = plugin.score() else { return Ok(()) };
            let begun = Instant::now();
            let status = score.pre_score(cycle, feasible);
            let prepared = begun.elapsed();
            preparing += prepared;
            if cycle.measured {
                framework.metrics.plugin_ran(index, Point::PreScore, status.code, prepared);
            }
            match status.code {
                Code::Success => framework.metrics.evaluated(index, Point::PreScore),
                Code::Skip => return Ok(()),
                _ => return Err(format!("running PreScore plugin {:?}: {}", plugin.name(), status.message())),
            }
            let from = raw.len();
            raw.extend(feasible.iter().map(|place| match kept {
                Some((scores, slot)) => i64::from(scores(&memo.nodes[*place as usize])[slot]),
                None => score.score(cycle, cycle.snapshot.node(*place)),
            }));
            let own = &mut raw[from..];
            score.normalize(cycle, feasible, own);
            for (total, raw) in totals.iter_mut().zip(own.iter()) {
                debug_assert!((0..=MAX_NODE_SCORE).contains(raw), "{} scored {raw}", plugin.name());
                *total += raw * weight;
            }
            scored.push((index, weight));
            framework.metrics.evaluated(index, Point::Score);
            if cycle.measured {
                framework.metrics.plugin_ran(index, Point::Score, Code::Success, begun.elapsed() - prepared);
            }
            Ok(())
        };
    for (slot, &(index, weight)) in framework.object_scores.iter().enumerate() {
        add(cycle, index, weight, Some((|memo| &memo.object_scores, slot)))?;
    }
    for (slot, &(index, weight)) in framework.node_scores.iter().enumerate() {
        add(cycle, index, weight, Some((|memo| &memo.node_scores, slot)))?;
    }
    for &(index, weight) in &framework.pod_scores {
        add(cycle, index, weight, None)?;
    }
    extender::prioritize(framework, cycle.snapshot, cycle.pod, feasible, totals);
    framework.metrics.ran(Point::PreScore, Code::Success, preparing);
    framework.metrics.ran(Point::Score, Code::Success, begun.elapsed().saturating_sub(preparing));
    let best = totals.iter().copied().max().unwrap_or(0);
    let ties = totals.iter().filter(|total| **total == best).count();
    let lucky = if ties > 1 { chance(ties) } else { 0 };
    let winner = totals.iter().enumerate().filter(|(_, total)| **total == best).nth(lucky);
    let winner = winner.map_or(0, |(index, _)| index);
    let given = scored.iter().enumerate().map(|(at, &(plugin, weight))| Score {
        plugin: framework.plugins[plugin].name(),
        score: raw[at * feasible.len() + winner],
        weight,
    });
    Ok((feasible[winner], given.collect()))
}

/// As Go prints a slice of strings.
fn go_list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}
