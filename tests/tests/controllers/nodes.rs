//! What controllers say on nodes.

use serde_json::json;

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
