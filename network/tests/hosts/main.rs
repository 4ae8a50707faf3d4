//! Real packets over real links: nodes on one link and one behind a router, in one cluster, each a network namespace of the
//! test's own. Needs root, `ip` and `nft`; skips by name where they are missing.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use component::Supervisor;
use ferry_network::model::Node;
use ferry_network::{Agent, Cni, Config, DEVICE, Mode};

mod net;

use net::{NODES, Net, OUTSIDE};

type Nodes = BTreeMap<String, Node>;

/// The nodes as the API has them, before they have published anything.
fn cluster() -> Nodes {
    let node = |(name, number, v4, v6): (&str, u8, &str, &str)| Node {
        name: name.into(),
        since: Some(format!("2026-01-01T00:00:{number:02}Z")),
        ranges: [format!("10.244.{number}.0/24"), format!("fd00:0:0:{number}::/64")]
            .map(|r| r.parse().unwrap())
            .to_vec(),
        addresses: [v4, v6].map(|address| address.parse().unwrap()).to_vec(),
        endpoint: None,
    };
    NODES.map(|facts| (facts.0.to_owned(), node(facts))).into()
}

/// A turn of an agent that has just started, on a node; its Node afterwards.
fn turn(net: &Net, name: &str, mode: Mode, nodes: &Nodes) -> anyhow::Result<Node> {
    let (mut node, nodes, of) = (nodes[name].clone(), nodes.clone(), name.to_owned());
    let work = move || {
        let dir = tempfile::tempdir().unwrap();
        let cni = Cni { file: dir.path().join("10-ferry.conflist"), ipam: "/ipam".into(), bridge: "ferry0".into() };
        let ranges = ["10.244.0.0/16", "fd00::/48"].map(|range| range.parse().unwrap()).to_vec();
        let config = Config { node_name: of, mode, cluster: ranges, cni: Some(cni), mtu: None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tasks = Supervisor::new();
            let mut agent = Agent::new(config, &tasks).unwrap();
            let endpoint = agent.turn(&nodes).await;
            let text = std::fs::read_to_string(dir.path().join("10-ferry.conflist")).unwrap();
            let mtu = match mode {
                Mode::Routes => 1500,
                _ if nodes.values().all(|node| node.addresses[0].is_ipv6()) => 1430,
                _ => 1450,
            };
            assert!(text.contains(&format!("\"mtu\":{mtu}")), "{text}");
            tasks.shutdown().await;
            endpoint
        })
    };
    node.endpoint = net.on(name, work).join().unwrap()?.flatten();
    Ok(node)
}

/// Turns on all nodes until nobody has anything to tell.
fn settle(net: &Net, mode: Mode, nodes: &mut Nodes) {
    for _ in 0..4 {
        let before = nodes.clone();
        for name in before.keys() {
            let node = turn(net, name, mode, nodes).unwrap();
            nodes.insert(name.clone(), node);
        }
        if *nodes == before {
            return;
        }
    }
    panic!("it does not settle: {nodes:?}");
}

fn clean(net: &Net, host: &str, bridge: Option<&'static str>) {
    let cleaned = net.on(host, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ferry_network::cleanup(bridge))
    });
    cleaned.join().unwrap().unwrap();
}

fn pod(number: u8) -> [String; 2] {
    [format!("10.244.{number}.2"), format!("fd00:0:0:{number}::2")]
}

/// Every pod reaches every other one, with packets as large as its link takes, and no larger.
fn all_reach_all(net: &Net) {
    for (from, ..) in NODES {
        for (to, number, ..) in NODES.iter().filter(|(to, ..)| *to != from) {
            for address in pod(*number) {
                let said = net.ping(&format!("pod-{from}"), &address, 1450);
                assert!(
                    said.is_ok(),
                    "{from} to {to} at {address}: {said:?}\n{}",
                    net.sh(from, "ip route; ip -6 route; ip neigh; bridge fdb")
                );
            }
        }
    }
}

#[test]
fn routes_on_one_link_and_a_tunnel_to_the_node_behind_the_router() {
    let Some(net) = Net::new() else { return };
    let mut nodes = cluster();
    settle(&net, Mode::Auto, &mut nodes);
    let routes = net.sh("a", "ip route show proto 70");
    assert!(routes.contains("10.244.1.0/24 via 192.0.2.2 dev eth0"), "{routes}");
    assert!(routes.contains(&format!("10.244.2.0/24 via 10.244.2.0 dev {DEVICE} onlink")), "{routes}");
    all_reach_all(&net);
    assert!(net.ping("pod-a", "10.244.2.2", 1451).is_err(), "a packet that is too large may not be cut");

    // Who is asked, sees who asks: pods each other, an outside host the node.
    ["pod-a", "pod-b", "pod-c", "out"].into_iter().for_each(|host| net.serve(host));
    assert_eq!(net.seen_as("pod-a", "10.244.1.2"), "10.244.0.2");
    assert_eq!(net.seen_as("pod-a", "10.244.2.2"), "10.244.0.2");
    assert_eq!(net.seen_as("pod-c", "fd00:0:0:1::2"), "fd00:0:0:2::2");
    assert_eq!(net.seen_as("pod-a", OUTSIDE), "192.0.2.1");
    assert_eq!(net.seen_as("pod-c", "2001:db8:9::99"), "2001:db8:2::3");
    // A node speaks to pods of others, and is answered.
    assert_eq!(net.seen_as("a", "10.244.1.2"), "192.0.2.1");
    assert_eq!(net.seen_as("a", "10.244.2.2"), "10.244.0.0");
    assert_eq!(net.seen_as("c", "fd00:0:0:1::2"), "fd00:0:0:2::");
}

#[test]
fn what_somebody_removed_is_put_back_and_what_is_stale_goes() {
    let Some(net) = Net::new() else { return };
    let mut nodes = cluster();
    settle(&net, Mode::Auto, &mut nodes);
    for damage in [
        "ip route del 10.244.2.0/24",
        "ip route replace 10.244.2.0/24 via 192.0.2.2 proto 70",
        &format!("ip link del {DEVICE}"),
        &format!("ip link set {DEVICE} down"),
        &format!("ip link set {DEVICE} address 02:00:00:00:00:01"),
        &format!("ip neigh flush dev {DEVICE} nud permanent; ip neigh del 10.244.2.0 dev {DEVICE} || true"),
        &format!("ip link del {DEVICE}; ip link add {DEVICE} type vxlan id 5 dev eth0 dstport 4789"),
        "nft delete table ip ferry-network",
    ] {
        net.sh("a", damage);
        settle(&net, Mode::Auto, &mut nodes);
        let said = net.ping("pod-a", "10.244.2.2", 1450);
        assert!(
            said.is_ok(),
            "after {damage}: {said:?}\n{}",
            net.sh("a", "ip -d link; ip route; ip neigh; bridge fdb")
        );
    }
    // A node that goes, takes its route with it, and comes back.
    let gone = nodes.remove("c").unwrap();
    turn(&net, "a", Mode::Auto, &nodes).unwrap();
    assert!(!net.sh("a", "ip route; bridge fdb; ip neigh").contains("10.244.2."));
    assert!(net.ping("pod-a", "10.244.2.2", 100).is_err());
    nodes.insert("c".into(), gone);
    turn(&net, "a", Mode::Auto, &nodes).unwrap();
    net.ping("pod-a", "10.244.2.2", 1450).unwrap();
    // A node whose address changes.
    net.sh("c", "ip addr del 198.51.100.3/24 dev eth0; ip addr add 198.51.100.33/24 dev eth0; ip route add default via 198.51.100.254");
    nodes.get_mut("c").unwrap().addresses[0] = "198.51.100.33".parse().unwrap();
    settle(&net, Mode::Auto, &mut nodes);
    net.ping("pod-a", "10.244.2.2", 1450).unwrap();
    // Somebody else's route is not touched, and said.
    net.sh("b", "ip route del 10.244.0.0/24; ip route add 10.244.0.0/24 via 192.0.2.254");
    let said = format!("{:#}", turn(&net, "b", Mode::Auto, &nodes).unwrap_err());
    assert!(said.contains("somebody else"), "{said}");
    assert!(net.sh("b", "ip route").contains("10.244.0.0/24 via 192.0.2.254"));
    net.ping("pod-b", "10.244.2.2", 1450).unwrap();
}

#[test]
fn an_agent_that_starts_anew_loses_no_packet() {
    let Some(net) = Net::new() else { return };
    let mut nodes = cluster();
    settle(&net, Mode::Auto, &mut nodes);
    std::thread::scope(|scope| {
        let pings = ["10.244.1.2", "10.244.2.2", "fd00:0:0:2::2", OUTSIDE].map(|to| {
            let net = &net;
            scope.spawn(move || net.ask("pod-a", to, 1000, 20_000))
        });
        for _ in 0..5 {
            settle(&net, Mode::Auto, &mut nodes);
        }
        for ping in pings {
            ping.join().unwrap().unwrap();
        }
    });
}

#[test]
fn other_modes_and_a_cleanup() {
    let Some(net) = Net::new() else { return };
    let mut nodes = cluster();
    settle(&net, Mode::Vxlan, &mut nodes);
    assert!(net.sh("a", "ip route show proto 70").lines().all(|route| route.contains(DEVICE)));
    all_reach_all(&net);
    // The tunnel goes with the mode, and what cannot be reached is said, not tunnelled.
    settle(&net, Mode::Routes, &mut nodes);
    assert!(net.try_sh("a", &format!("ip link show {DEVICE}")).is_err());
    net.ping("pod-a", "10.244.1.2", 1450).unwrap();
    assert!(net.ping("pod-a", "10.244.2.2", 100).is_err());
    settle(&net, Mode::Auto, &mut nodes);
    net.ping("pod-a", "10.244.2.2", 1450).unwrap();
    clean(&net, "a", Some("ferry0"));
    clean(&net, "a", Some("ferry0"));
    assert_eq!(net.sh("a", "ip route show proto 70; ip -6 route show proto 70; nft list tables"), "");
    let links = net.sh("a", "ip link");
    assert!(!links.contains(DEVICE) && !links.contains("ferry0"), "{links}");
}

/// A large transfer arrives whole, through the tunnel as through one made by hand; how fast each was is told, and judged by
/// nobody here: a test machine has other work.
#[test]
fn a_large_transfer_through_the_tunnel() {
    const BYTES: usize = 128 << 20;
    let Some(net) = Net::new() else { return };
    let measure = || net.throughput("pod-a", ("pod-c", "10.244.2.2"), BYTES);
    let [mut ours, mut bare] = [0f64; 2];
    for _ in 0..2 {
        let mut nodes = cluster();
        settle(&net, Mode::Auto, &mut nodes);
        ours = ours.max(measure());
        for (host, own, address, other, peer) in
            [("a", 0, "192.0.2.1", 2, "198.51.100.3"), ("c", 2, "198.51.100.3", 0, "192.0.2.1")]
        {
            clean(&net, host, None);
            net.sh(
                host,
                &format!(
                    "ip link add vx type vxlan id 9 dstport 8472 local {address} nolearning
                     ip link set vx address 02:00:00:00:00:0{own} mtu 1450 up; ip addr add 10.244.{own}.0/32 dev vx
                     ip neigh add 10.244.{other}.0 lladdr 02:00:00:00:00:0{other} dev vx
                     bridge fdb add 02:00:00:00:00:0{other} dev vx dst {peer}
                     ip route add 10.244.{other}.0/24 via 10.244.{other}.0 dev vx onlink"
                ),
            );
        }
        bare = bare.max(measure());
        ["a", "c"].into_iter().for_each(|host| drop(net.sh(host, "ip link del vx")));
    }
    eprintln!("pod to pod: {:.2} Gbit/s, by a VXLAN made by hand {:.2}: {:.3}", ours * 8e-9, bare * 8e-9, ours / bare);
}

#[test]
fn a_tunnel_over_ipv6_alone() {
    let Some(net) = Net::new() else { return };
    let mut nodes = cluster();
    for node in nodes.values_mut() {
        node.addresses.remove(0);
        node.ranges.remove(0);
    }
    settle(&net, Mode::Vxlan, &mut nodes);
    net.ping("pod-a", "fd00:0:0:1::2", 1430).unwrap();
    net.ping("pod-c", "fd00:0:0:0::2", 1430).unwrap();
    assert!(net.ping("pod-a", "fd00:0:0:2::2", 1431).is_err(), "a packet that is too large may not be cut");
    net.serve("pod-a");
    assert_eq!(net.seen_as("pod-c", "fd00:0:0:0::2"), "fd00:0:0:2::2");
}

#[test]
fn a_kernel_that_is_told_to_forward_does() {
    let Some(net) = Net::new() else { return };
    let mut nodes = cluster();
    NODES.iter().for_each(|(name, ..)| {
        drop(
            net.sh(
                name,
                "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 net.ipv6.conf.eth0.accept_ra=1",
            ),
        )
    });
    settle(&net, Mode::Auto, &mut nodes);
    all_reach_all(&net);
    assert_eq!(net.sh("a", "cat /proc/sys/net/ipv6/conf/eth0/accept_ra").trim(), "2", "the default route stays");
}
