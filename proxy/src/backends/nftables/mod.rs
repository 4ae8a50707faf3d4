//! Service ports as nftables data: maps from destination to endpoints, and a number of rules that does not grow with
//! the number of Services.
//!
//! The trick is to say the number of endpoints in the verdict. A packet's destination is looked up once, in
//! `service-ips`; the verdict is `goto tcp-cluster-3` if there are three endpoints, and that chain is one rule for all
//! such Services: it draws a number below three and finds the endpoint in the map `endpoints`, under the key destination
//! and number. So there is a chain for each *number of endpoints* in use (and each traffic policy), shared by all
//! Services, made when first needed. A Service is map elements and nothing else, but for two rare things that need
//! chains of their own: session affinity and source ranges.
//!
//! 10,000 Services with two endpoints each load in 0.5 s this way, and a change of one takes 15 ms however many there
//! are (Debian's nft 1.0.6, two cores).

mod base;
mod chains;
mod script;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::model::{Family, Protocol, ServicePort};
pub use chains::{Class, Policy, Shared};
pub use script::Table;

/// The table's name, in every family.
pub const TABLE: &str = "ferry-proxy";

/// How traffic of this node's pods is told from other traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalDetector {
    /// Not at all: nothing is masqueraded for having come from outside.
    None,
    /// By its source.
    Cidrs(Vec<IpNet>),
    /// By the interface it came in through; the name may end in `*`.
    Interface(String),
}

impl LocalDetector {
    /// The match for `family`'s local traffic (or, negated, for all other).
    fn rule(&self, family: Family, negate: bool) -> Option<String> {
        let operator = if negate { "!= " } else { "" };
        match self {
            LocalDetector::None => None,
            LocalDetector::Interface(name) => Some(format!("meta iifname {operator}\"{name}\"")),
            LocalDetector::Cidrs(cidrs) => {
                let cidrs: Vec<String> = cidrs
                    .iter()
                    .filter(|cidr| Family::of(&cidr.addr()) == family)
                    .map(|cidr| cidr.trunc().to_string())
                    .collect();
                let set = format!("{} saddr {operator}{{ {} }}", ip(family), cidrs.join(", "));
                (!cidrs.is_empty()).then_some(set)
            }
        }
    }
}

/// Which addresses of the node accept traffic to node ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// All local ones but loopback.
    All,
    /// These.
    Ips(Vec<IpAddr>),
}

/// What of the configuration is in the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Address family of this table.
    pub family: Family,
    /// Local traffic.
    pub local: LocalDetector,
    /// Masquerade all traffic to cluster IPs.
    pub masquerade_all: bool,
    /// The packet mark that asks for masquerading (upstream: bit 14).
    pub masquerade_mark: u32,
    /// Node ports.
    pub node_port_addresses: NodePortAddresses,
}

/// The data structures of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Map {
    /// All cluster IPs in use.
    ClusterIps,
    /// Where destinations go.
    ServiceIps,
    /// Where node ports go.
    ServiceNodePorts,
    /// What happens to traffic that finds no endpoint.
    NoEndpointServices,
    /// The same for node ports.
    NoEndpointNodePorts,
    /// Destinations with source ranges.
    FirewallIps,
    /// Local endpoints that may reach themselves.
    Hairpin,
    /// Destination and number: an endpoint.
    Endpoints(Lookup),
}

/// One of the maps with endpoints. There is one for each protocol because nft 1.0.6 can't take up a map again whose
/// data is a port of any protocol (`th dport`): a rule that is added later is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lookup {
    /// What the key is.
    pub class: Class,
    /// Endpoints of this node only.
    pub local: bool,
    /// Protocol.
    pub protocol: Protocol,
}

impl Map {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Map> {
        let fixed = [
            Map::ClusterIps,
            Map::ServiceIps,
            Map::ServiceNodePorts,
            Map::NoEndpointServices,
            Map::NoEndpointNodePorts,
            Map::FirewallIps,
            Map::Hairpin,
        ];
        let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let endpoints = [Class::Address, Class::NodePort].into_iter().flat_map(move |class| {
            let of = move |local| protocols.map(|protocol| Map::Endpoints(Lookup { class, local, protocol }));
            of(false).into_iter().chain(of(true))
        });
        fixed.into_iter().chain(endpoints)
    }

    /// Its name in the table.
    pub fn name(self) -> String {
        let fixed = match self {
            Map::ClusterIps => "cluster-ips",
            Map::ServiceIps => "service-ips",
            Map::ServiceNodePorts => "service-nodeports",
            Map::NoEndpointServices => "no-endpoint-services",
            Map::NoEndpointNodePorts => "no-endpoint-nodeports",
            Map::FirewallIps => "firewall-ips",
            Map::Hairpin => "hairpin-connections",
            Map::Endpoints(Lookup { class, local, protocol }) => {
                let local = if local { "local-" } else { "" };
                return format!("{local}{}endpoints-{}", class.prefix(), protocol.as_str());
            }
        };
        fixed.to_owned()
    }
}

/// What an element maps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing: a set's element.
    Present,
    /// Silence.
    Drop,
    /// Port unreachable.
    Reject,
    /// A chain shared by all service ports of one shape.
    Shared(Shared),
    /// A chain of the service port's own.
    Chain(String),
    /// An endpoint.
    Endpoint(SocketAddr),
}

/// All that the table holds for one service: what [`Table`] puts in and takes out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    /// Elements by map and key.
    pub elements: BTreeMap<(Map, String), Value>,
    /// Chains of its own, with their rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Sets of its own, with their definition.
    pub sets: BTreeMap<String, String>,
}

pub(crate) fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn addr_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

/// The data of one service's ports.
pub fn compile(ports: &[ServicePort], options: &Options) -> Fragment {
    let mut fragment = Fragment::default();
    for port in ports {
        Compiler { port, options, fragment: &mut fragment }.run();
    }
    fragment
}

struct Compiler<'a> {
    port: &'a ServicePort,
    options: &'a Options,
    fragment: &'a mut Fragment,
}

impl Compiler<'_> {
    fn run(&mut self) {
        let (port, choice) = (self.port, &self.port.endpoints);
        let cluster_ip = port.cluster_ip;
        self.put(Map::ClusterIps, cluster_ip.to_string(), Value::Present);
        for address in &choice.hairpin {
            let ip = address.ip();
            let key = format!("{ip} . {ip} . {} . {}", port.protocol.as_str(), address.port());
            self.put(Map::Hairpin, key, Value::Present);
        }

        let internal = if port.internal_local { &choice.local } else { &choice.cluster };
        let key = format!("{cluster_ip} . {}", port.port);
        if internal.is_empty() {
            self.put(Map::NoEndpointServices, self.service_key(&key), self.refusal());
        } else {
            let policy = if port.internal_local { Policy::InternalLocal } else { Policy::Cluster };
            self.serve(Class::Address, &key, policy);
        }

        let policy = if port.external_local { Policy::ExternalLocal } else { Policy::External };
        for ip in port.external_ips.iter().chain(&port.load_balancer_ips) {
            self.external(Class::Address, &format!("{ip} . {}", port.port), policy);
        }
        if let Some(node_port) = port.node_port {
            self.external(Class::NodePort, &node_port.to_string(), policy);
        }
        if !port.source_ranges.is_empty() && !port.load_balancer_ips.is_empty() {
            self.firewall();
        }
    }

    /// `address . port` with the protocol between, as the maps of all protocols have it.
    fn service_key(&self, key: &str) -> String {
        key.replacen(" . ", &format!(" . {} . ", self.port.protocol.as_str()), 1)
    }

    fn put(&mut self, map: Map, key: String, value: Value) {
        self.fragment.elements.insert((map, key), value);
    }

    /// What becomes of traffic without an endpoint: refused if there is none at all, else dropped, since another node
    /// may have one and the sender should try again.
    fn refusal(&self) -> Value {
        if self.port.endpoints.exist { Value::Drop } else { Value::Reject }
    }

    fn external(&mut self, class: Class, key: &str, policy: Policy) {
        let choice = &self.port.endpoints;
        let usable = if policy == Policy::ExternalLocal { choice.local.len() } else { choice.cluster.len() };
        let protocol = self.port.protocol.as_str();
        if usable == 0 {
            let (map, key) = match class {
                Class::Address => (Map::NoEndpointServices, self.service_key(key)),
                Class::NodePort => (Map::NoEndpointNodePorts, format!("{protocol} . {key}")),
            };
            self.put(map, key, self.refusal());
        }
        if usable > 0 || !choice.cluster.is_empty() {
            self.serve(class, key, policy);
        }
    }

    /// Leads traffic for a destination to the endpoints of `policy`. `key` is the destination without its protocol:
    /// address and port, or a node port.
    fn serve(&mut self, class: Class, key: &str, policy: Policy) {
        let (choice, protocol) = (&self.port.endpoints, self.port.protocol);
        let (map, entry) = match class {
            Class::Address => (Map::ServiceIps, self.service_key(key)),
            Class::NodePort => (Map::ServiceNodePorts, format!("{} . {key}", protocol.as_str())),
        };
        if self.port.affinity_seconds.is_some() {
            let chain = self.affinity_chains(policy);
            return self.put(map, entry, Value::Chain(chain));
        }
        let (cluster, local) = match policy {
            Policy::Cluster | Policy::External => (choice.cluster.as_slice(), &[][..]),
            // A cluster IP has but one set of endpoints: here the local ones stand in the map of all.
            Policy::InternalLocal => (choice.local.as_slice(), &[][..]),
            Policy::ExternalLocal => (choice.cluster.as_slice(), choice.local.as_slice()),
        };
        let policy = if policy == Policy::InternalLocal { Policy::Cluster } else { policy };
        let shared = Shared { class, protocol, policy, cluster: cluster.len(), local: local.len() };
        for (local, endpoints) in [(false, cluster), (true, local)] {
            let map = Map::Endpoints(Lookup { class, local, protocol });
            for (number, address) in endpoints.iter().enumerate() {
                let element = ((map, format!("{key} . {number}")), Value::Endpoint(*address));
                self.fragment.elements.extend([element]);
            }
        }
        self.put(map, entry, Value::Shared(shared));
    }

    fn firewall(&mut self) {
        let (port, family) = (self.port, self.options.family);
        let chain = format!("firewall-{:016x}", fingerprint(&[&port.name, port.protocol.as_str()]));
        let mut sources: Vec<String> = port.source_ranges.iter().map(|range| range.trunc().to_string()).collect();
        if let NodePortAddresses::Ips(ips) = &self.options.node_port_addresses
            && ips.iter().any(|ip| port.source_ranges.iter().any(|range| range.contains(ip)))
        {
            // A load balancer's address that is set on the node is also the source of the node's own traffic to it.
            let addresses =
                port.load_balancer_ips.iter().filter(|ip| !port.source_ranges.iter().any(|r| r.contains(*ip)));
            sources.extend(addresses.map(ToString::to_string));
        }
        sources.sort();
        sources.dedup();
        let rule = format!("{} saddr != {{ {} }} drop", ip(family), sources.join(", "));
        self.fragment.chains.insert(chain.clone(), vec![rule]);
        for address in &port.load_balancer_ips {
            let key = self.service_key(&format!("{address} . {}", port.port));
            self.put(Map::FirewallIps, key, Value::Chain(chain.clone()));
        }
    }
}

/// FNV-1a: names of chains and sets must be short, and the same for the same service port as long as we run.
pub(crate) fn fingerprint(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
