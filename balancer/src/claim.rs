//! What a Service asks for, read off the object: of which families, which address if it may choose, with whom it would
//! share one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

use crate::family::Family;

/// Addresses that a Service wishes for, separated by commas; as `spec.loadBalancerIP`, which holds one.
pub const WISHED: &str = "ferry/load-balancer-ips";
/// Services with the same value here may have the same address, if their ports differ.
pub const SHARED: &str = "ferry/allow-shared-ip";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claim {
    /// Whose it is, as an operator reads it: `namespace/name`.
    pub name: String,
    /// Who came first has an address that two have: by when they were made, and then by UID.
    pub seniority: (String, String),
    /// In the Service's order.
    pub families: Vec<Family>,
    /// It does with fewer families than it asks for (`ipFamilyPolicy: PreferDualStack`).
    pub prefers_both: bool,
    /// Addresses that it wishes for.
    pub wished: Vec<IpAddr>,
    /// Wishes that are no addresses.
    pub nonsense: Vec<String>,
    /// With whom it shares.
    pub sharing: Option<String>,
    /// Protocol and port.
    pub ports: BTreeSet<(String, i32)>,
    /// `externalTrafficPolicy: Local`.
    pub local: bool,
    /// Its pods.
    pub selector: BTreeMap<String, String>,
    /// Addresses that its status says it has.
    pub status: Vec<IpAddr>,
    /// Addresses that its user has routed to the cluster, which no other Service gets.
    pub external: Vec<IpAddr>,
}

impl Claim {
    /// Reads a Service.
    pub fn of(service: &Service) -> Claim {
        let (meta, spec) = (&service.metadata, service.spec.clone().unwrap_or_default());
        let annotation = |name: &str| meta.annotations.as_ref().and_then(|all| all.get(name));
        let wishes = annotation(WISHED).cloned().or(spec.load_balancer_ip).unwrap_or_default();
        let wishes = wishes.split(',').map(str::trim).filter(|wish| !wish.is_empty());
        let (mut wished, mut nonsense) = (Vec::new(), Vec::new());
        for wish in wishes {
            match wish.parse() {
                Ok(ip) => wished.push(ip),
                Err(_) => nonsense.push(wish.to_owned()),
            }
        }
        let ports = spec.ports.iter().flatten();
        let created = meta.creation_timestamp.as_ref().map(|at| at.0.to_string()).unwrap_or_default();
        let external = spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect();
        Claim {
            name: name(service),
            seniority: (created, meta.uid.clone().unwrap_or_default()),
            families: spec.ip_families.iter().flatten().filter_map(|family| Family::parse(family)).collect(),
            prefers_both: spec.ip_family_policy.as_deref() == Some("PreferDualStack"),
            wished,
            nonsense,
            sharing: annotation(SHARED).filter(|key| !key.is_empty()).cloned(),
            ports: ports.map(|port| (port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), port.port)).collect(),
            local: spec.external_traffic_policy.as_deref() == Some("Local"),
            selector: spec.selector.unwrap_or_default(),
            status: addresses(service).collect(),
            external,
        }
    }

    /// Whether both can have one address: each port leads to one of them, and a node that may answer for the one may
    /// answer for the other.
    pub fn shares_with(&self, other: &Claim) -> bool {
        self.sharing.is_some()
            && self.sharing == other.sharing
            && self.ports.is_disjoint(&other.ports)
            && self.local == other.local
            && (!self.local || self.selector == other.selector)
    }
}

/// `namespace/name`.
pub fn name(service: &Service) -> String {
    let meta = &service.metadata;
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// Whether it is of type LoadBalancer.
pub fn is_balanced(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
}

/// The addresses that its status names.
pub fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    let balanced = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balanced.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    ingress.iter().filter_map(|ingress| ingress.ip.as_deref()?.parse().ok())
}
