//! The one word for a pod. Upstream: kubelet_pods.go, getPhase.

use crate::{
    cri::observe::{Pod as ObservedPod, State},
    pod,
};
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod};

enum Is<'a> {
    Running(&'a ContainerStatus),
    Ended { code: i32 },
    WaitingAfter { code: i32 },
    Waiting,
    Unknown,
}

fn look<'a>(statuses: &'a [ContainerStatus], name: &str) -> Is<'a> {
    let Some(status) = statuses.iter().find(|s| s.name == name) else { return Is::Unknown };
    let last = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    match status.state.as_ref() {
        Some(ContainerState { running: Some(_), .. }) => Is::Running(status),
        Some(ContainerState { terminated: Some(t), .. }) => Is::Ended { code: t.exit_code },
        Some(ContainerState { waiting: Some(_), .. }) => {
            last.map_or(Is::Waiting, |t| Is::WaitingAfter { code: t.exit_code })
        }
        _ => Is::Unknown,
    }
}

/// Whether a regular container of the sandbox in use has been started.
pub(crate) fn any_regular_started(pod: &Pod, observed: &ObservedPod) -> bool {
    let Some(sandbox) = observed.sandboxes.first() else { return false };
    let started = |c: &Container| {
        observed
            .containers
            .iter()
            .any(|o| o.name == c.name && o.sandbox == sandbox.id && matches!(o.state, State::Running | State::Exited))
    };
    pod::spec(pod).containers.iter().any(started)
}

pub(crate) fn phase(pod: &Pod, statuses: &[ContainerStatus], terminal: bool, initialized: bool) -> &'static str {
    let (mut pending_init, mut pending_sidecars, mut init_failed) = (0, 0, false);
    let (mut unknown, mut running, mut waiting, mut stopped, mut stays_stopped, mut succeeded) = (0, 0, 0, 0, 0, 0);
    let failed_for_good = |container: &Container, code: i32| code != 0 && !init_restarts(pod, container, code);

    for container in pod::init_containers(pod).iter().filter(|c| !pod::is_sidecar(c)) {
        match look(statuses, &container.name) {
            Is::Ended { code } | Is::WaitingAfter { code } => init_failed |= failed_for_good(container, code),
            Is::Running(_) | Is::Waiting | Is::Unknown => pending_init += 1,
        }
    }
    for container in pod::init_containers(pod).iter().filter(|c| pod::is_sidecar(c)) {
        match look(statuses, &container.name) {
            Is::Running(status) => {
                pending_sidecars += i32::from(status.started != Some(true));
                running += 1;
            }
            Is::Ended { .. } | Is::WaitingAfter { .. } => {}
            Is::Waiting => {
                pending_sidecars += 1;
                waiting += 1;
            }
            Is::Unknown => {
                pending_sidecars += 1;
                unknown += 1;
            }
        }
    }
    for container in &pod::spec(pod).containers {
        match look(statuses, &container.name) {
            Is::Running(_) => running += 1,
            Is::Ended { code } => {
                stopped += 1;
                succeeded += i32::from(code == 0);
                stays_stopped += i32::from(!pod::restarts(pod, container, code));
            }
            Is::WaitingAfter { code } => {
                stopped += 1;
                stays_stopped += i32::from(!pod::restarts(pod, container, code));
            }
            Is::Waiting => waiting += 1,
            Is::Unknown => unknown += 1,
        }
    }

    if init_failed {
        return "Failed";
    }
    if pending_init > 0 || (pending_sidecars > 0 && !initialized) || waiting > 0 {
        return "Pending";
    }
    if running > 0 && unknown == 0 {
        return "Running";
    }
    if running == 0 && stopped > 0 && unknown == 0 {
        let over = if stopped == succeeded { "Succeeded" } else { "Failed" };
        if terminal && !pod::is_static(pod) {
            return over;
        }
        return if stopped == stays_stopped { over } else { "Running" };
    }
    "Pending"
}

/// An init container under `Always` is retried as under `OnFailure`.
pub(crate) fn init_restarts(pod: &Pod, container: &Container, code: i32) -> bool {
    pod::restarts(pod, container, code)
}
