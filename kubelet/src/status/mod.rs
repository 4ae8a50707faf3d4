//! A pod's status from what was observed. Pure; upstream: kubelet_pods.go, generateAPIPodStatus.

pub(crate) mod conditions;
pub(crate) mod containers;
pub(crate) mod patch;
pub(crate) mod phase;
pub(crate) mod terminations;
pub(crate) mod writer;

use crate::{cri::observe::Pod as ObservedPod, pod, pod_worker::step::Hold, qos};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{HostIP, Pod, PodIP, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::collections::HashMap;

/// Everything a status is made from.
pub(crate) struct Inputs<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) observed: &'a ObservedPod,
    /// The status last written or, at first, the API's.
    pub(crate) old: &'a PodStatus,
    pub(crate) holds: &'a HashMap<String, Hold>,
    pub(crate) probes: &'a dyn Fn(&str, &str) -> Readiness,
    /// Every container of it has ended for good.
    pub(crate) terminal: bool,
    /// The kubelet's own verdict: eviction, deadline, refused admission.
    pub(crate) verdict: Option<&'a Verdict>,
    pub(crate) host_ips: &'a [String],
    pub(crate) runtime: &'a str,
    pub(crate) now: Timestamp,
}

/// A pod that the kubelet ended for a reason of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) reason: String,
    pub(crate) message: String,
    /// It ends for the node's sake: the condition `DisruptionTarget` tells its owner that it did nothing wrong.
    pub(crate) disruption: bool,
}

/// What probes say of a container, by name and id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) started: bool,
    pub(crate) ready: bool,
}

pub(crate) fn generate(inputs: &Inputs) -> PodStatus {
    let Inputs { pod, observed, old, .. } = *inputs;
    let mut status = PodStatus { qos_class: Some(qos::class(pod).to_owned()), ..Default::default() };
    let spec = pod::spec(pod);
    let ephemeral = pod::ephemeral(pod);
    status.init_container_statuses =
        containers::statuses(inputs, pod::init_containers(pod), pod::Kind::Init, &old.init_container_statuses);
    status.container_statuses =
        containers::statuses(inputs, &spec.containers, pod::Kind::Regular, &old.container_statuses);
    status.ephemeral_container_statuses =
        containers::statuses(inputs, &ephemeral, pod::Kind::Ephemeral, &old.ephemeral_container_statuses);

    let all: Vec<_> = status
        .container_statuses
        .iter()
        .flatten()
        .chain(status.init_container_statuses.iter().flatten())
        .cloned()
        .collect();
    let mut phase = phase::phase(pod, &all, inputs.terminal, phase::any_regular_started(pod, observed)).to_owned();
    // A pod that is over stays over.
    for known in [old.phase.as_deref().unwrap_or_default(), pod::phase(pod)] {
        if pod::is_terminal(known) && !pod::is_terminal(&phase) {
            phase = known.to_owned();
        }
    }
    if pod::is_terminal(pod::phase(pod)) {
        phase = pod::phase(pod).to_owned();
    }
    if old.phase.as_deref() == Some(&phase) {
        let api = pod.status.as_ref();
        status.reason = old.reason.clone().or_else(|| api.and_then(|s| s.reason.clone()));
        status.message = old.message.clone().or_else(|| api.and_then(|s| s.message.clone()));
    }
    if let Some(verdict) = inputs.verdict {
        if !pod::is_terminal(pod::phase(pod)) {
            phase = "Failed".into();
        }
        status.reason = Some(verdict.reason.clone());
        status.message = Some(verdict.message.clone());
    }
    containers::apply_probes(inputs, &mut status);
    status.phase = Some(phase);
    status.conditions = Some(conditions::conditions(inputs, &status));
    addresses(inputs, &mut status);
    status.start_time =
        old.start_time.clone().or_else(|| pod.status.as_ref()?.start_time.clone()).or(Some(Time(inputs.now)));
    let generation = pod.metadata.generation.filter(|g| *g > 0);
    status.observed_generation = generation.max(old.observed_generation);
    // Fields that others write.
    if let Some(api) = &pod.status {
        status.nominated_node_name = api.nominated_node_name.clone();
        status.resource_claim_statuses = api.resource_claim_statuses.clone();
        status.extended_resource_claim_status = api.extended_resource_claim_status.clone();
        status.node_allocatable_resource_claim_statuses = api.node_allocatable_resource_claim_statuses.clone();
        status.resize = api.resize.clone();
    }
    status
}

fn addresses(inputs: &Inputs, status: &mut PodStatus) {
    // A pod that is being ended keeps the address it had: its endpoints and its logs name it.
    let mut ips: Vec<String> = inputs.observed.ips().to_vec();
    if ips.is_empty() && !inputs.observed.sandboxes.is_empty() {
        ips = inputs.old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    }
    if let Some(first) = inputs.host_ips.first() {
        status.host_ip = Some(first.clone());
        status.host_ips = Some(inputs.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
        if pod::host_network(inputs.pod) && ips.is_empty() {
            ips = inputs.host_ips.to_vec();
        }
    }
    status.pod_ip = ips.first().cloned();
    status.pod_ips = (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect());
}

#[cfg(test)]
mod tests;
