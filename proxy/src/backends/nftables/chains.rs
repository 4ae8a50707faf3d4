//! The chains: those that service ports of one shape share, and those of session affinity.

use std::net::SocketAddr;
use std::time::Duration;

use netfilter::tables::{Datum, Field, Rule, Set, Statement, Type, Verdict};

use super::{Compiler, Map, Options, fingerprint, goto, transport, version};
use crate::model::Family;

/// What a destination is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Address, protocol and port.
    Address,
    /// Protocol and port, on any of the node's addresses.
    NodePort,
}

impl Class {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Class::Address => "",
            Class::NodePort => "nodeport-",
        }
    }

    /// The key of its maps; those with endpoints have a number besides.
    pub(super) fn fields(self, family: Family) -> Vec<Field> {
        match self {
            Class::Address => vec![Field::Destination(version(family)), Field::Protocol, Field::DestinationPort],
            Class::NodePort => vec![Field::Protocol, Field::DestinationPort],
        }
    }
}

/// How the source bears on the choice of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    /// A cluster IP: any endpoint.
    Cluster,
    /// A cluster IP with `internalTrafficPolicy: Local`.
    InternalLocal,
    /// From outside: any endpoint, with the node's address as source, since the answer must come back this way.
    External,
    /// From outside with `externalTrafficPolicy: Local`: local endpoints, with the source kept; but traffic of the
    /// node and its pods goes to any, as if it had gone out to the load balancer and come back.
    ExternalLocal,
}

/// A shared chain, named by its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shared {
    /// Lookup.
    pub class: Class,
    /// Policy.
    pub policy: Policy,
    /// Number of endpoints in the cluster.
    pub cluster: usize,
    /// Number of endpoints on this node (policy `ExternalLocal`).
    pub local: usize,
}

impl Shared {
    /// Its name.
    pub fn name(&self) -> String {
        let prefix = self.class.prefix();
        let Shared { cluster, local, .. } = self;
        match self.policy {
            Policy::Cluster | Policy::InternalLocal => format!("{prefix}cluster-{cluster}"),
            Policy::External => format!("{prefix}external-{cluster}"),
            Policy::ExternalLocal => format!("{prefix}local-{cluster}-{local}"),
        }
    }

    /// The chain that its rules go to.
    pub fn needs(&self) -> Option<Shared> {
        let cluster = Shared { policy: Policy::Cluster, local: 0, ..*self };
        (self.policy == Policy::ExternalLocal && self.cluster > 0).then_some(cluster)
    }

    /// Its rules.
    pub fn rules(&self, options: &Options) -> Vec<Rule> {
        let mut rules = Vec::new();
        match self.policy {
            Policy::Cluster | Policy::InternalLocal => {}
            Policy::External => rules.push(vec![masquerade(options)]),
            Policy::ExternalLocal => {
                if let Some(cluster) = self.needs() {
                    rules.extend(short_circuit(options, &cluster.name()));
                }
                if self.local > 0 {
                    rules.push(self.translate(options, true, self.local));
                }
                return rules;
            }
        }
        rules.push(self.translate(options, false, self.cluster));
        rules
    }

    fn translate(&self, options: &Options, local: bool, count: usize) -> Rule {
        let mut key = self.class.fields(options.family);
        key.push(Field::Random(count as u32));
        vec![Statement::TranslateBy(key, Map::Endpoints(self.class, local).name())]
    }
}

pub(super) fn masquerade(options: &Options) -> Statement {
    Statement::AddMark(options.masquerade_mark)
}

/// Traffic of pods and of the node itself to an external address goes to any endpoint.
fn short_circuit(options: &Options, cluster: &str) -> Vec<Rule> {
    let there = || Statement::Verdict(goto(cluster));
    let pods = options.local.statement(options.family, true).map(|local| vec![local, there()]);
    let node = [vec![Statement::SourceIsLocal, masquerade(options)], vec![Statement::SourceIsLocal, there()]];
    pods.into_iter().chain(node).collect()
}

impl Compiler<'_> {
    /// The chains of a service port with session affinity; returns the one that `policy` enters by.
    ///
    /// A chain an endpoint, with the set of the clients that it serves, as upstream has it: a client stays with its
    /// endpoint while others come and go, whichever of the Service's addresses it uses.
    pub(super) fn affinity_chains(&mut self, policy: Policy) -> String {
        let port = self.port;
        let choice = &port.endpoints;
        let id = fingerprint(&[&port.name, port.protocol.as_str()]);
        let cluster = format!("affinity-{id:016x}-cluster");
        let local = format!("affinity-{id:016x}-local");
        let to_cluster = matches!(policy, Policy::Cluster | Policy::External | Policy::ExternalLocal);
        let to_local = matches!(policy, Policy::InternalLocal | Policy::ExternalLocal);
        if to_cluster && !choice.cluster.is_empty() {
            let rules = self.affinity_rules(&choice.cluster);
            self.fragment.chains.insert(cluster.clone(), rules);
        }
        if to_local && !choice.local.is_empty() {
            let rules = self.affinity_rules(&choice.local);
            self.fragment.chains.insert(local.clone(), rules);
        }
        let there = |chain: &str| vec![Statement::Verdict(goto(chain))];
        let rules = match policy {
            Policy::Cluster => return cluster,
            Policy::InternalLocal => return local,
            Policy::External => vec![vec![masquerade(self.options)], there(&cluster)],
            Policy::ExternalLocal => {
                let mut rules = Vec::new();
                if !choice.cluster.is_empty() {
                    rules.extend(short_circuit(self.options, &cluster));
                }
                if !choice.local.is_empty() {
                    rules.push(there(&local));
                }
                rules
            }
        };
        let name = format!("affinity-{id:016x}-external");
        self.fragment.chains.insert(name.clone(), rules);
        name
    }

    fn affinity_rules(&mut self, endpoints: &[SocketAddr]) -> Vec<Rule> {
        let source = Field::Source(version(self.options.family));
        let named: Vec<(Verdict, String)> = endpoints
            .iter()
            .map(|address| {
                let (chain, set) = self.affinity_endpoint(*address);
                (goto(&chain), set)
            })
            .collect();
        let stay = |(there, set): &(Verdict, String)| {
            vec![Statement::In(vec![source], set.clone(), true), Statement::Verdict(there.clone())]
        };
        let draw = vec![Statement::Draw(named.iter().map(|(there, _)| there.clone()).collect())];
        named.iter().map(stay).chain([draw]).collect()
    }

    /// The chain and the set of one endpoint.
    fn affinity_endpoint(&mut self, address: SocketAddr) -> (String, String) {
        let (port, version) = (self.port, version(self.options.family));
        let seconds = port.affinity_seconds.unwrap_or_default();
        let id = fingerprint(&[&port.name, port.protocol.as_str(), &address.to_string()]);
        // The timeout is part of the name: a set can't change its own.
        let (chain, name) = (format!("endpoint-{id:016x}"), format!("clients-{id:016x}-{seconds}"));
        let timeout = Some(Duration::from_secs(u64::from(seconds)));
        let set = Set { timeout, ..Set::of(name.clone(), [Type::Address(version)]) };
        self.fragment.sets.insert(name.clone(), set);
        let rules = vec![
            vec![Statement::Update(vec![Field::Source(version)], name.clone())],
            vec![
                Statement::Is(Field::Protocol, Datum::Protocol(transport(port.protocol)), true),
                Statement::TranslateTo(address),
            ],
        ];
        self.fragment.chains.insert(chain.clone(), rules);
        (chain, name)
    }
}
