//! TaintNodesByCondition: a new node is not ready until its conditions say so, and no pod is placed on it before.

use async_trait::async_trait;
use machinery::json::Fields;
use machinery::status::StatusError;
use serde_json::{Value, json};
use writes::admission::{Plugin, Request};

use super::list;

/// See the module.
pub struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.creates() && request.is_whole("", "nodes")
    }

    async fn admit(&self, _: &Request<'_>, node: &mut Value) -> Result<(), StatusError> {
        const KEY: &str = "node.kubernetes.io/not-ready";
        let tainted = |t: &Value| t.text("key") == KEY && t.text("effect") == "NoSchedule";
        if !node.sub("spec").list("taints").iter().any(tainted) {
            list(&mut node["spec"], "taints").push(json!({"key": KEY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}
