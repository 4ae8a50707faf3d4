//! The fixed part of the table: base chains, maps and the few rules that every packet may pass.
//!
//! Chains, their hooks and priorities are upstream's (`pkg/proxy/nftables`), so that what else is on a node (network
//! policies, host firewalls) meets the same order with either proxy.

use std::fmt::Write as _;

use super::chains::masquerade;
use super::{Lookup, Map, NodePortAddresses, Options, TABLE, addr_type, ip};
use crate::model::Family;

// Priorities as numbers: before nft 1.0.7 the name `dstnat` is not known in the output hook.
const BASE_CHAINS: [(&str, &str); 8] = [
    ("filter-prerouting-pre-dnat", "type filter hook prerouting priority -110"),
    ("filter-output-pre-dnat", "type filter hook output priority -110"),
    ("filter-input", "type filter hook input priority 0"),
    ("filter-forward", "type filter hook forward priority 0"),
    ("filter-output", "type filter hook output priority 0"),
    ("nat-prerouting", "type nat hook prerouting priority -100"),
    ("nat-output", "type nat hook output priority -100"),
    ("nat-postrouting", "type nat hook postrouting priority 100"),
];

/// Creates the table anew, in the same transaction in which an old one goes.
pub(super) fn script(options: &Options) -> String {
    let ip = ip(options.family);
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a String takes it");
    line(format!("add table {ip} {TABLE}"));
    line(format!("delete table {ip} {TABLE}"));
    line(format!("add table {ip} {TABLE} {{ comment \"rules of ferry proxy\" ; }}"));
    for (name, hook) in BASE_CHAINS {
        line(format!("add chain {ip} {TABLE} {name} {{ {hook} ; }}"));
    }
    for map in Map::all() {
        line(format!("add {} {ip} {TABLE} {} {{ {} ; }}", kind(map), map.name(), definition(map, options.family)));
    }
    for name in ["services", "masquerading", "service-endpoints-check", "nodeport-endpoints-check"] {
        line(format!("add chain {ip} {TABLE} {name}"));
    }
    // The last one stays empty: it tells whether the table is still there.
    for name in ["cluster-ips-check", "firewall-check", "reject-chain", "alive"] {
        line(format!("add chain {ip} {TABLE} {name}"));
    }
    for (chain, rule) in rules(options) {
        line(format!("add rule {ip} {TABLE} {chain} {rule}"));
    }
    out
}

pub(super) fn kind(map: Map) -> &'static str {
    match map {
        Map::ClusterIps | Map::Hairpin => "set",
        _ => "map",
    }
}

fn definition(map: Map, family: Family) -> String {
    let (ip, addr) = (ip(family), addr_type(family));
    match map {
        Map::ClusterIps => format!("type {addr}"),
        Map::Hairpin => format!("type {addr} . {addr} . inet_proto . inet_service"),
        Map::ServiceIps | Map::NoEndpointServices | Map::FirewallIps => {
            format!("type {addr} . inet_proto . inet_service : verdict")
        }
        Map::ServiceNodePorts | Map::NoEndpointNodePorts => "type inet_proto . inet_service : verdict".to_owned(),
        Map::Endpoints(Lookup { class, protocol, .. }) => {
            let key = class.key(family, protocol);
            format!("typeof {key} . numgen random mod 2 : {ip} daddr . {} dport", protocol.as_str())
        }
    }
}

fn rules(options: &Options) -> Vec<(&'static str, String)> {
    let ip = ip(options.family);
    let key = format!("{ip} daddr . meta l4proto . th dport");
    let mark = options.masquerade_mark;
    let loopback = match options.family {
        Family::V4 => "ip daddr != 127.0.0.0/8",
        Family::V6 => "ip6 daddr != ::1",
    };
    let node_port = match &options.node_port_addresses {
        NodePortAddresses::All => Some((format!("fib daddr type local {loopback}"), loopback.to_owned())),
        NodePortAddresses::Ips(ips) => {
            let of_family = |addr: &&std::net::IpAddr| Family::of(addr) == options.family && !addr.is_loopback();
            let ips: Vec<String> = ips.iter().filter(of_family).map(ToString::to_string).collect();
            let matches = format!("{ip} daddr {{ {} }}", ips.join(", "));
            (!ips.is_empty()).then(|| (matches.clone(), matches))
        }
    };
    let mut rules = vec![
        ("filter-prerouting-pre-dnat", "ct state new jump firewall-check".to_owned()),
        ("filter-output-pre-dnat", "ct state new jump firewall-check".to_owned()),
        ("filter-input", "ct state new jump nodeport-endpoints-check".to_owned()),
        ("filter-input", "ct state new jump service-endpoints-check".to_owned()),
        ("filter-forward", "ct state new jump service-endpoints-check".to_owned()),
        ("filter-forward", "ct state new jump cluster-ips-check".to_owned()),
        ("filter-output", "ct state new jump service-endpoints-check".to_owned()),
        ("filter-output", "ct state new jump cluster-ips-check".to_owned()),
        ("nat-prerouting", "jump services".to_owned()),
        ("nat-output", "jump services".to_owned()),
        ("nat-postrouting", "jump masquerading".to_owned()),
        (
            "masquerading",
            format!("meta mark and {mark:#x} != 0 meta mark set meta mark xor {mark:#x} masquerade fully-random"),
        ),
        (
            "masquerading",
            format!(
                "ct status dnat {ip} saddr . {ip} daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random"
            ),
        ),
        ("reject-chain", "reject".to_owned()),
        ("service-endpoints-check", format!("{key} vmap @no-endpoint-services")),
        ("cluster-ips-check", format!("{ip} daddr @cluster-ips reject comment \"invalid ports of cluster IPs\"")),
        ("firewall-check", format!("{key} vmap @firewall-ips")),
    ];
    // Traffic to a cluster IP from outside the cluster may leave for another node: its answer must come back here.
    if options.masquerade_all {
        rules.push(("services", format!("{ip} daddr @cluster-ips {}", masquerade(options))));
    } else if let Some(outside) = options.local.rule(options.family, true) {
        rules.push(("services", format!("{ip} daddr @cluster-ips {outside} {}", masquerade(options))));
    }
    rules.push(("services", format!("{key} vmap @service-ips")));
    if let Some((to_node, check)) = node_port {
        rules.push(("services", format!("{to_node} meta l4proto . th dport vmap @service-nodeports")));
        rules
            .push(("nodeport-endpoints-check", format!("{check} meta l4proto . th dport vmap @no-endpoint-nodeports")));
    }
    rules
}
