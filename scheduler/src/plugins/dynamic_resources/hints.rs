//! Which changes may help a pod whose claims could not be had.

use super::asked;
use crate::{
    cache::pod::PodInfo,
    devices::Devices,
    framework::events::{Action, Change, Event, Hint},
};

pub(super) const EVENTS: Action = Action::NODE_ADD
    .or(Action::NODE_UPDATE_LABEL)
    .or(Action::NODE_UPDATE_ALLOCATABLE)
    .or(Action::RESOURCE_CLAIM_ADD)
    .or(Action::RESOURCE_CLAIM_UPDATE)
    .or(Action::POD_UPDATE_GENERATED_CLAIM)
    .or(Action::DEVICE_CLASS_ADD)
    .or(Action::DEVICE_CLASS_UPDATE)
    .or(Action::RESOURCE_SLICE);

pub(super) fn hint(devices: &Devices, pod: &PodInfo, event: &Event) -> Hint {
    match &event.change {
        Change::ResourceClaim { old, new } => {
            let Ok(claims) = asked::claims(devices, pod) else { return Hint::Skip };
            let has = |claim: &k8s_openapi::api::resource::v1::ResourceClaim| {
                claim.status.as_ref().is_some_and(|status| status.allocation.is_some())
            };
            let Some(old) = old else {
                return Hint::from(claims.iter().any(|claim| claim.metadata.uid == new.metadata.uid));
            };
            // What one gives back, others can have.
            if has(old) && !has(new) {
                return Hint::Queue;
            }
            let is_own = claims.iter().any(|claim| claim.metadata.uid == new.metadata.uid);
            Hint::from(is_own && old.status != new.status)
        }
        Change::Pod { new: Some(new), .. } => Hint::from(new.uid == pod.uid && asked::claims(devices, new).is_ok()),
        _ => Hint::Queue,
    }
}
