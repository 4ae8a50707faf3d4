//! `nodeunschedulable/node_unschedulable_test.go`.

use expect_test::expect;
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};
use serde_json::json;

use super::{World, added, check, node, pod, updated};

fn tolerating(name: &str, key: &str) -> ApiPod {
    pod(name, json!({"tolerations": [{"key": key, "effect": "NoSchedule"}]}))
}

const TAINT: &str = "node.kubernetes.io/unschedulable";

#[test]
fn filter() {
    let nodes = [node("cordoned", json!({"unschedulable": true})), node("open", json!({}))];
    let mut world = World::new("NodeUnschedulable", json!(null)).with(&nodes, &[]);
    check(
        world.filter(&pod("p", json!({}))),
        expect![[r#"
            cordoned UnschedulableAndUnresolvable node(s) were unschedulable
            open Success"#]],
    );
    check(
        world.filter(&tolerating("p", TAINT)),
        expect![[r#"
            cordoned Success
            open Success"#]],
    );
    check(
        world.filter(&tolerating("p", "other")),
        expect![[r#"
            cordoned UnschedulableAndUnresolvable node(s) were unschedulable
            open Success"#]],
    );
}

#[test]
fn hints() {
    let plain = |name: &str| pod(name, json!({}));
    let taints = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]);
    let is = |unschedulable: bool| node("a", json!({"unschedulable": unschedulable}));
    let tainted = |unschedulable: bool| -> ApiNode {
        node("a", json!({"unschedulable": unschedulable, "taints": taints.clone()}))
    };
    World::new("NodeUnschedulable", json!(null)).check_hints(
        &plain("p"),
        vec![
            ("a cordoned node comes", added(is(true))),
            ("an open node comes", added(is(false))),
            ("a cordoned node gets another taint", updated(is(true), tainted(true))),
            ("an open node gets another taint", updated(is(false), tainted(false))),
            ("a node is uncordoned", updated(is(true), is(false))),
            ("a node is cordoned", updated(is(false), is(true))),
            ("another pod gets the toleration", updated(plain("q"), tolerating("q", TAINT))),
            ("the pod gets the toleration", updated(plain("p"), tolerating("p", TAINT))),
            ("the pod gets another toleration", updated(plain("p"), tolerating("p", "other"))),
        ],
        expect![[r#"
            Skip: a cordoned node comes
            Queue: an open node comes
            Skip: a cordoned node gets another taint
            Skip: an open node gets another taint
            Queue: a node is uncordoned
            unregistered: a node is cordoned
            Skip: another pod gets the toleration
            Queue: the pod gets the toleration
            Skip: the pod gets another toleration"#]],
    );
}
