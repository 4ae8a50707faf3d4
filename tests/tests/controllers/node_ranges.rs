//! Nodes' ranges of pods' addresses: each has its own, of each family of the cluster, as long as it is there.

use controller_manager::NodeRanges;
use serde_json::{Value, json};

use crate::world::World;

const NODES: &str = "/api/v1/nodes";

fn node(name: &str, ranges: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"podCIDR": ranges[0], "podCIDRs": ranges}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_has_ranges_of_its_own() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    // Two parts of IPv4, of which a node has one already, and the Services the half of the rest.
    let ranges = NodeRanges {
        cluster: vec![("10.244.0.0/22".parse()?, 24), ("fd00::/60".parse()?, 64)],
        services: vec!["10.244.0.0/24".parse()?],
    };
    world.create(NODES, node("old", json!(["10.244.1.0/24", "fd00::/64"]))).await?;
    world.start_with(&["node-ipam-controller"], |config| config.node_ranges = Some(ranges));
    let path = |name: &str| format!("{NODES}/{name}");
    let has = |now: &Value| !now["spec"]["podCIDRs"].is_null();

    world.create(NODES, node("a", Value::Null)).await?;
    let a = world.until(&path("a"), has).await?;
    assert_eq!(a["spec"]["podCIDRs"], json!(["10.244.2.0/24", "fd00:0:0:1::/64"]));
    assert_eq!(a["spec"]["podCIDR"], "10.244.2.0/24");
    world.create(NODES, node("b", Value::Null)).await?;
    let b = world.until(&path("b"), has).await?;
    assert_eq!(b["spec"]["podCIDRs"], json!(["10.244.3.0/24", "fd00:0:0:2::/64"]));

    // None is left, which is said, until a node goes.
    world.create(NODES, node("c", Value::Null)).await?;
    let about = "reason%3DCIDRNotAvailable,involvedObject.name%3Dc";
    let said = world.any("/api/v1/namespaces/default/events", about, |_| true).await?;
    assert_eq!((&said["message"], &said["type"]), (&json!("Node c status is now: CIDRNotAvailable"), &json!("Normal")));
    assert_eq!(said["source"]["component"], "cidrAllocator");
    world.delete(&path("a")).await?;
    let c = world.until(&path("c"), has).await?;
    assert_eq!(c["spec"]["podCIDRs"][0], "10.244.2.0/24");
    Ok(())
}
