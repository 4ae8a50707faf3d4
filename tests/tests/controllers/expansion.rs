//! Claims that were enlarged: it is said who is waited for.

use serde_json::{Value, json};

use crate::world::World;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";

/// A claim that is bound to a volume of that source, and has what it wanted.
async fn bound(world: &World, name: &str, source: Value) -> anyhow::Result<String> {
    let spec = json!({
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "grows",
        "volumeName": name,
    });
    let claim = world.create(CLAIMS, json!({"metadata": {"name": name}, "spec": spec})).await?;
    let mut spec = json!({
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "grows",
        "claimRef": {"namespace": "default", "name": name, "uid": claim["metadata"]["uid"]},
    });
    spec.as_object_mut().into_iter().for_each(|spec| spec.extend(source.as_object().cloned().unwrap_or_default()));
    world.create(VOLUMES, json!({"metadata": {"name": name}, "spec": spec})).await?;
    let path = format!("{CLAIMS}/{name}");
    let status = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]});
    world.patch(&format!("{path}/status"), json!({"status": status})).await?;
    Ok(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_controller_is_waited_for() -> anyhow::Result<()> {
    let world = World::with(&["persistentvolume-expander-controller"]).await?;
    let class = json!({"metadata": {"name": "grows"}, "provisioner": "d.example.com", "allowVolumeExpansion": true});
    world.create(CLASSES, class).await?;
    let csi = json!({"csi": {"driver": "d.example.com", "volumeHandle": "h"}});
    let disk = json!({"awsElasticBlockStore": {"volumeID": "vol-1"}});
    let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let external = "waiting for an external controller to expand this PVC";
    let migrated = "CSI migration enabled for kubernetes.io/aws-ebs; waiting for external resizer to expand the pvc";
    for (name, source, message) in [("a", csi, external), ("b", disk, migrated)] {
        let path = bound(&world, name, source).await?;
        world.patch(&path, grow.clone()).await?;
        let selector = format!("reason%3DExternalExpanding,involvedObject.name%3D{name}");
        let event = world.any(EVENTS, &selector, |_| true).await?;
        assert_eq!((&event["type"], &event["message"]), (&json!("Normal"), &json!(message)));
        assert_eq!(event["source"]["component"], "volume_expand");
        let resizer = |claim: &Value| claim["metadata"]["annotations"]["volume.kubernetes.io/storage-resizer"].clone();
        if name == "b" {
            world.until(&path, |claim| resizer(claim) == "ebs.csi.aws.com").await?;
        } else {
            assert_eq!(resizer(&world.get(&path).await?), Value::Null);
        }
    }
    Ok(())
}
