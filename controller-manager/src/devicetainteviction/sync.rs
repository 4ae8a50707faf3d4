//! The decision: when a pod has to leave its devices.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        core::v1::Pod,
        resource::v1::{DeviceRequestAllocationResult, DeviceTaint, ResourceClaim},
    },
    jiff::{SignedDuration, Timestamp},
};

use super::pools::allocated_devices;
use crate::util::{
    key,
    pod_claims::{entries, is_for, named},
    pods,
};

/// The end of the shortest stay; none if the pod may stay for ever. Only a claim that is reserved for the pod counts.
pub(crate) fn of_pod(
    pod: &Pod,
    claim: impl Fn(&str) -> Option<Arc<ResourceClaim>>,
    taints: impl Fn(&DeviceRequestAllocationResult) -> Vec<DeviceTaint>,
) -> Option<Timestamp> {
    if pods::node_name(pod).is_empty() {
        return None;
    }
    let used = entries(pod).iter().filter_map(|entry| {
        let named = named(pod, entry).ok()??;
        let claim = claim(named.name)?;
        let its_own = !named.generated || is_for(pod, &claim).is_ok();
        (its_own && devices::entries::is_reserved_for(key::uid(&pod.metadata), &claim)).then_some(claim)
    });
    used.filter_map(|claim| of_claim(&claim, &taints)).min()
}

fn of_claim(
    claim: &ResourceClaim,
    taints: &impl Fn(&DeviceRequestAllocationResult) -> Vec<DeviceTaint>,
) -> Option<Timestamp> {
    allocated_devices(claim)
        .flat_map(|device| taints(device).into_iter().filter_map(|taint| of_taint(device, &taint)))
        .min()
}

/// When one taint ends the stay on a device; none if it is tolerated for ever.
fn of_taint(device: &DeviceRequestAllocationResult, taint: &DeviceTaint) -> Option<Timestamp> {
    let added = taint.time_added.as_ref()?.0;
    // Unlike where devices are chosen, a toleration of all effects does not do.
    let tolerating = device.tolerations.iter().flatten();
    let tolerating: Vec<_> =
        tolerating.filter(|t| t.effect.as_deref() == Some("NoExecute") && devices::tolerates(t, taint)).collect();
    if tolerating.iter().any(|toleration| toleration.toleration_seconds.is_none()) {
        return None;
    }
    let shortest = tolerating.iter().filter_map(|toleration| toleration.toleration_seconds).min();
    let stay = SignedDuration::from_secs(shortest.unwrap_or(0).max(0));
    Some(added.checked_add(stay).unwrap_or(Timestamp::MAX))
}
