//! Devices that have to be prepared before a pod can use them: its node waits for conditions that their drivers report.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::resource::v1::{AllocatedDeviceStatus, DeviceRequestAllocationResult, ResourceClaim},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use tokio::time::Instant;

use super::state::{Kept, allocation};
use crate::{events::Note, framework::extension::Binding};

/// How often it is looked at, even if nothing is heard.
const PERIOD: Duration = Duration::from_secs(5);

fn results(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let devices = allocation(claim).and_then(|allocation| allocation.devices.as_ref());
    devices.into_iter().flat_map(|devices| devices.results.iter().flatten())
}

fn has_conditions(result: &DeviceRequestAllocationResult) -> bool {
    result.binding_conditions.as_ref().is_some_and(|conditions| !conditions.is_empty())
}

/// The condition of that type, if it is true.
fn holding<'a>(device: &'a AllocatedDeviceStatus, name: &str) -> Option<&'a Condition> {
    device.conditions.iter().flatten().find(|condition| condition.type_ == name && condition.status == "True")
}

/// Whether all devices of an allocated claim are ready.
///
/// # Errors
/// One of them never will be.
pub(super) fn readiness(claim: &ResourceClaim) -> Result<bool, String> {
    if allocation(claim).is_none() {
        return Ok(false);
    }
    for result in results(claim).filter(|result| has_conditions(result)) {
        let reported = claim.status.iter().flat_map(|status| status.devices.iter().flatten());
        let device = reported.into_iter().find(|device| {
            (&device.driver, &device.pool, &device.device) == (&result.driver, &result.pool, &result.device)
        });
        let Some(device) = device else { return Ok(false) };
        if let Some(failed) = result.binding_failure_conditions.iter().flatten().find_map(|name| holding(device, name))
        {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let (reason, message) = (&failed.reason, &failed.message);
            return Err(format!("device binding failed: claim={name}, reason={reason}, message={message:?}"));
        }
        if !result.binding_conditions.iter().flatten().all(|name| holding(device, name).is_some()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a claim has waited too long.
pub(super) fn is_late(claim: &ResourceClaim, limit: Duration) -> bool {
    let since = allocation(claim).and_then(|allocation| allocation.allocation_timestamp.as_ref());
    let waits = results(claim).any(|result| result.binding_conditions.is_some());
    waits && since.is_some_and(|since| since.0 + limit < Timestamp::now())
}

/// Waits until the devices of all claims are ready, if there is anything to wait for.
///
/// # Errors
/// They are not, and will not be in time.
pub(super) async fn wait(kept: &Kept, binding: &Binding, limit: Duration) -> Result<(), String> {
    if !kept.slots().iter().any(|slot| results(&slot.claim).any(has_conditions)) {
        return Ok(());
    }
    binding.recorder.record(Note {
        pod: binding.pod.clone(),
        related: None,
        controller: binding.pod.scheduler_name.clone(),
        warning: false,
        reason: "BindingConditionsPending",
        action: "Scheduling",
        note: format!("waiting for binding conditions for device on node {}", binding.node_name),
    });
    let ready = async {
        loop {
            let mut changed = std::pin::pin!(kept.devices.claims_changed.notified());
            changed.as_mut().enable();
            if all_ready(kept, limit)? {
                return Ok::<(), String>(());
            }
            let _ = tokio::time::timeout(PERIOD, changed).await;
        }
    };
    let late = |_| Err("device binding timeout: context deadline exceeded".to_owned());
    let begun = Instant::now();
    let outcome = tokio::time::timeout(limit, ready).await.unwrap_or_else(late);
    count(kept, binding, &outcome, begun.elapsed());
    outcome
}

fn count(kept: &Kept, binding: &Binding, outcome: &Result<(), String>, took: Duration) {
    let status = match outcome {
        Ok(()) => "success",
        Err(why) if why.starts_with("device binding timeout") => "timeout",
        Err(why) if why.starts_with("device binding failed") => "failure",
        Err(_) => "error",
    };
    let slots = kept.slots();
    let drivers = slots.iter().flat_map(|slot| results(&slot.claim)).map(|result| result.driver.as_str());
    let conditioned = slots.iter().flat_map(|slot| results(&slot.claim)).filter(|result| has_conditions(result));
    let conditioned = conditioned.map(|result| result.driver.as_str());
    binding.metrics.prepared((&binding.pod.scheduler_name, status), drivers, conditioned, took);
}

fn all_ready(kept: &Kept, limit: Duration) -> Result<bool, String> {
    for (index, slot) in kept.slots().into_iter().enumerate() {
        let meta = &slot.claim.metadata;
        let (namespace, name) =
            (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        let latest = kept.devices.claim(namespace, name);
        let latest = latest.ok_or_else(|| format!("could not find resourceclaim \"{namespace}/{name}\""))?;
        kept.change(index, |slot| slot.claim = latest.clone());
        if !readiness(&latest)? {
            return match is_late(&latest, limit) {
                true => Err(format!("device binding timeout: claim={name}")),
                false => Ok(false),
            };
        }
    }
    Ok(true)
}
