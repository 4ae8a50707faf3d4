//! What a cycle remembers is no part of what it decides.

use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::*;
use crate::{cache::Cache, config::Config};

fn node(name: &str, random: &mut StdRng) -> ApiNode {
    let mut labels = json!({"kubernetes.io/hostname": name});
    if random.random_range(0..4) > 0 {
        labels["topology.kubernetes.io/zone"] = ["a", "b"][random.random_range(0..2)].into();
    }
    let taints: Value = match random.random_range(0..6) {
        0 => json!([{"key": "k", "effect": "NoSchedule"}]),
        1 => json!([{"key": "k", "effect": "PreferNoSchedule"}]),
        _ => json!([]),
    };
    let cpu = random.random_range(2..9).to_string();
    let status = json!({"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "6"}});
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints},
        "status": status}))
    .unwrap()
}

fn pod(name: &str, random: &mut StdRng) -> ApiPod {
    let app = ["one", "two", "three"][random.random_range(0..3)];
    let spread = |when: &str| {
        json!([{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"app": app}}}])
    };
    let cpu = ["100m", "1"][random.random_range(0..2)];
    let mut spec = json!({"schedulerName": "default-scheduler",
        "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}]});
    match random.random_range(0..6) {
        0 => spec["topologySpreadConstraints"] = spread("ScheduleAnyway"),
        1 => spec["topologySpreadConstraints"] = spread("DoNotSchedule"),
        2 => spec["nodeSelector"] = json!({"topology.kubernetes.io/zone": "a"}),
        _ => {}
    }
    let metadata = json!({"name": name, "namespace": "default", "uid": name, "labels": {"app": app}});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// What a cycle says with what it remembers, it says without.
#[test]
fn memory_changes_no_decision() {
    let mut random = StdRng::seed_from_u64(11);
    let mut cache = Cache::default();
    let framework = Config::default().frameworks(cache.interner()).expect("the default profile").remove(0);
    let mut kept = Workspace::default();
    let mut bound = 0;
    for step in 0..3000 {
        if step < 20 || random.random_range(0..12) == 0 {
            let node = node(&format!("n{}", random.random_range(0..12)), &mut random);
            let object = cache.read_node(&node);
            cache.set_node(object);
        }
        if random.random_range(0..60) == 0 {
            cache.remove_node(&format!("n{}", random.random_range(0..12)));
        }
        cache.remove_pod(&format!("p{}", random.random_range(0..40)));
        let pod = cache.read_pod(&pod(&format!("p{}", random.random_range(0..40)), &mut random));
        cache.remove_pod(&pod.uid);
        let mut fresh = Workspace { start: kept.start, ..Workspace::default() };
        let snapshot = cache.snapshot();
        let [with, without] = [&mut kept, &mut fresh].map(|workspace| {
            let (decision, ..) = schedule_one(&framework, snapshot, &pod, workspace, &mut |_| 0);
            let place = match &decision {
                Decision::Bind { place, .. } => Some(*place),
                _ => None,
            };
            (format!("{decision:?}"), place)
        });
        assert_eq!(with, without, "step {step}");
        if let Some(place) = with.1 {
            bound += 1;
            let name = snapshot.node(place).object().name.clone();
            cache.assume(pod, &name);
        }
    }
    assert!((500..3000).contains(&bound), "{bound} found a node");
}
