//! What is written of claims: devices and who uses them before a pod is bound; what is taken back if it is not; what is
//! given up so that a pod can find other devices.

use std::{sync::Arc, time::Duration};

use devices::{FINALIZER, entries, entries::full_name};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::Pod,
        resource::v1::{AllocationResult, ResourceClaim},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::state::{Kept, Slot, allocation};
use crate::framework::extension::Binding;

/// How often a write is tried that loses against another one.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

fn api(client: &Client, claim: &ResourceClaim) -> Api<ResourceClaim> {
    Api::namespaced(client.clone(), claim.metadata.namespace.as_deref().unwrap_or_default())
}

fn name(claim: &ResourceClaim) -> &str {
    claim.metadata.name.as_deref().unwrap_or_default()
}

/// What went wrong, and whether it was that somebody else wrote.
struct Fault {
    why: String,
    is_conflict: bool,
}

impl Fault {
    fn new(why: String) -> Self {
        Self { why, is_conflict: false }
    }

    fn of(what: &str, claim: &ResourceClaim, error: &kube::Error) -> Self {
        let claim = full_name(&claim.metadata);
        Self { why: format!("{what} {claim}: {}", client::message(error)), is_conflict: client::is_conflict(error) }
    }
}

/// Gives the pod's claims their devices, and the pod to them.
pub(super) async fn bind(kept: &Kept, binding: &Binding) -> Result<(), String> {
    for (index, slot) in kept.slots().into_iter().enumerate() {
        if entries::is_reserved_for(&binding.pod.uid, &slot.claim) {
            continue;
        }
        let bound = bind_one(kept, binding, index, slot).await?;
        kept.change(index, |slot| slot.claim = bound);
    }
    Ok(())
}

async fn bind_one(kept: &Kept, binding: &Binding, index: usize, slot: Slot) -> Result<Arc<ResourceClaim>, String> {
    kept.change(index, |slot| slot.is_touched = true);
    let mut claim = (*slot.claim).clone();
    if slot.is_extended && claim.metadata.resource_version.is_none() {
        claim.metadata.uid = None;
        let made = api(&binding.client, &claim).create(&PostParams::default(), &claim).await;
        binding.metrics.claim_made(made.is_ok());
        claim = made.map_err(|e| {
            format!("create claim for extended resources {}: {}", full_name(&claim.metadata), client::message(&e))
        })?;
        // From here on it is there to be deleted.
        kept.change(index, |slot| slot.claim = Arc::new(claim.clone()));
    }
    let api = api(&binding.client, &claim);
    for attempt in 1.. {
        if attempt > 1 {
            tokio::time::sleep(PAUSE).await;
            let latest = api.get(name(&claim)).await;
            claim = latest.map_err(|e| {
                let claim = full_name(&claim.metadata);
                format!("get updated claim {claim} after conflict: {}", client::message(&e))
            })?;
        }
        match give(&api, claim.clone(), slot.allocation.as_ref(), binding).await {
            Ok(written) => {
                claim = written;
                break;
            }
            Err(fault) if fault.is_conflict && attempt < TRIES => {}
            Err(fault) => return Err(fault.why),
        }
    }
    // The allocation is the claim's own before it is nobody's in flight.
    kept.devices.assume(claim.clone());
    kept.land(index);
    if slot.is_extended {
        tell(kept, binding, name(&claim)).await?;
    }
    Ok(Arc::new(claim))
}

async fn give(
    api: &Api<ResourceClaim>,
    mut claim: ResourceClaim,
    devices: Option<&AllocationResult>,
    binding: &Binding,
) -> Result<ResourceClaim, Fault> {
    let full = full_name(&claim.metadata);
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Fault::new(format!("claim {full} got deleted in the meantime")));
    }
    if let Some(devices) = devices {
        if allocation(&claim).is_some() {
            return Err(Fault::new(format!("claim {full} got allocated elsewhere in the meantime")));
        }
        if !claim.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER) {
            claim.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
            let written = api.replace(name(&claim), &PostParams::default(), &claim).await;
            claim = written.map_err(|e| Fault::of("add finalizer to claim", &claim, &e))?;
        }
        claim.status.get_or_insert_default().allocation = Some(devices.clone());
    }
    let status = claim.status.get_or_insert_default();
    let Some(given) = &mut status.allocation else {
        return Err(Fault::new(format!("claim {full} got deallocated elsewhere in the meantime")));
    };
    // In whole seconds, as the API has times.
    let now = || Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    given.allocation_timestamp.get_or_insert_with(|| Time(now()));
    let pod = &binding.pod;
    status.reserved_for.get_or_insert_default().push(entries::consumer(&pod.name, &pod.uid));
    let written = api.replace_status(name(&claim), &PostParams::default(), &claim).await;
    written.map_err(|e| {
        let what =
            if devices.is_some() { "add allocation and reservation to claim" } else { "add reservation to claim" };
        Fault::of(what, &claim, &e)
    })
}

/// Tells the pod which claim was made for its extended resources, and what each container has of it.
async fn tell(kept: &Kept, binding: &Binding, claim: &str) -> Result<(), String> {
    let pod = &binding.pod;
    let what = format!("pod {} ExtendedResourceClaimStatus", pod.key());
    if kept.mappings.is_empty() {
        return Err(format!("nil or empty request mappings, no update of {what}"));
    }
    let status = json!({"resourceClaimName": claim, "requestMappings": kept.mappings});
    let patch = json!({"metadata": {"uid": &*pod.uid}, "status": {"extendedResourceClaimStatus": status}});
    let api: Api<Pod> = Api::namespaced(binding.client.clone(), &pod.namespace);
    let told = api.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
    told.map(drop).map_err(|e| format!("update {what}: {}", client::message(&e)))
}

/// Takes back what was written for a pod that was not bound. A claim that was written last may or may not have it: the
/// server is asked.
pub(super) async fn undo(kept: &Kept, binding: &Binding) {
    for (index, slot) in kept.slots().into_iter().enumerate() {
        if !slot.is_touched {
            continue;
        }
        if let Err(error) = undo_one(kept, binding, &slot).await {
            // It is tried again with the pod.
            let claim = full_name(&slot.claim.metadata);
            tracing::error!(claim, error = client::message(&error), "could not take a claim back");
        }
        kept.land(index);
    }
}

async fn undo_one(kept: &Kept, binding: &Binding, slot: &Slot) -> kube::Result<()> {
    if slot.claim.metadata.resource_version.is_none() {
        return Ok(());
    }
    let api = api(&binding.client, &slot.claim);
    if slot.is_extended {
        return delete(&api, (*slot.claim).clone()).await;
    }
    let Some(latest) = api.get_opt(name(&slot.claim)).await? else { return Ok(()) };
    let same = latest.metadata.uid == slot.claim.metadata.uid;
    let is_reserved = same && entries::is_reserved_for(&binding.pod.uid, &latest);
    kept.devices.assume(latest);
    if is_reserved {
        let gone = json!({"$patch": "delete", "uid": &*binding.pod.uid});
        let patch = json!({"metadata": {"uid": slot.claim.metadata.uid}, "status": {"reservedFor": [gone]}});
        let patch = Patch::Strategic(patch);
        let written = api.patch_status(name(&slot.claim), &PatchParams::default(), &patch).await?;
        kept.devices.assume(written);
    }
    Ok(())
}

/// Deletes a claim, without its finalizer.
async fn delete(api: &Api<ResourceClaim>, mut claim: ResourceClaim) -> kube::Result<()> {
    for attempt in 1.. {
        if attempt > 1 {
            tokio::time::sleep(PAUSE).await;
            let Some(latest) = api.get_opt(name(&claim)).await? else { return Ok(()) };
            claim = latest;
        }
        claim.metadata.finalizers.get_or_insert_default().retain(|finalizer| finalizer != FINALIZER);
        match api.replace(name(&claim), &PostParams::default(), &claim).await {
            Err(e) if client::is_conflict(&e) && attempt < TRIES => {}
            Err(e) if client::is_not_found(&e) => return Ok(()),
            written => {
                written?;
                break;
            }
        }
    }
    match api.delete(name(&claim), &DeleteParams::default()).await {
        Err(e) if !client::is_not_found(&e) => Err(e),
        _ => Ok(()),
    }
}

/// Gives up the devices of a claim that nobody else uses, or the claim itself, so that a pod can find others.
pub async fn give_up(client: &Client, claim: &ResourceClaim, deletes: bool) -> kube::Result<()> {
    let api = api(client, claim);
    if deletes {
        return delete(&api, claim.clone()).await;
    }
    let mut claim = claim.clone();
    let status = claim.status.get_or_insert_default();
    (status.reserved_for, status.allocation, status.devices) = (None, None, None);
    api.replace_status(name(&claim), &PostParams::default(), &claim).await.map(drop)
}
