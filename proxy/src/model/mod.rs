//! What this node does with traffic to Services, as values: upstream's `pkg/proxy` without a packet filter in it.
//!
//! `service_ports` turns one Service and its EndpointSlices into the service ports of one address family, each with the
//! endpoints that this node may use. It is a pure function of its arguments, so that a change of one Service costs one
//! call, and backends compare results instead of following events.

mod endpoints;
#[cfg(test)]
pub(crate) mod tests;

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort as ApiPort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

pub use endpoints::{Backend, Choice};

/// The label by which a slice names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Services and slices with this label are another proxy's.
pub const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// Services and slices with this label are headless, whatever their address.
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(ip: &IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    fn address_type(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Kubernetes' name; absent means TCP.
    pub fn parse(name: Option<&str>) -> Option<Protocol> {
        match name {
            None | Some("" | "TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("SCTP") => Some(Protocol::Sctp),
            Some(_) => None,
        }
    }

    /// The lower-case name, as nft writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// What of a node bears on the choice of endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The node's name, as endpoints give it.
    pub name: String,
    /// Its `topology.kubernetes.io/zone` label, or empty.
    pub zone: String,
}

/// One port of a Service, in one address family, as this node serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `namespace/name:port`, upstream's `ServicePortName`.
    pub name: String,
    /// Transport.
    pub protocol: Protocol,
    /// The cluster IP of this family.
    pub cluster_ip: IpAddr,
    /// The Service's port.
    pub port: u16,
    /// Its port on nodes.
    pub node_port: Option<u16>,
    /// Addresses that are routed to the node by somebody else.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of load balancers that keep them as destination.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer; empty means everybody.
    pub source_ranges: Vec<IpNet>,
    /// `ClientIP` affinity, with its timeout in seconds.
    pub affinity_seconds: Option<u32>,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// The port for the load balancer's health checks.
    pub health_check_port: Option<u16>,
    /// The endpoints to use.
    pub endpoints: Choice,
}

impl ServicePort {
    /// Whether it can be reached by anything but its cluster IP.
    pub fn is_external(&self) -> bool {
        self.node_port.is_some() || !self.external_ips.is_empty() || !self.load_balancer_ips.is_empty()
    }
}

/// The ports of `service` in `family`; none if it is not this proxy's business (headless, an alias, another proxy's).
/// `slices` are the Service's own.
pub fn service_ports<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    node: &Node,
    family: Family,
) -> Vec<ServicePort> {
    let (Some(spec), Some(cluster_ip)) = (&service.spec, cluster_ip(service, family)) else { return Vec::new() };
    let labels = service.metadata.labels.as_ref();
    let labelled = |name| labels.is_some_and(|labels| labels.contains_key(name));
    if spec.type_.as_deref() == Some("ExternalName") || labelled(PROXY_NAME_LABEL) || labelled(HEADLESS_LABEL) {
        return Vec::new();
    }
    let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let of_family = |ips: Option<&Vec<String>>| -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> = ips.into_iter().flatten().filter_map(|ip| ip.parse().ok()).collect();
        ips.retain(|ip| Family::of(ip) == family);
        ips
    };
    let mut source_ranges: Vec<IpNet> =
        spec.load_balancer_source_ranges.iter().flatten().filter_map(|range| range.trim().parse().ok()).collect();
    source_ranges.retain(|range| Family::of(&range.addr()) == family);
    if source_ranges.iter().any(|range| range.prefix_len() == 0) {
        source_ranges.clear();
    }
    let load_balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let load_balancer_ips: Vec<String> = load_balancer
        .and_then(|status| status.ingress.as_ref())
        .into_iter()
        .flatten()
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.clone())
        .collect();
    let affinity = spec.session_affinity.as_deref() == Some("ClientIP");
    let timeout = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let make = |port: &ApiPort| {
        let number = |port: i32| u16::try_from(port).ok().filter(|port| *port != 0);
        let mut made = ServicePort {
            name: format!("{namespace}/{name}:{}", port.name.as_deref().unwrap_or_default()),
            protocol: Protocol::parse(port.protocol.as_deref())?,
            cluster_ip,
            port: number(port.port)?,
            node_port: port.node_port.and_then(number),
            external_ips: of_family(spec.external_ips.as_ref()),
            load_balancer_ips: of_family(Some(&load_balancer_ips)),
            source_ranges: source_ranges.clone(),
            affinity_seconds: affinity.then(|| timeout.and_then(|s| s.try_into().ok()).unwrap_or(10_800)),
            external_local: local(&spec.external_traffic_policy),
            internal_local: local(&spec.internal_traffic_policy),
            health_check_port: spec.health_check_node_port.and_then(number),
            endpoints: Choice::default(),
        };
        if spec.type_.as_deref() != Some("LoadBalancer") || !made.external_local {
            made.health_check_port = None;
        }
        let all = endpoints::of_port(slices.clone(), port.name.as_deref(), made.protocol, &node.name, family);
        made.endpoints = endpoints::choose(all, &made, node);
        Some(made)
    };
    spec.ports.iter().flatten().filter_map(make).collect()
}

/// The Service's cluster IP of a family; none if it is headless.
pub fn cluster_ip(service: &Service, family: Family) -> Option<IpAddr> {
    let spec = service.spec.as_ref()?;
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    all.filter_map(|ip| ip.parse().ok()).find(|ip| Family::of(ip) == family)
}

/// `namespace/name` of the Service that a slice belongs to; none if it is not for proxies.
pub fn service_of(slice: &EndpointSlice) -> Option<(String, String)> {
    let labels = slice.metadata.labels.as_ref()?;
    if labels.contains_key(PROXY_NAME_LABEL) || labels.contains_key(HEADLESS_LABEL) {
        return None;
    }
    Some((slice.metadata.namespace.clone()?, labels.get(SERVICE_NAME_LABEL)?.clone()))
}
