//! The claims that are made for pods with generic ephemeral volumes.
//!
//! Upstream: `component-helpers/storage/ephemeral`.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

/// The name of the claim of a pod's ephemeral volume.
pub fn claim_name(pod: &Pod, volume: &str) -> String {
    format!("{}-{volume}", pod.metadata.name.as_deref().unwrap_or_default())
}

/// Whether a claim of that name was made for the pod.
///
/// # Errors
/// It was not: what upstream says then.
pub fn made_for(pod: &Pod, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let (claim, pod) = (&claim.metadata, &pod.metadata);
    let owner = claim.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    if claim.namespace == pod.namespace && owner.is_some_and(|owner| Some(&owner.uid) == pod.uid.as_ref()) {
        return Ok(());
    }
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let [claim, pod] = [claim, pod].map(|meta| format!("{}/{}", text(&meta.namespace), text(&meta.name)));
    Err(format!("PVC {claim} was not created for pod {pod} (pod is not owner)"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_claim_is_the_pods_that_controls_it() {
        let meta = json!({"name": "p", "namespace": "ns", "uid": "u"});
        let pod: Pod = serde_json::from_value(json!({"metadata": meta})).unwrap();
        let check = |namespace: &str, owner: Value, want: Result<(), &str>| {
            let meta = json!({"name": "p-v", "namespace": namespace, "ownerReferences": [owner]});
            let claim = serde_json::from_value(json!({"metadata": meta})).unwrap();
            assert_eq!(made_for(&pod, &claim), want.map_err(str::to_owned));
        };
        let owner = |uid: &str, controls: bool| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": controls});
        let refused = Err("PVC ns/p-v was not created for pod ns/p (pod is not owner)");
        assert_eq!(claim_name(&pod, "v"), "p-v");
        check("ns", owner("u", true), Ok(()));
        check("ns", owner("u", false), refused);
        check("ns", owner("other", true), refused);
        check("other", owner("u", true), Err("PVC other/p-v was not created for pod ns/p (pod is not owner)"));
    }
}
