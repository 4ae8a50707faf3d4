//! Webhooks: where they are, what they are asked about, and what a request costs that they do not answer. An update may keep
//! what an older server let pass, where all of the old configuration's webhooks show that it did.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use serde_json::Value;

use super::expressions::Sight;
use super::{FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION_POLICIES, conditions, matching};
use model::check::{Faults, same};
use structural::definition::webhook;

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];

/// What is asked of the webhooks of one configuration.
struct Options {
    conditions_unchanged: bool,
    no_side_effects: bool,
    known_review_version: bool,
    unique_names: bool,
    invalid_label_values: bool,
}

impl Options {
    fn of(webhooks: &[Value], old: Option<&[Value]>) -> Self {
        let Some(old) = old else {
            return Self {
                conditions_unchanged: false,
                no_side_effects: true,
                known_review_version: true,
                unique_names: true,
                invalid_label_values: false,
            };
        };
        let unchanged = |(a, b): (&Value, &Value)| same(a.sub("matchConditions"), b.sub("matchConditions"));
        let reviewed = |hook: &Value| {
            hook.list("admissionReviewVersions").is_empty()
                || hook.texts("admissionReviewVersions").any(|version| REVIEW_VERSIONS.contains(&version))
        };
        let invalid = |hook: &Value| {
            ["namespaceSelector", "objectSelector"]
                .iter()
                .any(|field| !meta::validate_label_selector(hook.sub(field), false, &Path::nil()).is_empty())
        };
        Self {
            conditions_unchanged: webhooks.len() == old.len() && webhooks.iter().zip(old).all(unchanged),
            no_side_effects: old.iter().all(|hook| NO_SIDE_EFFECTS.contains(&hook.text("sideEffects"))),
            known_review_version: old.iter().all(reviewed),
            unique_names: old
                .iter()
                .enumerate()
                .all(|(i, hook)| old[..i].iter().all(|earlier| earlier.text("name") != hook.text("name"))),
            invalid_label_values: old.iter().any(invalid),
        }
    }
}

pub(super) fn validate(configuration: &Value, old: Option<&Value>, mutating: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let hooks = configuration.list("webhooks");
    let options = Options::of(hooks, old.map(|old| old.list("webhooks")));
    for (i, hook) in hooks.iter().enumerate() {
        let at = Path::new("webhooks").index(i);
        one(hook, mutating, &options, &at, &mut errors);
        let versions: Vec<&str> = hook.texts("admissionReviewVersions").collect();
        review_versions(&versions, options.known_review_version, &at.child("admissionReviewVersions"), &mut errors);
        let name = hook.text("name");
        let taken = || hooks[..i].iter().any(|earlier| earlier.text("name") == name);
        if options.unique_names && !name.is_empty() && taken() {
            errors.duplicate(&at.child("name"), name);
        }
    }
    errors
}

fn review_versions(versions: &[&str], one_is_known: bool, at: &Path, errors: &mut ErrorList) {
    let known = REVIEW_VERSIONS.join(", ");
    if versions.is_empty() {
        return errors.required(at, &format!("must specify one of {known}"));
    }
    for (i, version) in versions.iter().enumerate() {
        if versions[..i].contains(version) {
            errors.invalid(&at.index(i), *version, "duplicate version");
        } else {
            errors.each(&at.index(i), version, names::dns1035_label(version));
        }
    }
    if one_is_known && !versions.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        errors.invalid(at, versions.to_vec(), format!("must include at least one of {known}"));
    }
}

fn one(hook: &Value, mutating: bool, options: &Options, at: &Path, errors: &mut ErrorList) {
    errors.extend(names::fully_qualified_name(&at.child("name"), hook.text("name")));
    for (i, rule) in hook.list("rules").iter().enumerate() {
        matching::rule(rule, &at.child("rules").index(i), errors);
    }
    let mut choice = |field: &str, known: &[&str]| {
        if let Some(chosen) = hook.sub(field).and_then(Value::as_str).filter(|chosen| !known.contains(chosen)) {
            errors.unsupported(&at.child(field), chosen, known);
        }
    };
    choice("failurePolicy", &FAILURE_POLICIES);
    choice("matchPolicy", &MATCH_POLICIES);
    let allowed: &[&str] = if options.no_side_effects { &NO_SIDE_EFFECTS } else { &SIDE_EFFECTS };
    choice("sideEffects", allowed);
    if !hook.has("sideEffects") {
        errors.required(&at.child("sideEffects"), &format!("must specify one of {}", allowed.join(", ")));
    }
    if let Some(seconds) = hook.int("timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&at.child("timeoutSeconds"), seconds, detail);
    }
    for field in ["namespaceSelector", "objectSelector"] {
        let allow = options.invalid_label_values;
        errors.extend(meta::validate_label_selector(hook.sub(field), allow, &at.child(field)));
    }
    if mutating
        && let Some(policy) = hook.sub("reinvocationPolicy").and_then(Value::as_str)
        && !REINVOCATION_POLICIES.contains(&policy)
    {
        errors.unsupported(&at.child("reinvocationPolicy"), policy, &REINVOCATION_POLICIES);
    }
    client(hook.sub("clientConfig"), &at.child("clientConfig"), errors);
    if !options.conditions_unchanged {
        conditions::validate(hook, Sight::AUTHORIZER, at, errors);
    }
}

fn client(client: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    match (client.sub("url").and_then(Value::as_str), client.sub("service")) {
        (Some(url), None) => errors.extend(webhook::url(url, &at.child("url"))),
        (None, Some(service)) => errors.extend(webhook::service(service, &at.child("service"))),
        _ => errors.required(at, "exactly one of url or service is required"),
    }
}
