//! Hints for a Service's traffic distribution: stay in the zone, or on the node.

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointHints, EndpointSlice, ForNode, ForZone},
};

/// How a Service wants its traffic kept near.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Distribution {
    Anywhere,
    SameZone,
    SameNode,
}

pub(crate) fn distribution(service: &Service) -> Distribution {
    match service.spec.as_ref().and_then(|s| s.traffic_distribution.as_deref()) {
        Some("PreferClose" | "PreferSameZone") => Distribution::SameZone,
        Some("PreferSameNode") => Distribution::SameNode,
        _ => Distribution::Anywhere,
    }
}

/// What an endpoint's hints should be: its own place, once it is ready.
fn wanted(endpoint: &Endpoint, distribution: Distribution) -> Option<EndpointHints> {
    if distribution == Distribution::Anywhere || endpoint.conditions.as_ref().and_then(|c| c.ready) != Some(true) {
        return None;
    }
    let for_zones = endpoint.zone.clone().map(|name| vec![ForZone { name }]);
    let node = endpoint.node_name.clone().filter(|_| distribution == Distribution::SameNode);
    let for_nodes = node.map(|name| vec![ForNode { name }]);
    (for_zones.is_some() || for_nodes.is_some()).then_some(EndpointHints { for_zones, for_nodes })
}

/// Sets the hints of all endpoints; true if that changed something.
pub(crate) fn set(slice: &mut EndpointSlice, distribution: Distribution) -> bool {
    let mut changed = false;
    for endpoint in slice.endpoints.iter_mut().flatten() {
        let hints = wanted(endpoint, distribution);
        changed |= endpoint.hints != hints;
        endpoint.hints = hints;
    }
    changed
}
