//! What load balancing reads off nodes and endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use client::Informer;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::family::Family;

/// The label by which a slice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Its addresses, and whether each is for the world outside.
pub fn addresses(node: &Node) -> Vec<(IpAddr, bool)> {
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let ips = all.filter(|address| matches!(address.type_.as_str(), "InternalIP" | "ExternalIP"));
    ips.filter_map(|address| Some((address.address.parse().ok()?, address.type_ == "ExternalIP"))).collect()
}

/// Whether its kubelet says that it is well.
pub fn is_ready(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Where its kubelet listens.
pub fn kubelet_port(node: &Node) -> Option<i32> {
    Some(node.status.as_ref()?.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref()?.port)
}

/// The addresses by which the world reaches these nodes: of each family those for outside if any node has one, else those
/// within.
pub fn outward<'a>(nodes: impl Iterator<Item = &'a Node>) -> Vec<IpAddr> {
    let all: Vec<(IpAddr, bool)> = nodes.flat_map(addresses).collect();
    let of = |family: Family, outside: bool| {
        let those = all.iter().filter(move |(ip, out)| Family::of(*ip) == family && *out == outside);
        those.map(|(ip, _)| *ip).collect::<Vec<_>>()
    };
    let of_family =
        |family: Family| Some(of(family, true)).filter(|ips| !ips.is_empty()).unwrap_or_else(|| of(family, false));
    let mut found: Vec<IpAddr> = Vec::new();
    for ip in [Family::V4, Family::V6].into_iter().flat_map(of_family) {
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// The namespace and the name of the Service that a slice is of.
pub fn service_of(slice: &EndpointSlice) -> Option<(&str, &str)> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some((slice.metadata.namespace.as_deref()?, name))
}

/// A Service's slices.
pub fn slices_of(slices: &Informer<EndpointSlice>, namespace: &str, name: &str) -> Vec<Arc<EndpointSlice>> {
    slices.selected(namespace, Some((SERVICE_NAME, name)), |_| true)
}

/// The nodes with endpoints of a Service that its proxies lead to with the policy `Local`: ready ones, or where there are
/// none anywhere, those that serve still while they end.
pub fn with_any<'a>(slices: impl Iterator<Item = &'a EndpointSlice> + Clone) -> BTreeSet<String> {
    let ready: BTreeSet<String> = slices.clone().flat_map(with_endpoints).collect();
    if !ready.is_empty() {
        return ready;
    }
    let serves = |endpoint: &&Endpoint| endpoint.conditions.as_ref().and_then(|c| c.serving).unwrap_or(true);
    let all = slices.flat_map(|slice| slice.endpoints.iter().flatten()).filter(serves);
    all.filter_map(|endpoint| endpoint.node_name.clone()).collect()
}

/// The nodes with endpoints that take new connections.
pub fn with_endpoints(slice: &EndpointSlice) -> BTreeSet<String> {
    let ready = slice
        .endpoints
        .iter()
        .flatten()
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
    ready.filter_map(|endpoint| endpoint.node_name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_end_are_led_to_where_no_others_are() {
        let slice = |endpoints: &[(&str, bool, bool)]| -> EndpointSlice {
            let endpoint = |(node, ready, serving): &(&str, bool, bool)| {
                serde_json::json!({"nodeName": node, "addresses": ["10.0.0.1"],
                    "conditions": {"ready": ready, "serving": serving, "terminating": !ready}})
            };
            let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
            serde_json::from_value(serde_json::json!({"addressType": "IPv4", "endpoints": endpoints})).unwrap()
        };
        let (ends, gone, ready) = (("a", false, true), ("b", false, false), ("c", true, true));
        let check = |slices: &[EndpointSlice], expect: &[&str]| {
            assert_eq!(with_any(slices.iter()).into_iter().collect::<Vec<_>>(), expect);
        };
        check(&[slice(&[ends, gone]), slice(&[ready])], &["c"]);
        check(&[slice(&[ends, gone])], &["a"]);
        check(&[slice(&[gone])], &[]);
    }

    fn node(addresses: &[(&str, &str)]) -> Node {
        let addresses: Vec<_> =
            addresses.iter().map(|(kind, ip)| serde_json::json!({"type": kind, "address": ip})).collect();
        serde_json::from_value(serde_json::json!({"status": {"addresses": addresses}})).unwrap()
    }

    #[test]
    fn nodes_are_reached_from_outside_where_they_can_be() {
        let check = |nodes: &[&[(&str, &str)]], expect: &[&str]| {
            let nodes: Vec<Node> = nodes.iter().map(|addresses| node(addresses)).collect();
            let found: Vec<String> = outward(nodes.iter()).iter().map(ToString::to_string).collect();
            assert_eq!(found, expect);
        };
        let (inner, outer) = (("InternalIP", "10.0.0.1"), ("ExternalIP", "192.0.2.1"));
        check(&[&[inner], &[("Hostname", "n")]], &["10.0.0.1"]);
        check(&[&[inner, outer], &[("InternalIP", "10.0.0.2")]], &["192.0.2.1"]);
        check(&[&[outer, ("InternalIP", "fd00::1")], &[outer]], &["192.0.2.1", "fd00::1"]);
    }
}
