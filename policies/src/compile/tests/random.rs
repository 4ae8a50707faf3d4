//! Clusters made by chance: their rules judge as the API's words do, and a table that was brought there by changes holds the
//! same as one made anew.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::content::Wanted;
use judge::{Cluster, Packet};
use packets::Rules;

const PODS: usize = 6;
const NAMESPACES: [&str; 3] = ["x", "y", SYSTEM];

fn label() -> impl Strategy<Value = Value> {
    (select(vec![None, Some("1"), Some("2")]), select(vec![None, Some("1")])).prop_map(|(a, b)| {
        let mut labels = serde_json::Map::new();
        a.into_iter().for_each(|a| drop(labels.insert("a".into(), a.into())));
        b.into_iter().for_each(|b| drop(labels.insert("b".into(), b.into())));
        Value::Object(labels)
    })
}

fn selector() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({"matchLabels": {"a": "1"}}),
        json!({"matchLabels": {"a": "1", "b": "1"}}),
        json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["2", "1"]}]}),
        json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}),
        json!({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}),
        json!({"matchExpressions": [{"key": "b", "operator": "Exists"}]}),
    ])
}

fn peer() -> impl Strategy<Value = Value> {
    prop_oneof![
        selector().prop_map(|pods| json!({"podSelector": pods})),
        selector().prop_map(|namespaces| json!({"namespaceSelector": namespaces})),
        (selector(), selector()).prop_map(|(pods, of)| json!({"podSelector": pods, "namespaceSelector": of})),
        select(vec![
            json!({"ipBlock": {"cidr": "10.1.0.0/24", "except": ["10.1.0.2/31"]}}),
            json!({"ipBlock": {"cidr": "0.0.0.0/0"}}),
            json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}),
            json!({"ipBlock": {"cidr": "10.1.0.3/32"}}),
            json!({"ipBlock": {"cidr": "fd00::/120", "except": ["fd00::1/128", "fd00::2/127"]}}),
        ]),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"port": 80}),
        json!({"port": 80, "protocol": "UDP"}),
        json!({"port": 79, "endPort": 81}),
        json!({"protocol": "UDP"}),
        json!({"port": "web"}),
        json!({"port": "other"}),
        json!({"port": "web", "protocol": "UDP"}),
    ])
}

fn rule(peers: &'static str) -> impl Strategy<Value = Value> {
    (prop::collection::vec(peer(), 0..3), prop::collection::vec(port(), 0..3))
        .prop_map(move |(from, ports)| json!({peers: from, "ports": ports}))
}

fn spec() -> impl Strategy<Value = Value> {
    let types = select(vec![vec!["Ingress"], vec!["Egress"], vec!["Ingress", "Egress"]]);
    (selector(), types, prop::collection::vec(rule("from"), 0..3), prop::collection::vec(rule("to"), 0..3)).prop_map(
        |(pods, types, ingress, egress)| json!({"podSelector": pods, "policyTypes": types, "ingress": ingress, "egress": egress}),
    )
}

/// A change of one thing: it is there like this, or not.
#[derive(Debug, Clone)]
enum Step {
    Pod(usize, Option<Value>),
    Namespace(usize, Option<Value>),
    Policy(usize, Option<Value>),
}

/// Of the pod of a number, whose addresses are its own.
fn some_pod(number: usize) -> impl Strategy<Value = Value> {
    let ports = select(vec![
        json!([]),
        json!([{"name": "web", "containerPort": 80}]),
        json!([
        {"name": "web", "containerPort": 81}, {"name": "other", "containerPort": 80}, {"name": "web", "containerPort": 80, "protocol": "UDP"}]),
    ]);
    let phase = select(vec!["Running", "Running", "Running", "Succeeded"]);
    (label(), select(vec![NODE, NODE, "n2"]), ports, phase, select(vec![false, false, false, true])).prop_map(
        move |(labels, node, ports, phase, host)| {
            let ips = [format!("10.1.0.{}", number + 1), format!("fd00::{}", number + 1)];
            let mut pod =
                api_pod(NAMESPACES[number % 3], &number.to_string(), node, &ips.each_ref().map(String::as_str), labels);
            pod["spec"]["containers"][0]["ports"] = ports;
            pod["spec"]["hostNetwork"] = host.into();
            pod["status"]["phase"] = phase.into();
            pod
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let pod = (0..PODS).prop_flat_map(|number| (Just(number), prop::option::weighted(0.8, some_pod(number))));
    prop_oneof![
        4 => pod.prop_map(|(number, pod)| Step::Pod(number, pod)),
        1 => (0..NAMESPACES.len(), prop::option::weighted(0.9, label())).prop_map(|(n, labels)| Step::Namespace(n, labels)),
        4 => (0..4usize, prop::option::weighted(0.8, spec())).prop_map(|(n, spec)| Step::Policy(n, spec)),
    ]
}

/// The name of a policy and its namespace.
fn policy_name(number: usize) -> (&'static str, String) {
    (NAMESPACES[number % 2], format!("p{number}"))
}

/// Makes the change in what is known, and tells the compilers of it.
fn take(step: &Step, facts: &mut Facts, compilers: &mut [Compiler]) {
    match step {
        Step::Pod(number, pod) => {
            let of = (NAMESPACES[number % 3].to_owned(), number.to_string());
            let pod = pod.as_ref().and_then(|pod| model::pod(&serde_json::from_value(pod.clone()).unwrap(), NODE));
            for ip in facts.pod(&of, pod) {
                compilers.iter_mut().for_each(|compiler| compiler.address(ip, facts.owner(ip).cloned()));
            }
        }
        Step::Namespace(number, labels) => {
            let name = NAMESPACES[*number];
            facts.namespaces.remove(name);
            labels.iter().for_each(|labels| namespace(facts, name, labels.clone()));
            compilers.iter_mut().for_each(|compiler| compiler.namespace(name, facts.namespaces.get(name).cloned()));
        }
        Step::Policy(number, spec) => {
            let (of, name) = policy_name(*number);
            facts.policies.remove(&(of.to_owned(), name.clone()));
            spec.iter().for_each(|spec| add_policy(facts, &policy(of, &name, spec.clone())));
            let key = (of.to_owned(), name);
            compilers.iter_mut().for_each(|compiler| compiler.policy(&key, facts.policies.get(&key).cloned()));
        }
    }
}

/// The cluster as the API shows it after these changes.
fn shown(steps: &[Step], default_deny: bool) -> Cluster {
    let (mut pods, mut namespaces, mut policies) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for step in steps {
        match step {
            Step::Pod(number, pod) => drop(pods.insert(*number, pod.clone())),
            Step::Namespace(number, labels) => drop(namespaces.insert(*number, labels.clone())),
            Step::Policy(number, spec) => drop(policies.insert(*number, spec.clone())),
        }
    }
    Cluster {
        pods: pods.into_values().flatten().collect(),
        namespaces: namespaces
            .into_iter()
            .filter_map(|(n, labels)| Some((NAMESPACES[n].to_owned(), labels?)))
            .collect(),
        policies: policies
            .into_iter()
            .filter_map(|(n, spec)| {
                let (of, name) = policy_name(n);
                Some(policy(of, &name, spec?))
            })
            .collect(),
        default_deny,
    }
}

fn packets() -> Vec<Packet> {
    let ends = |version: Version| -> Vec<IpAddr> {
        let pods =
            (1..=PODS).map(|n| if version == Version::V4 { format!("10.1.0.{n}") } else { format!("fd00::{n}") });
        let outside = if version == Version::V4 { "192.0.2.1" } else { "2001:db8::1" };
        pods.chain([outside.to_owned()]).map(|ip| ip.parse().unwrap()).collect()
    };
    let mut all = Vec::new();
    for version in [Version::V4, Version::V6] {
        for (source, destination) in
            ends(version).into_iter().flat_map(|a| ends(version).into_iter().map(move |b| (a, b)))
        {
            for (protocol, port) in [("TCP", 80), ("TCP", 81), ("TCP", 443), ("UDP", 80)] {
                all.push(Packet { source, destination, protocol, port });
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_come_to_the_same_as_a_table_made_anew_and_judge_as_the_api_says(
        steps in prop::collection::vec(step(), 1..30), default_deny: bool
    ) {
        let options = Options { default_deny, untold: false };
        let versions = [Version::V4, Version::V6];
        let mut compilers = versions.map(|version| Compiler::new(options, version));
        let mut facts = Facts::default();
        for (at, step) in steps.iter().enumerate() {
            take(step, &mut facts, &mut compilers);
            if at % 7 == 0 {
                compilers.iter_mut().for_each(|compiler| drop(compiler.wanted.take_dirty()));
            }
        }
        for compiler in &compilers {
            let anew = compile(&facts, options, compiler.version);
            prop_assert_eq!(compiler.wanted.content(), &anew);
        }
        let contents = versions.map(|version| compile(&facts, options, version));
        let rules = [Rules::of(&contents[0], Version::V4), Rules::of(&contents[1], Version::V6)];
        let cluster = shown(&steps, default_deny);
        for packet in packets() {
            let rules = &rules[usize::from(packet.source.is_ipv6())];
            prop_assert_eq!(rules.forwards(packet), cluster.allows(NODE, packet), "{:?}\n{:#?}", packet, cluster);
        }
    }

    /// What is marked as changed is all that changed: a copy that takes over nothing else is the same.
    #[test]
    fn what_changed_is_marked(steps in prop::collection::vec(step(), 1..30)) {
        let mut compilers = [Compiler::new(plain(), Version::V4)];
        let (mut facts, mut copy) = (Facts::default(), Content::default());
        for step in &steps {
            take(step, &mut facts, &mut compilers);
            let wanted: &mut Wanted = &mut compilers[0].wanted;
            let dirty = wanted.take_dirty();
            let now = wanted.content();
            for name in &dirty.chains {
                copy.chains.remove(name);
                copy.chains.extend(now.chains.get(name).map(|rules| (name.clone(), rules.clone())));
            }
            for name in &dirty.sets {
                copy.sets.remove(name);
                copy.elements.remove(name);
                copy.sets.extend(now.sets.get(name).map(|set| (name.clone(), set.clone())));
                copy.elements.extend(now.elements.get(name).map(|all| (name.clone(), all.clone())));
            }
            for (name, ids) in &dirty.elements {
                let all = copy.elements.entry(name.clone()).or_default();
                for id in ids {
                    all.remove(id);
                    all.extend(now.elements.get(name).and_then(|all| all.get(id)).map(|element| (id.clone(), element.clone())));
                }
                if all.is_empty() {
                    copy.elements.remove(name);
                }
            }
            prop_assert_eq!(&copy, now);
        }
    }
}

#[test]
fn what_is_not_known_yet_is_held_back_while_there_are_policies() {
    let mut facts = cluster();
    let packet = |source: &str, destination: &str| Packet {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: "TCP",
        port: 80,
    };
    let judge = |facts: &Facts, options| {
        let contents = [Version::V4, Version::V6].map(|version| compile(facts, options, version));
        let [v4, v6] = [Rules::of(&contents[0], Version::V4), Rules::of(&contents[1], Version::V6)];
        let new = v4.forwards(packet("10.1.0.77", "192.0.2.1"));
        let to_new = v4.forwards(packet("192.0.2.1", "10.1.0.77"));
        let to_node = v4.takes_in(packet("10.1.0.77", "192.0.2.1"));
        let on_the_link = v6.forwards(packet("fe80::1", "fe80::2"));
        // Elsewhere it is not for this node to know.
        assert!(v4.forwards(packet("10.1.0.2", "10.2.0.77")) && v4.takes_in(packet("192.0.2.9", "192.0.2.1")));
        [new, to_new, to_node, on_the_link]
    };
    assert_eq!(judge(&facts, plain()), [true; 4]);
    add_policy(&mut facts, &policy("y", "p", json!({"podSelector": {}, "policyTypes": ["Ingress"]})));
    assert_eq!(judge(&facts, plain()), [false; 4]);
    facts.policies.clear();
    assert_eq!(judge(&facts, plain()), [true; 4]);
}
