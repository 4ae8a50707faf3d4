//! What a new cluster of `ferry up` has beyond the API server's own bootstrap: the rights of Ferry's own parts, and a class of
//! volumes with its provisioner. It is asked for as the administrator who brings the cluster up, by server-side apply, so
//! that each start brings it to what this version needs. The files are in `deploy/`, for other clusters too.

use anyhow::{Context, bail};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use machinery::yaml;
use serde_json::Value;

/// The DNS's user.
pub const DNS: &str = "ferry:dns";
/// The user of the agent for policies.
pub const POLICIES: &str = "ferry:policies";
/// The balancer's user.
pub const BALANCER: &str = "ferry:balancer";
/// The user of the schedule of snapshots.
pub const SNAPSHOTS: &str = "ferry:snapshots";
/// The controller that provisions volumes on nodes.
pub const PROVISIONER: &str = "local-volume-provisioner-controller";

/// Those with which machines join.
pub const JOINING: [&str; 4] = [
    "node-joining-controller",
    "kubelet-serving-approving-controller",
    "bootstrap-signer-controller",
    "token-cleaner-controller",
];

const FILES: [(&str, &str); 7] = [
    ("the DNS's rights", include_str!("../../../deploy/dns.yaml")),
    ("the class of local volumes", include_str!("../../../deploy/local-volumes.yaml")),
    ("the rights with which machines join", include_str!("../../../deploy/joining.yaml")),
    ("the rights to approve kubelets' certificates", include_str!("../../../deploy/kubelet-serving-approver.yaml")),
    ("the rights of the agents for policies", include_str!("../../../deploy/policies.yaml")),
    ("the balancer's rights", include_str!("../../../deploy/balancer.yaml")),
    ("the rights of the schedule of snapshots", include_str!("../../../deploy/snapshots.yaml")),
];

/// Applies them.
pub async fn apply(administrator: kube::Client) -> anyhow::Result<()> {
    for (what, text) in FILES {
        for document in yaml::documents(text) {
            let object = yaml::to_json(document.as_bytes()).map_err(anyhow::Error::msg)?;
            apply_one(&administrator, &object).await.with_context(|| format!("making {what}"))?;
        }
    }
    Ok(())
}

async fn apply_one(administrator: &kube::Client, object: &Value) -> anyhow::Result<()> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name, namespace) = (text("/kind"), text("/metadata/name"), text("/metadata/namespace"));
    let plural = match kind {
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "Role" => "roles",
        "RoleBinding" => "rolebindings",
        "StorageClass" => "storageclasses",
        other => bail!("{other:?} is not expected here"),
    };
    let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let api: Api<DynamicObject> = match namespace {
        "" => Api::all_with(administrator.clone(), &resource),
        namespace => Api::namespaced_with(administrator.clone(), namespace, &resource),
    };
    // Whoever has changed a class, to have another default, has it so.
    if kind == "StorageClass" {
        let class = serde_json::from_value(object.clone())?;
        return match api.create(&PostParams::default(), &class).await {
            Err(error) if !client::is_already_exists(&error) => Err(error.into()),
            _ => Ok(()),
        };
    }
    api.patch(name, &PatchParams::apply("ferry-up").force(), &Patch::Apply(object)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_hold_what_can_be_applied() {
        for (what, text) in FILES {
            let documents: Vec<&str> = yaml::documents(text).collect();
            assert!(!documents.is_empty(), "{what}");
            for document in documents {
                let object = yaml::to_json(document.as_bytes()).unwrap();
                assert!(object["metadata"]["name"].is_string(), "{what}: {object}");
            }
        }
    }
}
