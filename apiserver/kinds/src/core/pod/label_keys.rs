//! `matchLabelKeys` and `mismatchLabelKeys` of pod affinity, and `matchLabelKeys` of topology spread: when a pod is created, the
//! values of its own labels become requirements of the label selector beside them. Follows `pkg/registry/core/pod/strategy.go`.

use machinery::json::Fields;
use serde_json::{Value, json};

/// Adds the requirements to every selector of a pod that is created.
pub(super) fn merge(pod: &mut Value) {
    let labels = pod["metadata"].sub("labels").cloned().unwrap_or_default();
    let Some(spec) = pod.get_mut("spec") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        for term in items(spec, &["affinity", kind, "preferredDuringSchedulingIgnoredDuringExecution"]) {
            if let Some(term) = term.get_mut("podAffinityTerm") {
                of_selector(term, &labels);
            }
        }
        for term in items(spec, &["affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution"]) {
            of_selector(term, &labels);
        }
    }
    for constraint in items(spec, &["topologySpreadConstraints"]) {
        of_selector(constraint, &labels);
    }
}

fn items<'a>(spec: &'a mut Value, path: &[&str]) -> &'a mut [Value] {
    let found = path.iter().try_fold(spec, |value, field| value.get_mut(*field));
    found.and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
}

/// Keys that the pod has no label for are left out; a term without a selector matches nothing, and stays so.
fn of_selector(term: &mut Value, labels: &Value) {
    let mut requirements = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term.texts(field) {
            if let Some(value) = labels.get(key) {
                requirements.push(json!({ "key": key, "operator": operator, "values": [value] }));
            }
        }
    }
    let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_object_mut) else { return };
    if requirements.is_empty() {
        return;
    }
    match selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
        Some(expressions) => expressions.extend(requirements),
        None => {
            selector.insert("matchExpressions".to_owned(), requirements.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_requirements_with_the_pods_own_values() {
        let term = json!({
            "topologyKey": "zone", "matchLabelKeys": ["hash", "absent"], "mismatchLabelKeys": ["tenant"],
            "labelSelector": { "matchLabels": { "app": "a" }, "matchExpressions": [{ "key": "x", "operator": "Exists" }] },
        });
        let constraint = json!({ "topologyKey": "zone", "matchLabelKeys": ["hash"], "labelSelector": {} });
        let bare = json!({ "topologyKey": "zone", "matchLabelKeys": ["hash"] });
        let both = json!({
            "requiredDuringSchedulingIgnoredDuringExecution": [term, bare],
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1, "podAffinityTerm": term }],
        });
        let mut pod = json!({
            "metadata": { "labels": { "hash": "1", "tenant": "t" } },
            "spec": {
                "affinity": { "podAffinity": both, "podAntiAffinity": both },
                "topologySpreadConstraints": [constraint, bare],
            },
        });
        merge(&mut pod);
        let merged = json!([
            { "key": "x", "operator": "Exists" },
            { "key": "hash", "operator": "In", "values": ["1"] },
            { "key": "tenant", "operator": "NotIn", "values": ["t"] },
        ]);
        for kind in ["podAffinity", "podAntiAffinity"] {
            let affinity = &pod["spec"]["affinity"][kind];
            let required = &affinity["requiredDuringSchedulingIgnoredDuringExecution"];
            assert_eq!(required[0]["labelSelector"]["matchExpressions"], merged, "{kind}");
            assert_eq!(required[0]["matchLabelKeys"], json!(["hash", "absent"]), "{kind}");
            assert_eq!(required[1], bare, "{kind}");
            let preferred = &affinity["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
            assert_eq!(preferred["labelSelector"]["matchExpressions"], merged, "{kind}");
        }
        let spread = &pod["spec"]["topologySpreadConstraints"];
        assert_eq!(spread[0]["labelSelector"], json!({ "matchExpressions": [merged[1]] }));
        assert_eq!(spread[1], bare);
    }
}
