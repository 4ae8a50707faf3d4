//! Real packets through real rules: a node, its pods and an outside client, each a network namespace of the test's own.
//!
//! Needs root, `ip` and `nft`; skips by name where they are missing. Nothing of the machine's own network is touched.

#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ferry_proxy::Rules;
use ferry_proxy::backends::conntrack::{self, Serving};
use ferry_proxy::backends::nftables::{LocalDetector, NodePortAddresses, Options, Table, compile};
use ferry_proxy::model::{Family, Node, service_ports};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use netfilter::tables::{self, Datum, Field, Hook, Kind, Point, Statement, Verdict, Version};
use netfilter::{Change, Socket, Transaction};
use parking_lot::Mutex;
use serde_json::{Value, json};

mod net;

use net::{NODE_IP, Net, wait};

/// The tables that are there, and who is in their sets.
fn left(socket: &mut Socket) -> Vec<(tables::Table, netfilter::TimedAddresses)> {
    let names = Table::names(Family::V4).into_iter();
    names.filter_map(|name| Some((name.clone(), socket.timed_addresses(&name).unwrap()?))).collect()
}

/// The proxy of the node.
struct Proxy {
    table: Table,
    socket: Socket,
}

impl Proxy {
    fn new(net: &Net) -> Proxy {
        let options = Options {
            family: Family::V4,
            local: LocalDetector::Cidrs(vec!["10.1.0.0/16".parse().unwrap()]),
            masquerade_all: false,
            masquerade_mark: 0x4000,
            node_port_addresses: NodePortAddresses::Ips(vec![NODE_IP.parse().unwrap()]),
            service_ranges: vec!["10.96.0.0/15".parse().unwrap()],
        };
        let mut proxy = Proxy { table: Table::new(options), socket: net.socket() };
        proxy.apply();
        proxy
    }

    /// One that takes the place of another, and knows nothing of it but what the kernel has.
    fn after(net: &Net, other: Proxy) -> Proxy {
        let mut table = Table::new(other.table.options().clone());
        let mut socket = net.socket();
        table.take_over(left(&mut socket));
        Proxy { table, socket }
    }

    /// Pods `local` are on this node, `others` elsewhere.
    fn set(&mut self, service: &Value, endpoints: &[u8]) {
        self.replace(service, endpoints);
        self.apply();
    }

    /// Each pod is on the node that is named with it.
    fn set_on(&mut self, service: &Value, endpoints: &[(u8, &str)]) {
        let fragment = compile(&ports_on(service, endpoints), self.table.options());
        self.table.replace(service["metadata"]["name"].as_str().unwrap(), fragment);
        self.apply();
    }

    fn replace(&mut self, service: &Value, endpoints: &[u8]) {
        let ports = ports(service, endpoints);
        let fragment = compile(&ports, self.table.options());
        self.table.replace(service["metadata"]["name"].as_str().unwrap(), fragment);
    }

    fn apply(&mut self) {
        for transaction in self.table.transactions(Instant::now()) {
            self.socket
                .apply(&transaction)
                .unwrap_or_else(|error| panic!("{error}\n{:.3000}", transaction.to_string()));
        }
        self.table.applied(Instant::now());
    }
}

fn ports(service: &Value, endpoints: &[u8]) -> Vec<ferry_proxy::model::ServicePort> {
    ports_on(service, &endpoints.iter().map(|pod| (*pod, "n1")).collect::<Vec<_>>())
}

fn ports_on(service: &Value, endpoints: &[(u8, &str)]) -> Vec<ferry_proxy::model::ServicePort> {
    let parsed: Service = serde_json::from_value(service.clone()).unwrap();
    let port = &service["spec"]["ports"][0];
    let endpoint = |(pod, node): &(u8, &str)| json!({"addresses": [format!("10.1.0.{pod}")], "nodeName": node});
    let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "x", "labels": {"kubernetes.io/service-name": "x"}}, "addressType": "IPv4",
        "ports": [{"name": "", "port": port["targetPort"].as_u64().unwrap_or(8080), "protocol": port["protocol"]}],
        "endpoints": endpoints,
    }))
    .unwrap();
    service_ports(&parsed, [slice].iter(), &Node { name: "n1".into(), zone: String::new() }, Family::V4)
}

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn cluster_ip() -> Value {
    service("web", json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}))
}

#[test]
fn cluster_ips_balance_and_refuse() {
    let Some(net) = Net::new(3) else { return };
    net.serve();
    let mut proxy = Proxy::new(&net);
    proxy.set(&cluster_ip(), &[1, 2]);
    // From a pod, with the source kept; from the node; from outside, masqueraded.
    assert_eq!(net.pods_of("3", "10.96.0.1:80", 40), ["1", "2"]);
    assert!(net.ask("3", "10.96.0.1:80").unwrap().ends_with(" 10.1.0.3"));
    assert_eq!(net.pods_of("node", "10.96.0.1:80", 40), ["1", "2"]);
    assert!(net.ask("out", "10.96.0.1:80").unwrap().ends_with(" 10.1.0.254"));
    // A port that the Service does not have.
    assert_eq!(net.ask("3", "10.96.0.1:81").unwrap_err(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(net.ask("node", "10.96.0.1:81").unwrap_err(), std::io::ErrorKind::ConnectionRefused);
    // An address that no Service has.
    for host in ["3", "node"] {
        assert_eq!(net.ask(host, "10.96.0.2:80").unwrap_err(), std::io::ErrorKind::TimedOut, "{host}");
    }
    // More endpoints, fewer, the pod itself alone, none.
    proxy.set(&cluster_ip(), &[1, 2, 3]);
    assert_eq!(net.pods_of("node", "10.96.0.1:80", 60), ["1", "2", "3"]);
    proxy.set(&cluster_ip(), &[3]);
    assert!(net.ask("3", "10.96.0.1:80").unwrap().starts_with("3 "), "a pod reaches itself");
    proxy.set(&cluster_ip(), &[]);
    for host in ["3", "node", "out"] {
        assert_eq!(net.ask(host, "10.96.0.1:80").unwrap_err(), std::io::ErrorKind::ConnectionRefused, "{host}");
    }
    proxy.set(&cluster_ip(), &[2]);
    assert_eq!(net.pods_of("3", "10.96.0.1:80", 3), ["2"]);
}

#[test]
fn node_ports_and_their_policies() {
    let Some(net) = Net::new(2) else { return };
    net.serve();
    let mut proxy = Proxy::new(&net);
    let mut web = service(
        "web",
        json!({"clusterIP": "10.96.0.1", "type": "NodePort", "externalIPs": ["198.51.100.7"],
        "ports": [{"port": 80, "nodePort": 30080}]}),
    );
    proxy.set(&web, &[1, 2]);
    assert_eq!(net.pods_of("out", "192.0.2.10:30080", 40), ["1", "2"]);
    assert_eq!(net.pods_of("node", "192.0.2.10:30080", 40), ["1", "2"]);
    assert_eq!(net.pods_of("1", "192.0.2.10:30080", 40), ["1", "2"]);
    assert!(net.ask("out", "192.0.2.10:30080").unwrap().ends_with(" 10.1.0.254"), "the source is the node");
    assert_eq!(net.pods_of("out", "198.51.100.7:80", 40), ["1", "2"]);

    web["spec"]["externalTrafficPolicy"] = "Local".into();
    proxy.set(&web, &[1, 2]);
    assert!(net.ask("out", "192.0.2.10:30080").unwrap().ends_with(" 192.0.2.99"), "the source is the client");
    assert_eq!(net.pods_of("node", "192.0.2.10:30080", 40), ["1", "2"]);
    proxy.set(&web, &[]);
    assert_eq!(net.ask("out", "192.0.2.10:30080").unwrap_err(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn load_balancers_admit_their_source_ranges() {
    let Some(net) = Net::new(1) else { return };
    net.serve();
    let mut proxy = Proxy::new(&net);
    let web = |range: &str| {
        let mut web = service(
            "web",
            json!({"clusterIP": "10.96.0.1", "type": "LoadBalancer",
            // One may lie in another.
            "loadBalancerSourceRanges": [range, "198.18.0.0/15", "198.19.0.0/16"], "ports": [{"port": 80}]}),
        );
        web["status"] = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}]}});
        web
    };
    proxy.set(&web("192.0.2.0/24"), &[1]);
    assert_eq!(net.pods_of("out", "198.51.100.8:80", 3), ["1"]);
    proxy.set(&web("203.0.113.0/24"), &[1]);
    assert_eq!(net.ask("out", "198.51.100.8:80").unwrap_err(), std::io::ErrorKind::TimedOut);
}

#[test]
fn load_balancers_of_the_local_policy_keep_the_client_and_serve_the_node_and_its_pods_from_anywhere() {
    let Some(net) = Net::new(3) else { return };
    net.serve();
    let mut proxy = Proxy::new(&net);
    // It has no port on nodes.
    let mut web = service(
        "web",
        json!({"clusterIP": "10.96.0.1", "type": "LoadBalancer", "externalTrafficPolicy": "Local",
        "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]}),
    );
    web["status"] = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.8", "ipMode": "VIP"}]}});
    let balancer = "198.51.100.8:80";
    proxy.set_on(&web, &[(1, "n1"), (2, "n2")]);
    assert_eq!(net.pods_of("out", balancer, 20), ["1"]);
    assert!(net.ask("out", balancer).unwrap().ends_with(" 192.0.2.99"), "the source is the client");
    assert_eq!(net.pods_of("node", balancer, 40), ["1", "2"]);
    assert_eq!(net.pods_of("3", balancer, 40), ["1", "2"]);
    // Others have some: whoever asks here should ask again. But for the node and its pods they are near enough.
    proxy.set_on(&web, &[(2, "n2")]);
    assert_eq!(net.ask("out", balancer).unwrap_err(), std::io::ErrorKind::TimedOut);
    assert_eq!((net.pods_of("node", balancer, 3), net.pods_of("3", balancer, 3)), (vec!["2".into()], vec!["2".into()]));
    proxy.set_on(&web, &[]);
    for host in ["out", "node", "3"] {
        assert_eq!(net.ask(host, balancer).unwrap_err(), std::io::ErrorKind::ConnectionRefused, "{host}");
    }
    // Somebody in front of the nodes has the address: it is none of theirs.
    web["status"]["loadBalancer"]["ingress"][0]["ipMode"] = "Proxy".into();
    proxy.set_on(&web, &[(1, "n1")]);
    for host in ["out", "node", "3"] {
        assert!(net.ask(host, balancer).is_err(), "{host}");
    }
}

#[test]
fn clients_stay_with_their_endpoint() {
    let Some(net) = Net::new(4) else { return };
    net.serve();
    let mut proxy = Proxy::new(&net);
    let web = service(
        "web",
        json!({"clusterIP": "10.96.0.1", "type": "NodePort", "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 100}}, "ports": [{"port": 80, "nodePort": 30080}]}),
    );
    proxy.set(&web, &[1, 2, 3]);
    let first = net.pods_of("4", "10.96.0.1:80", 20);
    assert_eq!(first.len(), 1);
    assert_eq!(net.pods_of("4", "192.0.2.10:30080", 20), first, "whatever the address");
    assert_eq!(net.pods_of("out", "192.0.2.10:30080", 20).len(), 1);
    // Another endpoint goes: it stays. Its own goes: it gets a new one. Then the chains that are left over are deleted.
    let mine: u8 = first[0].parse().unwrap();
    // The proxy is started again.
    let mut proxy = Proxy::after(&net, proxy);
    proxy.set(&web, &[1, 2, 3]);
    assert_eq!(net.pods_of("4", "10.96.0.1:80", 20), first, "after a restart");
    let others: Vec<u8> = [1, 2, 3].into_iter().filter(|pod| *pod != mine).collect();
    proxy.set(&web, &[mine, others[0]]);
    assert_eq!(net.pods_of("4", "10.96.0.1:80", 20), first);
    proxy.set(&web, &others);
    assert_eq!(net.pods_of("4", "10.96.0.1:80", 20).len(), 1);
    let later = proxy.table.next_cleanup().unwrap();
    let transaction = proxy.table.transactions(later).remove(0);
    assert!(transaction.to_string().contains("delete chain"));
    proxy.socket.apply(&transaction).unwrap();
}

#[test]
fn a_rolling_update_loses_no_connection() {
    let Some(net) = Net::new(4) else { return };
    net.serve();
    let mut proxy = Proxy::new(&net);
    proxy.set(&cluster_ip(), &[1, 2]);
    let (stop, lost, served) =
        (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU32::new(0)));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (stop, lost, served) = (stop.clone(), lost.clone(), served.clone());
            net.on("4", move || {
                let address: SocketAddr = "10.96.0.1:80".parse().unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let mut answer = String::new();
                    let asked = TcpStream::connect_timeout(&address, Duration::from_secs(3))
                        .and_then(|mut stream| stream.read_to_string(&mut answer));
                    match asked {
                        Ok(_) if !answer.is_empty() => drop(served.fetch_add(1, Ordering::Relaxed)),
                        other => lost.lock().push(other.map_err(|error| error.kind())),
                    }
                }
            })
        })
        .collect();
    for round in 0..30 {
        let endpoints: &[u8] = [&[1, 2, 3][..], &[2, 3], &[3], &[1, 3], &[1], &[1, 2]][round % 6];
        proxy.set(&cluster_ip(), endpoints);
    }
    // A restart makes the table anew.
    for _ in 0..3 {
        proxy.table.resync();
        proxy.table.take_over(left(&mut proxy.socket));
        proxy.apply();
    }
    assert_eq!(left(&mut proxy.socket).len(), 1);
    let before = served.load(Ordering::Relaxed);
    wait(|| served.load(Ordering::Relaxed) > before + 20);
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(*lost.lock(), [], "of {}", served.load(Ordering::Relaxed));
}

#[test]
fn udp_flows_leave_an_endpoint_that_is_gone() {
    let Some(net) = Net::new(3) else { return };
    for pod in ["1", "2"] {
        net.on(pod, move || {
            let socket = UdpSocket::bind("0.0.0.0:5353").unwrap();
            let mut buffer = [0; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(pod.as_bytes(), peer);
            }
        });
    }
    let mut proxy = Proxy::new(&net);
    let dns = service(
        "dns",
        json!({"clusterIP": "10.96.0.10",
        "ports": [{"port": 53, "protocol": "UDP", "targetPort": 5353}]}),
    );
    proxy.set(&dns, &[1]);
    let socket = net.on("3", || UdpSocket::bind("0.0.0.0:0").unwrap()).join().unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let ask = |expected: &str| {
        wait(|| {
            socket.send_to(b"?", "10.96.0.10:53").unwrap();
            let mut buffer = [0; 8];
            socket.recv(&mut buffer).is_ok_and(|n| &buffer[..n] == expected.as_bytes())
        });
    };
    ask("1");
    proxy.set(&dns, &[2]);
    let mut serving = Serving::default();
    ports(&dns, &[2]).iter().for_each(|port| serving.add(port));
    let cleaned =
        net.on("node", move || conntrack::clean(&mut Socket::open().unwrap(), Family::V4, &serving)).join().unwrap();
    assert!(cleaned.unwrap() > 0, "the flow to the old endpoint was known");
    ask("2");
}

#[test]
fn ten_thousand_services_and_a_change_among_them() {
    let Some(net) = Net::new(2) else { return };
    net.serve();
    let mut proxy = Proxy::new(&net);
    for n in 0..10_000u32 {
        let [_, _, high, low] = n.to_be_bytes();
        let web =
            service(&format!("s{n}"), json!({"clusterIP": format!("10.97.{high}.{low}"), "ports": [{"port": 80}]}));
        proxy.replace(&web, &[1, 2]);
    }
    let start = Instant::now();
    proxy.apply();
    let load = start.elapsed();
    let web = service("s300", json!({"clusterIP": "10.97.1.44", "ports": [{"port": 80}]}));
    let change = |proxy: &mut Proxy, endpoints: &[u8]| {
        let start = Instant::now();
        proxy.set(&web, endpoints);
        start.elapsed()
    };
    let mut changes: Vec<_> = (0..20).map(|n| change(&mut proxy, [&[1][..], &[2, 1]][n % 2])).collect();
    changes.sort();
    proxy.set(&web, &[1]);
    eprintln!("10,000 Services x 2 endpoints: {load:?}; one change: {:?}, at most {:?}", changes[10], changes[19]);
    assert_eq!(net.pods_of("2", "10.97.1.44:80", 5), ["1"]);
    assert_eq!(net.pods_of("2", "10.97.39.15:80", 20), ["1", "2"]);
}

/// Every sort of rule, in both families and all protocols: the kernel takes them, first in one transaction and then as
/// differences.
#[test]
fn all_sorts_of_rules_load() {
    let Some(net) = Net::new(0) else { return };
    for (family, ip, endpoint) in [(Family::V4, "10.96.0.1", "10.1.0.1"), (Family::V6, "fd00::1", "fd01::1")] {
        let ips = vec![if family == Family::V4 { NODE_IP.parse().unwrap() } else { "fd02::1".parse().unwrap() }];
        for addresses in [NodePortAddresses::All, NodePortAddresses::Ips(ips)] {
            let range = if family == Family::V4 { "10.1.0.0/16" } else { "fd01::/48" };
            let options = Options {
                family,
                local: LocalDetector::Cidrs(vec![range.parse().unwrap()]),
                masquerade_all: false,
                masquerade_mark: 0x4000,
                node_port_addresses: addresses,
                service_ranges: vec![range.parse().unwrap()],
            };
            let mut proxy = Proxy::new(&net);
            proxy.table = Table::new(options);
            proxy.apply();
            for (policy, affinity) in
                [("Cluster", "None"), ("Local", "None"), ("Cluster", "ClientIP"), ("Local", "ClientIP")]
            {
                let port = |name: &str, port: u16| json!({"name": name, "port": port, "protocol": name, "nodePort": 30000 + port});
                let service: Service = serde_json::from_value(json!({
                    "metadata": {"name": "x", "namespace": "default"},
                    "spec": {"type": "LoadBalancer", "clusterIP": ip, "externalTrafficPolicy": policy,
                        "internalTrafficPolicy": policy, "sessionAffinity": affinity,
                        "loadBalancerSourceRanges": [if family == Family::V4 { "192.0.2.0/24" } else { "2001:db8::/32" }],
                        "ports": [port("TCP", 80), port("UDP", 53), port("SCTP", 99)]},
                    "status": {"loadBalancer": {"ingress": [{"ip": if family == Family::V4 { "198.51.100.1" } else { "2001:db8::9" }}]}},
                }))
                .unwrap();
                let slice: EndpointSlice = serde_json::from_value(json!({
                    "metadata": {"name": "x"}, "addressType": if family == Family::V4 { "IPv4" } else { "IPv6" },
                    "ports": [{"name": "TCP", "port": 1}, {"name": "UDP", "port": 2, "protocol": "UDP"},
                        {"name": "SCTP", "port": 3, "protocol": "SCTP"}],
                    "endpoints": [{"addresses": [endpoint], "nodeName": "n1"}],
                }))
                .unwrap();
                let node = Node { name: "n1".into(), zone: String::new() };
                let ports = service_ports(&service, [slice].iter(), &node, family);
                assert_eq!(ports.len(), 3);
                proxy.table.replace("default/x", compile(&ports, proxy.table.options()));
                proxy.apply();
            }
            proxy.table.replace("default/x", Default::default());
            proxy.apply();
        }
    }
    let removed = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    removed.block_on(ferry_proxy::cleanup(&Rules::of(Mutex::new(net.socket())))).unwrap();
    removed.block_on(ferry_proxy::cleanup(&Rules::of(Mutex::new(net.socket())))).unwrap();
    let node = format!("{}-node", net.id);
    let left =
        Command::new("ip").args(["netns", "exec", &node, "sh", "-c", "PATH=$PATH:/usr/sbin nft list tables"]).output();
    assert_eq!(left.unwrap().stdout, b"");
}

#[test]
fn what_upstreams_proxy_left_no_longer_decides() {
    let Some(net) = Net::new(1) else { return };
    net.serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The Service had no endpoints when that proxy ended.
    let table = tables::Table { version: Version::V4, name: "kube-proxy".to_owned() };
    let chain = "filter-prerouting-pre-dnat".to_owned();
    let hook = Hook { kind: Kind::Filter, point: Point::Prerouting, priority: -110 };
    let address = Datum::Address("10.96.0.1".parse().unwrap());
    let drop = vec![Statement::Is(Field::Destination(Version::V4), address, true), Statement::Verdict(Verdict::Drop)];
    let mut stale = Transaction::default();
    stale.extend([
        Change::AddTable(table.clone()),
        Change::AddChain(table.clone(), chain.clone(), Some(hook)),
        Change::AddRule(table, chain, drop),
    ]);
    net.socket().apply(&stale).unwrap();
    let mut proxy = Proxy::new(&net);
    proxy.set(&cluster_ip(), &[1]);
    assert!(net.ask("out", "10.96.0.1:80").is_err());
    runtime.block_on(ferry_proxy::succeed(&Rules::of(Mutex::new(net.socket())))).unwrap();
    net.ask("out", "10.96.0.1:80").unwrap();
}
