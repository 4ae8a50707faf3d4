//! Bindings of both sorts.

use super::policies::matches;
use super::*;

fn of(change: impl FnOnce(&mut Value)) -> Value {
    let mut binding = json!({
        "metadata": {"name": "config"},
        "spec": {
            "policyName": "xyzlimit-scale.example.com",
            "paramRef": {"name": "xyzlimit-scale-setting.example.com", "parameterNotFoundAction": "Deny"},
            "validationActions": ["Deny"],
        },
    });
    change(&mut binding["spec"]);
    binding
}

/// Of the validating sort alone.
fn validating(change: impl FnOnce(&mut Value), want: &[&str]) {
    let want: Vec<String> = want.iter().map(|fault| format!("spec.{fault}")).collect();
    check(Kind::ValidatingBinding, &of(change), None, &want);
}

fn both(change: impl Fn(&mut Value), want: &[&str]) {
    validating(&change, want);
    let mut binding = of(&change);
    binding["spec"]["validationActions"] = Value::Null;
    let want: Vec<String> = want.iter().map(|fault| format!("spec.{fault}")).collect();
    check(Kind::MutatingBinding, &binding, None, &want);
}

#[test]
fn policies_and_parameters_are_named() {
    both(|_| {}, &[]);
    both(|s| s["policyName"] = json!(""), &["policyName: Required value"]);
    let parameters = |parameters: Value, want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("paramRef{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        both(|s| s["paramRef"] = parameters.clone(), &want);
    };
    let exclusive = "Forbidden: name and selector are mutually exclusive";
    parameters(json!({"selector": {}, "parameterNotFoundAction": "Allow"}), &[]);
    parameters(
        json!({"name": "n", "selector": {}, "parameterNotFoundAction": "Deny"}),
        &[&format!(".name: {exclusive}"), &format!(".selector: {exclusive}")],
    );
    parameters(
        json!({"name": "a/b"}),
        &[r#".name: Invalid value: "a/b": may not contain '/'"#, ".parameterNotFoundAction: Required value"],
    );
    parameters(
        json!({"name": "n", "parameterNotFoundAction": "invalid"}),
        &[r#".parameterNotFoundAction: Unsupported value: "invalid": supported values: "Deny", "Allow""#],
    );
    parameters(
        json!({"parameterNotFoundAction": "Deny"}),
        &[": Required value: one of name or selector must be specified"],
    );
}

#[test]
fn what_is_matched() {
    both(|s| s["matchResources"] = matches(json!([])), &[]);
    both(
        |s| {
            s["matchResources"] = matches(json!([]));
            s["matchResources"]["matchPolicy"] = json!("other");
        },
        &[r#"matchResources.matchPolicy: Unsupported value: "other": supported values: "Equivalent", "Exact""#],
    );
    for (rule, want) in rule_faults() {
        let want: Vec<String> = want.iter().map(|fault| format!("matchResources.resourceRules{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        validating(|s| s["matchResources"] = matches(json!([rule])), &want);
    }
    let deleting = of(|s| s["matchResources"] = matches(json!([rule(|rule| rule["operations"] = json!(["DELETE"]))])));
    check(Kind::ValidatingBinding, &deleting, None, &[]);
    check(Kind::MutatingBinding, &deleting, None, &[
        r#"spec.matchResources.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE""#
            .to_owned(),
    ]);
}

#[test]
fn actions_are_known_and_not_told_twice() {
    let actions = |actions: Value, want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("validationActions{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        validating(|s| s["validationActions"] = actions, &want);
    };
    actions(json!(["Warn", "Audit"]), &[]);
    actions(json!([]), &[": Required value: at least one validation action is required"]);
    actions(json!(["Deny", "Deny"]), &[r#"[1]: Duplicate value: "Deny""#]);
    actions(json!(["illegal"]), &[r#"[0]: Unsupported value: "illegal": supported values: "Audit", "Deny", "Warn""#]);
    actions(
        json!(["Deny", "Warn"]),
        &[
            r#": Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"#,
        ],
    );
}
