//! What is done on nodes by table: the pods that are there, and those that come and go.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{Node, Pod},
    },
    jiff::Timestamp,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    rolling,
    sync::{self, Failures, Observed, Plan},
};

const NOW: &str = "2026-01-01T12:00:00Z";

fn set(spec: Value) -> Arc<DaemonSet> {
    let mut set = json!({
        "metadata": {"name": "d", "namespace": "ns", "uid": "u", "generation": 2},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": []}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        },
    });
    for (name, value) in spec.as_object().unwrap() {
        set["spec"][name] = value.clone();
    }
    Arc::new(serde_json::from_value(set).unwrap())
}

fn surge(max: Value) -> Value {
    json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": max}}})
}

fn unavailable(max: Value) -> Value {
    json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": max, "maxSurge": 0}}})
}

/// `n1`, or `n1:NoSchedule` for one with such a taint.
fn node(text: &str) -> Arc<Node> {
    let (name, effect) = text.split_once(':').unwrap_or((text, ""));
    let taints = if effect.is_empty() { json!([]) } else { json!([{"key": "k", "effect": effect}]) };
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"taints": taints}})).unwrap())
}

/// `name@node words`, or `name>node words` while it waits for the scheduler. The words: `new` (of the present template),
/// `ready` (for a minute), `just` (ready since a second), `failed`, `succeeded`, `going`.
fn pod(text: &str) -> Arc<Pod> {
    let (place, words) = text.split_once(' ').unwrap_or((text, ""));
    let has = |word: &str| words.split(' ').any(|w| w == word);
    let (name, node) = place.split_once(['@', '>']).unwrap();
    let hash = if has("new") { "new" } else { "old" };
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "ns", "uid": name, "labels": {"controller-revision-hash": hash},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"containers": [], "nodeName": node},
        "status": {"phase": "Running"},
    });
    if place.contains('>') {
        let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
        let terms = json!([{"matchFields": [field]}]);
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        pod["spec"] = json!({"containers": [], "affinity": {"nodeAffinity": required}});
    }
    let since = if has("just") { "2026-01-01T11:59:59Z" } else { "2026-01-01T11:59:00Z" };
    if has("ready") || has("just") {
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
    }
    for (word, phase) in [("failed", "Failed"), ("succeeded", "Succeeded")] {
        if has(word) {
            pod["status"]["phase"] = json!(phase);
        }
    }
    if has("going") {
        pod["metadata"]["deletionTimestamp"] = json!(NOW);
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn seen(spec: Value, nodes: &str, pods: &[&str]) -> Observed {
    let nodes: Vec<_> = nodes.split_whitespace().map(node).collect();
    let pods: Vec<_> = pods.iter().map(|text| pod(text)).collect();
    Observed::new(set(spec), &nodes, &pods, "new".into(), NOW.parse::<Timestamp>().unwrap())
}

fn failures() -> Failures {
    Failures::new(Duration::from_secs(1), Duration::from_secs(900))
}

/// Nodes that get a pod after a plus, pods that go after a minus.
fn print(plan: &Plan) -> String {
    let created = plan.create.iter().map(|node| format!("+{node}"));
    let deleted = plan.delete.iter().map(|pod| format!("-{}", pod.metadata.name.as_ref().unwrap()));
    created.chain(deleted).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_node_has_the_pod_that_it_should_have() {
    for (spec, nodes, pods, want) in [
        (json!({}), "", &[][..], ""),
        (json!({}), "n1 n2", &[], "+n1 +n2"),
        (json!({}), "n1 n2", &["a@n1"], "+n2"),
        (json!({}), "n1 n2", &["a@n1", "b>n2"], ""),
        (json!({}), "n1 n2", &["a@n1", "b@n1", "c@n1"], "+n2 -b -c"),
        // Where several are, one that runs is worth more than one that waits.
        (json!({}), "n1", &["a>n1", "b@n1"], "-a"),
        (json!({}), "n1:NoSchedule n2:NoExecute", &[], ""),
        (json!({}), "n1:NoSchedule n2:NoExecute", &["a@n1", "b@n2", "c@n2 going"], "-b"),
        // One that goes is waited for, unless it has ended; with surge it is not.
        (json!({}), "n1", &["a@n1 going"], ""),
        (json!({}), "n1", &["a@n1 failed going"], "+n1"),
        (surge(json!(1)), "n1", &["a@n1 going"], "+n1"),
        (surge(json!(1)), "n1:NoSchedule", &["a@n1 going"], ""),
        // Of a node that is gone.
        (json!({}), "n1", &["a@n1", "b>n2", "c@n3"], "-b"),
        // Surge: the old one goes when it is not ready, or when the new one is available.
        (surge(json!(1)), "n1", &["a@n1 ready", "b@n1 new"], ""),
        (surge(json!(1)), "n1", &["a@n1 ready", "b@n1 new ready"], "-a"),
        (surge(json!(1)), "n1", &["a@n1", "b@n1 new"], "-a"),
        (surge(json!(1)), "n1", &["a@n1 ready", "b@n1 new", "c@n1 new", "d@n1 ready"], "-c -d"),
        (surge(json!("0%")), "n1", &["a@n1 ready", "b@n1 new"], "-b"),
    ] {
        let plan = sync::manage(&seen(spec, nodes, pods), &mut failures(), Instant::now());
        assert_eq!(print(&plan), want, "{nodes} {pods:?}");
    }
}

#[test]
fn with_surge_a_new_pod_must_be_available_and_not_only_ready() {
    let mut spec = surge(json!(1));
    spec["minReadySeconds"] = json!(30);
    for (new, want) in [("b@n1 new just", ""), ("b@n1 new ready", "-a")] {
        let plan = sync::manage(&seen(spec.clone(), "n1", &["a@n1 ready", new]), &mut failures(), Instant::now());
        assert_eq!(print(&plan), want, "{new}");
    }
}

#[test]
fn pods_that_ended_go_and_failed_ones_later_and_later() {
    let (mut failures, mut clock) = (failures(), Instant::now());
    let mut manage = |clock| sync::manage(&seen(json!({}), "n1", &["a@n1 failed"]), &mut failures, clock);
    for wait in [1, 2, 4] {
        let plan = manage(clock);
        assert_eq!((print(&plan), plan.check_again), ("-a".into(), None));
        let [said] = plan.say.as_slice() else { panic!("{plan:?}") };
        let words = "Found failed daemon pod ns/a on node n1, will try to kill it";
        assert_eq!((said.kind, said.reason, said.message.as_str()), ("Warning", "FailedDaemonPod", words));
        let plan = manage(clock + Duration::from_millis(999));
        assert_eq!((print(&plan), plan.say.len()), (String::new(), 0));
        assert_eq!(plan.check_again, Some(Duration::from_secs(wait)));
        clock += Duration::from_secs(wait);
    }
    let plan = sync::manage(&seen(json!({}), "n1", &["a@n1 succeeded"]), &mut failures, clock);
    assert_eq!(print(&plan), "-a");
    let words = "Found succeeded daemon pod ns/a on node n1, will try to delete it";
    assert_eq!(
        (plan.say[0].kind, plan.say[0].reason, plan.say[0].message.as_str()),
        ("Normal", "SucceededDaemonPod", words)
    );
}

#[test]
fn old_pods_go_as_far_as_pods_may_be_missing() {
    let old = ["a@n1 ready", "b@n2 ready", "c@n3 ready", "d@n4 ready", "e@n5 ready"];
    let with = |i: usize, text: &'static str| {
        let mut pods = old;
        pods[i] = text;
        pods
    };
    for (max, pods, want) in [
        (json!(1), old, "-a"),
        (json!(2), old, "-a -b"),
        (json!("50%"), old, "-a -b -c"),
        // Neither surge nor absence allowed would stand still.
        (json!(0), old, "-a"),
        (json!(2), with(1, "b@n2"), "-b -a"),
        (json!(1), with(1, "b@n2"), "-b"),
        (json!(1), with(1, "b@n2 new"), ""),
        (json!(2), with(1, "b@n2 new"), "-a"),
        (json!(1), with(0, "a@n1 new ready"), "-b"),
        (json!(1), with(0, "a@n1 going"), ""),
        // A node without its pod counts as one that is missing.
        (json!(1), with(0, "a@n9 ready"), ""),
        (json!(1), ["a@n1", "b@n2", "c@n3", "d@n4", "e@n5"], "-a -b -c -d -e"),
        (json!(1), ["a@n1 new", "b@n2", "c@n3 new", "d@n4 ready", "e@n5 ready"], "-b"),
        (json!(4), ["a@n1 new", "b@n2", "c@n3 new", "d@n4 ready", "e@n5 ready"], "-b -d"),
        (json!(1), ["a@n1", "b@n1", "c@n3 ready", "d@n4 ready", "e@n5 ready"], ""),
    ] {
        let plan = rolling::roll(&seen(unavailable(max.clone()), "n1 n2 n3 n4 n5", &pods)).unwrap();
        assert_eq!(print(&plan), want, "{max} {pods:?}");
    }
}

#[test]
fn with_surge_new_pods_come_before_old_ones_go() {
    for (max, nodes, pods, want) in [
        (json!(1), "n1 n2 n3", &["a@n1 ready", "b@n2 ready", "c@n3 ready"][..], "+n1"),
        (json!("34%"), "n1 n2 n3", &["a@n1 ready", "b@n2 ready", "c@n3 ready"], "+n1 +n2"),
        // What is not available anyway does not count.
        (json!(1), "n1 n2 n3", &["a@n1", "b@n2 ready", "c@n3"], "+n1 +n3 +n2"),
        (json!(1), "n1 n2", &["a@n1 ready", "x@n1 new", "b@n2 ready"], ""),
        (json!(2), "n1 n2", &["a@n1 ready", "x@n1 new", "b@n2 ready"], "+n2"),
        (json!(1), "n1 n2", &["a@n1 ready", "x@n1 new ready", "b@n2 ready"], "+n2 -a"),
        (json!(1), "n1 n2", &["x@n1 new ready", "y@n2 new ready"], ""),
        // A node that pods are not wanted on any more: one goes when there are enough elsewhere.
        (json!(1), "n1 n2:NoSchedule", &["a@n1 ready", "b@n2"], "+n1 -b"),
        (json!(1), "n1 n2:NoSchedule", &["a@n1 ready", "b@n2 ready"], "+n1 -b"),
        (json!(1), "n1 n2:NoSchedule", &["a@n1", "b@n2 ready"], "+n1"),
    ] {
        let plan = rolling::roll(&seen(surge(max.clone()), nodes, pods)).unwrap();
        assert_eq!(print(&plan), want, "{max} {nodes} {pods:?}");
    }
    assert!(rolling::roll(&seen(surge(json!(1)), "n1", &["a@n2 ready"])).is_err(), "a node that is gone");
}

#[test]
fn the_status_counts_nodes() {
    let spec = json!({"minReadySeconds": 30});
    let pods = ["a@n1 new ready", "b@n2 just", "c@n3", "d@n5 ready", "e@n1 ready"];
    let status = sync::status(&seen(spec, "n1 n2 n3 n4 n5:NoSchedule n6:NoExecute", &pods), Default::default());
    assert_eq!(
        serde_json::to_value(status).unwrap(),
        json!({
            "desiredNumberScheduled": 4, "currentNumberScheduled": 3, "numberMisscheduled": 1, "numberReady": 2,
            "numberAvailable": 1, "numberUnavailable": 3, "updatedNumberScheduled": 1,
        })
    );
}

#[test]
fn only_rolling_sets_roll() {
    assert!(sync::rolls(&set(json!({}))));
    assert!(!sync::rolls(&set(json!({"updateStrategy": {"type": "OnDelete"}}))));
    let both = json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"maxSurge": 3}}});
    assert_eq!(sync::max_surge(&set(both), 10), 0);
}
