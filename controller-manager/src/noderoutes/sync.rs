//! Which routes a cloud lacks, which it has too many, and which nodes are reached.

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, NodeAddress};

use crate::{
    cloud::Route,
    util::{cidr, key},
};

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) delete: Vec<Route>,
    /// With the node's UID, which may be part of its name.
    pub(super) create: Vec<(String, Route)>,
    /// The nodes whose condition says whether they are reached, and whether they can be: those with ranges.
    pub(super) nodes: BTreeMap<String, bool>,
    /// Whether what is to be deleted has to be gone before something is made: a route may be made anew.
    pub(super) in_turn: bool,
}

fn ranges(node: &Node) -> &[String] {
    node.spec.as_ref().and_then(|s| s.pod_cidrs.as_deref()).unwrap_or_default()
}

fn addresses(node: &Node) -> &[NodeAddress] {
    node.status.as_ref().and_then(|s| s.addresses.as_deref()).unwrap_or_default()
}

fn same_addresses(a: &[NodeAddress], b: &[NodeAddress]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}

/// Whether a route is as it should be: it leads there, and the node is still at the same addresses.
fn fits(route: &Route, node: &Node, range: &str) -> bool {
    route.node == key::name(&node.metadata)
        && route.destination == range
        && route.addresses.as_ref().is_none_or(|known| same_addresses(known, addresses(node)))
}

/// Only routes within the cluster's ranges are ours.
fn is_ours(route: &Route, cluster: &[IpNet]) -> bool {
    let Ok(range) = route.destination.parse::<IpNet>() else { return false };
    cluster.iter().any(|c| cidr::overlap(c, &range) && (c.contains(&range.network()) || c.contains(&range.broadcast())))
}

/// Decides.
pub(super) fn sync(nodes: &[&Node], routes: &[Route], cluster: &[IpNet]) -> Plan {
    let wanted = |route: &Route| nodes.iter().any(|node| ranges(node).iter().any(|range| fits(route, node, range)));
    let surplus = routes.iter().filter(|r| is_ours(r, cluster) && (r.blackhole || !wanted(r)));
    let mut plan = Plan {
        delete: surplus.cloned().collect(),
        in_turn: routes.first().is_some_and(|r| r.addresses.is_some()),
        ..Plan::default()
    };
    for node in nodes {
        let name = key::name(&node.metadata);
        for range in ranges(node) {
            if !routes.iter().any(|route| fits(route, node, range)) {
                let route = Route {
                    node: name.to_owned(),
                    addresses: Some(addresses(node).to_vec()),
                    destination: range.clone(),
                    ..Route::default()
                };
                plan.create.push((key::uid(&node.metadata).to_owned(), route));
            }
        }
        // One without ranges is said not to be reached if something leads to it.
        let reachable = !ranges(node).is_empty();
        if reachable || routes.iter().any(|route| route.node == name) {
            plan.nodes.insert(name.to_owned(), reachable);
        }
    }
    plan
}

/// Whether a node's condition has to be written: NetworkUnavailable, with its status and reason.
pub(super) fn is_said(node: &Node, reached: bool) -> bool {
    let (status, reason) = said(reached);
    let mut conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.any(|c| c.type_ == "NetworkUnavailable" && c.status == status && c.reason.as_deref() == Some(reason))
}

/// Status and reason of the condition.
pub(super) fn said(reached: bool) -> (&'static str, &'static str) {
    if reached { ("False", "RouteCreated") } else { ("True", "NoRouteCreated") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, ranges: &[&str], address: &str) -> Node {
        let addresses = json!([{"type": "InternalIP", "address": address}]);
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": {"podCIDRs": ranges},
            "status": {"addresses": addresses},
        }))
        .unwrap()
    }

    fn route(node: &str, destination: &str) -> Route {
        Route { name: destination.into(), node: node.into(), destination: destination.into(), ..Route::default() }
    }

    fn planned(nodes: &[Node], routes: &[Route]) -> String {
        let nodes: Vec<&Node> = nodes.iter().collect();
        let cluster = ["10.120.0.0/16".parse().unwrap(), "a00:100::/24".parse().unwrap()];
        let plan = sync(&nodes, routes, &cluster);
        let deleted = plan.delete.iter().map(|r| format!("-{}", r.destination));
        let created = plan.create.iter().map(|(uid, r)| format!("+{}@{}:{uid}", r.destination, r.node));
        let said = plan.nodes.iter().map(|(node, reachable)| format!("{node}={reachable}"));
        deleted.chain(created).chain(said).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_range_of_a_node_has_a_route() {
        let (a, b) =
            (node("a", &["10.120.0.0/24"], "1.1.1.1"), node("b", &["10.120.1.0/24", "a00:100::/64"], "1.1.1.2"));
        let (bare, both) = (node("c", &[], "1.1.1.3"), [a.clone(), b.clone()]);
        let all = [route("a", "10.120.0.0/24"), route("b", "10.120.1.0/24"), route("b", "a00:100::/64")];
        assert_eq!(planned(&both, &all), "a=true b=true");
        assert_eq!(planned(&both, &all[..2]), "+a00:100::/64@b:uid-b a=true b=true");
        assert_eq!(planned(&[a.clone(), bare.clone()], &all[..1]), "a=true");
        assert_eq!(planned(&[bare], &[route("c", "10.120.9.0/24")]), "-10.120.9.0/24 c=false");
        assert_eq!(planned(std::slice::from_ref(&a), &all), "-10.120.1.0/24 -a00:100::/64 a=true");
        // It leads to another node now.
        assert_eq!(planned(&[a], &[route("b", "10.120.0.0/24")]), "-10.120.0.0/24 +10.120.0.0/24@a:uid-a a=true");
    }

    #[test]
    fn routes_of_others_are_left_alone_and_those_to_nowhere_go() {
        assert_eq!(planned(&[], &[route("x", "10.1.0.0/24"), route("x", "nonsense")]), "");
        let nowhere = Route { blackhole: true, ..route("", "10.120.5.0/24") };
        assert_eq!(planned(&[], &[nowhere]), "-10.120.5.0/24");
    }

    #[test]
    fn a_node_at_another_address_gets_its_route_anew() {
        let at = |address: &str| {
            let known = json!([{"type": "InternalIP", "address": address}]);
            let addresses = Some(serde_json::from_value(known).unwrap());
            [Route { addresses, ..route("a", "10.120.0.0/24") }]
        };
        let nodes = [node("a", &["10.120.0.0/24"], "1.1.1.1")];
        assert_eq!(planned(&nodes, &at("1.1.1.1")), "a=true");
        assert_eq!(planned(&nodes, &at("1.1.1.9")), "-10.120.0.0/24 +10.120.0.0/24@a:uid-a a=true");
        assert!(sync(&[&nodes[0]], &at("1.1.1.9"), &[]).in_turn);
    }

    #[test]
    fn the_condition_is_written_when_it_says_something_else() {
        let check = |conditions: Value, reached: bool, want: bool| {
            let node = json!({"metadata": {}, "status": {"conditions": conditions}});
            assert_eq!(is_said(&serde_json::from_value(node).unwrap(), reached), want);
        };
        let good = json!([{"type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated"}]);
        check(good.clone(), true, true);
        check(good, false, false);
        check(json!([{"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated"}]), false, true);
        check(json!([{"type": "NetworkUnavailable", "status": "False", "reason": "Other"}]), true, false);
        check(json!([]), true, false);
    }
}
