//! Claims get volumes: those that are there, those that are reserved, those that a provisioner makes; and what becomes of
//! volumes that are given back. Nothing here waits for the controller's periodic look.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn claim(name: &str, size: &str, spec: Value) -> Value {
    let mut all = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
    all.as_object_mut().into_iter().for_each(|all| all.extend(spec.as_object().cloned().unwrap_or_default()));
    json!({"metadata": {"name": name}, "spec": all})
}

fn volume(name: &str, size: &str, spec: Value) -> Value {
    let mut all = json!({
        "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"},
        "persistentVolumeReclaimPolicy": "Retain",
    });
    all.as_object_mut().into_iter().for_each(|all| all.extend(spec.as_object().cloned().unwrap_or_default()));
    json!({"metadata": {"name": name}, "spec": all})
}

fn class(name: &str, provisioner: &str, mode: &str) -> Value {
    json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode})
}

fn path(collection: &str, name: &str) -> String {
    format!("{collection}/{name}")
}

fn phase(phase: &str) -> impl Fn(&Value) -> bool {
    move |object| object["status"]["phase"] == phase
}

fn annotation<'a>(object: &'a Value, name: &str) -> &'a Value {
    &object["metadata"]["annotations"][name]
}

/// A server and the controller, which looks at nothing without a reason.
async fn world() -> anyhow::Result<World> {
    let mut world = World::new().await?;
    start(&mut world);
    Ok(world)
}

fn start(world: &mut World) {
    let never = Duration::from_secs(3600);
    world.start_with(&["persistentvolume-binder-controller"], |config| config.pvclaimbinder_sync_period = never);
}

/// Waits until claim and volume are bound to each other.
async fn bound(world: &World, claim: &str, volume: &str) -> anyhow::Result<(Value, Value)> {
    let claim = world.until(&path(CLAIMS, claim), phase("Bound")).await?;
    let volume = world.until(&path(VOLUMES, volume), phase("Bound")).await?;
    assert_eq!(claim["spec"]["volumeName"], volume["metadata"]["name"]);
    assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"]);
    assert_eq!(annotation(&claim, "pv.kubernetes.io/bind-completed"), "yes");
    Ok((claim, volume))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_takes_the_smallest_volume_whichever_comes_first() -> anyhow::Result<()> {
    let world = world().await?;
    // The volumes first.
    world.create(VOLUMES, volume("large", "10Gi", json!({}))).await?;
    world.create(VOLUMES, volume("small", "2Gi", json!({}))).await?;
    for name in ["large", "small"] {
        world.until(&path(VOLUMES, name), phase("Available")).await?;
    }
    world.create(CLAIMS, claim("first", "1Gi", json!({}))).await?;
    let (first, small) = bound(&world, "first", "small").await?;
    assert_eq!(first["status"]["capacity"]["storage"], "2Gi");
    assert_eq!(first["status"]["accessModes"], json!(["ReadWriteOnce"]));
    for object in [&first, &small] {
        assert_eq!(annotation(object, "pv.kubernetes.io/bound-by-controller"), "yes");
    }
    // The claim first: it is told, and bound as soon as there is a volume.
    world.create(CLAIMS, claim("second", "20Gi", json!({}))).await?;
    let message = "no persistent volumes available for this claim and no storage class is set";
    let selector = "reason%3DFailedBinding,involvedObject.name%3Dsecond";
    let event = world.any(EVENTS, selector, |event| event["message"] == message).await?;
    assert_eq!(
        (&event["type"], &event["source"]["component"]),
        (&json!("Normal"), &json!("persistentvolume-controller"))
    );
    world.create(VOLUMES, volume("larger", "30Gi", json!({}))).await?;
    bound(&world, "second", "larger").await?;
    // What is bound is nobody else's.
    world.until(&path(VOLUMES, "large"), phase("Available")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_claims_get_a_volume_each() -> anyhow::Result<()> {
    let world = world().await?;
    let count = 30;
    for i in 0..count {
        world.create(CLAIMS, claim(&format!("c{i}"), "1Gi", json!({}))).await?;
        world.create(VOLUMES, volume(&format!("v{i}"), "1Gi", json!({}))).await?;
    }
    let mut taken = Vec::new();
    for i in 0..count {
        let claim = world.until(&path(CLAIMS, &format!("c{i}")), phase("Bound")).await?;
        let name = claim["spec"]["volumeName"].as_str().unwrap_or_default().to_owned();
        let volume = world.until(&path(VOLUMES, &name), phase("Bound")).await?;
        assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"]);
        taken.push(name);
    }
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), count);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_names_the_other_gets_it() -> anyhow::Result<()> {
    let world = world().await?;
    // The claim names a volume that is yet to come.
    world.create(CLAIMS, claim("names", "1Gi", json!({"volumeName": "named"}))).await?;
    world.create(VOLUMES, volume("named", "5Gi", json!({}))).await?;
    let (names, _) = bound(&world, "names", "named").await?;
    assert_eq!(annotation(&names, "pv.kubernetes.io/bound-by-controller"), &Value::Null);
    // The volume is reserved for a claim that is there already.
    world.create(CLAIMS, claim("reserved", "1Gi", json!({}))).await?;
    let selector = "reason%3DFailedBinding,involvedObject.name%3Dreserved";
    world.any(EVENTS, selector, |_| true).await?;
    let reference = json!({"claimRef": {"namespace": "default", "name": "reserved"}});
    world.create(VOLUMES, volume("reserves", "5Gi", reference)).await?;
    let (_, reserves) = bound(&world, "reserved", "reserves").await?;
    assert_eq!(annotation(&reserves, "pv.kubernetes.io/bound-by-controller"), &Value::Null);
    // A volume that does not satisfy the claim that names it.
    world.create(VOLUMES, volume("tiny", "1Mi", json!({}))).await?;
    world.create(CLAIMS, claim("wants", "1Gi", json!({"volumeName": "tiny"}))).await?;
    let why = "Cannot bind to requested volume \"tiny\": requested PV is too small";
    let selector = "reason%3DVolumeMismatch,involvedObject.name%3Dwants";
    let event = world.any(EVENTS, selector, |event| event["message"] == why).await?;
    assert_eq!(event["type"], "Warning");
    Ok(())
}

/// As an external provisioner does it: it sees itself named on the claim, and makes a volume that names the claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisioner_is_asked_and_what_it_makes_is_bound() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(CLASSES, class("now", "ferry.dev/test", "Immediate")).await?;
    world.create(CLASSES, class("late", "ferry.dev/test", "WaitForFirstConsumer")).await?;
    let asked = |claim: &Value| {
        let names = ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
        names.iter().all(|name| annotation(claim, name) == "ferry.dev/test")
    };
    for (name, class) in [("a", "now"), ("b", "late")] {
        world.create(CLAIMS, claim(name, "1Gi", json!({"storageClassName": class}))).await?;
        if class == "late" {
            let selector = "reason%3DWaitForFirstConsumer,involvedObject.name%3Db";
            let event = world.any(EVENTS, selector, |_| true).await?;
            assert_eq!(event["message"], "waiting for first consumer to be created before binding");
            assert!(!asked(&world.get(&path(CLAIMS, name)).await?));
            // The scheduler chose a node.
            let node = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}});
            world.patch(&path(CLAIMS, name), node).await?;
        }
        let claim = world.until(&path(CLAIMS, name), asked).await?;
        let selector = format!("reason%3DExternalProvisioning,involvedObject.name%3D{name}");
        let event = world.any(EVENTS, &selector, |_| true).await?;
        assert_eq!(event["type"], "Normal");
        let reference = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default", "name": name,
            "uid": claim["metadata"]["uid"],
        });
        let spec = json!({"claimRef": reference, "storageClassName": class, "persistentVolumeReclaimPolicy": "Delete"});
        let mut made = volume(&format!("pvc-{name}"), "1Gi", spec);
        let finalizer = "external-provisioner.volume.kubernetes.io/finalizer";
        made["metadata"]["finalizers"] = json!([finalizer]);
        made["metadata"]["annotations"] = json!({"pv.kubernetes.io/provisioned-by": "ferry.dev/test"});
        world.create(VOLUMES, made).await?;
        bound(&world, name, &format!("pvc-{name}")).await?;
        // Given back, it is the provisioner's to delete.
        force(&world, &path(CLAIMS, name)).await?;
        let released = world.until(&path(VOLUMES, &format!("pvc-{name}")), phase("Released")).await?;
        assert_eq!(released["metadata"]["finalizers"][0], finalizer);
        assert_eq!(released["metadata"]["deletionTimestamp"], Value::Null);
    }
    Ok(())
}

/// Deletes an object at once, whatever holds it.
async fn force(world: &World, path: &str) -> anyhow::Result<()> {
    world.patch(path, json!({"metadata": {"finalizers": null}})).await?;
    world.delete(path).await?;
    world.gone(path).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_that_comes_late_is_used() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(CLAIMS, claim("named", "1Gi", json!({"storageClassName": "gold"}))).await?;
    world.create(CLAIMS, claim("default", "1Gi", json!({}))).await?;
    let selector = "reason%3DProvisioningFailed,involvedObject.name%3Dnamed";
    let event = world.any(EVENTS, selector, |_| true).await?;
    assert_eq!(event["message"], "storageclass.storage.k8s.io \"gold\" not found");
    let mut gold = class("gold", "ferry.dev/test", "Immediate");
    gold["metadata"]["annotations"] = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    world.create(CLASSES, gold).await?;
    for name in ["named", "default"] {
        let asked = |claim: &Value| annotation(claim, "volume.kubernetes.io/storage-provisioner") == "ferry.dev/test";
        let claim = world.until(&path(CLAIMS, name), asked).await?;
        assert_eq!(claim["spec"]["storageClassName"], "gold");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_without_its_volume_is_lost_and_found() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(VOLUMES, volume("v", "1Gi", json!({}))).await?;
    world.create(CLAIMS, claim("c", "1Gi", json!({}))).await?;
    bound(&world, "c", "v").await?;
    force(&world, &path(VOLUMES, "v")).await?;
    let lost = world.until(&path(CLAIMS, "c"), phase("Lost")).await?;
    assert_eq!(lost["status"]["capacity"], Value::Null);
    let event = world.any(EVENTS, "reason%3DClaimLost", |_| true).await?;
    assert_eq!(event["message"], "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    world.create(VOLUMES, volume("v", "1Gi", json!({}))).await?;
    bound(&world, "c", "v").await?;
    // A volume whose claim is gone is kept for who reads it, and taken by nobody.
    force(&world, &path(CLAIMS, "c")).await?;
    world.until(&path(VOLUMES, "v"), phase("Released")).await?;
    // An administrator offers it again.
    world.create(CLAIMS, claim("d", "1Gi", json!({}))).await?;
    world.patch(&path(VOLUMES, "v"), json!({"spec": {"claimRef": null}})).await?;
    bound(&world, "d", "v").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_that_was_interrupted_is_completed() -> anyhow::Result<()> {
    for part in ["/api/v1/persistentvolumes/v/status", "/persistentvolumeclaims/c", "/persistentvolumeclaims/c/status"]
    {
        let mut world = world().await?;
        world.refuse(move |method, path| {
            let refused = method == http::Method::PUT && path.ends_with(part);
            refused.then_some((500, "out of order"))
        });
        world.create(VOLUMES, volume("v", "1Gi", json!({}))).await?;
        world.create(CLAIMS, claim("c", "1Gi", json!({}))).await?;
        if part.starts_with("/api") {
            // The volume never is available, as far as anybody knows: it has to be said.
            world.patch("/api/v1/persistentvolumes/v/status", json!({"status": {"phase": "Available"}})).await?;
        }
        world.until(&path(VOLUMES, "v"), |volume| !volume["spec"]["claimRef"].is_null()).await?;
        world.stop().await?;
        world.refuse_nothing();
        assert_ne!(world.get(&path(CLAIMS, "c")).await?["status"]["phase"], "Bound", "{part}");
        start(&mut world);
        bound(&world, "c", "v").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_under_tmp_is_removed_with_its_volume() -> anyhow::Result<()> {
    let world = world().await?;
    let home = tempfile::Builder::new().prefix("ferry-volumes").tempdir_in("/tmp")?;
    let directory = home.path().join("data");
    std::fs::create_dir_all(directory.join("deep"))?;
    let spec = json!({"hostPath": {"path": directory}, "persistentVolumeReclaimPolicy": "Delete"});
    world.create(VOLUMES, volume("v", "1Gi", spec)).await?;
    world.create(CLAIMS, claim("c", "1Gi", json!({}))).await?;
    bound(&world, "c", "v").await?;
    world.patch(&path(VOLUMES, "v"), json!({"metadata": {"finalizers": null}})).await?;
    force(&world, &path(CLAIMS, "c")).await?;
    world.gone(&path(VOLUMES, "v")).await?;
    assert!(!directory.exists() && home.path().exists());
    // Another path is not touched, and it is said why.
    let spec = json!({"hostPath": {"path": "/nowhere"}, "persistentVolumeReclaimPolicy": "Delete"});
    world.create(VOLUMES, volume("w", "1Gi", spec)).await?;
    world.create(CLAIMS, claim("d", "1Gi", json!({}))).await?;
    bound(&world, "d", "w").await?;
    force(&world, &path(CLAIMS, "d")).await?;
    let failed = world.until(&path(VOLUMES, "w"), phase("Failed")).await?;
    let why = "host_path deleter only supports /tmp/.+ but received provided /nowhere";
    assert_eq!(failed["status"]["message"], why);
    world.any(EVENTS, "reason%3DVolumeFailedDelete", |event| event["message"] == why).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_emptied_by_a_pod_and_offered_again() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let never = Duration::from_secs(3600);
    let controllers = ["persistentvolume-binder-controller", "serviceaccount-controller"];
    world.start_with(&controllers, |config| config.pvclaimbinder_sync_period = never);
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    let spec = json!({"hostPath": {"path": "/tmp/x"}, "persistentVolumeReclaimPolicy": "Recycle"});
    world.create(VOLUMES, volume("v", "1Gi", spec)).await?;
    world.create(CLAIMS, claim("c", "1Gi", json!({}))).await?;
    bound(&world, "c", "v").await?;
    force(&world, &path(CLAIMS, "c")).await?;
    let pod = path(PODS, "recycler-for-v");
    let made = world.until(&pod, |_| true).await?;
    assert_eq!(made["spec"]["volumes"][0]["hostPath"]["path"], "/tmp/x");
    // What is said of the pod is said of the volume.
    let about = json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "recycler-for-v", "uid": made["metadata"]["uid"],
    });
    let event = json!({
        "metadata": {"name": "recycler-for-v.1"}, "involvedObject": about, "type": "Warning", "reason": "Failed",
        "message": "no such image",
    });
    world.create("/api/v1/namespaces/default/events", event).await?;
    let passed_on = |event: &Value| {
        let about = &event["involvedObject"];
        event["message"] == "Recycler pod: no such image" && event["type"] == "Warning" && about["name"] == "v"
    };
    world.any(EVENTS, "reason%3DRecyclerPod", passed_on).await?;
    world.report(&pod, "Succeeded", None).await?;
    let offered = world.until(&path(VOLUMES, "v"), phase("Available")).await?;
    assert_eq!(offered["spec"]["claimRef"], Value::Null);
    world.any(EVENTS, "reason%3DVolumeRecycled", |event| event["message"] == "Volume recycled").await?;
    world.gone(&pod).await
}
