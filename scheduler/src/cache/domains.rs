//! Domains of nodes: those with the same value of a label.
//!
//! Plugins count pods in domains, over all nodes and for every pod anew. So domains have numbers, which are worked out once for
//! a label and hold until a node comes, goes or changes its labels: counting is arithmetic on an array.

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
}

impl Domains {
    fn new(nodes: &[Node], key: &str) -> Self {
        let mut numbers: HashMap<&str, u32> = HashMap::from([("", UNNAMED as u32)]);
        let mut by_place = Vec::with_capacity(nodes.len());
        for node in nodes {
            let value = node.object.as_ref().and_then(|object| object.labels.get(key));
            let next = numbers.len() as u32;
            by_place.push(value.map_or(NONE, |value| *numbers.entry(value).or_insert(next)));
        }
        Self { by_place, len: numbers.len() }
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

/// The domains of the labels that were asked for.
#[derive(Debug, Default)]
pub struct DomainsByLabel(Mutex<HashMap<Arc<str>, Arc<Domains>>>);

impl DomainsByLabel {
    /// Those of a label.
    pub fn of(&self, key: &Arc<str>, nodes: &[Node]) -> Arc<Domains> {
        let mut known = self.0.lock();
        if let Some(domains) = known.get(key) {
            return domains.clone();
        }
        if known.len() >= KEPT {
            known.clear();
        }
        let domains = Arc::new(Domains::new(nodes, key));
        known.insert(key.clone(), domains.clone());
        domains
    }

    /// Labels of nodes are others now.
    pub fn forget(&mut self) {
        self.0.get_mut().clear();
    }
}
