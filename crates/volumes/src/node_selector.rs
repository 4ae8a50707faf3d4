//! Node selectors of the typed API, read once and asked of many nodes, and the nodes that reach a volume.
//!
//! Upstream: `component-helpers/scheduling/corev1/nodeaffinity`. A term that can't be read admits no node.

use k8s_openapi::api::core::v1::{self, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume};
use machinery::{
    field::Path,
    selector::{Labels, Operator, Requirement},
};

/// Terms of which one must hold; without any it admits no node.
#[derive(Clone, Debug, Default)]
pub struct NodeSelector(Vec<Term>);

#[derive(Clone, Debug)]
struct Term {
    labels: Vec<Requirement>,
    /// Field, equal or not, value.
    fields: Vec<(String, bool, String)>,
}

impl NodeSelector {
    /// The selector, ready to be asked.
    pub fn new(selector: &v1::NodeSelector) -> Self {
        Self(selector.node_selector_terms.iter().filter_map(Term::new).collect())
    }

    /// Whether it admits a node with these labels and this name. Without a name (empty) only labels are asked.
    pub fn admits(&self, labels: &(impl Labels + ?Sized), name: &str) -> bool {
        self.0.iter().any(|term| term.admits(labels, name))
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

    fn admits(&self, labels: &(impl Labels + ?Sized), name: &str) -> bool {
        let value = |field: &str| if field == "metadata.name" { name } else { "" };
        self.labels.iter().all(|r| r.matches(labels))
            && (name.is_empty() || self.fields.iter().all(|(field, equal, wanted)| (value(field) == wanted) == *equal))
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

/// The nodes that reach a volume: all, or those that its node affinity requires.
#[derive(Clone, Debug, Default)]
pub struct Reach(Option<NodeSelector>);

impl Reach {
    /// Of this volume.
    pub fn of(volume: &PersistentVolume) -> Self {
        let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
        Self(affinity.and_then(|affinity| affinity.required.as_ref()).map(NodeSelector::new))
    }

    /// Whether a node with these labels reaches the volume. As upstream, no fields of the node are asked.
    pub fn includes(&self, labels: &(impl Labels + ?Sized)) -> bool {
        self.0.as_ref().is_none_or(|selector| selector.admits(labels, ""))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_volume_is_reached_from_the_nodes_with_its_labels() {
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        let check = |affinity: Value, want| {
            let volume = json!({"metadata": {"name": "v"}, "spec": {"nodeAffinity": affinity}});
            assert_eq!(Reach::of(&serde_json::from_value(volume).unwrap()).includes(&labels), want, "{affinity}");
        };
        let zone = |zone: &str| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
        let terms = |terms: Value| json!({"required": {"nodeSelectorTerms": terms}});
        check(Value::Null, true);
        check(json!({}), true);
        check(terms(json!([])), false);
        check(terms(json!([{}])), false);
        check(terms(json!([zone("a")])), true);
        check(terms(json!([zone("b")])), false);
        check(terms(json!([zone("b"), zone("a")])), true);
        let name = |op: &str| json!({"matchFields": [{"key": "metadata.name", "operator": op, "values": ["n"]}]});
        check(terms(json!([name("In")])), true);
        check(terms(json!([name("Exists")])), false);
    }
}
