//! EndpointSlices by table: what Services and pods make of them.

use serde_json::{Value, json};

use super::*;

fn service(more: Value) -> Service {
    let mut spec = json!({
        "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "ns", "uid": "s1", "labels": {"a": "b"}}, "spec": spec,
    }))
    .unwrap()
}

fn pod(n: usize, ready: bool, terminating: bool) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": format!("p{n}"), "namespace": "ns", "uid": format!("u{n}"), "labels": {"app": "web"}},
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}]}],
        },
        "status": {
            "phase": "Running", "podIPs": [{"ip": format!("10.1.0.{n}")}],
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        },
    });
    if terminating {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn node(name: &str) -> Option<Arc<Node>> {
    let labels = json!({"topology.kubernetes.io/zone": "z1"});
    let node = json!({"metadata": {"name": name, "labels": labels}});
    (name == "n1").then(|| Arc::new(serde_json::from_value(node).unwrap()))
}

fn plan(service: &Service, pods: &[Arc<Pod>], existing: &[Arc<EndpointSlice>], max: usize) -> Plan {
    sync(service, pods, node, existing, max, &Zones::default())
}

/// What the server would make of the slices in a plan.
fn stored(plan: &Plan) -> Vec<Arc<EndpointSlice>> {
    let named = plan.writes.create.iter().chain(&plan.writes.update).enumerate().map(|(i, s)| {
        let mut s = s.clone();
        s.metadata.name.get_or_insert(format!("s-{i}"));
        Arc::new(s)
    });
    named.collect()
}

fn counts(plan: &Plan) -> (usize, usize, usize) {
    (plan.writes.create.len(), plan.writes.update.len(), plan.writes.delete.len())
}

#[test]
fn a_slice_says_address_port_conditions_and_place() {
    let got = plan(&service(json!({})), &[pod(1, true, false)], &[], 100);
    assert_eq!(
        serde_json::to_value(&got.writes.create[0]).unwrap(),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "generateName": "s-", "namespace": "ns",
                "labels": {"a": "b", "kubernetes.io/service-name": "s", "endpointslice.kubernetes.io/managed-by": MANAGER},
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Service", "name": "s", "uid": "s1", "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "endpoints": [{
                "addresses": ["10.1.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "n1", "zone": "z1", "targetRef": {"kind": "Pod", "namespace": "ns", "name": "p1", "uid": "u1"},
            }],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        })
    );
}

#[test]
fn readiness_termination_and_publishing() {
    for (more, ready, terminating, want) in [
        (json!({}), false, false, (false, false, false)),
        (json!({}), true, true, (false, true, true)),
        (json!({"publishNotReadyAddresses": true}), false, false, (true, false, false)),
        (json!({"publishNotReadyAddresses": true}), true, true, (true, true, true)),
    ] {
        let got = plan(&service(more.clone()), &[pod(1, ready, terminating)], &[], 100);
        let c = got.writes.create[0].endpoints.as_ref().unwrap()[0].conditions.clone().unwrap();
        assert_eq!((c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap()), want, "{more}");
    }
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let (s, pods) = (service(json!({})), [pod(1, true, false), pod(2, true, false)]);
    let slices = stored(&plan(&s, &pods, &[], 100));
    assert_eq!(counts(&plan(&s, &pods, &slices, 100)), (0, 0, 0));
    let placeholder = stored(&plan(&s, &[], &[], 100));
    assert_eq!(placeholder.len(), 1, "a service without pods has an empty slice");
    assert_eq!(counts(&plan(&s, &[], &placeholder, 100)), (0, 0, 0));
    let first = plan(&s, &pods, &placeholder, 100);
    assert_eq!(counts(&first), (0, 1, 0), "the placeholder is filled, not replaced");
    assert_eq!(counts(&plan(&s, &[], &slices, 100)), (0, 1, 0), "and emptied again");
}

#[test]
fn slices_are_filled_with_few_writes() {
    let s = service(json!({}));
    let pods: Vec<_> = (1..=5).map(|n| pod(n, true, false)).collect();
    let slices = stored(&plan(&s, &pods, &[], 2));
    assert_eq!(slices.len(), 3);
    let mut more = pods.clone();
    more.push(pod(6, true, false));
    assert_eq!(counts(&plan(&s, &more, &slices, 2)), (0, 1, 0), "into the slice that has room");
    more.push(pod(7, true, false));
    assert_eq!(counts(&plan(&s, &more, &slices, 2)), (1, 0, 0), "two fill a slice of their own");
    assert_eq!(counts(&plan(&s, &pods[1..], &slices, 2)), (0, 1, 0), "one leaves: one slice changes");
    let mut ready = pods;
    ready[0] = pod(1, false, false);
    assert_eq!(counts(&plan(&s, &ready, &slices, 2)), (0, 1, 0), "one changes: one slice changes");
}

#[test]
fn families_and_labels_follow_the_service() {
    let headless = service(json!({"clusterIP": "None", "ipFamilies": ["IPv4", "IPv6"]}));
    let got = plan(&headless, &[pod(1, true, false)], &[], 100);
    let families: Vec<_> = got.writes.create.iter().map(|s| s.address_type.as_str()).collect();
    assert_eq!(families, ["IPv4", "IPv6"]);
    assert!(got.writes.create[0].metadata.labels.as_ref().unwrap().contains_key(services::HEADLESS));
    let single = service(json!({"clusterIP": "None"}));
    assert_eq!(counts(&plan(&single, &[pod(1, true, false)], &stored(&got), 100)), (0, 0, 1));
}

#[test]
fn a_pod_on_an_unknown_node_is_a_problem_not_an_endpoint() {
    let mut lost = (*pod(1, true, false)).clone();
    lost.spec.as_mut().unwrap().node_name = Some("n9".into());
    let got = plan(&service(json!({})), &[Arc::new(lost)], &[], 100);
    assert_eq!(got.problems, ["skipping Pod p1 for Service ns/s: Node n9 Not Found"]);
}

#[test]
fn hints_follow_the_traffic_distribution() {
    let pods = [pod(1, true, false)];
    let slices = stored(&plan(&service(json!({})), &pods, &[], 100));
    let near = service(json!({"trafficDistribution": "PreferSameNode"}));
    let got = plan(&near, &pods, &slices, 100);
    let hints = serde_json::to_value(&got.writes.update[0].endpoints.as_ref().unwrap()[0].hints).unwrap();
    assert_eq!(hints, json!({"forNodes": [{"name": "n1"}], "forZones": [{"name": "z1"}]}));
    assert_eq!(counts(&plan(&service(json!({})), &pods, &stored(&got), 100)), (0, 1, 0));
}
