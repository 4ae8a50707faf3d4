//! `nodeaffinity/node_affinity_test.go`.

use expect_test::expect;
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};
use serde_json::{Value, json};

use super::{World, added, check, deleted, node, pod, updated};

fn labelled(name: &str, labels: Value) -> ApiNode {
    node(name, json!({"labels": labels}))
}

/// One requirement.
fn is(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": operator, "values": values})
}

fn expressions(all: &[Value]) -> Value {
    json!({"matchExpressions": all})
}

fn names(all: &[&str]) -> Value {
    json!({"matchFields": all.iter().map(|name| is("metadata.name", "In", &[name])).collect::<Vec<_>>()})
}

fn requiring(terms: &[Value]) -> Value {
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
}

fn preferring(terms: &[(i32, Value)]) -> Value {
    let term = |(weight, preference): &(i32, Value)| json!({"weight": weight, "preference": preference});
    let terms: Vec<_> = terms.iter().map(term).collect();
    json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}})
}

fn wanting(affinity: Value) -> ApiPod {
    pod("p", json!({"affinity": affinity}))
}

const NO: &str = "UnschedulableAndUnresolvable node(s) didn't match Pod's node affinity/selector";

#[test]
fn selectors_and_expressions() {
    let check = |labels: Value, pod: &ApiPod, admits: bool| {
        let answer = World::new("NodeAffinity", json!(null)).with(&[labelled("a", labels)], &[]).filter(pod);
        assert_eq!(answer, format!("a {}", if admits { "Success" } else { NO }), "{:?}", pod.spec);
    };
    let selector = |labels: Value| pod("p", json!({"nodeSelector": labels}));
    check(json!({}), &selector(json!({"foo": "bar"})), false);
    check(json!({"foo": "bar"}), &selector(json!({"foo": "bar"})), true);
    check(json!({"foo": "bar", "baz": "blah"}), &selector(json!({"foo": "bar"})), true);
    check(json!({"foo": "bar"}), &selector(json!({"foo": "bar", "baz": "blah"})), false);

    let all = |requirements: &[Value]| wanting(requiring(&[expressions(requirements)]));
    check(json!({"foo": "bar"}), &all(&[is("foo", "In", &["bar", "value2"])]), true);
    check(json!({"foo": "bar"}), &all(&[is("foo", "In", &["value1", "value2"])]), false);
    check(json!({"kernel": "0206"}), &all(&[is("kernel", "Gt", &["0204"])]), true);
    check(json!({"kernel": "0204"}), &all(&[is("kernel", "Gt", &["0204"])]), false);
    check(json!({"kernel": "0203"}), &all(&[is("kernel", "Lt", &["0204"])]), true);
    check(json!({"kernel": "new"}), &all(&[is("kernel", "Gt", &["0204"])]), false);
    check(json!({"mem": "DDR3"}), &all(&[is("mem", "NotIn", &["DDR", "DDR2"])]), true);
    check(json!({}), &all(&[is("mem", "NotIn", &["DDR", "DDR2"])]), true);
    check(json!({"gpu": "k1"}), &all(&[is("gpu", "Exists", &[])]), true);
    check(json!({"gpu": "k1"}), &all(&[is("gpu", "DoesNotExist", &[])]), false);
    // Requirements are all to hold; of terms one is enough. An empty term, and no term, match nothing.
    check(json!({"gpu": "k1"}), &all(&[is("gpu", "Exists", &[]), is("gpu", "NotIn", &["AMD"])]), true);
    check(json!({"gpu": "k1"}), &all(&[is("gpu", "Exists", &[]), is("gpu", "In", &["AMD"])]), false);
    let either = [expressions(&[is("foo", "In", &["bar"])]), expressions(&[is("other", "In", &["wrong"])])];
    check(json!({"foo": "bar"}), &wanting(requiring(&either)), true);
    check(json!({"foo": "bar"}), &all(&[]), false);
    check(json!({"foo": "bar"}), &wanting(requiring(&[])), false);
    // Selector and affinity are both to hold.
    let both = |value: &str| {
        let exists = requiring(&[expressions(&[is("foo", "Exists", &[])])]);
        pod("p", json!({"nodeSelector": {"foo": value}, "affinity": exists}))
    };
    check(json!({"foo": "bar"}), &both("bar"), true);
    check(json!({"foo": "barrr"}), &both("bar"), false);
}

#[test]
fn names_narrow_the_search() {
    let nodes = [labelled("node1", json!({"foo": "bar"})), labelled("node2", json!({"foo": "bar"}))];
    let mut world = World::new("NodeAffinity", json!(null)).with(&nodes, &[]);
    let mut filter = |pod: &ApiPod| world.filter(pod);
    check(filter(&pod("p", json!({}))), expect!["PreFilter Skip"]);
    check(filter(&wanting(json!({"nodeAffinity": {}}))), expect!["PreFilter Skip"]);
    check(
        filter(&wanting(requiring(&[names(&["node1"])]))),
        expect![[r#"
            only node1
            node1 Success
            node2 UnschedulableAndUnresolvable node(s) didn't match Pod's node affinity/selector"#]],
    );
    check(
        filter(&wanting(requiring(&[names(&["node2"]), names(&["node1"])]))),
        expect![[r#"
            only node1 node2
            node1 Success
            node2 Success"#]],
    );
    // A term without names admits nodes of any name.
    check(
        filter(&wanting(requiring(&[names(&["node1", "node2"]), expressions(&[is("foo", "In", &["bar"])])]))),
        expect![[r#"
            node1 Success
            node2 Success"#]],
    );
    let mut one = names(&["node1"]);
    one["matchExpressions"] = json!([is("foo", "In", &["bar"])]);
    check(
        filter(&wanting(requiring(&[one]))),
        expect![[r#"
            only node1
            node1 Success
            node2 UnschedulableAndUnresolvable node(s) didn't match Pod's node affinity/selector"#]],
    );
    let not = json!({"matchFields": [is("metadata.name", "NotIn", &["node1"])]});
    check(
        filter(&wanting(requiring(&[not]))),
        expect![[r#"
            node1 UnschedulableAndUnresolvable node(s) didn't match Pod's node affinity/selector
            node2 Success"#]],
    );
    check(
        filter(&wanting(requiring(&[names(&["node1", "node2"])]))),
        expect!["PreFilter UnschedulableAndUnresolvable pod affinity terms conflict"],
    );
}

#[test]
fn affinity_that_a_profile_adds() {
    let zone = |value: &str| requiring(&[expressions(&[is("zone", "In", &[value])])])["nodeAffinity"].clone();
    let filter = |added: Value, affinity: Value| {
        World::new("NodeAffinity", json!({"addedAffinity": added}))
            .with(&[labelled("node2", json!({"zone": "foo"}))], &[])
            .filter(&wanting(affinity))
    };
    let node2 = requiring(&[names(&["node2"])])["nodeAffinity"].clone();
    check(filter(node2.clone(), json!({"nodeAffinity": zone("foo")})), expect!["node2 Success"]);
    check(
        filter(node2, json!({"nodeAffinity": zone("bar")})),
        expect!["node2 UnschedulableAndUnresolvable node(s) didn't match Pod's node affinity/selector"],
    );
    check(
        filter(zone("bar"), json!({})),
        expect!["node2 UnschedulableAndUnresolvable node(s) didn't match scheduler-enforced node affinity"],
    );
}

#[test]
fn score() {
    let (foo, key) = (json!({"foo": "bar"}), json!({"key": "value"}));
    let all = json!({"foo": "bar", "key": "value", "az": "az1"});
    let one = [(2, expressions(&[is("foo", "In", &["bar"])]))];
    let three = [
        one[0].clone(),
        (4, expressions(&[is("key", "In", &["value"])])),
        (5, expressions(&[is("foo", "In", &["bar"]), is("key", "In", &["value"]), is("az", "In", &["az1"])])),
    ];
    let score = |args: Value, labels: &[&Value], pod: &ApiPod| {
        let nodes: Vec<_> =
            labels.iter().zip(["a", "b", "c"]).map(|(labels, name)| labelled(name, (*labels).clone())).collect();
        World::new("NodeAffinity", args).with(&nodes, &[]).score(pod)
    };
    let added = |terms: &[(i32, Value)]| json!({"addedAffinity": preferring(terms)["nodeAffinity"]});
    let plain = pod("p", json!({}));
    check(score(json!(null), &[&foo, &key], &plain), expect!["Skip"]);
    check(score(json!(null), &[&key, &key, &key], &wanting(preferring(&one))), expect!["a 0, b 0, c 0"]);
    check(score(json!(null), &[&foo, &key, &key], &wanting(preferring(&one))), expect!["a 100, b 0, c 0"]);
    check(score(json!(null), &[&foo, &all, &key], &wanting(preferring(&three))), expect!["a 18, b 100, c 36"]);
    check(score(added(&one), &[&foo, &key], &plain), expect!["a 100, b 0"]);
    let three_for_key = added(&[(3, expressions(&[is("key", "In", &["value"])]))]);
    check(score(three_for_key, &[&foo, &key, &all], &wanting(preferring(&one))), expect!["a 40, b 60, c 100"]);
}

#[test]
fn hints() {
    let plain = || labelled("a", json!({}));
    let right = || labelled("a", json!({"foo": "bar"}));
    let wrong = || labelled("a", json!({"k": "v"}));
    let right_and_more = || labelled("a", json!({"foo": "bar", "k": "v"}));
    let pod = wanting(requiring(&[expressions(&[is("foo", "In", &["bar"])])]));
    World::new("NodeAffinity", json!(null)).check_hints(
        &pod,
        vec![
            ("a node comes", added(plain())),
            ("a node that matches comes", added(right())),
            ("a node gets another label", updated(plain(), wrong())),
            ("a node ceases to match", updated(right(), wrong())),
            ("a node begins to match", updated(plain(), right())),
            ("a node that matches gets another label", updated(right(), right_and_more())),
            (
                "a node's taints change",
                updated(plain(), node("a", json!({"taints": [{"key": "x", "effect": "NoExecute"}]}))),
            ),
            ("a node goes", deleted(right())),
        ],
        expect![[r#"
            Skip: a node comes
            Queue: a node that matches comes
            Skip: a node gets another label
            Skip: a node ceases to match
            Queue: a node begins to match
            Skip: a node that matches gets another label
            unregistered: a node's taints change
            unregistered: a node goes"#]],
    );
    // The affinity that the profile adds is to hold, too.
    let zone = requiring(&[expressions(&[is("zone", "In", &["z"])])])["nodeAffinity"].clone();
    World::new("NodeAffinity", json!({"addedAffinity": zone})).check_hints(
        &pod,
        vec![
            ("a node begins to match the pod alone", updated(plain(), right())),
            ("a node begins to match both", updated(plain(), labelled("a", json!({"foo": "bar", "zone": "z"})))),
        ],
        expect![[r#"
            Skip: a node begins to match the pod alone
            Queue: a node begins to match both"#]],
    );
}
