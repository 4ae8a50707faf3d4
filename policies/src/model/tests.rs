//! What is read of the API's objects.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1;
use netfilter::tables::{Transport, Version};
use serde_json::{Value, json};

use super::*;

fn read_pod(spec: Value, status: Value) -> Option<Pod> {
    let api: v1::Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "x", "uid": "u", "labels": {"a": "b"}, "creationTimestamp": "1970-01-01T00:01:40Z"},
        "spec": spec, "status": status}))
    .unwrap();
    pod(&api, "n1")
}

#[test]
fn pods_that_policies_say_nothing_of() {
    let spec = || json!({"containers": [], "nodeName": "n1"});
    let running =
        || json!({"phase": "Running", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd00::1"}]});
    let found = read_pod(spec(), running()).unwrap();
    assert_eq!((found.ips.len(), found.local, found.since), (2, true, 100));
    // One that has ended keeps its address in its status; another may have it.
    for phase in ["Succeeded", "Failed"] {
        assert_eq!(read_pod(spec(), json!({"phase": phase, "podIP": "10.1.0.1"})), None);
    }
    assert_eq!(read_pod(spec(), json!({"phase": "Pending"})), None, "it has no address yet");
    assert_eq!(read_pod(json!({"containers": [], "hostNetwork": true}), running()), None);
    assert!(read_pod(spec(), json!({"phase": "Pending", "podIP": "10.1.0.1"})).is_some(), "while init containers run");
    assert!(!read_pod(json!({"containers": [], "nodeName": "n2"}), running()).unwrap().local);
}

#[test]
fn names_of_ports_lead_to_the_first_of_their_protocol() {
    let port =
        |name: &str, number: u16, protocol: &str| json!({"name": name, "containerPort": number, "protocol": protocol});
    let spec = json!({
        "containers": [
            {"name": "a", "ports": [port("web", 8080, "TCP"), port("dns", 53, "UDP"), {"containerPort": 1}]},
            {"name": "b", "ports": [port("web", 9090, "TCP"), {"name": "dns", "containerPort": 54}]}],
        "initContainers": [
            {"name": "c", "restartPolicy": "Always", "ports": [port("side", 7, "SCTP"), port("web", 1, "TCP")]},
            {"name": "d", "ports": [port("early", 2, "TCP")]}]});
    let pod = read_pod(spec, json!({"podIP": "10.1.0.1"})).unwrap();
    let ports: Vec<_> =
        pod.ports.iter().map(|((transport, name), number)| format!("{name}/{transport} {number}")).collect();
    assert_eq!(ports, ["dns/tcp 54", "web/tcp 8080", "dns/udp 53", "side/sctp 7"]);
}

fn check(spec: Value, expected: Expect) {
    let api = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "x"}, "spec": spec})).unwrap();
    let policy = super::policy(&api);
    let mut out = format!("subjects: {}\n", shown(&policy.subjects));
    for direction in Direction::ALL {
        let Some(rules) = policy.rules(direction) else { continue };
        out += &format!("{}:\n", direction.as_str());
        for rule in rules {
            let mut words = Vec::new();
            match &rule.peers {
                None => words.push("everybody".to_owned()),
                Some(peers) => {
                    words.extend(peers.pods.iter().map(|selection| match &selection.namespaces {
                        Scope::Own(own) => format!("{own}/{}", shown(&selection.pods)),
                        Scope::Labelled(labels) => format!("({})/{}", shown(labels), shown(&selection.pods)),
                    }));
                    let ranges = [Version::V4, Version::V6].into_iter().flat_map(|version| peers.nets.of(version));
                    words.extend(ranges.map(|(first, last)| format!("{first}-{last}")));
                }
            }
            words.push(":".to_owned());
            match &rule.ports {
                None => words.push("everything".to_owned()),
                Some(ports) => {
                    for (transport, ranges) in &ports.ranges {
                        words.extend(ranges.iter().map(|(first, last)| format!("{transport} {first}-{last}")));
                    }
                    words.extend(ports.named.iter().map(|(transport, name)| format!("{transport} {name}")));
                }
            }
            out += &format!("  {}\n", words.join(" "));
        }
    }
    expected.assert_eq(&out);
}

fn shown(selector: &LabelSelector) -> String {
    if selector.is_everything() { "*".to_owned() } else { selector.to_string() }
}

#[test]
fn directions_are_isolated_as_the_server_defaults_them() {
    check(
        json!({"podSelector": {}}),
        expect![[r#"
        subjects: *
        ingress:
    "#]],
    );
    check(
        json!({"podSelector": {}, "egress": [{}]}),
        expect![[r#"
        subjects: *
        ingress:
        egress:
          everybody : everything
    "#]],
    );
    check(
        json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"], "ingress": [{}]}),
        expect![[r#"
        subjects: app=db
        egress:
    "#]],
    );
}

#[test]
fn peers_of_every_sort() {
    let labels = |key: &str, value: &str| json!({"matchLabels": {key: value}});
    check(
        json!({"podSelector": {}, "ingress": [
            {"from": [{"podSelector": labels("app", "web")}, {"namespaceSelector": labels("team", "a")}]},
            {"from": [{"podSelector": labels("app", "web"), "namespaceSelector": labels("team", "a")}]},
            {"from": [{"podSelector": {}}, {"namespaceSelector": {}}, {"podSelector": {}}]},
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}, {"ipBlock": {"cidr": "fd00::/8"}}]},
            {"from": []}]}),
        expect![[r#"
            subjects: *
            ingress:
              x/app=web (team=a)/* : everything
              (team=a)/app=web : everything
              x/* (*)/* : everything
              10.0.0.0-10.0.255.255 10.2.0.0-10.255.255.255 fd00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff : everything
              everybody : everything
        "#]],
    );
}

#[test]
fn what_cannot_be_understood_allows_nothing() {
    check(
        json!({"podSelector": {}, "ingress": [
            // A sort of peer of a later version, blocks that are none, an operator that is none.
            {"from": [{}]},
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["x"]}}]},
            {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]},
            {"ports": [{"protocol": "QUIC", "port": 80}, {"port": 0}, {"port": 70000}, {"port": 90, "endPort": 80},
                {"port": "web", "endPort": 80}, {"endPort": 80}]}]}),
        expect![[r#"
            subjects: *
            ingress:
              : everything
              : everything
              : everything
              everybody :
        "#]],
    );
    // Whom it is about can't be told: everybody.
    check(
        json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
        expect![[r#"
        subjects: *
        ingress:
    "#]],
    );
}

#[test]
fn ports_of_every_sort() {
    check(
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
            {"ports": [{"port": 80}, {"port": 81, "protocol": "TCP"}, {"port": 8000, "endPort": 8100}, {"port": 53, "protocol": "UDP"},
                {"protocol": "SCTP"}, {"port": "web"}, {"port": "dns", "protocol": "UDP"}]},
            // Next to all ports of a protocol, one of them is nothing more.
            {"ports": [{}, {"port": 80}]}]}),
        expect![[r#"
            subjects: *
            egress:
              everybody : tcp 80-81 tcp 8000-8100 udp 53-53 sctp 0-65535 tcp web udp dns
              everybody : tcp 0-65535
        "#]],
    );
}

#[test]
fn equal_selectors_are_the_same() {
    let of = |expressions: Value| {
        let api = json!({"spec": {"podSelector": {"matchExpressions": expressions}}});
        policy(&serde_json::from_value(api).unwrap()).subjects
    };
    let term = |key: &str, values: &[&str]| json!({"key": key, "operator": "In", "values": values});
    assert_eq!(
        of(json!([term("a", &["1", "2"]), term("b", &["3"])])),
        of(json!([term("b", &["3"]), term("a", &["2", "1", "2"])]))
    );
}

#[test]
fn the_dns_is_pods_or_the_node() {
    let slice = serde_json::from_value(json!({
        "metadata": {"name": "s"}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.0.7"], "targetRef": {"kind": "Pod"}}, {"addresses": ["192.0.2.1"]}],
        "ports": [{"name": "dns", "port": 5353, "protocol": "UDP"}, {"port": 53}]}));
    let found = dns_endpoints(&slice.unwrap());
    let shown: Vec<_> = found
        .iter()
        .map(|one| format!("{}:{}/{} {} {}", one.ip, one.port, one.transport, one.name, one.is_pod))
        .collect();
    assert_eq!(
        shown,
        [
            "10.1.0.7:5353/udp dns true",
            "10.1.0.7:53/tcp  true",
            "192.0.2.1:5353/udp dns false",
            "192.0.2.1:53/tcp  false",
        ]
    );
    assert_eq!(found[0].transport, Transport::Udp);
}
