//! What an evicted pod is told. Upstream: eviction/helpers.go, evictionMessage.

use super::{
    state::Observations,
    threshold::{Resource, Threshold},
    usage::Usage,
};
use crate::{pod, quantity};
use k8s_openapi::api::core::v1::Pod;

/// That something is short on the node, how short, and which of the pod's containers use more of it than they asked for.
pub(crate) fn node_low(
    resource: Resource,
    pod: &Pod,
    usage: Option<&Usage>,
    thresholds: &[Threshold],
    observations: &Observations,
) -> String {
    let name = resource.name();
    let mut message = format!("The node was low on resource: {name}. ");
    let met = thresholds
        .iter()
        .filter(|t| t.signal.resource() == resource)
        .find_map(|t| observations.get(&t.signal).map(|o| (t, o)));
    if let Some((threshold, observed)) = met {
        let limit = threshold.value.of(observed.capacity).canonical();
        let left = threshold.signal.show(observed.available);
        message += &format!("Threshold quantity: {limit}, available: {left}. ");
    }
    let Some(usage) = usage else { return message };
    let whole = pod::spec(pod).resources.as_ref().and_then(|r| r.requests.as_ref()).and_then(|r| r.get(name));
    if let Some(asked) = whole.filter(|_| resource == Resource::Memory) {
        message += &format!(
            "Pod {} was using {}, request is {}, has larger consumption of {name}. ",
            pod::name(pod),
            quantity::bytes(usage.working_set_bytes),
            asked.0
        );
    }
    for container in &usage.containers {
        let spec = pod::spec(pod);
        let found = spec.containers.iter().chain(pod::init_containers(pod)).find(|c| c.name == container.name);
        let Some(found) = found else { continue };
        let used = match resource {
            Resource::Memory => container.working_set_bytes,
            Resource::EphemeralStorage => container.root.bytes + container.logs.bytes,
            Resource::Inodes | Resource::Pids => continue,
        };
        let asked = quantity::request(&found.resources, name);
        if used > asked.map_or(0, quantity::value) {
            message += &format!(
                "Container {} was using {}, request is {}, has larger consumption of {name}. ",
                container.name,
                quantity::bytes(used),
                asked.map_or("0", |q| q.0.as_str())
            );
        }
    }
    message
}

/// A limit of the pod's own that it is over, as a message. `dedicated`: writable layers are not on the node's file system.
pub(crate) fn over_own_limit(pod: &Pod, usage: &Usage, dedicated: bool) -> Option<String> {
    over_volume(pod, usage).or_else(|| over_pod(pod, usage)).or_else(|| over_container(pod, usage, dedicated))
}

/// Whether any limit of its own could be reached: then its disk use has to be known.
pub(crate) fn has_own_limit(pod: &Pod) -> bool {
    let spec = pod::spec(pod);
    let sized = |v: &k8s_openapi::api::core::v1::Volume| v.empty_dir.as_ref().is_some_and(|e| e.size_limit.is_some());
    spec.volumes.iter().flatten().any(sized) || limit(pod).is_some()
}

fn over_volume(pod: &Pod, usage: &Usage) -> Option<String> {
    pod::spec(pod).volumes.iter().flatten().find_map(|volume| {
        let limit = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
        let used = usage.volumes.get(&volume.name)?;
        let over = quantity::value(limit) > 0 && used.bytes > quantity::value(limit);
        over.then(|| format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", volume.name, limit.0))
    })
}

fn over_pod(pod: &Pod, usage: &Usage) -> Option<String> {
    let limit = limit(pod)?;
    (usage.ephemeral_storage(pod).bytes > limit.value()).then(|| {
        format!("Pod ephemeral local storage usage exceeds the total limit of containers {}. ", limit.canonical())
    })
}

fn over_container(pod: &Pod, usage: &Usage, dedicated: bool) -> Option<String> {
    usage.containers.iter().find_map(|container| {
        let found = pod::spec(pod).containers.iter().find(|c| c.name == container.name)?;
        let limit = quantity::limit(&found.resources, "ephemeral-storage").filter(|l| quantity::value(l) != 0)?;
        let used = container.logs.bytes + if dedicated { 0 } else { container.root.bytes };
        (used > quantity::value(limit))
            .then(|| format!("Container {} exceeded its local ephemeral storage limit {:?}. ", container.name, limit.0))
    })
}

/// The sum of what limits there are; none if no container has one. Upstream: component-helpers/resource, PodLimits.
fn limit(pod: &Pod) -> Option<machinery::quantity::Quantity> {
    use machinery::quantity::Quantity;
    const NAME: &str = "ephemeral-storage";
    let of = |c: &k8s_openapi::api::core::v1::Container| {
        quantity::limit(&c.resources, NAME).and_then(|q| quantity::parse(&q.0))
    };
    let add = |a: Option<Quantity>, b: Option<Quantity>| match (a, b) {
        (Some(a), Some(b)) => Some(a.add(&b)),
        (a, b) => a.or(b),
    };
    let mut running = pod::spec(pod).containers.iter().map(of).fold(None, add);
    let (mut sidecars, mut peak) = (None, None);
    for container in pod::init_containers(pod) {
        let own = add(sidecars.clone(), of(container));
        if pod::is_sidecar(container) {
            running = add(running, of(container));
            sidecars.clone_from(&own);
        }
        peak = peak.max(own);
    }
    let overhead = pod::spec(pod).overhead.as_ref().and_then(|o| o.get(NAME)).and_then(|q| quantity::parse(&q.0));
    let sum = running.max(peak)?;
    Some(if sum.is_zero() { sum } else { overhead.map_or(sum.clone(), |more| sum.add(&more)) })
}
