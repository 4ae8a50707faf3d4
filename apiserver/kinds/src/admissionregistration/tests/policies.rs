//! Admission policies of both sorts, and the status of the validating ones.

use super::*;

/// Changes to the spec, and the faults below it.
type Case<'a> = (fn(&mut Value), &'a [&'a str]);

fn validating(change: impl FnOnce(&mut Value)) -> Value {
    let mut policy = json!({
        "metadata": {"name": "config"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": matches(json!([rule(|_| {})])),
            "validations": [{"expression": "object.x < 100"}],
        },
    });
    change(&mut policy["spec"]);
    policy
}

fn mutating(change: impl FnOnce(&mut Value)) -> Value {
    let mut policy = validating(|_| {});
    let spec = &mut policy["spec"];
    spec["validations"] = Value::Null;
    spec["reinvocationPolicy"] = json!("Never");
    let expression = "Object{spec: Object.spec{replicas: object.spec.replicas % 2 == 0 ? object.spec.replicas : object.spec.replicas + 1}}";
    spec["mutations"] = json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]);
    change(spec);
    policy
}

pub(super) fn matches(rules: Value) -> Value {
    json!({"matchPolicy": "Exact", "namespaceSelector": {}, "objectSelector": {}, "resourceRules": rules})
}

fn told(want: &[&str]) -> Vec<String> {
    want.iter().map(|fault| format!("spec.{fault}")).collect()
}

fn of_validating(change: impl FnOnce(&mut Value), want: &[&str]) {
    check(Kind::ValidatingPolicy, &validating(change), None, &told(want));
}

fn of_mutating(change: impl FnOnce(&mut Value), want: &[&str]) {
    check(Kind::MutatingPolicy, &mutating(change), None, &told(want));
}

#[test]
fn what_both_have() {
    const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    const LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
    let cases: &[Case<'_>] = &[
        (|_| {}, &[]),
        (
            |s| s["failurePolicy"] = json!("other"),
            &[r#"failurePolicy: Unsupported value: "other": supported values: "Fail", "Ignore""#],
        ),
        (|s| s["failurePolicy"] = Value::Null, &["failurePolicy: Required value"]),
        (|s| s["paramKind"] = json!({"apiVersion": "test.example.com/v1"}), &["paramKind.kind: Required value"]),
        (|s| s["paramKind"] = json!({"kind": "K"}), &["paramKind.apiVersion: Required value"]),
        (
            |s| s["paramKind"] = json!({"kind": "K", "apiVersion": "a/b/c"}),
            &[r#"paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#],
        ),
        (|s| s["matchConstraints"] = Value::Null, &["matchConstraints: Required value"]),
        (|s| s["matchConstraints"]["resourceRules"] = json!([]), &["matchConstraints.resourceRules: Required value"]),
        (
            |s| s["matchConstraints"]["matchPolicy"] = json!("other"),
            &[r#"matchConstraints.matchPolicy: Unsupported value: "other": supported values: "Equivalent", "Exact""#],
        ),
        (
            |s| {
                ["matchPolicy", "namespaceSelector", "objectSelector"]
                    .iter()
                    .for_each(|field| s["matchConstraints"][field] = Value::Null)
            },
            &[
                "matchConstraints.matchPolicy: Required value",
                "matchConstraints.namespaceSelector: Required value",
                "matchConstraints.objectSelector: Required value",
            ],
        ),
        (
            |s| s["matchConstraints"]["resourceRules"][0]["resourceNames"] = json!(["/./.", "test", "test"]),
            &[
                r#"matchConstraints.resourceRules[0].resourceNames[0]: Invalid value: "/./.": may not contain '/'"#,
                r#"matchConstraints.resourceRules[0].resourceNames[2]: Duplicate value: "test""#,
            ],
        ),
        (|s| s["matchConditions"] = json!([{"expression": "true"}]), &["matchConditions[0].name: Required value"]),
        (
            |s| {
                s["paramKind"] = json!({"kind": "K", "apiVersion": "v1"});
                s["matchConditions"] = json!([{"name": "a", "expression": "params.foo == 'okay'"}]);
            },
            &[],
        ),
        (
            |s| s["matchConditions"] = json!([{"name": "a", "expression": "params.foo == 'okay'"}]),
            &[concat!(
                r#"matchConditions[0].expression: Invalid value: "params.foo == 'okay'": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')"#,
                "\n | params.foo == 'okay'\n | ^",
            )],
        ),
        (
            |s| s["variables"] = json!([{"name": " ", "expression": "true"}]),
            &["variables[0].name: Required value: name is not specified"],
        ),
        (
            |s| s["variables"] = json!([{"name": "4ever", "expression": "true"}, {"name": "while", "expression": " "}]),
            &[
                r#"variables[0].name: Invalid value: "4ever": must be a valid CEL identifier"#,
                r#"variables[1].name: Invalid value: "while": must be a valid CEL identifier"#,
                "variables[1].expression: Required value: expression is not specified",
            ],
        ),
        (
            |s| s["variables"] = json!([{"name": "foo", "expression": "114 + '514'"}]),
            &[concat!(
                r#"variables[0].expression: Invalid value: "114 + '514'": compilation failed: ERROR: <input>:1:5: found no matching overload for '_+_' applied to '(int, string)'"#,
                "\n | 114 + '514'\n | ....^",
            )],
        ),
        (
            |s| {
                s["variables"] =
                    json!([{"name": "bar", "expression": "variables.foo + 1"}, {"name": "foo", "expression": "1 + 1"}])
            },
            &[concat!(
                r#"variables[0].expression: Invalid value: "variables.foo + 1": compilation failed: ERROR: <input>:1:10: undefined field 'foo'"#,
                "\n | variables.foo + 1\n | .........^",
            )],
        ),
    ];
    for (change, want) in cases {
        of_validating(change, want);
        of_mutating(change, want);
    }
    for (version, group, wrong) in [("!!!/v1", "!!!", SUBDOMAIN), ("test.example.com/!!!", "!!!", LABEL)] {
        let want = format!("paramKind.apiVersion: Invalid value: \"{group}\": {wrong}");
        of_validating(|s| s["paramKind"] = json!({"kind": "K", "apiVersion": version}), &[&want]);
        of_mutating(|s| s["paramKind"] = json!({"kind": "K", "apiVersion": version}), &[&want]);
    }
    let kind =
        format!("paramKind.kind: Invalid value: \"K_\": may have mixed case, but should otherwise match: {LABEL}");
    of_validating(|s| s["paramKind"] = json!({"kind": "K_", "apiVersion": "v1"}), &[&kind]);
    for (rule, want) in rule_faults() {
        for list in ["resourceRules", "excludeResourceRules"] {
            let want: Vec<String> = want.iter().map(|fault| format!("matchConstraints.{list}{fault}")).collect();
            let want: Vec<&str> = want.iter().map(String::as_str).collect();
            of_validating(|s| s["matchConstraints"][list] = json!([rule]), &want);
        }
    }
}

#[test]
fn validations_give_a_bool_and_messages_a_text() {
    let required = "Required value: validations or auditAnnotations must contain at least one item";
    of_validating(
        |s| s["validations"] = Value::Null,
        &[&format!("validations: {required}"), &format!("auditAnnotations: {required}")],
    );
    let validation = |validation: Value, want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("validations[0].{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        of_validating(|s| s["validations"] = json!([validation]), &want);
    };
    validation(
        json!({"expression": "true", "reason": "other"}),
        &[r#"reason: Unsupported value: "other": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge""#],
    );
    validation(json!({"expression": " "}), &["expression: Required value: expression is not specified"]);
    const CUT: &str = concat!(
        r#"Invalid value: "object.x in [1, 2, ": compilation failed: ERROR: <input>:1:20: Syntax error: missing ']' at '<EOF>'"#,
        "\n | object.x in [1, 2, \n | ...................^",
    );
    validation(json!({"expression": "object.x in [1, 2, "}), &[&format!("expression: {CUT}")]);
    validation(
        json!({"expression": "true", "messageExpression": "object.x in [1, 2, "}),
        &[&format!("messageExpression: {CUT}")],
    );
    validation(
        json!({"expression": "true", "messageExpression": "0 == 0"}),
        &[r#"messageExpression: Invalid value: "0 == 0": must evaluate to string but got bool"#],
    );
    validation(
        json!({"expression": "true", "messageExpression": "authorizer.path('/').check('get').reason()"}),
        &[concat!(
            r#"messageExpression: Invalid value: "authorizer.path('/').check('get').reason()": compilation failed: ERROR: <input>:1:1: undeclared reference to 'authorizer' (in container '')"#,
            "\n | authorizer.path('/').check('get').reason()\n | ^",
        )],
    );
    validation(
        json!({"expression": "true", "message": " ", "messageExpression": " "}),
        &[
            r#"messageExpression: Invalid value: " ": must be non-empty if specified"#,
            r#"message: Invalid value: " ": must be non-empty if specified"#,
        ],
    );
    validation(
        json!({"expression": "true", "message": "a\nb"}),
        &[r#"message: Invalid value: "a\nb": must not contain line breaks"#],
    );
    // Variables have the types of their expressions.
    let composed = |expression: &str, want: &[&str]| {
        of_validating(
            |s| {
                s["variables"] =
                    json!([{"name": "foo", "expression": "1 + 1"}, {"name": "bar", "expression": "variables.foo + 1"}]);
                s["validations"] = json!([{"expression": "variables.bar > 1"}, {"expression": expression}]);
            },
            want,
        );
    };
    composed("variables.foo > variables.bar", &[]);
    composed(
        "variables.replicas == 2",
        &[concat!(
            r#"validations[1].expression: Invalid value: "variables.replicas == 2": compilation failed: ERROR: <input>:1:10: undefined field 'replicas'"#,
            "\n | variables.replicas == 2\n | .........^",
        )],
    );
    composed(
        "variables.foo == 'a'",
        &[concat!(
            r#"validations[1].expression: Invalid value: "variables.foo == 'a'": compilation failed: ERROR: <input>:1:15: found no matching overload for '_==_' applied to '(int, string)'"#,
            "\n | variables.foo == 'a'\n | ..............^",
        )],
    );
}

#[test]
fn audit_annotations_have_keys_and_give_texts() {
    let annotations = |annotations: Value, want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("auditAnnotations{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        of_validating(|s| s["auditAnnotations"] = annotations, &want);
    };
    let one = |key: &str, expression: &str| json!([{"key": key, "valueExpression": expression}]);
    annotations(
        one("a", "object.x == 1 ? 'x' : null"),
        &[
            r#"[0].valueExpression: Invalid value: "object.x == 1 ? 'x' : null": compilation failed: ERROR: <input>:1:15: found no matching overload for '_?_:_' applied to '(bool, string, null)'
 | object.x == 1 ? 'x' : null
 | ..............^"#,
        ],
    );
    annotations(one("a", "'x'"), &[]);
    annotations(one("a", "null"), &[]);
    let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    annotations(one("@", "'x'"), &[&format!("[0].key: Invalid value: \"config/@\": {name}")]);
    let long = "a".repeat(64);
    annotations(
        one(&long, "'x'"),
        &[&format!("[0].key: Invalid value: \"config/{long}\": name part must be no more than 63 bytes")],
    );
    annotations(
        json!([{"key": "a", "valueExpression": "'1'"}, {"key": "a", "valueExpression": "'2'"}]),
        &[r#"[1].key: Duplicate value: "a""#],
    );
    annotations(
        one("a", "true"),
        &[r#"[0].valueExpression: Invalid value: "true": must evaluate to one of [string null_type] but got bool"#],
    );
    annotations(one("a", " "), &["[0].valueExpression: Required value: valueExpression is not specified"]);
    annotations(
        one("a", &format!("'{}'", "x".repeat(5 * 1024))),
        &["[0].valueExpression: Required value: must not exceed 5120 bytes in length"],
    );
    annotations(
        one("a", "object.x in [1, 2, "),
        &[concat!(
            r#"[0].valueExpression: Invalid value: "object.x in [1, 2, ": compilation failed: ERROR: <input>:1:19: Syntax error: missing ']' at '<EOF>'"#,
            "\n | object.x in [1, 2,\n | ..................^",
        )],
    );
    let many: Vec<Value> = (0..21).map(|i| json!({"key": format!("a{i}"), "valueExpression": "null"})).collect();
    let said = said(&Kind::ValidatingPolicy.check(&validating(|s| s["auditAnnotations"] = json!(many)), None));
    let start = r#"spec.auditAnnotations: Invalid value: [{"Key":"a0","ValueExpression":"null"},"#;
    assert!(said.len() == 1 && said[0].starts_with(start), "{said:?}");
    assert!(said[0].ends_with("must not have more than 20 auditAnnotations"), "{said:?}");
}

#[test]
fn mutations_make_objects_or_patches() {
    of_mutating(
        |s| s["mutations"] = json!([]),
        &["mutations: Required value: mutations must contain at least one item"],
    );
    of_mutating(|s| s["reinvocationPolicy"] = json!(""), &["reinvocationPolicy: Required value"]);
    of_mutating(
        |s| s["reinvocationPolicy"] = json!("other"),
        &[r#"reinvocationPolicy: Unsupported value: "other": supported values: "IfNeeded", "Never""#],
    );
    of_mutating(
        |s| s["matchConstraints"]["resourceRules"][0]["operations"] = json!(["DELETE"]),
        &[
            r#"matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE""#,
        ],
    );
    let mutation = |mutation: Value, want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("mutations[0].{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        of_mutating(|s| s["mutations"] = json!([mutation]), &want);
    };
    let apply =
        |expression: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    let patch = |expression: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    mutation(json!({"patchType": ""}), &["patchType: Required value"]);
    mutation(
        json!({"patchType": "other"}),
        &[r#"patchType: Unsupported value: "other": supported values: "ApplyConfiguration", "JSONPatch""#],
    );
    mutation(
        json!({"patchType": "JSONPatch"}),
        &["jsonPatch: Required value: must be specified when patchType is JSONPatch"],
    );
    mutation(
        json!({"patchType": "ApplyConfiguration"}),
        &["applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration"],
    );
    mutation(patch(" "), &["jsonPatch.expression: Required value"]);
    mutation(apply(""), &["applyConfiguration.expression: Required value"]);
    let mut both = patch("[JSONPatch{op: 'remove', path: '/x'}]");
    both["applyConfiguration"] = json!({"expression": "Object{}"});
    mutation(
        both,
        &[
            r#"applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch"#,
        ],
    );
    let mut both = apply("Object{}");
    both["jsonPatch"] = json!({"expression": "[]"});
    mutation(
        both,
        &[r#"jsonPatch: Invalid value: "{jsonPatch}": must not be specified when patchType is ApplyConfiguration"#],
    );
    mutation(
        apply("1 < 2"),
        &[r#"applyConfiguration.expression: Invalid value: "1 < 2": must evaluate to Object but got bool"#],
    );
    mutation(
        patch(
            "object.x ? [] : [JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 1}]",
        ),
        &[],
    );
    mutation(
        patch("[JSONPatch{op: 1}]"),
        &[concat!(
            r#"jsonPatch.expression: Invalid value: "[JSONPatch{op: 1}]": compilation failed: ERROR: <input>:1:14: expected type of field 'op' is 'string' but provided type is 'int'"#,
            "\n | [JSONPatch{op: 1}]\n | .............^",
        )],
    );
    mutation(
        patch("1"),
        &[r#"jsonPatch.expression: Invalid value: "1": must evaluate to list(JSONPatch) but got int"#],
    );
    of_mutating(
        |s| s["variables"] = json!([{"name": "a", "expression": "Object{}"}]),
        &[concat!(
            r#"variables[0].expression: Invalid value: "Object{}": compilation failed: ERROR: <input>:1:7: undeclared reference to 'Object' (in container '')"#,
            "\n | Object{}\n | ......^",
        )],
    );
}

#[test]
fn expressions_that_did_not_change_are_not_tried_again() {
    let conditioned = |policy: Value, expression: &str| {
        let mut policy = policy;
        policy["spec"]["matchConditions"] = json!([{"name": "a", "expression": expression}]);
        policy
    };
    for (kind, policy) in [(Kind::ValidatingPolicy, validating(|_| {})), (Kind::MutatingPolicy, mutating(|_| {}))] {
        let old = conditioned(policy.clone(), "params.x == 1");
        check(kind, &old, Some(&old), &[]);
        let mut parameters = old.clone();
        parameters["spec"]["paramKind"] = json!({"kind": "K", "apiVersion": "v1"});
        check(kind, &old, Some(&parameters), &[concat!(
            r#"spec.matchConditions[0].expression: Invalid value: "params.x == 1": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')"#,
            "\n | params.x == 1\n | ^",
        )
        .to_owned()]);
    }
}

#[test]
fn a_status_tells_what_the_type_checker_found() {
    let warned = |field: &str, warning: &str| json!({"typeChecking": {"expressionWarnings": [{"fieldRef": field, "warning": warning}]}});
    let check = |status: Value, want: &[&str]| assert_eq!(said(&super::super::policy_status::validate(&status)), want);
    let at = "status.typeChecking.expressionWarnings[0]";
    check(warned("spec.validations[0].expression", "message"), &[]);
    check(
        warned("spec.validations[foo].expression", "message"),
        &[&format!(
            "{at}.fieldRef: Invalid value: \"spec.validations[foo].expression\": invalid JSONPath: invalid array index foo"
        )],
    );
    check(warned("", ""), &[&format!("{at}.warning: Required value"), &format!("{at}.fieldRef: Required value")]);
    check(
        json!({"conditions": [{"type": "a", "status": "True", "reason": "R"}]}),
        &["status.conditions[0].lastTransitionTime: Required value"],
    );
}
