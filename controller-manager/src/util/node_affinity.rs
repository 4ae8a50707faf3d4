//! Which nodes a pod's specification admits: its nodeSelector and its required node affinity.
//!
//! Upstream: `component-helpers/scheduling/corev1/nodeaffinity`. A term that can't be read admits no node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use machinery::{
    field::Path,
    selector::{Labels, Operator, Requirement},
};

use super::key;

/// A pod's demands on its node, read once and asked of many nodes.
#[derive(Default)]
pub(crate) struct Required {
    labels: BTreeMap<String, String>,
    /// One of them must hold; nothing: there is no affinity.
    terms: Option<Vec<Term>>,
}

struct NodeLabels<'a>(Option<&'a BTreeMap<String, String>>);

impl Labels for NodeLabels<'_> {
    fn value_of(&self, name: &str) -> Option<&str> {
        self.0?.get(name).map(String::as_str)
    }
}

struct Term {
    labels: Vec<Requirement>,
    /// Field, equal or not, value.
    fields: Vec<(String, bool, String)>,
}

impl Required {
    pub(crate) fn of(spec: &PodSpec) -> Self {
        let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
        let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        let terms =
            required.map(|r: &NodeSelector| r.node_selector_terms.iter().filter_map(Term::new).collect::<Vec<_>>());
        Self { labels: spec.node_selector.clone().unwrap_or_default(), terms }
    }

    pub(crate) fn admits(&self, node: &Node) -> bool {
        let labels = node.metadata.labels.as_ref();
        let selected = self.labels.iter().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v));
        let Some(terms) = self.terms.as_ref().filter(|_| selected) else { return selected };
        let labels = NodeLabels(labels);
        let name = key::name(&node.metadata);
        terms.iter().any(|term| term.matches(&labels, name))
    }
}

impl Term {
    /// Nothing if it is empty or can't be read.
    fn new(term: &NodeSelectorTerm) -> Option<Self> {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        if expressions.is_empty() && fields.is_empty() {
            return None;
        }
        Some(Self {
            labels: expressions.iter().map(requirement).collect::<Option<_>>()?,
            fields: fields.iter().map(field).collect::<Option<_>>()?,
        })
    }

    fn matches(&self, labels: &NodeLabels<'_>, name: &str) -> bool {
        let value = |field: &str| if field == "metadata.name" { name } else { "" };
        self.labels.iter().all(|r| r.matches(labels))
            && self.fields.iter().all(|(field, equal, wanted)| (value(field) == wanted) == *equal)
    }
}

fn requirement(expression: &NodeSelectorRequirement) -> Option<Requirement> {
    let operator = match expression.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    Requirement::new(&expression.key, operator, expression.values.clone().unwrap_or_default(), &Path::nil()).ok()
}

fn field(expression: &NodeSelectorRequirement) -> Option<(String, bool, String)> {
    let equal = match expression.operator.as_str() {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    match expression.values.as_deref().unwrap_or_default() {
        [only] => Some((expression.key.clone(), equal, only.clone())),
        _ => None,
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
