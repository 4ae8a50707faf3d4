//! The scheduler without its surroundings: what the informers report goes in, what is to be done comes out.
//!
//! Nothing here waits, sleeps, or speaks to the API; time and chance are handed in. `run.rs` is the shell around it.

mod devices;
mod news;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use component::supervisor::guarded;
use k8s_openapi::api::resource::v1::ResourceClaim;

use crate::{
    cache::{Cache, labels::Interner, pod::PodInfo},
    cycle::{Decision, Workspace, schedule_one},
    framework::{
        FAILED, Failure, Framework, PluginSet,
        events::{Event, HintContext},
        state::CycleState,
        status::Code,
        under_way::UnderWay,
    },
    metrics::{Metrics, Outcome, Point},
    preemption,
    queue::{Queue, QueuedPod},
    why::{Refusals, Verdict, Why},
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
    /// Give up a claim that keeps a pod from every node.
    GiveUp {
        /// The pod.
        pod: Arc<PodInfo>,
        /// What it says now.
        claim: Arc<ResourceClaim>,
        /// Delete it; otherwise its devices go.
        deletes: bool,
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
        profiles.iter().flat_map(|framework| &framework.plugins).for_each(|plugin| plugin.attach(cache.snapshot()));
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
                    self.metrics.bound(
                        queued.attempts,
                        Instant::now().saturating_duration_since(first),
                        queued.flushed,
                    );
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

    fn attempted(&self, queued: &QueuedPod, outcome: Outcome, begun: Instant) {
        let took = Instant::now().saturating_duration_since(begun);
        self.profiles[queued.profile].metrics.attempted(outcome, took);
    }

    /// Puts a pod back whose attempt ended in the cycle, and keeps why.
    fn fail_here(
        &mut self,
        queued: QueuedPod,
        failure: Failure,
        verdict: Verdict,
        nominate: Option<Arc<str>>,
        now: Instant,
    ) -> Effect {
        self.explain(&queued, &failure, verdict, now);
        self.fail(queued, failure, nominate, now)
    }

    fn explain(&self, queued: &QueuedPod, failure: &Failure, verdict: Verdict, now: Instant) {
        self.attempted(queued, Outcome::of(failure.reason), now);
        let profile = &self.profiles[queued.profile].profile;
        self.why.tell(&queued.pod, profile, queued.attempts, verdict, failure.message.clone());
    }

    fn fail(&mut self, queued: QueuedPod, failure: Failure, nominate: Option<Arc<str>>, now: Instant) -> Effect {
        let pod = queued.pod.clone();
        let Failure { reason, message, plugins: rejectors } = failure;
        if let Some(node) = &nominate {
            self.cache.nominate(&pod, node);
        }
        self.queue.failed(queued, rejectors, now);
        Effect::Failed { pod, reason, message, nominate }
    }

    /// One cycle; `None` when no pod is ready. A cycle that panics is one that failed, for its pod alone.
    pub fn step(&mut self, now: Instant) -> Option<Vec<Effect>> {
        let queued = self.queue.pop(now)?;
        let (again, mut reserved) = (queued.clone(), None);
        let effects = guarded("scheduling_cycle", || self.cycle(queued, &mut reserved, now));
        let effects = effects.unwrap_or_else(|_| vec![self.panicked(again, reserved, now)]);
        self.gauge();
        Some(effects)
    }

    /// Tells how much there is in the cache.
    fn gauge(&self) {
        for (gauge, size) in self.metrics.cached.iter().zip(self.cache.sizes()) {
            gauge.set(size as i64);
        }
    }

    /// Takes back whatever a cycle did before it panicked, and puts its pod back.
    fn panicked(&mut self, queued: QueuedPod, reserved: Option<(Arc<str>, Arc<CycleState>)>, now: Instant) -> Effect {
        tracing::error!(pod = queued.pod.key(), "the scheduling cycle panicked");
        let uid = queued.pod.uid.clone();
        self.workspace = Workspace::default();
        self.binding.remove(&uid);
        self.held.remove(&uid);
        self.queue.delete(&uid);
        if let Some((node_name, kept)) = reserved {
            self.profiles[queued.profile].unreserve(&kept, &queued.pod, &node_name);
        }
        if let Some(gone) = self.cache.forget(&uid) {
            self.wake(&Event::pod_deleted(gone), now, &|_| true);
        }
        self.fail_here(queued, Failure::error(FAILED), Verdict::Failed, Some(Arc::default()), now)
    }

    /// `reserved` tells the node on which plugins set something aside for the pod, and what.
    fn cycle(
        &mut self,
        queued: QueuedPod,
        reserved: &mut Option<(Arc<str>, Arc<CycleState>)>,
        now: Instant,
    ) -> Vec<Effect> {
        let pod = queued.pod.clone();
        if pod.terminating {
            return vec![Effect::Skipped { pod }];
        }
        let profiles = self.profiles.clone();
        let framework = &profiles[queued.profile];
        let snapshot = self.cache.snapshot();
        let begun = Instant::now();
        let (decision, mut cycle, skipped) =
            schedule_one(framework, snapshot, &pod, &mut self.workspace, &mut self.chance);
        if !matches!(decision, Decision::Unschedulable(_)) {
            self.metrics.decided(begun.elapsed());
        }
        let clear = Some(Arc::default());
        match decision {
            Decision::Bind { place, feasible, evaluated, scores } => {
                let node_name = snapshot.node(place).object().name.clone();
                let permitted = framework.reserve(&mut cycle, place).and_then(|()| framework.permit(&cycle, place));
                let kept = Arc::new(std::mem::take(&mut cycle.kept));
                drop(cycle);
                let pending = match permitted {
                    Ok(pending) => pending,
                    Err(failure) => return vec![self.fail_here(queued, failure, Verdict::Failed, clear, now)],
                };
                let verdict = Verdict::Node { name: node_name.clone(), feasible, evaluated, scores };
                self.why.tell(&pod, &framework.profile, queued.attempts, verdict, String::new());
                *reserved = Some((node_name.clone(), kept.clone()));
                tracing::debug!(pod = pod.key(), node = &*node_name, evaluated, feasible, "placed pod");
                self.cache.clear_nomination(&pod.uid);
                let mut assumed = (*pod).clone();
                assumed.node_name = node_name.clone();
                self.cache.assume(Arc::new(assumed), &node_name);
                let profile = queued.profile;
                let under_way = Arc::new(UnderWay::new(pod.clone(), node_name.clone(), pending));
                if under_way.waits() {
                    framework.waiting.add(under_way.clone());
                }
                self.binding.insert(pod.uid.clone(), Binding { queued, under_way: under_way.clone(), begun: now });
                vec![Effect::Bind { pod, profile, node_name, kept, under_way }]
            }
            Decision::NoNodes => {
                drop(cycle);
                let message = "no nodes available to schedule pods".to_owned();
                let failure = Failure { reason: "Unschedulable", message, plugins: PluginSet::default() };
                vec![self.fail_here(queued, failure, Verdict::Failed, clear, now)]
            }
            Decision::Error(message) => {
                drop(cycle);
                vec![self.fail_here(queued, Failure::error(message), Verdict::Failed, clear, now)]
            }
            Decision::Unschedulable(mut error) => {
                let mut refusals = Refusals::new(framework, snapshot, &error);
                let preemption = match framework.post_filter {
                    Some(_) => {
                        let tried = Instant::now();
                        let preemption = preemption::preempt(framework, &mut cycle, skipped, &error, &mut self.chance);
                        let code = if preemption.node.is_some() { Code::Success } else { Code::Unschedulable };
                        framework.metrics.ran(Point::PostFilter, code, tried.elapsed());
                        self.metrics.preempted(preemption.victims.len());
                        preemption
                    }
                    None => preemption::Preemption { clears_nomination: true, ..Default::default() },
                };
                let (message, given_up) = framework.release(&cycle, &error, preemption.message);
                // Who gets room made has nothing to be told.
                error.post_filter_message = if preemption.node.is_some() { String::new() } else { message };
                drop(cycle);
                self.metrics.decided(begun.elapsed());
                let nominate = match (&preemption.node, preemption.clears_nomination) {
                    (Some(node), _) => Some(node.clone()),
                    (None, true) => clear,
                    (None, false) => None,
                };
                let failure = Failure { reason: "Unschedulable", message: error.to_string(), plugins: error.plugins };
                if let Some(node) = &preemption.node {
                    refusals.made_room(node.clone(), &preemption.victims);
                }
                self.explain(&queued, &failure, Verdict::None(refusals), now);
                let give_up = given_up.map(|(claim, deletes)| Effect::GiveUp { pod: pod.clone(), claim, deletes });
                let mut effects = Vec::from_iter(give_up);
                let mut evictions = 0;
                if let Some(node_name) = preemption.node {
                    for victim in preemption.victims.into_iter().filter(|victim| !victim.terminating) {
                        let (preemptor, node_name) = (pod.clone(), node_name.clone());
                        // One that is not bound yet gives its place up here; nobody else needs to know.
                        let binding = self.binding.get(&victim.uid);
                        effects.push(match binding.is_some_and(|b| b.under_way.preempt("DefaultPreemption")) {
                            true => Effect::Preempted { victim, preemptor, node_name },
                            false => {
                                evictions += 1;
                                Effect::Preempt { victim, preemptor, node_name }
                            }
                        });
                    }
                }
                if evictions == 0 {
                    effects.push(self.fail(queued, failure, nominate, now));
                } else {
                    if let Some(node) = &nominate {
                        self.cache.nominate(&pod, node);
                    }
                    let Failure { reason, message, plugins: rejectors } = failure;
                    self.held.insert(pod.uid.clone(), Held { queued, rejectors, evictions, woken: false });
                    effects.push(Effect::Failed { pod, reason, message, nominate });
                }
                effects
            }
        }
    }
}
