//! Which pods a node that leaves has to be rid of; as `kubectl drain` (`pkg/drain/filters.go`).

use k8s_openapi::api::core::v1::Pod;

/// What becomes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes with the node: a DaemonSet's, the node's own, or one that has ended.
    Stays,
    /// It is made again elsewhere.
    Moves,
    /// Nobody makes it again.
    Lost,
}

/// See [`Fate`].
pub fn fate(pod: &Pod) -> Fate {
    let annotations = pod.metadata.annotations.as_ref();
    let is_mirror = annotations.is_some_and(|all| all.contains_key("kubernetes.io/config.mirror"));
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    match owner {
        _ if is_mirror || matches!(phase, Some("Succeeded" | "Failed")) => Fate::Stays,
        Some(owner) if owner.kind == "DaemonSet" => Fate::Stays,
        Some(_) => Fate::Moves,
        None => Fate::Lost,
    }
}

/// With its namespace.
pub fn name(pod: &Pod) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", text(&pod.metadata.namespace), text(&pod.metadata.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_move_stay_or_are_lost() {
        let of = |owner: Option<&str>, phase: &str, mirror: bool| {
            let owner = owner
                .map(|kind| json!([{ "kind": kind, "name": "o", "uid": "u", "apiVersion": "v1", "controller": true }]));
            let annotations = mirror.then(|| json!({ "kubernetes.io/config.mirror": "x" }));
            let pod = json!({
                "metadata": { "name": "p", "namespace": "n", "ownerReferences": owner, "annotations": annotations },
                "status": { "phase": phase },
            });
            fate(&serde_json::from_value(pod).unwrap())
        };
        assert_eq!(of(Some("ReplicaSet"), "Running", false), Fate::Moves);
        assert_eq!(of(Some("DaemonSet"), "Running", false), Fate::Stays);
        assert_eq!(of(Some("Job"), "Succeeded", false), Fate::Stays);
        assert_eq!(of(None, "Failed", false), Fate::Stays);
        assert_eq!(of(None, "Running", false), Fate::Lost);
        assert_eq!(of(None, "Running", true), Fate::Stays);
    }
}
