//! Nodes of a cloud: one whose machine is gone goes, too; one whose machine was shut down is tainted.
//!
//! Upstream: `k8s.io/cloud-provider/controllers/nodelifecycle`. Only nodes that are not ready are asked for.

use client::Informer;
use controller::object_reference;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{cloud::Instances, context::Context, util::key};

const SHUT_DOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";

/// What to do about a node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Nothing,
    /// It is ready: its machine runs.
    Untaint,
    /// The cloud is to be asked.
    Ask,
}

fn turn(node: &Node) -> Turn {
    let mut conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
    match (ready, taints(node).iter().any(is_shut_down)) {
        (true, true) => Turn::Untaint,
        (true, false) => Turn::Nothing,
        (false, _) => Turn::Ask,
    }
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

fn is_shut_down(taint: &Taint) -> bool {
    taint.key == SHUT_DOWN && taint.effect == "NoSchedule"
}

/// Runs the controller, if the cloud has machines.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let Some(instances) = context.config.cloud.as_ref().and_then(|cloud| cloud.instances()) else { return Ok(()) };
    let nodes: Informer<Node> = context.informers.of();
    nodes.synced().await;
    let api: Api<Node> = Api::all(context.client.clone());
    let look = async {
        loop {
            for node in nodes.list() {
                if let Err(error) = look(&context, &api, &*instances, &node).await {
                    let name = key::name(&node.metadata);
                    tracing::warn!(node = name, error = format!("{error:#}"), "the cloud's machine of a node");
                }
            }
            tokio::time::sleep(context.config.node_monitor_period).await;
        }
    };
    context.cancel.run_until_cancelled(look).await;
    Ok(())
}

async fn look(context: &Context, api: &Api<Node>, instances: &dyn Instances, node: &Node) -> anyhow::Result<()> {
    let name = key::name(&node.metadata);
    let left = || taints(node).iter().filter(|taint| !is_shut_down(taint)).cloned();
    match turn(node) {
        Turn::Nothing => Ok(()),
        Turn::Untaint => taint(api, node, left().collect()).await,
        Turn::Ask if !instances.exists(node).await? => {
            let say = |kind, reason, message: String| {
                context.recorder.event(&object_reference(node), kind, reason, message);
            };
            let why = format!("Deleting node {name} because it does not exist in the cloud provider");
            say("Normal", "DeletingNode", why);
            if let Err(error) = api.delete(name, &DeleteParams::default()).await {
                let why = format!("Failed deleting node {name}: {}", client::message(&error));
                say("Warning", "DeletingNodeFailed", why);
                return Err(error.into());
            }
            Ok(())
        }
        Turn::Ask if taints(node).iter().any(is_shut_down) || !instances.is_shut_down(node).await? => Ok(()),
        Turn::Ask => {
            let new = Taint { key: SHUT_DOWN.into(), effect: "NoSchedule".into(), ..Taint::default() };
            taint(api, node, left().chain([new]).collect()).await
        }
    }
}

/// Gives a node these taints, unless it has changed.
async fn taint(api: &Api<Node>, node: &Node, taints: Vec<Taint>) -> anyhow::Result<()> {
    let version = &node.metadata.resource_version;
    let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}}));
    api.patch(key::name(&node.metadata), &PatchParams::default(), &patch).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_that_are_not_ready_are_asked_for() {
        let check = |ready: Option<&str>, shut_down: bool, want: Turn| {
            let conditions: Vec<_> = ready.iter().map(|status| json!({"type": "Ready", "status": status})).collect();
            let taints = if shut_down { json!([{"key": SHUT_DOWN, "effect": "NoSchedule"}]) } else { json!([]) };
            let node = json!({"metadata": {}, "spec": {"taints": taints}, "status": {"conditions": conditions}});
            assert_eq!(turn(&serde_json::from_value(node).unwrap()), want, "{ready:?} {shut_down}");
        };
        check(Some("True"), false, Turn::Nothing);
        check(Some("True"), true, Turn::Untaint);
        check(Some("False"), false, Turn::Ask);
        check(Some("Unknown"), true, Turn::Ask);
        check(None, false, Turn::Ask);
    }
}
