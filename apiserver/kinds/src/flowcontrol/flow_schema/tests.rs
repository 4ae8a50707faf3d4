//! The faults of upstream's own tests of FlowSchema.

use serde_json::json;

use super::*;
use model::check::said;

fn of(change: impl FnOnce(&mut Value)) -> Value {
    let mut schema = json!({
        "metadata": {"name": "system-foo"},
        "spec": {
            "matchingPrecedence": 50,
            "priorityLevelConfiguration": {"name": "system-bar"},
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "noxu"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
            }],
        },
    });
    change(&mut schema["spec"]);
    schema
}

fn check(change: impl FnOnce(&mut Value), want: &[&str]) {
    let schema = of(change);
    assert_eq!(said(&validate(&schema)), want, "{schema}");
}

#[test]
fn precedence_level_and_distinguisher() {
    check(|_| {}, &[]);
    check(
        |s| s["matchingPrecedence"] = json!(1),
        &["spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"],
    );
    check(
        |s| s["matchingPrecedence"] = json!(10001),
        &["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
    );
    check(
        |s| s["matchingPrecedence"] = json!(-1),
        &["spec.matchingPrecedence: Invalid value: -1: must be a positive value"],
    );
    check(
        |s| s["distinguisherMethod"] = json!({"type": "foo"}),
        &[
            r#"spec.distinguisherMethod.type: Unsupported value: {"Type":"foo"}: supported values: "ByNamespace", "ByUser""#,
        ],
    );
    check(
        |s| s["priorityLevelConfiguration"] = Value::Null,
        &["spec.priorityLevelConfiguration.name: Required value: must reference a priority level"],
    );
    let schema = of(|s| s["priorityLevelConfiguration"]["name"] = json!("system+++$$"));
    let said = said(&validate(&schema));
    let want = r#"spec.priorityLevelConfiguration.name: Invalid value: "system+++$$": a lowercase RFC 1123 subdomain"#;
    assert!(said.len() == 1 && said[0].starts_with(want), "{said:?}");
}

#[test]
fn subjects_are_of_their_kind_alone() {
    let subject = |subject: Value, want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("spec.rules[0].subjects[0].{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        check(|s| s["rules"][0]["subjects"] = json!([subject]), &want);
    };
    let (user, group) = (json!({"name": "noxu"}), json!({"name": "g"}));
    let account = json!({"namespace": "n", "name": "*"});
    subject(json!({"kind": "ServiceAccount", "serviceAccount": account}), &[]);
    subject(
        json!({"kind": "ServiceAccount", "user": user, "group": group}),
        &[
            "serviceAccount: Required value: serviceAccount is required when subject kind is 'ServiceAccount'",
            "user: Forbidden: user is forbidden when subject kind is not 'User'",
            "group: Forbidden: group is forbidden when subject kind is not 'Group'",
        ],
    );
    subject(
        json!({"kind": "User", "serviceAccount": account, "group": group}),
        &[
            "user: Required value: user is required when subject kind is 'User'",
            "serviceAccount: Forbidden: serviceAccount is forbidden when subject kind is not 'ServiceAccount'",
            "group: Forbidden: group is forbidden when subject kind is not 'Group'",
        ],
    );
    subject(
        json!({"kind": "Group", "serviceAccount": account, "user": user}),
        &[
            "group: Required value: group is required when subject kind is 'Group'",
            "serviceAccount: Forbidden: serviceAccount is forbidden when subject kind is not 'ServiceAccount'",
            "user: Forbidden: user is forbidden when subject kind is not 'User'",
        ],
    );
    subject(json!({"kind": "User", "user": {}}), &["user.name: Required value"]);
    subject(
        json!({"kind": "ServiceAccount", "serviceAccount": {"name": "noxu"}}),
        &["serviceAccount.namespace: Required value: must specify namespace for service account"],
    );
    for kind in ["FooKind", ""] {
        subject(
            json!({"kind": kind}),
            &[&format!(r#"kind: Unsupported value: "{kind}": supported values: "Group", "ServiceAccount", "User""#)],
        );
    }
    check(
        |s| s["rules"][0]["subjects"] = json!([]),
        &["spec.rules[0].subjects: Required value: subjects must contain at least one value"],
    );
}

#[test]
fn rules_say_all_or_name_what_there_is() {
    let at = "spec.rules[0].resourceRules[0]";
    let rule = |rule: Value, want: &[String]| {
        let want: Vec<String> = want.iter().map(|fault| format!("{at}.{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        check(|s| s["rules"][0]["resourceRules"] = json!([rule]), &want);
    };
    let others = |list: &str, given: &str, what: &str| {
        format!("{list}: Invalid value: {given}: if '*' is present, must not specify other {what}")
    };
    rule(
        json!({"verbs": ["*", "create"], "apiGroups": ["*", "tak"], "resources": ["*", "tok"], "namespaces": ["foo", "*"]}),
        &[
            others("verbs", r#"["*","create"]"#, "verbs"),
            others("apiGroups", r#"["*","tak"]"#, "api groups"),
            others("resources", r#"["*","tok"]"#, "resources"),
            others("namespaces", r#"["foo","*"]"#, "namespaces"),
        ],
    );
    rule(json!({"verbs": ["feed"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true}), &[
        r#"verbs: Unsupported value: ["feed"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch""#
            .to_owned(),
    ]);
    rule(
        json!({}),
        &[
            "verbs: Required value: verbs must contain at least one value".to_owned(),
            "apiGroups: Required value: resource rules must supply at least one api group".to_owned(),
            "resources: Required value: resource rules must supply at least one resource".to_owned(),
            "namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace"
                .to_owned(),
        ],
    );
    let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    rule(
        json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["-foo"]}),
        &[format!(
            "namespaces[0]: Invalid value: \"-foo\": each member of this list must be '*' or a DNS-1123 label; {label}"
        )],
    );
    check(
        |s| s["rules"][0]["resourceRules"] = Value::Null,
        &["spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty"],
    );
    check(
        |s| s["rules"][0]["nonResourceRules"] = json!([{"verbs": ["*"], "nonResourceURLs": ["*", "tik"]}]),
        &[
            r#"spec.rules[0].nonResourceRules[0].nonResourceURLs: Invalid value: ["*","tik"]: if '*' is present, must not specify other non-resource URLs"#,
        ],
    );
    check(
        |s| s["rules"][0]["nonResourceRules"] = json!([{"verbs": ["get"], "nonResourceURLs": ["/a", "x"]}]),
        &[r#"spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: "x": must start with slash"#],
    );
}

#[test]
fn paths_beside_resources() {
    for good in ["/", "/foo", "/foo/", "/foo/*"] {
        assert_eq!(url_fault(good), None, "{good}");
    }
    let wildcard = Some("wildcard can only do suffix matching");
    for (bad, want) in [
        ("", Some("must not be empty")),
        ("foo", Some("must start with slash")),
        ("//", Some("must not contain double slash")),
        ("/foo//bar", Some("must not contain double slash")),
        ("/foo bar", Some("must not contain white-space")),
        ("/*/foo", wildcard),
        ("/foo*", wildcard),
        ("/*foo", wildcard),
        ("/*/*", wildcard),
    ] {
        assert_eq!(url_fault(bad), want, "{bad}");
    }
}

#[test]
fn what_every_cluster_has_stays() {
    for name in ["exempt", "catch-all"] {
        let mut schema = of(|_| {});
        schema["metadata"]["name"] = json!(name);
        let said = said(&validate(&schema));
        let want = format!(
            concat!(
                r#"spec: Invalid value: {{"PriorityLevelConfiguration":{{"Name":"system-bar"}},"MatchingPrecedence":50,"DistinguisherMethod":null,"#,
                r#""Rules":[{{"Subjects":[{{"Kind":"User","User":{{"Name":"noxu"}},"Group":null,"ServiceAccount":null}}],"#,
                r#""ResourceRules":[{{"Verbs":["*"],"APIGroups":["*"],"Resources":["*"],"ClusterScope":false,"Namespaces":["*"]}}],"#,
                r#""NonResourceRules":null}}]}}: spec of '{}' must equal the fixed value"#
            ),
            name
        );
        assert_eq!(said, [want]);
    }
}
