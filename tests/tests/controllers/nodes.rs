//! What controllers say on nodes.

use serde_json::{Value, json};

use crate::world::World;

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
