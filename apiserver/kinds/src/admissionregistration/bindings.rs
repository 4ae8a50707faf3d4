//! Bindings: which policy, with which parameters, for what, and what becomes of a failure.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use serde_json::Value;

use super::matching;
use model::check::Faults;

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

pub(super) fn validate(binding: &Value, mutating: bool) -> ErrorList {
    let (spec, at) = (&binding["spec"], Path::new("spec"));
    let mut errors = ErrorList::new();
    let (policy, here) = (spec.text("policyName"), at.child("policyName"));
    if policy.is_empty() {
        errors.required(&here, "");
    } else {
        errors.each(&here, policy, names::dns1123_subdomain(policy));
    }
    if let Some(reference) = spec.sub("paramRef") {
        param_ref(reference, &at.child("paramRef"), &mut errors);
    }
    if let Some(matches) = spec.sub("matchResources") {
        let at = at.child("matchResources");
        matching::resources_of(matches, &at, &mut errors);
        if mutating {
            matching::mutable_operations(matches, &at, &mut errors);
        }
    }
    if !mutating {
        actions(spec, &at.child("validationActions"), &mut errors);
    }
    errors
}

fn param_ref(reference: &Value, at: &Path, errors: &mut ErrorList) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let (name, selector) = (reference.text("name"), reference.sub("selector"));
    if !name.is_empty() {
        errors.each(&at.child("name"), name, names::path_segment(name));
        if selector.is_some() {
            errors.forbidden(&at.child("name"), EXCLUSIVE);
        }
    }
    errors.extend(meta::validate_label_selector(selector, false, &at.child("selector")));
    match (name.is_empty(), selector.is_some()) {
        (false, true) => errors.forbidden(&at.child("selector"), EXCLUSIVE),
        (true, false) => errors.required(at, "one of name or selector must be specified"),
        _ => {}
    }
    let action = reference.text("parameterNotFoundAction");
    errors.one_of(&at.child("parameterNotFoundAction"), action, &["Deny", "Allow"]);
}

fn actions(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let given: Vec<&str> = spec.texts("validationActions").collect();
    for (i, action) in given.iter().enumerate() {
        if !ACTIONS.contains(action) {
            errors.unsupported(&at.index(i), *action, &ACTIONS);
        }
        if given[..i].contains(action) {
            errors.duplicate(&at.index(i), *action);
        }
    }
    if given.contains(&"Deny") && given.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.invalid(at, given.clone(), detail);
    }
    if given.is_empty() {
        errors.required(at, "at least one validation action is required");
    }
}
