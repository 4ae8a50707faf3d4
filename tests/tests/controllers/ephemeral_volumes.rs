//! Pods with ephemeral volumes get claims of their own.

use serde_json::{Value, json};

use crate::world::World;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const PODS: &str = "/api/v1/namespaces/default/pods";
const EVENTS: &str = "/api/v1/namespaces/default/events";

async fn world() -> anyhow::Result<World> {
    let world = World::with(&["ephemeral-volume-controller", "serviceaccount-controller"]).await?;
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    Ok(world)
}

fn claim_spec() -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "gold"})
}

fn pod(name: &str) -> Value {
    let template = json!({"metadata": {"labels": {"of": "template"}}, "spec": claim_spec()});
    json!({
        "metadata": {"name": name},
        "spec": {
            "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}],
            "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}],
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_made_for_the_pod_and_made_again() -> anyhow::Result<()> {
    let world = world().await?;
    let pod = world.create(PODS, pod("p")).await?;
    let path = format!("{CLAIMS}/p-scratch");
    let made = world.until(&path, |_| true).await?;
    let owner = json!([{
        "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"], "controller": true,
        "blockOwnerDeletion": true,
    }]);
    assert_eq!(made["metadata"]["ownerReferences"], owner);
    assert_eq!(made["metadata"]["labels"], json!({"of": "template"}));
    assert_eq!(made["spec"]["storageClassName"], "gold");
    // Somebody deletes it.
    world.patch(&path, json!({"metadata": {"finalizers": null}})).await?;
    world.delete(&path).await?;
    world.until(&path, |claim| claim["metadata"]["uid"] != made["metadata"]["uid"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_somebody_else_is_not_used() -> anyhow::Result<()> {
    let world = world().await?;
    let taken = json!({"metadata": {"name": "p-scratch"}, "spec": claim_spec()});
    world.create(CLAIMS, taken).await?;
    world.create(PODS, pod("p")).await?;
    let event = world.any(EVENTS, "reason%3DFailedBinding,involvedObject.name%3Dp", |_| true).await?;
    let why = "ephemeral volume scratch: PVC default/p-scratch was not created for pod default/p (pod is not owner)";
    assert_eq!((&event["type"], &event["message"]), (&json!("Warning"), &json!(why)));
    assert_eq!(event["source"]["component"], "ephemeral_volume");
    Ok(())
}
