//! Doing what was decided: bindings, conditions, evictions. All of it outside the cycle.
//!
//! Two failures of one pod must not overtake each other on the wire, so a pod has at most one status patch under way;
//! what comes meanwhile replaces what waits.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{Method, Request};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, mpsc};

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

struct Inner {
    client: kube::Client,
    recorder: Recorder,
    profiles: Arc<[Framework]>,
    bindings: Semaphore,
    patches: Semaphore,
    waiting: Mutex<HashMap<Arc<str>, Option<Value>>>,
    done: mpsc::UnboundedSender<Done>,
}

impl Actor {
    /// Reports on `done`.
    pub fn new(
        client: kube::Client,
        recorder: Recorder,
        profiles: Arc<[Framework]>,
        done: mpsc::UnboundedSender<Done>,
    ) -> Self {
        Self(Arc::new(Inner {
            client,
            recorder,
            profiles,
            bindings: Semaphore::new(BINDINGS_AT_ONCE),
            patches: Semaphore::new(PATCHES_AT_ONCE),
            waiting: Mutex::default(),
            done,
        }))
    }

    /// Does it; must be called within the runtime.
    pub fn act(&self, effect: Effect) {
        let inner = self.0.clone();
        match effect {
            Effect::Bind { pod, profile, node_name } => {
                tokio::spawn(async move { inner.bind(pod, profile, node_name).await });
            }
            Effect::Failed { pod, reason, message, nominate } => inner.failed(&pod, reason, message, nominate),
            Effect::Skipped { pod } => {
                let note = format!("skip schedule deleting pod: {}", pod.key());
                inner.note(&pod, None, "FailedScheduling", "Scheduling", note);
            }
            Effect::Preempt { victim, preemptor, node_name } => {
                tokio::spawn(async move {
                    inner.preempt(&victim, &preemptor, &node_name).await;
                    // The receiver is gone only when the scheduler stops.
                    let _ = inner.done.send(Done::Evicted(preemptor.uid.clone()));
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
        let result = {
            let _slot = self.bindings.acquire().await;
            self.run_bind_plugins(&binding, profile).await
        };
        if result.is_ok() {
            let note = format!("Successfully assigned {} to {node_name}", pod.key());
            self.note(&pod, None, "Scheduled", "Binding", note);
            for plugin in &self.profiles[profile].plugins {
                if let Some(post_bind) = plugin.post_bind() {
                    post_bind.post_bind(&pod, &node_name);
                }
            }
        } else {
            for plugin in self.profiles[profile].plugins.iter().rev() {
                if let Some(reserve) = plugin.reserve() {
                    reserve.unreserve(&pod, &node_name);
                }
            }
        }
        // The receiver is gone only when the scheduler stops.
        let _ = self.done.send(Done::Bound(pod.uid.clone(), result));
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
        let patch = json!({"metadata": {"uid": &*pod.uid}, "status": status});
        let uid = pod.uid.clone();
        let mut waiting = self.waiting.lock();
        if let Some(next) = waiting.get_mut(&uid) {
            *next = Some(patch);
            return;
        }
        waiting.insert(uid.clone(), None);
        drop(waiting);
        let (inner, pod) = (self.clone(), pod.clone());
        tokio::spawn(async move {
            let mut patch = patch;
            loop {
                inner.patch_status(&pod, &patch).await;
                let mut waiting = inner.waiting.lock();
                match waiting.get_mut(&uid).and_then(Option::take) {
                    Some(next) => patch = next,
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
