//! Real packets through real rules: pods on a bridge, a node and a machine outside, each a network namespace of the test's own.
//!
//! Needs root, `ip`, `nft` and br_netfilter; skips by name where they are missing. Nothing of the machine's own network is
//! touched.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ferry_policies::compile::{Compiler, Options, base};
use ferry_policies::facts::Facts;
use ferry_policies::model;
use ferry_policies::table::Table;
use ferry_policies::{Kernel, cleanup};
use netfilter::tables::Version;
use netfilter::{Log, Socket};
use serde_json::{Value, json};

mod agent;
mod kinds;
mod net;
mod scale;

use net::{Net, ask, wait};

/// The agent of the node, without the API.
struct Agent {
    facts: Facts,
    compilers: [Compiler; 2],
    tables: [Table; 2],
    socket: Socket,
}

const VERSIONS: [Version; 2] = [Version::V4, Version::V6];

impl Agent {
    /// Knows these pods of the node's: number and label.
    fn new(net: &Net, pods: &[(u8, &str)], default_deny: bool) -> Agent {
        let options = Options { default_deny, untold: false };
        let mut agent = Agent {
            facts: Facts::default(),
            compilers: VERSIONS.map(|version| Compiler::new(options, version)),
            tables: VERSIONS.map(Table::new),
            socket: net.socket(),
        };
        for namespace in ["x", "y", "kube-system"] {
            let labels = [("name".to_owned(), namespace.to_owned())];
            agent.facts.namespaces.insert(namespace.to_owned(), Arc::new(labels.into()));
        }
        agent.facts.ranges = vec!["10.1.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
        for (number, label) in pods {
            let of = agent.pod(*number, label);
            agent.facts.pod(&of.0, of.1);
        }
        let facts = agent.facts.clone();
        agent.compilers.iter_mut().for_each(|compiler| compiler.all(&facts));
        agent.apply();
        agent
    }

    fn pod(&self, number: u8, label: &str) -> (model::Key, Option<model::Pod>) {
        let pod = json!({
            "metadata": {"name": number.to_string(), "namespace": "x", "labels": {"app": label}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"podIPs": [{"ip": format!("10.1.0.{number}")}, {"ip": format!("fd00::{number}")}]}});
        (("x".into(), number.to_string()), model::pod(&serde_json::from_value(pod).unwrap(), "n"))
    }

    /// A pod has this label, or is gone.
    fn set_pod(&mut self, number: u8, label: Option<&str>) {
        let (key, pod) = self.pod(number, label.unwrap_or_default());
        for ip in self.facts.pod(&key, pod.filter(|_| label.is_some())) {
            let owner = self.facts.owner(ip).cloned();
            self.compilers.iter_mut().for_each(|compiler| compiler.address(ip, owner.clone()));
        }
        self.apply();
    }

    fn set_policy(&mut self, name: &str, spec: Option<Value>) {
        let of = |spec| json!({"metadata": {"name": name, "namespace": "x"}, "spec": spec});
        let policy = spec.map(|spec| Arc::new(model::policy(&serde_json::from_value(of(spec)).unwrap())));
        self.compilers.iter_mut().for_each(|compiler| compiler.policy(&("x".into(), name.into()), policy.clone()));
        self.apply();
    }

    fn apply(&mut self) {
        for (compiler, table) in self.compilers.iter_mut().zip(&mut self.tables) {
            if !table.is_known() {
                let [first, _] = Table::names(table.version());
                table.take_over(self.socket.apply(&Table::sign_of_life(&first)).is_ok());
            }
            for transaction in table.transactions(&mut compiler.wanted, Instant::now()) {
                self.socket
                    .apply(&transaction)
                    .unwrap_or_else(|error| panic!("{error}\n{:.3000}", transaction.to_string()));
            }
            table.applied(compiler.wanted.content(), Instant::now());
        }
    }

    /// Deletes what nothing leads to any more, as if its time were over.
    fn clean_up(&mut self) {
        for (compiler, table) in self.compilers.iter_mut().zip(&mut self.tables) {
            while let Some(due) = table.next_cleanup() {
                for transaction in table.transactions(&mut compiler.wanted, due) {
                    self.socket.apply(&transaction).unwrap_or_else(|error| panic!("{error}\n{transaction}"));
                }
                table.applied(compiler.wanted.content(), due);
            }
        }
    }
}

fn app(label: &str) -> Value {
    json!({"matchLabels": {"app": label}})
}

#[test]
fn ingress_by_pod_and_port_on_one_bridge_and_from_outside() {
    let Some(net) = Net::new(3) else { return };
    net.serve(&[8080, 9090]);
    let mut agent = Agent::new(&net, &[(1, "server"), (2, "friend"), (3, "other")], false);
    for from in ["2", "3", "out", "node"] {
        assert!(net.reaches(from, "10.1.0.1:8080"), "{from}: there is no policy");
    }
    agent.set_policy(
        "p",
        Some(json!({"podSelector": app("server"), "ingress": [
        {"from": [{"podSelector": app("friend")}], "ports": [{"port": "web"}]}]})),
    );
    for ip in ["10.1.0.1", "[fd00::1]"] {
        assert!(net.reaches("2", &format!("{ip}:8080")), "{ip}");
        assert!(!net.reaches("2", &format!("{ip}:9090")), "{ip}: another port");
        assert!(!net.reaches("3", &format!("{ip}:8080")), "{ip}: another pod");
        assert!(!net.reaches("out", &format!("{ip}:8080")), "{ip}: from outside");
        assert!(net.reaches("node", &format!("{ip}:9090")), "{ip}: the node reaches its pods");
    }
    assert!(
        !net.reaches_by_udp("2", "10.1.0.1:8080") && !net.reaches_by_udp("2", "[fd00::1]:8080"),
        "another protocol"
    );
    assert!(
        net.reaches("1", "10.1.0.2:9090") && net.reaches("1", "192.0.2.99:8080"),
        "what goes out of it is not isolated"
    );
    assert!(net.reaches("3", "10.1.0.2:8080"), "others are not isolated");
    // A pod gets the label; loses it; the policy goes.
    agent.set_pod(3, Some("friend"));
    assert!(net.reaches("3", "10.1.0.1:8080") && net.reaches("3", "[fd00::1]:8080"));
    agent.set_pod(3, Some("other"));
    assert!(!net.reaches("3", "10.1.0.1:8080"));
    agent.set_policy("p", None);
    assert!(net.reaches("3", "10.1.0.1:9090") && net.reaches("out", "[fd00::1]:9090"));
    agent.clean_up();
    let left = net.run("node", "nft list ruleset");
    assert!(!left.contains("policy-ingress") && !left.contains("peers-"), "{left}");
}

#[test]
fn egress_to_pods_to_blocks_and_to_the_node() {
    let Some(net) = Net::new(3) else { return };
    net.serve(&[8080, 9090]);
    let mut agent = Agent::new(&net, &[(1, "client"), (2, "friend"), (3, "other")], false);
    agent.set_policy("p", Some(json!({"podSelector": app("client"), "policyTypes": ["Egress"], "egress": [
        {"to": [{"podSelector": app("friend")}], "ports": [{"port": 8000, "endPort": 8100}, {"port": 9090, "protocol": "UDP"}]},
        {"to": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.10/32"]}},
            {"ipBlock": {"cidr": "2001:db8::/64", "except": ["2001:db8::10/128"]}}]}]})));
    for ip in ["10.1.0.2", "[fd00::2]"] {
        assert!(net.reaches("1", &format!("{ip}:8080")) && net.reaches_by_udp("1", &format!("{ip}:9090")), "{ip}");
        assert!(!net.reaches("1", &format!("{ip}:9090")) && !net.reaches_by_udp("1", &format!("{ip}:8080")), "{ip}");
    }
    for (out, node) in [("192.0.2.99", "192.0.2.10"), ("[2001:db8::99]", "[2001:db8::10]")] {
        assert!(net.reaches("1", &format!("{out}:9090")) && !net.reaches("1", &format!("{node}:9090")), "{out}");
    }
    assert!(!net.reaches("1", "10.1.0.3:8080") && !net.reaches("1", "10.1.0.254:8080"));
    // What comes in to it is not isolated, and is answered.
    assert!(
        net.reaches("3", "10.1.0.1:8080")
            && net.reaches("out", "[fd00::1]:8080")
            && net.reaches("node", "10.1.0.1:8080")
    );
    // The node is opened by another policy.
    agent.set_policy(
        "q",
        Some(json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
        {"to": [{"ipBlock": {"cidr": "192.0.2.10/32"}}]}]})),
    );
    assert!(net.reaches("1", "192.0.2.10:8080") && net.reaches("3", "192.0.2.10:8080"));
    assert!(!net.reaches("3", "10.1.0.1:8080"), "now that one is isolated, too");
}

#[test]
fn what_was_let_through_goes_on_and_a_restart_leaves_no_moment_open() {
    let Some(net) = Net::new(2) else { return };
    net.serve(&[8080]);
    let mut agent = Agent::new(&net, &[(1, "server"), (2, "client")], false);
    let mut before = net.connect("2", "10.1.0.1:8080");
    let closed = json!({"podSelector": app("server"), "ingress": []});
    agent.set_policy("closed", Some(closed.clone()));
    ask(&mut before).unwrap();
    assert!(!net.reaches("2", "10.1.0.1:8080"));
    // Somebody tries all the time while agents follow each other and policies come and go that open nothing.
    let stop = Arc::new(AtomicBool::new(false));
    let tries: Vec<_> = (0..2)
        .map(|_| {
            let stop = stop.clone();
            net.on("2", move || {
                let mut passed = 0;
                while !stop.load(Ordering::Relaxed) {
                    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
                    socket.set_nonblocking(true).unwrap();
                    socket.connect("10.1.0.1:8080").unwrap();
                    (0..100).for_each(|_| drop(socket.send(b"?")));
                    passed += usize::from(socket.recv(&mut [0; 8]).is_ok());
                }
                passed
            })
        })
        .collect();
    for round in 0..15 {
        agent.tables.iter_mut().for_each(Table::resync);
        agent.apply();
        agent.set_policy(
            &format!("more-{round}"),
            Some(json!({"podSelector": {}, "ingress": [
            {"from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]})),
        );
        agent.set_pod(1, Some(if round % 2 == 0 { "server" } else { "other" }));
        agent.clean_up();
    }
    stop.store(true, Ordering::Relaxed);
    let passed: usize = tries.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(passed, 0, "datagrams passed");
    ask(&mut before).unwrap();
    let tables = net.run("node", "nft list tables");
    assert_eq!(tables.lines().count(), 2, "{tables}");
}

#[test]
fn pods_are_held_back_until_they_are_known_and_only_while_there_are_policies() {
    let Some(net) = Net::new(3) else { return };
    net.serve(&[8080]);
    let mut agent = Agent::new(&net, &[(1, "server")], false);
    assert!(net.reaches("2", "10.1.0.1:8080") && net.reaches("3", "[fd00::2]:8080"));
    agent.set_policy("p", Some(json!({"podSelector": app("none")})));
    for address in ["10.1.0.1:8080", "[fd00::1]:8080", "192.0.2.99:8080", "192.0.2.10:8080", "[2001:db8::10]:8080"] {
        assert!(!net.reaches("2", address), "{address}: nobody knows the pod");
    }
    assert!(!net.reaches("1", "10.1.0.2:8080") && !net.reaches("out", "10.1.0.2:8080"), "nor what is for it");
    assert!(net.reaches("node", "10.1.0.2:8080"), "the kubelet looks after it");
    agent.set_pod(2, Some("new"));
    assert!(
        net.reaches("2", "10.1.0.1:8080")
            && net.reaches("out", "[fd00::2]:8080")
            && net.reaches("2", "192.0.2.10:8080")
    );
    // By addresses of the link they would meet past all this.
    let link = net.run("1", "ip -6 -o addr show dev e0 scope link");
    let link = link.split_whitespace().find_map(|word| word.strip_suffix("/64")).unwrap().to_owned();
    let index: u32 = net.run("2", "cat /sys/class/net/e0/ifindex").trim().parse().unwrap();
    let address = std::net::SocketAddrV6::new(link.parse().unwrap(), 8080, 0, index);
    let meets = |net: &Net| {
        let connect = move || {
            std::net::TcpStream::connect_timeout(&address.into(), std::time::Duration::from_millis(600)).is_ok()
        };
        net.on("2", connect).join().unwrap()
    };
    assert!(!meets(&net));
    agent.set_policy("p", None);
    assert!(meets(&net) && net.reaches("3", "10.1.0.1:8080"));
}

#[test]
fn before_the_first_rules_nothing_new_is_forwarded() {
    let Some(net) = Net::new(2) else { return };
    net.serve(&[8080]);
    // A node has a proxy, for which the kernel tracks flows.
    net.run("node", "nft add table ip proxy");
    net.run("node", "nft add chain ip proxy c '{ type filter hook forward priority 0; }'");
    net.run("node", "nft add rule ip proxy c ct state new counter");
    let mut before = net.connect("2", "10.1.0.1:8080");
    let mut socket = net.socket();
    for version in VERSIONS {
        let [first, _] = Table::names(version);
        socket.apply(&base::hold(&first)).unwrap();
    }
    for address in ["10.1.0.1:8080", "[fd00::1]:8080", "192.0.2.99:8080"] {
        assert!(!net.reaches("2", address), "{address}");
    }
    assert!(net.reaches("node", "10.1.0.1:8080") && net.reaches("out", "192.0.2.10:8080"), "that is no forwarding");
    ask(&mut before).unwrap();
    let _agent = Agent::new(&net, &[(1, "a"), (2, "b")], false);
    assert!(net.reaches("2", "10.1.0.1:8080") && net.reaches("2", "[fd00::1]:8080"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..2 {
        runtime.block_on(cleanup(&Kernel::of(net.socket()))).unwrap();
    }
    assert_eq!(net.run("node", "nft list tables"), "table ip proxy\n");
}

#[test]
fn default_deny_leaves_the_dns_and_what_policies_open() {
    let Some(net) = Net::new(3) else { return };
    net.serve(&[8080, 5353]);
    let mut agent = Agent::new(&net, &[(1, "a"), (2, "b"), (3, "c")], true);
    let dns = |ip: &str| model::DnsEndpoint {
        ip: ip.parse().unwrap(),
        port: 5353,
        transport: netfilter::tables::Transport::Udp,
        name: "dns".into(),
        is_pod: false,
    };
    let endpoints = [dns("192.0.2.10"), dns("2001:db8::10")];
    agent.compilers.iter_mut().for_each(|compiler| compiler.dns(endpoints.clone().into()));
    agent.apply();
    assert!(net.reaches_by_udp("1", "192.0.2.10:5353") && net.reaches_by_udp("1", "[2001:db8::10]:5353"));
    assert!(!net.reaches("1", "192.0.2.10:5353") && !net.reaches_by_udp("1", "192.0.2.10:8080"), "nothing else there");
    assert!(
        !net.reaches("1", "10.1.0.2:8080")
            && !net.reaches("out", "10.1.0.2:8080")
            && !net.reaches("1", "192.0.2.99:8080")
    );
    assert!(net.reaches("node", "10.1.0.2:8080"));
    // Both ends have to be opened.
    agent.set_policy("in", Some(json!({"podSelector": app("b"), "ingress": [{"from": [{"podSelector": app("a")}]}]})));
    assert!(!net.reaches("1", "10.1.0.2:8080"));
    agent.set_policy(
        "out",
        Some(json!({"podSelector": app("a"), "policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {}}]}]})),
    );
    assert!(net.reaches("1", "10.1.0.2:8080") && !net.reaches("1", "10.1.0.3:8080"));
    assert!(net.reaches_by_udp("1", "192.0.2.10:5353"), "a policy takes nothing away");
}

#[test]
fn what_is_dropped_and_allowed_is_counted_and_told() {
    let Some(net) = Net::new(2) else { return };
    net.serve(&[8080, 9090]);
    let mut agent = Agent::new(&net, &[(1, "server"), (2, "client")], false);
    let mut log = net.on("node", || Log::open(base::LOG_GROUP).unwrap()).join().unwrap();
    agent.set_policy("p", Some(json!({"podSelector": app("server"), "ingress": [{"ports": [{"port": 8080}]}]})));
    assert!(net.reaches("2", "10.1.0.1:8080") && !net.reaches("2", "10.1.0.1:9090"));
    let counters = Kernel::of(net.socket()).counters().unwrap();
    let count =
        |name: &str| counters.iter().filter(|counted| counted.name == name).map(|counted| counted.packets).sum::<u64>();
    assert_eq!(count("policy-ingress/x/p"), 1);
    assert!(count("pods-ingress/x/p") >= 1);
    let mut seen = Vec::new();
    wait(|| {
        seen.extend(log.next(std::time::Duration::from_millis(100)).unwrap());
        !seen.is_empty()
    });
    let (source, destination) = (seen[0].source.ip(), seen[0].destination);
    assert_eq!((seen[0].words.as_str(), seen[0].protocol, source), ("ingress", 6, "10.1.0.2".parse().unwrap()));
    assert_eq!(destination, "10.1.0.1:9090".parse().unwrap());
    // A change of the policy does not forget what was counted.
    agent.set_policy("p", Some(json!({"podSelector": app("server"), "ingress": [{"ports": [{"port": 9090}]}]})));
    assert!(net.reaches("2", "10.1.0.1:9090"));
    let counters = Kernel::of(net.socket()).counters().unwrap();
    assert!(counters.iter().any(|counted| counted.name == "policy-ingress/x/p" && counted.packets == 2));
}
