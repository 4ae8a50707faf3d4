use serde_json::{Value, json};

use super::*;
use crate::authn::claims::groups;
use crate::testing::Objects;

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo { name: name.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..UserInfo::default() }
}

fn rule(value: Value) -> Rule {
    Rule::read(&value)
}

fn cluster() -> Arc<Objects> {
    let objects = Objects::default();
    let role = |name: &str, rules: Value| json!({"metadata": {"name": name}, "rules": rules});
    let bind = |name: &str, role: &str, subjects: Value| json!({"metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": subjects});
    objects.put(
        &CLUSTER_ROLES,
        role(
            "reader",
            json!([
                {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
                {"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]},
                {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"]},
                {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez/*"]},
            ]),
        ),
    );
    objects.put(&CLUSTER_ROLES, role("all", json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])));
    objects.put(
        &CLUSTER_ROLE_BINDINGS,
        bind("readers", "reader", json!([{"kind": "User", "name": "jane"}, {"kind": "Group", "name": "devs"}])),
    );
    objects.put(&CLUSTER_ROLE_BINDINGS, bind("lost", "nowhere", json!([{"kind": "User", "name": "joe"}])));
    let mut local = bind(
        "admins",
        "all",
        json!([{"kind": "ServiceAccount", "name": "bot"}, {"kind": "ServiceAccount", "name": "x", "namespace": "other"}]),
    );
    local["metadata"]["namespace"] = "ns".into();
    objects.put(&ROLE_BINDINGS, local);
    Arc::new(objects)
}

#[test]
fn decisions_and_their_reasons() {
    let rbac = Rbac::new(cluster());
    let (jane, dev, joe) = (user("jane", &[]), user("dev", &["devs"]), user("joe", &[]));
    let bot = user("system:serviceaccount:ns:bot", &[]);
    let ask = |user: &UserInfo, verb, group, resource, subresource, namespace, name| {
        let decision = rbac.authorize(&Attributes {
            subresource,
            namespace,
            name,
            ..Attributes::resource(user, verb, group, resource)
        });
        format!("{} {}", if decision.allowed() { "yes" } else { "no" }, decision.reason())
    };
    let jane_reads = r#"yes RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to User "jane""#;
    assert_eq!(ask(&jane, "get", "", "pods", "", "ns", "a"), jane_reads);
    assert_eq!(ask(&jane, "list", "", "pods", "log", "", ""), jane_reads);
    assert_eq!(ask(&jane, "get", "apps", "deployments", "scale", "", ""), jane_reads);
    assert_eq!(ask(&jane, "get", "", "secrets", "", "ns", "one"), jane_reads);
    let dev_reads = r#"yes RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to Group "devs""#;
    assert_eq!(ask(&dev, "get", "", "pods", "", "ns", "a"), dev_reads);
    for (verb, group, resource, subresource, name) in [
        ("create", "", "pods", "", ""),
        ("get", "apps", "pods", "", ""),
        ("get", "", "pods", "exec", ""),
        ("get", "", "secrets", "", "two"),
        ("get", "", "deployments", "", ""),
    ] {
        assert_eq!(ask(&jane, verb, group, resource, subresource, "ns", name), "no ");
    }
    let bot_may = r#"yes RBAC: allowed by RoleBinding "admins/ns" of ClusterRole "all" to ServiceAccount "bot/ns""#;
    assert_eq!(ask(&bot, "delete", "apps", "deployments", "", "ns", "a"), bot_may);
    assert_eq!(ask(&bot, "delete", "apps", "deployments", "", "other", "a"), "no ");
    assert_eq!(
        ask(&joe, "get", "", "pods", "", "", ""),
        r#"no RBAC: clusterrole.rbac.authorization.k8s.io "nowhere" not found"#
    );
    for (path, allowed) in [("/healthz", true), ("/livez/ping", true), ("/livez", false), ("/metrics", false)] {
        assert_eq!(rbac.authorize(&Attributes::path(&jane, "get", path)).allowed(), allowed, "{path}");
    }
}

#[test]
fn a_change_of_roles_counts_at_once() {
    let objects = cluster();
    let rbac = Rbac::new(objects.clone());
    let jane = user("jane", &[]);
    let question = Attributes::resource(&jane, "watch", "", "pods");
    assert!(!rbac.authorize(&question).allowed());
    objects.put(&CLUSTER_ROLES, json!({"metadata": {"name": "reader"}, "rules": [{"verbs": ["watch"], "apiGroups": [""], "resources": ["pods"]}]}));
    assert!(rbac.authorize(&question).allowed());
    assert!(!rbac.authorize(&Attributes { verb: "get", ..question }).allowed());
}

#[test]
fn rules_of_a_user_are_of_all_their_bindings_once() {
    let rbac = Rbac::new(cluster());
    let rules = rbac.rules_for(&user("jane", &["devs"]), "ns");
    assert_eq!((rules.rules.len(), rules.errors.len()), (4, 0));
    let rules = rbac.rules_for(&user("joe", &["devs"]), "ns");
    assert_eq!(
        (rules.rules.len(), rules.errors.join("").as_str()),
        (4, r#"clusterrole.rbac.authorization.k8s.io "nowhere" not found"#)
    );
    assert_eq!(
        rbac.rules_for(
            &UserInfo { name: "system:serviceaccount:ns:bot".into(), groups: groups("ns"), ..UserInfo::default() },
            "ns"
        )
        .rules
        .len(),
        1
    );
}

#[test]
fn what_is_covered() {
    let r = |v: &[&str], g: &[&str], res: &[&str], names: &[&str]| {
        rule(json!({"verbs": v, "apiGroups": g, "resources": res, "resourceNames": names}))
    };
    let url = |v: &[&str], urls: &[&str]| rule(json!({"verbs": v, "nonResourceURLs": urls}));
    for (held, wanted, expect) in [
        (r(&["*"], &["*"], &["*"], &[]), r(&["get"], &["apps"], &["deployments/scale"], &["a"]), true),
        (r(&["get"], &["apps"], &["*/scale"], &[]), r(&["get"], &["apps"], &["deployments/scale"], &[]), true),
        (r(&["get"], &["apps"], &["*/scale"], &[]), r(&["get"], &["apps"], &["deployments"], &[]), false),
        (r(&["get"], &[""], &["pods"], &["a"]), r(&["get"], &[""], &["pods"], &["a"]), true),
        (r(&["get"], &[""], &["pods"], &["a"]), r(&["get"], &[""], &["pods"], &[]), false),
        (r(&["get"], &[""], &["pods"], &[]), r(&["get", "list"], &[""], &["pods"], &[]), false),
        (url(&["get"], &["/a/*"]), url(&["get"], &["/a/b"]), true),
        (url(&["get"], &["/a/*"]), url(&["get"], &["/b"]), false),
        (url(&["*"], &["*"]), r(&["get"], &[""], &["pods"], &[]), false),
    ] {
        assert_eq!(covers(std::slice::from_ref(&held), std::slice::from_ref(&wanted)), expect, "{held:?} {wanted:?}");
    }
}

#[test]
fn giving_away_what_one_lacks_names_what() {
    let held = Rules {
        rules: vec![rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}))],
        ..Rules::default()
    };
    let jane = user("jane", &["devs", "system:authenticated"]);
    let wanted = [
        rule(json!({"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]})),
        rule(json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["a"]})),
        rule(json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]})),
    ];
    assert_eq!(escalation::confirm(&jane, &held, &wanted[..0]), Ok(()));
    assert_eq!(
        escalation::confirm(&jane, &held, &wanted).unwrap_err(),
        "user \"jane\" (groups=[\"devs\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\" \"watch\"]}\n\
         {APIGroups:[\"apps\"], Resources:[\"deployments\"], ResourceNames:[\"a\"], Verbs:[\"get\"]}\n\
         {NonResourceURLs:[\"/metrics\"], Verbs:[\"get\"]}"
    );
}
