//! The apps group's own rules, a file a kind, and what its kinds share: a selector, a template that it selects, counts.

pub mod controllerrevision;
pub mod daemonset;
pub mod deployment;
pub mod replicaset;
pub mod statefulset;
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::selector::LabelSelector;
use machinery::{meta, names};
use model::check::Faults;
use serde_json::Value;

use super::core::pod::validation::check_template;

/// A selector that must be given and select something.
fn selector(spec: &Value, kind: &str, at: &Path, errors: &mut ErrorList) {
    let at = at.child("selector");
    let Some(selector) = spec.sub("selector") else { return errors.required(&at, "") };
    errors.extend(meta::validate_label_selector(Some(selector), false, &at));
    not_empty(selector, kind, &at, errors);
}

fn not_empty(selector: &Value, kind: &str, at: &Path, errors: &mut ErrorList) {
    let labels = selector.object("matchLabels").is_none_or(|m| m.is_empty());
    if labels && selector.list("matchExpressions").is_empty() {
        errors.invalid(at, selector.clone(), format!("empty selector is invalid for {kind}"));
    }
}

/// Whether the template's labels are what the selector selects. A selector that cannot be read is told by `message`.
fn selected(spec: &Value, message: Option<&str>, at: &Path, errors: &mut ErrorList) {
    let template = &spec["template"];
    match LabelSelector::from_value(spec.sub("selector")) {
        Err(_) => {
            if let Some(message) = message {
                errors.invalid(&at.child("selector"), spec.sub("selector").cloned(), message);
            }
        }
        Ok(selector) if !selector.is_everything() && !selector.matches(&meta::labels(template)) => {
            let labels = template.sub("metadata").sub("labels").cloned();
            let at = at.child("template").child("metadata").child("labels");
            errors.invalid(&at, labels, "`selector` does not match template `labels`");
        }
        Ok(_) => {}
    }
}

/// A template whose pods are restarted for ever.
fn long_running_template(spec: &Value, kind: &str, at: &Path, errors: &mut ErrorList) {
    let at = at.child("template");
    errors.extend(check_template(&spec["template"], &at));
    long_running(spec, kind, &at, errors);
}

fn long_running(spec: &Value, kind: &str, at: &Path, errors: &mut ErrorList) {
    let pod = &spec["template"]["spec"];
    if pod.text("restartPolicy") != "Always" {
        errors.unsupported(&at.child("spec").child("restartPolicy"), pod.text("restartPolicy"), &["Always"]);
    }
    if pod.has("activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&at.child("spec").child("activeDeadlineSeconds"), detail);
    }
}

/// Numbers that may not be below zero, absent ones being zero.
fn nonnegative(object: &Value, fields: &[&str], at: &Path, errors: &mut ErrorList) {
    for field in fields {
        errors.nonnegative(&at.child(field), object.int(field).unwrap_or(0));
    }
}

/// Counts of a status, none above the count of all.
fn counts(status: &Value, fields: &[&str], at: &Path, errors: &mut ErrorList) {
    let number = |field: &str| status.int(field).unwrap_or(0);
    for field in fields {
        if number(field) > number("replicas") {
            errors.invalid(&at.child(field), number(field), "cannot be greater than status.replicas");
        }
    }
}

/// A collision count that only grows.
fn collisions(obj: &Value, old: &Value, errors: &mut ErrorList) {
    let count = |v: &Value| v["status"].int("collisionCount").unwrap_or(0);
    if count(obj) < count(old) {
        errors.invalid(&Path::new("status").child("collisionCount"), count(obj), "cannot be decremented");
    }
}

/// A number or a percentage, not below zero.
pub(crate) fn int_or_percent(value: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    match value {
        Some(Value::String(text)) => errors.each(at, text, names::percent(text)),
        Some(other) => errors.nonnegative(at, other.as_i64().unwrap_or(0)),
        None => {}
    }
}

fn percent(value: Option<&Value>) -> Option<i64> {
    let text = value?.as_str()?;
    text.strip_suffix('%').filter(|_| names::percent(text).is_empty())?.parse().ok()
}

fn int_or_percent_value(value: Option<&Value>) -> i64 {
    percent(value).or_else(|| value?.as_i64()).unwrap_or(0)
}

/// A percentage of at most 100.
pub(crate) fn not_above_all(value: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    if percent(value).is_some_and(|p| p > 100) {
        errors.invalid(at, value.cloned(), "must not be greater than 100%");
    }
}

fn immutable_selector(obj: &Value, old: &Value, errors: &mut ErrorList) {
    let (new, before) = (obj["spec"].sub("selector"), old["spec"].sub("selector"));
    errors.extend(meta::validate_immutable(new, before, &Path::new("spec").child("selector")));
}

#[cfg(test)]
mod tests;
