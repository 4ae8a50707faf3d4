//! DefaultTolerationSeconds: a pod stays for five minutes on a node that is not ready or not reachable, unless it says
//! something else.

use async_trait::async_trait;
use machinery::json::Fields;
use machinery::status::StatusError;
use serde_json::{Value, json};
use writes::admission::{Plugin, Request};

use super::list;

/// See the module.
#[derive(Clone)]
pub struct DefaultTolerationSeconds {
    /// `--default-not-ready-toleration-seconds`.
    pub not_ready: i64,
    /// `--default-unreachable-toleration-seconds`.
    pub unreachable: i64,
}

impl Default for DefaultTolerationSeconds {
    fn default() -> Self {
        Self { not_ready: 300, unreachable: 300 }
    }
}

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.writes() && request.is_whole("", "pods")
    }

    async fn admit(&self, _: &Request<'_>, pod: &mut Value) -> Result<(), StatusError> {
        self.tolerate(pod);
        Ok(())
    }
}

impl DefaultTolerationSeconds {
    fn tolerate(&self, pod: &mut Value) {
        for (key, seconds) in
            [("node.kubernetes.io/not-ready", self.not_ready), ("node.kubernetes.io/unreachable", self.unreachable)]
        {
            let says = |t: &Value| {
                matches!(t.text("key"), k if k == key || k.is_empty()) && matches!(t.text("effect"), "NoExecute" | "")
            };
            if !pod.sub("spec").list("tolerations").iter().any(says) {
                let toleration =
                    json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
                list(&mut pod["spec"], "tolerations").push(toleration);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_says_nothing_stays_five_minutes() {
        for (tolerations, expect) in [
            (json!(null), vec!["not-ready 300", "unreachable 300"]),
            (
                json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "tolerationSeconds": 1}]),
                vec!["not-ready 1", "unreachable 300"],
            ),
            (json!([{"operator": "Exists"}]), vec![" "]),
            (
                json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}]),
                vec!["unreachable ", "not-ready 300", "unreachable 300"],
            ),
        ] {
            let mut pod = json!({"spec": {"tolerations": tolerations}});
            DefaultTolerationSeconds::default().tolerate(&mut pod);
            let shown: Vec<String> = pod
                .sub("spec")
                .list("tolerations")
                .iter()
                .map(|t| {
                    format!(
                        "{} {}",
                        t.text("key").rsplit('/').next().unwrap(),
                        t.get("tolerationSeconds").map(Value::to_string).unwrap_or_default()
                    )
                })
                .collect();
            assert_eq!(shown, expect);
        }
    }
}
