//! What webhooks and policies are for: rules of groups, versions, resources and operations, and selectors.

use std::collections::BTreeSet;

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use serde_json::Value;

use super::MATCH_POLICIES;
use model::check::Faults;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// What a policy can change.
const MUTABLE: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

/// A rule with its operations.
pub(super) fn rule(rule: &Value, at: &Path, errors: &mut ErrorList) {
    list(rule, "operations", "operations", at, errors);
    for (i, operation) in rule.texts("operations").enumerate() {
        if !OPERATIONS.contains(&operation) {
            errors.unsupported(&at.child("operations").index(i), operation, &OPERATIONS);
        }
    }
    list(rule, "apiGroups", "API groups", at, errors);
    list(rule, "apiVersions", "API versions", at, errors);
    for (i, version) in rule.texts("apiVersions").enumerate() {
        if version.is_empty() {
            errors.required(&at.child("apiVersions").index(i), "");
        }
    }
    resources(rule, &at.child("resources"), errors);
    if let Some(scope) = rule.sub("scope").and_then(Value::as_str)
        && !matches!(scope, "*" | "Cluster" | "Namespaced")
    {
        errors.unsupported(&at.child("scope"), scope, &["*", "Cluster", "Namespaced"]);
    }
}

/// A list that is needed, and has nothing beside "all".
fn list(rule: &Value, field: &str, what: &str, at: &Path, errors: &mut ErrorList) {
    let given = rule.list(field);
    if given.is_empty() {
        errors.required(&at.child(field), "");
    }
    if given.len() > 1 && rule.texts(field).any(|member| member == "*") {
        let detail = format!("if '*' is present, must not specify other {what}");
        errors.invalid(&at.child(field), given.to_vec(), detail);
    }
}

fn resources(rule: &Value, at: &Path, errors: &mut ErrorList) {
    let given: Vec<&str> = rule.texts("resources").collect();
    if given.is_empty() {
        errors.required(at, "");
    }
    // `x/*` and `*/x` of those before.
    let (mut all_parts, mut all_resources) = (BTreeSet::new(), BTreeSet::new());
    let mut plain = false;
    for (i, text) in given.iter().enumerate() {
        let here = at.index(i);
        if text.is_empty() {
            errors.required(&here, "");
            continue;
        }
        let Some((resource, part)) = text.split_once('/') else {
            plain = *text != "*";
            continue;
        };
        if all_parts.contains(resource) {
            errors.invalid(&here, *text, format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if all_resources.contains(part) {
            errors.invalid(&here, *text, format!("if '*/{part}' is present, must not specify {text}"));
        }
        if part == "*" {
            all_parts.insert(resource);
        }
        if resource == "*" {
            all_resources.insert(part);
        }
    }
    if given.len() > 1 && given.contains(&"*/*") {
        errors.invalid(at, given.clone(), "if '*/*' is present, must not specify other resources");
    }
    if given.contains(&"*") && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(at, given, detail);
    }
}

/// What a policy or its binding matches.
pub(super) fn resources_of(matches: &Value, at: &Path, errors: &mut ErrorList) {
    match matches.sub("matchPolicy").and_then(Value::as_str) {
        None => errors.required(&at.child("matchPolicy"), ""),
        Some(policy) if MATCH_POLICIES.contains(&policy) => {}
        Some(policy) => errors.unsupported(&at.child("matchPolicy"), policy, &MATCH_POLICIES),
    }
    for field in ["namespaceSelector", "objectSelector"] {
        match matches.sub(field) {
            None => errors.required(&at.child(field), ""),
            selector => errors.extend(meta::validate_label_selector(selector, false, &at.child(field))),
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (i, rule) in matches.list(field).iter().enumerate() {
            named_rule(rule, &at.child(field).index(i), errors);
        }
    }
}

fn named_rule(rule: &Value, at: &Path, errors: &mut ErrorList) {
    let given: Vec<&str> = rule.texts("resourceNames").collect();
    for (i, name) in given.iter().enumerate() {
        let at = at.child("resourceNames").index(i);
        errors.each(&at, name, names::path_segment(name));
        if given[..i].contains(name) {
            errors.duplicate(&at, *name);
        }
    }
    self::rule(rule, at, errors);
}

/// Operations in which nothing can be changed.
pub(super) fn mutable_operations(matches: &Value, at: &Path, errors: &mut ErrorList) {
    let at = at.child("resourceRules").child("operations");
    for operation in matches.list("resourceRules").iter().flat_map(|rule| rule.texts("operations")) {
        if !MUTABLE.contains(&operation) {
            errors.unsupported(&at, operation, &MUTABLE);
        }
    }
}
