//! The decision: how long a pod may stay on a node.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use crate::util::taints::tolerates;

#[derive(Debug, PartialEq)]
pub(crate) enum Stay {
    ForEver,
    /// From when the taints were first seen; nothing: at once.
    For(Duration),
}

pub(crate) fn no_execute(node: &Node) -> Vec<&Taint> {
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_ref()).into_iter().flatten();
    taints.filter(|t| t.effect == "NoExecute").collect()
}

/// As long as the shortest of the tolerations that are needed; not at all if one taint is not tolerated.
pub(crate) fn stay(pod: &Pod, node: &Node) -> Stay {
    let taints = no_execute(node);
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    let mut shortest: Option<i64> = None;
    for taint in taints {
        let Some(t) = tolerations.iter().find(|t| tolerates(t, taint)) else { return Stay::For(Duration::ZERO) };
        if let Some(seconds) = t.toleration_seconds {
            shortest = Some(shortest.map_or(seconds, |s| s.min(seconds)));
        }
    }
    shortest.map_or(Stay::ForEver, |s| Stay::For(Duration::from_secs(s.max(0) as u64)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates() {
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
        let seconds = |key: &str, s: i64| json!({"key": key, "operator": "Exists", "tolerationSeconds": s});
        let for_ever = json!({"operator": "Exists"});
        let cases: [(Value, Value, Stay); 7] = [
            (json!([]), json!([]), Stay::ForEver),
            (json!([taint("a", "NoSchedule")]), json!([]), Stay::ForEver),
            (json!([taint("a", "NoExecute")]), json!([]), Stay::For(Duration::ZERO)),
            (json!([taint("a", "NoExecute")]), json!([for_ever]), Stay::ForEver),
            (json!([taint("a", "NoExecute")]), json!([seconds("a", 300)]), Stay::For(Duration::from_secs(300))),
            (
                json!([taint("a", "NoExecute"), taint("b", "NoExecute")]),
                json!([seconds("a", 300), seconds("b", 60)]),
                Stay::For(Duration::from_secs(60)),
            ),
            (
                json!([taint("a", "NoExecute"), taint("b", "NoExecute")]),
                json!([seconds("a", 300)]),
                Stay::For(Duration::ZERO),
            ),
        ];
        for (taints, tolerations, want) in cases {
            let node = serde_json::from_value(json!({"spec": {"taints": taints}})).unwrap();
            let pod = serde_json::from_value(json!({"spec": {"containers": [], "tolerations": tolerations}})).unwrap();
            assert_eq!(stay(&pod, &node), want, "{taints} {tolerations}");
        }
    }
}
