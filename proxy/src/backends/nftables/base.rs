//! The fixed part of the table: base chains, maps and the few rules that every packet may pass.
//!
//! Chains, their hooks and priorities are upstream's (`pkg/proxy/nftables`), so that what else is on a node (network
//! policies, host firewalls) meets the same order with either proxy.

use std::net::IpAddr;

use ipnet::IpNet;
use netfilter::tables::{Datum, Element, Field, Hook, Kind, Point, Rule, Set, Statement, Table, Type, Verdict};
use netfilter::{Change, Transaction};

use super::chains::masquerade;
use super::{Class, Map, NodePortAddresses, Options, among_nets, goto, jump, of_family, version};
use crate::model::Family;

const BASE_CHAINS: [(&str, Kind, Point, i32); 8] = [
    ("filter-prerouting-pre-dnat", Kind::Filter, Point::Prerouting, -110),
    ("filter-output-pre-dnat", Kind::Filter, Point::Output, -110),
    ("filter-input", Kind::Filter, Point::Input, 0),
    ("filter-forward", Kind::Filter, Point::Forward, 0),
    ("filter-output", Kind::Filter, Point::Output, 0),
    ("nat-prerouting", Kind::Nat, Point::Prerouting, -100),
    ("nat-output", Kind::Nat, Point::Output, -100),
    ("nat-postrouting", Kind::Nat, Point::Postrouting, 100),
];

/// The others. The last one stays empty: it tells whether the table is still there.
const CHAINS: [&str; 8] = [
    "services",
    "masquerading",
    "service-endpoints-check",
    "nodeport-endpoints-check",
    "cluster-ips-check",
    "firewall-check",
    REJECT,
    ALIVE,
];

/// Where what is refused goes.
pub(super) const REJECT: &str = "reject-chain";
/// It is always empty.
pub(super) const ALIVE: &str = "alive";

/// Creates the table anew, in the same transaction in which an old one of that name goes.
pub(super) fn create(table: &Table, options: &Options) -> Transaction {
    let of = || table.clone();
    let mut made = Transaction::default();
    made.extend([Change::AddTable(of()), Change::DeleteTable(of()), Change::AddTable(of())]);
    made.extend(BASE_CHAINS.map(|(name, kind, point, priority)| {
        Change::AddChain(of(), name.to_owned(), Some(Hook { kind, point, priority }))
    }));
    made.extend(Map::all().map(|map| Change::AddSet(of(), definition(map, options.family))));
    made.extend(CHAINS.map(|name| Change::AddChain(of(), name.to_owned(), None)));
    made.extend(rules(options).into_iter().map(|(chain, rule)| Change::AddRule(of(), chain.to_owned(), rule)));
    made
}

pub(super) fn definition(map: Map, family: Family) -> Set {
    let (name, address) = (map.name(), Type::Address(version(family)));
    match map {
        Map::ClusterIps => Set::of(name, [address]),
        Map::Hairpin => Set::of(name, [address, address, Type::Protocol, Type::Port]),
        Map::ServiceIps | Map::NoEndpointServices | Map::FirewallIps => {
            Set::verdicts(name, [address, Type::Protocol, Type::Port])
        }
        Map::ServiceNodePorts | Map::NoEndpointNodePorts => Set::verdicts(name, [Type::Protocol, Type::Port]),
        Map::Endpoints(Class::Address, _) => {
            Set::map(name, [address, Type::Protocol, Type::Port, Type::Number], [address, Type::Port])
        }
        Map::Endpoints(Class::NodePort, _) => {
            Set::map(name, [Type::Protocol, Type::Port, Type::Number], [address, Type::Port])
        }
    }
}

fn rules(options: &Options) -> Vec<(&'static str, Rule)> {
    let version = version(options.family);
    let (source, destination) = (Field::Source(version), Field::Destination(version));
    let by_address = |map: Map| vec![Statement::VerdictMap(Class::Address.fields(options.family), map.name())];
    let for_cluster_ip = || Statement::In(vec![destination], Map::ClusterIps.name(), true);
    let new_to = |chain: &str| vec![Statement::New, jump(chain)];
    let mark = options.masquerade_mark;
    let mut rules = vec![
        ("filter-prerouting-pre-dnat", new_to("firewall-check")),
        ("filter-output-pre-dnat", new_to("firewall-check")),
        ("filter-input", new_to("nodeport-endpoints-check")),
        ("filter-input", new_to("service-endpoints-check")),
        ("filter-forward", new_to("service-endpoints-check")),
        ("filter-forward", new_to("cluster-ips-check")),
        ("filter-output", new_to("service-endpoints-check")),
        ("filter-output", new_to("cluster-ips-check")),
        ("nat-prerouting", vec![jump("services")]),
        ("nat-output", vec![jump("services")]),
        ("nat-postrouting", vec![jump("masquerading")]),
        ("masquerading", vec![Statement::HasMark(mark), Statement::TurnMark(mark), Statement::Masquerade]),
        (
            "masquerading",
            vec![
                Statement::Translated,
                Statement::In(
                    vec![source, destination, Field::Protocol, Field::DestinationPort],
                    Map::Hairpin.name(),
                    true,
                ),
                Statement::Masquerade,
            ],
        ),
        (REJECT, vec![Statement::Reject]),
        ("service-endpoints-check", by_address(Map::NoEndpointServices)),
        // Ports that the cluster IP does not have.
        ("cluster-ips-check", vec![for_cluster_ip(), Statement::Reject]),
        ("firewall-check", by_address(Map::FirewallIps)),
    ];
    // What no Service has: not the machine's gateway shall answer for it.
    if let Some(anywhere) = among_nets(destination, &of_family(&options.service_ranges, options.family), true) {
        rules.push(("cluster-ips-check", vec![anywhere, Statement::Verdict(Verdict::Drop)]));
    }
    // Traffic to a cluster IP from outside the cluster may leave for another node: its answer must come back here.
    if options.masquerade_all {
        rules.push(("services", vec![for_cluster_ip(), masquerade(options)]));
    } else if let Some(outside) = options.local.statement(options.family, false) {
        rules.push(("services", vec![for_cluster_ip(), outside, masquerade(options)]));
    }
    rules.push(("services", by_address(Map::ServiceIps)));
    if let Some([to_node, check]) = node_port(options) {
        let by_port = |map: Map| Statement::VerdictMap(Class::NodePort.fields(options.family), map.name());
        rules.push(("services", [to_node, vec![by_port(Map::ServiceNodePorts)]].concat()));
        rules.push(("nodeport-endpoints-check", [check, vec![by_port(Map::NoEndpointNodePorts)]].concat()));
    }
    rules
}

/// What tells traffic to node ports: before it is translated, and of what is for this machine; none if no address of the
/// family takes any.
fn node_port(options: &Options) -> Option<[Rule; 2]> {
    let destination = Field::Destination(version(options.family));
    let loopback: IpNet = match options.family {
        Family::V4 => IpNet::from(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8)),
        Family::V6 => IpNet::from(IpAddr::from(std::net::Ipv6Addr::LOCALHOST)),
    };
    match &options.node_port_addresses {
        NodePortAddresses::All => {
            let outside = Statement::Within(destination, loopback, false);
            Some([vec![Statement::DestinationIsLocal, outside.clone()], vec![outside]])
        }
        NodePortAddresses::Ips(ips) => {
            let of_family = |ip: &&IpAddr| Family::of(ip) == options.family && !ip.is_loopback();
            let mut ips: Vec<IpAddr> = ips.iter().filter(of_family).copied().collect();
            ips.sort();
            ips.dedup();
            let among = ips.into_iter().map(|ip| Element::of([Datum::Address(ip)])).collect::<Vec<_>>();
            let matches = vec![Statement::Among(destination, among.clone(), true)];
            (!among.is_empty()).then(|| [matches.clone(), matches])
        }
    }
}

/// The verdict of those who are refused.
pub(super) fn refuse() -> Verdict {
    goto(REJECT)
}
