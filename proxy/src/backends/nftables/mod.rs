//! Service ports as nftables data: maps from destination to endpoints, and a number of rules that does not grow with
//! the number of Services.
//!
//! The trick is to say the number of endpoints in the verdict. A packet's destination is looked up once, in
//! `service-ips`; the verdict is `goto cluster-3` if there are three endpoints, and that chain is one rule for all
//! such Services: it draws a number below three and finds the endpoint in the map `endpoints`, under the key destination
//! and number. So there is a chain for each *number of endpoints* in use (and each traffic policy), shared by all
//! Services, made when first needed. A Service is map elements and nothing else, but for two rare things that need
//! chains of their own: session affinity and source ranges.
//!
//! The kernel is told by netlink, in differences from what it was told before: a change of a Service among 10,000 costs what
//! the Service has, and nothing is ever read back.

mod base;
mod chains;
mod kernel;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use netfilter::tables::{Datum, Element, Field, Rule, Set, Statement, Transport, Verdict, Version};

use crate::model::{Family, Protocol, ServicePort};
pub use chains::{Class, Policy, Shared};
pub use kernel::Table;

/// The table's names, in every family: one that is made anew has the name that the old one has not, which goes then. So no
/// packet finds half of either.
pub const TABLES: [&str; 2] = ["ferry-proxy", "ferry-proxy-2"];

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
    /// The match for `family`'s local traffic, or for all other.
    fn statement(&self, family: Family, is_local: bool) -> Option<Statement> {
        match self {
            LocalDetector::None => None,
            LocalDetector::Interface(name) => Some(Statement::Interface(Field::Input, name.clone(), is_local)),
            LocalDetector::Cidrs(cidrs) => {
                among_nets(Field::Source(version(family)), &of_family(cidrs, family), is_local)
            }
        }
    }
}

fn of_family(nets: &[IpNet], family: Family) -> Vec<IpNet> {
    nets.iter().filter(|net| Family::of(&net.addr()) == family).copied().collect()
}

/// The address is (or is not) in one of the nets, which may lie in each other; nothing, of no nets.
fn among_nets(field: Field, nets: &[IpNet], is: bool) -> Option<Statement> {
    let apart = IpNet::aggregate(&nets.to_vec());
    (!apart.is_empty()).then(|| Statement::Among(field, apart.into_iter().map(Element::net).collect(), is))
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
    /// Where cluster IPs come from, of both families: what is in there and is no Service's is dropped.
    pub service_ranges: Vec<IpNet>,
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
    /// Destination and number: an endpoint; of this node only, if true.
    Endpoints(Class, bool),
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
        let classes = [Class::Address, Class::NodePort].into_iter();
        fixed.into_iter().chain(classes.flat_map(|class| [false, true].map(|local| Map::Endpoints(class, local))))
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
            Map::Endpoints(class, local) => {
                let local = if local { "local-" } else { "" };
                return format!("{local}{}endpoints", class.prefix());
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

impl Value {
    /// The element of that key that leads there.
    fn element(&self, key: &[Datum]) -> Element {
        match self {
            Value::Present => Element::of(key),
            Value::Drop => Element::verdict(key, Verdict::Drop),
            Value::Reject => Element::verdict(key, base::refuse()),
            Value::Shared(shared) => Element::verdict(key, goto(&shared.name())),
            Value::Chain(name) => Element::verdict(key, goto(name)),
            Value::Endpoint(address) => Element::data(key, [Datum::Address(address.ip()), Datum::Port(address.port())]),
        }
    }
}

/// All that the table holds for one service: what [`Table`] puts in and takes out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    /// Elements by map and key.
    pub elements: BTreeMap<(Map, Vec<Datum>), Value>,
    /// Chains of its own, with their rules.
    pub chains: BTreeMap<String, Vec<Rule>>,
    /// Sets of its own.
    pub sets: BTreeMap<String, Set>,
}

pub(crate) fn version(family: Family) -> Version {
    match family {
        Family::V4 => Version::V4,
        Family::V6 => Version::V6,
    }
}

fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Sctp => Transport::Sctp,
    }
}

fn goto(chain: &str) -> Verdict {
    Verdict::Goto(chain.to_owned())
}

fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump(chain.to_owned()))
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
        let protocol = Datum::Protocol(transport(port.protocol));
        let destination = |ip: IpAddr| vec![Datum::Address(ip), protocol, Datum::Port(port.port)];
        self.put(Map::ClusterIps, vec![Datum::Address(port.cluster_ip)], Value::Present);
        for address in &choice.hairpin {
            let ip = Datum::Address(address.ip());
            self.put(Map::Hairpin, vec![ip, ip, protocol, Datum::Port(address.port())], Value::Present);
        }

        let internal = if port.internal_local { &choice.local } else { &choice.cluster };
        let key = destination(port.cluster_ip);
        if internal.is_empty() {
            self.put(Map::NoEndpointServices, key, self.refusal());
        } else {
            let policy = if port.internal_local { Policy::InternalLocal } else { Policy::Cluster };
            self.serve(Class::Address, &key, policy);
        }

        let policy = if port.external_local { Policy::ExternalLocal } else { Policy::External };
        for ip in port.external_ips.iter().chain(&port.load_balancer_ips) {
            self.external(Class::Address, destination(*ip), policy);
        }
        if let Some(node_port) = port.node_port {
            self.external(Class::NodePort, vec![protocol, Datum::Port(node_port)], policy);
        }
        if !port.source_ranges.is_empty() && !port.load_balancer_ips.is_empty() {
            let chain = self.firewall();
            for ip in &port.load_balancer_ips {
                self.put(Map::FirewallIps, destination(*ip), Value::Chain(chain.clone()));
            }
        }
    }

    fn put(&mut self, map: Map, key: Vec<Datum>, value: Value) {
        self.fragment.elements.insert((map, key), value);
    }

    /// What becomes of traffic without an endpoint: refused if there is none at all, else dropped, since another node
    /// may have one and the sender should try again.
    fn refusal(&self) -> Value {
        if self.port.endpoints.exist { Value::Drop } else { Value::Reject }
    }

    fn external(&mut self, class: Class, key: Vec<Datum>, policy: Policy) {
        let choice = &self.port.endpoints;
        let usable = if policy == Policy::ExternalLocal { choice.local.len() } else { choice.cluster.len() };
        if usable > 0 || !choice.cluster.is_empty() {
            self.serve(class, &key, policy);
        }
        if usable == 0 {
            let map = match class {
                Class::Address => Map::NoEndpointServices,
                Class::NodePort => Map::NoEndpointNodePorts,
            };
            self.put(map, key, self.refusal());
        }
    }

    /// Leads traffic for a destination to the endpoints of `policy`.
    fn serve(&mut self, class: Class, key: &[Datum], policy: Policy) {
        let choice = &self.port.endpoints;
        let map = match class {
            Class::Address => Map::ServiceIps,
            Class::NodePort => Map::ServiceNodePorts,
        };
        if self.port.affinity_seconds.is_some() {
            let chain = self.affinity_chains(policy);
            return self.put(map, key.to_vec(), Value::Chain(chain));
        }
        let (cluster, local) = match policy {
            Policy::Cluster | Policy::External => (choice.cluster.as_slice(), &[][..]),
            // A cluster IP has but one set of endpoints: here the local ones stand in the map of all.
            Policy::InternalLocal => (choice.local.as_slice(), &[][..]),
            Policy::ExternalLocal => (choice.cluster.as_slice(), choice.local.as_slice()),
        };
        let policy = if policy == Policy::InternalLocal { Policy::Cluster } else { policy };
        let shared = Shared { class, policy, cluster: cluster.len(), local: local.len() };
        for (local, endpoints) in [(false, cluster), (true, local)] {
            for (number, address) in (0..).zip(endpoints) {
                let key = [key, &[Datum::Number(number)]].concat();
                self.fragment.elements.insert((Map::Endpoints(class, local), key), Value::Endpoint(*address));
            }
        }
        self.put(map, key.to_vec(), Value::Shared(shared));
    }

    /// The chain that lets the source ranges pass.
    fn firewall(&mut self) -> String {
        let port = self.port;
        let chain = format!("firewall-{:016x}", fingerprint(&[&port.name, port.protocol.as_str()]));
        let mut sources = port.source_ranges.clone();
        if let NodePortAddresses::Ips(ips) = &self.options.node_port_addresses
            && ips.iter().any(|ip| port.source_ranges.iter().any(|range| range.contains(ip)))
        {
            // A load balancer's address that is set on the node is also the source of the node's own traffic to it.
            sources.extend(port.load_balancer_ips.iter().map(|ip| IpNet::from(*ip)));
        }
        let outside = among_nets(Field::Source(version(self.options.family)), &sources, false);
        let rule = outside.into_iter().chain([Statement::Verdict(Verdict::Drop)]).collect();
        self.fragment.chains.insert(chain.clone(), vec![rule]);
        chain
    }
}

/// FNV-1a: names of chains and sets must be short, and the same for the same service port as long as we run.
pub(crate) fn fingerprint(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
