//! `podtopologyspread/{filtering,scoring}_test.go`.

mod hints;

use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};
use serde_json::{Value, json};

use super::{World, check, node, pod};
use crate::cache::{labels::Selector, owners::OwnerKind};

const HOST: &str = "kubernetes.io/hostname";
const LABEL: &str =
    "UnschedulableAndUnresolvable node(s) didn't match pod topology spread constraints (missing required label)";
const SKEW: &str = "Unschedulable node(s) didn't match pod topology spread constraints";

/// A constraint on pods that have a label `label`; `more` sets or replaces fields.
fn spread(key: &str, max_skew: u8, hard: bool, label: &str, more: Value) -> Value {
    let mut constraint = json!({
        "topologyKey": key,
        "maxSkew": max_skew,
        "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" },
        "labelSelector": {"matchExpressions": [{"key": label, "operator": "Exists"}]},
    });
    for (field, value) in more.as_object().expect("fields") {
        constraint[field] = value.clone();
    }
    constraint
}

fn hard(key: &str, max_skew: u8, label: &str) -> Value {
    spread(key, max_skew, true, label, json!({}))
}

fn soft(key: &str, max_skew: u8, label: &str) -> Value {
    spread(key, max_skew, false, label, json!({}))
}

/// Labels without values.
fn labels(keys: &[&str]) -> Value {
    keys.iter().map(|key| ((*key).to_owned(), json!(""))).collect::<serde_json::Map<_, _>>().into()
}

fn wanting(own: &[&str], constraints: &[Value], more: Value) -> ApiPod {
    let mut fields = json!({"labels": labels(own), "topologySpreadConstraints": constraints});
    for (field, value) in more.as_object().expect("fields") {
        fields[field] = value.clone();
    }
    pod("p", fields)
}

/// Four nodes in two zones, with the label `node` and their name as the host's.
fn four() -> Vec<ApiNode> {
    [("a", "z1"), ("b", "z1"), ("x", "z2"), ("y", "z2")]
        .map(|(name, zone)| node(name, json!({"labels": {"zone": zone, "node": name, HOST: name}})))
        .into()
}

/// Pods on nodes: node, how many, their labels.
fn pods(all: &[(&str, usize, &[&str])]) -> Vec<ApiPod> {
    let each = all.iter().flat_map(|entry| std::iter::repeat_n(entry, entry.1));
    each.enumerate()
        .map(|(index, (node, _, keys))| {
            pod(&format!("{node}-{index}"), json!({"nodeName": node, "labels": labels(keys)}))
        })
        .collect()
}

const FOO: &[&str] = &["foo"];
const BAR: &[&str] = &["bar"];
const BOTH: &[&str] = &["foo", "bar"];

fn world(nodes: &[ApiNode], pods: &[ApiPod]) -> World {
    World::new("PodTopologySpread", json!(null)).with(nodes, pods)
}

/// The nodes that are admitted; `!` where the skew would be too large, `?` where a label is missing.
fn admits(world: &mut World, pod: &ApiPod) -> String {
    let shown = |line: &str| match line.split_once(' ') {
        Some((name, "Success")) => name.to_owned(),
        Some((name, SKEW)) => format!("!{name}"),
        Some((name, LABEL)) => format!("?{name}"),
        _ => line.to_owned(),
    };
    world.filter(pod).lines().map(shown).collect::<Vec<_>>().join(" ")
}

#[test]
fn one_constraint() {
    let check = |there: &[(&str, usize, &[&str])], pod: &ApiPod, expected: Expect| {
        check(admits(&mut world(&four(), &pods(there)), pod), expected);
    };
    let zone = || wanting(FOO, &[hard("zone", 1, "foo")], json!({}));
    let host = |own: &[&str], max_skew: u8, more: Value| wanting(own, &[hard("node", max_skew, "foo")], more);
    check(&[], &wanting(FOO, &[soft("zone", 1, "foo")], json!({})), expect!["PreFilter Skip"]);
    check(&[], &zone(), expect!["a b x y"]);
    check(&[], &wanting(FOO, &[hard("zone", 1, "bar")], json!({})), expect!["a b x y"]);
    check(&[("a", 2, FOO), ("b", 1, FOO), ("y", 3, FOO)], &zone(), expect!["a b x y"]);
    // No selector selects nothing.
    let mut none = hard("zone", 1, "foo");
    none["labelSelector"] = json!(null);
    check(&[("x", 1, FOO), ("y", 1, FOO)], &wanting(FOO, &[none], json!({})), expect!["a b x y"]);
    // 2/1/0/3.
    let there: &[(&str, usize, &[&str])] = &[("a", 2, FOO), ("b", 1, FOO), ("y", 3, FOO)];
    check(there, &host(FOO, 1, json!({})), expect!["!a !b x !y"]);
    check(there, &host(FOO, 2, json!({})), expect!["!a b x !y"]);
    // A pod that does not count itself changes nothing.
    check(there, &host(BAR, 1, json!({})), expect!["!a b x !y"]);
    check(&[], &wanting(FOO, &[hard("rack", 1, "foo")], json!({})), expect!["?a ?b ?x ?y"]);
    // Only nodes count that the pod's affinity admits; the others are refused by a plugin of their own.
    let only = |operator: &str, values: &[&str]| {
        let term = json!({"matchExpressions": [{"key": "node", "operator": operator, "values": values}]});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}})
    };
    check(there, &host(FOO, 1, only("In", &["a", "y"])), expect!["a b x !y"]);
    check(
        &[("b", 2, FOO), ("y", 1, FOO)],
        &wanting(FOO, &[hard("zone", 1, "foo")], only("NotIn", &["b"])),
        expect!["a b !x !y"],
    );
}

#[test]
fn which_pods_and_nodes_count() {
    // Other namespaces do not.
    let mut there = pods(&[("a", 2, FOO), ("x", 1, FOO), ("y", 1, FOO)]);
    there[0].metadata.namespace = Some("ns1".to_owned());
    there[1].metadata.namespace = Some("ns2".to_owned());
    let zone = wanting(FOO, &[hard("zone", 1, "foo")], json!({}));
    check(admits(&mut world(&four(), &there), &zone), expect!["a b !x !y"]);
    // Nor do pods on their way out.
    let going =
        pod("a-0", json!({"nodeName": "a", "labels": {"foo": ""}, "deletionTimestamp": "2026-01-01T00:00:00Z"}));
    let there = [vec![going], pods(&[("b", 1, FOO)])].concat();
    let host = || wanting(FOO, &[hard("node", 1, "foo")], json!({}));
    check(admits(&mut world(&four()[..2], &there), &host()), expect!["a !b"]);
    // A node without the label is no domain.
    let mut nodes = four();
    nodes[1] = node("b", json!({"labels": {"zon": "z1", "node": "b"}}));
    let there = pods(&[("a", 1, FOO), ("b", 1, FOO), ("x", 1, FOO), ("y", 1, FOO)]);
    check(admits(&mut world(&nodes, &there), &zone), expect!["a ?b !x !y"]);
}

#[test]
fn fewer_domains_than_wanted() {
    let check = |there: &[(&str, usize, &[&str])], key: &str, min_domains: u8, expected: Expect| {
        let constraint = spread(key, 2, true, "foo", json!({"minDomains": min_domains}));
        check(admits(&mut world(&four(), &pods(there)), &wanting(FOO, &[constraint], json!({}))), expected);
    };
    let three: &[(&str, usize, &[&str])] = &[("a", 2, FOO), ("b", 2, FOO), ("x", 1, FOO), ("y", 1, FOO)];
    check(three, "node", 5, expect!["!a !b x y"]);
    check(three, "node", 4, expect!["a b x y"]);
    check(&[("a", 1, FOO), ("b", 1, FOO), ("y", 1, FOO)], "zone", 3, expect!["!a !b x y"]);
    check(&[("a", 1, FOO), ("b", 1, FOO), ("y", 1, FOO)], "zone", 1, expect!["a b x y"]);
}

/// Four nodes of which the last two lack the label `foo` or have a taint.
fn marked(last: Value) -> Vec<ApiNode> {
    let labels = |name: &str, zone: &str, foo: bool| {
        let mut labels = json!({"zone": zone, "node": name});
        if foo {
            labels["foo"] = json!("");
        }
        labels
    };
    let mut y = json!({"labels": labels("y", "z2", last.get("taints").is_some())});
    if let Some(taints) = last.get("taints") {
        y["taints"] = taints.clone();
    }
    vec![
        node("a", json!({"labels": labels("a", "z1", true)})),
        node("b", json!({"labels": labels("b", "z1", true)})),
        node("x", json!({"labels": labels("x", "z2", true)})),
        node("y", y),
    ]
}

#[test]
fn policies_of_nodes() {
    let there = pods(&[("a", 1, FOO), ("b", 1, FOO), ("y", 1, FOO)]);
    let check = |nodes: &[ApiNode], constraints: &[Value], more: Value, expected: Expect| {
        check(admits(&mut world(nodes, &there), &wanting(FOO, constraints, more)), expected);
    };
    let with = |key: &str, more: Value| spread(key, 1, true, "foo", more);
    let (unlabelled, tainted) =
        (marked(json!({})), marked(json!({"taints": [{"key": "x", "value": "y", "effect": "NoSchedule"}]})));
    let selector = || json!({"nodeSelector": {"foo": ""}});
    let (ignore, honor) = (|| json!({"nodeAffinityPolicy": "Ignore"}), || json!({"nodeTaintsPolicy": "Honor"}));
    // 1/1/0 and one that counts or not.
    check(&unlabelled, &[with("node", json!({}))], selector(), expect!["!a !b x y"]);
    check(&unlabelled, &[with("node", ignore())], selector(), expect!["!a !b x !y"]);
    check(&tainted, &[with("node", honor())], json!({}), expect!["!a !b x y"]);
    check(&tainted, &[with("node", json!({}))], json!({}), expect!["!a !b x !y"]);
    let tolerating = json!({"tolerations": [{"key": "x", "operator": "Exists"}]});
    check(&tainted, &[with("node", honor())], tolerating, expect!["!a !b x !y"]);
    // Each constraint has policies of its own.
    check(&unlabelled, &[with("zone", json!({})), with("node", ignore())], selector(), expect!["!a !b x !y"]);
    check(&tainted, &[with("zone", honor()), with("node", json!({}))], json!({}), expect!["!a !b x !y"]);
    let two: Vec<_> = there.iter().filter(|pod| pod.metadata.name.as_deref() != Some("b-1")).cloned().collect();
    let pod = wanting(FOO, &[with("zone", json!({})), with("node", json!({}))], json!({}));
    super::check(admits(&mut world(&tainted, &two), &pod), expect!["!a b x !y"]);
}

#[test]
fn two_constraints() {
    let check = |there: &[(&str, usize, &[&str])], own: &[&str], constraints: &[Value], expected: Expect| {
        let pod = wanting(own, constraints, json!({}));
        check(admits(&mut world(&four(), &pods(there)), &pod), expected);
    };
    let same = [hard("zone", 1, "foo"), hard("node", 1, "foo")];
    let different = [hard("zone", 1, "foo"), hard("node", 1, "bar")];
    check(&[("a", 2, FOO), ("b", 1, FOO), ("y", 3, FOO)], FOO, &same, expect!["!a !b x !y"]);
    check(&[("a", 2, FOO), ("b", 1, FOO), ("y", 4, FOO)], FOO, &same, expect!["!a !b !x !y"]);
    check(&[("a", 1, FOO), ("y", 1, BAR)], BOTH, &different, expect!["!a !b x !y"]);
    check(&[("a", 1, FOO), ("x", 1, BAR), ("y", 1, BAR)], BOTH, &different, expect!["!a !b !x !y"]);
    check(&[("a", 1, FOO), ("a", 1, BOTH), ("y", 2, FOO), ("y", 1, BOTH)], BOTH, &different, expect!["!a b !x !y"]);
    check(&[("a", 1, FOO), ("x", 1, BAR), ("y", 1, BAR)], BAR, &different, expect!["a b !x !y"]);
    // A node that lacks one of the labels counts for neither.
    let mut nodes = four();
    nodes[2] = node("x", json!({"labels": {"zone": "z2"}}));
    let there = pods(&[("a", 1, FOO), ("y", 1, FOO)]);
    super::check(admits(&mut world(&nodes, &there), &wanting(FOO, &same, json!({}))), expect!["!a b ?x !y"]);
}

/// Preemption tries a node without some pods, and with others.
#[test]
fn trials() {
    let pod = wanting(FOO, &[hard("zone", 1, "foo")], json!({}));
    let there = pods(&[("a", 2, FOO), ("x", 1, FOO)]);
    let more = |node: &str, keys: &[&str]| super::pod("more", json!({"nodeName": node, "labels": labels(keys)}));
    let check = |trials: &[(bool, ApiPod)], expected: Expect| {
        expected.assert_eq(&world(&four(), &there).filter_after(&pod, trials).replace(SKEW, "no").replace('\n', ", "));
    };
    check(&[], expect!["a no, b no, x Success, y Success"]);
    check(&[(false, there[0].clone())], expect!["a Success, b Success, x Success, y Success"]);
    check(&[(true, more("y", FOO))], expect!["a Success, b Success, x Success, y Success"]);
    check(&[(true, more("y", FOO)), (true, more("y", FOO))], expect!["a Success, b Success, x no, y no"]);
    check(&[(true, more("y", BAR))], expect!["a no, b no, x Success, y Success"]);
    check(&[(false, there[2].clone())], expect!["a no, b no, x Success, y Success"]);
    let mut foreign = more("y", FOO);
    foreign.metadata.namespace = Some("other".to_owned());
    check(&[(true, foreign)], expect!["a no, b no, x Success, y Success"]);
}

#[test]
fn score_by_host() {
    let check = |there: &[(&str, usize, &[&str])], max_skew: u8, expected: Expect| {
        let pod = wanting(FOO, &[soft(HOST, max_skew, "foo")], json!({}));
        check(world(&four(), &pods(there)).score(&pod), expected);
    };
    check(&[], 1, expect!["a 100, b 100, x 100, y 100"]);
    check(&[("a", 1, FOO), ("b", 1, FOO), ("x", 1, FOO), ("y", 1, FOO)], 1, expect!["a 100, b 100, x 100, y 100"]);
    // 2/1/0/3: the more skew is allowed the less it matters.
    let there: &[(&str, usize, &[&str])] = &[("a", 2, FOO), ("b", 1, FOO), ("y", 3, FOO)];
    check(there, 1, expect!["a 20, b 60, x 100, y 0"]);
    check(there, 2, expect!["a 33, b 66, x 100, y 16"]);
    check(&[("a", 4, FOO), ("b", 3, FOO), ("x", 2, FOO), ("y", 1, FOO)], 3, expect!["a 44, b 66, x 77, y 100"]);
    // No selector selects nothing; without a constraint or a workload there is nothing to score.
    let mut none = soft(HOST, 1, "foo");
    none["labelSelector"] = json!(null);
    super::check(
        world(&four(), &pods(there)).score(&wanting(FOO, &[none], json!({}))),
        expect!["a 100, b 100, x 100, y 100"],
    );
    super::check(world(&four(), &pods(there)).score(&wanting(FOO, &[], json!({}))), expect!["Skip"]);
    let only_hard = wanting(FOO, &[hard(HOST, 1, "foo")], json!({}));
    super::check(world(&four(), &pods(there)).score(&only_hard), expect!["Skip"]);
}

#[test]
fn score_of_the_nodes_that_passed() {
    let passed = |names: &'static [&'static str]| move |name: &str| names.contains(&name);
    let host = || wanting(FOO, &[soft(HOST, 1, "foo")], json!({}));
    let there = pods(&[("a", 2, FOO), ("b", 1, FOO)]);
    check(world(&four()[..2], &there).score_on(&host(), passed(&["a"])), expect!["a 100"]);
    // 4/2/1/3, the last not among them.
    let there = pods(&[("a", 4, FOO), ("b", 2, FOO), ("x", 1, FOO), ("y", 3, FOO)]);
    let abx = &["a", "b", "x"];
    check(world(&four(), &there).score_on(&host(), passed(abx)), expect!["a 33, b 83, x 100"]);
    let mut nodes = four();
    nodes[1] = node("b", json!({"labels": {"n": "b"}}));
    check(world(&nodes, &there).score_on(&host(), passed(abx)), expect!["a 16, b 0, x 100"]);
    // In a zone, the pods of a node that did not pass count.
    let zone = wanting(FOO, &[soft("zone", 1, "foo")], json!({}));
    check(world(&four(), &there).score_on(&zone, passed(abx)), expect!["a 75, b 75, x 100"]);
    let there = pods(&[("a", 2, FOO), ("b", 1, FOO), ("x", 2, FOO), ("y", 4, FOO)]);
    let both = wanting(FOO, &[soft("zone", 1, "foo"), soft(HOST, 1, "foo")], json!({}));
    check(world(&four(), &there).score_on(&both, passed(&["a", "x"])), expect!["a 100, x 63"]);
    let there = pods(&[("a", 1, BOTH), ("a", 1, FOO), ("b", 1, BOTH), ("y", 2, FOO), ("y", 1, BOTH)]);
    let twice = wanting(BOTH, &[soft("zone", 1, "foo"), soft("zone", 1, "bar")], json!({}));
    check(world(&four(), &there).score_on(&twice, passed(&["a", "x"])), expect!["a 85, x 100"]);
    let different = || wanting(BOTH, &[soft("zone", 1, "foo"), soft(HOST, 1, "bar")], json!({}));
    let there = pods(&[("a", 1, FOO), ("b", 1, BOTH), ("y", 1, FOO), ("y", 1, BAR)]);
    check(world(&four(), &there).score(&different()), expect!["a 60, b 20, x 100, y 60"]);
    check(world(&four(), &there).score_on(&different(), passed(abx)), expect!["a 50, b 25, x 100"]);
    let there = pods(&[("b", 1, BAR), ("x", 1, FOO), ("y", 1, BOTH)]);
    check(world(&four(), &there).score(&different()), expect!["a 100, b 60, x 40, y 0"]);
}

#[test]
fn score_counts_what_filtering_counts() {
    let host = || wanting(FOO, &[soft(HOST, 1, "foo")], json!({}));
    let mut there = pods(&[("a", 2, FOO), ("b", 2, FOO)]);
    there[0].metadata.namespace = Some("ns1".to_owned());
    check(world(&four()[..2], &there).score(&host()), expect!["a 100, b 33"]);
    let going =
        pod("a-0", json!({"nodeName": "a", "labels": {"foo": ""}, "deletionTimestamp": "2026-01-01T00:00:00Z"}));
    let there = [vec![going], pods(&[("b", 1, FOO)])].concat();
    check(world(&four()[..2], &there).score(&host()), expect!["a 100, b 0"]);
    // The number of domains wanted has no say.
    let there = pods(&[("a", 2, FOO), ("b", 2, FOO), ("x", 1, FOO)]);
    let constraint = spread("node", 2, false, "foo", json!({"minDomains": 10}));
    let pod = wanting(FOO, &[constraint], json!({}));
    check(world(&four()[..3], &there).score(&pod), expect!["a 75, b 75, x 100"]);
    // Policies of nodes.
    let check = |nodes: &[ApiNode], policy: Value, more: Value, expected: Expect| {
        let there = pods(&[("a", 2, FOO), ("b", 1, FOO), ("y", 1, FOO)]);
        let pod = wanting(FOO, &[spread("node", 1, false, "foo", policy)], more);
        let nodes = [nodes[0].clone(), nodes[1].clone(), nodes[3].clone()];
        check(world(&nodes, &there).score(&pod), expected);
    };
    let unlabelled = marked(json!({}));
    let tainted = marked(json!({"taints": [{"key": "x", "value": "y", "effect": "NoSchedule"}]}));
    let selector = || json!({"nodeSelector": {"foo": ""}});
    check(&unlabelled, json!({}), selector(), expect!["a 0, b 33, y 100"]);
    check(&unlabelled, json!({"nodeAffinityPolicy": "Ignore"}), selector(), expect!["a 66, b 100, y 100"]);
    check(&tainted, json!({"nodeTaintsPolicy": "Honor"}), json!({}), expect!["a 0, b 33, y 100"]);
    check(&tainted, json!({}), json!({}), expect!["a 66, b 100, y 100"]);
}

#[test]
fn keys_of_the_pods_own_labels() {
    let score = |own: &[&str], constraints: &[Value], there: &[(&str, usize, &[&str])]| {
        world(&four(), &pods(there)).score(&wanting(own, constraints, json!({})))
    };
    let keys = |key: &str, label: &str, keys: &[&str]| spread(key, 1, false, label, json!({"matchLabelKeys": keys}));
    let mut empty = [keys("zone", "", &["foo"]), keys(HOST, "", &["bar"])];
    empty.iter_mut().for_each(|constraint| constraint["labelSelector"] = json!({}));
    let there: &[(&str, usize, &[&str])] = &[("a", 1, FOO), ("b", 1, BOTH), ("x", 1, FOO), ("x", 1, BAR)];
    check(score(BOTH, &empty, there), expect!["a 60, b 20, x 60, y 100"]);
    let there: &[(&str, usize, &[&str])] =
        &[("a", 1, FOO), ("b", 1, &["foo", "bar", "baz"]), ("x", 1, FOO), ("x", 1, BAR), ("x", 1, &["bar", "baz"])];
    let constraints = [soft("zone", 1, "foo"), keys(HOST, "bar", &["baz"])];
    check(score(&["foo", "bar", "baz"], &constraints, there), expect!["a 60, b 20, x 60, y 100"]);
}

/// Adds a Service, by whose selector the pods of a workload are told.
fn with_service(mut world: World, label: &str) -> World {
    let selector = Selector::from_map([(&label.to_owned(), &String::new())].into_iter(), world.cache.interner());
    let owners = &mut world.cache.snapshot_mut().owners;
    owners.set(OwnerKind::Service, Arc::from("default"), Arc::from("s"), Some(selector));
    world
}

#[test]
fn defaults() {
    let plain = || wanting(FOO, &[], json!({}));
    let there = pods(&[("a", 4, FOO), ("b", 3, FOO), ("x", 2, FOO), ("y", 1, FOO)]);
    let only_hosts: Vec<_> =
        ["a", "b", "x", "y"].iter().map(|name| node(name, json!({"labels": {HOST: name}}))).collect();
    // Of the system: by host, and by zone where nodes have one; they refuse no node.
    let mut system = with_service(world(&only_hosts, &there), "foo");
    check(system.filter(&plain()), expect!["PreFilter Skip"]);
    check(system.score(&plain()), expect!["a 44, b 66, x 77, y 100"]);
    check(system.score(&wanting(BAR, &[], json!({}))), expect!["Skip"]);
    // Of the configuration; a pod's own constraints come before them.
    let list = |constraints: &[Value]| {
        let args = json!({"defaultingType": "List", "defaultConstraints": constraints});
        with_service(World::new("PodTopologySpread", args).with(&four(), &there), "foo")
    };
    let default = |key: &str, hard: bool| {
        let mut constraint = spread(key, 1, hard, "", json!({}));
        constraint.as_object_mut().expect("an object").remove("labelSelector");
        constraint
    };
    check(admits(&mut list(&[default("node", true)]), &plain()), expect!["!a !b !x y"]);
    let with = |field: &str, value: Value| {
        let mut constraint = default("node", true);
        constraint[field] = value;
        constraint
    };
    check(admits(&mut list(&[with("minDomains", json!(5))]), &plain()), expect!["!a !b !x !y"]);
    let selecting = wanting(FOO, &[], json!({"nodeSelector": {"node": "a"}}));
    check(admits(&mut list(&[default("node", true)]), &selecting), expect!["a b x y"]);
    let ignoring = with("nodeAffinityPolicy", json!("Ignore"));
    check(admits(&mut list(&[ignoring]), &selecting), expect!["!a !b !x y"]);
    let own = wanting(FOO, &[hard("zone", 4, "foo")], json!({}));
    check(admits(&mut list(&[default("node", true)]), &own), expect!["!a !b x y"]);
    check(list(&[]).score(&plain()), expect!["Skip"]);
    check(list(&[default(HOST, false)]).score(&plain()), expect!["a 28, b 57, x 71, y 100"]);
}
