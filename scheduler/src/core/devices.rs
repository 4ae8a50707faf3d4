//! What the informers report of devices: claims, slices and classes.

use std::time::Instant;

use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};

use super::Core;
use crate::framework::events::{Action, Change, Event};

impl Core {
    /// A claim for devices came or changed.
    pub fn resource_claim_changed(&mut self, claim: ResourceClaim, now: Instant) {
        let (old, new) = self.cache.snapshot().devices.show_claim(claim);
        let action = if old.is_some() { Action::RESOURCE_CLAIM_UPDATE } else { Action::RESOURCE_CLAIM_ADD };
        self.wake(&Event { action, change: Change::ResourceClaim { old, new } }, now, &|_| true);
    }

    /// A driver offers devices, or others than before.
    pub fn resource_slice_changed(&mut self, slice: &ResourceSlice, now: Instant) {
        self.cache.snapshot().devices.show_slice(slice);
        self.wake(&Event { action: Action::RESOURCE_SLICE, change: Change::ResourceSlice }, now, &|_| true);
    }

    /// A class of devices came or changed.
    pub fn device_class_changed(&mut self, class: DeviceClass, now: Instant) {
        let (old, new) = self.cache.snapshot().devices.show_class(class);
        let action = if old.is_some() { Action::DEVICE_CLASS_UPDATE } else { Action::DEVICE_CLASS_ADD };
        self.wake(&Event { action, change: Change::DeviceClass { old, new } }, now, &|_| true);
    }
}
