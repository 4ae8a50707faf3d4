//! Nodes and links in, routes out: by table.

use std::collections::BTreeMap;
use std::fmt::Write;

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::config::Mode;

/// `name ranges addresses [tunnel's address]`, each with commas between; older ones first.
fn nodes(text: &str) -> BTreeMap<String, Node> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate();
    let parse = |(number, line): (usize, &str)| {
        let words: Vec<&str> = line.split(' ').collect();
        let list = |word: &str| word.split(',').filter(|part| *part != "-").map(str::to_owned).collect::<Vec<_>>();
        let endpoint = words.get(3).map(|address| Endpoint {
            vni: 1,
            port: 8472,
            mac: Mac::of_node(words[0]),
            address: address.parse().unwrap(),
        });
        let node = Node {
            name: words[0].to_owned(),
            since: Some(format!("2026-01-01T00:00:{number:02}Z")),
            ranges: list(words[1]).iter().map(|range| range.parse().unwrap()).collect(),
            addresses: list(words[2]).iter().map(|address| address.parse().unwrap()).collect(),
            endpoint,
        };
        (node.name.clone(), node)
    };
    lines.map(parse).collect()
}

fn links() -> Vec<Link> {
    let link = |index, name: &str, mtu, addresses: &[&str]| Link {
        index,
        name: name.into(),
        mtu,
        up: true,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    vec![link(2, "eth0", 1500, &["192.0.2.1/24", "2001:db8::1/64"]), link(3, "eth1", 9000, &["198.51.100.1/32"])]
}

fn show(plan: &Plan) -> String {
    let mut out = String::new();
    let list = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    writeln!(out, "pods {} mtu {} of {}", list(&plan.ranges), plan.mtu, list(&plan.cluster)).unwrap();
    if let Some(device) = &plan.device {
        let addresses: Vec<_> = device.addresses.iter().map(ToString::to_string).collect();
        writeln!(out, "tunnel from {} mtu {} has {}", device.local, device.mtu, addresses.join(",")).unwrap();
    }
    for (to, route) in &plan.routes {
        writeln!(out, "{to} via {} {:?}", route.gateway, route.way).unwrap();
    }
    plan.neighbours.iter().for_each(|(ip, mac)| writeln!(out, "{ip} at {mac}").unwrap());
    plan.forwarding.iter().for_each(|(mac, ip)| writeln!(out, "{mac} to {ip}").unwrap());
    plan.faults.iter().for_each(|(node, fault)| writeln!(out, "{node}: {fault}").unwrap());
    out
}

fn check(mode: Mode, text: &str, expected: Expect) {
    let own = Own { name: "a", mode, mtu: None, cluster: &[] };
    expected.assert_eq(&show(&compile(&nodes(text), &links(), &own)));
}

#[test]
fn a_node_alone_has_no_tunnel_and_tells_nobody() {
    let alone = "a 10.244.0.0/24 192.0.2.1";
    check(
        Mode::Auto,
        alone,
        expect![[r#"
            pods 10.244.0.0/24 mtu 1450 of 10.244.0.0/24
        "#]],
    );
    check(
        Mode::Routes,
        alone,
        expect![[r#"
            pods 10.244.0.0/24 mtu 1500 of 10.244.0.0/24
        "#]],
    );
    check(
        Mode::None,
        alone,
        expect![[r#"
            pods 10.244.0.0/24 mtu 1500 of 
        "#]],
    );
}

#[test]
fn on_one_link_by_a_route_and_elsewhere_through_the_tunnel() {
    let three = "a 10.244.0.0/24 192.0.2.1
        b 10.244.1.0/24 192.0.2.2
        c 10.244.2.0/24 203.0.113.3 203.0.113.3
        d 10.244.3.0/24 203.0.113.4
        e - 192.0.2.5
        f 10.244.5.0/24 -";
    check(
        Mode::Auto,
        three,
        expect![[r#"
            pods 10.244.0.0/24 mtu 1450 of 10.244.0.0/22,10.244.5.0/24
            tunnel from 192.0.2.1 mtu 1450 has 10.244.0.0
            10.244.1.0/24 via 192.0.2.2 Link(2)
            10.244.2.0/24 via 10.244.2.0 Tunnel
            10.244.2.0 at e2:c7:70:a1:13:d5
            e2:c7:70:a1:13:d5 to 203.0.113.3
        "#]],
    );
    check(
        Mode::Routes,
        three,
        expect![[r#"
            pods 10.244.0.0/24 mtu 1500 of 10.244.0.0/22,10.244.5.0/24
            10.244.1.0/24 via 192.0.2.2 Link(2)
            c: 10.244.2.0/24 has no route: no link of this machine has the node's subnet
            d: 10.244.3.0/24 has no route: no link of this machine has the node's subnet
            f: 10.244.5.0/24 has no route: no link of this machine has the node's subnet
        "#]],
    );
}

#[test]
fn the_tunnel_alone() {
    check(
        Mode::Vxlan,
        "a 10.244.0.0/24 192.0.2.1
         b 10.244.1.0/24 192.0.2.2 192.0.2.2",
        expect![[r#"
            pods 10.244.0.0/24 mtu 1450 of 10.244.0.0/23
            tunnel from 192.0.2.1 mtu 1450 has 10.244.0.0
            10.244.1.0/24 via 10.244.1.0 Tunnel
            10.244.1.0 at 82:78:be:d9:7f:c6
            82:78:be:d9:7f:c6 to 192.0.2.2
        "#]],
    );
}

#[test]
fn of_both_families_each_has_its_way() {
    check(
        Mode::Auto,
        "a 10.244.0.0/24,fd00:0:0:0::/64 192.0.2.1,2001:db8::1
         b 10.244.1.0/24,fd00:0:0:1::/64 192.0.2.2,2001:db8::2
         c 10.244.2.0/24,fd00:0:0:2::/64 192.0.2.3 192.0.2.3",
        expect![[r#"
            pods 10.244.0.0/24,fd00::/64 mtu 1450 of 10.244.0.0/23,10.244.2.0/24,fd00::/63,fd00:0:0:2::/64
            tunnel from 192.0.2.1 mtu 1450 has 10.244.0.0,fd00::
            10.244.1.0/24 via 192.0.2.2 Link(2)
            10.244.2.0/24 via 192.0.2.3 Link(2)
            fd00:0:0:1::/64 via 2001:db8::2 Link(2)
            fd00:0:0:2::/64 via fd00:0:0:2:: Tunnel
            fd00:0:0:2:: at e2:c7:70:a1:13:d5
            e2:c7:70:a1:13:d5 to 192.0.2.3
        "#]],
    );
}

#[test]
fn where_there_is_ipv6_alone_the_tunnel_is_over_it() {
    check(
        Mode::Auto,
        "a fd00:0:0:0::/64 2001:db8::1
         b fd00:0:0:1::/64 2001:db8:1::2 2001:db8:1::2
         c fd00:0:0:2::/64 203.0.113.3 203.0.113.3",
        expect![[r#"
            pods fd00::/64 mtu 1430 of fd00::/63,fd00:0:0:2::/64
            tunnel from 2001:db8::1 mtu 1430 has fd00::
            fd00:0:0:1::/64 via fd00:0:0:1:: Tunnel
            fd00:0:0:1:: at 82:78:be:d9:7f:c6
            82:78:be:d9:7f:c6 to 2001:db8:1::2
            c: this machine has no address of the family of 203.0.113.3
        "#]],
    );
}

#[test]
fn an_address_of_a_subnet_of_its_own_is_near_nobody() {
    check(
        Mode::Auto,
        "a 10.244.0.0/24 198.51.100.1
         b 10.244.1.0/24 198.51.100.2 198.51.100.2",
        expect![[r#"
            pods 10.244.0.0/24 mtu 8950 of 10.244.0.0/23
            tunnel from 198.51.100.1 mtu 8950 has 10.244.0.0
            10.244.1.0/24 via 10.244.1.0 Tunnel
            10.244.1.0 at 82:78:be:d9:7f:c6
            82:78:be:d9:7f:c6 to 198.51.100.2
        "#]],
    );
}

#[test]
fn who_was_there_first_has_the_range() {
    check(
        Mode::Auto,
        "a 10.244.0.0/24 192.0.2.1
         c 10.244.1.0/24 192.0.2.3
         b 10.244.1.128/25 192.0.2.2
         d 10.244.0.0/16 192.0.2.4
         e 192.0.2.0/28 192.0.2.5",
        expect![[r#"
            pods 10.244.0.0/24 mtu 1450 of 10.244.0.0/23
            10.244.1.0/24 via 192.0.2.3 Link(2)
            b: 10.244.1.128/25 has no route: it overlaps 10.244.1.0/24 of the node c
            d: 10.244.0.0/16 has no route: it overlaps 10.244.0.0/24 of the node a
            e: 192.0.2.0/28 has no route: it holds this machine's own address 192.0.2.1
        "#]],
    );
}

#[test]
fn ends_of_the_tunnel_that_cannot_be_met_are_named() {
    let mut all = nodes(
        "a 10.244.0.0/24 192.0.2.1
         b 10.244.1.0/24 203.0.113.2 203.0.113.2
         c 10.244.2.0/24 203.0.113.3 203.0.113.3
         d 10.244.3.0/24 203.0.113.4 2001:db8::4",
    );
    let twin = all["b"].endpoint.unwrap().mac;
    all.get_mut("c").unwrap().endpoint.as_mut().unwrap().mac = twin;
    let mut far = all["b"].clone();
    (far.name, far.ranges) = ("e".into(), vec!["10.244.4.0/24".parse().unwrap()]);
    far.endpoint.as_mut().unwrap().vni = 7;
    all.insert("e".into(), far);
    let own = Own { name: "a", mode: Mode::Auto, mtu: Some(1400), cluster: &["10.244.0.0/16".parse().unwrap()] };
    expect![[r#"
        pods 10.244.0.0/24 mtu 1400 of 10.244.0.0/16
        tunnel from 192.0.2.1 mtu 1450 has 10.244.0.0
        10.244.1.0/24 via 10.244.1.0 Tunnel
        10.244.1.0 at 82:78:be:d9:7f:c6
        82:78:be:d9:7f:c6 to 203.0.113.2
        c: another node has its link's address 82:78:be:d9:7f:c6 too
        d: this machine has no address of the family of 2001:db8::4
        e: its end of the tunnel is 7:8472, and not 1:8472
    "#]]
    .assert_eq(&show(&compile(&all, &links(), &own)));
}

#[test]
fn a_link_that_is_down_leads_nowhere() {
    let mut down = links();
    down[0].up = false;
    let text = "a 10.244.0.0/24 192.0.2.1
        b 10.244.1.0/24 192.0.2.2";
    let own = Own { name: "a", mode: Mode::Routes, mtu: None, cluster: &[] };
    assert!(compile(&nodes(text), &down, &own).routes.is_empty());
    assert_eq!(compile(&nodes(text), &links(), &own).routes.len(), 1);
}

#[test]
fn what_is_read_off_a_node() {
    let part: NodePart = serde_json::from_value(json!({
        "metadata": {
            "name": "n1", "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": { ANNOTATION: r#"{"vni":1,"port":8472,"mac":"6a:00:00:00:00:01","address":"192.0.2.10"}"# },
        },
        "spec": { "podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.5/24", "nonsense"], "unschedulable": true },
        "status": { "addresses": [
            { "type": "Hostname", "address": "n1" }, { "type": "ExternalIP", "address": "203.0.113.1" },
            { "type": "InternalIP", "address": "192.0.2.10" },
        ], "images": [] },
    }))
    .unwrap();
    let node = Node::of(&part);
    assert_eq!(node.ranges, ["10.244.1.0/24".parse().unwrap()]);
    assert_eq!(node.addresses, ["192.0.2.10".parse::<std::net::IpAddr>().unwrap()]);
    let endpoint = node.endpoint.unwrap();
    assert_eq!(endpoint.mac.to_string(), "6a:00:00:00:00:01");
    assert_eq!(serde_json::from_str::<Endpoint>(&serde_json::to_string(&endpoint).unwrap()).unwrap(), endpoint);
    let bare: NodePart = serde_json::from_value(json!({ "metadata": { "name": "n2" }, "spec": {} })).unwrap();
    assert_eq!(Node::of(&bare), Node { name: "n2".into(), ..Node::default() });
}
