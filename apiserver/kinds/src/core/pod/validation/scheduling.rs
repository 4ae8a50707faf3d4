//! Affinity, tolerations, spreading, gates.

use std::collections::BTreeSet;

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::Faults;
use serde_json::Value;

pub(super) fn affinity(affinity: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    let Some(affinity) = affinity else { return };
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    if let Some(node) = affinity.sub("nodeAffinity") {
        let at = at.child("nodeAffinity");
        if let Some(selector) = node.sub(REQUIRED) {
            node_selector(selector, false, &at.child(REQUIRED), errors);
        }
        for (i, term) in node.list(PREFERRED).iter().enumerate() {
            let at = at.child(PREFERRED).index(i);
            weight(term, &at, errors);
            if let Some(preference) = term.sub("preference") {
                node_selector_term(preference, true, &at.child("preference"), errors);
            }
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.sub(kind) else { continue };
        let at = at.child(kind);
        for (i, term) in pods.list(REQUIRED).iter().enumerate() {
            pod_term(term, &at.child(REQUIRED).index(i), errors);
        }
        for (i, term) in pods.list(PREFERRED).iter().enumerate() {
            let at = at.child(PREFERRED).index(i);
            weight(term, &at, errors);
            pod_term(&term["podAffinityTerm"], &at.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, at: &Path, errors: &mut ErrorList) {
    let weight = term.int("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&at.child("weight"), weight, "must be in the range 1-100");
    }
}

fn pod_term(term: &Value, at: &Path, errors: &mut ErrorList) {
    for field in ["labelSelector", "namespaceSelector"] {
        errors.extend(meta::validate_label_selector(term.sub(field), false, &at.child(field)));
    }
    for name in term.texts("namespaces") {
        errors.each(&at.child("namespace"), name, names::dns1123_label(name));
    }
    match_label_keys(term, at, errors);
    let key = term.text("topologyKey");
    if key.is_empty() {
        errors.required(&at.child("topologyKey"), "can not be empty");
    }
    errors.extend(meta::validate_label_name(key, &at.child("topologyKey")));
}

fn match_label_keys(term: &Value, at: &Path, errors: &mut ErrorList) {
    let selector = term.sub("labelSelector");
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let path = at.child(field);
        if term.list(field).is_empty() {
            continue;
        }
        if selector.is_none() {
            errors.forbidden(&path, "must not be specified when labelSelector is not set");
            continue;
        }
        for (i, key) in term.texts(field).enumerate() {
            errors.extend(meta::validate_label_name(key, &path.index(i)));
        }
    }
    let keys: Vec<&str> = term.texts("matchLabelKeys").collect();
    let mut known: BTreeSet<&str> = selector.entries("matchLabels").map(|(k, _)| k).collect();
    for expression in selector.list("matchExpressions") {
        let key = expression.text("key");
        if let (Some(i), true) = (keys.iter().rposition(|k| *k == key), known.contains(key)) {
            errors.invalid(&at.index(i), key, "exists in both matchLabelKeys and labelSelector");
        }
        known.insert(key);
    }
    let mismatch: BTreeSet<&str> = term.texts("mismatchLabelKeys").collect();
    for (i, key) in keys.iter().enumerate().filter(|(_, k)| mismatch.contains(*k)) {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(&at.child("matchLabelKeys").index(i), *key, detail);
    }
}

/// A `NodeSelector`; `any_value`: its values need not be valid labels.
pub fn node_selector(selector: &Value, any_value: bool, at: &Path, errors: &mut ErrorList) {
    let at = at.child("nodeSelectorTerms");
    let terms = selector.list("nodeSelectorTerms");
    if terms.is_empty() {
        return errors.required(&at, "must have at least one node selector term");
    }
    for (i, term) in terms.iter().enumerate() {
        node_selector_term(term, any_value, &at.index(i), errors);
    }
}

/// Whether a `NodeSelector` has values that are no valid labels: an older server let them pass.
pub fn invalid_values(selector: &Value) -> bool {
    let expressions = selector.list("nodeSelectorTerms").iter().flat_map(|term| term.list("matchExpressions"));
    expressions.flat_map(|e| e.texts("values")).any(|value| !names::label_value(value).is_empty())
}

fn node_selector_term(term: &Value, any_value: bool, at: &Path, errors: &mut ErrorList) {
    for (i, requirement) in term.list("matchExpressions").iter().enumerate() {
        let at = at.child("matchExpressions").index(i);
        let values = requirement.list("values");
        let path = at.child("values");
        match requirement.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&path, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.forbidden(&path, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if values.len() != 1 => {
                errors.required(&path, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        errors.extend(meta::validate_label_name(requirement.text("key"), &at.child("key")));
        if !any_value {
            for (j, value) in requirement.texts("values").enumerate() {
                errors.each(&path.index(j), value, names::label_value(value));
            }
        }
    }
    for (i, requirement) in term.list("matchFields").iter().enumerate() {
        let at = at.child("matchFields").index(i);
        match requirement.text("operator") {
            "In" | "NotIn" => {
                if requirement.list("values").len() != 1 {
                    let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    errors.required(&at.child("values"), detail);
                }
            }
            other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        let key = requirement.text("key");
        if key != "metadata.name" {
            errors.invalid(&at.child("key"), key, "not a valid field selector key");
            continue;
        }
        for (j, value) in requirement.texts("values").enumerate() {
            errors.each(&at.child("values").index(j), value, names::dns1123_subdomain(value));
        }
    }
}

/// The effect of a taint or toleration.
pub fn taint_effect(effect: &str, at: &Path, errors: &mut ErrorList) {
    errors.one_of(at, effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
}

/// Tolerations.
pub fn tolerations(tolerations: &[Value], at: &Path, errors: &mut ErrorList) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let at = at.index(i);
        let (key, operator) = (toleration.text("key"), toleration.text("operator"));
        let (value, effect) = (toleration.text("value"), toleration.text("effect"));
        if !key.is_empty() {
            errors.extend(meta::validate_label_name(key, &at.child("key")));
        }
        let path = at.child("operator");
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&path, operator, detail);
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            errors.invalid(&at.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "Equal" | "" => {
                let faults = names::label_value(value);
                if !faults.is_empty() {
                    errors.invalid(&path, value, faults.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    errors.invalid(&path, value, "value must be empty when `operator` is 'Exists'");
                }
            }
            other => errors.unsupported(&path, other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            taint_effect(effect, &at.child("effect"), errors);
        }
    }
}

pub(super) fn gates(gates: &[Value], at: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (i, gate) in gates.iter().enumerate() {
        let name = gate.text("name");
        errors.each(&at.index(i), name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&at.index(i), name);
        }
    }
}

pub(super) fn spread(constraints: &[Value], at: &Path, errors: &mut ErrorList) {
    for (i, constraint) in constraints.iter().enumerate() {
        let at = at.index(i);
        errors.positive(&at.child("maxSkew"), constraint.int("maxSkew").unwrap_or(0));
        let (key, action) = (constraint.text("topologyKey"), constraint.text("whenUnsatisfiable"));
        if key.is_empty() {
            errors.required(&at.child("topologyKey"), "can not be empty");
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            errors.unsupported(&at.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        let again =
            constraints[i + 1..].iter().any(|c| c.text("topologyKey") == key && c.text("whenUnsatisfiable") == action);
        if again {
            let path = at.child("{topologyKey, whenUnsatisfiable}");
            errors.duplicate(&path, format!("{{{key}, {action}}}"));
        }
        if let Some(domains) = constraint.int("minDomains") {
            let path = at.child("minDomains");
            errors.positive(&path, domains);
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(&path, domains, detail);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(policy) = constraint.sub(field).and_then(Value::as_str)
                && !["Honor", "Ignore"].contains(&policy)
            {
                errors.unsupported(&at.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        match_label_keys(constraint, &at, errors);
        let selector = constraint.sub("labelSelector");
        errors.extend(meta::validate_label_selector(selector, false, &at.child("labelSelector")));
    }
}
