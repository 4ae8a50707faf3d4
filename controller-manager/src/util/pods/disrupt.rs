//! Writing on a pod's status that it is being taken away: the DisruptionTarget condition, and the end of its phase.

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::util::key;

const TYPE: &str = "DisruptionTarget";

/// Says that the pod is not taken away after all. Whoever changed it meanwhile may know better: then it is a conflict.
pub(crate) async fn clear(api: &Api<Pod>, pod: &Pod) -> kube::Result<()> {
    let condition = json!({
        "type": TYPE, "status": "False", "reason": null, "message": null,
        "lastTransitionTime": now(), "observedGeneration": pod.metadata.generation,
    });
    let meta = json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version});
    let patch = json!({"metadata": meta, "status": {"conditions": [condition]}});
    match api.patch_status(key::name(&pod.metadata), &PatchParams::default(), &Patch::Strategic(patch)).await {
        Err(e) if !client::is_not_found(&e) => Err(e),
        _ => Ok(()),
    }
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Patches the status; a pod that is gone meanwhile is no error.
pub(crate) async fn mark(
    api: &Api<Pod>,
    pod: &Pod,
    target: Option<(&str, &str)>,
    phase: Option<&str>,
) -> anyhow::Result<()> {
    let mut status = json!({});
    if let Some(phase) = phase {
        status["phase"] = json!(phase);
    }
    if let Some((reason, message)) = target {
        status["conditions"] = json!([{
            "type": TYPE, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": now(), "observedGeneration": pod.metadata.generation,
        }]);
    }
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    match api.patch_status(key::name(&pod.metadata), &PatchParams::default(), &Patch::Strategic(patch)).await {
        Err(e) if !client::is_not_found(&e) => Err(e.into()),
        _ => Ok(()),
    }
}
