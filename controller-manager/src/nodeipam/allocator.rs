//! The ranges of all nodes: one of each range of the cluster, kept as long as the node is there.
//!
//! Upstream: `pkg/controller/nodeipam/ipam/range_allocator.go`. It gives back the first range where the second family has
//! none left, which upstream loses.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

use super::{Ranges, cidr_set::CidrSet};
use crate::util::key;

/// What is taken, and by whom as far as informers have not shown it.
pub(super) struct Allocator {
    sets: Vec<CidrSet>,
    /// What nodes were given, by their UIDs, until the informer shows it.
    given: HashMap<String, Vec<IpNet>>,
    /// Of these, those of which nobody knows whether it was written.
    unsure: HashSet<String>,
}

/// What becomes of a node.
#[derive(Debug, PartialEq)]
pub(super) enum Turn {
    /// It has what it needs, or will be shown to have it.
    Nothing,
    /// To be written; [`Allocator::give_back`] or [`Allocator::keep`] is due if it can't be.
    Give(Vec<IpNet>),
}

fn ranges_of(node: &Node) -> impl Iterator<Item = &str> {
    node.spec.iter().flat_map(|s| s.pod_cidrs.iter().flatten()).map(String::as_str)
}

fn parse(text: &str) -> Option<IpNet> {
    text.parse().ok()
}

impl Allocator {
    /// Each range, and the share of its parts that is taken.
    pub(super) fn shares(&self) -> Vec<([String; 1], f64)> {
        self.sets.iter().map(CidrSet::share).collect()
    }

    /// With the nodes that are there before any is given a range.
    ///
    /// # Errors
    /// Sizes that don't fit, or a node with ranges that are not the cluster's.
    pub(super) fn new<'a>(ranges: &Ranges, nodes: impl IntoIterator<Item = &'a Node>) -> anyhow::Result<Self> {
        let sets: anyhow::Result<Vec<_>> =
            ranges.cluster.iter().map(|(range, size)| CidrSet::new(*range, *size)).collect();
        let mut allocator = Self { sets: sets?, given: HashMap::new(), unsure: HashSet::new() };
        for service in &ranges.services {
            for set in allocator.sets.iter_mut().filter(|set| set.overlaps(service)) {
                set.occupy(service)?;
            }
        }
        nodes.into_iter().try_for_each(|node| allocator.occupy(node))?;
        Ok(allocator)
    }

    /// Decides what a node needs.
    ///
    /// # Errors
    /// No range is left (worded as upstream's event wants it), or the node's are not the cluster's.
    pub(super) fn turn(&mut self, node: &Node) -> anyhow::Result<Turn> {
        let uid = key::uid(&node.metadata);
        if ranges_of(node).next().is_some() {
            // Nobody else may give a node its range; if one did, what was kept for it is free.
            self.give_back(node);
            return self.occupy(node).map(|()| Turn::Nothing);
        }
        if node.metadata.deletion_timestamp.is_some() {
            return Ok(Turn::Nothing);
        }
        if let Some(given) = self.given.get(uid) {
            return Ok(if self.unsure.remove(uid) { Turn::Give(given.clone()) } else { Turn::Nothing });
        }
        let mut got = vec![];
        for at in 0..self.sets.len() {
            match self.sets[at].allocate() {
                Ok(range) => got.push(range),
                Err(error) => {
                    self.free(&got);
                    return Err(error.context(format!("failed to allocate cidr from cluster cidr at idx:{at}")));
                }
            }
        }
        self.given.insert(uid.to_owned(), got.clone());
        Ok(Turn::Give(got))
    }

    /// The node could not be given its ranges.
    pub(super) fn give_back(&mut self, node: &Node) {
        let uid = key::uid(&node.metadata);
        self.unsure.remove(uid);
        let kept = self.given.remove(uid).unwrap_or_default();
        self.free(&kept);
    }

    /// Nobody knows whether the node has its ranges: it is offered the same again, and nobody else is. Upstream gives them
    /// to others if the server went away before it answered, and loses them if it said that it was late.
    pub(super) fn keep(&mut self, node: &Node) {
        let uid = key::uid(&node.metadata);
        if self.given.contains_key(uid) {
            self.unsure.insert(uid.to_owned());
        }
    }

    /// The node is gone.
    ///
    /// # Errors
    /// Its ranges are not the cluster's.
    pub(super) fn gone(&mut self, node: &Node) -> anyhow::Result<()> {
        self.give_back(node);
        for (at, text) in ranges_of(node).enumerate() {
            let name = key::name(&node.metadata);
            let range = parse(text).with_context(|| format!("failed to parse CIDR {text} on Node {name}"))?;
            self.set(node, at, text)?.release(&range).with_context(|| format!("error when releasing CIDR {text}"))?;
        }
        Ok(())
    }

    fn occupy(&mut self, node: &Node) -> anyhow::Result<()> {
        let name = key::name(&node.metadata);
        for (at, text) in ranges_of(node).enumerate() {
            let range = parse(text).with_context(|| format!("failed to parse node {name}, CIDR {text}"))?;
            let why = || format!("failed to mark cidr[{range}] at idx [{at}] as occupied for node: {name}");
            self.set(node, at, text)?.occupy(&range).with_context(why)?;
        }
        Ok(())
    }

    fn set(&mut self, node: &Node, at: usize, text: &str) -> anyhow::Result<&mut CidrSet> {
        let name = key::name(&node.metadata);
        self.sets.get_mut(at).with_context(|| {
            format!("node:{name} has an allocated cidr: {text} at index:{at} that does not exist in cluster cidrs configuration")
        })
    }

    fn free(&mut self, ranges: &[IpNet]) {
        for (set, range) in self.sets.iter_mut().zip(ranges) {
            // Its own ranges are in range.
            let _ = set.release(range);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ranges(cluster: &[(&str, u8)], services: &[&str]) -> Ranges {
        Ranges {
            cluster: cluster.iter().map(|(range, size)| (range.parse().unwrap(), *size)).collect(),
            services: services.iter().map(|range| range.parse().unwrap()).collect(),
        }
    }

    fn node(name: &str, cidrs: &[&str]) -> Node {
        let spec = if cidrs.is_empty() { json!({}) } else { json!({"podCIDR": cidrs[0], "podCIDRs": cidrs}) };
        serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": spec})).unwrap()
    }

    /// What a node is given, as text; an error's text where it is none.
    fn gives(allocator: &mut Allocator, name: &str) -> String {
        let node = node(name, &[]);
        match allocator.turn(&node) {
            Ok(Turn::Give(got)) => got.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Ok(Turn::Nothing) => String::new(),
            Err(error) => format!("{error:#}"),
        }
    }

    const FULL: &str = "CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range";

    #[test]
    fn each_node_has_a_range_of_its_own() {
        let mut allocator = Allocator::new(&ranges(&[("10.0.0.0/23", 24)], &[]), &[]).unwrap();
        assert_eq!(gives(&mut allocator, "a"), "10.0.0.0/24");
        assert_eq!(gives(&mut allocator, "a"), "", "the informer has not shown it");
        assert_eq!(gives(&mut allocator, "b"), "10.0.1.0/24");
        let full = format!("failed to allocate cidr from cluster cidr at idx:0: {FULL}");
        assert_eq!(gives(&mut allocator, "c"), full);
        allocator.gone(&node("a", &[])).unwrap();
        assert_eq!(gives(&mut allocator, "c"), "10.0.0.0/24", "a has gone before it was shown");
        assert_eq!(allocator.turn(&node("c", &["10.0.0.0/24"])).unwrap(), Turn::Nothing);
        assert_eq!(gives(&mut allocator, "d"), full);
        allocator.gone(&node("c", &["10.0.0.0/24"])).unwrap();
        assert_eq!(gives(&mut allocator, "d"), "10.0.0.0/24");
    }

    #[test]
    fn what_could_not_be_written_is_free_again() {
        let mut allocator = Allocator::new(&ranges(&[("10.0.0.0/24", 24)], &[]), &[]).unwrap();
        let (a, b) = (node("a", &[]), node("b", &[]));
        assert_eq!(gives(&mut allocator, "a"), "10.0.0.0/24");
        allocator.give_back(&a);
        allocator.give_back(&a);
        assert_eq!(gives(&mut allocator, "b"), "10.0.0.0/24");
        // Gone while it was written.
        allocator.gone(&b).unwrap();
        assert_eq!(gives(&mut allocator, "c"), "10.0.0.0/24");
        allocator.give_back(&b);
        assert!(gives(&mut allocator, "d").ends_with(FULL));
    }

    #[test]
    fn what_may_have_been_written_is_nobody_elses() {
        let mut allocator = Allocator::new(&ranges(&[("10.0.0.0/23", 24)], &[]), &[]).unwrap();
        let a = node("a", &[]);
        allocator.keep(&a);
        assert_eq!(gives(&mut allocator, "a"), "10.0.0.0/24");
        allocator.keep(&a);
        assert_eq!(gives(&mut allocator, "b"), "10.0.1.0/24");
        assert_eq!(gives(&mut allocator, "a"), "10.0.0.0/24", "the same again");
        assert_eq!(gives(&mut allocator, "a"), "", "the informer has not shown it");
        // It is shown, or the node goes.
        allocator.keep(&a);
        assert_eq!(allocator.turn(&node("a", &["10.0.0.0/24"])).unwrap(), Turn::Nothing);
        assert!(gives(&mut allocator, "c").ends_with(FULL));
        allocator.keep(&node("b", &[]));
        allocator.gone(&node("b", &[])).unwrap();
        assert_eq!(gives(&mut allocator, "c"), "10.0.1.0/24");
    }

    #[test]
    fn services_and_present_nodes_keep_theirs() {
        let config = ranges(&[("10.0.0.0/21", 24)], &["10.0.0.0/23", "10.9.0.0/16"]);
        let present = [node("a", &["10.0.2.0/24"]), node("b", &[])];
        let mut allocator = Allocator::new(&config, &present).unwrap();
        assert_eq!(gives(&mut allocator, "b"), "10.0.3.0/24");
        assert_eq!(gives(&mut allocator, "c"), "10.0.4.0/24");
    }

    #[test]
    fn two_families_are_given_together_or_not_at_all() {
        let config = ranges(&[("10.0.0.0/22", 24), ("fd00::/63", 64)], &[]);
        let mut allocator = Allocator::new(&config, &[]).unwrap();
        assert_eq!(gives(&mut allocator, "a"), "10.0.0.0/24 fd00::/64");
        assert_eq!(gives(&mut allocator, "b"), "10.0.1.0/24 fd00:0:0:1::/64");
        for _ in 0..4 {
            assert_eq!(
                gives(&mut allocator, "c"),
                format!("failed to allocate cidr from cluster cidr at idx:1: {FULL}")
            );
        }
        allocator.gone(&node("b", &["10.0.1.0/24", "fd00:0:0:1::/64"])).unwrap();
        assert!(gives(&mut allocator, "c").ends_with(" fd00:0:0:1::/64"));
    }

    #[test]
    fn ranges_of_elsewhere_are_told() {
        let config = ranges(&[("10.0.0.0/22", 24)], &[]);
        let check = |cidrs: &[&str], want: &str| {
            let why = Allocator::new(&config, &[node("a", cidrs)]).err().map(|e| format!("{e:#}"));
            assert_eq!(why.as_deref(), Some(want));
        };
        check(
            &["10.9.0.0/24"],
            "failed to mark cidr[10.9.0.0/24] at idx [0] as occupied for node: a: cidr 10.9.0.0/24 is out the range of cluster cidr 10.0.0.0/22",
        );
        check(
            &["10.0.0.0/24", "fd00::/64"],
            "node:a has an allocated cidr: fd00::/64 at index:1 that does not exist in cluster cidrs configuration",
        );
        check(&["nonsense"], "failed to parse node a, CIDR nonsense");
    }
}
