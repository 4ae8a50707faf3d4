//! A quota's scopes: which pods, and which claims, it is for. Other objects are in no scope. Follows
//! `pkg/quota/v1/evaluator/core`.

use machinery::json::Fields;
use serde_json::Value;

use crate::{Counted, qos};

/// What scopes ask of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    counted: Counted,
    /// It ends by itself.
    pub terminating: bool,
    best_effort: bool,
    priority_class: String,
    crosses_namespaces: bool,
    /// The classes that a claim has, wants, and is on its way to.
    pub attributes_classes: Vec<String>,
}

impl Facts {
    /// Of an object that is counted so.
    pub fn of(counted: Counted, obj: &Value) -> Self {
        let pod = counted == Counted::Pods;
        Self {
            counted,
            terminating: pod && obj["spec"].int("activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0),
            best_effort: pod && qos::class(obj) == "BestEffort",
            priority_class: if pod { obj["spec"].text("priorityClassName").to_owned() } else { String::new() },
            crosses_namespaces: pod && crosses_namespaces(obj),
            attributes_classes: if counted == Counted::Claims { attributes_classes(obj) } else { Vec::new() },
        }
    }

    /// Whether a quota of this spec is for the object: all of its scopes must be.
    pub fn fit(&self, spec: &Value) -> bool {
        let expressions = spec.sub("scopeSelector").list("matchExpressions");
        spec.texts("scopes").all(|scope| self.in_scope(scope, "Exists", &[]))
            && expressions.iter().all(|expression| {
                let values: Vec<&str> = expression.texts("values").collect();
                self.in_scope(expression.text("scopeName"), expression.text("operator"), &values)
            })
    }

    fn in_scope(&self, scope: &str, operator: &str, values: &[&str]) -> bool {
        match (self.counted, scope) {
            (Counted::Pods, "Terminating") => self.terminating,
            (Counted::Pods, "NotTerminating") => !self.terminating,
            (Counted::Pods, "BestEffort") => self.best_effort,
            (Counted::Pods, "NotBestEffort") => !self.best_effort,
            (Counted::Pods, "PriorityClass") => {
                let class = self.priority_class.as_str();
                one_of((!class.is_empty()).then_some(class), operator, values)
            }
            (Counted::Pods, "CrossNamespacePodAffinity") => self.crosses_namespaces,
            (Counted::Claims, "VolumeAttributesClass") if self.attributes_classes.is_empty() => {
                one_of(None, operator, values)
            }
            (Counted::Claims, "VolumeAttributesClass") => {
                self.attributes_classes.iter().any(|name| one_of(Some(name), operator, values))
            }
            _ => false,
        }
    }
}

fn one_of(value: Option<&str>, operator: &str, values: &[&str]) -> bool {
    let listed = value.is_some_and(|value| values.contains(&value));
    match operator {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

fn attributes_classes(claim: &Value) -> Vec<String> {
    let (spec, status) = (&claim["spec"], &claim["status"]);
    let modified = status.sub("modifyVolumeStatus");
    let names = [
        spec.text("volumeAttributesClassName"),
        status.text("currentVolumeAttributesClassName"),
        modified.text("targetVolumeAttributesClassName"),
    ];
    let mut names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn crosses_namespaces(pod: &Value) -> bool {
    let affinity = pod["spec"].sub("affinity");
    ["podAffinity", "podAntiAffinity"].into_iter().any(|sort| {
        let rules = affinity.sub(sort);
        let required = rules.list("requiredDuringSchedulingIgnoredDuringExecution").iter();
        let preferred = rules.list("preferredDuringSchedulingIgnoredDuringExecution").iter();
        required
            .map(Some)
            .chain(preferred.map(|rule| rule.sub("podAffinityTerm")))
            .any(|term| !term.list("namespaces").is_empty() || term.has("namespaceSelector"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(counted: Counted, obj: &Value, scope: &str, operator: &str, values: &[&str], want: bool) {
        let expression = json!({"scopeName": scope, "operator": operator, "values": values});
        let spec = json!({"scopeSelector": {"matchExpressions": [expression]}});
        assert_eq!(Facts::of(counted, obj).fit(&spec), want, "{obj} {expression}");
        if operator == "Exists" {
            assert_eq!(Facts::of(counted, obj).fit(&json!({"scopes": [scope]})), want, "{obj} {scope}");
        }
    }

    #[test]
    fn pods_are_in_scopes_as_upstream() {
        let pod = |spec: Value| json!({"spec": spec});
        let (plain, ends) = (pod(json!({"containers": []})), pod(json!({"activeDeadlineSeconds": 0})));
        let classed = pod(json!({"priorityClassName": "high"}));
        let asks = pod(json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}]}));
        let table: &[(&Value, &str, &str, &[&str], bool)] = &[
            (&plain, "Terminating", "Exists", &[], false),
            (&ends, "Terminating", "Exists", &[], true),
            (&ends, "NotTerminating", "Exists", &[], false),
            (&plain, "BestEffort", "Exists", &[], true),
            (&asks, "BestEffort", "Exists", &[], false),
            (&asks, "NotBestEffort", "Exists", &[], true),
            (&plain, "PriorityClass", "Exists", &[], false),
            (&plain, "PriorityClass", "DoesNotExist", &[], true),
            (&plain, "PriorityClass", "NotIn", &["high"], true),
            (&classed, "PriorityClass", "Exists", &[], true),
            (&classed, "PriorityClass", "In", &["low", "high"], true),
            (&classed, "PriorityClass", "In", &["low"], false),
            (&classed, "PriorityClass", "NotIn", &["high"], false),
            (&plain, "VolumeAttributesClass", "Exists", &[], false),
            (&plain, "Nonsense", "Exists", &[], false),
        ];
        for (obj, scope, operator, values, want) in table {
            check(Counted::Pods, obj, scope, operator, values, *want);
        }
    }

    #[test]
    fn affinity_over_namespaces_counts_wherever_it_is() {
        let check = |affinity: Value, want: bool| {
            check(
                Counted::Pods,
                &json!({"spec": {"affinity": affinity}}),
                "CrossNamespacePodAffinity",
                "Exists",
                &[],
                want,
            );
        };
        let required = |term: Value| json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
        check(json!({"podAffinity": required(json!({"topologyKey": "k"}))}), false);
        check(json!({"podAffinity": required(json!({"namespaces": ["a"]}))}), true);
        check(json!({"podAntiAffinity": required(json!({"namespaceSelector": {}}))}), true);
        let preferred = json!([{"weight": 1, "podAffinityTerm": {"namespaces": ["a"]}}]);
        check(json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}), true);
    }

    #[test]
    fn claims_are_in_the_scope_of_any_class_that_they_have_to_do_with() {
        let claim = json!({
            "spec": {"volumeAttributesClassName": "gold"},
            "status": {
                "currentVolumeAttributesClassName": "silver",
                "modifyVolumeStatus": {"targetVolumeAttributesClassName": "gold"},
            },
        });
        let check = |operator: &str, values: &[&str], want: bool| {
            check(Counted::Claims, &claim, "VolumeAttributesClass", operator, values, want);
        };
        check("Exists", &[], true);
        check("In", &["silver"], true);
        check("In", &["bronze"], false);
        check("NotIn", &["gold"], true);
        check("NotIn", &["gold", "silver"], false);
        super::tests::check(Counted::Claims, &json!({}), "VolumeAttributesClass", "DoesNotExist", &[], true);
        super::tests::check(Counted::Claims, &json!({}), "Terminating", "Exists", &[], false);
    }
}
