//! A quota's scopes: which pods, and which claims, it is for. Other objects are in no scope. Follows
//! `pkg/quota/v1/evaluator/core`.

use kinds::core::pod::qos;
use machinery::json::Fields;
use serde_json::Value;

use super::Counted;

/// Whether a quota is for an object: all of its scopes must be.
pub fn fit(quota: &Value, counted: Counted, obj: &Value) -> bool {
    let spec = &quota["spec"];
    let expressions = spec.sub("scopeSelector").list("matchExpressions");
    spec.texts("scopes").all(|scope| in_scope(counted, scope, "Exists", &[], obj))
        && expressions.iter().all(|expression| {
            let values: Vec<&str> = expression.texts("values").collect();
            in_scope(counted, expression.text("scopeName"), expression.text("operator"), &values, obj)
        })
}

/// Whether a pod ends by itself.
pub fn terminating(pod: &Value) -> bool {
    pod["spec"].int("activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0)
}

fn in_scope(counted: Counted, scope: &str, operator: &str, values: &[&str], obj: &Value) -> bool {
    match (counted, scope) {
        (Counted::Pods, "Terminating") => terminating(obj),
        (Counted::Pods, "NotTerminating") => !terminating(obj),
        (Counted::Pods, "BestEffort") => qos::class(obj) == "BestEffort",
        (Counted::Pods, "NotBestEffort") => qos::class(obj) != "BestEffort",
        (Counted::Pods, "PriorityClass") => {
            let class = obj["spec"].text("priorityClassName");
            one_of((!class.is_empty()).then_some(class), operator, values)
        }
        (Counted::Pods, "CrossNamespacePodAffinity") => crosses_namespaces(obj),
        (Counted::Claims, "VolumeAttributesClass") => {
            let (spec, status) = (&obj["spec"], &obj["status"]);
            let modified = status.sub("modifyVolumeStatus");
            let names = [
                spec.text("volumeAttributesClassName"),
                status.text("currentVolumeAttributesClassName"),
                modified.text("targetVolumeAttributesClassName"),
            ];
            let mut names = names.into_iter().filter(|name| !name.is_empty()).peekable();
            if names.peek().is_none() {
                return one_of(None, operator, values);
            }
            names.any(|name| one_of(Some(name), operator, values))
        }
        _ => false,
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
