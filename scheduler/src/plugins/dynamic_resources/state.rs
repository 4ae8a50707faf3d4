//! What is known of a pod's claims within a cycle, and what is kept of it until the pod is bound.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::ContainerExtendedResourceRequest,
    resource::v1::{AllocationResult, DeviceRequest, ResourceClaim},
};
use parking_lot::Mutex;

use crate::{
    cache::labels::NodeTerm,
    devices::{Devices, View},
};

/// A claim of the pod. The one for its extended resources comes last.
pub(super) struct Wanted {
    pub(super) claim: Arc<ResourceClaim>,
    pub(super) is_extended: bool,
    /// Where the devices are that it has; none: everywhere.
    pub(super) nodes: Option<Vec<NodeTerm>>,
}

impl Wanted {
    /// The devices that it has.
    pub(super) fn allocation(&self) -> Option<&AllocationResult> {
        allocation(&self.claim)
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &DeviceRequest> {
        self.claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten())
    }

    /// Whether the server knows it: the one for extended resources is only thought up at first.
    pub(super) fn is_written(&self) -> bool {
        self.claim.metadata.resource_version.is_some()
    }
}

pub(super) fn allocation(claim: &ResourceClaim) -> Option<&AllocationResult> {
    claim.status.as_ref()?.allocation.as_ref()
}

/// What a node can give.
pub(super) struct Found {
    /// For the claims that have nothing, in order.
    pub(super) allocations: Vec<AllocationResult>,
    /// The claim for extended resources, as this node needs it.
    pub(super) extended: Option<Arc<ResourceClaim>>,
    /// Which container gets what of that.
    pub(super) mappings: Vec<ContainerExtendedResourceRequest>,
}

/// A pod's claims in a cycle.
#[derive(Default)]
pub(super) struct Cycled {
    pub(super) wanted: Vec<Wanted>,
    /// Where devices are looked for; none if all claims have theirs.
    pub(super) view: Option<View>,
    /// By the names of nodes.
    pub(super) found: Mutex<HashMap<Arc<str>, Arc<Found>>>,
    /// Claims whose devices some node can't reach, or that do not get ready.
    pub(super) unavailable: Mutex<BTreeSet<usize>>,
}

/// A claim that is about to be written.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) claim: Arc<ResourceClaim>,
    pub(super) is_extended: bool,
    /// What it is to be given; none if it has its devices.
    pub(super) allocation: Option<AllocationResult>,
    /// As which the devices are taken meanwhile.
    pub(super) in_flight: Option<String>,
    /// It was, or may have been, written.
    pub(super) is_touched: bool,
}

/// What Reserve set aside.
pub(super) struct Kept {
    pub(super) devices: Arc<Devices>,
    pub(super) mappings: Vec<ContainerExtendedResourceRequest>,
    slots: Mutex<Vec<Slot>>,
}

impl Kept {
    pub(super) fn new(devices: Arc<Devices>, found: Option<&Found>) -> Self {
        let mappings = found.map(|found| found.mappings.clone()).unwrap_or_default();
        Self { devices, mappings, slots: Mutex::default() }
    }

    pub(super) fn add(&self, claim: Arc<ResourceClaim>, allocation: Option<AllocationResult>, is_extended: bool) {
        let in_flight = allocation.as_ref().and_then(|_| claim.metadata.uid.clone());
        self.slots.lock().push(Slot { claim, is_extended, allocation, in_flight, is_touched: false });
    }

    pub(super) fn slots(&self) -> Vec<Slot> {
        self.slots.lock().clone()
    }

    pub(super) fn change(&self, index: usize, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.lock().get_mut(index) {
            change(slot);
        }
    }

    /// The devices of a claim are its own now, or nobody's.
    pub(super) fn land(&self, index: usize) {
        let mut uid = None;
        self.change(index, |slot| uid = slot.in_flight.take());
        if let Some(uid) = uid {
            self.devices.land(&uid);
        }
    }

    /// Gives back what was set aside for claims that nothing was written of.
    pub(super) fn land_unwritten(&self) {
        for (index, slot) in self.slots().into_iter().enumerate() {
            if !slot.is_touched {
                self.land(index);
            }
        }
    }
}
