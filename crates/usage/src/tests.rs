//! What objects use by table, with upstream's cases.

use serde_json::json;

use super::*;

fn print(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={}", amount.canonical())).collect::<Vec<_>>().join(" ")
}

fn check(group: &str, resource: &str, obj: Value, want: &str) {
    let now = "2026-01-01T00:00:30Z".parse().unwrap();
    assert_eq!(print(&Evaluator::of(group, resource).usage(&obj, now)), want, "{obj}");
}

#[test]
fn pods_use_what_they_ask_for_until_they_end() {
    let pod = |spec: Value, status: Value, meta: Value| json!({"metadata": meta, "spec": spec, "status": status});
    let resources = json!({
        "requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Mi", "hugepages-2Mi": "2Mi", "example.com/gpu": "3", "deviceclass.resource.kubernetes.io/x": "1"},
        "limits": {"cpu": "2", "hugepages-2Mi": "2Mi"},
    });
    let spec =
        json!({"containers": [{"name": "c", "resources": resources}], "overhead": {"cpu": "10m", "memory": "1Mi"}});
    let alive = "count/pods=1 cpu=1010m ephemeral-storage=1Mi hugepages-2Mi=2Mi limits.cpu=2010m memory=1025Mi pods=1 \
        requests.cpu=1010m requests.deviceclass.resource.kubernetes.io/x=1 requests.ephemeral-storage=1Mi \
        requests.example.com/gpu=3 requests.hugepages-2Mi=2Mi requests.memory=1025Mi";
    check("", "pods", pod(spec.clone(), Value::Null, json!({})), alive);
    check("", "pods", pod(spec.clone(), json!({"phase": "Succeeded"}), json!({})), "count/pods=1");
    let going = |grace: i64| json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace});
    check("", "pods", pod(spec.clone(), Value::Null, going(30)), alive);
    check("", "pods", pod(spec.clone(), Value::Null, going(29)), "count/pods=1");
    let overdue = Evaluator::of("", "pods").overdue(&pod(spec, Value::Null, going(5)));
    assert_eq!(overdue, Some("2026-01-01T00:00:05Z".parse().unwrap()));
}

#[test]
fn services_use_ports_by_their_type() {
    let service = |kind: &str, allocate: Value| {
        let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
        json!({"spec": {"type": kind, "ports": ports, "allocateLoadBalancerNodePorts": allocate}})
    };
    let used = |nodes: u8, balancers: u8| {
        format!("count/services=1 services=1 services.loadbalancers={balancers} services.nodeports={nodes}")
    };
    check("", "services", service("ClusterIP", Value::Null), &used(0, 0));
    check("", "services", service("NodePort", Value::Null), &used(2, 0));
    check("", "services", service("LoadBalancer", Value::Null), &used(2, 1));
    check("", "services", service("LoadBalancer", json!(false)), &used(1, 1));
}

#[test]
fn claims_use_storage_also_of_their_class() {
    let claim = |class: Value, asked: &str, given: Value| {
        let spec = json!({"storageClassName": class, "resources": {"requests": {"storage": asked}}});
        json!({"metadata": {}, "spec": spec, "status": {"allocatedResources": {"storage": given}}})
    };
    let plain = "count/persistentvolumeclaims=1 persistentvolumeclaims=1 requests.storage=";
    check("", "persistentvolumeclaims", claim(Value::Null, "1Gi", Value::Null), &format!("{plain}1Gi"));
    check("", "persistentvolumeclaims", claim(Value::Null, "1Gi", json!("2Gi")), &format!("{plain}2Gi"));
    check("", "persistentvolumeclaims", claim(Value::Null, "3Gi", json!("2Gi")), &format!("{plain}3Gi"));
    check("", "persistentvolumeclaims", claim(Value::Null, "1500m", Value::Null), &format!("{plain}2"));
    check(
        "",
        "persistentvolumeclaims",
        claim(json!("fast"), "1Gi", Value::Null),
        "count/persistentvolumeclaims=1 fast.storageclass.storage.k8s.io/persistentvolumeclaims=1 \
         fast.storageclass.storage.k8s.io/requests.storage=1Gi persistentvolumeclaims=1 requests.storage=1Gi",
    );
}

#[test]
fn claims_of_devices_use_the_most_that_they_can_get() {
    let gpu = |n: i64| json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": n});
    let tpu = json!({"deviceClassName": "tpu", "allocationMode": "All"});
    let claim = |requests: Value| json!({"spec": {"devices": {"requests": requests}}});
    let check = |requests: Value, want: &str| {
        check(
            "resource.k8s.io",
            "resourceclaims",
            claim(requests),
            &format!("count/resourceclaims.resource.k8s.io=1{want}"),
        );
    };
    check(json!([]), "");
    let two =
        json!([{"name": "a", "exactly": gpu(1)}, {"name": "b", "exactly": gpu(2)}, {"name": "c", "exactly": tpu}]);
    check(two, " gpu.deviceclass.resource.k8s.io/devices=3 tpu.deviceclass.resource.k8s.io/devices=32");
    let either = json!([{"name": "a", "firstAvailable": [gpu(1), gpu(4), tpu]}]);
    check(either, " gpu.deviceclass.resource.k8s.io/devices=4 tpu.deviceclass.resource.k8s.io/devices=32");
}

#[test]
fn names_belong_to_the_kinds_that_use_them() {
    let check = |group: &str, resource: &str, yes: &[&str], no: &[&str]| {
        let evaluator = Evaluator::of(group, resource);
        yes.iter().for_each(|name| assert!(evaluator.names(name), "{resource}: {name}"));
        no.iter().for_each(|name| assert!(!evaluator.names(name), "{resource}: {name}"));
    };
    let asked = ["requests.example.com/gpu", "requests.deviceclass.resource.kubernetes.io/x", "hugepages-2Mi"];
    check("", "pods", &asked, &["example.com/gpu", "requests.kubernetes.io/x", "services", "count/pods.apps"]);
    check("", "pods", &["pods", "count/pods", "limits.memory", "requests.hugepages-1Gi"], &["limits.hugepages-1Gi"]);
    check("", "services", &["services.nodeports", "count/services"], &["pods"]);
    let of_class =
        ["x.storageclass.storage.k8s.io/requests.storage", "x.storageclass.storage.k8s.io/persistentvolumeclaims"];
    check("", "persistentvolumeclaims", &of_class, &["x.storageclass.storage.k8s.io/pods"]);
    check("", "secrets", &["secrets", "count/secrets"], &["configmaps"]);
    check("apps", "deployments", &["count/deployments.apps"], &["deployments", "count/deployments"]);
    check(
        "resource.k8s.io",
        "resourceclaims",
        &["x.deviceclass.resource.k8s.io/devices"],
        &["requests.example.com/gpu"],
    );
}

#[test]
fn a_name_of_a_number_says_of_what() {
    let check = |name: &str, want: Option<(&str, &str)>| {
        let got = Evaluator::by_number(name).map(|e| (e.group(), e.resource()));
        assert_eq!(got, want, "{name}");
    };
    check("count/widgets.example.com", Some(("example.com", "widgets")));
    check("count/secrets", Some(("", "secrets")));
    check("secrets", Some(("", "secrets")));
    check("pods", None);
    check("requests.cpu", None);
}
