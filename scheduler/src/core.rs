//! The scheduler without its surroundings: what the informers report goes in, what is to be done comes out.
//!
//! Nothing here waits, sleeps, or speaks to the API; time and chance are handed in. `run.rs` is the shell around it.

mod attempt;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};

use crate::{
    cache::{Cache, labels::Interner, pod::PodInfo, volumes::Stored},
    cycle::Workspace,
    framework::{
        Failure, Framework, PluginSet,
        events::{Action, Change, Event, HintContext, node_events, pod_events},
        state::CycleState,
        under_way::UnderWay,
    },
    metrics::{Metrics, Outcome},
    queue::{Queue, QueuedPod},
    why::Why,
};

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Bind the pod, then report with [`Core::bound`].
    Bind {
        /// The pod.
        pod: Arc<PodInfo>,
        /// Its profile.
        profile: usize,
        /// The node chosen.
        node_name: Arc<str>,
        /// What plugins set aside for it.
        kept: Arc<CycleState>,
        /// How far it is.
        under_way: Arc<UnderWay>,
    },
    /// Tell the world that a pod could not be placed: an event and the PodScheduled condition.
    Failed {
        /// The pod.
        pod: Arc<PodInfo>,
        /// `Unschedulable` or `SchedulerError`.
        reason: &'static str,
        /// For the event and the condition.
        message: String,
        /// status.nominatedNodeName to write; `None`: leave it.
        nominate: Option<Arc<str>>,
    },
    /// A pod that is being deleted was not tried: an event.
    Skipped {
        /// The pod.
        pod: Arc<PodInfo>,
    },
    /// Evict a pod to make room.
    Preempt {
        /// Who goes.
        victim: Arc<PodInfo>,
        /// For whom.
        preemptor: Arc<PodInfo>,
        /// From where.
        node_name: Arc<str>,
    },
    /// Tell the world that a pod that was not bound yet gave its node up for another: an event.
    Preempted {
        /// Who goes.
        victim: Arc<PodInfo>,
        /// For whom.
        preemptor: Arc<PodInfo>,
        /// From where.
        node_name: Arc<str>,
    },
}

/// Settings of the core.
#[derive(Clone, Debug)]
pub struct Settings {
    /// First backoff.
    pub initial_backoff: Duration,
    /// Longest backoff.
    pub max_backoff: Duration,
    /// When an assumed pod is given up that was bound but never seen; upstream's default is never.
    pub assume_ttl: Option<Duration>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where decisions are explained.
    pub why: Arc<Why>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(10),
            assume_ttl: None,
            metrics: Arc::default(),
            why: Arc::default(),
        }
    }
}

/// See the module.
pub struct Core {
    cache: Cache,
    queue: Queue,
    profiles: Arc<[Framework]>,
    by_name: HashMap<Arc<str>, usize>,
    workspace: Workspace,
    chance: Box<dyn FnMut(usize) -> usize + Send>,
    /// Pods whose binding is under way, as they came from the queue.
    binding: HashMap<Arc<str>, Binding>,
    /// Pods for which others are being evicted: not tried again before that is done.
    held: HashMap<Arc<str>, Held>,
    metrics: Arc<Metrics>,
    why: Arc<Why>,
}

struct Binding {
    queued: QueuedPod,
    under_way: Arc<UnderWay>,
    /// When the attempt began.
    begun: Instant,
}

struct Held {
    queued: QueuedPod,
    rejectors: PluginSet,
    evictions: usize,
    /// Something happened meanwhile that helps.
    woken: bool,
}

impl Core {
    /// With the profiles that `make` builds, and `chance(n)` for a number below n.
    pub fn new<E>(
        settings: &Settings,
        chance: impl FnMut(usize) -> usize + Send + 'static,
        make: impl FnOnce(&mut Interner) -> Result<Vec<Framework>, E>,
    ) -> Result<Self, E> {
        let mut cache = Cache::new(settings.assume_ttl);
        let mut profiles = make(cache.interner())?;
        profiles.iter_mut().for_each(|framework| framework.measure(settings.metrics.clone()));
        let profiles: Arc<[Framework]> = profiles.into();
        if profiles.iter().any(|framework| !framework.extenders.is_empty()) {
            cache.keep_whole();
        }
        let by_name =
            profiles.iter().enumerate().map(|(index, framework)| (framework.profile.clone(), index)).collect();
        Ok(Self {
            queue: Queue::new(profiles.clone(), settings.initial_backoff, settings.max_backoff),
            cache,
            profiles,
            by_name,
            workspace: Workspace::default(),
            chance: Box::new(chance),
            binding: HashMap::new(),
            held: HashMap::new(),
            metrics: settings.metrics.clone(),
            why: settings.why.clone(),
        })
    }

    /// The cache, for what is neither pod nor node.
    pub fn cache_mut(&mut self) -> &mut Cache {
        &mut self.cache
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The profiles.
    pub fn profiles(&self) -> &Arc<[Framework]> {
        &self.profiles
    }

    /// Pods in the active, backoff and unschedulable lines.
    pub fn queue_lengths(&self) -> (usize, usize, usize) {
        self.queue.lengths()
    }

    /// When something becomes due by itself.
    pub fn next_due(&self) -> Option<Instant> {
        self.queue.next_due()
    }

    fn wake(&mut self, event: &Event, now: Instant, may: &dyn Fn(&PodInfo) -> bool) {
        let context = HintContext { snapshot: self.cache.snapshot() };
        self.queue.on_event(event, &context, now, may);
        for held in self.held.values_mut() {
            held.woken = held.woken
                || (may(&held.queued.pod)
                    && self.profiles[held.queued.profile].helps(&held.queued.pod, held.rejectors, event, &context));
        }
    }

    /// A pod was added or changed.
    pub fn pod_changed(&mut self, pod: &ApiPod, now: Instant) {
        let pod = self.cache.read_pod(pod);
        if pod.finished {
            // It holds nothing any more, wherever it is.
            self.pod_deleted(&pod.uid, now);
        } else if pod.is_assigned() {
            self.assigned(pod, now);
        } else if let Some(&profile) = self.by_name.get(&pod.scheduler_name) {
            self.pending(pod, profile, now);
        }
    }

    fn assigned(&mut self, pod: Arc<PodInfo>, now: Instant) {
        self.held.remove(&pod.uid);
        self.queue.delete(&pod.uid);
        self.cache.clear_nomination(&pod.uid);
        match self.cache.set_pod(pod.clone()) {
            Some((old, false)) => {
                for event in pod_events(&old, &pod) {
                    self.wake(&event, now, &|_| true);
                }
            }
            Some((_, true)) | None => self.wake(&Event::pod_added(pod), now, &|_| true),
        }
    }

    fn pending(&mut self, pod: Arc<PodInfo>, profile: usize, now: Instant) {
        if self.binding.contains_key(&pod.uid) {
            // It has a node in our eyes; only its deletion matters, for it frees what it was given.
            if pod.terminating
                && let Some(gone) = self.cache.forget(&pod.uid)
            {
                self.wake(&Event::pod_deleted(gone), now, &|_| true);
            }
            if let Some(binding) = self.binding.get_mut(&pod.uid) {
                binding.queued.pod = pod;
            }
            return;
        }
        if self.cache.pod(&pod.uid).is_some() {
            // Its binding is written: this is older news, and the pod must not be tried again.
            return;
        }
        if let Some(held) = self.held.get_mut(&pod.uid) {
            held.queued.pod = pod;
            return;
        }
        let Some(old) = self.queue.get(&pod.uid).cloned() else {
            self.cache.nominate(&pod, &pod.nominated_node);
            self.queue.add(pod, profile, now);
            return;
        };
        if old.resource_version == pod.resource_version {
            return;
        }
        let events = pod_events(&old, &pod);
        let context = HintContext { snapshot: self.cache.snapshot() };
        self.queue.update(&pod, &events, &context, now);
        if old.nominated_node != pod.nominated_node {
            self.cache.nominate(&pod, &pod.nominated_node);
            if !old.nominated_node.is_empty() {
                let priority = old.priority;
                self.wake(&Event::pod_deleted(old), now, &|other| other.priority <= priority);
            }
        }
    }

    /// The uids of all pods known, but for those whose fate is under way: what a list does not show is gone.
    pub fn known_pods(&self) -> Vec<Arc<str>> {
        let waiting = self.queue.uids().chain(self.held.keys()).chain(self.cache.nominated());
        self.cache.confirmed().chain(waiting).cloned().collect()
    }

    /// A pod is gone.
    pub fn pod_deleted(&mut self, uid: &str, now: Instant) {
        if let Some(binding) = self.binding.remove(uid) {
            binding.under_way.cancel("pod does not exist any more");
        }
        let nominated = self.cache.clear_nomination(uid);
        let held = self.held.remove(uid).map(|held| held.queued.pod);
        let waited = self.queue.delete(uid).or(held).or(nominated);
        if let Some(pod) = waited.filter(|pod| !pod.nominated_node.is_empty()) {
            let priority = pod.priority;
            self.wake(&Event::pod_deleted(pod), now, &|other| other.priority <= priority);
        }
        if let Some(pod) = self.cache.remove_pod(uid) {
            self.wake(&Event::pod_deleted(pod), now, &|_| true);
        }
    }

    /// A node was added or changed.
    pub fn node_changed(&mut self, node: &ApiNode, now: Instant) {
        let new = self.cache.read_node(node);
        match self.cache.set_node(new.clone()) {
            None => {
                let change = Change::Node { old: None, new: Some(new) };
                self.wake(&Event { action: Action::NODE_ADD, change }, now, &|_| true);
            }
            Some(old) => {
                for event in node_events(&old, &new) {
                    self.wake(&event, now, &|_| true);
                }
            }
        }
    }

    /// A node is gone.
    pub fn node_deleted(&mut self, name: &str, now: Instant) {
        for binding in self.binding.values().filter(|binding| &*binding.under_way.node_name == name) {
            binding.under_way.cancel(format!("failed to get node {name:?}: node {name:?} not found"));
        }
        if let Some(old) = self.cache.remove_node(name) {
            let change = Change::Node { old: Some(old), new: None };
            self.wake(&Event { action: Action::NODE_DELETE, change }, now, &|_| true);
        }
    }

    /// A claim, a volume or something else that the volume plugins look at came, changed or (`None`) went.
    pub fn stored<K: Stored>(&mut self, key: &str, object: Option<K>, now: Instant) {
        let (old, new) = self.cache.snapshot().volumes.show::<K>(key, object);
        if let Some(event) = K::event(old, new) {
            self.wake(&event, now, &|_| true);
        }
    }

    /// Tries pods again that have waited long, and gives up assumed pods that never came.
    pub fn tick(&mut self, now: Instant) {
        self.queue.flush(now);
        for pod in self.cache.expire(now) {
            self.wake(&Event::pod_deleted(pod), now, &|_| true);
        }
    }

    /// A binding was written, or not.
    pub fn bound(&mut self, uid: &str, result: Result<(), Failure>, now: Instant) -> Vec<Effect> {
        match result {
            Ok(()) => {
                self.cache.finish_binding(uid, now);
                if let Some(Binding { queued, begun, .. }) = self.binding.remove(uid) {
                    self.why.bound(&queued.pod, Ok(()));
                    self.attempted(&queued, Outcome::Scheduled, begun);
                    let first = queued.first_tried.unwrap_or(begun);
                    self.metrics.bound(queued.attempts, Instant::now().saturating_duration_since(first));
                }
                Vec::new()
            }
            Err(failure) => {
                if let Some(gone) = self.cache.forget(uid) {
                    self.wake(&Event::pod_deleted(gone), now, &|_| true);
                }
                // Deleted, or bound after all, meanwhile: there is nothing to try again.
                match self.binding.remove(uid) {
                    Some(binding) if self.cache.pod(uid).is_none() => {
                        self.why.bound(&binding.queued.pod, Err(failure.message.clone()));
                        self.attempted(&binding.queued, Outcome::of(failure.reason), binding.begun);
                        vec![self.fail(binding.queued, failure, Some(Arc::default()), now)]
                    }
                    _ => Vec::new(),
                }
            }
        }
    }

    /// One eviction for the pod was carried out, or failed.
    pub fn evicted(&mut self, preemptor: &str, now: Instant) {
        let Some(held) = self.held.get_mut(preemptor) else { return };
        held.evictions -= 1;
        if held.evictions > 0 {
            return;
        }
        if let Some(held) = self.held.remove(preemptor) {
            self.queue.failed(held.queued, held.rejectors, now);
            if held.woken {
                self.queue.wake(preemptor, now);
            }
        }
    }
}
