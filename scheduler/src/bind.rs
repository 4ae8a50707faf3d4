//! Doing what was decided: bindings, conditions, evictions. All of it outside the cycle.
//!
//! Two failures of one pod must not overtake each other on the wire, so a pod has at most one status patch under way;
//! what comes meanwhile joins what waits, field by field. A binding that panics is a binding that failed: the core is
//! told so.

use std::{collections::HashMap, sync::Arc, time::Duration};

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
    framework::{Framework, extension::Binding},
};

/// Bindings under way at a time; more wait their turn.
const BINDINGS_AT_ONCE: usize = 256;
/// Status patches and evictions likewise.
const PATCHES_AT_ONCE: usize = 64;

/// What was done.
#[derive(Debug)]
pub enum Done {
    /// A binding of the pod with that uid, or not.
    Bound(Arc<str>, Result<(), String>),
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
            Effect::Bind { pod, profile, node_name } => {
                self.0.tasks.one_shot("binding", async move { inner.bind(pod, profile, node_name).await });
            }
            Effect::Failed { pod, reason, message, nominate } => inner.failed(&pod, reason, message, nominate),
            Effect::Skipped { pod } => {
                let note = format!("skip schedule deleting pod: {}", pod.key());
                inner.note(&pod, None, "FailedScheduling", "Scheduling", note);
            }
            Effect::Preempt { victim, preemptor, node_name } => {
                self.0.tasks.one_shot("preemption", async move {
                    let preempting = inner.preempt(&victim, &preemptor, &node_name);
                    let _ = guarded_future(("preemption", victim.key()), preempting).await;
                    (inner.done)(Done::Evicted(preemptor.uid.clone()));
                });
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

    async fn bind(&self, pod: Arc<PodInfo>, profile: usize, node_name: Arc<str>) {
        let binding = Binding { client: self.client.clone(), pod: pod.clone(), node_name: node_name.clone() };
        let running = async {
            let _slot = self.bindings.acquire().await;
            self.run_bind_plugins(&binding, profile).await
        };
        // Why it panicked is in the log; it is not for the pod's readers.
        let panicked = |_| Err(format!("the scheduler failed while it bound the pod to {node_name}; see its log"));
        let result = guarded_future(("binding", pod.key()), running).await.unwrap_or_else(panicked);
        let _ = guarded(("binding", pod.key()), || self.after_binding(&pod, profile, &node_name, result.is_ok()));
        (self.done)(Done::Bound(pod.uid.clone(), result));
    }

    fn after_binding(&self, pod: &Arc<PodInfo>, profile: usize, node_name: &str, bound: bool) {
        if bound {
            let note = format!("Successfully assigned {} to {node_name}", pod.key());
            self.note(pod, None, "Scheduled", "Binding", note);
            for plugin in &self.profiles[profile].plugins {
                if let Some(post_bind) = plugin.post_bind() {
                    post_bind.post_bind(pod, node_name);
                }
            }
        } else {
            self.profiles[profile].unreserve(pod, node_name);
        }
    }

    async fn run_bind_plugins(&self, binding: &Binding, profile: usize) -> Result<(), String> {
        let plugins = &self.profiles[profile].plugins;
        for plugin in plugins {
            if let Some(pre_bind) = plugin.pre_bind() {
                let done = pre_bind.pre_bind(binding).await;
                done.map_err(|error| format!("running PreBind plugin {:?}: {error}", plugin.name()))?;
            }
        }
        let (plugin, bind) = plugins
            .iter()
            .find_map(|plugin| Some((plugin, plugin.bind()?)))
            .ok_or_else(|| "at least one bind plugin is needed".to_owned())?;
        bind.bind(binding).await.map_err(|error| format!("running Bind plugin {:?}: {error}", plugin.name()))
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

    /// With a few attempts, for conflicts and a server that is just restarting. True if it is there.
    async fn patch_status(&self, pod: &PodInfo, patch: &Value) -> bool {
        let _slot = self.patches.acquire().await;
        let uri = format!("/api/v1/namespaces/{}/pods/{}/status", pod.namespace, pod.name);
        let mut pause = Duration::from_millis(10);
        for attempt in 1.. {
            let request = Request::builder()
                .method(Method::PATCH)
                .uri(&uri)
                .header("content-type", "application/strategic-merge-patch+json")
                .body(patch.to_string().into_bytes());
            let Ok(request) = request else { return false };
            match self.client.request::<Value>(request).await {
                Ok(_) => return true,
                Err(kube::Error::Api(status)) if status.code == 404 => return false,
                Err(error) => {
                    let retry = match &error {
                        kube::Error::Api(status) => matches!(status.code, 409 | 500 | 503),
                        _ => true,
                    };
                    if attempt >= 4 || !retry {
                        tracing::error!(%error, pod = pod.key(), "could not write the pod's status");
                        return false;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 5;
        }
        false
    }

    async fn preempt(&self, victim: &Arc<PodInfo>, preemptor: &Arc<PodInfo>, node_name: &str) {
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", preemptor.scheduler_name),
            "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        let patch = json!({"metadata": {"uid": &*victim.uid}, "status": {"conditions": [condition]}});
        if !self.patch_status(victim, &patch).await {
            return;
        }
        let uri = format!("/api/v1/namespaces/{}/pods/{}", victim.namespace, victim.name);
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": &*victim.uid}});
        let request = Request::builder()
            .method(Method::DELETE)
            .uri(uri)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes());
        let Ok(request) = request else { return };
        match self.client.request::<Value>(request).await {
            Ok(_) => {
                tracing::info!(preemptor = preemptor.key(), victim = victim.key(), node_name, "preempted pod");
                let note = format!("Preempted by pod {} on node {node_name}", preemptor.uid);
                self.note(victim, Some(preemptor.clone()), "Preempted", "Preempting", note);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => tracing::error!(%error, victim = victim.key(), "could not evict"),
        }
    }
}
