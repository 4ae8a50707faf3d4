//! One task a pod: looks, decides one step, does it, looks again.
//!
//! The task is woken by a new version of the pod, by the runtime's news of its containers, by its probes, by a changed object in
//! one of its volumes, and by the clock when something has to wait. It never trusts what woke it: each round starts from what is
//! wanted and what runs. Upstream: pkg/kubelet/pod_workers.go, kubelet.go (syncPod, syncTerminatingPod, syncTerminatedPod).

mod admit;
mod finish;
mod kill;
mod prepare;
mod start;
pub(crate) mod step;

use crate::{
    backoff::Backoff,
    cri::observe::{self, Ended},
    node_agent::Agent,
    pod,
    probes::{Kind as ProbeKind, Probes},
    status::{self, Verdict, writer},
    volumes::Volumes,
};
use component::{Supervisor, supervisor::guarded_future};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use step::{Action, Hold, Memory};
use tokio::sync::{Notify, watch};

/// What is wanted of a pod.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    pub(crate) pod: Arc<Pod>,
    /// The API does not have it any more.
    pub(crate) removed: bool,
    /// The node ends it, within that many seconds.
    pub(crate) verdict: Option<(Verdict, i64)>,
}

/// The worker's ends that others hold.
pub(crate) struct Handle {
    pub(crate) desired: watch::Sender<Desired>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) stale: Arc<AtomicBool>,
    pub(crate) status: watch::Receiver<writer::Wanted>,
}

impl Handle {
    pub(crate) fn pod(&self) -> Arc<Pod> {
        self.desired.borrow().pod.clone()
    }

    /// Neither over nor, by the API's word, over before it came here. One that is being ended still takes its part of the node.
    pub(crate) fn is_active(&self) -> bool {
        if self.status.borrow().finished {
            return false;
        }
        let desired = self.desired.borrow();
        let ending = desired.removed || desired.verdict.is_some() || pod::deleting(&desired.pod);
        ending || !pod::is_terminal(pod::phase(&desired.pod))
    }

    /// The newest status, written or not.
    pub(crate) fn status(&self) -> PodStatus {
        let known = self.status.borrow().status.clone();
        known.or_else(|| self.pod().status.clone()).unwrap_or_default()
    }
}

/// How long to wait before a failed step is tried again, and between rounds when all is well.
const RETRY: Duration = Duration::from_secs(1);
const SANDBOX_RETRY: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);
const START_RETRY: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// What a worker and those around it share. It outlives the worker: one that panics is begun anew from it.
#[derive(Clone)]
struct Ends {
    desired: watch::Receiver<Desired>,
    wake: Arc<Notify>,
    stale: Arc<AtomicBool>,
    status: Arc<watch::Sender<writer::Wanted>>,
    /// Everything that runs for the pod.
    tasks: Supervisor,
}

/// What users are told of a panic.
const PANICKED: &str = "the kubelet panicked, its log says where";
/// The pauses after a worker's panic, in seconds.
const PANIC_PAUSE_SECS: (i64, i64) = (1, 30);

pub(crate) fn spawn(agent: Arc<Agent>, desired: Desired) -> Handle {
    let pod = desired.pod.clone();
    let (desired_in, desired) = watch::channel(desired);
    let (status_in, status) = watch::channel(writer::Wanted::default());
    let name = pod::format(&pod);
    let tasks = agent.workers.child(("pod", name.clone()));
    let writer = writer::run(agent.client.clone(), pod, status.clone());
    tasks.one_shot(("pod status", name.clone()), tasks.token().run_until_cancelled_owned(writer));
    let (wake, stale) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (shared_wake, shared_stale, status_in) = (wake.clone(), stale.clone(), Arc::new(status_in));
    let ends = Ends { desired, wake: shared_wake, stale: shared_stale, status: status_in, tasks: tasks.clone() };
    tasks.one_shot(("pod worker", name), tasks.token().run_until_cancelled_owned(work(agent, ends)));
    Handle { desired: desired_in, wake, stale, status }
}

/// Has the pod worked on until it is buried. A worker that panics is followed by another after a back-off. That the pod
/// panics it again and again is the pod's misfortune and not the node's: it is told in its events and in the metrics, and
/// does not fail the kubelet's health.
async fn work(agent: Arc<Agent>, ends: Ends) {
    let mut panics = Backoff::new(PANIC_PAUSE_SECS.0, PANIC_PAUSE_SECS.1);
    let mut worker = Worker::new(agent.clone(), ends.clone());
    loop {
        let pod = ends.desired.borrow().pod.clone();
        if guarded_future(("pod worker", pod::format(&pod)), worker.run()).await.is_ok() {
            return;
        }
        panics.next("", agent.clock.now());
        let pause = panics.get("");
        let message = format!("error syncing pod: {PANICKED}; trying again in {pause:#}");
        agent.events.pod(&pod, None, "Warning", "FailedSync", &message);
        worker = worker.successor(agent.clone(), ends.clone());
        tokio::time::sleep(pause.unsigned_abs()).await;
    }
}

pub(crate) struct Worker {
    agent: Arc<Agent>,
    desired: watch::Receiver<Desired>,
    wake: Arc<Notify>,
    stale: Arc<AtomicBool>,
    status: Arc<watch::Sender<writer::Wanted>>,
    tasks: Supervisor,
    /// The last status made.
    old: PodStatus,
    memory: Memory,
    backoff: Backoff,
    probes: Probes,
    ended: Ended,
    /// The pod's volumes once they are there, and when they were last looked after.
    volumes: Option<(Volumes, Timestamp)>,
    volume_tries: u32,
    /// The sandbox's configuration is part of every container's creation.
    sandbox_env: Option<proto::cri::PodSandboxConfig>,
    admitted: bool,
}

/// How a pod is to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ending {
    /// Seconds from now, unless the pod's own period is meant.
    grace: Option<i64>,
}

impl Worker {
    fn new(agent: Arc<Agent>, ends: Ends) -> Self {
        let Ends { desired, wake, stale, status, tasks } = ends;
        let probes = Probes::new(&agent, wake.clone(), tasks.clone());
        let last = status.borrow().status.clone();
        let old = last.or_else(|| desired.borrow().pod.status.clone()).unwrap_or_default();
        Self {
            agent,
            desired,
            wake,
            stale,
            status,
            tasks,
            old,
            memory: Memory::default(),
            backoff: Backoff::new(10, 300),
            probes,
            ended: Ended::new(),
            volumes: None,
            volume_tries: 0,
            sandbox_env: None,
            admitted: false,
        }
    }

    /// One that knows what this one learnt, and looks at everything else again.
    fn successor(self, agent: Arc<Agent>, ends: Ends) -> Self {
        let Self { memory, backoff, admitted, .. } = self;
        Self { memory, backoff, admitted, ..Self::new(agent, ends) }
    }

    /// Ends once the pod is buried.
    async fn run(&mut self) {
        loop {
            let desired = self.desired.borrow_and_update().clone();
            let observed =
                match observe::observe(self.agent.runtime.as_ref(), pod::uid(&desired.pod), &mut self.ended).await {
                    Ok(observed) => observed,
                    Err(error) => {
                        tracing::warn!(pod = pod::format(&desired.pod), %error, "cannot ask the runtime about a pod");
                        self.rest(Some(self.agent.clock.now() + jiff::SignedDuration::from_secs(1))).await;
                        continue;
                    }
                };
            if desired.removed
                && step::stop(&observed, &self.memory) == (Action::Rest { until: None, backing_off: Vec::new() })
            {
                if self.bury(&desired.pod, &observed).await {
                    return;
                }
                tokio::time::sleep(RETRY).await;
                continue;
            }
            self.look(&desired.pod, &observed);
            let status = self.publish(&desired, &observed, false);
            match self.ending(&desired, &status) {
                Some(ending) => self.end(&desired, &observed, ending).await,
                None => self.advance(&desired, &observed).await,
            }
        }
    }

    /// Lets the probes see what runs, and reads what they say.
    fn look(&mut self, pod: &Arc<Pod>, observed: &observe::Pod) {
        self.agent.objects.register(pod);
        let host_ip = if pod::host_network(pod) { self.agent.host_ips.first().cloned() } else { None };
        let ip = host_ip.or_else(|| observed.ips().first().cloned()).unwrap_or_default();
        self.probes.observe(observed, &ip, &self.old);
        self.memory.liveness = self.probes.verdicts(ProbeKind::Liveness);
        self.memory.startup = self.probes.verdicts(ProbeKind::Startup);
        self.memory.stopped.retain(|id| observed.sandboxes.iter().any(|s| s.id == *id));
        // What waited and runs now waits no more.
        self.memory.holds.retain(|name, _| observed.container(name).is_none_or(|c| c.state != observe::State::Running));
    }

    fn ending(&self, desired: &Desired, status: &PodStatus) -> Option<Ending> {
        if let Some((_, grace)) = desired.verdict {
            return Some(Ending { grace: Some(grace) });
        }
        if desired.removed || pod::deleting(&desired.pod) {
            return Some(Ending { grace: None });
        }
        pod::is_terminal(status.phase.as_deref().unwrap_or_default()).then_some(Ending { grace: None })
    }

    /// Makes the status and hands it to its writer.
    fn publish(&mut self, desired: &Desired, observed: &observe::Pod, finished: bool) -> PodStatus {
        let probes = |name: &str, id: &str| self.probes.readiness(name, id);
        let now = self.agent.clock.now();
        let mut holds = self.memory.holds.clone();
        if !finished
            && !pod::deleting(&desired.pod)
            && let Action::Rest { backing_off, .. } =
                step::step(&desired.pod, observed, &self.memory, &self.backoff, now)
        {
            holds.extend(backing_off.into_iter().map(|b| (b.container, b.hold)));
        }
        let inputs = status::Inputs {
            pod: &desired.pod,
            observed,
            old: &self.old,
            holds: &holds,
            probes: &probes,
            terminal: finished,
            verdict: desired.verdict.as_ref().map(|(verdict, _)| verdict),
            host_ips: &self.agent.host_ips,
            runtime: &self.agent.runtime_name,
            now,
        };
        let mut status = status::generate(&inputs);
        if finished {
            status::containers::finish(&desired.pod, &mut status);
            status.conditions = Some(status::conditions::conditions(&inputs, &status));
        }
        self.agent.terminations.count(&self.old, &status);
        self.old = status.clone();
        let wanted = writer::Wanted { status: Some(status.clone()), finished, deleting: pod::deleting(&desired.pod) };
        self.status.send_if_modified(|held| {
            let same =
                held.finished == wanted.finished && held.deleting == wanted.deleting && held.status == wanted.status;
            if !same {
                *held = wanted;
            }
            !same
        });
        status
    }

    /// One step of a pod that is meant to run.
    async fn advance(&mut self, desired: &Desired, observed: &observe::Pod) {
        let pod = &desired.pod;
        if !self.admitted {
            // One that already has containers was taken by the kubelet before this one.
            let taken = !observed.sandboxes.is_empty() || pod::is_static(pod);
            if taken {
                self.agent.admitted.lock().insert(pod::uid(pod).to_owned());
            } else if let Err(refusal) = self.agent.admit(pod) {
                self.agent.events.pod(pod, None, "Warning", &refusal.reason, &refusal.message);
                self.agent.evict(pod::uid(pod), refusal.verdict(), 0);
                return;
            }
            self.admitted = true;
        }
        self.probes.start(pod);
        let now = self.agent.clock.now();
        let action = step::step(pod, observed, &self.memory, &self.backoff, now);
        let starts = matches!(action, Action::CreateSandbox { .. } | Action::StartContainer { .. });
        let unknown_volumes = self.volumes.is_none() && observed.running().next().is_some();
        if (starts || unknown_volumes) && !self.prepare(pod, observed).await {
            return;
        }
        match action {
            Action::Rest { until, backing_off } => {
                for waiting in &backing_off {
                    self.tell_backoff(pod, &waiting.container, &waiting.hold);
                }
                let deadline = self.deadline(pod, now);
                if deadline.is_some_and(|at| at <= now) {
                    let message = "Pod was active on the node longer than the specified deadline".to_owned();
                    let grace = pod::spec(pod).termination_grace_period_seconds.unwrap_or(30);
                    let verdict = Verdict { reason: "DeadlineExceeded".into(), message, disruption: false };
                    self.agent.evict(pod::uid(pod), verdict, grace);
                    return;
                }
                self.look_after_volumes(pod, observed).await;
                // One that failed is tried again, but not at once.
                let pause = now + jiff::SignedDuration::from_secs(30);
                let renewal = self.agent.tokens.next_renewal(pod::uid(pod)).map(|at| at.max(pause));
                self.rest([until, deadline, renewal].into_iter().flatten().min()).await;
            }
            Action::StopPod => {
                self.kill(desired, observed, None, "").await;
            }
            Action::CreateSandbox { attempt, replaces } => {
                self.create_sandbox(desired, observed, attempt, replaces).await
            }
            Action::KillContainer { id, name, message, reason } => {
                let kill = kill::Kill {
                    agent: self.agent.clone(),
                    pod: pod.clone(),
                    pod_ip: observed.ips().first().cloned().unwrap_or_default(),
                };
                if let Err(error) = kill.container(&id, &name, &message, reason, None).await {
                    tracing::warn!(pod = pod::format(pod), container = name, %error, "cannot kill a container");
                    self.rest(Some(now + jiff::SignedDuration::from_secs(1))).await;
                }
            }
            Action::RemoveContainer { id } => {
                if let Err(error) = self.agent.runtime.remove_container(&id).await {
                    tracing::warn!(pod = pod::format(pod), %error, "cannot remove a container");
                    self.rest(Some(now + jiff::SignedDuration::from_secs(1))).await;
                }
            }
            Action::StartContainer { kind, index } => self.start(desired, observed, kind, index).await,
        }
    }

    /// `activeDeadlineSeconds`, from the pod's start.
    fn deadline(&self, pod: &Pod, now: Timestamp) -> Option<Timestamp> {
        let seconds = pod::spec(pod).active_deadline_seconds?;
        let start = self.old.start_time.as_ref().map_or(now, |t| t.0);
        start.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
    }

    fn tell_backoff(&self, pod: &Pod, container: &str, hold: &Hold) {
        if hold.reason == "CrashLoopBackOff" {
            let message = format!("Back-off restarting failed container {container} in pod {}", pod::format(pod));
            self.agent.events.pod(pod, Some(container), "Warning", "BackOff", &message);
        }
    }

    /// One step of a pod that is being ended, for whatever reason.
    async fn end(&mut self, desired: &Desired, observed: &observe::Pod, ending: Ending) {
        self.probes.ending();
        if step::stop(observed, &self.memory) == Action::StopPod {
            let grace = ending.grace;
            self.kill(desired, observed, grace, "").await;
            return;
        }
        self.probes.stop();
        if !self.clean_up(&desired.pod).await {
            self.rest(Some(self.agent.clock.now() + jiff::SignedDuration::from_secs(1))).await;
            return;
        }
        self.publish(desired, observed, true);
        self.volumes = None;
        self.wait().await;
    }

    /// Waits for any news.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.desired.changed() => {}
            () = self.wake.notified() => {}
        }
    }

    /// Waits for news, or for that moment, or for the next regular look.
    async fn rest(&mut self, until: Option<Timestamp>) {
        let regular = self.agent.config.file.sync_frequency.0;
        let now = self.agent.clock.now();
        let pause = until
            .map_or(regular, |at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO).min(regular));
        let _ = tokio::time::timeout(pause.max(Duration::from_millis(1)), self.wait()).await;
    }

    fn take_stale(&self) -> bool {
        self.stale.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
