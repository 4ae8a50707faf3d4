//! Container statuses: the newest container of a name is the state, the one before it the last state, and a hold says why nothing runs.
//! Upstream: kubelet_pods.go, convertToAPIContainerStatuses; prober/prober_manager.go, UpdatePodStatus.

use super::{Inputs, Readiness};
use crate::{
    cri::observe::{Container as Observed, State},
    pod::{self, Kind},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, ContainerUser, LinuxContainerUser, PodStatus, VolumeMountStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

fn time(ns: i64) -> Option<Time> {
    Timestamp::from_nanosecond(i128::from(ns)).ok().map(Time)
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let reason = (!reason.is_empty()).then(|| reason.to_owned());
    ContainerState { waiting: Some(ContainerStateWaiting { reason, message }), ..Default::default() }
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

pub(super) fn statuses(
    inputs: &Inputs,
    containers: &[Container],
    kind: Kind,
    old: &Option<Vec<ContainerStatus>>,
) -> Option<Vec<ContainerStatus>> {
    if containers.is_empty() {
        return None;
    }
    let old = old.as_deref().unwrap_or_default();
    let has_init = !pod::init_containers(inputs.pod).is_empty();
    let default_reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
    let mut list: Vec<ContainerStatus> = containers
        .iter()
        .map(|c| one(inputs, c, kind, old.iter().find(|o| o.name == c.name), default_reason))
        .collect();
    // Upstream sorts ordinary statuses by name and init statuses by the spec's order.
    if kind != Kind::Init {
        list.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Some(list)
}

fn one(
    inputs: &Inputs,
    container: &Container,
    kind: Kind,
    old: Option<&ContainerStatus>,
    default_reason: &str,
) -> ContainerStatus {
    let mut seen = inputs.observed.containers.iter().filter(|o| o.name == container.name);
    let newest = seen.next();
    let mut status = match newest {
        Some(observed) => {
            let mut status = converted(inputs, container, observed, old);
            if let Some(before) = seen.next() {
                status.last_state = converted(inputs, container, before, old).state;
            }
            status
        }
        None => unseen(inputs, container, old, default_reason),
    };
    status.volume_mounts = mounts(container);
    let waits = status.state.as_ref().is_some_and(|s| s.waiting.is_some());
    if kind == Kind::Init && newest.is_none() && waits && !pod::is_sidecar(container) && any_regular_created(inputs) {
        let message = "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally";
        let ended = ContainerStateTerminated {
            reason: Some("Completed".into()),
            message: Some(message.into()),
            ..Default::default()
        };
        status.state = Some(ContainerState { terminated: Some(ended), ..Default::default() });
        return status;
    }
    if let Some(observed) = newest.filter(|_| kind == Kind::Init)
        && observed.state == State::Exited
        && observed.exit_code == 0
        && !pod::is_sidecar(container)
    {
        return status;
    }
    if let Some(hold) = inputs.holds.get(&container.name)
        && !inputs.terminal
        && newest.is_none_or(|o| o.state != State::Running)
        && newest.is_none_or(|o| {
            o.state != State::Exited || pod::restarts(inputs.pod, container, o.exit_code) || pod::is_sidecar(container)
        })
    {
        if status.state.as_ref().is_some_and(|s| s.terminated.is_some()) {
            status.last_state = status.state.take();
        }
        status.state = Some(waiting(&hold.reason, text(&hold.message)));
    }
    status
}

fn any_regular_created(inputs: &Inputs) -> bool {
    pod::spec(inputs.pod)
        .containers
        .iter()
        .any(|c| inputs.observed.container(&c.name).is_some_and(|o| o.state != State::Unknown))
}

/// A container that the runtime does not know: not yet made, or lost.
fn unseen(
    inputs: &Inputs,
    container: &Container,
    old: Option<&ContainerStatus>,
    default_reason: &str,
) -> ContainerStatus {
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(default_reason, None)),
        ..Default::default()
    };
    let Some(old) = old else { return status };
    let state = old.state.as_ref();
    if state.is_some_and(|s| s.terminated.is_some()) {
        return old.clone();
    }
    status.restart_count = old.restart_count;
    status.last_state = old.last_state.clone();
    let had_last = status.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
    if state.is_some_and(|s| s.running.is_some()) && !had_last {
        let message = "The container could not be located when the pod was deleted.  The container used to be Running";
        let lost = ContainerStateTerminated {
            reason: Some("ContainerStatusUnknown".into()),
            message: Some(message.into()),
            exit_code: 137,
            ..Default::default()
        };
        status.last_state = Some(ContainerState { terminated: Some(lost), ..Default::default() });
        if !pod::deleting(inputs.pod) {
            status.restart_count += 1;
        }
    }
    status
}

fn converted(
    inputs: &Inputs,
    container: &Container,
    observed: &Observed,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let id = format!("{}://{}", inputs.runtime, observed.id);
    let mut status = ContainerStatus {
        name: observed.name.clone(),
        restart_count: observed.restart_count as i32,
        image: observed.image.clone(),
        image_id: observed.image_ref.clone(),
        container_id: Some(id.clone()),
        ..Default::default()
    };
    if let Some(old) = old {
        status.restart_count = status.restart_count.max(old.restart_count);
        let ended = |s: &Option<ContainerState>| s.as_ref().is_some_and(|s| s.terminated.is_some());
        if old.container_id.as_deref() != Some(&id) && ended(&old.state) {
            status.last_state = old.state.clone();
        } else if ended(&old.last_state) {
            status.last_state = old.last_state.clone();
        }
    }
    let lost = old.is_some_and(|o| o.state.as_ref().is_some_and(|s| s.running.is_some()));
    status.state = Some(match observed.state {
        State::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(observed.started_at_ns) }),
            ..Default::default()
        },
        State::Exited => {
            let ended = ContainerStateTerminated {
                exit_code: observed.exit_code,
                reason: text(&observed.reason),
                message: text(&observed.message),
                started_at: time(observed.started_at_ns),
                finished_at: time(observed.finished_at_ns),
                container_id: Some(id),
                signal: None,
            };
            ContainerState { terminated: Some(ended), ..Default::default() }
        }
        State::Unknown if lost => {
            status.restart_count += 1;
            let ended = ContainerStateTerminated {
                reason: Some("ContainerStatusUnknown".into()),
                message: Some("The container could not be located when the pod was terminated".into()),
                exit_code: 137,
                ..Default::default()
            };
            ContainerState { terminated: Some(ended), ..Default::default() }
        }
        State::Created | State::Unknown => waiting("", None),
    });
    let resources = container.resources.clone().unwrap_or_default();
    status.allocated_resources = resources.requests.clone();
    status.resources = Some(resources);
    status.user = observed.user.as_ref().map(|user| {
        let groups = (!user.supplemental_groups.is_empty()).then(|| user.supplemental_groups.clone());
        ContainerUser { linux: Some(LinuxContainerUser { uid: user.uid, gid: user.gid, supplemental_groups: groups }) }
    });
    status
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let list = container.volume_mounts.as_ref().filter(|m| !m.is_empty())?;
    let status = |mount: &k8s_openapi::api::core::v1::VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|r| *r),
        recursive_read_only: mount.read_only.filter(|r| *r).map(|_| "Disabled".to_owned()),
        ..Default::default()
    };
    Some(list.iter().map(status).collect())
}

/// `started` and `ready`, from the probes where there are any.
pub(super) fn apply_probes(inputs: &Inputs, status: &mut PodStatus) {
    let probe = |c: &ContainerStatus| {
        (inputs.probes)(&c.name, c.container_id.as_deref().map_or("", |id| id.rsplit('/').next().unwrap_or_default()))
    };
    let set = |status: &mut ContainerStatus| {
        let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
        let Readiness { started, ready } = if running { probe(status) } else { Readiness::default() };
        status.started = Some(started);
        status.ready = started && ready;
    };
    for container in status.container_statuses.iter_mut().flatten() {
        set(container);
    }
    for container in status.init_container_statuses.iter_mut().flatten() {
        let sidecar = pod::init_containers(inputs.pod).iter().any(|c| c.name == container.name && pod::is_sidecar(c));
        if sidecar {
            set(container);
        } else {
            let ended = container.state.as_ref().and_then(|s| s.terminated.as_ref());
            container.started = Some(container.state.as_ref().is_some_and(|s| s.running.is_some()));
            container.ready = ended.is_some_and(|t| t.exit_code == 0);
        }
    }
}

/// What is left without an end when all of the pod is over. Upstream: status_manager.go, TerminatePod.
pub(crate) fn finish(pod: &k8s_openapi::api::core::v1::Pod, status: &mut PodStatus) {
    let unknown = ContainerStateTerminated {
        reason: Some("ContainerStatusUnknown".into()),
        message: Some("The container could not be located when the pod was terminated".into()),
        exit_code: 137,
        ..Default::default()
    };
    let initialized =
        status.container_statuses.iter().flatten().any(|c| c.state.as_ref().is_some_and(|s| s.waiting.is_none()));
    let init = status.init_container_statuses.iter_mut().flatten();
    for container in status
        .container_statuses
        .iter_mut()
        .flatten()
        .filter(|_| initialized || pod::init_containers(pod).is_empty())
        .chain(init)
    {
        let state = container.state.get_or_insert_default();
        if state.terminated.is_none()
            && (state.running.is_some()
                || container.last_state.as_ref().is_some_and(|l| l.terminated.is_some())
                || initialized)
        {
            *state = ContainerState { terminated: Some(unknown.clone()), ..Default::default() };
            container.ready = false;
            container.started = Some(false);
        }
    }
    if !pod::is_terminal(status.phase.as_deref().unwrap_or_default()) {
        status.phase = Some("Failed".into());
    }
}
