//! Pods whose claims are bound before they are: what is assumed, what is written, and what comes of it.

use http::{Method, Request, Response};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use kube::client::Body;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::cache::volumes::Stored;

/// A core with its actor, over a server that notes requests and answers them all.
struct World {
    core: Core,
    actor: Actor,
    requests: UnboundedReceiver<String>,
    done: UnboundedReceiver<Done>,
    now: Instant,
}

impl World {
    /// Nodes `a` and `b` of two CPUs; `refused` is a part of the paths that the server refuses with a conflict.
    fn new(refused: &'static str) -> Self {
        let (seen, requests) = unbounded_channel();
        let service = tower::service_fn(move |request: Request<Body>| {
            let seen = seen.clone();
            async move {
                let (parts, body) = request.into_parts();
                let path = parts.uri.path().to_owned();
                let body = String::from_utf8_lossy(&body.collect_bytes().await?).into_owned();
                let fails = !refused.is_empty() && path.contains(refused);
                if !path.contains("/events") {
                    let _ = seen.send(format!("{} {path} {body}", parts.method));
                }
                let version = if path.contains("/persistentvolumes/") { "8" } else { "2" };
                let (code, answer) = match (fails, parts.method) {
                    (true, _) => {
                        (409, json!({"kind": "Status", "status": "Failure", "code": 409, "message": "it was changed"}))
                    }
                    (_, Method::PATCH) => (
                        200,
                        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                        "metadata": {"name": "x", "resourceVersion": version}}),
                    ),
                    _ => (201, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
                };
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, kube::Error>(Response::builder().status(code).body(answer).expect("a response"))
            }
        });
        let client = kube::Client::new(service, "default");
        let now = Instant::now();
        let mut core = core();
        for name in ["a", "b"] {
            core.node_changed(&node(name, "2", json!({})), now);
        }
        let tasks = component::Supervisor::new();
        let recorder = crate::events::Recorder::start(client.clone(), "host".to_owned(), &tasks);
        let (sender, done) = unbounded_channel();
        let tell = move |done| drop(sender.send(done));
        let actor = Actor::new(client, recorder, core.profiles().clone(), tasks, tell);
        let mut world = Self { core, actor, requests, done, now };
        for (name, provisioner) in [("made", "p"), ("local", "kubernetes.io/no-provisioner")] {
            world.show::<StorageClass>(json!({"metadata": {"name": name}, "provisioner": provisioner,
                "volumeBindingMode": "WaitForFirstConsumer"}));
        }
        world
    }

    fn show<K: Stored>(&mut self, manifest: Value) {
        let object: K = serde_json::from_value(manifest).expect("an object");
        self.core.stored(&object.key(), Some(object), self.now);
    }

    fn pending(&mut self, name: &str, claim: &str, priority: i32) {
        let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": claim}});
        let extra = json!({"spec": {"volumes": [volume], "priority": priority}});
        self.core.pod_changed(&pod(name, "1", extra), self.now);
    }

    /// Tries the next pod and has done what is to be done; says what that is.
    fn step(&mut self) -> String {
        let effects = self.core.step(self.now).expect("a pod is ready");
        let lines: Vec<String> = effects.iter().map(said).collect();
        effects.into_iter().for_each(|effect| self.actor.act(effect));
        lines.join("\n")
    }

    async fn request(&mut self) -> String {
        self.requests.recv().await.expect("a request")
    }

    /// What came of a binding: of the pod, and whatever the core makes of it.
    async fn bound(&mut self) -> String {
        let Some(Done::Bound(uid, result)) = self.done.recv().await else { panic!("no binding ended") };
        let came = result.as_ref().map_or_else(|failure| failure.message.clone(), |()| "bound".to_owned());
        let effects = self.core.bound(&uid, result, self.now);
        let effects: Vec<String> = effects.iter().map(said).collect();
        [format!("{uid}: {came}"), effects.join("\n")].join("\n").trim_end().to_owned()
    }
}

fn said(effect: &Effect) -> String {
    match effect {
        Effect::Bind { pod, node_name, .. } => format!("{} -> {node_name}", pod.name),
        Effect::Failed { pod, reason, message, .. } => format!("{} {reason}: {message}", pod.name),
        Effect::Skipped { pod } => format!("{} skipped", pod.name),
        Effect::Preempt { victim, .. } => format!("evict {}", victim.name),
        Effect::Preempted { victim, .. } => format!("{} gives up", victim.name),
        Effect::GiveUp { claim, .. } => format!("{} is given up", claim.metadata.name.as_deref().unwrap_or_default()),
    }
}

fn claim(class: &str, version: &str, more: Value) -> Value {
    let mut claim = json!({
        "metadata": {"name": "c", "namespace": "default", "uid": "u", "resourceVersion": version, "annotations": {}},
        "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    merge(&mut claim, more);
    claim
}

fn on_a(node: &str) -> Value {
    json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": node}}})
}

/// What the controller makes of a claim: bound to `v`.
fn bound_to_v(class: &str, more: Value) -> Value {
    let mut claim = claim(
        class,
        "5",
        json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": "v"},
        }),
    );
    merge(&mut claim, more);
    claim
}

fn volume(version: &str, node: &str, more: Value) -> Value {
    let expression = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
    let mut volume = json!({
        "metadata": {"name": "v", "resourceVersion": version, "uid": "pv"},
        "spec": {
            "storageClassName": "local",
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
        },
        "status": {"phase": "Available"},
    });
    merge(&mut volume, more);
    volume
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_made_where_its_pod_will_run() {
    let mut world = World::new("");
    world.show::<PersistentVolumeClaim>(claim("made", "1", json!({})));
    world.pending("p", "c", 0);
    assert_eq!(world.step(), "p -> a");
    expect![[
        r#"PATCH /api/v1/namespaces/default/pods/p/status {"metadata":{"uid":"p"},"status":{"nominatedNodeName":"a"}}"#
    ]]
    .assert_eq(&world.request().await);
    expect![[r#"PATCH /api/v1/namespaces/default/persistentvolumeclaims/c {"metadata":{"annotations":{"volume.kubernetes.io/selected-node":"a"},"resourceVersion":"1","uid":"u"}}"#]]
        .assert_eq(&world.request().await);
    world.show::<PersistentVolumeClaim>(claim("made", "2", on_a("a")));
    world.show::<PersistentVolume>(volume("4", "a", json!({"spec": {"storageClassName": "made"}})));
    world.show::<PersistentVolumeClaim>(bound_to_v("made", on_a("a")));
    expect!["p: bound"].assert_eq(&world.bound().await);
    expect![[r#"POST /api/v1/namespaces/default/pods/p/binding {"apiVersion":"v1","kind":"Binding","metadata":{"name":"p","namespace":"default","uid":"p"},"target":{"kind":"Node","name":"a"}}"#]]
        .assert_eq(&world.request().await);
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_there_is_the_claims_at_once() {
    let mut world = World::new("");
    world.show::<PersistentVolumeClaim>(claim("local", "1", json!({})));
    let other = json!({"metadata": {"name": "d", "uid": "w"}});
    world.show::<PersistentVolumeClaim>(claim("local", "1", other));
    world.show::<PersistentVolume>(volume("7", "b", json!({})));
    world.pending("p", "c", 0);
    assert_eq!(world.step(), "p -> b");
    world.pending("q", "d", 0);
    expect!["q Unschedulable: 0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."]
        .assert_eq(&world.step());
    let mut written = world.request().await;
    while !written.contains("/persistentvolumes/") {
        written = world.request().await;
    }
    expect![[r#"PATCH /api/v1/persistentvolumes/v {"metadata":{"annotations":{"pv.kubernetes.io/bound-by-controller":"yes"},"resourceVersion":"7","uid":"pv"},"spec":{"claimRef":{"apiVersion":"v1","kind":"PersistentVolumeClaim","name":"c","namespace":"default","resourceVersion":"1","uid":"u"}}}"#]]
        .assert_eq(&written);
    let reference =
        json!({"spec": {"claimRef": {"name": "c", "namespace": "default", "uid": "u"}}, "status": {"phase": "Bound"}});
    world.show::<PersistentVolume>(volume("8", "b", reference));
    world.show::<PersistentVolumeClaim>(bound_to_v("local", json!({})));
    expect!["p: bound"].assert_eq(&world.bound().await);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_written_is_taken_back() {
    let mut world = World::new("persistentvolumes/");
    world.show::<PersistentVolumeClaim>(claim("local", "1", json!({})));
    world.show::<PersistentVolume>(volume("7", "b", json!({})));
    world.pending("p", "c", 0);
    assert_eq!(world.step(), "p -> b");
    expect![[r#"
        p: running PreBind plugin "VolumeBinding": it was changed
        p SchedulerError: running PreBind plugin "VolumeBinding": it was changed"#]]
    .assert_eq(&world.bound().await);
    // The node is not told any more either.
    let mut last = String::new();
    while let Ok(request) = world.requests.try_recv() {
        last = request;
    }
    expect![[
        r#"PATCH /api/v1/namespaces/default/pods/p/status {"metadata":{"uid":"p"},"status":{"nominatedNodeName":null}}"#
    ]]
    .assert_eq(&last);
    world.show::<PersistentVolumeClaim>(claim("local", "1", json!({"metadata": {"name": "d", "uid": "w"}})));
    world.pending("q", "d", 0);
    assert_eq!(world.step(), "q -> b");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_not_bound_puts_its_pod_back() {
    for (shown, expected) in [
        (None, "binding volumes: context deadline exceeded"),
        (
            Some(claim("made", "3", json!({"metadata": {"annotations": {"x": "y"}}}))),
            "binding volumes: provisioning failed for PVC \"c\"",
        ),
        (Some(claim("made", "3", json!({}))), "binding volumes: selectedNode annotation reset for PVC \"c\""),
        (
            Some(bound_to_v("made", on_a("a"))),
            "binding volumes: pv \"v\" node affinity doesn't match node \"a\": no matching NodeSelectorTerms",
        ),
    ] {
        let mut world = World::new("");
        world.show::<PersistentVolumeClaim>(claim("made", "1", json!({})));
        world.pending("p", "c", 0);
        assert_eq!(world.step(), "p -> a");
        world.request().await;
        world.request().await;
        world.show::<PersistentVolume>(volume("4", "b", json!({"spec": {"storageClassName": "made"}})));
        if let Some(shown) = shown {
            world.show::<PersistentVolumeClaim>(shown);
        }
        let message = format!("running PreBind plugin \"VolumeBinding\": {expected}");
        assert_eq!(world.bound().await, format!("p: {message}\np SchedulerError: {message}"));
        assert_eq!(world.core.queue_lengths(), (0, 1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_the_claims_of_a_pod_that_is_gone() {
    let mut world = World::new("");
    world.show::<PersistentVolumeClaim>(claim("made", "1", json!({})));
    world.pending("p", "c", 0);
    assert_eq!(world.step(), "p -> a");
    world.request().await;
    world.request().await;
    world.core.pod_deleted("p", world.now);
    expect![[r#"p: running PreBind plugin "VolumeBinding": pod does not exist any more"#]]
        .assert_eq(&world.bound().await);

    // Nor for those of one whose node is gone.
    world.pending("q", "c", 0);
    assert_eq!(world.step(), "q -> a");
    world.core.node_deleted("a", world.now);
    expect![[r#"
        q: running PreBind plugin "VolumeBinding": failed to get node "a": node "a" not found
        q SchedulerError: running PreBind plugin "VolumeBinding": failed to get node "a": node "a" not found"#]]
    .assert_eq(&world.bound().await);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_for_its_claims_gives_way_without_a_request() {
    let mut world = World::new("");
    world.core.node_deleted("b", world.now);
    world.show::<PersistentVolumeClaim>(claim("made", "1", json!({})));
    world.pending("p", "c", 0);
    assert_eq!(world.step(), "p -> a");
    world.request().await;
    world.request().await;
    world.core.pod_changed(&pod("high", "2", json!({"spec": {"priority": 10}})), world.now);
    expect![[r#"
        p gives up
        high Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."#]]
    .assert_eq(&world.step());
    expect![[r#"
        p: running PreBind plugin "VolumeBinding": preempted by DefaultPreemption
        p SchedulerError: running PreBind plugin "VolumeBinding": preempted by DefaultPreemption"#]]
    .assert_eq(&world.bound().await);
    world.now += Duration::from_secs(2);
    assert_eq!(world.step(), "high -> a");
}
