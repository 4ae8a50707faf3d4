//! The last two measurements of each node and container, and what is used by them. Follows metrics-server's `pkg/storage`.

use std::collections::HashMap;

use super::text::{Batch, PodKey};

/// How far apart measurements are.
pub(super) const RESOLUTION_MS: i64 = 15_000;
/// A container that runs for less time is not measured from its start.
const YOUNGEST_MS: i64 = 10_000;

/// What was used in all, at a time. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Point {
    pub started_ms: i64,
    pub at_ms: i64,
    pub cpu_ns: u64,
    pub memory_bytes: u64,
}

impl Point {
    /// Figures that are zero were not measured.
    pub(super) fn is_complete(&self) -> bool {
        self.at_ms != 0 && self.cpu_ns != 0 && self.memory_bytes != 0
    }
}

/// A measurement, and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub last: Point,
    pub before: Option<Point>,
}

/// What is used: billionths of a processor over a window up to a time, and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub cpu_ns: u64,
    pub memory_bytes: u64,
    pub at_ms: i64,
    pub window_ms: i64,
}

impl Pair {
    /// `None` without a measurement before, or where what can only rise has fallen.
    pub(super) fn usage(&self) -> Option<Usage> {
        let (last, before) = (self.last, self.before?);
        let window_ms = last.at_ms - before.at_ms;
        if last.started_ms < before.started_ms || window_ms <= 0 {
            return None;
        }
        let spent = last.cpu_ns.checked_sub(before.cpu_ns)?;
        let cpu_ns = (spent as f64 / (window_ms as f64 / 1e3)) as u64;
        Some(Usage { cpu_ns, memory_bytes: last.memory_bytes, at_ms: last.at_ms, window_ms })
    }

    fn of_node(known: Option<&Pair>, new: Point) -> Self {
        Self { last: new, before: known.and_then(|known| known.followed_by(new)) }
    }

    fn of_container(known: Option<&Pair>, new: Point) -> Self {
        let age_ms = new.at_ms - new.started_ms;
        let before = if (YOUNGEST_MS..RESOLUTION_MS).contains(&age_ms) {
            // It began with nothing.
            Some(Point { at_ms: new.started_ms, cpu_ns: 0, ..new })
        } else {
            known.filter(|known| new.started_ms < known.last.at_ms).and_then(|known| known.followed_by(new))
        };
        Self { last: new, before }
    }

    /// What comes before a new measurement: a kubelet may say the same one twice.
    fn followed_by(&self, new: Point) -> Option<Point> {
        if new.at_ms > self.last.at_ms {
            Some(self.last)
        } else {
            self.before.filter(|before| before.at_ms < new.at_ms)
        }
    }
}

/// Of the pods of one node: the names, for when they are gone.
type Names = Vec<PodKey>;

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Points {
    nodes: HashMap<Box<str>, (Option<Pair>, Names)>,
    pods: HashMap<PodKey, HashMap<Box<str>, Pair>>,
}

impl Points {
    /// Takes a node's figures. What it does not tell any more is forgotten.
    pub(super) fn store(&mut self, node: &str, batch: Batch) {
        let (known, names) = self.nodes.remove(node).unwrap_or_default();
        let own = batch.node.map(|new| Pair::of_node(known.as_ref(), new));
        let mut told = HashMap::with_capacity(batch.pods.len());
        for (key, containers) in batch.pods {
            let known = self.pods.get(&key);
            let pair = |(name, new): (Box<str>, Point)| {
                let pair = Pair::of_container(known.and_then(|known| known.get(&name)), new);
                (name, pair)
            };
            told.insert(key, containers.into_iter().map(pair).collect());
        }
        names.iter().for_each(|key| drop(self.pods.remove(key)));
        self.nodes.insert(node.into(), (own, told.keys().cloned().collect()));
        self.pods.extend(told);
    }

    /// Forgets a node that did not answer, and its pods.
    pub(super) fn forget(&mut self, node: &str) {
        if let Some((_, names)) = self.nodes.remove(node) {
            names.iter().for_each(|key| drop(self.pods.remove(key)));
        }
    }

    /// Forgets all nodes but these.
    pub(super) fn retain(&mut self, is: impl Fn(&str) -> bool) {
        let gone: Vec<Box<str>> = self.nodes.keys().filter(|node| !is(node)).cloned().collect();
        gone.iter().for_each(|node| self.forget(node));
    }

    /// A node's.
    pub(super) fn node(&self, name: &str) -> Option<Usage> {
        self.nodes.get(name)?.0.as_ref()?.usage()
    }

    /// A pod's containers by name; `None` unless all of them were measured twice.
    pub(super) fn pod(&self, key: &PodKey) -> Option<Vec<(&str, Usage)>> {
        let containers = self.pods.get(key)?;
        if containers.values().any(|pair| pair.before.is_none()) {
            return None;
        }
        let used = containers.iter().filter_map(|(name, pair)| Some((&**name, pair.usage()?)));
        let mut used: Vec<(&str, Usage)> = used.collect();
        used.sort_by_key(|(name, _)| *name);
        Some(used)
    }
}
