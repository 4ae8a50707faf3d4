//! Doing what was decided: bindings, conditions, evictions. All of it outside the cycle.
//!
//! Two failures of one pod must not overtake each other on the wire, so a pod has at most one status patch under way;
//! what comes meanwhile joins what waits, field by field. A binding that panics is a binding that failed: the core is
//! told so.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use component::{
    Supervisor,
    supervisor::{guarded, guarded_future},
};
use http::{Method, Request};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::{
    cache::pod::PodInfo,
    core::Effect,
    events::{Note, Recorder},
    framework::{
        Failure, Framework,
        extension::{Binding, PreBind},
        status::{Code, Status},
        under_way::Stopped,
    },
    metrics::Point,
    plugins::dynamic_resources::give_up,
};

/// How long a pod may take to be told the node that it is about to get.
const NOMINATION_TAKES: Duration = Duration::from_secs(5);
/// Bindings under way at a time; more wait their turn.
const BINDINGS_AT_ONCE: usize = 256;
/// Status patches and evictions likewise.
const PATCHES_AT_ONCE: usize = 64;

/// What was done.
#[derive(Debug)]
pub enum Done {
    /// A binding of the pod with that uid, or not.
    Bound(Arc<str>, Result<(), Failure>),
    /// An eviction for the pod with that uid.
    Evicted(Arc<str>),
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Actor(Arc<Inner>);

/// Fields of a pod's status.
type StatusFields = Map<String, Value>;

struct Inner {
    client: kube::Client,
    recorder: Recorder,
    profiles: Arc<[Framework]>,
    bindings: Semaphore,
    patches: Semaphore,
    /// By the uid of a pod whose status is being written: the fields to write next.
    waiting: Mutex<HashMap<Arc<str>, Option<StatusFields>>>,
    done: Box<dyn Fn(Done) + Send + Sync>,
    tasks: Supervisor,
}

impl Actor {
    /// Reports to `done`; what is under way is a one-shot of `tasks`.
    pub fn new(
        client: kube::Client,
        recorder: Recorder,
        profiles: Arc<[Framework]>,
        tasks: Supervisor,
        done: impl Fn(Done) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            client,
            recorder,
            profiles,
            bindings: Semaphore::new(BINDINGS_AT_ONCE),
            patches: Semaphore::new(PATCHES_AT_ONCE),
            waiting: Mutex::default(),
            done: Box::new(done),
            tasks,
        }))
    }

    /// Does it; must be called within the runtime.
    pub fn act(&self, effect: Effect) {
        let inner = self.0.clone();
        match effect {
            Effect::Bind { pod, profile, node_name, kept, under_way } => {
                let (client, recorder) = (inner.client.clone(), inner.recorder.clone());
                let metrics = inner.profiles[profile].metrics.all().clone();
                let binding = Binding { client, pod, node_name, kept, under_way, recorder, metrics };
                self.0.tasks.one_shot("binding", async move { inner.bind(binding, profile).await });
            }
            Effect::Failed { pod, reason, message, nominate } => inner.failed(&pod, reason, message, nominate),
            Effect::Skipped { pod } => {
                let note = format!("skip schedule deleting pod: {}", pod.key());
                inner.note(&pod, None, "FailedScheduling", "Scheduling", note);
            }
            Effect::Preempt { victim, preemptor, node_name } => {
                self.0.tasks.one_shot("preemption", async move {
                    let preempting = inner.preempt(&victim, &preemptor, &node_name);
                    let begun = Instant::now();
                    let done = guarded_future(("preemption", victim.key()), preempting).await.unwrap_or(false);
                    inner.profiles[0].metrics.all().evicted(done, begun.elapsed());
                    (inner.done)(Done::Evicted(preemptor.uid.clone()));
                });
            }
            Effect::GiveUp { pod, claim, deletes } => {
                self.0.tasks.one_shot("claim", async move {
                    let giving_up = give_up(&inner.client, &claim, deletes);
                    if let Ok(Err(error)) = guarded_future(("claim", pod.key()), giving_up).await {
                        tracing::error!(%error, pod = pod.key(), "could not give up a claim");
                    }
                });
            }
            Effect::Preempted { victim, preemptor, node_name } => {
                let note =
                    format!("Preempted by pod {} on node {node_name} (in kube-scheduler memory).", preemptor.uid);
                inner.note(&victim, Some(preemptor), "Preempted", "Preempting", note);
            }
        }
    }
}

impl Inner {
    fn note(
        &self,
        pod: &Arc<PodInfo>,
        related: Option<Arc<PodInfo>>,
        reason: &'static str,
        action: &'static str,
        note: String,
    ) {
        self.recorder.record(Note {
            controller: related.as_ref().map_or(&pod.scheduler_name, |other| &other.scheduler_name).clone(),
            pod: pod.clone(),
            related,
            warning: reason == "FailedScheduling",
            reason,
            action,
            note,
        });
    }

    async fn bind(&self, binding: Binding, profile: usize) {
        let framework = &self.profiles[profile];
        let pod = &binding.pod;
        // Why it panicked is in the log; it is not for the pod's readers.
        let panicked = |_| {
            let node = &binding.node_name;
            Err(Failure::error(format!("the scheduler failed while it bound the pod to {node}; see its log")))
        };
        framework.metrics.all().bindings.add(1);
        let running = self.run_binding(&binding, framework);
        let result = guarded_future(("binding", pod.key()), running).await.unwrap_or_else(panicked);
        framework.metrics.all().bindings.add(-1);
        framework.waiting.remove(&pod.uid);
        let _ = guarded(("binding", pod.key()), || self.after_binding(&binding, framework, result.is_ok()));
        if result.is_err() {
            for reserve in framework.plugins.iter().rev().filter_map(|plugin| plugin.reserve()) {
                let _ = guarded_future(("binding", pod.key()), reserve.undo(&binding)).await;
            }
        }
        (self.done)(Done::Bound(pod.uid.clone(), result));
    }

    fn after_binding(&self, binding: &Binding, framework: &Framework, bound: bool) {
        let Binding { pod, node_name, .. } = binding;
        if bound {
            let note = format!("Successfully assigned {} to {node_name}", pod.key());
            self.note(pod, None, "Scheduled", "Binding", note);
            let begun = Instant::now();
            for plugin in &framework.plugins {
                if let Some(post_bind) = plugin.post_bind() {
                    post_bind.post_bind(pod, node_name);
                }
            }
            framework.metrics.ran(Point::PostBind, Code::Success, begun.elapsed());
        } else {
            framework.unreserve(&binding.kept, pod, node_name);
        }
    }

    /// Waits for permissions, prepares, binds.
    async fn run_binding(&self, binding: &Binding, framework: &Framework) -> Result<(), Failure> {
        let (pod, under_way) = (&binding.pod, &binding.under_way);
        let preparing: Vec<_> = framework
            .plugins
            .iter()
            .filter_map(|plugin| Some((plugin.name(), plugin.pre_bind()?)))
            .filter(|(_, pre_bind)| pre_bind.needed(&binding.kept))
            .collect();
        let told = (!preparing.is_empty() || under_way.waits()) && pod.nominated_node != binding.node_name;
        if told {
            // It may take long: whoever adds nodes shall know that the pod needs none.
            self.nominate(pod, Value::from(&*binding.node_name)).await;
        }
        let result = self.prepare_and_bind(binding, framework, preparing).await;
        if told && result.is_err() {
            self.nominate(pod, Value::Null).await;
        }
        result
    }

    async fn nominate(&self, pod: &PodInfo, node_name: Value) {
        let patch = json!({"metadata": {"uid": &*pod.uid}, "status": {"nominatedNodeName": node_name}});
        // Nobody depends on it: a server that does not answer does not keep the pod from going on.
        let _ = tokio::time::timeout(NOMINATION_TAKES, self.patch_status(pod, &patch)).await;
    }

    async fn prepare_and_bind(
        &self,
        binding: &Binding,
        framework: &Framework,
        preparing: Vec<(&str, &dyn PreBind)>,
    ) -> Result<(), Failure> {
        let under_way = &binding.under_way;
        if under_way.waits() {
            let begun = Instant::now();
            let permitted = under_way.permitted().await.map_err(|why| framework.not_permitted(why));
            let code = permitted.as_ref().map_or_else(Failure::code, |_| Code::Success);
            framework.metrics.all().permit_waited(code, begun.elapsed());
            framework.waiting.remove(&binding.pod.uid);
            permitted?;
        }
        let begun = Instant::now();
        for (name, pre_bind) in preparing {
            let status = under_way.unless_stopped(pre_bind.pre_bind(binding)).await.unwrap_or_else(|why| match why {
                Stopped::Rejected(_, message) | Stopped::Cancelled(message) => Status::new(Code::Error, message),
            });
            if !status.is_success() {
                framework.metrics.ran(Point::PreBind, status.code, begun.elapsed());
            }
            if status.is_rejected() {
                // Such a pod backs off, whatever events its plugins wait for.
                let failure = Failure::error(status.message());
                return Err(Failure { reason: "Unschedulable", ..failure });
            }
            if !status.is_success() {
                return Err(Failure::error(format!("running PreBind plugin {name:?}: {}", status.message())));
            }
        }
        framework.metrics.ran(Point::PreBind, Code::Success, begun.elapsed());
        under_way.begin_binding().map_err(|why| match why {
            Stopped::Rejected(_, message) | Stopped::Cancelled(message) => Failure::error(message),
        })?;
        let _slot = self.bindings.acquire().await;
        for extender in framework.extenders.iter().filter(|extender| extender.binds()) {
            if !extender.is_interested(&binding.pod) {
                continue;
            }
            match extender.bind(&binding.pod, &binding.node_name).await {
                Err(why) if extender.is_ignorable() => tracing::info!(why, "skipping an extender that failed"),
                bound => return bound.map_err(Failure::error),
            }
        }
        let (plugin, bind) = framework
            .plugins
            .iter()
            .find_map(|plugin| Some((plugin, plugin.bind()?)))
            .ok_or_else(|| Failure::error("at least one bind plugin is needed"))?;
        let begun = Instant::now();
        let bound = bind.bind(binding).await;
        let code = if bound.is_ok() { Code::Success } else { Code::Error };
        framework.metrics.ran(Point::Bind, code, begun.elapsed());
        bound.map_err(|error| Failure::error(format!("running Bind plugin {:?}: {error}", plugin.name())))
    }

    fn failed(self: &Arc<Self>, pod: &Arc<PodInfo>, reason: &'static str, message: String, nominate: Option<Arc<str>>) {
        tracing::debug!(pod = pod.key(), reason, message, "could not place pod");
        let known = pod.scheduled_condition.as_deref();
        let same = known.is_some_and(|(status, known_reason, known_message)| {
            status == "False" && known_reason == reason && *known_message == message
        });
        let mut status = Map::new();
        if let Some(node) = nominate.filter(|node| *node != pod.nominated_node) {
            let value = if node.is_empty() { Value::Null } else { Value::from(&*node) };
            status.insert("nominatedNodeName".to_owned(), value);
        }
        if !same {
            let mut condition = json!({
                "type": "PodScheduled",
                "status": "False",
                "reason": reason,
                "message": message,
                "lastProbeTime": null,
            });
            // The time is that of the last change of status, not of the words.
            if known.is_none_or(|(status, ..)| status != "False") {
                condition["lastTransitionTime"] =
                    Value::from(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            }
            if pod.generation > 0 {
                condition["observedGeneration"] = Value::from(pod.generation);
            }
            status.insert("conditions".to_owned(), Value::Array(vec![condition]));
        }
        self.note(pod, None, "FailedScheduling", "Scheduling", message);
        if status.is_empty() {
            return;
        }
        let uid = pod.uid.clone();
        let mut waiting = self.waiting.lock();
        if let Some(next) = waiting.get_mut(&uid) {
            next.get_or_insert_default().extend(status);
            return;
        }
        waiting.insert(uid.clone(), None);
        drop(waiting);
        let (inner, pod) = (self.clone(), pod.clone());
        self.tasks.one_shot("pod_status", async move {
            let mut status = status;
            loop {
                let patch = json!({"metadata": {"uid": &*pod.uid}, "status": status});
                // What comes later is written all the same.
                let _ = guarded_future(("pod_status", pod.key()), inner.patch_status(&pod, &patch)).await;
                let mut waiting = inner.waiting.lock();
                match waiting.get_mut(&uid).and_then(Option::take) {
                    Some(next) => status = next,
                    None => {
                        waiting.remove(&uid);
                        return;
                    }
                }
            }
        });
    }

    /// With a few attempts, for conflicts and a server that is just restarting. Whether the pod is there; nothing if that did
    /// not succeed.
    async fn patch_status(&self, pod: &PodInfo, patch: &Value) -> Option<bool> {
        let _slot = self.patches.acquire().await;
        let uri = format!("/api/v1/namespaces/{}/pods/{}/status", pod.namespace, pod.name);
        let mut pause = Duration::from_millis(10);
        for attempt in 1.. {
            let request = Request::builder()
                .method(Method::PATCH)
                .uri(&uri)
                .header("content-type", "application/strategic-merge-patch+json")
                .body(patch.to_string().into_bytes());
            let request = request.ok()?;
            match self.client.request::<Value>(request).await {
                Ok(_) => return Some(true),
                Err(kube::Error::Api(status)) if status.code == 404 => return Some(false),
                Err(error) => {
                    let retry = match &error {
                        kube::Error::Api(status) => matches!(status.code, 409 | 500 | 503),
                        _ => true,
                    };
                    if attempt >= 4 || !retry {
                        tracing::error!(%error, pod = pod.key(), "could not write the pod's status");
                        return None;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 5;
        }
        None
    }

    /// False if it could not be evicted; one that is gone already is.
    async fn preempt(&self, victim: &Arc<PodInfo>, preemptor: &Arc<PodInfo>, node_name: &str) -> bool {
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", preemptor.scheduler_name),
            "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        let patch = json!({"metadata": {"uid": &*victim.uid}, "status": {"conditions": [condition]}});
        match self.patch_status(victim, &patch).await {
            Some(true) => {}
            written => return written.is_some(),
        }
        let uri = format!("/api/v1/namespaces/{}/pods/{}", victim.namespace, victim.name);
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": &*victim.uid}});
        let request = Request::builder()
            .method(Method::DELETE)
            .uri(uri)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes());
        let Ok(request) = request else { return false };
        match self.client.request::<Value>(request).await {
            Ok(_) => {
                tracing::info!(preemptor = preemptor.key(), victim = victim.key(), node_name, "preempted pod");
                let note = format!("Preempted by pod {} on node {node_name}", preemptor.uid);
                self.note(victim, Some(preemptor.clone()), "Preempted", "Preempting", note);
                true
            }
            Err(kube::Error::Api(status)) if status.code == 404 => true,
            Err(error) => {
                tracing::error!(%error, victim = victim.key(), "could not evict");
                false
            }
        }
    }
}
