//! What controllers say on nodes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

const NODE: &str = "/api/v1/nodes/n";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_told_how_long_they_may_keep_what_they_have_read() -> anyhow::Result<()> {
    let world = World::with(&["ttl-controller"]).await?;
    let ttl = |now: &serde_json::Value| now["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"] == "0";
    world.create("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await?;
    world.until("/api/v1/nodes/n", ttl).await?;
    world.patch("/api/v1/nodes/n", json!({"metadata": {"annotations": {"node.alpha.kubernetes.io/ttl": "x"}}})).await?;
    world.until("/api/v1/nodes/n", ttl).await?;
    Ok(())
}

/// Upstream's `RecordNodeEvent` and `RecordNodeStatusChange`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_a_node_is_told_of_it() -> anyhow::Result<()> {
    let world = World::with(&["node-lifecycle-controller"]).await?;
    let events = "/api/v1/namespaces/default/events";
    let said = |reason: &'static str, message: &'static str| {
        let says = move |event: &Value| {
            let about = &event["involvedObject"];
            event["message"] == message && event["type"] == "Normal" && about["kind"] == "Node" && about["name"] == "n"
        };
        world.any(events, reason, says)
    };
    let ready = |status: &'static str| {
        world.patch("/api/v1/nodes/n/status", json!({"status": {"conditions": [{"type": "Ready", "status": status}]}}))
    };
    let tainted = |node: &Value| {
        let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
        taints.any(|taint| taint["key"] == "node.kubernetes.io/not-ready")
    };
    world.create("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await?;
    said("reason%3DRegisteredNode", "Node n event: Registered Node n in Controller").await?;
    ready("False").await?;
    world.until("/api/v1/nodes/n", tainted).await?;
    ready("True").await?;
    world.until("/api/v1/nodes/n", |node| !tainted(node)).await?;
    ready("False").await?;
    said("reason%3DNodeNotReady", "Node n status is now: NodeNotReady").await?;
    world.delete("/api/v1/nodes/n").await?;
    said("reason%3DRemovingNode", "Node n event: Removing Node n from Controller").await.map(drop)
}

/// A node says that it lives.
async fn heartbeat(world: &World, at: &str) -> anyhow::Result<()> {
    let condition = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": at});
    world.patch(&format!("{NODE}/status"), json!({"status": {"conditions": [condition]}})).await?;
    Ok(())
}

fn ready(object: &Value) -> Option<&str> {
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    conditions.find(|condition| condition["type"] == "Ready")?["status"].as_str()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_does_not_get_its_pods_back() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.create("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await?;
    // Another is ready all the time, or nothing would be taken from any.
    for name in ["n", "other"] {
        world.create("/api/v1/nodes", json!({"metadata": {"name": name}})).await?;
    }
    let condition = json!({"type": "Ready", "status": "True", "reason": "KubeletReady"});
    world.patch("/api/v1/nodes/other/status", json!({"status": {"conditions": [condition]}})).await?;
    heartbeat(&world, "2026-01-01T00:00:00Z").await?;
    let tolerations = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]);
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}],
        "tolerations": tolerations, "automountServiceAccountToken": false}});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    world.create(SETS, json!({"metadata": {"name": "web"}, "spec": spec})).await?;
    world.start(&["replicaset-controller"]);
    world.until(&format!("{SETS}/web"), |set| set["status"]["replicas"] == 2).await?;
    let first = world.list(PODS).await?;
    for pod in &first {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
        world.create(&format!("{PODS}/{name}/binding"), binding).await?;
        world.report(&format!("{PODS}/{name}"), "Running", Some("2020-01-01T00:00:00Z")).await?;
    }
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    world.create(lease, json!({"metadata": {"name": "other"}, "spec": {"holderIdentity": "other"}})).await?;
    // That node renews, the other does not.
    let (admin, renewing) = (world.admin.clone(), format!("{lease}/other"));
    let mut alive = tokio::task::JoinSet::new();
    alive.spawn(async move {
        for second in 0_u64.. {
            let at = format!("2026-01-01T00:{:02}:{:02}.000000Z", second / 60 % 60, second % 60);
            let patch = json!({"spec": {"renewTime": at}});
            admin.send_as(http::Method::PATCH, &renewing, "application/merge-patch+json", Some(&patch)).await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    });
    world.stop().await?;
    world.start_with(&["node-lifecycle-controller", "taint-eviction-controller", "replicaset-controller"], |config| {
        config.node_monitor_grace_period = Duration::from_secs(3);
    });
    for pod in &first {
        let path = format!("{PODS}/{}", pod["metadata"]["name"].as_str().unwrap_or_default());
        let going = world.until(&path, |pod| !pod["metadata"]["deletionTimestamp"].is_null()).await?;
        let conditions = going["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let why = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget");
        assert_eq!(why.map(|why| &why["reason"]), Some(&json!("DeletionByTaintManager")), "{conditions:#?}");
        assert_eq!(ready(&going), Some("False"), "nobody knows whether it is");
    }
    world.until(NODE, |node| ready(node) == Some("Unknown")).await?;
    world
        .until(&format!("{SETS}/web"), |set| {
            set["status"]["replicas"] == 2 && set["status"]["terminatingReplicas"] == 2
        })
        .await?;

    // It is back: its taints go, what was given away goes, and nothing more does.
    heartbeat(&world, "2026-01-01T00:01:00Z").await?;
    let free = |node: &Value| {
        let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
        !taints.any(|taint| taint["key"] == "node.kubernetes.io/unreachable")
    };
    world.until(NODE, free).await?;
    for pod in &first {
        let path = format!("{PODS}/{}", pod["metadata"]["name"].as_str().unwrap_or_default());
        world.delete(&format!("{path}?gracePeriodSeconds=0")).await?;
        world.gone(&path).await?;
    }
    world.until(&format!("{SETS}/web"), |set| set["status"]["terminatingReplicas"] == 0).await?;
    let there = world.list(PODS).await?;
    assert_eq!(there.len(), 2, "{there:#?}");
    assert!(there.iter().all(|pod| first.iter().all(|other| other["metadata"]["uid"] != pod["metadata"]["uid"])));
    Ok(())
}
