//! A pod's conditions. Upstream: pkg/kubelet/status/generate.go.

use super::Inputs;
use crate::{pod, pod_worker::step::sandbox_changed};
use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, PodCondition, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

/// The conditions that a kubelet writes; all others belong to somebody else and are kept.
pub(crate) const OWNED: &[&str] = &[
    "PodScheduled",
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodResizePending",
    "PodResizeInProgress",
    "AllContainersRestarting",
];

#[derive(Default)]
struct Verdict {
    ok: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Self {
        Self { ok: true, ..Self::default() }
    }
    fn no(reason: &'static str, message: String) -> Self {
        Self { ok: false, reason: Some(reason), message: (!message.is_empty()).then_some(message) }
    }
}

/// In upstream's order.
pub(crate) fn conditions(inputs: &Inputs, status: &PodStatus) -> Vec<PodCondition> {
    let api = inputs.pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let mut list: Vec<PodCondition> = api.iter().filter(|c| !OWNED.contains(&c.type_.as_str())).cloned().collect();
    for disruption in inputs.old.conditions.iter().flatten().filter(|c| c.type_ == "DisruptionTarget") {
        match list.iter_mut().find(|c| c.type_ == disruption.type_) {
            Some(known) => *known = disruption.clone(),
            None => list.push(disruption.clone()),
        }
    }
    if let Some(verdict) = inputs.verdict.filter(|v| v.disruption) {
        let mut target = condition(inputs, "DisruptionTarget", Verdict::yes());
        target.reason = Some("TerminationByKubelet".into());
        target.message = Some(verdict.message.clone());
        list.retain(|c| c.type_ != target.type_);
        list.push(target);
    }
    let all: Vec<&ContainerStatus> =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten()).collect();
    let phase = status.phase.as_deref().unwrap_or_default();
    let (changed, ..) = sandbox_changed(inputs.pod, inputs.observed);
    let sandbox = Verdict { ok: !changed, ..Verdict::default() };
    let containers = containers_ready(inputs, &all, phase);
    let ready = if containers.ok {
        gates(inputs, &list)
    } else {
        Verdict { message: containers.message.clone(), ..containers }
    };
    let containers = containers_ready(inputs, &all, phase);
    for (kind, verdict) in [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(inputs, &all, phase)),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", Verdict::yes()),
    ] {
        list.push(condition(inputs, kind, verdict));
    }
    list
}

fn condition(inputs: &Inputs, kind: &str, verdict: Verdict) -> PodCondition {
    let state = if verdict.ok { "True" } else { "False" };
    let old = inputs.old.conditions.iter().flatten().find(|c| c.type_ == kind);
    let since = old.filter(|o| o.status == state).and_then(|o| o.last_transition_time.clone());
    PodCondition {
        type_: kind.into(),
        status: state.into(),
        reason: verdict.reason.map(Into::into),
        message: verdict.message,
        observed_generation: inputs.pod.metadata.generation.filter(|g| *g > 0),
        last_transition_time: Some(since.unwrap_or(Time(inputs.now))),
        ..Default::default()
    }
}

/// `[a b]`, Go's print of a list of names.
fn names(list: &[&str]) -> String {
    format!("[{}]", list.join(" "))
}

fn told(unknown: &[&str], rest: &[&str], word: &str) -> String {
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: {}", names(unknown)));
    }
    if !rest.is_empty() {
        parts.push(format!("containers with {word} status: {}", names(rest)));
    }
    parts.join(", ")
}

/// Sorts the containers into those without a status and those whose status does not satisfy.
fn split<'a>(
    containers: impl Iterator<Item = &'a Container>,
    all: &[&ContainerStatus],
    satisfied: impl Fn(&Container, &ContainerStatus) -> bool,
) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut unknown, mut unsatisfied) = (Vec::new(), Vec::new());
    for container in containers {
        match all.iter().find(|s| s.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !satisfied(container, status) => unsatisfied.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    (unknown, unsatisfied)
}

fn containers_ready(inputs: &Inputs, all: &[&ContainerStatus], phase: &str) -> Verdict {
    let sidecars = pod::init_containers(inputs.pod).iter().filter(|c| pod::is_sidecar(c));
    let (unknown, unready) = split(sidecars.chain(&pod::spec(inputs.pod).containers), all, |_, status| status.ready);
    match phase {
        "Succeeded" if unknown.is_empty() => return Verdict::no("PodCompleted", String::new()),
        "Failed" => return Verdict::no("PodFailed", String::new()),
        _ => {}
    }
    match told(&unknown, &unready, "unready") {
        message if message.is_empty() => Verdict::yes(),
        message => Verdict::no("ContainersNotReady", message),
    }
}

fn gates(inputs: &Inputs, conditions: &[PodCondition]) -> Verdict {
    let mut missing = Vec::new();
    for gate in pod::spec(inputs.pod).readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match conditions.iter().find(|c| c.type_ == *kind) {
            None => missing.push(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(c) if c.status != "True" => {
                missing.push(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", c.status))
            }
            Some(_) => {}
        }
    }
    if missing.is_empty() { Verdict::yes() } else { Verdict::no("ReadinessGatesNotReady", missing.join(", ")) }
}

fn initialized(inputs: &Inputs, all: &[&ContainerStatus], phase: &str) -> Verdict {
    let done = |container: &Container, status: &ContainerStatus| {
        if pod::is_sidecar(container) { status.started == Some(true) } else { status.ready }
    };
    let (unknown, incomplete) = split(pod::init_containers(inputs.pod).iter(), all, done);
    if phase == "Succeeded" && unknown.is_empty() {
        return Verdict { ok: true, reason: Some("PodCompleted"), message: None };
    }
    let started = |c: &Container| {
        let status = all.iter().find(|s| s.name == c.name);
        status.is_some_and(|s| {
            s.started == Some(true)
                || s.state.as_ref().is_some_and(|s| s.terminated.is_some())
                || s.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
        })
    };
    if pod::spec(inputs.pod).containers.iter().any(started) {
        return Verdict::yes();
    }
    match told(&unknown, &incomplete, "incomplete") {
        message if message.is_empty() => Verdict::yes(),
        message => Verdict::no("ContainersNotInitialized", message),
    }
}
