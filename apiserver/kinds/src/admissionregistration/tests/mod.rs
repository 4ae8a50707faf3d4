//! The faults of upstream's own tests of this group.

mod bindings;
mod policies;
mod webhooks;

use serde_json::{Value, json};

use super::Kind;
use model::check::said;

/// A rule for what upstream's tests match.
fn rule(change: impl FnOnce(&mut Value)) -> Value {
    let mut rule = json!({"operations": ["CREATE"], "apiGroups": ["a"], "apiVersions": ["a"], "resources": ["a"]});
    change(&mut rule);
    rule
}

/// Faults of rules that all holders of rules have, in their order; to be told below the path of the list.
fn rule_faults() -> Vec<(Value, Vec<&'static str>)> {
    let of = |field: &str, value: Value| rule(|rule| rule[field] = value);
    let operations = r#"supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE""#;
    vec![
        (rule(|_| {}), vec![]),
        (of("operations", json!(["*"])), vec![]),
        (of("operations", json!([])), vec!["[0].operations: Required value"]),
        (
            of("operations", json!(["CREATE", ""])),
            vec![leak(format!(r#"[0].operations[1]: Unsupported value: "": {operations}"#))],
        ),
        (
            of("operations", json!(["PATCH"])),
            vec![leak(format!(r#"[0].operations[0]: Unsupported value: "PATCH": {operations}"#))],
        ),
        (
            of("operations", json!(["CREATE", "*"])),
            vec![
                r#"[0].operations: Invalid value: ["CREATE","*"]: if '*' is present, must not specify other operations"#,
            ],
        ),
        (of("apiGroups", json!([])), vec!["[0].apiGroups: Required value"]),
        (
            of("apiGroups", json!(["", "*"])),
            vec![r#"[0].apiGroups: Invalid value: ["","*"]: if '*' is present, must not specify other API groups"#],
        ),
        (of("apiVersions", json!([])), vec!["[0].apiVersions: Required value"]),
        (
            of("apiVersions", json!(["", "*"])),
            vec![
                r#"[0].apiVersions: Invalid value: ["","*"]: if '*' is present, must not specify other API versions"#,
                "[0].apiVersions[0]: Required value",
            ],
        ),
        (of("resources", json!([])), vec!["[0].resources: Required value"]),
        (of("resources", json!([""])), vec!["[0].resources[0]: Required value"]),
        (of("resources", json!(["*", "a/b", "a/*", "*/b"])), vec![]),
        (
            of("resources", json!(["*", "a"])),
            vec![
                r#"[0].resources: Invalid value: ["*","a"]: if '*' is present, must not specify other resources without subresources"#,
            ],
        ),
        (
            of("resources", json!(["a/*", "a/x"])),
            vec![r#"[0].resources[1]: Invalid value: "a/x": if 'a/*' is present, must not specify a/x"#],
        ),
        (of("resources", json!(["a/*", "a"])), vec![]),
        (
            of("resources", json!(["*/a", "x/a"])),
            vec![r#"[0].resources[1]: Invalid value: "x/a": if '*/a' is present, must not specify x/a"#],
        ),
        (
            of("resources", json!(["*/*", "a"])),
            vec![r#"[0].resources: Invalid value: ["*/*","a"]: if '*/*' is present, must not specify other resources"#],
        ),
        (
            of("scope", json!("x")),
            vec![r#"[0].scope: Unsupported value: "x": supported values: "*", "Cluster", "Namespaced""#],
        ),
    ]
}

fn leak(text: String) -> &'static str {
    text.leak()
}

fn check(kind: Kind, object: &Value, old: Option<&Value>, want: &[String]) {
    assert_eq!(said(&kind.check(object, old)), want, "{object}");
}
