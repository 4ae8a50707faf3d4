//! Volumes are attached to the nodes of the pods that use them, and detached when those are done. The test is the driver and
//! the kubelet.

use serde_json::{Value, json};

use crate::world::World;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const NODES: &str = "/api/v1/nodes";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const ATTACHMENTS: &str = "/apis/storage.k8s.io/v1/volumeattachments";
/// The volume's name in the status of a node.
const NAME: &str = "kubernetes.io/csi/d.example.com^h";

/// Two nodes that are well, and a volume that one claim has.
async fn world() -> anyhow::Result<World> {
    let world = World::with(&["persistentvolume-attach-detach-controller", "serviceaccount-controller"]).await?;
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    for name in ["n1", "n2"] {
        let managed = json!({"volumes.kubernetes.io/controller-managed-attach-detach": "true"});
        world.create(NODES, json!({"metadata": {"name": name, "annotations": managed}})).await?;
        let ready = json!([{"type": "Ready", "status": "True"}]);
        world.patch(&format!("{NODES}/{name}/status"), json!({"status": {"conditions": ready}})).await?;
    }
    let spec =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "v"});
    let claim = world.create(CLAIMS, json!({"metadata": {"name": "c"}, "spec": spec})).await?;
    let spec = json!({
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": "d.example.com", "volumeHandle": "h"},
        "claimRef": {"namespace": "default", "name": "c", "uid": claim["metadata"]["uid"]},
    });
    world.create(VOLUMES, json!({"metadata": {"name": "v"}, "spec": spec})).await?;
    world.patch(&format!("{CLAIMS}/c/status"), json!({"status": {"phase": "Bound"}})).await?;
    Ok(world)
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node, "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
        },
    })
}

/// Waits until the driver is asked to attach the volume to the node; the path of what asks.
async fn asked(world: &World, node: &str) -> anyhow::Result<String> {
    let attachment = world.any(ATTACHMENTS, "", |attachment| attachment["spec"]["nodeName"] == node).await?;
    assert_eq!(attachment["spec"]["attacher"], "d.example.com");
    assert_eq!(attachment["spec"]["source"]["persistentVolumeName"], "v");
    Ok(format!("{ATTACHMENTS}/{}", attachment["metadata"]["name"].as_str().unwrap_or_default()))
}

/// The driver attaches it, and holds the attachment until it has detached it.
async fn attach(world: &World, path: &str) -> anyhow::Result<()> {
    world.patch(path, json!({"metadata": {"finalizers": ["external-attacher/d-example-com"]}})).await?;
    world.patch(&format!("{path}/status"), json!({"status": {"attached": true}})).await?;
    Ok(())
}

/// Waits until the node's status says that the volume is attached, or that it is not.
async fn reported(world: &World, node: &str, is: bool) -> anyhow::Result<()> {
    let says = |node: &Value| {
        let attached = node["status"]["volumesAttached"].as_array().cloned().unwrap_or_default();
        attached.iter().any(|volume| volume["name"] == NAME)
    };
    world.until(&format!("{NODES}/{node}"), |node| says(node) == is).await?;
    Ok(())
}

async fn in_use(world: &World, node: &str, volumes: Value) -> anyhow::Result<()> {
    world.patch(&format!("{NODES}/{node}/status"), json!({"status": {"volumesInUse": volumes}})).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_follows_its_pod_from_node_to_node() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(PODS, pod("p", "n1")).await?;
    let first = asked(&world, "n1").await?;
    // The driver fails, and then it succeeds.
    let error = json!({"message": "no such disk", "time": "2026-01-01T00:00:00Z"});
    world.patch(&format!("{first}/status"), json!({"status": {"attached": false, "attachError": error}})).await?;
    let why = "AttachVolume.Attach failed for volume \"v\" : no such disk";
    let event = world.any(EVENTS, "reason%3DFailedAttachVolume", |event| event["message"] == why).await?;
    assert_eq!(event["source"]["component"], "attachdetach-controller");
    attach(&world, &first).await?;
    reported(&world, "n1", true).await?;
    let done = "AttachVolume.Attach succeeded for volume \"v\" ";
    world.any(EVENTS, "reason%3DSuccessfulAttachVolume", |event| event["message"] == done).await?;
    in_use(&world, "n1", json!([NAME])).await?;
    // A second pod on another node has to wait.
    world.create(PODS, pod("q", "n2")).await?;
    let why = "Multi-Attach error for volume \"v\" Volume is already used by pod(s) p";
    world.any(EVENTS, "reason%3DFailedAttachVolume,involvedObject.name%3Dq", |event| event["message"] == why).await?;
    world.delete(&format!("{PODS}/p?gracePeriodSeconds=0")).await?;
    // The node has it mounted still: nothing happens to it until that is over.
    assert_eq!(world.get(&first).await?["metadata"]["deletionTimestamp"], Value::Null);
    in_use(&world, "n1", json!([])).await?;
    reported(&world, "n1", false).await?;
    world.until(&first, |attachment| attachment["metadata"]["deletionTimestamp"].is_string()).await?;
    world.patch(&first, json!({"metadata": {"finalizers": null}})).await?;
    let second = asked(&world, "n2").await?;
    attach(&world, &second).await?;
    reported(&world, "n2", true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_out_of_service_gives_its_volumes_up() -> anyhow::Result<()> {
    let mut world = world().await?;
    world.create(PODS, pod("p", "n1")).await?;
    let attachment = asked(&world, "n1").await?;
    attach(&world, &attachment).await?;
    reported(&world, "n1", true).await?;
    in_use(&world, "n1", json!([NAME])).await?;
    world.delete(&format!("{PODS}/p?gracePeriodSeconds=0")).await?;
    // One that is started anew knows of it as much.
    world.stop().await?;
    world.start(&["persistentvolume-attach-detach-controller"]);
    let taint = json!([{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]);
    world.patch(&format!("{NODES}/n1"), json!({"spec": {"taints": taint}})).await?;
    reported(&world, "n1", false).await?;
    world.until(&attachment, |attachment| attachment["metadata"]["deletionTimestamp"].is_string()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_attaches_nothing_is_not_asked() -> anyhow::Result<()> {
    let world = world().await?;
    let driver = json!({"metadata": {"name": "d.example.com"}, "spec": {"attachRequired": false}});
    world.create("/apis/storage.k8s.io/v1/csidrivers", driver).await?;
    world.create(PODS, pod("p", "n1")).await?;
    // When it is asked after all, it is for what came later.
    let claim = json!({"metadata": {"annotations": {"seen": "yes"}}});
    world.patch(&format!("{CLAIMS}/c"), claim).await?;
    world.delete("/apis/storage.k8s.io/v1/csidrivers/d.example.com").await?;
    asked(&world, "n1").await?;
    Ok(())
}

/// There is nothing to do for it, but its kubelet mounts it only when its node's status says that it is attached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_nodes_reach_by_themselves_is_said_to_be_attached() -> anyhow::Result<()> {
    let mut world = world().await?;
    let name = "kubernetes.io/iscsi/10.0.0.1:3260:iqn.2026-01.com.example:s:2";
    let iscsi = json!({"targetPortal": "10.0.0.1:3260", "iqn": "iqn.2026-01.com.example:s", "lun": 2});
    let using = |pod_name: &str, node: &str| {
        let mut pod = pod(pod_name, node);
        pod["spec"]["volumes"] = json!([{"name": "disk", "iscsi": iscsi}]);
        pod
    };
    let said = |node: &Value| node["status"]["volumesAttached"] == json!([{"name": name, "devicePath": ""}]);
    let none = |node: &Value| node["status"]["volumesAttached"].as_array().is_none_or(Vec::is_empty);
    world.create(PODS, using("p", "n1")).await?;
    world.until(&format!("{NODES}/n1"), said).await?;
    let done = "AttachVolume.Attach succeeded for volume \"disk\" ";
    world.any(EVENTS, "reason%3DSuccessfulAttachVolume", |event| event["message"] == done).await?;
    // What a pod names itself may be attached to several nodes.
    world.create(PODS, using("q", "n2")).await?;
    world.until(&format!("{NODES}/n2"), said).await?;
    in_use(&world, "n1", json!([name])).await?;
    world.delete(&format!("{PODS}/p?gracePeriodSeconds=0")).await?;
    world.delete(&format!("{PODS}/q?gracePeriodSeconds=0")).await?;
    world.until(&format!("{NODES}/n2"), none).await?;
    // The first node uses it still; one that is started anew knows of it by the node's status.
    assert!(said(&world.get(&format!("{NODES}/n1")).await?));
    world.stop().await?;
    world.start(&["persistentvolume-attach-detach-controller"]);
    in_use(&world, "n1", json!([])).await?;
    world.until(&format!("{NODES}/n1"), none).await?;
    assert_eq!(world.get(ATTACHMENTS).await?["items"], json!([]));
    Ok(())
}
