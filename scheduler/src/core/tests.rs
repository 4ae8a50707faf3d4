//! The core as its users see it: objects in, decisions and messages out. The messages are upstream's, compared with
//! kube-scheduler v1.36.2 on the same objects.

mod claims;
mod nominations;
mod permits;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};
use serde_json::{Value, json};

use super::*;
use crate::{
    bind::{Actor, Done},
    cache::node::Node,
    config::Config,
    framework::{
        extension::{Binding, Cycle, Filter, Plugin, PreBind, Reserve, Scope},
        status::{Code, Status},
    },
};

fn core() -> Core {
    let config = Config::default();
    Core::new(&Settings::default(), |_| 0, |interner| config.frameworks(interner)).expect("the default profile")
}

fn node(name: &str, cpu: &str, extra: Value) -> ApiNode {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "3"}},
    });
    merge(&mut node, extra);
    serde_json::from_value(node).unwrap()
}

fn pod(name: &str, cpu: &str, extra: Value) -> ApiPod {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1", "labels": {"app": name}},
        "spec": {
            "schedulerName": "default-scheduler",
            "containers": [{"name": "c", "image": "img", "resources": {"requests": {"cpu": cpu}}}],
        },
    });
    merge(&mut pod, extra);
    serde_json::from_value(pod).unwrap()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => {
            if !from.is_null() {
                *into = from;
            }
        }
    }
}

/// Tries everything that is ready, and confirms bindings at once; one line for each thing done.
fn drain(core: &mut Core, now: Instant) -> String {
    let mut lines = Vec::new();
    for _ in 0..100 {
        let Some(effects) = core.step(now) else { break };
        let mut tried_in_vain = false;
        for effect in effects {
            match effect {
                Effect::Bind { pod, node_name, .. } => {
                    lines.push(format!("{} -> {node_name}", pod.name));
                    assert!(core.bound(&pod.uid, Ok(()), now).is_empty());
                }
                Effect::Failed { pod, reason, message, nominate } => {
                    tried_in_vain = true;
                    let nominate = nominate.filter(|node| !node.is_empty()).map(|node| format!(" waits for {node}"));
                    lines.push(format!("{} {reason}{}: {message}", pod.name, nominate.unwrap_or_default()));
                }
                Effect::Skipped { pod } => lines.push(format!("{} skipped", pod.name)),
                Effect::Preempt { victim, node_name, .. } => {
                    lines.push(format!("evict {} from {node_name}", victim.name))
                }
                Effect::GiveUp { pod, claim, deletes } => {
                    let (verb, claim) = (if deletes { "deletes" } else { "frees" }, claim.metadata.name.as_deref());
                    lines.push(format!("{} {verb} {}", pod.name, claim.unwrap_or_default()));
                }
                Effect::Preempted { victim, node_name, .. } => {
                    lines.push(format!("{} gives {node_name} up", victim.name))
                }
            }
        }
        // A pod in backoff is tried early when nothing else is ready; once is enough here.
        if tried_in_vain && core.queue_lengths().0 == 0 {
            break;
        }
    }
    lines.join("\n")
}

fn check(nodes: &[ApiNode], pods: &[ApiPod], expected: Expect) -> Core {
    let now = Instant::now();
    let mut core = core();
    nodes.iter().for_each(|node| core.node_changed(node, now));
    pods.iter().for_each(|pod| core.pod_changed(pod, now));
    expected.assert_eq(&drain(&mut core, now));
    core
}

fn taint(key: &str, effect: &str) -> Value {
    json!({"spec": {"taints": [{"key": key, "effect": effect}]}})
}

fn on(node: &str) -> Value {
    json!({"spec": {"nodeName": node}})
}

#[test]
fn messages_are_upstreams() {
    check(&[], &[pod("p", "1", json!({}))], expect!["p Unschedulable: no nodes available to schedule pods"]);
    check(
        &[
            node("a", "1", json!({})),
            node("b", "4", taint("gpu", "NoSchedule")),
            node("c", "4", taint("x", "NoExecute")),
        ],
        &[pod("p", "2", json!({}))],
        expect![
            "p Unschedulable: 0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        ],
    );
    // Room could be made on one node, but nobody there may be sent away.
    check(
        &[node("a", "2", json!({})), node("b", "1", json!({"spec": {"unschedulable": true}}))],
        &[pod("busy", "1500m", on("a")), pod("p", "1", json!({}))],
        expect![
            "p Unschedulable: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
        ],
    );
    check(
        &[node("a", "2", json!({}))],
        &[pod("p", "1", json!({"spec": {"nodeSelector": {"disk": "ssd"}}}))],
        expect![
            "p Unschedulable: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    check(
        &[node("a", "1", json!({"status": {"allocatable": {"pods": "1"}}}))],
        &[
            pod("busy", "500m", on("a")),
            pod(
                "p",
                "2",
                json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2", "memory": "8Gi", "example.com/gpu": "1"}}}]}}),
            ),
        ],
        expect![
            "p Unschedulable: 0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient example.com/gpu, 1 Insufficient memory, 1 Too many pods. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    let names = |name: &str| {
        json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]}}}}})
    };
    check(
        &[node("a", "1", json!({})), node("b", "4", json!({}))],
        &[pod("p", "2", names("a"))],
        expect![
            "p Unschedulable: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        ],
    );
    check(
        &[node("a", "4", json!({}))],
        &[
            pod(
                "web",
                "1",
                json!({"spec": {"nodeName": "a", "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}}),
            ),
            pod(
                "p",
                "1",
                json!({"spec": {"preemptionPolicy": "Never", "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}]}]}}),
            ),
        ],
        expect![
            "p Unschedulable: 0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
        ],
    );
}

#[test]
fn affinity_between_pods_and_spreading() {
    let anti = json!({"metadata": {"labels": {"app": "db"}}, "spec": {"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}]}}}});
    let nodes = [node("a", "4", json!({})), node("b", "4", json!({}))];
    check(
        &nodes,
        &[
            pod("db-0", "1", anti.clone()),
            pod("db-1", "1", anti.clone()),
            pod("db-2", "1", anti.clone()),
            pod("other", "1", json!({"metadata": {"labels": {"app": "db"}}})),
        ],
        expect![[r#"
            db-0 -> a
            db-1 -> b
            db-2 Unschedulable: 0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.
            other Unschedulable: 0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."#]],
    );
    let with = json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "cache"}}, "topologyKey": "kubernetes.io/hostname"}]}}}});
    check(&nodes, &[pod("cache", "1", on("b")), pod("p", "1", with.clone())], expect!["p -> b"]);
    check(
        &nodes,
        &[pod("p", "1", with)],
        expect![
            "p Unschedulable: 0/2 nodes are available: 2 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        ],
    );
    let spread = |key: &str| {
        json!({"metadata": {"labels": {"app": "s"}}, "spec": {"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "s"}}}]}})
    };
    let host = spread("kubernetes.io/hostname");
    check(
        &[node("a", "4", json!({})), node("b", "500m", json!({}))],
        &[pod("s-0", "1", host.clone()), pod("s-1", "1", host.clone()), pod("s-2", "1", spread("zone"))],
        expect![[r#"
            s-0 -> a
            s-1 Unschedulable: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints. no new claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.
            s-2 Unschedulable: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints (missing required label). no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."#]],
    );
}

#[test]
fn priority_order_and_preemption() {
    let priority = |value: i32| json!({"spec": {"priority": value}});
    let core = check(
        &[node("a", "2", json!({})), node("b", "2", json!({}))],
        &[
            pod("low", "1", json!({"spec": {"nodeName": "a", "priority": 1}})),
            pod("lower", "2", json!({"spec": {"nodeName": "b", "priority": 0}})),
            pod("mid", "1", json!({"spec": {"nodeName": "a", "priority": 5}})),
            pod("second", "100m", priority(5)),
            pod("first", "2", priority(10)),
        ],
        // `lower` has the lowest priority of all, and one victim is enough there. `second` may not have that place.
        expect![[r#"
            evict lower from b
            first Unschedulable waits for b: 0/2 nodes are available: 2 Insufficient cpu.
            evict low from a
            second Unschedulable waits for a: 0/2 nodes are available: 2 Insufficient cpu."#]],
    );
    let now = Instant::now();
    let mut core = core;
    core.pod_deleted("lower", now);
    core.pod_deleted("low", now);
    expect![""].assert_eq(&drain(&mut core, now));
    core.evicted("first", now);
    core.evicted("second", now);
    expect![[r#"
        first -> b
        second -> a"#]]
    .assert_eq(&drain(&mut core, now));
}

#[test]
fn only_events_that_can_help_wake_a_pod() {
    let now = Instant::now();
    let mut core = check(
        &[node("a", "1", json!({})), node("b", "4", taint("gpu", "NoSchedule"))],
        &[pod("big", "2", json!({"spec": {"tolerations": [{"key": "other", "operator": "Exists"}]}}))],
        expect![
            "big Unschedulable: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        ],
    );
    let sleeps = |core: &mut Core, what: &str| {
        assert_eq!(core.queue_lengths(), (0, 0, 1), "{what} must not wake the pod");
    };
    core.node_changed(&node("a", "1", json!({"metadata": {"labels": {"new": "label"}}})), now);
    sleeps(&mut core, "a label");
    core.node_changed(&node("a", "1500m", json!({"metadata": {"labels": {"new": "label"}}})), now);
    sleeps(&mut core, "too little more CPU");
    core.node_changed(&node("c", "1", taint("gpu", "NoSchedule")), now);
    core.node_changed(&node("b", "4", taint("gpu", "NoExecute")), now);
    sleeps(&mut core, "another taint");
    core.node_changed(&node("b", "4", json!({})), now);
    assert_eq!(core.queue_lengths(), (0, 1, 0), "it backs off first");
    expect!["big -> b"].assert_eq(&drain(&mut core, now + Duration::from_secs(2)));
}

#[test]
fn gated_deleted_and_foreign_pods() {
    let now = Instant::now();
    let gated = json!({"spec": {"schedulingGates": [{"name": "example.com/wait"}]}});
    let mut core = check(
        &[node("a", "4", json!({}))],
        &[
            pod("gated", "1", gated),
            pod("foreign", "1", json!({"spec": {"schedulerName": "mine"}})),
            pod("going", "1", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
        ],
        expect!["going skipped"],
    );
    assert_eq!(core.queue_lengths(), (0, 0, 1));
    core.pod_changed(&pod("gated", "1", json!({"metadata": {"resourceVersion": "2"}})), now);
    expect!["gated -> a"].assert_eq(&drain(&mut core, now));
}

#[test]
fn a_failed_binding_gives_the_place_back_and_tries_again() {
    let now = Instant::now();
    let mut core = core();
    core.node_changed(&node("a", "1", json!({})), now);
    core.pod_changed(&pod("p", "1", json!({})), now);
    let effects = core.step(now).expect("a pod is ready");
    assert!(matches!(effects.as_slice(), [Effect::Bind { .. }]));
    core.pod_changed(&pod("q", "1", json!({})), now);
    expect!["q Unschedulable: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."]
        .assert_eq(&drain(&mut core, now));
    let failed = core.bound("p", Err(Failure::error("running Bind plugin \"DefaultBinder\": gone")), now);
    assert!(matches!(failed.as_slice(), [Effect::Failed { reason: "SchedulerError", .. }]));
    // The place is free again, so q is woken; p waits after an error.
    expect!["q -> a"].assert_eq(&drain(&mut core, now + Duration::from_millis(500)));
    assert_eq!(core.queue_lengths(), (0, 1, 0));
}

/// A plugin that panics the first time it is asked about the pod `bad`, at one of its extension points.
struct Fragile {
    at: &'static str,
    panicked: AtomicBool,
    unreserved: AtomicU32,
}

impl Fragile {
    fn at(at: &'static str) -> Arc<Self> {
        Arc::new(Self { at, panicked: AtomicBool::new(false), unreserved: AtomicU32::new(0) })
    }

    fn touch(&self, at: &str, pod: &PodInfo) {
        let panics = at == self.at && &*pod.name == "bad" && !self.panicked.swap(true, Ordering::Relaxed);
        assert!(!panics, "made to panic");
    }

    /// A core with it as its last plugin.
    fn core(self: &Arc<Self>) -> Core {
        let config = Config::default();
        let make = |interner: &mut Interner| {
            let mut frameworks = config.frameworks(interner)?;
            let framework = &mut frameworks[0];
            framework.pod_filters.push(framework.plugins.len());
            framework.plugins.push(self.clone());
            Ok::<_, String>(frameworks)
        };
        Core::new(&Settings::default(), |_| 0, make).expect("the default profile")
    }
}

impl Filter for Fragile {
    fn scope(&self) -> Scope {
        Scope::Pods
    }
    fn filter(&self, cycle: &Cycle<'_>, _: &Node) -> Status {
        self.touch("filter", cycle.pod);
        Status::success()
    }
}

impl Reserve for Fragile {
    fn reserve(&self, cycle: &mut Cycle<'_>, _: &Node) -> Status {
        self.touch("reserve", cycle.pod);
        Status::success()
    }
    fn unreserve(&self, _: &CycleState, _: &PodInfo, _: &str) {
        self.unreserved.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl PreBind for Fragile {
    fn needed(&self, _: &CycleState) -> bool {
        self.at == "pre_bind"
    }
    async fn pre_bind(&self, binding: &Binding) -> Status {
        self.touch("pre_bind", &binding.pod);
        Status::new(Code::Error, "made to fail")
    }
}

impl Plugin for Fragile {
    fn name(&self) -> &'static str {
        "Fragile"
    }
    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
    fn reserve(&self) -> Option<&dyn Reserve> {
        Some(self)
    }
    fn pre_bind(&self) -> Option<&dyn PreBind> {
        Some(self)
    }
}

#[test]
fn a_cycle_that_panics_fails_its_pod_alone_and_for_a_while() {
    for at in ["filter", "reserve"] {
        let (now, fragile) = (Instant::now(), Fragile::at(at));
        let mut core = fragile.core();
        core.node_changed(&node("a", "2", json!({})), now);
        core.pod_changed(&pod("bad", "1", json!({})), now);
        core.pod_changed(&pod("good", "1", json!({})), now);
        expect![[r#"
            bad SchedulerError: the scheduler failed while it tried the pod; see its log
            good -> a"#]]
        .assert_eq(&drain(&mut core, now));
        assert_eq!(core.queue_lengths(), (0, 1, 0), "{at}");
        assert_eq!(fragile.unreserved.load(Ordering::Relaxed), u32::from(at == "reserve"));
        expect!["bad -> a"].assert_eq(&drain(&mut core, now + Duration::from_secs(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_panics_is_one_that_failed() {
    let (now, fragile) = (Instant::now(), Fragile::at("pre_bind"));
    let mut core = fragile.core();
    core.node_changed(&node("a", "1", json!({})), now);
    core.pod_changed(&pod("bad", "1", json!({})), now);
    let tasks = component::Supervisor::new();
    let client = client::over_stream(std::future::pending::<std::io::Result<tokio::io::DuplexStream>>, "test");
    let recorder = crate::events::Recorder::start(client.clone(), "host".to_owned(), &tasks);
    let (sender, mut done) = tokio::sync::mpsc::unbounded_channel();
    let tell = move |done| drop(sender.send(done));
    let actor = Actor::new(client, recorder, core.profiles().clone(), tasks.clone(), tell);

    for (after, why) in [
        (0, "the scheduler failed while it bound the pod to a; see its log"),
        (1, "running PreBind plugin \"Fragile\": made to fail"),
    ] {
        let at = now + Duration::from_secs(after);
        let effects = core.step(at).expect("the pod is ready");
        assert!(matches!(effects.as_slice(), [Effect::Bind { .. }]));
        effects.into_iter().for_each(|effect| actor.act(effect));
        let Some(Done::Bound(uid, result)) = done.recv().await else { panic!("nothing done") };
        assert_eq!(result, Err(Failure::error(why)));
        assert!(matches!(core.bound(&uid, result, at).as_slice(), [Effect::Failed { reason: "SchedulerError", .. }]));
        assert!(core.cache().pod("bad").is_none(), "what was assumed is forgotten");
        assert_eq!(core.queue_lengths(), (0, 1, 0));
    }
    assert_eq!(fragile.unreserved.load(Ordering::Relaxed), 2);
}

#[test]
fn a_pod_deleted_while_it_is_bound_frees_its_place() {
    let now = Instant::now();
    let mut core = core();
    core.node_changed(&node("a", "1", json!({})), now);
    core.pod_changed(&pod("p", "1", json!({})), now);
    assert!(core.step(now).is_some());
    core.pod_deleted("p", now);
    assert!(core.bound("p", Err(Failure::error("not found")), now).is_empty());
    core.pod_changed(&pod("q", "1", json!({})), now);
    expect!["q -> a"].assert_eq(&drain(&mut core, now));
}

#[test]
fn spreads_a_workload_by_default_and_prefers_the_emptier_node() {
    let mut core = core();
    let now = Instant::now();
    for name in ["a", "b", "c"] {
        core.node_changed(&node(name, "4", json!({})), now);
    }
    for index in 0..3 {
        core.pod_changed(&pod(&format!("p{index}"), "1", json!({})), now);
    }
    expect![[r#"
        p0 -> a
        p1 -> b
        p2 -> c"#]]
    .assert_eq(&drain(&mut core, now));
}
