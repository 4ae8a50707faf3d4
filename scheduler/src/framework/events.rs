//! Changes in the cluster that may help a pod which found no node.
//!
//! A plugin names the changes that can turn its refusal, and for each change says whether it helps this very pod; all
//! other pods stay where they are (`framework/events.go`, the queueing hints).

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::PersistentVolumeClaim,
    resource::v1::{DeviceClass, ResourceClaim},
    storage::v1::{CSIDriver, CSINode, StorageClass},
};

use crate::cache::{
    Snapshot,
    node::NodeObject,
    pod::PodInfo,
    volumes::{Attachment, Capacity, Volume},
};

/// Kinds of change, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action(pub u64);

#[allow(missing_docs, reason = "upstream's names of actions, one bit each")]
impl Action {
    pub const POD_ADD: Self = Self(1);
    pub const POD_DELETE: Self = Self(1 << 1);
    pub const POD_UPDATE_LABEL: Self = Self(1 << 2);
    pub const POD_UPDATE_SCALE_DOWN: Self = Self(1 << 3);
    pub const POD_UPDATE_TOLERATION: Self = Self(1 << 4);
    pub const POD_UPDATE_GATES_ELIMINATED: Self = Self(1 << 5);
    pub const POD_UPDATE_OTHER: Self = Self(1 << 6);
    pub const POD_UPDATE_GENERATED_CLAIM: Self = Self(1 << 7);
    pub const NODE_ADD: Self = Self(1 << 8);
    pub const NODE_DELETE: Self = Self(1 << 9);
    pub const NODE_UPDATE_ALLOCATABLE: Self = Self(1 << 10);
    pub const NODE_UPDATE_LABEL: Self = Self(1 << 11);
    pub const NODE_UPDATE_TAINT: Self = Self(1 << 12);
    pub const NODE_UPDATE_CONDITION: Self = Self(1 << 13);
    pub const NODE_UPDATE_ANNOTATION: Self = Self(1 << 14);
    pub const CLAIM_ADD: Self = Self(1 << 16);
    pub const CLAIM_UPDATE: Self = Self(1 << 17);
    pub const VOLUME_ADD: Self = Self(1 << 18);
    pub const VOLUME_UPDATE: Self = Self(1 << 19);
    pub const CLASS_ADD: Self = Self(1 << 20);
    pub const CLASS_UPDATE: Self = Self(1 << 21);
    pub const CSI_NODE_ADD: Self = Self(1 << 22);
    pub const CSI_NODE_UPDATE: Self = Self(1 << 23);
    pub const CSI_DRIVER_UPDATE: Self = Self(1 << 24);
    pub const CAPACITY_ADD: Self = Self(1 << 25);
    pub const CAPACITY_UPDATE: Self = Self(1 << 26);
    pub const ATTACHMENT_DELETE: Self = Self(1 << 27);
    pub const RESOURCE_CLAIM_ADD: Self = Self(1 << 32);
    pub const RESOURCE_CLAIM_UPDATE: Self = Self(1 << 33);
    pub const DEVICE_CLASS_ADD: Self = Self(1 << 34);
    pub const DEVICE_CLASS_UPDATE: Self = Self(1 << 35);
    pub const RESOURCE_SLICE: Self = Self(1 << 36);
    /// Everything: the periodic retry.
    pub const ANY: Self = Self(u64::MAX);

    /// Both.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether they have a change in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The object that changed; `None` where there was none before, or is none after.
#[derive(Clone, Debug)]
pub enum Change {
    /// A pod.
    Pod {
        /// Before.
        old: Option<Arc<PodInfo>>,
        /// After.
        new: Option<Arc<PodInfo>>,
    },
    /// A node.
    Node {
        /// Before.
        old: Option<Arc<NodeObject>>,
        /// After.
        new: Option<Arc<NodeObject>>,
    },
    /// A PersistentVolumeClaim.
    Claim {
        /// Before.
        old: Option<Arc<PersistentVolumeClaim>>,
        /// After.
        new: Option<Arc<PersistentVolumeClaim>>,
    },
    /// A PersistentVolume.
    Volume {
        /// Before.
        old: Option<Arc<Volume>>,
        /// After.
        new: Option<Arc<Volume>>,
    },
    /// A StorageClass.
    Class {
        /// Before.
        old: Option<Arc<StorageClass>>,
        /// After.
        new: Option<Arc<StorageClass>>,
    },
    /// What storage drivers say of a node.
    CsiNode {
        /// Before.
        old: Option<Arc<CSINode>>,
        /// After.
        new: Option<Arc<CSINode>>,
    },
    /// A storage driver.
    CsiDriver {
        /// Before.
        old: Option<Arc<CSIDriver>>,
        /// After.
        new: Option<Arc<CSIDriver>>,
    },
    /// How much storage there is.
    Capacity {
        /// Before.
        old: Option<Arc<Capacity>>,
        /// After.
        new: Option<Arc<Capacity>>,
    },
    /// A volume's attachment to a node.
    Attachment {
        /// Before.
        old: Option<Arc<Attachment>>,
        /// After.
        new: Option<Arc<Attachment>>,
    },
    /// A claim for devices.
    ResourceClaim {
        /// Before.
        old: Option<Arc<ResourceClaim>>,
        /// After.
        new: Arc<ResourceClaim>,
    },
    /// A class of devices.
    DeviceClass {
        /// Before.
        old: Option<Arc<DeviceClass>>,
        /// After.
        new: Arc<DeviceClass>,
    },
    /// Devices that a driver offers.
    ResourceSlice,
    /// Nothing particular: every pod that waited long enough is tried again.
    Flush,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub action: Action,
    /// To what.
    pub change: Change,
}

impl Event {
    /// What it is called in metrics.
    pub fn label(&self) -> &'static str {
        let assigned = match &self.change {
            Change::Pod { old, new } => [new, old].into_iter().flatten().next().is_some_and(|pod| pod.is_assigned()),
            _ => false,
        };
        match (self.action, assigned) {
            (Action::POD_ADD, true) => "AssignedPodAdd",
            (Action::POD_ADD, false) => "UnschedulablePodAdd",
            (Action::POD_DELETE, true) => "AssignedPodDelete",
            (Action::POD_DELETE, false) => "UnschedulablePodDelete",
            (Action::POD_UPDATE_LABEL, true) => "AssignedPodUpdatePodLabel",
            (Action::POD_UPDATE_LABEL, false) => "UnschedulablePodUpdatePodLabel",
            (Action::POD_UPDATE_SCALE_DOWN, true) => "AssignedPodUpdatePodScaleDown",
            (Action::POD_UPDATE_SCALE_DOWN, false) => "UnschedulablePodUpdatePodScaleDown",
            (Action::POD_UPDATE_TOLERATION, true) => "AssignedPodUpdatePodToleration",
            (Action::POD_UPDATE_TOLERATION, false) => "UnschedulablePodUpdatePodToleration",
            (Action::POD_UPDATE_GATES_ELIMINATED, _) => "UnschedulablePodUpdatePodSchedulingGatesEliminated",
            (Action::POD_UPDATE_OTHER, true) => "AssignedPodUpdate",
            (Action::POD_UPDATE_OTHER, false) => "UnschedulablePodUpdate",
            (Action::NODE_ADD, _) => "NodeAdd",
            (Action::NODE_DELETE, _) => "NodeDelete",
            (Action::NODE_UPDATE_ALLOCATABLE, _) => "NodeUpdateNodeAllocatable",
            (Action::NODE_UPDATE_LABEL, _) => "NodeUpdateNodeLabel",
            (Action::NODE_UPDATE_TAINT, _) => "NodeUpdateNodeTaint",
            (Action::NODE_UPDATE_CONDITION, _) => "NodeUpdateNodeCondition",
            (Action::NODE_UPDATE_ANNOTATION, _) => "NodeUpdateNodeAnnotation",
            (Action::CLAIM_ADD, _) => "PersistentVolumeClaimAdd",
            (Action::CLAIM_UPDATE, _) => "PersistentVolumeClaimUpdate",
            (Action::VOLUME_ADD, _) => "PersistentVolumeAdd",
            (Action::VOLUME_UPDATE, _) => "PersistentVolumeUpdate",
            (Action::CLASS_ADD, _) => "storage.k8s.io/StorageClassAdd",
            (Action::CLASS_UPDATE, _) => "storage.k8s.io/StorageClassUpdate",
            (Action::CSI_NODE_ADD, _) => "storage.k8s.io/CSINodeAdd",
            (Action::CSI_NODE_UPDATE, _) => "storage.k8s.io/CSINodeUpdate",
            (Action::CSI_DRIVER_UPDATE, _) => "storage.k8s.io/CSIDriverUpdate",
            (Action::CAPACITY_ADD, _) => "storage.k8s.io/CSIStorageCapacityAdd",
            (Action::CAPACITY_UPDATE, _) => "storage.k8s.io/CSIStorageCapacityUpdate",
            (Action::ATTACHMENT_DELETE, _) => "storage.k8s.io/VolumeAttachmentDelete",
            _ => "UnschedulableTimeout",
        }
    }

    /// A pod left a node (or the node was nominated for it, or its binding failed).
    pub fn pod_deleted(pod: Arc<PodInfo>) -> Self {
        Self { action: Action::POD_DELETE, change: Change::Pod { old: Some(pod), new: None } }
    }

    /// A pod appeared on a node.
    pub fn pod_added(pod: Arc<PodInfo>) -> Self {
        Self { action: Action::POD_ADD, change: Change::Pod { old: None, new: Some(pod) } }
    }
}

/// The events in a pod's update, one for each thing that changed.
pub fn pod_events(old: &Arc<PodInfo>, new: &Arc<PodInfo>) -> Vec<Event> {
    let (before, after) = (&old.shape.shape, &new.shape.shape);
    let mut actions = Vec::new();
    if before.labels != after.labels {
        actions.push(Action::POD_UPDATE_LABEL);
    }
    if after.requests.any_less_than(&before.requests) {
        actions.push(Action::POD_UPDATE_SCALE_DOWN);
    }
    if new.gates.is_empty() && !old.gates.is_empty() {
        actions.push(Action::POD_UPDATE_GATES_ELIMINATED);
    }
    if before.tolerations.len() != after.tolerations.len() {
        actions.push(Action::POD_UPDATE_TOLERATION);
    }
    let told = |pod: &PodInfo| pod.claims.as_ref().map(|claims| claims.told.clone()).unwrap_or_default();
    if told(old) != told(new) {
        actions.push(Action::POD_UPDATE_GENERATED_CLAIM);
    }
    if actions.is_empty() {
        actions.push(Action::POD_UPDATE_OTHER);
    }
    let change = Change::Pod { old: Some(old.clone()), new: Some(new.clone()) };
    actions.into_iter().map(|action| Event { action, change: change.clone() }).collect()
}

/// The events in a node's update.
pub fn node_events(old: &Arc<NodeObject>, new: &Arc<NodeObject>) -> Vec<Event> {
    let mut actions = Vec::new();
    if old.unschedulable && !new.unschedulable {
        actions.push(Action::NODE_UPDATE_TAINT);
    }
    if old.allocatable != new.allocatable || old.allowed_pods != new.allowed_pods {
        actions.push(Action::NODE_UPDATE_ALLOCATABLE);
    }
    if old.labels != new.labels {
        actions.push(Action::NODE_UPDATE_LABEL);
    }
    if old.taints != new.taints {
        actions.push(Action::NODE_UPDATE_TAINT);
    }
    if old.conditions_digest != new.conditions_digest {
        actions.push(Action::NODE_UPDATE_CONDITION);
    }
    if old.annotations_digest != new.annotations_digest {
        actions.push(Action::NODE_UPDATE_ANNOTATION);
    }
    actions.dedup();
    let change = Change::Node { old: Some(old.clone()), new: Some(new.clone()) };
    actions.into_iter().map(|action| Event { action, change: change.clone() }).collect()
}

/// Whether an event helps a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Try the pod again.
    Queue,
    /// It changes nothing for the pod.
    Skip,
}

impl From<bool> for Hint {
    fn from(helps: bool) -> Self {
        if helps { Self::Queue } else { Self::Skip }
    }
}

/// What a hint may look at besides the pod and the event.
pub struct HintContext<'a> {
    /// The cluster.
    pub snapshot: &'a Snapshot,
}
