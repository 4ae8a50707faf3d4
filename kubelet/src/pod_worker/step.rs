//! What to do next for a pod: one pure decision from what is wanted, what runs, and what was learnt on the way.
//!
//! Upstream computes a bundle of actions and then works through it; here one action is decided, done, and everything is looked
//! at again. A container dying, a probe failing or the pod being deleted in the middle needs no handling of its own then.
//! Upstream: kuberuntime_manager.go, computePodActions and computeInitContainerActions.

use crate::{
    backoff::Backoff,
    cri::{
        labels,
        observe::{Container as Observed, Pod as ObservedPod, State},
    },
    pod::{self, Kind},
    probes::Verdict,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::{HashMap, HashSet};

/// Why a container waits, and until when nothing is tried again. It is what users see as the waiting reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) until: Timestamp,
}

/// What neither the API nor the runtime can tell.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Containers whose start failed, by name.
    pub(crate) holds: HashMap<String, Hold>,
    /// Sandboxes whose network is known to be torn down.
    pub(crate) stopped: HashSet<String>,
    /// The newest verdict of liveness and startup probes by container id.
    pub(crate) liveness: HashMap<String, Verdict>,
    pub(crate) startup: HashMap<String, Verdict>,
}

/// Which of the kubelet's own reasons ends a container; it selects the grace period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillReason {
    StartupProbe,
    LivenessProbe,
    Other,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// End every container and the sandbox. Nothing is started again.
    StopPod,
    /// End what is left of the old sandbox, forget init containers, make a new one.
    CreateSandbox {
        attempt: u32,
        replaces: bool,
    },
    KillContainer {
        id: String,
        name: String,
        message: String,
        reason: KillReason,
    },
    /// A failed init container is taken away before its successor starts.
    RemoveContainer {
        id: String,
    },
    StartContainer {
        kind: Kind,
        index: usize,
    },
    /// As wanted. `until`: a container waits; the message is the back-off's event.
    Rest {
        until: Option<Timestamp>,
        backing_off: Vec<BackingOff>,
    },
}

/// A container that failed and is not started yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackingOff {
    pub(crate) container: String,
    pub(crate) hold: Hold,
}

/// The key of a container's restart back-off: a changed image starts afresh.
pub(crate) fn backoff_key(pod: &Pod, container: &Container) -> String {
    format!("{}/{}/{}", pod::uid(pod), container.name, labels::hash(container))
}

/// Whether the pod needs a new sandbox, that sandbox's number, and whether there was one before.
pub(crate) fn sandbox_changed(pod: &Pod, observed: &ObservedPod) -> (bool, u32, bool) {
    let Some(newest) = observed.sandboxes.first() else { return (true, 0, false) };
    let ready = observed.sandboxes.iter().filter(|s| s.ready).count();
    let next = newest.attempt + 1;
    let host_network = pod::host_network(pod);
    if ready > 1 || !newest.ready || newest.host_network != host_network || (!host_network && newest.ips.is_empty()) {
        return (true, next, true);
    }
    (false, newest.attempt, true)
}

/// The next action for a pod that is meant to run.
pub(crate) fn step(pod: &Pod, observed: &ObservedPod, memory: &Memory, backoff: &Backoff, now: Timestamp) -> Action {
    let (changed, attempt, replaces) = sandbox_changed(pod, observed);
    if changed {
        return sandbox_step(pod, observed, memory, attempt, replaces, now);
    }
    let mut plan = Plan {
        pod,
        observed,
        memory,
        backoff,
        now,
        kills: Vec::new(),
        removals: Vec::new(),
        starts: Vec::new(),
        held: Vec::new(),
    };
    for (index, container) in pod::ephemeral(pod).iter().enumerate() {
        if observed.container(&container.name).is_none() {
            plan.start(Kind::Ephemeral, index, container);
        }
    }
    match plan.init_containers() {
        Init::Failed => return stop(observed, memory),
        Init::Pending => {}
        Init::Done => {
            if !plan.regular_containers() {
                return stop(observed, memory);
            }
        }
    }
    plan.first()
}

/// Ends the pod, or rests if nothing of it is left to end.
pub(crate) fn stop(observed: &ObservedPod, memory: &Memory) -> Action {
    let alive = observed.running().next().is_some()
        || observed.sandboxes.iter().any(|s| s.ready || !memory.stopped.contains(&s.id));
    if alive { Action::StopPod } else { Action::Rest { until: None, backing_off: Vec::new() } }
}

fn sandbox_step(
    pod: &Pod,
    observed: &ObservedPod,
    memory: &Memory,
    attempt: u32,
    replaces: bool,
    now: Timestamp,
) -> Action {
    let policy = pod::spec(pod).restart_policy.as_deref().unwrap_or("Always");
    if policy == "Never" && attempt != 0 && !observed.containers.is_empty() {
        return stop(observed, memory);
    }
    let done = |c: &Container| {
        let on_failure = c.restart_policy.as_deref().unwrap_or(policy) == "OnFailure";
        on_failure && observed.container(&c.name).is_some_and(|o| o.state == State::Exited && o.exit_code == 0)
    };
    let regular = &pod::spec(pod).containers;
    let created = |c: &Container| observed.container(&c.name).is_some_and(|o| o.state != State::Unknown);
    if regular.iter().all(done) && regular.iter().any(created) {
        return stop(observed, memory);
    }
    // A sandbox that failed is tried again after a pause; it holds every container back.
    match memory.holds.get("").filter(|h| h.until > now) {
        Some(hold) => Action::Rest { until: Some(hold.until), backing_off: Vec::new() },
        None => Action::CreateSandbox { attempt, replaces },
    }
}

enum Init {
    Done,
    Pending,
    Failed,
}

struct Plan<'a> {
    pod: &'a Pod,
    observed: &'a ObservedPod,
    memory: &'a Memory,
    backoff: &'a Backoff,
    now: Timestamp,
    kills: Vec<Action>,
    removals: Vec<Action>,
    starts: Vec<Action>,
    held: Vec<BackingOff>,
}

impl Plan<'_> {
    /// Starts the container, or notes that it has to wait.
    fn start(&mut self, kind: Kind, index: usize, container: &Container) {
        if let Some(hold) = self.memory.holds.get(&container.name).filter(|h| h.until > self.now) {
            self.held.push(BackingOff { container: container.name.clone(), hold: hold.clone() });
            return;
        }
        if let Some(hold) = self.crash_loop(container) {
            self.held.push(BackingOff { container: container.name.clone(), hold });
            return;
        }
        self.starts.push(Action::StartContainer { kind, index });
    }

    fn crash_loop(&self, container: &Container) -> Option<Hold> {
        let last = self.observed.containers.iter().find(|c| c.name == container.name && c.state == State::Exited)?;
        let key = backoff_key(self.pod, container);
        let finished = Timestamp::from_nanosecond(i128::from(last.finished_at_ns)).ok()?;
        let until = self.backoff.until_since(&key, finished, self.now)?;
        let message = format!(
            "back-off {} restarting failed container={} pod={}",
            machinery::duration::text(self.backoff.get(&key).as_secs().saturating_mul(1_000_000_000)),
            container.name,
            pod::format(self.pod)
        );
        Some(Hold { reason: "CrashLoopBackOff".into(), message, until })
    }

    fn kill(&mut self, observed: &Observed, message: String, reason: KillReason) {
        self.kills.push(Action::KillContainer {
            id: observed.id.clone(),
            name: observed.name.clone(),
            message,
            reason,
        });
    }

    fn init_containers(&mut self) -> Init {
        let list = pod::init_containers(self.pod);
        if list.is_empty() {
            return Init::Done;
        }
        let regular_started = pod::spec(self.pod).containers.iter().any(|c| {
            self.observed.container(&c.name).is_some_and(|o| matches!(o.state, State::Created | State::Running))
        });
        let mut initialized = regular_started;
        // Whether a later one was seen: then an ordinary one has had its turn, and only sidecars are looked after.
        let mut passed = regular_started;
        let mut starts: Vec<usize> = Vec::new();
        // From the last that was ever started backwards: it tells how far initialization came.
        for (index, container) in list.iter().enumerate().rev() {
            let sidecar = pod::is_sidecar(container);
            let last = index + 1 == list.len();
            let Some(status) = self.observed.container(&container.name) else {
                if passed && sidecar {
                    starts.push(index);
                }
                continue;
            };
            if passed && !sidecar {
                continue;
            }
            let status = status.clone();
            match status.state {
                State::Created => starts.push(index),
                State::Running if sidecar => {
                    let started = container.startup_probe.is_none()
                        || self.memory.startup.get(&status.id) == Some(&Verdict::Success);
                    if !started {
                        if self.memory.startup.get(&status.id) == Some(&Verdict::Failure) {
                            self.kill(
                                &status,
                                format!("Init container {} failed startup probe", container.name),
                                KillReason::StartupProbe,
                            );
                            starts.push(index);
                        }
                    } else {
                        if last {
                            initialized = true;
                        } else if !passed {
                            starts.push(index + 1);
                        }
                        if status.hash != labels::hash(container) {
                            self.kill(
                                &status,
                                format!("Init container {} definition changed", container.name),
                                KillReason::Other,
                            );
                            starts.push(index);
                        } else if self.memory.liveness.get(&status.id) == Some(&Verdict::Failure) {
                            self.kill(
                                &status,
                                format!("Init container {} failed liveness probe", container.name),
                                KillReason::LivenessProbe,
                            );
                            starts.push(index);
                        }
                    }
                }
                State::Running => {}
                State::Exited if sidecar => starts.push(index),
                State::Exited if status.exit_code != 0 || status.reason == "OOMKilled" => {
                    if !pod::restarts(self.pod, container, status.exit_code)
                        || self.restart_policy() == "Never" && container.restart_policy.is_none()
                    {
                        return Init::Failed;
                    }
                    starts.push(index);
                }
                State::Exited if last => initialized = true,
                State::Exited => starts.push(index + 1),
                State::Unknown if sidecar || self.restart_policy() != "Never" => {
                    let message = format!("Init container is in {:?} state, try killing it before restart", "Unknown");
                    self.kill(&status, message, KillReason::Other);
                    starts.push(index);
                }
                State::Unknown => return Init::Failed,
            }
            passed = true;
        }
        if !passed {
            starts.push(0);
        }
        starts.sort_unstable();
        starts.dedup();
        for index in starts {
            let container = &list[index];
            // Only the newest of a name is kept while a pod initializes.
            for old in
                self.observed.containers.iter().filter(|c| c.name == container.name && c.state == State::Exited).skip(1)
            {
                self.removals.push(Action::RemoveContainer { id: old.id.clone() });
            }
            let held = self.held.len();
            self.start(Kind::Init, index, container);
            if self.held.len() > held && !pod::is_sidecar(container) {
                break;
            }
        }
        if initialized { Init::Done } else { Init::Pending }
    }

    fn restart_policy(&self) -> &str {
        pod::spec(self.pod).restart_policy.as_deref().unwrap_or("Always")
    }

    /// False if none runs and none is to be started: the pod is over.
    fn regular_containers(&mut self) -> bool {
        let (mut kept, mut wanted) = (0, 0);
        for (index, container) in pod::spec(self.pod).containers.iter().enumerate() {
            let Some(status) = self.observed.container(&container.name).cloned() else {
                wanted += 1;
                self.start(Kind::Regular, index, container);
                continue;
            };
            if status.state != State::Running {
                if status.state == State::Created
                    || pod::restarts(self.pod, container, status.exit_code)
                    || status.state == State::Unknown
                {
                    wanted += 1;
                    if status.state == State::Unknown {
                        self.kill(
                            &status,
                            "Container is in \"unknown\" state, try killing it before restart".into(),
                            KillReason::Other,
                        );
                    }
                    self.start(Kind::Regular, index, container);
                }
                continue;
            }
            let restart = container.restart_policy.as_deref().unwrap_or(self.restart_policy()) != "Never";
            let (message, reason, restart) = if status.hash != labels::hash(container) {
                (format!("Container {} definition changed", container.name), KillReason::Other, true)
            } else if self.memory.liveness.get(&status.id) == Some(&Verdict::Failure) {
                (format!("Container {} failed liveness probe", container.name), KillReason::LivenessProbe, restart)
            } else if self.memory.startup.get(&status.id) == Some(&Verdict::Failure) {
                (format!("Container {} failed startup probe", container.name), KillReason::StartupProbe, restart)
            } else {
                kept += 1;
                continue;
            };
            wanted += 1;
            let message = if restart { format!("{message}, will be restarted") } else { message };
            self.kill(&status, message, reason);
        }
        kept + wanted > 0
    }

    fn first(self) -> Action {
        let until = self.held.iter().map(|h| h.hold.until).min();
        let rest = Action::Rest { until, backing_off: self.held };
        self.kills.into_iter().chain(self.removals).chain(self.starts).next().unwrap_or(rest)
    }
}

#[cfg(test)]
mod tests;
