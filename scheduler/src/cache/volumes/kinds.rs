//! The kinds that the volume plugins look at: what is kept of each, and which event a change of it is.

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};
use kube::Resource;
use machinery::selector::LabelSelector;
use serde::de::DeserializeOwned;

use super::{Shelves, Volume};
use crate::{
    cache::resources::amount,
    framework::events::{Action, Change, Event},
};

/// A kind that is kept.
pub trait Stored: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static {
    /// What is kept of an object.
    type Kept: Send + Sync;
    /// Makes it of the object.
    fn keep(self) -> Self::Kept;
    /// Puts it where it belongs, or takes it away; returns what was there.
    fn show(shelves: &mut Shelves, key: &str, object: Option<Arc<Self::Kept>>) -> Option<Arc<Self::Kept>>;
    /// The event that a change is, if it is one.
    fn event(old: Option<Arc<Self::Kept>>, new: Option<Arc<Self::Kept>>) -> Option<Event>;
    /// The keys of all objects.
    fn keys(shelves: &Shelves) -> Vec<Arc<str>>;
    /// `namespace/name`, or the name.
    fn key(&self) -> String {
        let meta = self.meta();
        let name = meta.name.as_deref().unwrap_or_default();
        meta.namespace.as_ref().map_or_else(|| name.to_owned(), |namespace| super::claim_key(namespace, name))
    }
}

/// An object that came, changed or went, by the actions that these are.
fn event<T>(
    old: Option<Arc<T>>,
    new: Option<Arc<T>>,
    [add, update, delete]: [Action; 3],
    change: fn(Option<Arc<T>>, Option<Arc<T>>) -> Change,
) -> Option<Event> {
    let action = match (&old, &new) {
        (None, Some(_)) => add,
        (Some(_), Some(_)) => update,
        (Some(_), None) => delete,
        (None, None) => return None,
    };
    (action != Action(0)).then(|| Event { action, change: change(old, new) })
}

const NONE: Action = Action(0);

fn put<T>(into: &mut HashMap<Arc<str>, Arc<T>>, key: &str, object: Option<Arc<T>>) -> Option<Arc<T>> {
    match object {
        Some(object) => into.insert(Arc::from(key), object),
        None => into.remove(key),
    }
}

impl Stored for PersistentVolumeClaim {
    type Kept = Self;
    fn keep(mut self) -> Self {
        self.metadata.managed_fields = None;
        self
    }
    fn show(shelves: &mut Shelves, key: &str, object: Option<Arc<Self>>) -> Option<Arc<Self>> {
        shelves.claims.show(key, object)
    }
    fn event(old: Option<Arc<Self>>, new: Option<Arc<Self>>) -> Option<Event> {
        let change = |old, new| Change::Claim { old, new };
        event(old, new, [Action::CLAIM_ADD, Action::CLAIM_UPDATE, NONE], change)
    }
    fn keys(shelves: &Shelves) -> Vec<Arc<str>> {
        shelves.claims.keys().cloned().collect()
    }
}

impl Stored for PersistentVolume {
    type Kept = Volume;
    fn keep(mut self) -> Volume {
        self.metadata.managed_fields = None;
        Volume::new(self)
    }
    fn show(shelves: &mut Shelves, key: &str, object: Option<Arc<Volume>>) -> Option<Arc<Volume>> {
        shelves.show_volume(key, object)
    }
    fn event(old: Option<Arc<Volume>>, new: Option<Arc<Volume>>) -> Option<Event> {
        let change = |old, new| Change::Volume { old, new };
        event(old, new, [Action::VOLUME_ADD, Action::VOLUME_UPDATE, NONE], change)
    }
    fn keys(shelves: &Shelves) -> Vec<Arc<str>> {
        shelves.volumes.keys().cloned().collect()
    }
}

impl Stored for StorageClass {
    type Kept = Self;
    fn keep(mut self) -> Self {
        self.metadata.managed_fields = None;
        self
    }
    fn show(shelves: &mut Shelves, key: &str, object: Option<Arc<Self>>) -> Option<Arc<Self>> {
        put(&mut shelves.classes, key, object)
    }
    fn event(old: Option<Arc<Self>>, new: Option<Arc<Self>>) -> Option<Event> {
        let change = |old, new| Change::Class { old, new };
        event(old, new, [Action::CLASS_ADD, Action::CLASS_UPDATE, NONE], change)
    }
    fn keys(shelves: &Shelves) -> Vec<Arc<str>> {
        shelves.classes.keys().cloned().collect()
    }
}

impl Stored for CSINode {
    type Kept = Self;
    fn keep(mut self) -> Self {
        self.metadata.managed_fields = None;
        self
    }
    fn show(shelves: &mut Shelves, key: &str, object: Option<Arc<Self>>) -> Option<Arc<Self>> {
        put(&mut shelves.csi_nodes, key, object)
    }
    fn event(old: Option<Arc<Self>>, new: Option<Arc<Self>>) -> Option<Event> {
        let change = |old, new| Change::CsiNode { old, new };
        event(old, new, [Action::CSI_NODE_ADD, Action::CSI_NODE_UPDATE, NONE], change)
    }
    fn keys(shelves: &Shelves) -> Vec<Arc<str>> {
        shelves.csi_nodes.keys().cloned().collect()
    }
}

impl Stored for CSIDriver {
    type Kept = Self;
    fn keep(mut self) -> Self {
        self.metadata.managed_fields = None;
        self
    }
    fn show(shelves: &mut Shelves, key: &str, object: Option<Arc<Self>>) -> Option<Arc<Self>> {
        put(&mut shelves.drivers, key, object)
    }
    fn event(old: Option<Arc<Self>>, new: Option<Arc<Self>>) -> Option<Event> {
        let change = |old, new| Change::CsiDriver { old, new };
        event(old, new, [NONE, Action::CSI_DRIVER_UPDATE, NONE], change)
    }
    fn keys(shelves: &Shelves) -> Vec<Arc<str>> {
        shelves.drivers.keys().cloned().collect()
    }
}

/// How much storage of a class some nodes can have.
#[derive(Debug)]
pub struct Capacity {
    /// The class.
    pub class: Arc<str>,
    /// The largest volume that can be made, in bytes; `None`: not known, so none.
    pub limit: Option<i64>,
    /// The nodes; `None`: none.
    pub nodes: Option<LabelSelector>,
}

impl Stored for CSIStorageCapacity {
    type Kept = Capacity;
    fn keep(self) -> Capacity {
        let limit = self.maximum_volume_size.as_ref().or(self.capacity.as_ref());
        let nodes = self.node_topology.and_then(|selector| serde_json::to_value(selector).ok());
        Capacity {
            class: Arc::from(self.storage_class_name),
            limit: limit.map(|limit| amount(limit, false)),
            nodes: nodes.and_then(|selector| LabelSelector::from_value(Some(&selector)).ok()),
        }
    }
    fn show(shelves: &mut Shelves, key: &str, object: Option<Arc<Capacity>>) -> Option<Arc<Capacity>> {
        put(&mut shelves.capacities, key, object)
    }
    fn event(old: Option<Arc<Capacity>>, new: Option<Arc<Capacity>>) -> Option<Event> {
        let change = |old, new| Change::Capacity { old, new };
        event(old, new, [Action::CAPACITY_ADD, Action::CAPACITY_UPDATE, NONE], change)
    }
    fn keys(shelves: &Shelves) -> Vec<Arc<str>> {
        shelves.capacities.keys().cloned().collect()
    }
}

/// A volume attached to a node, or being so.
#[derive(Debug)]
pub struct Attachment {
    /// The driver; empty if none is named.
    pub attacher: Arc<str>,
    /// The volume; empty for one without an object.
    pub volume: Arc<str>,
    /// The node.
    pub node: Arc<str>,
}

impl Stored for VolumeAttachment {
    type Kept = Attachment;
    fn keep(self) -> Attachment {
        Attachment {
            attacher: Arc::from(self.spec.attacher),
            volume: Arc::from(self.spec.source.persistent_volume_name.unwrap_or_default()),
            node: Arc::from(self.spec.node_name),
        }
    }
    fn show(shelves: &mut Shelves, key: &str, object: Option<Arc<Attachment>>) -> Option<Arc<Attachment>> {
        shelves.show_attachment(key, object)
    }
    fn event(old: Option<Arc<Attachment>>, new: Option<Arc<Attachment>>) -> Option<Event> {
        let change = |old, new| Change::Attachment { old, new };
        event(old, new, [NONE, NONE, Action::ATTACHMENT_DELETE], change)
    }
    fn keys(shelves: &Shelves) -> Vec<Arc<str>> {
        shelves.attachments.keys().cloned().collect()
    }
}
