//! Warnings of SELinux: pods that are in each other's way on a volume are told so.

use serde_json::{Value, json};

use crate::world::World;

const PODS: &str = "/api/v1/namespaces/default/pods";
const EVENTS: &str = "/api/v1/namespaces/default/events";

fn pod(name: &str, level: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": false, "securityContext": {"seLinuxOptions": {"level": level}},
            "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_with_other_labels_for_one_volume_are_told() -> anyhow::Result<()> {
    let world = World::with(&["selinux-warning-controller", "serviceaccount-controller"]).await?;
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    let (modes, size) = (json!(["ReadWriteMany"]), json!({"storage": "1Gi"}));
    let driver = json!({"metadata": {"name": "d.example.com"}, "spec": {"seLinuxMount": true}});
    world.create("/apis/storage.k8s.io/v1/csidrivers", driver).await?;
    let csi = json!({"driver": "d.example.com", "volumeHandle": "h"});
    let claim = json!({"namespace": "default", "name": "data"});
    let volume = json!({"capacity": size, "accessModes": modes, "csi": csi, "claimRef": claim});
    world.create("/api/v1/persistentvolumes", json!({"metadata": {"name": "pv"}, "spec": volume})).await?;
    for (name, level) in [("a", "s0:c1,c2"), ("b", "s0:c3,c4"), ("c", "s0:c1,c2")] {
        world.create(PODS, pod(name, level)).await?;
    }
    // The claim comes last: the pods are looked at again.
    let wanted =
        json!({"accessModes": modes, "resources": {"requests": size}, "volumeName": "pv", "storageClassName": ""});
    let data = json!({"metadata": {"name": "data"}, "spec": wanted});
    world.create("/api/v1/namespaces/default/persistentvolumeclaims", data).await?;
    for (name, others) in [("a", "b"), ("c", "b")] {
        let selector = format!("reason%3DSELinuxLabelConflict,involvedObject.name%3D{name}");
        let said = world.any(EVENTS, &selector, |_| true).await?;
        let about = said["message"].as_str().unwrap_or_default();
        assert!(about.contains(&format!("conflicts with pod {others} that uses the same volume")), "{about}");
        assert_eq!((&said["type"], &said["source"]["component"]), (&json!("Normal"), &json!("selinux_warning")));
    }
    Ok(())
}
