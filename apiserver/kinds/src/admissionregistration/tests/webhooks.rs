//! Webhook configurations of both sorts.

use super::*;

const BOTH: [Kind; 2] = [Kind::ValidatingWebhooks, Kind::MutatingWebhooks];

fn hook(change: impl FnOnce(&mut Value)) -> Value {
    let mut hook = json!({
        "name": "webhook.k8s.io",
        "clientConfig": {"url": "https://example.com"},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    change(&mut hook);
    hook
}

fn of(hooks: Value) -> Value {
    json!({"metadata": {"name": "config"}, "webhooks": hooks})
}

/// Faults of one webhook, told below it.
fn one(change: impl Fn(&mut Value), want: &[&str]) {
    let want: Vec<String> = want.iter().map(|fault| format!("webhooks[0].{fault}")).collect();
    for kind in BOTH {
        check(kind, &of(json!([hook(&change)])), None, &want);
    }
}

#[test]
fn names_and_review_versions() {
    one(|_| {}, &[]);
    let versions = |versions: Value, want: &[&str]| one(|h| h["admissionReviewVersions"] = versions.clone(), want);
    versions(json!([]), &["admissionReviewVersions: Required value: must specify one of v1, v1beta1"]);
    versions(json!(["v1beta1", "invalid-version"]), &[]);
    versions(
        json!(["v1beta1", "v1beta1"]),
        &[r#"admissionReviewVersions[1]: Invalid value: "v1beta1": duplicate version"#],
    );
    let label = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
    versions(
        json!(["0v"]),
        &[
            &format!(r#"admissionReviewVersions[0]: Invalid value: "0v": {label}"#),
            r#"admissionReviewVersions: Invalid value: ["0v"]: must include at least one of v1, v1beta1"#,
        ],
    );
    for kind in BOTH {
        let named = |name: &str| hook(|h| h["name"] = json!(name));
        check(kind, &of(json!([named("webhook.k8s.io"), named("k8s.io"), named("")])), None, &[
            r#"webhooks[1].name: Invalid value: "k8s.io": should be a domain with at least three segments separated by dots"#
                .to_owned(),
            "webhooks[2].name: Required value".to_owned(),
        ]);
        check(
            kind,
            &of(json!([named("webhook.k8s.io"), named("webhook.k8s.io")])),
            None,
            &[r#"webhooks[1].name: Duplicate value: "webhook.k8s.io""#.to_owned()],
        );
    }
}

#[test]
fn rules_match_what_can_be() {
    for (rule, want) in rule_faults() {
        let want: Vec<String> = want.iter().map(|fault| format!("rules{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        one(|h| h["rules"] = json!([rule]), &want);
    }
}

#[test]
fn choices_and_timeouts() {
    for (field, value, want) in [
        ("failurePolicy", json!("other"), r#"Unsupported value: "other": supported values: "Fail", "Ignore""#),
        ("matchPolicy", json!("other"), r#"Unsupported value: "other": supported values: "Equivalent", "Exact""#),
        ("sideEffects", json!("other"), r#"Unsupported value: "other": supported values: "None", "NoneOnDryRun""#),
        ("sideEffects", json!("Unknown"), r#"Unsupported value: "Unknown": supported values: "None", "NoneOnDryRun""#),
        ("sideEffects", Value::Null, "Required value: must specify one of None, NoneOnDryRun"),
        ("timeoutSeconds", json!(31), "Invalid value: 31: the timeout value must be between 1 and 30 seconds"),
        ("timeoutSeconds", json!(0), "Invalid value: 0: the timeout value must be between 1 and 30 seconds"),
        ("timeoutSeconds", json!(-1), "Invalid value: -1: the timeout value must be between 1 and 30 seconds"),
    ] {
        one(|h| h[field] = value.clone(), &[&format!("{field}: {want}")]);
    }
    let policy = of(json!([hook(|h| h["reinvocationPolicy"] = json!("other"))]));
    check(
        Kind::MutatingWebhooks,
        &policy,
        None,
        &[r#"webhooks[0].reinvocationPolicy: Unsupported value: "other": supported values: "IfNeeded", "Never""#
            .to_owned()],
    );
}

#[test]
fn clients_are_a_url_or_a_service() {
    let client = |client: Value, want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("clientConfig{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        one(|h| h["clientConfig"] = client.clone(), &want);
    };
    let service = |path: &str, port: i64| json!({"name": "n", "namespace": "ns", "path": path, "port": port});
    client(json!({}), &[": Required value: exactly one of url or service is required"]);
    client(
        json!({"url": "https://x", "service": service("/", 443)}),
        &[": Required value: exactly one of url or service is required"],
    );
    const FORM: &str = "desired format: https://host[/path]";
    client(
        json!({"url": ""}),
        &[
            &format!(r#".url: Invalid value: "": 'https' is the only allowed URL scheme; {FORM}"#),
            &format!(r#".url: Invalid value: "": host must be specified; {FORM}"#),
        ],
    );
    client(
        json!({"url": "http://example.com"}),
        &[&format!(r#".url: Invalid value: "http": 'https' is the only allowed URL scheme; {FORM}"#)],
    );
    client(
        json!({"url": "https:///fancy/webhook"}),
        &[&format!(r#".url: Invalid value: "": host must be specified; {FORM}"#)],
    );
    client(
        json!({"url": "https://example.com/#bookmark"}),
        &[r#".url: Invalid value: "bookmark": fragments are not permitted in the URL"#],
    );
    client(
        json!({"url": "https://example.com?arg=value"}),
        &[r#".url: Invalid value: "arg=value": query parameters are not permitted in the URL"#],
    );
    client(
        json!({"url": "https://harry.potter@example.com/"}),
        &[r#".url: Invalid value: "harry.potter": user information is not permitted in the URL"#],
    );
    let path = |path: &str, want: &[&str]| {
        let want: Vec<String> =
            want.iter().map(|fault| format!(".service.path: Invalid value: \"{path}\": {fault}")).collect();
        client(json!({"service": service(path, 443)}), &want.iter().map(String::as_str).collect::<Vec<_>>());
    };
    path("/", &[]);
    path("/foo", &[]);
    path("foo/", &["must start with a '/'"]);
    path("//", &["segment[0] may not be empty"]);
    path("/foo//bar/", &["segment[1] may not be empty"]);
    path("/foo/bar//", &["segment[2] may not be empty"]);
    let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    path("/apis/foo.bar/v1alpha1/--bad", &[&format!("segment[3]: {subdomain}")]);
    for port in [0, 65536] {
        client(
            json!({"service": service("/", port)}),
            &[&format!(
                ".service.port: Invalid value: {port}: port is not valid: must be between 1 and 65535, inclusive"
            )],
        );
    }
}

#[test]
fn conditions_have_names_and_give_a_bool() {
    let conditions = |conditions: Value, want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("matchConditions{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        one(|h| h["matchConditions"] = conditions.clone(), &want);
    };
    let condition = |name: &str, expression: &str| json!({"name": name, "expression": expression});
    let expression = |expression: &str, want: &[&str]| conditions(json!([condition("a", expression)]), want);
    expression(
        "object == oldObject && request.userInfo.username.startsWith('a') && authorizer.group('').resource('pods').check('get').allowed()",
        &[],
    );
    expression("authorizer.requestResource.check('get').allowed()", &[]);
    conditions(json!([condition("", "true")]), &["[0].name: Required value"]);
    let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    for bad in ["-hello", ".io", "some name"] {
        conditions(json!([condition(bad, "true")]), &[&format!("[0].name: Invalid value: \"{bad}\": {name}")]);
    }
    expression("", &["[0].expression: Required value"]);
    expression("  ", &["[0].expression: Required value"]);
    expression("6", &[r#"[0].expression: Invalid value: "6": must evaluate to bool but got int"#]);
    expression(
        "object.x in [1, 2, ",
        &[concat!(
            r#"[0].expression: Invalid value: "object.x in [1, 2,": compilation failed: ERROR: <input>:1:19: Syntax error: missing ']' at '<EOF>'"#,
            "\n | object.x in [1, 2,\n | ..................^",
        )],
    );
    expression(
        "params.foo == 'x'",
        &[concat!(
            r#"[0].expression: Invalid value: "params.foo == 'x'": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')"#,
            "\n | params.foo == 'x'\n | ^",
        )],
    );
    conditions(json!([condition("a", "true"), condition("a", "true")]), &[r#"[1].name: Duplicate value: "a""#]);
    let many: Vec<Value> = (0..65).map(|i| condition(&format!("a{i}"), "true")).collect();
    conditions(json!(many), &[": Too many: 65: must have at most 64 items"]);
}

#[test]
fn what_was_let_pass_may_stay() {
    for kind in BOTH {
        let update = |new: &Value, old: &Value, want: &[&str]| {
            let want: Vec<String> = want.iter().map(|fault| (*fault).to_owned()).collect();
            check(kind, &of(new.clone()), Some(&of(old.clone())), &want);
        };
        let good = json!([hook(|_| {})]);
        let versioned = |version: &str| json!([hook(|h| h["admissionReviewVersions"] = json!([version]))]);
        update(&versioned("invalid-v2"), &versioned("invalid-v1"), &[]);
        let unknown = r#"webhooks[0].admissionReviewVersions: Invalid value: ["invalid-v1"]: must include at least one of v1, v1beta1"#;
        update(&versioned("invalid-v1"), &good, &[unknown]);
        let twice = json!([hook(|_| {}), hook(|_| {})]);
        update(&twice, &twice, &[]);
        update(&twice, &good, &[r#"webhooks[1].name: Duplicate value: "webhook.k8s.io""#]);
        let effects = |effects: &str| json!([hook(|h| h["sideEffects"] = json!(effects))]);
        update(&effects("Some"), &effects("Unknown"), &[]);
        update(
            &effects("Unknown"),
            &good,
            &[r#"webhooks[0].sideEffects: Unsupported value: "Unknown": supported values: "None", "NoneOnDryRun""#],
        );
        let selecting = |value: &str| {
            json!([hook(|h| h["objectSelector"] =
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": [value]}]}))])
        };
        update(&selecting("also a value"), &selecting("a value"), &[]);
        let condition = |expression: &str| {
            json!([hook(|h| h["matchConditions"] = json!([{"name": "a", "expression": expression}]))])
        };
        update(&condition("nothing"), &condition("nothing"), &[]);
        update(
            &condition("1"),
            &condition("nothing"),
            &[r#"webhooks[0].matchConditions[0].expression: Invalid value: "1": must evaluate to bool but got int"#],
        );
    }
}
