//! autoscaling/v1 and v2.

use serde_json::{Map, Value, json};

use super::{Row, inner, inner_if, or, or_zero};

pub(super) const RULES: &[Row] = &[
    ("autoscaling.v1", "HorizontalPodAutoscaler", autoscaler_of_cpu),
    ("autoscaling.v2", "HorizontalPodAutoscaler", autoscaler),
];

/// What an autoscaler without metrics looks at.
pub(crate) fn default_metrics() -> Value {
    json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}])
}

/// What other metrics there are is in an annotation.
fn autoscaler_of_cpu(autoscaler: &mut Map<String, Value>) {
    let annotations = autoscaler.get("metadata").and_then(|meta| meta.get("annotations"));
    let others = annotations.is_some_and(|all| all.get("autoscaling.alpha.kubernetes.io/metrics").is_some());
    let spec = inner(autoscaler, "spec");
    or(spec, "minReplicas", 1);
    if !others {
        or(spec, "targetCPUUtilizationPercentage", 80);
    }
}

fn autoscaler(autoscaler: &mut Map<String, Value>) {
    let spec = inner(autoscaler, "spec");
    or(spec, "minReplicas", 1);
    or_zero(spec, "metrics", default_metrics());
    if let Some(behavior) = inner_if(spec, "behavior") {
        let up = inner(behavior, "scaleUp");
        or(up, "stabilizationWindowSeconds", 0);
        or(up, "selectPolicy", "Max");
        or(
            up,
            "policies",
            json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]),
        );
        let down = inner(behavior, "scaleDown");
        or(down, "selectPolicy", "Max");
        or(down, "policies", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
    }
}
