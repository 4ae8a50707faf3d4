//! Waiting until a node is Ready, as the API has it: what a service manager takes for the end of the start.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::runtime::wait::await_condition;

/// How long after a fault of the watch it is begun again.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until the node's `Ready` condition is true.
pub async fn until_ready(client: kube::Client, node: &str) {
    let ready = |node: Option<&Node>| {
        let conditions = node.and_then(|n| n.status.as_ref()).and_then(|s| s.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    while let Err(error) = await_condition(kube::Api::all(client.clone()), node, ready).await {
        tracing::debug!(%error, "waiting for the node");
        tokio::time::sleep(PAUSE).await;
    }
}
