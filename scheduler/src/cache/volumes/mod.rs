//! Claims, volumes, classes, and what storage drivers say of nodes: what the volume plugins decide on.
//!
//! The scheduling thread writes what the informers show; bindings under way read it to see what became of their claims,
//! and take decisions back. So it is behind a lock, which a cycle takes once a plugin and only for pods with volumes.

mod assumed;
mod kinds;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSIDriver, CSINode, StorageClass},
};
use machinery::selector::Labels;
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;
use volumes::{Reach, csi_migration, volume_class};

pub use self::{
    assumed::{Assumed, Versioned},
    kinds::{Attachment, Capacity, Stored},
};
use super::node::NodeObject;

/// The label with a node's host name.
pub const HOST_NAME: &str = "kubernetes.io/hostname";

/// A volume, with the nodes that reach it.
#[derive(Clone, Debug)]
pub struct Volume {
    /// The object.
    pub object: Arc<PersistentVolume>,
    /// Its node affinity, compiled.
    pub reach: Arc<Reach>,
    /// Of a former in-tree plugin's volume: the plugin, and the same by the labels of the driver that took over.
    migrated: Option<(&'static str, Arc<Reach>)>,
    /// The host names of the only nodes that may reach it; empty: it is not bound to host names.
    pub hosts: Arc<[String]>,
}

impl Volume {
    /// From the API's object.
    pub fn new(object: PersistentVolume) -> Self {
        let migrated = csi_migration::reach_by_driver(&object).map(|(plugin, reach)| (plugin, Arc::new(reach)));
        Self { reach: Arc::new(Reach::of(&object)), migrated, hosts: hosts(&object).into(), object: Arc::new(object) }
    }

    /// The same with another object, which says the same of nodes.
    pub fn with(&self, object: PersistentVolume) -> Self {
        Self { object: Arc::new(object), ..self.clone() }
    }

    /// The former plugin of which the volume is, if it matters to who reaches it.
    pub fn migrated(&self) -> Option<&'static str> {
        self.migrated.as_ref().map(|(plugin, _)| *plugin)
    }

    /// Whether a node with these labels reaches the volume; `by_driver`: a driver does the former plugin's work there.
    pub fn is_reached(&self, labels: &(impl Labels + ?Sized), by_driver: bool) -> bool {
        let migrated = self.migrated.as_ref().filter(|_| by_driver);
        migrated.map_or(&self.reach, |(_, reach)| reach).includes(labels)
    }

    /// metadata.name.
    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }
}

/// What a local volume says: one term that requires one of some host names.
fn hosts(volume: &PersistentVolume) -> Vec<String> {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    let [term] = affinity.map(|required| required.node_selector_terms.as_slice()).unwrap_or_default() else {
        return Vec::new();
    };
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let host = expressions.iter().find(|expression| expression.key == HOST_NAME && expression.operator == "In");
    host.and_then(|expression| expression.values.clone()).unwrap_or_default()
}

impl Versioned for Volume {
    fn version(&self) -> &str {
        self.object.metadata.resource_version.as_deref().unwrap_or_default()
    }
}

impl Versioned for PersistentVolumeClaim {
    fn version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }
}

/// `namespace/name`, the key of a claim.
pub fn claim_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// All that is known.
#[derive(Debug, Default)]
pub struct Shelves {
    /// Claims by `namespace/name`.
    pub claims: Assumed<PersistentVolumeClaim>,
    /// Volumes by name.
    pub volumes: Assumed<Volume>,
    by_class: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Storage classes by name.
    pub classes: HashMap<Arc<str>, Arc<StorageClass>>,
    /// What drivers say of a node, by its name.
    pub csi_nodes: HashMap<Arc<str>, Arc<CSINode>>,
    /// Drivers by name.
    pub drivers: HashMap<Arc<str>, Arc<CSIDriver>>,
    /// How much storage there is, by `namespace/name`.
    pub capacities: HashMap<Arc<str>, Arc<Capacity>>,
    attachments: HashMap<Arc<str>, Arc<Attachment>>,
    attached: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
}

/// On a node's CSINode: the former plugins whose work drivers do there.
pub const MIGRATED_PLUGINS: &str = "storage.alpha.kubernetes.io/migrated-plugins";

/// Whether a driver does that plugin's work on a node.
fn is_migrated(node: &CSINode, plugin: &str) -> bool {
    let plugins = node.metadata.annotations.as_ref().and_then(|annotations| annotations.get(MIGRATED_PLUGINS));
    plugins.is_some_and(|plugins| plugins.split(',').any(|name| name == plugin))
}

impl Shelves {
    /// Whether the node reaches the volume, by its driver's labels where that does the work there.
    pub fn reaches(&self, node: &NodeObject, volume: &Volume) -> bool {
        let by_driver = |plugin| self.csi_nodes.get(&node.name).is_some_and(|csi| is_migrated(csi, plugin));
        volume.is_reached(&node.labels, volume.migrated().is_some_and(by_driver))
    }

    /// The nodes on which a driver does the former plugin's work of which the volume is.
    pub fn by_driver(&self, volume: &Volume) -> HashSet<Arc<str>> {
        let Some(plugin) = volume.migrated() else { return HashSet::new() };
        self.csi_nodes.iter().filter(|(_, csi)| is_migrated(csi, plugin)).map(|(name, _)| name.clone()).collect()
    }

    /// The volumes of a class, as decided or as shown, in order of their names.
    pub fn of_class(&self, class: &str) -> impl Iterator<Item = &Arc<Volume>> {
        self.by_class.get(class).into_iter().flatten().filter_map(|name| self.volumes.get(name))
    }

    /// The volumes attached to a node, or being so.
    pub fn attached_to(&self, node: &str) -> impl Iterator<Item = &Arc<Attachment>> {
        self.attached.get(node).into_iter().flatten().filter_map(|name| self.attachments.get(name))
    }

    fn show_volume(&mut self, name: &str, volume: Option<Arc<Volume>>) -> Option<Arc<Volume>> {
        let class = volume.as_ref().map(|volume| volume_class(&volume.object).to_owned());
        let old = self.volumes.show(name, volume);
        if let Some(class) =
            old.as_ref().map(|old| volume_class(&old.object)).filter(|old| class.as_deref() != Some(old))
        {
            remove_from(&mut self.by_class, class, name);
        }
        if let Some(class) = class {
            self.by_class.entry(Arc::from(class)).or_default().insert(Arc::from(name));
        }
        old
    }

    fn show_attachment(&mut self, name: &str, attachment: Option<Arc<Attachment>>) -> Option<Arc<Attachment>> {
        let node = attachment.as_ref().map(|attachment| attachment.node.clone());
        let old = match attachment {
            Some(attachment) => self.attachments.insert(Arc::from(name), attachment),
            None => self.attachments.remove(name),
        };
        if let Some(gone) = old.as_ref().filter(|old| Some(&old.node) != node.as_ref()) {
            remove_from(&mut self.attached, &gone.node, name);
        }
        if let Some(node) = node {
            self.attached.entry(node).or_default().insert(Arc::from(name));
        }
        old
    }
}

fn remove_from(index: &mut HashMap<Arc<str>, BTreeSet<Arc<str>>>, key: &str, name: &str) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}

/// What is kept of an object, if it is there.
type Shown<K> = Option<Arc<<K as Stored>::Kept>>;

/// See the module.
#[derive(Debug, Default)]
pub struct Volumes {
    shelves: RwLock<Shelves>,
    changed: watch::Sender<()>,
}

impl Volumes {
    /// To look something up.
    pub fn read(&self) -> RwLockReadGuard<'_, Shelves> {
        self.shelves.read()
    }

    /// Decides something, or takes it back.
    pub fn decide<T>(&self, decide: impl FnOnce(&mut Shelves) -> T) -> T {
        decide(&mut self.shelves.write())
    }

    /// Shows an object, or that it is gone; returns what was shown before, and what is now.
    pub fn show<K: Stored>(&self, key: &str, object: Option<K>) -> (Shown<K>, Shown<K>) {
        let new = object.map(|object| Arc::new(K::keep(object)));
        let old = K::show(&mut self.shelves.write(), key, new.clone());
        self.changed.send_replace(());
        (old, new)
    }

    /// Told whenever something was shown.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
