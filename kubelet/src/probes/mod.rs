//! Probes: one task a probe, which tells the pod's worker when its verdict changes. Upstream: pkg/kubelet/prober.

pub(crate) mod check;
mod worker;

use crate::{cri::Runtime, events::Events, node_agent::Agent, pod, status::Readiness};
use component::{Clock, Supervisor, supervisor::AbortOnDrop};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, Probe};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Unknown,
    Success,
    Failure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Liveness,
    Readiness,
    Startup,
}

impl Kind {
    /// As events name it.
    fn name(self) -> &'static str {
        match self {
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
            Kind::Startup => "Startup",
        }
    }

    /// Until the first answer: alive, but not ready.
    fn initial(self) -> Verdict {
        match self {
            Kind::Liveness => Verdict::Success,
            Kind::Readiness => Verdict::Failure,
            Kind::Startup => Verdict::Unknown,
        }
    }

    fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Kind::Liveness => container.liveness_probe.as_ref(),
            Kind::Readiness => container.readiness_probe.as_ref(),
            Kind::Startup => container.startup_probe.as_ref(),
        }
    }
}

/// A container as its probes see it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    id: String,
    /// `None`: not running.
    started_at: Option<Timestamp>,
}

#[derive(Default)]
struct Shared {
    containers: HashMap<String, Seen>,
    /// By kind and container id.
    verdicts: HashMap<(Kind, String), Verdict>,
    pod_ip: String,
    ending: bool,
}

/// The probes of one pod.
pub(crate) struct Probes {
    runtime: Arc<dyn Runtime>,
    events: Events,
    clock: Clock,
    shared: Arc<Mutex<Shared>>,
    /// The pod's worker is woken by it.
    changed: Arc<Notify>,
    owner: Supervisor,
    tasks: HashMap<(String, Kind), AbortOnDrop<Option<()>>>,
    /// Each has its probe asked at once.
    triggers: HashMap<(String, Kind), Arc<Notify>>,
    /// Containers that were started before are believed to be what the API says of them until they are asked again.
    since: Timestamp,
}

impl Probes {
    /// `owner`: where the tasks belong.
    pub(crate) fn new(agent: &Agent, changed: Arc<Notify>, owner: Supervisor) -> Self {
        let (runtime, events, clock) = (agent.runtime.clone(), agent.events.clone(), agent.clock.clone());
        let since = clock.now();
        let (tasks, triggers) = (HashMap::new(), HashMap::new());
        Self { runtime, events, clock, shared: Arc::default(), changed, owner, tasks, triggers, since }
    }

    fn trigger(&mut self, container: &str, kind: Kind) -> Arc<Notify> {
        self.triggers.entry((container.to_owned(), kind)).or_default().clone()
    }

    /// Starts a task for each probe of the pod, once.
    pub(crate) fn start(&mut self, pod: &Arc<Pod>) {
        let sidecars = pod::init_containers(pod).iter().filter(|c| pod::is_sidecar(c));
        for container in pod::spec(pod).containers.iter().chain(sidecars) {
            for kind in [Kind::Startup, Kind::Liveness, Kind::Readiness] {
                let Some(probe) = kind.of(container) else { continue };
                let key = (container.name.clone(), kind);
                if self.tasks.contains_key(&key) {
                    continue;
                }
                let worker = worker::Worker {
                    pod: pod.clone(),
                    container: container.clone(),
                    kind,
                    probe: probe.clone(),
                    runtime: self.runtime.clone(),
                    events: self.events.clone(),
                    clock: self.clock.clone(),
                    shared: self.shared.clone(),
                    changed: self.changed.clone(),
                    trigger: self.trigger(&container.name, kind),
                    readiness: self.trigger(&container.name, Kind::Readiness),
                };
                let name = worker.name();
                let task = self.owner.one_shot(name, self.owner.token().run_until_cancelled_owned(worker.run()));
                self.tasks.insert(key, task.abort_on_drop());
            }
        }
    }

    /// A pod that is being ended is not restarted by a probe, but its readiness still counts.
    pub(crate) fn ending(&mut self) {
        self.shared.lock().ending = true;
        self.tasks.retain(|(_, kind), _| *kind == Kind::Readiness);
    }

    pub(crate) fn stop(&mut self) {
        self.tasks.clear();
    }

    /// Tells the probes what runs. `old` is the status that the API server holds.
    pub(crate) fn observe(&mut self, observed: &crate::cri::observe::Pod, pod_ip: &str, old: &PodStatus) {
        let mut shared = self.shared.lock();
        shared.pod_ip = pod_ip.to_owned();
        let ids: Vec<String> = observed.containers.iter().map(|c| c.id.clone()).collect();
        shared.verdicts.retain(|(_, id), _| ids.contains(id));
        let mut fresh = Vec::new();
        let names: Vec<String> = self.tasks.keys().map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(container) = observed.container(&name) else { continue };
            let running = container.state == crate::cri::observe::State::Running;
            let started_at = Timestamp::from_nanosecond(i128::from(container.started_at_ns)).ok().filter(|_| running);
            let seen = Seen { id: container.id.clone(), started_at };
            if shared.containers.get(&name) == Some(&seen) {
                continue;
            }
            let known = shared.containers.get(&name).is_some_and(|s| s.id == seen.id);
            if !known {
                let before = started_at.is_some_and(|at| at < self.since);
                let statuses =
                    old.container_statuses.iter().flatten().chain(old.init_container_statuses.iter().flatten());
                let word = statuses
                    .filter(|_| before)
                    .find(|s| s.container_id.as_deref().is_some_and(|id| id.ends_with(&container.id)));
                for kind in [Kind::Startup, Kind::Liveness, Kind::Readiness] {
                    let verdict = match (kind, word) {
                        (Kind::Startup, Some(word)) if word.started == Some(true) => Verdict::Success,
                        (Kind::Readiness, Some(word)) if word.ready => Verdict::Success,
                        _ => kind.initial(),
                    };
                    if self.tasks.contains_key(&(name.clone(), kind)) {
                        shared.verdicts.insert((kind, container.id.clone()), verdict);
                    }
                }
            }
            if !running {
                for kind in [Kind::Startup, Kind::Liveness, Kind::Readiness] {
                    if let Some(verdict) = shared.verdicts.get_mut(&(kind, container.id.clone())) {
                        *verdict = Verdict::Failure;
                    }
                }
            }
            shared.containers.insert(name.clone(), seen);
            fresh.push(name);
        }
        drop(shared);
        for name in fresh {
            for kind in [Kind::Startup, Kind::Readiness] {
                if let Some(trigger) = self.triggers.get(&(name.clone(), kind)) {
                    trigger.notify_one();
                }
            }
        }
    }

    /// What the status says of a running container.
    pub(crate) fn readiness(&self, name: &str, id: &str) -> Readiness {
        let shared = self.shared.lock();
        let passed = |kind: Kind| {
            !self.tasks.contains_key(&(name.to_owned(), kind)) && !shared.verdicts.contains_key(&(kind, id.to_owned()))
                || shared.verdicts.get(&(kind, id.to_owned())) == Some(&Verdict::Success)
        };
        Readiness { started: passed(Kind::Startup), ready: passed(Kind::Readiness) }
    }

    /// Verdicts of one kind by container id.
    pub(crate) fn verdicts(&self, kind: Kind) -> HashMap<String, Verdict> {
        let shared = self.shared.lock();
        // A verdict of a container that ended says nothing about killing it.
        let running = |id: &String| shared.containers.values().any(|s| s.id == *id && s.started_at.is_some());
        shared
            .verdicts
            .iter()
            .filter(|((k, id), _)| *k == kind && running(id))
            .map(|((_, id), v)| (id.clone(), *v))
            .collect()
    }
}

#[cfg(test)]
mod tests;
