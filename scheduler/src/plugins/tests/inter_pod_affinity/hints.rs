//! `interpodaffinity/plugin_test.go`.

use expect_test::expect;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use serde_json::{Value, json};

use super::{
    super::{added, deleted, pod, updated},
    AWAY, SCAN, WITH, exists, labelled, on, pending, required, term, world,
};

/// A pod with one or more labels on a node.
fn other(labels: Value) -> ApiPod {
    pod("other", json!({"nodeName": "a", "labels": labels}))
}

#[test]
fn hints_of_pods() {
    let with = |terms: &[Value]| pending(json!({}), required(WITH, terms));
    let away = || required(AWAY, &[term("service", "In", &SCAN, "region")]);
    let scan = || json!({"service": "securityscan"});
    let off = || json!({"aaa": "a"});
    let homeless = |labels: Value| pod("other", json!({"labels": labels}));
    let nominated = |labels: Value| pod("other", json!({"labels": labels, "nominatedNodeName": "a"}));
    world(json!(null)).check_hints(
        &with(&[term("service", "In", &SCAN, "region")]),
        vec![
            ("a pod that matches comes", added(other(scan()))),
            ("a pod that does not match comes", added(other(off()))),
            ("a pod without a node comes", added(homeless(scan()))),
            ("a pod nominated for a node comes", added(nominated(scan()))),
            ("a pod begins to match", updated(other(off()), other(scan()))),
            ("a pod matches before and after", updated(other(json!({"service": "value2"})), other(scan()))),
            ("a pod without a node begins to match", updated(homeless(off()), homeless(scan()))),
            ("a pod ceases to match", updated(other(scan()), other(off()))),
            ("a pod that matches goes", deleted(other(scan()))),
        ],
        expect![[r#"
            Queue: a pod that matches comes
            Skip: a pod that does not match comes
            Skip: a pod without a node comes
            Queue: a pod nominated for a node comes
            Queue: a pod begins to match
            Skip: a pod matches before and after
            Skip: a pod without a node begins to match
            Skip: a pod ceases to match
            Skip: a pod that matches goes"#]],
    );
    world(json!(null)).check_hints(
        &with(&[exists("aaa", "hostname"), exists("bbb", "hostname")]),
        vec![
            ("a pod comes that matches one of two terms", added(other(off()))),
            ("a pod comes that matches both", added(other(json!({"aaa": "", "bbb": ""})))),
            ("a pod begins to match both", updated(other(off()), other(json!({"aaa": "", "bbb": ""})))),
            ("a pod ceases to match one", updated(other(off()), other(scan()))),
            ("the pod's own labels change", updated(pending(off(), json!({})), pending(scan(), json!({})))),
        ],
        expect![[r#"
            Skip: a pod comes that matches one of two terms
            Queue: a pod comes that matches both
            Queue: a pod begins to match both
            Skip: a pod ceases to match one
            Queue: the pod's own labels change"#]],
    );
    world(json!(null)).check_hints(
        &pending(json!({"service": "foo"}), away()),
        vec![
            ("a pod ceases to match", updated(other(scan()), other(json!({"service": "aaa"})))),
            ("a pod begins to match", updated(other(json!({"service": "bbb"})), other(scan()))),
            ("a pod that does not match goes", deleted(other(off()))),
            ("a pod that matches goes", deleted(other(scan()))),
            ("a nominated pod that does not match goes", deleted(nominated(off()))),
            ("a nominated pod that matches goes", deleted(nominated(scan()))),
            ("a pod goes that keeps away from others than the pod", deleted(on("a", off(), away()))),
        ],
        expect![[r#"
            Queue: a pod ceases to match
            Skip: a pod begins to match
            Skip: a pod that does not match goes
            Queue: a pod that matches goes
            Skip: a nominated pod that does not match goes
            Queue: a nominated pod that matches goes
            Skip: a pod goes that keeps away from others than the pod"#]],
    );
    for (labels, expected) in [
        (scan(), expect!["Queue: a pod goes that keeps away from some"]),
        (json!({"service": "foo"}), expect!["Skip: a pod goes that keeps away from some"]),
    ] {
        world(json!(null)).check_hints(
            &pending(labels, json!({})),
            vec![("a pod goes that keeps away from some", deleted(on("a", json!({}), away())))],
            expected,
        );
    }
}

#[test]
fn hints_of_nodes() {
    let is = |labels: Value| labelled("a", labels);
    let changes = || {
        vec![
            ("a node with the label comes", added(is(json!({"zone": "z1"})))),
            ("a node without it comes", added(is(json!({})))),
            ("another label changes", updated(is(json!({"aaa": "a"})), is(json!({"aaa": "b"})))),
            ("a label is added", updated(is(json!({"zone": "z1"})), is(json!({"zone": "z1", "aaa": "a"})))),
            ("the domain changes", updated(is(json!({"zone": "z1"})), is(json!({"zone": "z2"})))),
            ("the label is added", updated(is(json!({"aaa": "a"})), is(json!({"zone": "z1"})))),
            ("the label is taken away", updated(is(json!({"zone": "z1"})), is(json!({"aaa": "a"})))),
            ("a node goes", deleted(is(json!({"zone": "z1"})))),
        ]
    };
    world(json!(null)).check_hints(
        &pending(json!({}), required(WITH, &[term("service", "In", &SCAN, "zone")])),
        changes(),
        expect![[r#"
            Queue: a node with the label comes
            Skip: a node without it comes
            Skip: another label changes
            Skip: a label is added
            Queue: the domain changes
            Queue: the label is added
            Skip: the label is taken away
            unregistered: a node goes"#]],
    );
    world(json!(null)).check_hints(
        &pending(json!({}), required(AWAY, &[term("another", "In", &["label"], "zone")])),
        changes(),
        expect![[r#"
            Queue: a node with the label comes
            Queue: a node without it comes
            Skip: another label changes
            Skip: a label is added
            Queue: the domain changes
            Skip: the label is added
            Queue: the label is taken away
            unregistered: a node goes"#]],
    );
}
