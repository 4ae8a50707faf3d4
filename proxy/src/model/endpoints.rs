//! Which endpoints of a service port this node uses: upstream's `CategorizeEndpoints`.
//!
//! Ready ones; if there are none, those that terminate but still serve, so that a rolling update which leaves nothing
//! ready for a moment loses nothing. Topology hints narrow the choice only if every ready endpoint has them and one
//! fits; the policy `Local` narrows it to this node, by itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::{Family, Node, Protocol, ServicePort};

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// It is on this node.
    pub local: bool,
    /// It takes new connections.
    pub ready: bool,
    /// It serves, if only the connections that it has.
    pub serving: bool,
    /// Its pod is going away.
    pub terminating: bool,
    node_hints: Vec<String>,
    zone_hints: Vec<String>,
}

/// The endpoints of a service port that this node uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// With the policy `Cluster` (and for the node's own traffic to external addresses). Sorted.
    pub cluster: Vec<SocketAddr>,
    /// With the policy `Local`. Sorted.
    pub local: Vec<SocketAddr>,
    /// Some endpoint, somewhere, is usable: what is not for us is dropped, not refused.
    pub exist: bool,
    /// Those of the above that are on this node: they may reach themselves through the Service.
    pub hairpin: Vec<SocketAddr>,
    /// Every endpoint that still serves; flows to others are stale.
    pub serving: Vec<SocketAddr>,
    /// How many ready endpoints are on this node (for the load balancer's health check).
    pub local_ready: usize,
}

/// The endpoints that slices give for a port. One that appears twice (it moves between slices) counts once, as the
/// better of both.
pub(super) fn of_port<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    port_name: Option<&str>,
    protocol: Protocol,
    node: &str,
    family: Family,
) -> Vec<Backend> {
    let mut found: BTreeMap<SocketAddr, Backend> = BTreeMap::new();
    for slice in slices.filter(|slice| slice.address_type == family.address_type()) {
        let fits = |name: Option<&str>, kind: Option<&str>| {
            name.unwrap_or_default() == port_name.unwrap_or_default() && Protocol::parse(kind) == Some(protocol)
        };
        let ports = slice.ports.iter().flatten().filter(|port| fits(port.name.as_deref(), port.protocol.as_deref()));
        for port in ports.filter_map(|port| u16::try_from(port.port?).ok()) {
            for endpoint in slice.endpoints.iter().flatten() {
                let Some(backend) = backend(endpoint, port, node) else { continue };
                let known = found.entry(backend.address).or_insert_with(|| backend.clone());
                let local = known.local || backend.local;
                if backend.ready && !known.ready {
                    *known = backend;
                }
                known.local = local;
            }
        }
    }
    found.into_values().collect()
}

fn backend(endpoint: &Endpoint, port: u16, node: &str) -> Option<Backend> {
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let conditions = endpoint.conditions.as_ref();
    let hints = endpoint.hints.as_ref();
    Some(Backend {
        address: SocketAddr::new(ip, port),
        local: endpoint.node_name.as_deref() == Some(node),
        ready: conditions.and_then(|c| c.ready).unwrap_or(true),
        serving: conditions.and_then(|c| c.serving).unwrap_or(true),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        node_hints: hints.iter().flat_map(|h| h.for_nodes.iter().flatten()).map(|node| node.name.clone()).collect(),
        zone_hints: hints.iter().flat_map(|h| h.for_zones.iter().flatten()).map(|zone| zone.name.clone()).collect(),
    })
}

pub(super) fn choose(all: Vec<Backend>, port: &ServicePort, node: &Node) -> Choice {
    let pick = |wanted: &dyn Fn(&Backend) -> bool| -> Vec<SocketAddr> {
        all.iter().filter(|backend| wanted(backend)).map(|backend| backend.address).collect()
    };
    let leaving = |backend: &Backend| backend.serving && backend.terminating && !backend.ready;
    let or_leaving = |ready: Vec<SocketAddr>, local: bool| {
        if ready.is_empty() { pick(&|b| leaving(b) && (b.local || !local)) } else { ready }
    };
    let mut choice = Choice {
        serving: pick(&|backend| backend.serving),
        local_ready: pick(&|backend| backend.local && backend.ready).len(),
        ..Choice::default()
    };
    let uses_cluster = !port.internal_local || port.is_external();
    let uses_local = port.internal_local || (port.external_local && port.is_external());
    if uses_cluster {
        let topology = topology(&all, node);
        choice.cluster = or_leaving(pick(&|backend| backend.ready && topology.allows(backend, node)), false);
        choice.exist = !choice.cluster.is_empty();
    }
    if uses_local {
        choice.local = or_leaving(pick(&|backend| backend.local && backend.ready), true);
        choice.exist |= all.iter().any(|backend| backend.ready || leaving(backend));
    }
    let used = |address: &SocketAddr| choice.cluster.contains(address) || choice.local.contains(address);
    choice.hairpin = all.iter().filter(|b| b.local && used(&b.address)).map(|b| b.address).collect();
    choice
}

enum Topology {
    Anywhere,
    SameNode,
    SameZone,
}

impl Topology {
    fn allows(&self, backend: &Backend, node: &Node) -> bool {
        match self {
            Topology::Anywhere => true,
            Topology::SameNode => backend.node_hints.contains(&node.name),
            Topology::SameZone => backend.zone_hints.contains(&node.zone),
        }
    }
}

/// Hints hold if every ready endpoint has them and at least one names us: else traffic would go nowhere.
fn topology(all: &[Backend], node: &Node) -> Topology {
    let ready = || all.iter().filter(|backend| backend.ready);
    let holds = |hinted: fn(&Backend) -> bool, topology: &Topology| {
        ready().next().is_some() && ready().all(hinted) && ready().any(|backend| topology.allows(backend, node))
    };
    if holds(|backend| !backend.node_hints.is_empty(), &Topology::SameNode) {
        Topology::SameNode
    } else if holds(|backend| !backend.zone_hints.is_empty(), &Topology::SameZone) {
        Topology::SameZone
    } else {
        Topology::Anywhere
    }
}
