//! A policy's rules of one direction, as rules of packets and the sets that they look into.
//!
//! A rule of the policy allows what any of its peers sends at any of its ports: each pair of the two is a rule of its chain,
//! few as there are, since a peer is a set of addresses and all numbers of ports are one set.
//!
//! A named port is a set of destinations: address, protocol and the number that the name has in that pod.

use std::collections::BTreeMap;

use netfilter::tables::{Datum, Element, Field, Rule as Match, Set, Statement, Transport, Type, Verdict, Version};

use super::{base, names};
use crate::model::{Direction, Ports, Range, Rule, Selection};

/// What a set holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Members {
    /// This, and its keys may be ranges.
    Fixed(Vec<Type>, Vec<Element>),
    /// The addresses of these pods.
    Pods(Selection),
    /// Where pods have a port of that name.
    Port(Transport, String),
}

impl Members {
    /// The set, empty.
    pub fn set(&self, name: &str, version: Version) -> Set {
        let ip = Type::Address(version);
        match self {
            Members::Fixed(key, _) => Set { ranges: true, ..Set::of(name, key.as_slice()) },
            Members::Pods(_) => Set::of(name, [ip]),
            Members::Port(..) => Set::of(name, [ip, Type::Protocol, Type::Port]),
        }
    }
}

/// The chain's rules, and the sets in them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fragment {
    /// What lets a packet through.
    pub rules: Vec<Match>,
    /// By name; equal ones of other fragments have the same.
    pub sets: BTreeMap<String, Members>,
}

/// What a policy allows in a direction. `is_dns` tells whether a selection takes the cluster's DNS where that is no pod; the
/// chain's counter counts what passes.
pub fn fragment(
    rules: &[Rule],
    direction: Direction,
    version: Version,
    counter: &str,
    is_dns: impl Fn(&Selection) -> bool,
) -> Fragment {
    let mut out = Fragment::default();
    for rule in rules {
        let peers = peers(rule, direction, version, &is_dns, &mut out.sets);
        let ports = ports(rule.ports.as_ref(), version, &mut out.sets);
        for peer in &peers {
            for port in &ports {
                let mut statements: Match = peer.iter().chain(port).cloned().collect();
                statements.push(Statement::CountIn(counter.to_owned()));
                statements.push(Statement::Verdict(Verdict::Accept));
                // Two rules of a policy may say the same.
                if !out.rules.contains(&statements) {
                    out.rules.push(statements);
                }
            }
        }
    }
    // Peers of a rule that has no ports that can be are looked for in vain.
    let looks_into = |name: &String| {
        out.rules.iter().flatten().any(|statement| matches!(statement, Statement::In(_, set, _) if set == name))
    };
    out.sets.retain(|name, _| looks_into(name));
    out
}

fn peers(
    rule: &Rule,
    direction: Direction,
    version: Version,
    is_dns: impl Fn(&Selection) -> bool,
    sets: &mut BTreeMap<String, Members>,
) -> Vec<Option<Statement>> {
    let Some(peers) = &rule.peers else { return vec![None] };
    if peers.nets.are_all(version) {
        return vec![None];
    }
    let other = match direction {
        Direction::Ingress => Field::Source(version),
        Direction::Egress => Field::Destination(version),
    };
    let mut out = Vec::new();
    for selection in &peers.pods {
        let name = names::digested("peers", selection);
        out.push(Some(Statement::In(vec![other], name.clone(), true)));
        sets.insert(name, Members::Pods(selection.clone()));
    }
    let nets: Vec<Range> = peers.nets.of(version).collect();
    if !nets.is_empty() {
        let name = names::digested("nets", &nets);
        out.push(Some(Statement::In(vec![other], name.clone(), true)));
        let range = |(first, last): Range| Element::range([Datum::Address(first)], [Datum::Address(last)]);
        sets.insert(name, Members::Fixed(vec![Type::Address(version)], nets.into_iter().map(range).collect()));
    }
    if direction == Direction::Egress && peers.pods.iter().any(is_dns) {
        out.push(Some(Statement::In(base::destination(version), base::DNS_HOSTS.to_owned(), true)));
    }
    out
}

fn ports(ports: Option<&Ports>, version: Version, sets: &mut BTreeMap<String, Members>) -> Vec<Option<Statement>> {
    let Some(ports) = ports else { return vec![None] };
    let mut out = Vec::new();
    if !ports.ranges.is_empty() {
        let name = names::digested("ports", &ports.ranges);
        out.push(Some(Statement::In(vec![Field::Protocol, Field::DestinationPort], name.clone(), true)));
        let end = |transport: Transport, port: u16| [Datum::Protocol(transport), Datum::Port(port)];
        let ranges = ports.ranges.iter().flat_map(|(transport, ranges)| {
            ranges.iter().map(|(first, last)| Element::range(end(*transport, *first), end(*transport, *last)))
        });
        sets.insert(name, Members::Fixed(vec![Type::Protocol, Type::Port], ranges.collect()));
    }
    for (transport, port) in &ports.named {
        let name = names::port(*transport, port);
        out.push(Some(Statement::In(base::destination(version), name.clone(), true)));
        sets.insert(name, Members::Port(*transport, port.clone()));
    }
    out
}
