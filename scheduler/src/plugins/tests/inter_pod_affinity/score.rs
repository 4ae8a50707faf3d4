//! `interpodaffinity/scoring_test.go`.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};
use serde_json::{Value, json};

use super::{
    super::check, AWAY, WITH, both, exists, in_namespaces, labelled, of_namespace, on, pending, preferred, required,
    term, world,
};

fn regions() -> [ApiNode; 3] {
    [
        labelled("a", json!({"region": "China"})),
        labelled("b", json!({"region": "India"})),
        labelled("c", json!({"az": "az1"})),
    ]
}

fn security(value: &str) -> Value {
    json!({"security": value})
}

fn scored(args: Value, nodes: &[ApiNode], pods: &[ApiPod], pod: &ApiPod) -> String {
    world(args).with(nodes, pods).score(pod)
}

#[test]
fn score() {
    let check = |nodes: &[ApiNode], pods: &[ApiPod], pod: &ApiPod, expected: Expect| {
        check(scored(json!(null), nodes, pods, pod), expected);
    };
    let (s1, s2) = (|| security("S1"), || security("S2"));
    let with = |weight: i32, value: &str| preferred(WITH, &[(weight, term("security", "In", &[value], "region"))]);
    let away = |value: &str| preferred(AWAY, &[(5, term("security", "In", &[value], "az"))]);
    let plain = |node: &str, value: &str| on(node, security(value), json!({}));

    check(&regions(), &[], &pending(s1(), json!({})), expect!["Skip"]);
    check(
        &regions(),
        &[plain("a", "S1"), plain("b", "S2"), plain("c", "S1")],
        &pending(s1(), with(5, "S1")),
        expect!["a 100, b 0, c 0"],
    );
    check(
        &[
            labelled("a", json!({"region": "China"})),
            labelled("b", json!({"region": "China", "az": "az1"})),
            labelled("c", json!({"region": "India"})),
        ],
        &[plain("a", "S1")],
        &pending(json!({}), with(5, "S1")),
        expect!["a 100, b 100, c 0"],
    );
    let five = ["China", "India", "China", "China", "India"];
    let five: Vec<_> = ["a", "b", "c", "d", "e"]
        .iter()
        .zip(five)
        .map(|(name, region)| labelled(name, json!({"region": region})))
        .collect();
    let more: Vec<_> = ["a", "a", "b", "c", "d", "e"].iter().map(|node| plain(node, "S2")).collect();
    check(&five, &more, &pending(s1(), with(6, "S2")), expect!["a 100, b 0, c 100, d 100, e 0"]);
    // Requirements of a term are all to hold; terms add up.
    let mut first = term("security", "NotIn", &["S1"], "region");
    let is_s2 = json!({"key": "security", "operator": "In", "values": ["S2"]});
    first["labelSelector"]["matchExpressions"].as_array_mut().expect("a list").push(is_s2);
    let terms = preferred(WITH, &[(8, first), (2, exists("security", "region"))]);
    check(&regions(), &[plain("a", "S1"), plain("b", "S2")], &pending(s1(), terms), expect!["a 20, b 100, c 0"]);

    // What pods that are there prefer counts, and with weight 1 what they require.
    check(
        &regions(),
        &[on("a", s1(), with(5, "S1")), on("b", s2(), with(6, "S2"))],
        &pending(s2(), json!({})),
        expect!["a 0, b 100, c 0"],
    );
    let hard = || required(WITH, &[term("security", "In", &["S1", "value2"], "region"), exists("security", "region")]);
    check(
        &regions(),
        &[on("a", s1(), hard()), on("b", s2(), hard())],
        &pending(s1(), json!({})),
        expect!["a 100, b 100, c 0"],
    );

    // Anti-affinity takes away; what has nothing to do with it is best.
    let (az1, india) = (labelled("a", json!({"az": "az1"})), labelled("b", json!({"region": "India"})));
    let two = [az1.clone(), india];
    check(&two, &[plain("a", "S1"), plain("b", "S2")], &pending(s1(), away("S1")), expect!["a 0, b 100"]);
    check(&two, &[plain("a", "S1"), plain("b", "S1")], &pending(s1(), away("S1")), expect!["a 0, b 100"]);
    check(
        &[az1, labelled("b", json!({"az": "az2"}))],
        &[on("a", s1(), away("S2")), on("b", s2(), away("S1"))],
        &pending(s2(), json!({})),
        expect!["a 0, b 100"],
    );
    // All of it at once: weights 8, -5, 8, -5.
    let mixed = || both(with(8, "S1"), away("S2"));
    check(
        &[
            labelled("a", json!({"region": "China"})),
            labelled("b", json!({"az": "az1"})),
            labelled("c", json!({"region": "India"})),
            labelled("d", json!({"az": "az2"})),
        ],
        &[plain("a", "S1"), plain("b", "S2"), on("c", json!({}), mixed()), on("d", json!({}), away("S1"))],
        &pending(s1(), mixed()),
        expect!["a 100, b 0, c 100, d 0"],
    );
    // Pods without affinity beside pods with some, in one domain.
    check(
        &[labelled("a", json!({"region": "China"})), labelled("b", json!({"region": "China"}))],
        &[plain("a", "S1"), on("b", json!({}), mixed())],
        &pending(s1(), json!({})),
        expect!["a 0, b 0"],
    );
}

#[test]
fn score_by_namespaces_and_arguments() {
    let s1 = || security("S1");
    let in_team = |kind: &str| {
        let term = in_namespaces(term("security", "In", &["S1"], "region"), &["subteam2.team2"], json!("team1"));
        preferred(kind, &[(5, term)])
    };
    let there = |node: &str, namespace: &str| of_namespace(on(node, s1(), json!({})), namespace);
    let incoming = |affinity: Value| of_namespace(pending(s1(), affinity), "subteam1.team1");
    let two = || regions().into_iter().take(2).collect::<Vec<_>>();
    let by_label = [
        there("a", "subteam1.team1"),
        there("a", "subteam1.team1"),
        there("a", "subteam1.team2"),
        there("b", "subteam2.team1"),
    ];
    check(scored(json!(null), &two(), &by_label, &incoming(in_team(WITH))), expect!["a 100, b 0"]);
    check(scored(json!(null), &two(), &by_label, &incoming(in_team(AWAY))), expect!["a 0, b 100"]);
    // By name as well as by label: two against one.
    let by_name = [there("a", "subteam2.team2"), there("a", "subteam1.team1"), there("b", "subteam2.team1")];
    check(scored(json!(null), &two(), &by_name, &incoming(in_team(WITH))), expect!["a 100, b 0"]);
    // Of pods that are there, the namespace of the incoming one is looked at.
    let wary = [on("a", s1(), in_team(AWAY))];
    check(scored(json!(null), &regions(), &wary, &incoming(json!({}))), expect!["a 0, b 100, c 100"]);

    let hard = || {
        let term = in_namespaces(term("service", "In", &["S1"], "region"), &["subteam2.team2"], json!("team1"));
        required(WITH, &[term])
    };
    let weighted = |weight: Value, namespace: &str| {
        let pods = [on("a", json!({}), hard()), on("b", json!({}), hard())];
        let incoming = of_namespace(pending(json!({"service": "S1"}), json!({})), namespace);
        scored(json!({"hardPodAffinityWeight": weight}), &regions(), &pods, &incoming)
    };
    check(weighted(json!(1), "subteam1.team1"), expect!["a 100, b 100, c 0"]);
    check(weighted(json!(0), "subteam1.team1"), expect!["Skip"]);
    check(weighted(json!(1), "subteam1.team2"), expect!["Skip"]);
    check(weighted(json!(1), "subteam2.team2"), expect!["a 100, b 100, c 0"]);

    let ignoring = |ignore: bool| {
        let prefers = preferred(WITH, &[(6, term("security", "In", &["S2"], "region"))]);
        let args = json!({"ignorePreferredTermsOfExistingPods": ignore});
        scored(args, &two(), &[on("b", security("S2"), prefers)], &pending(security("S2"), json!({})))
    };
    check(ignoring(true), expect!["Skip"]);
    check(ignoring(false), expect!["a 0, b 100"]);
}
