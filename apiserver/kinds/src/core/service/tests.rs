//! Services: validation by table, the fields that follow each other, families.

use model::check::said;
use serde_json::json;

use super::addresses::Ranges;
use super::*;

fn good() -> Value {
    json!({
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "selector": {"a": "b"},
        },
    })
}

fn check(change: fn(&mut Value), want: &[&str]) {
    let mut service = good();
    change(&mut service);
    assert_eq!(said(&validation::create(&service)), want);
}

#[test]
fn validates() {
    check(|_| {}, &[]);
    check(|s| s["spec"]["ports"] = json!([]), &["spec.ports: Required value"]);
    check(
        |s| s["spec"]["ports"] = json!([{"port": 0, "protocol": "tcp", "targetPort": "UP"}]),
        &[
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            "spec.ports[0].targetPort: Invalid value: \"UP\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            "spec.ports[0].targetPort: Invalid value: \"UP\": must contain at least one letter (a-z)",
        ],
    );
    check(
        |s| s["spec"]["ports"] = json!([{"port": 80, "protocol": "TCP", "targetPort": 80}, {"name": "x", "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30000}]),
        &[
            "spec.ports[0].name: Required value",
            "spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            "spec.ports[1]: Duplicate value: {\"AppProtocol\":null,\"Name\":\"\",\"NodePort\":0,\"Port\":80,\"Protocol\":\"TCP\",\"TargetPort\":0}",
        ],
    );
    check(
        |s| s["spec"]["type"] = json!("Magic"),
        &[
            "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ],
    );
    check(
        |s| s["spec"]["clusterIPs"] = json!(["10.0.0.6"]),
        &["spec.clusterIPs: Invalid value: [\"10.0.0.6\"]: first value must match `clusterIP`"],
    );
    check(
        |s| s["spec"]["sessionAffinity"] = json!("ClientIP"),
        &["spec.sessionAffinityConfig: Required value: when session affinity type is ClientIP"],
    );
    check(
        |s| s["spec"]["externalIPs"] = json!(["127.0.0.1"]),
        &[
            "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "spec.externalTrafficPolicy: Required value",
        ],
    );
    check(
        |s| s["spec"]["externalTrafficPolicy"] = json!("Local"),
        &["spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services"],
    );
    check(
        |s| s["spec"] = json!({"type": "ExternalName", "sessionAffinity": "None", "clusterIPs": ["None"]}),
        &["spec.clusterIPs: Forbidden: may not be set for ExternalName services", "spec.externalName: Required value"],
    );
    check(
        |s| {
            s["spec"]["type"] = json!("NodePort");
            s["spec"]["clusterIP"] = json!("None");
            s["spec"]["clusterIPs"] = json!(["None"]);
            s["spec"]["externalTrafficPolicy"] = json!("Cluster");
        },
        &["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
    );
}

#[test]
fn updates() {
    let old = good();
    let check = |change: fn(&mut Value), want: &[&str]| {
        let mut new = old.clone();
        change(&mut new);
        assert_eq!(said(&validation::update(&new, &old)), want);
    };
    check(|_| {}, &[]);
    check(
        |s| {
            s["spec"]["clusterIP"] = json!("10.0.0.6");
            s["spec"]["clusterIPs"] = json!(["10.0.0.6"]);
        },
        &["spec.clusterIPs[0]: Invalid value: [\"10.0.0.6\"]: may not change once set"],
    );
    let mut status = old.clone();
    status["status"] = json!({"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}});
    assert_eq!(
        said(&validation::status_update(&status, &old)),
        ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'",]
    );
}

#[test]
fn linked_fields() {
    let mut new = json!({"spec": {"clusterIP": "None"}});
    linked::sync_cluster_ips(&mut new, None);
    assert_eq!(new["spec"]["clusterIPs"], json!(["None"]));

    // An update by a client that left out what was allocated.
    let mut old = good();
    old["spec"]["type"] = json!("NodePort");
    old["spec"]["ports"][0]["nodePort"] = json!(30001);
    let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 81, "protocol": "TCP"}]}});
    linked::carry_allocated(&mut new, &old);
    assert_eq!(new["spec"]["clusterIP"], "10.0.0.5");
    assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.5"]));
    assert_eq!(new["spec"]["ports"][0]["nodePort"], 30001);

    // NodePort to ClusterIP to ExternalName.
    let mut new = old.clone();
    new["spec"]["type"] = json!("ClusterIP");
    linked::drop_type_dependent(&mut new, &old);
    assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
    let mut name = old.clone();
    name["spec"]["type"] = json!("ExternalName");
    name["spec"]["externalName"] = json!("a.b");
    linked::drop_type_dependent(&mut name, &old);
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        assert_eq!(name["spec"].get(field), None, "{field}");
    }
}

#[test]
fn families() {
    let ranges = Ranges::fixed(&["10.0.0.0/24"]);
    let init = |spec: Value| -> Result<Value, String> {
        let mut service = json!({"metadata": {"name": "a"}, "spec": spec});
        families::init(&mut service, None, &ranges).map_err(|e| e.message)?;
        Ok(json!([service["spec"]["ipFamilyPolicy"], service["spec"]["ipFamilies"]]))
    };
    assert_eq!(init(json!({"type": "ClusterIP"})), Ok(json!(["SingleStack", ["IPv4"]])));
    assert_eq!(
        init(json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]})),
        Ok(json!(["RequireDualStack", ["IPv4", "IPv6"]]))
    );
    assert_eq!(
        init(json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}})),
        Ok(json!(["SingleStack", ["IPv4"]]))
    );
    assert_eq!(
        init(json!({"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"})),
        Ok(json!(["PreferDualStack", ["IPv4"]]))
    );
    assert_eq!(
        init(json!({"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"})),
        Err("Service \"a\" is invalid: spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services".to_owned())
    );
    assert_eq!(
        init(json!({"type": "ClusterIP", "ipFamilies": ["IPv6"]})),
        Err("Service \"a\" is invalid: spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"
            .to_owned())
    );
}

#[test]
fn addresses_and_ranges_are_strict_unless_they_are_stored_already() {
    let odd = |s: &mut Value| {
        s["spec"]["type"] = json!("LoadBalancer");
        s["spec"]["allocateLoadBalancerNodePorts"] = json!(true);
        s["spec"]["externalTrafficPolicy"] = json!("Cluster");
        s["spec"]["externalIPs"] = json!(["192.0.2.010", "::ffff:192.0.2.1"]);
        s["spec"]["loadBalancerSourceRanges"] = json!(["192.0.2.1/24"]);
    };
    check(
        odd,
        &[
            "spec.externalIPs[0]: Invalid value: \"192.0.2.010\": must not have leading 0s",
            "spec.externalIPs[1]: Invalid value: \"::ffff:192.0.2.1\": must not be an IPv4-mapped IPv6 address",
            "spec.LoadBalancerSourceRanges[0]: Invalid value: \"192.0.2.1/24\": must not have bits set beyond the prefix length",
        ],
    );
    let mut old = good();
    odd(&mut old);
    assert_eq!(said(&validation::update(&old.clone(), &old)), Vec::<String>::new());
}
