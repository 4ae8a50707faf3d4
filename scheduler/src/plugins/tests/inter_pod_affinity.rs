//! `interpodaffinity/filtering_test.go`.

mod hints;
mod score;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};
use serde_json::{Value, json};

use super::{World, node, pod};

const WITH: &str = "podAffinity";
const AWAY: &str = "podAntiAffinity";

fn labelled(name: &str, labels: Value) -> ApiNode {
    node(name, json!({"labels": labels}))
}

/// A term: pods whose label `key` is as the operator says, in a domain of `topology`.
fn term(key: &str, operator: &str, values: &[&str], topology: &str) -> Value {
    let selector = json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    json!({"labelSelector": selector, "topologyKey": topology})
}

fn exists(key: &str, topology: &str) -> Value {
    term(key, "Exists", &[], topology)
}

/// A term in the namespaces of these names and of those labelled with the team.
fn in_namespaces(mut term: Value, names: &[&str], team: Value) -> Value {
    term["namespaces"] = json!(names);
    term["namespaceSelector"] = match team {
        Value::String(team) => json!({"matchLabels": {"team": team}}),
        other => other,
    };
    term
}

/// Terms of affinity or anti-affinity that are to hold.
fn required(kind: &str, terms: &[Value]) -> Value {
    json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
}

/// Terms of affinity or anti-affinity with weights.
fn preferred(kind: &str, terms: &[(i32, Value)]) -> Value {
    let term = |(weight, term): &(i32, Value)| json!({"weight": weight, "podAffinityTerm": term});
    json!({kind: {"preferredDuringSchedulingIgnoredDuringExecution": terms.iter().map(term).collect::<Vec<_>>()}})
}

fn both(one: Value, other: Value) -> Value {
    let (mut all, Value::Object(other)) = (one, other) else { panic!("an affinity") };
    other.into_iter().for_each(|(kind, terms)| all[kind] = terms);
    all
}

fn pending(labels: Value, affinity: Value) -> ApiPod {
    pod("p", json!({"labels": labels, "affinity": affinity}))
}

/// A pod on a node; its name counts up with each.
fn on(node: &str, labels: Value, affinity: Value) -> ApiPod {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let name = format!("there-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    pod(&name, json!({"nodeName": node, "labels": labels, "affinity": affinity}))
}

fn of_namespace(mut pod: ApiPod, namespace: &str) -> ApiPod {
    pod.metadata.namespace = Some(namespace.to_owned());
    pod
}

fn world(args: Value) -> World {
    World::new("InterPodAffinity", args)
        .namespace("subteam1.team1", &[("team", "team1")])
        .namespace("subteam2.team1", &[("team", "team1")])
        .namespace("subteam1.team2", &[("team", "team2")])
        .namespace("subteam2.team2", &[("team", "team2")])
}

const SCAN: [&str; 2] = ["securityscan", "value2"];

#[test]
fn filter_on_one_node() {
    let check = |pods: &[ApiPod], pod: &ApiPod, expected: Expect| {
        let node = labelled("a", json!({"region": "r1", "zone": "z11"}));
        let other = labelled("other", json!({}));
        let answer = world(json!(null)).with(&[node, other], pods).filter(pod);
        expected.assert_eq(answer.lines().next().expect("a first line"));
    };
    let (scanned, s1) = (json!({"service": "securityscan"}), json!({"security": "S1"}));
    let there = || [on("a", scanned.clone(), json!({}))];
    let with = |terms: &[Value]| pending(s1.clone(), required(WITH, terms));

    check(&[], &pending(json!({}), json!({})), expect!["PreFilter Skip"]);
    check(&there(), &with(&[term("service", "In", &SCAN, "region")]), expect!["a Success"]);
    check(&there(), &with(&[term("service", "NotIn", &["securityscan3"], "region")]), expect!["a Success"]);
    let elsewhere = || [of_namespace(on("a", scanned.clone(), json!({})), "ns")];
    let mut named = term("service", "In", &SCAN, "region");
    named["namespaces"] = json!(["different"]);
    check(
        &elsewhere(),
        &with(&[named]),
        expect!["a UnschedulableAndUnresolvable node(s) didn't match pod affinity rules"],
    );
    check(
        &there(),
        &pending(scanned.clone(), required(WITH, &[term("service", "In", &["antivirusscan"], "region")])),
        expect!["a UnschedulableAndUnresolvable node(s) didn't match pod affinity rules"],
    );
    // Requirements of a term, and terms, are all to hold, for one and the same pod.
    let several = |value: &str| {
        let mut first = exists("service", "region");
        let absent = json!({"key": "wrong", "operator": "DoesNotExist"});
        first["labelSelector"]["matchExpressions"].as_array_mut().expect("a list").push(absent);
        with(&[first, term("service", "In", &[value], "region")])
    };
    check(&there(), &several("securityscan"), expect!["a Success"]);
    check(
        &there(),
        &several("securityscan2"),
        expect!["a UnschedulableAndUnresolvable node(s) didn't match pod affinity rules"],
    );
    // Affinity and anti-affinity together.
    let together = |labels: &Value, away: Value| {
        let with = required(WITH, &[term("service", "In", &SCAN, "region")]);
        pending(labels.clone(), both(with, required(AWAY, &[away])))
    };
    let harmless = || term("service", "In", &["antivirusscan", "value2"], "node");
    check(&there(), &together(&s1, harmless()), expect!["a Success"]);
    check(&[on("a", scanned.clone(), required(AWAY, &[harmless()]))], &together(&s1, harmless()), expect!["a Success"]);
    check(
        &there(),
        &together(&s1, term("service", "In", &SCAN, "zone")),
        expect!["a Unschedulable node(s) didn't match pod anti-affinity rules"],
    );
    let wary = |operator: &str| [on("a", scanned.clone(), required(AWAY, &[term("service", operator, &SCAN, "zone")]))];
    check(
        &wary("In"),
        &together(&scanned, harmless()),
        expect!["a Unschedulable node(s) didn't satisfy existing pods anti-affinity rules"],
    );
    // A pod that would be with others but not with its own kind is not the first of a series.
    check(
        &[on("other", scanned.clone(), json!({}))],
        &pending(scanned.clone(), required(WITH, &[term("service", "NotIn", &SCAN, "region")])),
        expect!["a UnschedulableAndUnresolvable node(s) didn't match pod affinity rules"],
    );
    // Anti-affinity of pods that are there holds for pods without any.
    check(
        &wary("In"),
        &pending(scanned.clone(), json!({})),
        expect!["a Unschedulable node(s) didn't satisfy existing pods anti-affinity rules"],
    );
    check(&wary("NotIn"), &pending(scanned.clone(), json!({})), expect!["PreFilter Skip"]);
    // Of anti-affinity, each term counts alone, on both sides.
    let away = |keys: &[&str]| required(AWAY, &keys.iter().map(|key| exists(key, "zone")).collect::<Vec<_>>());
    check(
        &[on("a", s1.clone(), away(&["security"]))],
        &pending(scanned.clone(), away(&["service", "security"])),
        expect!["a Unschedulable node(s) didn't match pod anti-affinity rules"],
    );
    check(
        &[on("a", scanned.clone(), away(&["service", "security"]))],
        &pending(s1.clone(), away(&["security"])),
        expect!["a Unschedulable node(s) didn't satisfy existing pods anti-affinity rules"],
    );
    for (own, other) in [("abc", "def"), ("def", "abc")] {
        check(
            &[on("a", json!({other: "", "xyz": ""}), away(&["abc", "def"]))],
            &pending(json!({own: "", "xyz": ""}), away(&["abc", "def"])),
            expect!["a Unschedulable node(s) didn't match pod anti-affinity rules"],
        );
    }
}

#[test]
fn namespaces_by_label() {
    let check = |pod: &ApiPod, there: &str, expected: Expect| {
        let pods = [of_namespace(on("a", json!({"service": "securityscan"}), json!({})), there)];
        let nodes = [labelled("a", json!({"region": "r1", "zone": "z11"}))];
        expected.assert_eq(&world(json!(null)).with(&nodes, &pods).filter(pod));
    };
    let scan = |team: Value| in_namespaces(term("service", "In", &SCAN, "zone"), &[], team);
    let with = pending(json!({}), required(WITH, &[scan(json!("team1"))]));
    check(&with, "subteam1.team1", expect!["a Success"]);
    check(&with, "subteam1.team2", expect!["a UnschedulableAndUnresolvable node(s) didn't match pod affinity rules"]);
    let away = |team: Value| of_namespace(pending(json!({}), required(AWAY, &[scan(team)])), "subteam1.team1");
    let no = || expect!["a Unschedulable node(s) didn't match pod anti-affinity rules"];
    check(&away(json!("team1")), "subteam2.team1", no());
    check(&away(json!("team1")), "subteam1.team2", expect!["a Success"]);
    // An empty selector is every namespace, one that is absent the pod's own.
    check(&away(json!({})), "subteam2.team1", no());
    let own =
        of_namespace(pending(json!({}), required(AWAY, &[term("service", "In", &SCAN, "zone")])), "subteam1.team1");
    check(&own, "subteam2.team1", expect!["a Success"]);
    check(&own, "subteam1.team1", no());
}

#[test]
fn filter_on_several_nodes() {
    let check = |nodes: &[(&str, Value)], pods: &[ApiPod], pod: &ApiPod, expected: Expect| {
        let nodes: Vec<_> = nodes.iter().map(|(name, labels)| labelled(name, labels.clone())).collect();
        expected.assert_eq(&world(json!(null)).with(&nodes, pods).filter(pod));
    };
    let regions = [
        ("a", json!({"region": "China"})),
        ("b", json!({"region": "China", "az": "az1"})),
        ("c", json!({"region": "India"})),
    ];
    let zones = [
        ("a", json!({"region": "r1", "zone": "z1", "hostname": "a"})),
        ("b", json!({"region": "r1", "zone": "z2", "hostname": "b"})),
    ];
    let bar = || json!({"foo": "bar"});
    check(
        &regions,
        &[on("a", bar(), json!({}))],
        &pending(json!({}), required(WITH, &[term("foo", "In", &["bar"], "region")])),
        expect![[r#"
            a Success
            b Success
            c UnschedulableAndUnresolvable node(s) didn't match pod affinity rules"#]],
    );
    // The first of a series may be alone, where the node has the label of the domain.
    let series = pending(
        json!({"foo": "bar", "service": "securityscan"}),
        required(WITH, &[term("foo", "In", &["bar"], "zone"), term("service", "In", &["securityscan"], "zone")]),
    );
    check(
        &zones,
        &[on("a", bar(), json!({}))],
        &series,
        expect![[r#"
            a Success
            b Success"#]],
    );
    check(
        &[("a", json!({"zoneLabel": "z1"})), ("b", json!({"zoneLabel": "z2"}))],
        &[on("a", bar(), json!({}))],
        &series,
        expect![[r#"
            a UnschedulableAndUnresolvable node(s) didn't match pod affinity rules
            b UnschedulableAndUnresolvable node(s) didn't match pod affinity rules"#]],
    );
    // A domain is more than one node; any term of anti-affinity is enough.
    let away = |terms: &[Value]| pending(json!({}), required(AWAY, terms));
    check(
        &regions,
        &[on("a", json!({"foo": "abc"}), json!({}))],
        &away(&[term("foo", "In", &["abc"], "region")]),
        expect![[r#"
            a Unschedulable node(s) didn't match pod anti-affinity rules
            b Unschedulable node(s) didn't match pod anti-affinity rules
            c Success"#]],
    );
    check(
        &zones,
        &[on("a", json!({"foo": "abc", "service": "scan"}), json!({}))],
        &away(&[term("foo", "In", &["abc"], "region"), term("service", "In", &["scan"], "zone")]),
        expect![[r#"
            a Unschedulable node(s) didn't match pod anti-affinity rules
            b Unschedulable node(s) didn't match pod anti-affinity rules"#]],
    );
    // Pods of other namespaces are not meant, on either side.
    let other = of_namespace(on("c", json!({}), required(AWAY, &[term("foo", "In", &["123"], "region")])), "ns2");
    check(
        &regions,
        &[on("a", bar(), json!({})), other],
        &pending(json!({"foo": "123"}), required(AWAY, &[term("foo", "In", &["bar"], "region")])),
        expect![[r#"
            a Unschedulable node(s) didn't match pod anti-affinity rules
            b Unschedulable node(s) didn't match pod anti-affinity rules
            c Success"#]],
    );
    // A label that no node has is no domain.
    let labels = || json!({"foo": "", "bar": ""});
    check(
        &zones,
        &[on("a", json!({}), required(AWAY, &[exists("foo", "none")]))],
        &pending(labels(), json!({})),
        expect!["PreFilter Skip"],
    );
    check(
        &zones,
        &[on("a", labels(), json!({}))],
        &away(&[exists("foo", "none")]),
        expect![[r#"
            a Success
            b Success"#]],
    );
    check(
        &zones,
        &[on("a", json!({}), required(AWAY, &[exists("foo", "none"), exists("bar", "zone")]))],
        &pending(labels(), json!({})),
        expect![[r#"
            a Unschedulable node(s) didn't satisfy existing pods anti-affinity rules
            b Success"#]],
    );
    check(
        &zones,
        &[on("a", labels(), json!({}))],
        &away(&[exists("foo", "none"), exists("bar", "zone")]),
        expect![[r#"
            a Unschedulable node(s) didn't match pod anti-affinity rules
            b Success"#]],
    );
    check(
        &zones,
        &[
            on("a", json!({}), required(AWAY, &[exists("foo", "zone")])),
            on("a", json!({}), required(AWAY, &[exists("bar", "region")])),
        ],
        &pending(labels(), json!({})),
        expect![[r#"
            a Unschedulable node(s) didn't satisfy existing pods anti-affinity rules
            b Unschedulable node(s) didn't satisfy existing pods anti-affinity rules"#]],
    );
    check(
        &zones,
        &[on("a", json!({"foo": ""}), json!({})), on("b", json!({"bar": ""}), json!({}))],
        &away(&[exists("foo", "zone"), exists("bar", "region")]),
        expect![[r#"
            a Unschedulable node(s) didn't match pod anti-affinity rules
            b Unschedulable node(s) didn't match pod anti-affinity rules"#]],
    );
}

/// Preemption tries a node without some pods, and with others.
#[test]
fn trials() {
    let nodes = || {
        [
            labelled("a", json!({"region": "r1", "zone": "z11"})),
            labelled("b", json!({"region": "r1", "zone": "z12"})),
            labelled("c", json!({"region": "r2", "zone": "z21"})),
        ]
    };
    let bar = || json!({"foo": "bar"});
    let away = || required(AWAY, &[term("foo", "In", &["bar"], "region")]);
    let check = |pods: &[ApiPod], pod: &ApiPod, trials: &[(bool, ApiPod)], expected: Expect| {
        expected.assert_eq(&world(json!(null)).with(&nodes(), pods).filter_after(pod, trials));
    };
    let first = on("a", bar(), json!({}));
    let second = on("c", bar(), away());
    // Without the first pod its region is free; with one more, the other's is not.
    check(
        std::slice::from_ref(&first),
        &pending(bar(), away()),
        &[(false, first.clone())],
        expect![[r#"
            a Success
            b Success
            c Success"#]],
    );
    check(
        std::slice::from_ref(&first),
        &pending(bar(), away()),
        &[(true, second.clone())],
        expect![[r#"
            a Unschedulable node(s) didn't match pod anti-affinity rules
            b Unschedulable node(s) didn't match pod anti-affinity rules
            c Unschedulable node(s) didn't match pod anti-affinity rules"#]],
    );
    check(
        &[first.clone(), second.clone()],
        &pending(json!({}), required(WITH, &[term("foo", "In", &["bar"], "region")])),
        &[(false, second.clone())],
        expect![[r#"
            a Success
            b Success
            c UnschedulableAndUnresolvable node(s) didn't match pod affinity rules"#]],
    );
    // Anti-affinity of the pod that is there goes with it.
    check(
        std::slice::from_ref(&second),
        &pending(bar(), json!({})),
        &[(false, second.clone())],
        expect![[r#"
            a Success
            b Success
            c Success"#]],
    );
}
