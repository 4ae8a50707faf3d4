//! `tainttoleration/taint_toleration_test.go`, with the gate of comparing operators closed, as it is by default.

use expect_test::expect;
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};
use serde_json::{Value, json};

use super::{World, added, check, deleted, node, pod, updated};

/// A node with taints: key, value, effect.
fn tainted(name: &str, taints: &[(&str, &str, &str)]) -> ApiNode {
    let taint = |(key, value, effect): &(&str, &str, &str)| json!({"key": key, "value": value, "effect": effect});
    node(name, json!({"taints": taints.iter().map(taint).collect::<Vec<_>>()}))
}

fn tolerating(name: &str, tolerations: Value) -> ApiPod {
    pod(name, json!({"tolerations": tolerations}))
}

#[test]
fn filter() {
    let nodes = [
        tainted("user1", &[("dedicated", "user1", "NoSchedule")]),
        tainted("user2", &[("dedicated", "user2", "NoSchedule"), ("foo", "bar", "NoSchedule")]),
        tainted("evicting", &[("foo", "bar", "NoExecute")]),
        tainted("preferring", &[("dedicated", "user1", "PreferNoSchedule")]),
        tainted("sla", &[("sla", "950", "NoSchedule")]),
    ];
    let mut world = World::new("TaintToleration", json!(null)).with(&nodes, &[]);
    let no = "UnschedulableAndUnresolvable node(s) had untolerated taint(s)";
    let mut check = |tolerations: Value, admitting: &[&str]| {
        let expected: Vec<_> = ["user1", "user2", "evicting", "preferring", "sla"]
            .map(|name| format!("{name} {}", if admitting.contains(&name) { "Success" } else { no }))
            .into();
        assert_eq!(world.filter(&tolerating("p", tolerations.clone())), expected.join("\n"), "{tolerations}");
    };
    check(json!([]), &["preferring"]);
    // The operator is Equal where none is given.
    check(json!([{"key": "dedicated", "value": "user1", "effect": "NoSchedule"}]), &["user1", "preferring"]);
    check(
        json!([{"key": "dedicated", "operator": "Equal", "value": "user2", "effect": "NoSchedule"}]),
        &["preferring"],
    );
    check(
        json!([
            {"key": "dedicated", "operator": "Equal", "value": "user2", "effect": "NoSchedule"},
            {"key": "foo", "operator": "Exists", "effect": "NoSchedule"},
        ]),
        &["user2", "preferring"],
    );
    // Another effect does not match; none matches all.
    check(json!([{"key": "foo", "value": "bar", "effect": "PreferNoSchedule"}]), &["preferring"]);
    check(json!([{"key": "foo", "value": "bar"}]), &["evicting", "preferring"]);
    check(json!([{"operator": "Exists"}]), &["user1", "user2", "evicting", "preferring", "sla"]);
    check(json!([{"operator": "Exists", "effect": "NoSchedule"}]), &["user1", "user2", "preferring", "sla"]);
    for operator in ["Gt", "Lt"] {
        let toleration = |value: &str| json!({"key": "sla", "operator": operator, "value": value});
        check(json!([toleration("750"), toleration("1000")]), &["preferring"]);
    }
}

#[test]
fn score() {
    let arm = ("cpu-type", "arm64", "PreferNoSchedule");
    let ssd = ("disk-type", "ssd", "PreferNoSchedule");
    let prefer = |key: &str, value: &str| json!({"key": key, "value": value, "effect": "PreferNoSchedule"});
    let score = |tolerations: Value, nodes: &[ApiNode]| {
        World::new("TaintToleration", json!(null)).with(nodes, &[]).score(&tolerating("p", tolerations))
    };
    check(
        score(
            json!([prefer("foo", "bar")]),
            &[
                tainted("a", &[("foo", "bar", "PreferNoSchedule")]),
                tainted("b", &[("foo", "blah", "PreferNoSchedule")]),
            ],
        ),
        expect!["a 100, b 0"],
    );
    let nodes = [tainted("a", &[]), tainted("b", &[arm]), tainted("c", &[arm, ssd])];
    // What is tolerated does not count, however many there are.
    check(
        score(json!([prefer("cpu-type", "arm64"), prefer("disk-type", "ssd")]), &nodes),
        expect!["a 100, b 100, c 100"],
    );
    check(score(json!([prefer("foo", "bar")]), &nodes), expect!["a 100, b 50, c 0"]);
    // Only PreferNoSchedule counts, of taints and of tolerations; one without an effect is for all of them.
    let hard = json!([{"key": "cpu-type", "value": "arm64", "effect": "NoSchedule"}]);
    let mixed = [tainted("a", &[]), tainted("b", &[("cpu-type", "arm64", "NoSchedule")]), tainted("c", &[arm, ssd])];
    check(score(hard, &mixed), expect!["a 100, b 100, c 0"]);
    check(score(json!([{"key": "cpu-type", "value": "arm64"}]), &nodes), expect!["a 100, b 100, c 0"]);
    check(score(json!([]), &nodes[..2]), expect!["a 100, b 0"]);
}

#[test]
fn hints() {
    let user2 = |name: &str| tolerating(name, json!([{"key": "dedicated", "value": "user2", "effect": "NoSchedule"}]));
    let more = |name: &str| {
        let second = json!({"key": "foo", "effect": "NoSchedule"});
        tolerating(name, json!([{"key": "dedicated", "value": "user2", "effect": "NoSchedule"}, second]))
    };
    let is = |values: &[&str]| {
        let taints: Vec<_> = values.iter().map(|value| ("dedicated", *value, "NoSchedule")).collect();
        tainted("a", &taints)
    };
    World::new("TaintToleration", json!(null)).check_hints(
        &user2("p"),
        vec![
            ("a node with a taint not tolerated comes", added(is(&["user1"]))),
            ("a node with a taint tolerated comes", added(is(&["user2"]))),
            ("a node gets one more taint not tolerated", updated(is(&["user1"]), is(&["user1", "user3"]))),
            ("a node's taint becomes one tolerated", updated(is(&["user1"]), is(&["user2"]))),
            ("a node's taint becomes one not tolerated", updated(is(&["user2"]), is(&["user1"]))),
            ("a node with a taint tolerated loses it", updated(is(&["user2"]), is(&[]))),
            ("a node goes", deleted(is(&["user2"]))),
            ("another pod gets a toleration", updated(user2("q"), more("q"))),
            ("the pod gets a toleration", updated(user2("p"), more("p"))),
        ],
        expect![[r#"
            Skip: a node with a taint not tolerated comes
            Queue: a node with a taint tolerated comes
            Skip: a node gets one more taint not tolerated
            Queue: a node's taint becomes one tolerated
            Skip: a node's taint becomes one not tolerated
            Skip: a node with a taint tolerated loses it
            unregistered: a node goes
            Skip: another pod gets a toleration
            Queue: the pod gets a toleration"#]],
    );
}
