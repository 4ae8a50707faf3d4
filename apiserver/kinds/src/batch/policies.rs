//! When pods' failures end a job, are ignored or are counted, and which indexes are enough for its success.

use api::rules::Here;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

use super::indexes;
use model::check::Faults;

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const INDEXES_MAX_BYTES: usize = 64 * 1024;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// Too many, of which each is looked at all the same.
fn at_most(list: &[Value], most: usize, at: &Path, errors: &mut ErrorList) {
    if list.len() > most {
        errors.push(Error::too_many(at, list.len(), most));
    }
}

/// A text that must be one of those; what is missing is said with them.
fn one_of(text: &str, known: &[&str], at: &Path, errors: &mut ErrorList) {
    if text.is_empty() {
        let list = known.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" ");
        errors.required(at, &format!("valid values: [{list}]"));
    } else if !known.contains(&text) {
        errors.unsupported(at, text, known);
    }
}

/// A fault whose value is not shown.
pub(super) fn unseen(at: &Path, detail: &str) -> Error {
    Error { bad_value: None, ..Error::invalid(at, Value::Null, detail) }
}

/// `podFailurePolicy` of a job's spec.
pub(super) fn failure(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let spec = here.value;
    let Some(policy) = spec.sub("podFailurePolicy") else { return };
    let at = here.child("podFailurePolicy").child("rules");
    let pod = spec.sub("template").sub("spec");
    let containers = ["containers", "initContainers"].iter().flat_map(|list| pod.list(list));
    let containers: Vec<&str> = containers.map(|container| container.text("name")).collect();
    at_most(policy.list("rules"), RULES_MAX, &at, errors);
    for (i, rule) in policy.list("rules").iter().enumerate() {
        let at = at.index(i);
        if rule.text("action") == "FailIndex" {
            if !spec.has("backoffLimitPerIndex") {
                errors.invalid(&at.child("action"), "FailIndex", "requires the backoffLimitPerIndex to be set");
            }
        } else {
            one_of(rule.text("action"), &ACTIONS, &at.child("action"), errors);
        }
        if let Some(codes) = rule.sub("onExitCodes") {
            exit_codes(codes, &containers, &at.child("onExitCodes"), errors);
        }
        let patterns = rule.list("onPodConditions");
        pod_conditions(patterns, &at.child("onPodConditions"), errors);
        match (rule.has("onExitCodes"), patterns.is_empty()) {
            (true, false) => {
                errors.push(unseen(&at, "specifying both OnExitCodes and OnPodConditions is not supported"));
            }
            (false, true) => {
                errors.push(unseen(&at, "specifying one of OnExitCodes and OnPodConditions is required"));
            }
            _ => {}
        }
    }
}

fn pod_conditions(patterns: &[Value], at: &Path, errors: &mut ErrorList) {
    at_most(patterns, PATTERNS_MAX, at, errors);
    for (i, pattern) in patterns.iter().enumerate() {
        let at = at.index(i);
        let kind = pattern.text("type");
        errors.each(&at.child("type"), kind, names::qualified_name(kind));
        one_of(pattern.text("status"), &STATUSES, &at.child("status"), errors);
    }
}

fn exit_codes(requirement: &Value, containers: &[&str], at: &Path, errors: &mut ErrorList) {
    let operator = requirement.text("operator");
    one_of(operator, &OPERATORS, &at.child("operator"), errors);
    let name = requirement.text("containerName");
    if requirement.has("containerName") && !containers.contains(&name) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&at.child("containerName"), name, detail);
    }
    let at = at.child("values");
    let values = requirement.list("values");
    if values.is_empty() {
        errors.invalid(&at, requirement.sub("values").cloned(), "at least one value is required");
    }
    at_most(values, EXIT_CODES_MAX, &at, errors);
    for (i, value) in values.iter().enumerate() {
        if operator == "In" && value.as_i64() == Some(0) {
            errors.invalid(&at.index(i), 0, "must not be 0 for the In operator");
        }
        if values[..i].contains(value) {
            errors.duplicate(&at.index(i), value.clone());
        }
    }
    if !values.is_sorted_by_key(Value::as_i64) {
        errors.invalid(&at, values.to_vec(), "must be ordered");
    }
}

/// `successPolicy` of a job's spec.
pub(super) fn success(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let spec = here.value;
    let Some(policy) = spec.sub("successPolicy") else { return };
    let at = here.child("successPolicy");
    if spec.text("completionMode") != "Indexed" {
        return errors.invalid(&at, policy.clone(), "requires indexed completion mode");
    }
    let at = at.child("rules");
    let rules = policy.list("rules");
    if rules.is_empty() {
        errors.required(&at, "at least one rules must be specified when the successPolicy is specified");
    }
    at_most(rules, RULES_MAX, &at, errors);
    // Where there are none, that has been said.
    let Some(completions) = spec.int("completions") else { return };
    for (i, rule) in rules.iter().enumerate() {
        success_rule(rule, completions, &at.index(i), errors);
    }
}

fn success_rule(rule: &Value, completions: i64, at: &Path, errors: &mut ErrorList) {
    let wanted = rule.int("succeededCount");
    let indexes = rule.sub("succeededIndexes").and_then(Value::as_str);
    if wanted.is_none() && indexes.is_none() {
        errors.required(at, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut named = 0;
    if let Some(text) = indexes {
        let at = at.child("succeededIndexes");
        if text.len() > INDEXES_MAX_BYTES {
            errors.push(Error::too_long(&at, INDEXES_MAX_BYTES));
        }
        match indexes::count(text, completions) {
            Ok(count) => named = count,
            Err(why) => errors.invalid(&at, text, format!("error parsing succeededIndexes: {why}")),
        }
    }
    let Some(wanted) = wanted else { return };
    let at = at.child("succeededCount");
    errors.nonnegative(&at, wanted);
    if wanted > completions {
        let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.invalid(&at, wanted, detail);
    }
    if indexes.is_some() && wanted > named {
        let detail = format!(
            "must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.invalid(&at, wanted, detail);
    }
}
