//! The chains: those that service ports of one shape share, and those of session affinity.

use std::net::SocketAddr;

use super::{Compiler, Lookup, Map, Options, addr_type, fingerprint, ip};
use crate::model::{Family, Protocol};

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

    /// The key of its maps with endpoints, but for the number.
    pub(super) fn key(self, family: Family, protocol: Protocol) -> String {
        match self {
            Class::Address => format!("{} daddr . {} dport", ip(family), protocol.as_str()),
            Class::NodePort => format!("{} dport", protocol.as_str()),
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
    /// Protocol.
    pub protocol: Protocol,
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
        let prefix = format!("{}-{}", self.protocol.as_str(), self.class.prefix());
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
    pub fn rules(&self, options: &Options) -> Vec<String> {
        let mut rules = Vec::new();
        match self.policy {
            Policy::Cluster | Policy::InternalLocal => {}
            Policy::External => rules.push(masquerade(options)),
            Policy::ExternalLocal => {
                if let Some(cluster) = self.needs() {
                    rules.extend(short_circuit(options, &cluster.name()));
                }
                if self.local > 0 {
                    rules.push(self.dnat(options, true, self.local));
                }
                return rules;
            }
        }
        rules.push(self.dnat(options, false, self.cluster));
        rules
    }

    fn dnat(&self, options: &Options, local: bool, count: usize) -> String {
        let Shared { class, protocol, .. } = *self;
        let map = Map::Endpoints(Lookup { class, local, protocol }).name();
        let key = class.key(options.family, protocol);
        format!("dnat {} to {key} . numgen random mod {count} map @{map}", ip(options.family))
    }
}

pub(super) fn masquerade(options: &Options) -> String {
    format!("meta mark set meta mark or {:#x}", options.masquerade_mark)
}

/// Traffic of pods and of the node itself to an external address goes to any endpoint.
fn short_circuit(options: &Options, cluster: &str) -> Vec<String> {
    let pods = options.local.rule(options.family, false).map(|local| format!("{local} goto {cluster}"));
    let node =
        [format!("fib saddr type local {}", masquerade(options)), format!("fib saddr type local goto {cluster}")];
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
        let (name, rules) = match policy {
            Policy::Cluster => return cluster,
            Policy::InternalLocal => return local,
            Policy::External => {
                let rules = vec![masquerade(self.options), format!("goto {cluster}")];
                (format!("affinity-{id:016x}-external"), rules)
            }
            Policy::ExternalLocal => {
                let mut rules = Vec::new();
                if !choice.cluster.is_empty() {
                    rules.extend(short_circuit(self.options, &cluster));
                }
                if !choice.local.is_empty() {
                    rules.push(format!("goto {local}"));
                }
                (format!("affinity-{id:016x}-external"), rules)
            }
        };
        self.fragment.chains.insert(name.clone(), rules);
        name
    }

    fn affinity_rules(&mut self, endpoints: &[SocketAddr]) -> Vec<String> {
        let ip = ip(self.options.family);
        let named: Vec<(String, String)> = endpoints.iter().map(|address| self.affinity_endpoint(*address)).collect();
        let stay = named.iter().map(|(chain, set)| format!("{ip} saddr @{set} goto {chain}"));
        let choices: Vec<String> =
            named.iter().enumerate().map(|(n, (chain, _))| format!("{n} : goto {chain}")).collect();
        let draw = format!("numgen random mod {} vmap {{ {} }}", named.len(), choices.join(", "));
        stay.chain([draw]).collect()
    }

    /// The chain and the set of one endpoint.
    fn affinity_endpoint(&mut self, address: SocketAddr) -> (String, String) {
        let (port, ip) = (self.port, ip(self.options.family));
        let seconds = port.affinity_seconds.unwrap_or_default();
        let protocol = port.protocol.as_str();
        let id = fingerprint(&[&port.name, protocol, &address.to_string()]);
        // The timeout is part of the name: a set can't change its own.
        let (chain, set) = (format!("endpoint-{id:016x}"), format!("clients-{id:016x}-{seconds}"));
        let addr = addr_type(self.options.family);
        let definition = format!("type {addr} ; flags dynamic,timeout ; timeout {seconds}s ;");
        self.fragment.sets.insert(set.clone(), definition);
        let rules =
            vec![format!("update @{set} {{ {ip} saddr }}"), format!("meta l4proto {protocol} dnat {ip} to {address}")];
        self.fragment.chains.insert(chain.clone(), rules);
        (chain, set)
    }
}
