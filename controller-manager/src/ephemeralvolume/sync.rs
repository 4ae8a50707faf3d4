//! The decision: which claim a pod's ephemeral volume lacks.

use controller::controller_ref;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, Volume},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// The pod's volumes that get claims of their own.
pub(crate) fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter(|volume| volume.ephemeral.is_some())
}

/// The claim to make for the volume; nothing if it is there. `found` is what has its name.
///
/// # Errors
/// What has its name was not made for the pod.
pub(crate) fn sync(
    pod: &Pod,
    volume: &Volume,
    found: Option<&PersistentVolumeClaim>,
) -> Result<Option<PersistentVolumeClaim>, String> {
    if let Some(claim) = found {
        return volumes::made_for(pod, claim).map(|()| None);
    }
    let template = volume.ephemeral.as_ref().and_then(|source| source.volume_claim_template.clone());
    Ok(template.map(|template| {
        let meta = template.metadata.unwrap_or_default();
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(volumes::claim_name(pod, &volume.name)),
                namespace: pod.metadata.namespace.clone(),
                owner_references: Some(vec![controller_ref(pod)]),
                annotations: meta.annotations,
                labels: meta.labels,
                ..Default::default()
            },
            spec: Some(template.spec),
            status: None,
        }
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> Pod {
        let template = json!({
            "metadata": {"labels": {"l": "1"}, "annotations": {"a": "2"}, "name": "ignored", "finalizers": ["ignored"]},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "gold"},
        });
        let volumes = json!([
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}},
        ]);
        let meta = json!({"name": "p", "namespace": "ns", "uid": "u"});
        serde_json::from_value(json!({"metadata": meta, "spec": {"containers": [], "volumes": volumes}})).unwrap()
    }

    fn check(found: Option<Value>, want: Result<Option<Value>, &str>) {
        let found = found.map(|meta| serde_json::from_value(json!({"metadata": meta})).unwrap());
        let pod = pod();
        let own: Vec<_> = volumes(&pod).collect();
        assert_eq!(own.len(), 1);
        let got =
            sync(&pod, own[0], found.as_ref()).map(|claim| claim.map(|claim| serde_json::to_value(claim).unwrap()));
        assert_eq!(got, want.map_err(str::to_owned));
    }

    #[test]
    fn a_claim_that_is_missing_is_made_of_the_template() {
        let owner = json!({
            "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true, "blockOwnerDeletion": true,
        });
        let meta = json!({
            "name": "p-scratch", "namespace": "ns", "ownerReferences": [owner], "labels": {"l": "1"},
            "annotations": {"a": "2"},
        });
        let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "gold"});
        let kind = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec});
        check(None, Ok(Some(kind)));
    }

    #[test]
    fn a_claim_that_is_there_must_be_the_pods() {
        let owner =
            |uid: &str| json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true}]);
        let found = |uid: &str| Some(json!({"name": "p-scratch", "namespace": "ns", "ownerReferences": owner(uid)}));
        check(found("u"), Ok(None));
        let refused = Err("PVC ns/p-scratch was not created for pod ns/p (pod is not owner)");
        check(found("other"), refused.clone());
        check(Some(json!({"name": "p-scratch", "namespace": "ns"})), refused);
    }
}
