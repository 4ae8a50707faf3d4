//! Domains of nodes: those with the same value of a label.
//!
//! Plugins count pods in domains, over all nodes and for every pod anew. So domains have numbers, which are worked out once for
//! a label and hold until a node comes, goes or changes its labels: counting is arithmetic on an array. For a label by which
//! pods of a workload are spread, how many pods of each shape are in each domain is kept, too, as pods come and go.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::node::Node;

/// Labels whose domains are kept; with more of them all are worked out anew.
const KEPT: usize = 64;
/// The number of the domain whose value is empty.
const UNNAMED: usize = 0;
/// Instead of a number: the node lacks the label.
const NONE: u32 = u32::MAX;

/// The domains of one label.
#[derive(Debug, Default)]
pub struct Domains {
    by_place: Vec<u32>,
    len: usize,
    /// No node lacks the label.
    complete: bool,
}

impl Domains {
    fn new(nodes: &[Node], key: &str) -> Self {
        let mut numbers: HashMap<&str, u32> = HashMap::from([("", UNNAMED as u32)]);
        let mut by_place = Vec::with_capacity(nodes.len());
        let mut complete = true;
        for node in nodes {
            let value = node.object.as_ref().and_then(|object| object.labels.get(key));
            let next = numbers.len() as u32;
            complete &= node.object.is_none() || value.is_some();
            by_place.push(value.map_or(NONE, |value| *numbers.entry(value).or_insert(next)));
        }
        Self { by_place, len: numbers.len(), complete }
    }

    /// Whether all nodes have the label.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The number of a node's domain, by the node's place; `None`: it lacks the label.
    pub fn at(&self, place: u32) -> Option<usize> {
        self.by_place.get(place as usize).filter(|number| **number != NONE).map(|number| *number as usize)
    }

    /// The same, where nodes that lack the label are in one domain with those for which it is empty.
    pub fn at_or_unnamed(&self, place: u32) -> usize {
        self.at(place).unwrap_or(UNNAMED)
    }

    /// Numbers are below this; the domain of the empty value has one, whether there is such a node or not.
    pub fn numbers(&self) -> usize {
        self.len
    }
}

/// By the slot of a shape: how many pods that are not being deleted are in a domain. Nodes that lack the label are in the
/// unnamed one, those without an object in none.
type Live = Vec<HashMap<u32, i64>>;

fn count(live: &mut Live, domains: &Domains, node: &Node, slot: u32, by: i64) {
    if node.object.is_none() || by == 0 {
        return;
    }
    let slot = slot as usize;
    if live.len() <= slot {
        live.resize_with(slot + 1, HashMap::new);
    }
    *live[slot].entry(domains.at_or_unnamed(node.place) as u32).or_default() += by;
}

/// What is known of a label.
#[derive(Debug)]
struct Known {
    domains: Arc<Domains>,
    /// `None` until it is asked for.
    live: Option<Live>,
}

/// The domains of the labels that were asked for.
#[derive(Debug, Default)]
pub struct DomainsByLabel(Mutex<HashMap<Arc<str>, Known>>);

impl DomainsByLabel {
    /// Those of a label.
    pub fn of(&self, key: &Arc<str>, nodes: &[Node]) -> Arc<Domains> {
        self.read(key, nodes, |known| known.domains.clone())
    }

    /// Adds the pods of the shapes in the slots that are true to the sums of their domains, but for sums below zero.
    pub fn add_live(&self, key: &Arc<str>, nodes: &[Node], slots: &[bool], sums: &mut [i64]) {
        self.read(key, nodes, |Known { domains, live }| {
            let live = live.get_or_insert_with(|| {
                let mut live = Live::new();
                for node in nodes {
                    for shape in &node.shapes {
                        count(&mut live, domains, node, shape.slot, i64::from(shape.live));
                    }
                }
                live
            });
            let selected = live.iter().zip(slots).filter(|(_, selected)| **selected);
            for (domain, pods) in selected.flat_map(|(domains, _)| domains) {
                let sum = &mut sums[*domain as usize];
                if *sum >= 0 {
                    *sum += pods;
                }
            }
        });
    }

    fn read<T>(&self, key: &Arc<str>, nodes: &[Node], read: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.0.lock();
        if all.len() >= KEPT && !all.contains_key(key) {
            all.clear();
        }
        let known = || Known { domains: Arc::new(Domains::new(nodes, key)), live: None };
        read(all.entry(key.clone()).or_insert_with(known))
    }

    /// A pod of the shape that is not being deleted came to the node (1) or went (-1).
    pub fn moved(&mut self, node: &Node, slot: u32, by: i64) {
        for Known { domains, live } in self.0.get_mut().values_mut() {
            if let Some(live) = live {
                count(live, domains, node, slot, by);
            }
        }
    }

    /// Labels of nodes are others now.
    pub fn forget(&mut self) {
        self.0.get_mut().clear();
    }
}
