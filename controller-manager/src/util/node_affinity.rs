//! Which nodes a pod's specification admits: its nodeSelector and its required node affinity.
//!
//! Upstream: `component-helpers/scheduling/corev1/nodeaffinity`. A term that can't be read admits no node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, PodSpec};
use volumes::NodeSelector;

use super::key;

/// A pod's demands on its node, read once and asked of many nodes.
#[derive(Default)]
pub(crate) struct Required {
    labels: BTreeMap<String, String>,
    affinity: Option<NodeSelector>,
}

impl Required {
    pub(crate) fn of(spec: &PodSpec) -> Self {
        let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
        let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        let labels = spec.node_selector.clone().unwrap_or_default();
        Self { labels, affinity: required.map(NodeSelector::new) }
    }

    pub(crate) fn admits(&self, node: &Node) -> bool {
        let labels = node.metadata.labels.as_ref();
        let selected = self.labels.iter().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v));
        let name = key::name(&node.metadata);
        selected && self.affinity.as_ref().is_none_or(|affinity| affinity.admits(&labels, name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_node_is_admitted_by_its_labels_and_its_name() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}},
        }))
        .unwrap();
        let labels = |e: Value| json!({"matchExpressions": [e]});
        let fields = |e: Value| json!({"matchFields": [e]});
        let name = |op: &str, names: Value| fields(json!({"key": "metadata.name", "operator": op, "values": names}));
        for (selector, terms, want) in [
            (json!({}), Value::Null, true),
            (json!({"zone": "a"}), Value::Null, true),
            (json!({"zone": "b"}), Value::Null, false),
            (json!({"zone": "b"}), json!([name("In", json!(["n1"]))]), false),
            (json!({}), json!([]), false),
            (json!({}), json!([{}]), false),
            (json!({}), json!([name("In", json!(["n1"]))]), true),
            (json!({}), json!([name("In", json!(["n2"]))]), false),
            (json!({}), json!([name("NotIn", json!(["n2"]))]), true),
            (json!({}), json!([name("In", json!(["n1", "n2"]))]), false),
            (json!({}), json!([name("Exists", json!([]))]), false),
            (json!({}), json!([fields(json!({"key": "x", "operator": "NotIn", "values": ["y"]}))]), true),
            (json!({}), json!([labels(json!({"key": "zone", "operator": "In", "values": ["a", "b"]}))]), true),
            (json!({}), json!([labels(json!({"key": "zone", "operator": "NotIn", "values": ["a"]}))]), false),
            (json!({}), json!([labels(json!({"key": "zone", "operator": "DoesNotExist"}))]), false),
            (json!({}), json!([labels(json!({"key": "cores", "operator": "Gt", "values": ["7"]}))]), true),
            (json!({}), json!([labels(json!({"key": "cores", "operator": "Lt", "values": ["8"]}))]), false),
            (json!({}), json!([labels(json!({"key": "cores", "operator": "Gt", "values": ["many"]}))]), false),
            (json!({}), json!([labels(json!({"key": "zone", "operator": "Near"}))]), false),
            // The terms are alternatives, and one that can't be read is none.
            (json!({}), json!([labels(json!({"key": "zone", "operator": "Near"})), name("In", json!(["n1"]))]), true),
        ] {
            let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
            let affinity = if terms.is_null() { json!({}) } else { json!({"nodeAffinity": required}) };
            let spec = json!({"containers": [], "nodeSelector": selector, "affinity": affinity});
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(Required::of(&spec).admits(&node), want, "{selector} {terms}");
        }
    }
}
