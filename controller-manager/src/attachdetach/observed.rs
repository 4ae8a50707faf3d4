//! What is observed of volumes and nodes, found without walking over all of them, and what is remembered beside it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use client::{Change, Informer};
use k8s_openapi::api::{
    core::v1::{AttachedVolume, Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::{CSIDriver, VolumeAttachment},
};
use parking_lot::Mutex;

use super::{
    names::Volume,
    sync::{Attachment, Facts, Memory, Place},
};
use crate::util::{
    claim_users::ClaimUsers,
    key::{self, Key},
    pods,
};

/// On a node: its volumes are attached by the controller, not by its kubelet.
const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What a node says, as far as it concerns volumes.
#[derive(Debug, PartialEq)]
pub(super) struct Says {
    pub(super) managed: bool,
    healthy: bool,
    out_of_service: bool,
    /// Names of volumes that its kubelet has mounted.
    pub(super) in_use: BTreeSet<String>,
    attached: Vec<AttachedVolume>,
}

pub(super) fn says(node: &Node) -> Says {
    let status = node.status.as_ref();
    let ready = status.into_iter().flat_map(|status| status.conditions.iter().flatten()).find(|c| c.type_ == "Ready");
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    Says {
        managed: node.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MANAGED)),
        healthy: ready.is_some_and(|condition| condition.status == "True"),
        out_of_service: taints.any(|taint| taint.key == OUT_OF_SERVICE),
        in_use: status.into_iter().flat_map(|status| status.volumes_in_use.iter().flatten().cloned()).collect(),
        attached: status.and_then(|status| status.volumes_attached.clone()).unwrap_or_default(),
    }
}

fn version(node: &Node) -> u64 {
    node.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[derive(Default)]
struct Indexes {
    /// Names of PersistentVolumes.
    volumes: HashMap<Volume, BTreeSet<String>>,
    /// Names of attachments by PersistentVolume and by node.
    by_volume: HashMap<String, BTreeSet<String>>,
    by_node: HashMap<String, BTreeSet<String>>,
    /// Pods that name a volume themselves, and what they call it.
    inline: HashMap<Volume, BTreeMap<Key, (Arc<Pod>, String)>>,
    /// Of volumes without a driver, the nodes to which they are attached, and those whose status says so.
    reached: HashMap<Volume, BTreeSet<String>>,
    reporting: HashMap<Volume, BTreeSet<String>>,
    memory: HashMap<Volume, BTreeMap<String, Memory>>,
    /// What was written of nodes, as long as it is newer than what was seen.
    written: HashMap<String, (u64, Vec<AttachedVolume>)>,
}

pub(super) struct Observed {
    users: ClaimUsers,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    nodes: Informer<Node>,
    attachments: Informer<VolumeAttachment>,
    drivers: Informer<CSIDriver>,
    indexes: Mutex<Indexes>,
}

fn put<K: std::hash::Hash + Eq>(index: &mut HashMap<K, BTreeSet<String>>, under: K, name: &str, is: bool) {
    if is {
        index.entry(under).or_default().insert(name.to_owned());
    } else if let Some(names) = index.get_mut(&under) {
        names.remove(name);
        if names.is_empty() {
            index.remove(&under);
        }
    }
}

impl Observed {
    pub(super) fn new(
        users: ClaimUsers,
        claims: Informer<PersistentVolumeClaim>,
        volumes: Informer<PersistentVolume>,
        nodes: Informer<Node>,
        attachments: Informer<VolumeAttachment>,
        drivers: Informer<CSIDriver>,
    ) -> Self {
        Self { users, claims, volumes, nodes, attachments, drivers, indexes: Mutex::default() }
    }

    pub(super) fn volume_changed(&self, change: &Change<PersistentVolume>) {
        if let Some(volume) = Volume::of(change.object()) {
            let there = !matches!(change, Change::Deleted(_));
            put(&mut self.indexes.lock().volumes, volume, key::name(&change.object().metadata), there);
        }
    }

    pub(super) fn attachment_changed(&self, change: &Change<VolumeAttachment>) {
        let (attachment, there) = (change.object(), !matches!(change, Change::Deleted(_)));
        let name = key::name(&attachment.metadata);
        let mut indexes = self.indexes.lock();
        if let Some(volume) = &attachment.spec.source.persistent_volume_name {
            put(&mut indexes.by_volume, volume.clone(), name, there);
        }
        put(&mut indexes.by_node, attachment.spec.node_name.clone(), name, there);
    }

    pub(super) fn node_changed(&self, change: &Change<Node>) {
        let reports = |node: &Node| -> BTreeSet<Volume> {
            let attached = says(node).attached.into_iter().filter_map(|volume| Volume::named(&volume.name));
            attached.filter(|volume| volume.driver().is_none()).collect()
        };
        let (before, now) = match change {
            Change::Added(node) => (None, Some(node)),
            Change::Updated { old, new } => (Some(old), Some(new)),
            Change::Deleted(node) => (Some(node), None),
        };
        let name = key::name(&change.object().metadata);
        let mut indexes = self.indexes.lock();
        for (node, is) in [(before, false), (now, true)] {
            let volumes = node.map(|node| reports(node)).unwrap_or_default();
            volumes.into_iter().for_each(|volume| put(&mut indexes.reporting, volume, name, is));
        }
    }

    /// The volumes that the pod names itself.
    pub(super) fn pod_changed(&self, change: &Change<Pod>) -> Vec<Volume> {
        let (before, now) = match change {
            Change::Added(pod) => (None, Some(pod)),
            Change::Updated { old, new } => (Some(old), Some(new)),
            Change::Deleted(pod) => (Some(pod), None),
        };
        let of = |pod: Option<&Arc<Pod>>| pod.map(|pod| Volume::inline(pod)).unwrap_or_default();
        let (old, new) = (of(before), of(now));
        let name = Key::of(&change.object().metadata);
        let mut indexes = self.indexes.lock();
        for (volume, _) in &old {
            if let Some(pods) = indexes.inline.get_mut(volume) {
                pods.remove(&name);
                if pods.is_empty() {
                    indexes.inline.remove(volume);
                }
            }
        }
        for (volume, called) in &new {
            let Some(pod) = now else { continue };
            let pods = indexes.inline.entry(volume.clone()).or_default();
            pods.insert(name.clone(), (pod.clone(), called.clone()));
        }
        old.into_iter().chain(new).map(|(volume, _)| volume).collect()
    }

    /// All volumes.
    pub(super) fn all(&self) -> Vec<Volume> {
        let indexes = self.indexes.lock();
        let all: BTreeSet<&Volume> =
            indexes.volumes.keys().chain(indexes.inline.keys()).chain(indexes.reached.keys()).collect();
        all.into_iter().cloned().collect()
    }

    /// What pods call the volume, if they name it themselves.
    pub(super) fn inline_name(&self, volume: &Volume) -> Option<String> {
        self.indexes.lock().inline.get(volume)?.values().next().map(|(_, name)| name.clone())
    }

    /// A volume without a driver is attached to the node from now on, or is not any more.
    pub(super) fn reaches(&self, volume: &Volume, node: &str, is: bool) {
        put(&mut self.indexes.lock().reached, volume.clone(), node, is);
    }

    pub(super) fn of_attachment(&self, attachment: &VolumeAttachment) -> Option<Volume> {
        let name = attachment.spec.source.persistent_volume_name.as_deref()?;
        Volume::of(&*self.volumes.get(None, name)?)
    }

    pub(super) fn of_claim(&self, claim: &PersistentVolumeClaim) -> Option<Volume> {
        let name = claim.spec.as_ref()?.volume_name.as_deref()?;
        Volume::of(&*self.volumes.get(None, name)?)
    }

    pub(super) fn of_claim_named(&self, key: &Key) -> Option<Volume> {
        self.of_claim(&*self.claims.get(Some(&key.namespace), &key.name)?)
    }

    /// The volumes that are attached to the node, or of which it says something.
    pub(super) fn on_node(&self, node: &Node) -> BTreeSet<Volume> {
        let says = says(node);
        let said =
            says.attached.iter().map(|volume| volume.name.as_str()).chain(says.in_use.iter().map(String::as_str));
        let attachments = self.attachments_on(key::name(&node.metadata));
        let attached = attachments.iter().filter_map(|attachment| self.of_attachment(attachment));
        said.filter_map(Volume::named).chain(attached).collect()
    }

    fn attachments_on(&self, node: &str) -> Vec<Arc<VolumeAttachment>> {
        let names = self.indexes.lock().by_node.get(node).cloned().unwrap_or_default();
        names.iter().filter_map(|name| self.attachments.get(None, name)).collect()
    }

    /// The PersistentVolume that stands for the volume: the first, if there are several.
    pub(super) fn object(&self, volume: &Volume) -> Option<Arc<PersistentVolume>> {
        let name = self.indexes.lock().volumes.get(volume)?.first()?.clone();
        self.volumes.get(None, &name)
    }

    /// The nodes that have to do with the volume.
    pub(super) fn places(&self, volume: &Volume) -> BTreeMap<String, Place> {
        let mut places: BTreeMap<String, Place> = BTreeMap::new();
        for pod in self.wanting(volume) {
            places.entry(pods::node_name(&pod).to_owned()).or_default().pods.push(pod);
        }
        let (names, memory) = {
            let indexes = self.indexes.lock();
            let nodes = [indexes.reached.get(volume), indexes.reporting.get(volume)].into_iter().flatten().flatten();
            for node in nodes {
                places.entry(node.clone()).or_default();
            }
            let objects = indexes.volumes.get(volume).into_iter().flatten();
            let names: BTreeSet<String> =
                objects.flat_map(|name| indexes.by_volume.get(name)).flatten().cloned().collect();
            (names, indexes.memory.get(volume).cloned().unwrap_or_default())
        };
        for attachment in names.iter().filter_map(|name| self.attachments.get(None, name)) {
            places.entry(attachment.spec.node_name.clone()).or_default();
        }
        for (node, memory) in memory {
            places.entry(node).or_default().memory = memory;
        }
        for (node, place) in &mut places {
            place.node = self.facts(node, volume);
            place.attachment = self.attachment(volume, node, place.node.is_some_and(|facts| facts.reports));
        }
        places
    }

    /// How the volume is attached to the node; `reports`: the node's status says that it is.
    fn attachment(&self, volume: &Volume, node: &str, reports: bool) -> Option<Attachment> {
        if let Some(name) = volume.attachment(node) {
            return self.attachments.get(None, &name).map(|attachment| described(&attachment));
        }
        let reached = reports || self.indexes.lock().reached.get(volume).is_some_and(|nodes| nodes.contains(node));
        reached.then_some(Attachment { attached: true, leaving: false, error: None })
    }

    /// The pods that want the volume on their nodes.
    fn wanting(&self, volume: &Volume) -> Vec<Arc<Pod>> {
        let driver = volume.driver().and_then(|(driver, _)| self.drivers.get(None, driver));
        if driver.is_some_and(|driver| driver.spec.attach_required == Some(false)) {
            return vec![];
        }
        let wants = |pod: &Arc<Pod>| !pods::node_name(pod).is_empty() && !pods::is_terminated(pod);
        let (names, mut wanting) = {
            let indexes = self.indexes.lock();
            let inline = indexes.inline.get(volume).into_iter().flatten().map(|(_, (pod, _))| pod.clone());
            (indexes.volumes.get(volume).cloned().unwrap_or_default(), inline.filter(wants).collect::<Vec<_>>())
        };
        for object in names.iter().filter_map(|name| self.volumes.get(None, name)) {
            let reference = object.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let Some(reference) = reference else { continue };
            let [namespace, name] =
                [&reference.namespace, &reference.name].map(|part| part.as_deref().unwrap_or_default());
            let Some(claim) = self.claims.get(Some(namespace), name) else { continue };
            let bound = claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
            let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_ref()) == object.metadata.name.as_ref();
            if !bound || !named || claim.metadata.uid != reference.uid {
                continue;
            }
            let users = self.users.get(&Key::new(namespace, name));
            wanting.extend(users.into_iter().filter(|pod| wants(pod) && is_its_own(pod, &claim)));
        }
        wanting
    }

    fn facts(&self, node: &str, volume: &Volume) -> Option<Facts> {
        let says = says(&*self.nodes.get(None, node)?);
        let name = volume.name();
        let reported = self.reported(node).unwrap_or_default();
        Some(Facts {
            managed: says.managed,
            healthy: says.healthy,
            out_of_service: says.out_of_service,
            in_use: says.in_use.contains(&name),
            reports: reported.iter().any(|volume| volume.name == name),
        })
    }

    /// What the node's status says is attached; nothing if there is no such node.
    pub(super) fn reported(&self, node: &str) -> Option<Vec<AttachedVolume>> {
        // Every node is asked for when it comes: those of which nothing more is wanted stay packed.
        let seen = self.nodes.peek(None, node);
        let mut indexes = self.indexes.lock();
        let Some(seen) = seen else {
            indexes.written.remove(node);
            return None;
        };
        match indexes.written.get(node) {
            Some((at, list)) if *at > version(&seen) => return Some(list.clone()),
            Some(_) => drop(indexes.written.remove(node)),
            None => {}
        }
        Some(says(&seen).attached)
    }

    /// A node's status was written, and this came back.
    pub(super) fn wrote(&self, node: &Node) {
        let written = (version(node), says(node).attached);
        self.indexes.lock().written.insert(key::name(&node.metadata).to_owned(), written);
    }

    /// The volumes that are attached to the node and are not on their way to be detached; `said` is what its status says.
    pub(super) fn attached(&self, node: &str, said: &[AttachedVolume]) -> Vec<Volume> {
        let attachments = self.attachments_on(node);
        let of_attachments = attachments.iter().filter_map(|attachment| self.of_attachment(attachment));
        let said: BTreeSet<Volume> = said.iter().filter_map(|volume| Volume::named(&volume.name)).collect();
        let mut candidates: BTreeSet<Volume> = of_attachments.chain(said.iter().cloned()).collect();
        let reached = |(volume, nodes): (&Volume, &BTreeSet<String>)| nodes.contains(node).then(|| volume.clone());
        candidates.extend(self.indexes.lock().reached.iter().filter_map(reached));
        let done = |volume: &Volume| {
            let attachment = self.attachment(volume, node, said.contains(volume));
            attachment.is_some_and(|attachment| attachment.attached && !attachment.leaving)
        };
        let candidates: Vec<Volume> = candidates.into_iter().filter(done).collect();
        let indexes = self.indexes.lock();
        let leaving =
            |volume: &Volume| indexes.memory.get(volume).and_then(|m| m.get(node)).is_some_and(|m| m.detaching);
        candidates.into_iter().filter(|volume| !leaving(volume)).collect()
    }

    /// Keeps what is remembered of the volume's nodes.
    pub(super) fn remember(&self, volume: &Volume, places: &BTreeMap<String, Place>) {
        let blank = Memory::default();
        let kept = places.iter().filter(|(_, place)| place.memory != blank);
        let memory: BTreeMap<String, Memory> = kept.map(|(node, place)| (node.clone(), place.memory.clone())).collect();
        let mut indexes = self.indexes.lock();
        match memory.is_empty() {
            true => drop(indexes.memory.remove(volume)),
            false => drop(indexes.memory.insert(volume.clone(), memory)),
        }
    }

    /// The attachment could not be made.
    pub(super) fn not_requested(&self, volume: &Volume, node: &str) {
        if let Some(memory) = self.indexes.lock().memory.get_mut(volume).and_then(|memory| memory.get_mut(node)) {
            memory.requested = false;
        }
    }
}

fn described(attachment: &VolumeAttachment) -> Attachment {
    let status = attachment.status.as_ref();
    let error = status.and_then(|status| status.attach_error.as_ref());
    let of = |time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| time.0;
    Attachment {
        attached: status.is_some_and(|status| status.attached),
        leaving: attachment.metadata.deletion_timestamp.is_some(),
        error: error.map(|error| (error.time.as_ref().map(of), error.message.clone().unwrap_or_default())),
    }
}

/// A claim that has the name of one that is made for the pod must be it.
fn is_its_own(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let name = key::name(&claim.metadata);
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let made = |volume: &k8s_openapi::api::core::v1::Volume| {
        volume.ephemeral.is_some() && volumes::claim_name(pod, &volume.name) == name
    };
    !volumes.any(made) || volumes::made_for(pod, claim).is_ok()
}
