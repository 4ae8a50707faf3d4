//! Label selectors of the typed API, ready to match.

use std::{collections::BTreeMap, sync::Arc};

use client::Informer;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::Resource;

pub(crate) type Labels = BTreeMap<String, String>;

/// A selector that was checked: its operators are known and have the values that they need.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Selector {
    labels: Labels,
    expressions: Vec<LabelSelectorRequirement>,
}

/// The label of a requirement that one value alone fulfils.
fn only_value(requirement: &LabelSelectorRequirement) -> Option<(&str, &str)> {
    match requirement.values.as_deref() {
        Some([only]) if requirement.operator == "In" => Some((&requirement.key, only)),
        _ => None,
    }
}

impl Selector {
    /// Nothing if an expression is invalid: such an object's controller does nothing, as upstream's.
    pub(crate) fn new(selector: &LabelSelector) -> Option<Self> {
        let expressions = selector.match_expressions.clone().unwrap_or_default();
        let valid = expressions.iter().all(|e| {
            let values = e.values.as_ref().is_some_and(|v| !v.is_empty());
            matches!((e.operator.as_str(), values), ("In" | "NotIn", true) | ("Exists" | "DoesNotExist", false))
        });
        valid.then(|| Self { labels: selector.match_labels.clone().unwrap_or_default(), expressions })
    }

    pub(crate) fn of_labels(labels: Labels) -> Self {
        Self { labels, expressions: Vec::new() }
    }

    /// Selects everything; for most controllers a mistake of the user's.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.expressions.is_empty()
    }

    /// A label that everything selected has, if there is one.
    pub(crate) fn label(&self) -> Option<(&str, &str)> {
        let labels = self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).next();
        let only = || self.expressions.iter().find_map(only_value);
        labels.or_else(only)
    }

    /// The objects of a namespace that are selected.
    pub(crate) fn select<K: Resource>(&self, informer: &Informer<K>, namespace: &str) -> Vec<Arc<K>> {
        informer.selected(namespace, self.label(), |object| self.matches(object.meta().labels.as_ref()))
    }

    pub(crate) fn matches(&self, labels: Option<&Labels>) -> bool {
        let get = |key: &String| labels.and_then(|l| l.get(key));
        self.labels.iter().all(|(k, v)| get(k) == Some(v))
            && self.expressions.iter().all(|e| {
                let has = |v: &String| e.values.iter().flatten().any(|x| x == v);
                match e.operator.as_str() {
                    "In" => get(&e.key).is_some_and(has),
                    "NotIn" => !get(&e.key).is_some_and(has),
                    "Exists" => get(&e.key).is_some(),
                    _ => get(&e.key).is_none(),
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn matches_as_upstream() {
        let labels = Labels::from([("app".into(), "web".into()), ("tier".into(), "front".into())]);
        for (selector, want) in [
            (json!({}), Some(true)),
            (json!({"matchLabels": {"app": "web"}}), Some(true)),
            (json!({"matchLabels": {"app": "db"}}), Some(false)),
            (json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}), Some(true)),
            (json!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["x"]}]}), Some(true)),
            (json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}), Some(false)),
            (json!({"matchExpressions": [{"key": "app", "operator": "In"}]}), None),
            (json!({"matchExpressions": [{"key": "app", "operator": "Near"}]}), None),
        ] {
            let parsed = Selector::new(&serde_json::from_value(selector.clone()).unwrap());
            assert_eq!(parsed.map(|s| s.matches(Some(&labels))), want, "{selector}");
        }
    }
}
