//! Services and slices for tests, and the choice of endpoints by table.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

/// A Service of JSON, with what upstream's defaults would add.
pub(crate) fn service(spec: Value) -> Service {
    let mut service = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
    if let Some(status) = service["spec"].as_object_mut().unwrap().remove("status") {
        service["status"] = status;
    }
    serde_json::from_value(service).unwrap()
}

/// A slice of `web` for the port `port_name`: endpoints as `address[@node][:flags]`; flags are `u` (not ready), `t`
/// (terminating), `s` (serving although not ready), `z=ZONE` and `n=NODE` (hints).
pub(crate) fn slice(port_name: &str, port: u16, endpoints: &[&str]) -> EndpointSlice {
    let endpoints: Vec<Value> = endpoints.iter().map(|text| endpoint(text)).collect();
    let family =
        if endpoints.iter().any(|e| e["addresses"][0].as_str().unwrap().contains(':')) { "IPv6" } else { "IPv4" };
    serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "default", "labels": {SERVICE_NAME_LABEL: "web"}},
        "addressType": family, "ports": [{"name": port_name, "port": port}], "endpoints": endpoints,
    }))
    .unwrap()
}

fn endpoint(text: &str) -> Value {
    let mut words = text.split_whitespace();
    let (address, node) =
        words.next().unwrap().split_once('@').unwrap_or((text.split_whitespace().next().unwrap(), ""));
    let mut endpoint = json!({"addresses": [address], "conditions": {"ready": true, "serving": true}});
    if !node.is_empty() {
        endpoint["nodeName"] = node.into();
    }
    for word in words {
        match word {
            "u" => endpoint["conditions"] = json!({"ready": false, "serving": false}),
            "t" => endpoint["conditions"] = json!({"ready": false, "serving": true, "terminating": true}),
            hint => match hint.split_at(2) {
                ("z=", zone) => endpoint["hints"]["forZones"] = json!([{"name": zone}]),
                ("n=", node) => endpoint["hints"]["forNodes"] = json!([{"name": node}]),
                _ => panic!("{hint}"),
            },
        }
    }
    endpoint
}

pub(crate) fn node() -> Node {
    Node { name: "n1".into(), zone: "za".into() }
}

fn check(spec: Value, endpoints: &[&str], expected: Expect) {
    let slices = [slice("", 8080, endpoints)];
    let ports = service_ports(&service(spec), slices.iter(), &node(), Family::V4);
    let Choice { cluster, local, exist, hairpin, .. } = &ports[0].endpoints;
    let list = |all: &[std::net::SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let got = format!("cluster[{}] local[{}] exist={exist} hairpin[{}]", list(cluster), list(local), list(hairpin));
    expected.assert_eq(&got);
}

fn plain() -> Value {
    json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]})
}

fn external_local() -> Value {
    json!({"clusterIP": "10.96.0.1", "type": "NodePort", "externalTrafficPolicy": "Local",
           "ports": [{"port": 80, "nodePort": 30080}]})
}

#[test]
fn ready_endpoints_are_used() {
    check(
        plain(),
        &["10.1.0.1@n1", "10.1.0.2@n2", "10.1.0.3@n2 u", "10.1.0.4@n2 t"],
        expect!["cluster[10.1.0.1:8080 10.1.0.2:8080] local[] exist=true hairpin[10.1.0.1:8080]"],
    );
    check(plain(), &[], expect!["cluster[] local[] exist=false hairpin[]"]);
    check(plain(), &["10.1.0.3@n2 u"], expect!["cluster[] local[] exist=false hairpin[]"]);
}

#[test]
fn terminating_endpoints_are_the_last_resort() {
    check(plain(), &["10.1.0.3@n2 u", "10.1.0.4@n2 t"], expect!["cluster[10.1.0.4:8080] local[] exist=true hairpin[]"]);
    check(
        external_local(),
        &["10.1.0.1@n2", "10.1.0.4@n1 t"],
        expect!["cluster[10.1.0.1:8080] local[10.1.0.4:8080] exist=true hairpin[10.1.0.4:8080]"],
    );
}

#[test]
fn the_policy_local_looks_at_this_node_only() {
    check(
        external_local(),
        &["10.1.0.1@n1", "10.1.0.2@n2"],
        expect!["cluster[10.1.0.1:8080 10.1.0.2:8080] local[10.1.0.1:8080] exist=true hairpin[10.1.0.1:8080]"],
    );
    let internal = json!({"clusterIP": "10.96.0.1", "internalTrafficPolicy": "Local", "ports": [{"port": 80}]});
    check(
        internal.clone(),
        &["10.1.0.1@n1", "10.1.0.2@n2"],
        expect!["cluster[] local[10.1.0.1:8080] exist=true hairpin[10.1.0.1:8080]"],
    );
    check(internal, &["10.1.0.2@n2"], expect!["cluster[] local[] exist=true hairpin[]"]);
}

#[test]
fn hints_hold_if_all_have_them_and_one_fits() {
    check(plain(), &["10.1.0.1 z=za", "10.1.0.2 z=zb"], expect!["cluster[10.1.0.1:8080] local[] exist=true hairpin[]"]);
    check(
        plain(),
        &["10.1.0.1 z=za", "10.1.0.2"],
        expect!["cluster[10.1.0.1:8080 10.1.0.2:8080] local[] exist=true hairpin[]"],
    );
    check(
        plain(),
        &["10.1.0.1 z=zc", "10.1.0.2 z=zb"],
        expect!["cluster[10.1.0.1:8080 10.1.0.2:8080] local[] exist=true hairpin[]"],
    );
    check(
        plain(),
        &["10.1.0.1 z=za n=n1", "10.1.0.2 z=za n=n2", "10.1.0.9 u"],
        expect!["cluster[10.1.0.1:8080] local[] exist=true hairpin[]"],
    );
}

#[test]
fn what_is_no_business_of_the_proxy() {
    let none = |spec: Value, label: Option<&str>| {
        let mut service = service(spec);
        if let Some(label) = label {
            service.metadata.labels = Some([(label.to_owned(), "x".to_owned())].into());
        }
        assert_eq!(service_ports(&service, [].iter(), &node(), Family::V4), []);
    };
    none(json!({"clusterIP": "None", "ports": [{"port": 80}]}), None);
    none(json!({"ports": [{"port": 80}]}), None);
    none(
        json!({"type": "ExternalName", "externalName": "x.org", "clusterIP": "10.96.0.1", "ports": [{"port": 80}]}),
        None,
    );
    none(json!({"clusterIP": "fd00::1", "ports": [{"port": 80}]}), None);
    none(plain(), Some(PROXY_NAME_LABEL));
    none(plain(), Some(HEADLESS_LABEL));
}

#[test]
fn named_ports_families_and_all_the_addresses() {
    let service = service(json!({
        "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"], "type": "LoadBalancer",
        "externalIPs": ["192.0.2.1", "2001:db8::1"], "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 30}}, "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 32000, "loadBalancerSourceRanges": [" 192.0.2.0/24", "2001:db8::/32"],
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}, {"ip": "198.51.100.2", "ipMode": "Proxy"}]}},
    }));
    let slices = [slice("http", 8080, &["10.1.0.1@n1"]), slice("http", 8080, &["fd01::1@n1"])];
    let v4 = service_ports(&service, slices.iter(), &node(), Family::V4);
    assert_eq!(v4.len(), 2);
    assert_eq!(v4[0].name, "default/web:http");
    assert_eq!(
        (v4[0].node_port, v4[0].affinity_seconds, v4[0].health_check_port),
        (Some(30080), Some(30), Some(32000))
    );
    assert_eq!(v4[0].external_ips, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(v4[0].load_balancer_ips, ["198.51.100.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(v4[0].source_ranges, ["192.0.2.0/24".parse::<IpNet>().unwrap()]);
    assert_eq!(v4[0].endpoints.local, ["10.1.0.1:8080".parse().unwrap()]);
    assert_eq!((v4[1].protocol, v4[1].endpoints.cluster.len()), (Protocol::Udp, 0));
    let v6 = service_ports(&service, slices.iter(), &node(), Family::V6);
    assert_eq!(v6[0].cluster_ip, "fd00::1".parse::<IpAddr>().unwrap());
    assert_eq!(v6[0].endpoints.cluster, ["[fd01::1]:8080".parse().unwrap()]);
}

#[test]
fn an_endpoint_in_two_slices_counts_once_as_the_better() {
    let slices = [slice("", 8080, &["10.1.0.1 u"]), slice("", 8080, &["10.1.0.1@n1"])];
    let ports = service_ports(&service(plain()), slices.iter(), &node(), Family::V4);
    assert_eq!(ports[0].endpoints.cluster.len(), 1);
    assert_eq!(ports[0].endpoints.local_ready, 1);
}
