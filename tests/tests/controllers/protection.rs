//! Claims, volumes and classes that are in use stay until they are not; and all of them go in the end.

use serde_json::{Value, json};

use crate::world::World;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const PODS: &str = "/api/v1/namespaces/default/pods";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const CLASSES: &str = "/apis/storage.k8s.io/v1/volumeattributesclasses";

fn claim(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    })
}

/// A pod on a node that nobody runs: this test is its kubelet.
fn pod(name: &str, volumes: Value) -> Value {
    let mounts: Vec<Value> = volumes
        .as_array()
        .into_iter()
        .flatten()
        .map(|v| json!({"name": v["name"], "mountPath": format!("/{}", v["name"].as_str().unwrap_or_default())}))
        .collect();
    json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": "n", "volumes": volumes, "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "i", "volumeMounts": mounts}],
        },
    })
}

fn finalizers(object: &Value) -> &Value {
    &object["metadata"]["finalizers"]
}

fn leaving(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Deletes a claim that nobody uses and waits until it is gone: by then the controller has acted on what was there
/// before.
async fn settle(world: &World) -> anyhow::Result<()> {
    world.create(CLAIMS, claim("unused")).await?;
    let path = format!("{CLAIMS}/unused");
    world.delete(&path).await?;
    world.gone(&path).await
}

async fn default_account(world: &World) -> anyhow::Result<()> {
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_with_a_claim_is_deleted() -> anyhow::Result<()> {
    let world = World::with(&["namespace-controller", "pvc-protection"]).await?;
    world.create("/api/v1/namespaces", json!({"metadata": {"name": "doomed"}})).await?;
    let made = world.create("/api/v1/namespaces/doomed/persistentvolumeclaims", claim("data")).await?;
    assert_eq!(finalizers(&made), &json!(["kubernetes.io/pvc-protection"]));
    world.delete("/api/v1/namespaces/doomed").await?;
    world.gone("/api/v1/namespaces/doomed").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_stays_until_the_pods_that_use_it_are_gone() -> anyhow::Result<()> {
    let world = World::with(&["pvc-protection", "serviceaccount-controller"]).await?;
    default_account(&world).await?;
    world.create(CLAIMS, claim("data")).await?;
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
    world.create(PODS, pod("first", volumes.clone())).await?;
    world.create(PODS, pod("second", volumes)).await?;
    let path = format!("{CLAIMS}/data");
    world.delete(&path).await?;
    for name in ["first", "second"] {
        settle(&world).await?;
        assert!(leaving(&world.get(&path).await?));
        // A pod that has ended counts as long as it is there.
        world.patch(&format!("{PODS}/{name}/status"), json!({"status": {"phase": "Succeeded"}})).await?;
        settle(&world).await?;
        assert!(leaving(&world.get(&path).await?));
        world.delete(&format!("{PODS}/{name}")).await?;
    }
    world.gone(&path).await
}

/// The pod waits for a finalizer, its own claim for the pod's end; neither waits for the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_made_for_a_pod_goes_once_the_pod_is_shut_down() -> anyhow::Result<()> {
    let world = World::with(&["pvc-protection", "serviceaccount-controller"]).await?;
    default_account(&world).await?;
    let template = json!({"spec": claim("x")["spec"]});
    let mut owner = pod("p", json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]));
    owner["metadata"]["finalizers"] = json!(["example.com/wait"]);
    let owner = world.create(PODS, owner).await?;
    let reference =
        json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner["metadata"]["uid"], "controller": true});
    let mut scratch = claim("p-scratch");
    scratch["metadata"]["ownerReferences"] = json!([reference]);
    world.create(CLAIMS, scratch).await?;
    let path = format!("{CLAIMS}/p-scratch");
    world.delete(&path).await?;
    world.delete(&format!("{PODS}/p")).await?;
    settle(&world).await?;
    assert!(leaving(&world.get(&path).await?));
    world.delete(&format!("{PODS}/p?gracePeriodSeconds=0")).await?;
    world.gone(&path).await?;
    assert!(leaving(&world.get(&format!("{PODS}/p")).await?));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_stays_while_it_is_bound() -> anyhow::Result<()> {
    let world = World::with(&["pv-protection"]).await?;
    let volume = |name: &str| {
        json!({
            "metadata": {"name": name},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}},
        })
    };
    let made = world.create(VOLUMES, volume("bound")).await?;
    assert_eq!(finalizers(&made), &json!(["kubernetes.io/pv-protection"]));
    world.create(VOLUMES, volume("free")).await?;
    let path = format!("{VOLUMES}/bound");
    world.patch(&format!("{path}/status"), json!({"status": {"phase": "Bound"}})).await?;
    world.delete(&path).await?;
    // One worker, one stream of changes: who has let go of the second has looked at the first.
    world.delete(&format!("{VOLUMES}/free")).await?;
    world.gone(&format!("{VOLUMES}/free")).await?;
    assert!(leaving(&world.get(&path).await?));
    world.patch(&format!("{path}/status"), json!({"status": {"phase": "Released"}})).await?;
    world.gone(&path).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_stays_while_a_claim_names_it() -> anyhow::Result<()> {
    let world = World::with(&["pvc-protection", "volumeattributesclass-protection-controller"]).await?;
    let class = |name: &str| json!({"metadata": {"name": name}, "driverName": "d", "parameters": {"iops": "1"}});
    let made = world.create(CLASSES, class("gold")).await?;
    assert_eq!(finalizers(&made), &json!(["kubernetes.io/vac-protection"]));
    world.create(CLASSES, class("unused")).await?;
    let mut named = claim("data");
    named["spec"]["volumeAttributesClassName"] = "gold".into();
    world.create(CLAIMS, named).await?;
    // The controllers share one view of the claims: the one above is in it.
    settle(&world).await?;
    let path = format!("{CLASSES}/gold");
    world.delete(&path).await?;
    world.delete(&format!("{CLASSES}/unused")).await?;
    world.gone(&format!("{CLASSES}/unused")).await?;
    assert!(leaving(&world.get(&path).await?));
    world.delete(&format!("{CLAIMS}/data")).await?;
    world.gone(&path).await
}

/// Finalizers are put back, as on objects from before their protection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lost_its_finalizer_gets_it_again() -> anyhow::Result<()> {
    let world =
        World::with(&["pv-protection", "pvc-protection", "volumeattributesclass-protection-controller"]).await?;
    let volume = json!({
        "metadata": {"name": "v"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}},
    });
    let class = json!({"metadata": {"name": "gold"}, "driverName": "d", "parameters": {"iops": "1"}});
    let objects = [
        (CLAIMS, claim("data"), "kubernetes.io/pvc-protection"),
        (VOLUMES, volume, "kubernetes.io/pv-protection"),
        (CLASSES, class, "kubernetes.io/vac-protection"),
    ];
    for (collection, object, finalizer) in objects {
        let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap_or_default());
        world.create(collection, object).await?;
        let bare = world.patch(&path, json!({"metadata": {"finalizers": null}})).await?;
        assert_eq!(finalizers(&bare), &Value::Null);
        world.until(&path, |now| finalizers(now) == &json!([finalizer])).await?;
    }
    Ok(())
}
