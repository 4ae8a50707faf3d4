//! One attempt to place a pod: the cycle, what is told of it, and where the pod goes when it failed.

use std::{sync::Arc, time::Instant};

use component::supervisor::guarded;

use super::{Binding, Core, Effect, Held};
use crate::{
    cycle::{Decision, Workspace, schedule_one},
    framework::{FAILED, Failure, PluginSet, events::Event, state::CycleState, status::Code, under_way::UnderWay},
    metrics::{Outcome, Point},
    preemption,
    queue::QueuedPod,
    why::{Refusals, Verdict},
};

impl Core {
    pub(super) fn attempted(&self, queued: &QueuedPod, outcome: Outcome, begun: Instant) {
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

    pub(super) fn fail(
        &mut self,
        queued: QueuedPod,
        failure: Failure,
        nominate: Option<Arc<str>>,
        now: Instant,
    ) -> Effect {
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
                let refusals = Refusals::new(framework, snapshot, &error);
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
                drop(cycle);
                self.metrics.decided(begun.elapsed());
                error.post_filter_message = match preemption.message.as_str() {
                    "" => String::new(),
                    // Upstream asks its plugin for resource claims first, which says so when there are none, and which
                    // fails with these words when the pod was turned away before nodes were looked at.
                    _ if !error.pre_filter_message.is_empty() => "not found".to_owned(),
                    message => format!("no new claims to deallocate, {message}"),
                };
                let nominate = match (&preemption.node, preemption.clears_nomination) {
                    (Some(node), _) => Some(node.clone()),
                    (None, true) => clear,
                    (None, false) => None,
                };
                let failure = Failure { reason: "Unschedulable", message: error.to_string(), plugins: error.plugins };
                self.explain(&queued, &failure, Verdict::None(refusals), now);
                let mut effects = Vec::new();
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
