//! Pods are evicted from devices that their driver taints, unless their claims tolerate it.

use serde_json::{Value, json};

use crate::world::World;

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";
const PODS: &str = "/api/v1/namespaces/default/pods";
const EVENTS: &str = "/api/v1/namespaces/default/events";

/// A pod on a node that nobody runs, with an allocated claim of its name that tolerates NoExecute for so long.
async fn pod(world: &World, name: &str, seconds: Option<i64>, tolerates: bool) -> anyhow::Result<()> {
    let requests = json!([{"name": "r", "exactly": {"deviceClassName": "k"}}]);
    let claim = json!({"metadata": {"name": name}, "spec": {"devices": {"requests": requests}}});
    world.create(CLAIMS, claim).await?;
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": "n", "automountServiceAccountToken": false,
            "resourceClaims": [{"name": "c", "resourceClaimName": name}],
            "containers": [{"name": "c", "image": "i"}],
        },
    });
    let pod = world.create(PODS, pod).await?;
    let mut device = json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "gpu-0"});
    if tolerates {
        let toleration = json!({"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        device["tolerations"] = json!([toleration]);
    }
    let consumer = json!({"resource": "pods", "name": name, "uid": pod["metadata"]["uid"]});
    let status = json!({"allocation": {"devices": {"results": [device]}}, "reservedFor": [consumer]});
    world.patch(&format!("{CLAIMS}/{name}/status"), json!({"status": status})).await?;
    Ok(())
}

fn slice(taints: Value) -> Value {
    json!({
        "metadata": {"name": "s"},
        "spec": {
            "driver": "d.example.com", "nodeName": "n",
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "gpu-0", "taints": taints}],
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tainted_device_loses_the_pods_that_do_not_tolerate_it() -> anyhow::Result<()> {
    let world = World::with(&["device-taint-eviction-controller", "serviceaccount-controller"]).await?;
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    pod(&world, "touchy", None, false).await?;
    pod(&world, "patient", Some(3600), true).await?;
    pod(&world, "stubborn", None, true).await?;
    world.create(SLICES, slice(json!([]))).await?;
    let taint = json!([{"key": "broken", "effect": "NoExecute"}]);
    world.patch(&format!("{SLICES}/s"), slice(taint)).await?;
    let evicted =
        world.until(&format!("{PODS}/touchy"), |pod| pod["metadata"]["deletionTimestamp"].is_string()).await?;
    let conditions = evicted["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let target = conditions.iter().find(|c| c["type"] == "DisruptionTarget").cloned().unwrap_or_default();
    let message = "Device Taint manager: deleting due to NoExecute taint";
    assert_eq!((&target["reason"], &target["message"]), (&json!("DeletionByDeviceTaintManager"), &json!(message)));
    let said = |name: &'static str, message: &'static str| {
        move |event: &Value| event["involvedObject"]["name"] == name && event["message"] == message
    };
    let event =
        world.any(EVENTS, "reason%3DDeviceTaintManagerEviction", said("touchy", "Marking for deletion")).await?;
    assert_eq!(event["source"]["component"], "device-taint-eviction-controller");
    // The taint goes before the patient one's time is over.
    world.patch(&format!("{SLICES}/s"), slice(json!([]))).await?;
    world.any(EVENTS, "reason%3DDeviceTaintManagerEviction", said("patient", "Cancelling deletion")).await?;
    for name in ["patient", "stubborn"] {
        assert!(world.get(&format!("{PODS}/{name}")).await?["metadata"]["deletionTimestamp"].is_null());
    }
    Ok(())
}
