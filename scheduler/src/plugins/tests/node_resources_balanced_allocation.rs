//! `noderesources/balanced_allocation_test.go`.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};
use serde_json::{Value, json};

use super::{World, container, node, pod};

fn has(name: &str, cpu_milli: i64, memory: i64) -> ApiNode {
    node(name, json!({"allocatable": {"cpu": format!("{cpu_milli}m"), "memory": memory.to_string()}}))
}

fn pod_of(requests: Value) -> ApiPod {
    pod("p", json!({"containers": [container(requests)]}))
}

fn on(node: &str, requests: Value) -> ApiPod {
    pod(&format!("on-{node}"), json!({"nodeName": node, "containers": [container(requests)]}))
}

#[test]
fn cpu_and_memory() {
    let check = |nodes: &[ApiNode], pods: &[ApiPod], requests: Value, expected: Expect| {
        let mut world = World::new("NodeResourcesBalancedAllocation", json!(null)).with(nodes, pods);
        expected.assert_eq(&world.score(&pod_of(requests)));
    };
    let both = || json!({"cpu": "3", "memory": "5000"});
    let cpu = || json!({"cpu": "3"});
    check(&[has("a", 4000, 10000)], &[], json!({}), expect!["Skip"]);
    check(&[has("a", 4000, 10000), has("b", 6000, 10000)], &[], both(), expect!["a 68, b 75"]);
    let used = [on("a", cpu()), on("b", both())];
    check(&[has("a", 10000, 20000), has("b", 10000, 20000)], &used, both(), expect!["a 73, b 74"]);
    check(&[has("a", 10000, 20000), has("b", 10000, 50000)], &used, both(), expect!["a 73, b 70"]);
    // The best and the worst that a pod can do.
    check(&[has("a", 3000, 5000), has("b", 3000, 5000)], &used[..1], json!({"memory": "5000"}), expect!["a 100, b 50"]);
    check(&[has("a", 6000, 10000), has("b", 6000, 10000)], &used, cpu(), expect!["a 62, b 62"]);
}

#[test]
fn extended_resources() {
    let resources = json!([{"name": "cpu"}, {"name": "memory"}, {"name": "nvidia.com/gpu"}]);
    let check = |nodes: &[ApiNode], pods: &[ApiPod], requests: Value, expected: Expect| {
        let mut world =
            World::new("NodeResourcesBalancedAllocation", json!({"resources": resources.clone()})).with(nodes, pods);
        expected.assert_eq(&world.score(&pod_of(requests)));
    };
    let gpus =
        |name: &str| node(name, json!({"allocatable": {"cpu": "3500m", "memory": "40000", "nvidia.com/gpu": "8"}}));
    let used = [
        on("a", json!({"cpu": "3", "memory": "5000", "nvidia.com/gpu": "3"})),
        on("b", json!({"cpu": "3", "memory": "5000"})),
    ];
    check(
        &[gpus("a"), gpus("b")],
        &used,
        json!({"cpu": "0", "memory": "0", "nvidia.com/gpu": "1"}),
        expect!["a 75, b 76"],
    );
    // One that the pod does not ask for does not count.
    check(&[gpus("a"), has("b", 3500, 40000)], &[], json!({"cpu": "3", "memory": "5000"}), expect!["a 56, b 56"]);
    // Shares that are equal are even, whatever a third or a tenth is to a computer.
    let hundred = || node("a", json!({"allocatable": {"cpu": "100", "memory": "100", "nvidia.com/gpu": "100"}}));
    for of_each in ["3", "12", "30", "48", "60"] {
        let requests = json!({"cpu": of_each, "memory": of_each, "nvidia.com/gpu": of_each});
        check(&[hundred()], &[], requests, expect!["a 75"]);
    }
}
