//! `podtopologyspread/plugin_test.go`.

use expect_test::expect;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use serde_json::{Value, json};

use super::{
    super::{World, added, deleted, node, pod, updated},
    BAR, BOTH, FOO, hard, labels, soft, spread, wanting,
};

fn other(keys: &[&str]) -> ApiPod {
    pod("other", json!({"nodeName": "a", "labels": labels(keys)}))
}

#[test]
fn hints_of_pods() {
    let homeless = |keys: &[&str]| pod("other", json!({"labels": labels(keys)}));
    let nominated = |keys: &[&str]| pod("other", json!({"labels": labels(keys), "nominatedNodeName": "a"}));
    let foreign = pod("other", json!({"namespace": "another", "nodeName": "a", "labels": labels(FOO)}));
    let valued = |key: &str, value: &str| {
        let mut pod = other(FOO);
        pod.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        pod
    };
    World::new("PodTopologySpread", json!(null)).check_hints(
        &wanting(FOO, &[hard("zone", 1, "foo"), soft("zone", 1, "soft")], json!({})),
        vec![
            ("a pod that counts comes", added(other(FOO))),
            ("a pod without a node comes", added(homeless(FOO))),
            ("a pod of another namespace comes", added(foreign)),
            ("a pod that does not count comes", added(other(BAR))),
            ("a pod that a soft constraint counts comes", added(other(&["soft"]))),
            ("a pod without a node begins to count", updated(homeless(BAR), homeless(FOO))),
            ("a pod begins to count", updated(other(BAR), other(FOO))),
            ("a pod ceases to count", updated(other(FOO), other(BAR))),
            ("another label of a pod changes", updated(valued("bar", "1"), valued("bar", "2"))),
            ("a pod's label gets another value", updated(valued("foo", "1"), valued("foo", "2"))),
            ("a pod that counts goes", deleted(other(FOO))),
            ("a pod that does not count goes", deleted(other(BAR))),
            ("a pod without a node goes", deleted(homeless(FOO))),
            ("a nominated pod that counts goes", deleted(nominated(FOO))),
            ("a nominated pod that does not count goes", deleted(nominated(BAR))),
        ],
        expect![[r#"
            Queue: a pod that counts comes
            Skip: a pod without a node comes
            Skip: a pod of another namespace comes
            Skip: a pod that does not count comes
            Skip: a pod that a soft constraint counts comes
            Skip: a pod without a node begins to count
            Queue: a pod begins to count
            Queue: a pod ceases to count
            Skip: another label of a pod changes
            Skip: a pod's label gets another value
            Queue: a pod that counts goes
            Skip: a pod that does not count goes
            Skip: a pod without a node goes
            Queue: a nominated pod that counts goes
            Skip: a nominated pod that does not count goes"#]],
    );
    let is = |own: &[&str], tolerations: Value| pod("p", json!({"labels": labels(own), "tolerations": tolerations}));
    let toleration = || json!([{"key": "node.kubernetes.io/unschedulable"}]);
    for (policy, expected) in [
        (
            "Honor",
            expect![[r#"
                Queue: the pod gets a toleration
                Queue: the pod gets a label that counts
                Skip: the pod gets another label
                Queue: another pod begins to count for one of two"#]],
        ),
        (
            "Ignore",
            expect![[r#"
                Skip: the pod gets a toleration
                Queue: the pod gets a label that counts
                Skip: the pod gets another label
                Queue: another pod begins to count for one of two"#]],
        ),
    ] {
        let zone = spread("zone", 1, true, "foo", json!({"nodeTaintsPolicy": policy}));
        World::new("PodTopologySpread", json!(null)).check_hints(
            &wanting(FOO, &[zone, hard("node", 1, "bar")], json!({})),
            vec![
                ("the pod gets a toleration", updated(is(FOO, json!([])), is(FOO, toleration()))),
                ("the pod gets a label that counts", updated(is(&[], json!([])), is(FOO, json!([])))),
                ("the pod gets another label", updated(is(&[], json!([])), is(&["baz"], json!([])))),
                ("another pod begins to count for one of two", updated(other(FOO), other(BOTH))),
            ],
            expected,
        );
    }
}

#[test]
fn hints_of_nodes() {
    let is = |labels: Value| node("a", json!({"labels": labels}));
    let tainted = |labels: Value, key: &str| {
        node("a", json!({"labels": labels, "taints": [{"key": key, "effect": "NoSchedule"}]}))
    };
    let zone = || json!({"zone": "z1"});
    let both = |node: &str| json!({"zone": "z1", "node": node});
    World::new("PodTopologySpread", json!(null)).check_hints(
        &wanting(FOO, &[hard("zone", 1, "foo"), hard("node", 1, "foo"), soft("rack", 1, "foo")], json!({})),
        vec![
            ("a node with one of two labels comes", added(is(zone()))),
            ("a node with both comes", added(is(both("1")))),
            ("a node with one goes", deleted(is(zone()))),
            ("a node with both goes", deleted(is(both("1")))),
            ("a node gets the second", updated(is(zone()), is(both("1")))),
            ("a node loses the second", updated(is(both("1")), is(zone()))),
            ("a node's second changes", updated(is(both("1")), is(both("2")))),
            ("a node's first of one changes", updated(is(zone()), is(json!({"zone": "z2"})))),
            ("another label comes", updated(is(both("1")), is(json!({"zone": "z1", "node": "1", "foo": "bar"})))),
            ("the taints of a node with both change", updated(tainted(both("1"), "x"), tainted(both("1"), "y"))),
            ("the taints of a node with one change", updated(tainted(zone(), "x"), tainted(zone(), "y"))),
        ],
        expect![[r#"
            Skip: a node with one of two labels comes
            Queue: a node with both comes
            Skip: a node with one goes
            Queue: a node with both goes
            Queue: a node gets the second
            Queue: a node loses the second
            Queue: a node's second changes
            Skip: a node's first of one changes
            Skip: another label comes
            Queue: the taints of a node with both change
            Skip: the taints of a node with one change"#]],
    );
}
