//! The scheduler's own picture of the cluster.
//!
//! One task owns it, applies what the informers report between two cycles, and decides on it directly: what upstream
//! calls the snapshot is the cache itself, and bringing it up to date costs only what changed. A pod that was given a
//! node counts there at once ("assumed"), before the API server has confirmed it; confirmation replaces it, a failed
//! binding forgets it, and one that is never confirmed expires, if an expiry is set (upstream's default is none).

pub mod domains;
pub mod labels;
pub mod node;
pub mod owners;
pub mod pod;
pub mod pod_volumes;
pub mod resources;
pub mod shape;
#[cfg(test)]
mod tests;
pub mod volumes;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Node as ApiNode, Pod as ApiPod};

use self::{
    domains::{Domains, DomainsByLabel},
    labels::{Interner, Labels},
    node::{Node, NodeObject},
    owners::Owners,
    pod::PodInfo,
    shape::ShapeTable,
    volumes::{Volumes, claim_key},
};
use crate::devices::Devices;

/// What a decision is made on.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// All nodes; a node keeps its place as long as it exists.
    pub nodes: Vec<Node>,
    /// Places of the nodes that have an object, in visiting order: one of each zone in turn.
    pub order: Vec<u32>,
    by_name: HashMap<Arc<str>, u32>,
    /// Shapes of all pods known.
    pub shapes: ShapeTable,
    /// On how many nodes an image is.
    pub images: HashMap<Arc<str>, u32>,
    /// Labels of the namespaces.
    pub namespaces: HashMap<Arc<str>, Labels>,
    /// Selectors of workloads.
    pub owners: Owners,
    /// Pods that preempted others and wait for a node, by the node's name: it may come, go and come again meanwhile.
    nominated: HashMap<Arc<str>, Vec<Arc<PodInfo>>>,
    /// Pods on any node with required anti-affinity.
    pub with_anti_affinity: u32,
    /// Pods on any node with any affinity to pods.
    pub with_affinity: u32,
    /// Claims, volumes and what belongs to them.
    pub volumes: Arc<Volumes>,
    /// By how many pods on nodes a claim is used, by `namespace/name`; those that are made for their pod do not count.
    pub claims_in_use: HashMap<String, u32>,
    /// Disruption budgets, for preemption.
    pub budgets: BTreeMap<(Arc<str>, Arc<str>), Budget>,
    /// Claims for devices, and the devices.
    pub devices: Arc<Devices>,
    domains: DomainsByLabel,
}

/// What preemption needs of a PodDisruptionBudget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Pods it protects.
    pub selector: labels::Selector,
    /// How many may go.
    pub allowed: i32,
    /// Names of pods already on their way.
    pub disrupted: Vec<String>,
}

impl Snapshot {
    /// The place of a node by name.
    pub fn place(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The node at a place.
    pub fn node(&self, place: u32) -> &Node {
        &self.nodes[place as usize]
    }

    /// The domains that a label of nodes makes.
    pub fn domains(&self, key: &Arc<str>) -> Arc<Domains> {
        self.domains.of(key, &self.nodes)
    }

    /// Adds the pods of the shapes in the slots that are true to the sums of the label's domains, by their number, but for
    /// sums below zero. Nodes that lack the label are in the unnamed domain.
    pub fn add_live(&self, key: &Arc<str>, slots: &[bool], sums: &mut [i64]) {
        self.domains.add_live(key, &self.nodes, slots, sums);
    }

    /// The pods other than `pod` that wait for a node with at least its priority: it may not count on their room.
    pub fn nominated_before(&self, pod: &PodInfo, node: &Node) -> Vec<Arc<PodInfo>> {
        let waiting = node.object.as_ref().and_then(|object| self.nominated.get(&object.name));
        let before = |other: &&Arc<PodInfo>| other.priority >= pod.priority && other.uid != pod.uid;
        waiting.into_iter().flatten().filter(before).cloned().collect()
    }

    /// Whether the place holds a node with an object.
    pub fn is_present(&self, place: u32) -> bool {
        self.nodes.get(place as usize).is_some_and(|node| node.object.is_some())
    }
}

#[derive(Debug)]
struct Known {
    pod: Arc<PodInfo>,
    place: u32,
    /// Given a node by this scheduler and not yet confirmed.
    assumed: bool,
    /// When an assumed pod whose binding was written is given up.
    expires: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Cache {
    snapshot: Snapshot,
    interner: Interner,
    pods: HashMap<Arc<str>, Known>,
    free: Vec<u32>,
    zones: Vec<(Arc<str>, Vec<u32>)>,
    generation: u64,
    assume_ttl: Option<Duration>,
    /// Whether whole objects are kept, for extenders.
    whole: bool,
    /// How many pods are only assumed.
    assumed: usize,
}

impl Cache {
    /// With an expiry of assumed pods, or none as upstream.
    pub fn new(assume_ttl: Option<Duration>) -> Self {
        Self { assume_ttl, ..Self::default() }
    }

    /// From now on whole objects are kept besides what decisions need of them.
    pub fn keep_whole(&mut self) {
        self.whole = true;
    }

    /// To decide on.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// To change what is not pods or nodes.
    pub fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    /// The strings shared by everything.
    pub fn interner(&mut self) -> &mut Interner {
        &mut self.interner
    }

    /// Reads a pod.
    pub fn read_pod(&mut self, pod: &ApiPod) -> Arc<PodInfo> {
        let mut info = PodInfo::new(pod, &mut self.interner, &mut self.snapshot.shapes);
        info.object = self.whole.then(|| Arc::new(pod.clone()));
        Arc::new(info)
    }

    /// Reads a node.
    pub fn read_node(&mut self, node: &ApiNode) -> Arc<NodeObject> {
        let mut object = NodeObject::new(node, &mut self.interner);
        object.object = self.whole.then(|| Arc::new(node.clone()));
        Arc::new(object)
    }

    fn place_for(&mut self, name: &Arc<str>) -> u32 {
        if let Some(place) = self.snapshot.place(name) {
            return place;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.snapshot.nodes.push(Node::default());
            (self.snapshot.nodes.len() - 1) as u32
        });
        self.snapshot.nodes[place as usize].place = place;
        self.snapshot.by_name.insert(name.clone(), place);
        place
    }

    /// Adds or replaces a node; returns what was there.
    pub fn set_node(&mut self, object: Arc<NodeObject>) -> Option<Arc<NodeObject>> {
        let place = self.place_for(&object.name);
        self.generation += 1;
        let node = &mut self.snapshot.nodes[place as usize];
        (node.object_generation, node.generation) = (self.generation, self.generation);
        let old = node.object.replace(object.clone());
        if old.as_ref().is_none_or(|old| old.labels != object.labels) {
            self.snapshot.domains.forget();
        }
        if old.as_ref().is_none_or(|old| old.zone != object.zone) {
            self.unlist(place);
            match self.zones.iter_mut().find(|(zone, _)| *zone == object.zone) {
                Some((_, places)) => places.push(place),
                None => self.zones.push((object.zone.clone(), vec![place])),
            }
            self.reorder();
        }
        for (image, _) in old.iter().flat_map(|old| &*old.images) {
            self.count_image(image, false);
        }
        for (image, _) in &object.images {
            self.count_image(image, true);
        }
        old
    }

    /// Removes a node's object; the node stays while pods are on it.
    pub fn remove_node(&mut self, name: &str) -> Option<Arc<NodeObject>> {
        let place = self.snapshot.place(name)?;
        self.generation += 1;
        let node = &mut self.snapshot.nodes[place as usize];
        (node.object_generation, node.generation) = (self.generation, self.generation);
        let old = node.object.take();
        self.snapshot.domains.forget();
        for (image, _) in old.iter().flat_map(|old| &*old.images) {
            self.count_image(image, false);
        }
        self.unlist(place);
        self.reorder();
        self.drop_if_empty(place);
        old
    }

    fn count_image(&mut self, image: &Arc<str>, add: bool) {
        let count = self.snapshot.images.entry(image.clone()).or_default();
        *count = if add { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.snapshot.images.remove(image);
        }
    }

    fn unlist(&mut self, place: u32) {
        for (_, places) in &mut self.zones {
            places.retain(|other| *other != place);
        }
        self.zones.retain(|(_, places)| !places.is_empty());
    }

    fn reorder(&mut self) {
        let longest = self.zones.iter().map(|(_, places)| places.len()).max().unwrap_or(0);
        self.snapshot.order.clear();
        for index in 0..longest {
            self.snapshot.order.extend(self.zones.iter().filter_map(|(_, places)| places.get(index)));
        }
    }

    fn drop_if_empty(&mut self, place: u32) {
        let node = &self.snapshot.nodes[place as usize];
        if node.object.is_none() && node.pods.is_empty() {
            self.snapshot.by_name.retain(|_, other| *other != place);
            self.snapshot.nodes[place as usize] = Node::default();
            self.free.push(place);
        }
    }

    fn put(&mut self, pod: Arc<PodInfo>, node_name: &Arc<str>, assumed: bool) {
        let place = self.place_for(node_name);
        let affinity = &pod.shape.shape.affinity;
        self.snapshot.with_affinity += u32::from(affinity.any);
        self.snapshot.with_anti_affinity += u32::from(!affinity.anti_required.is_empty());
        self.count_claims(&pod, true);
        self.snapshot.nodes[place as usize].add(pod.clone());
        self.moved(place, &pod, 1);
        self.assumed += usize::from(assumed);
        self.pods.insert(pod.uid.clone(), Known { pod, place, assumed, expires: None });
    }

    fn take(&mut self, uid: &str) -> Option<Known> {
        let known = self.pods.remove(uid)?;
        self.assumed -= usize::from(known.assumed);
        if self.snapshot.nodes[known.place as usize].remove(uid) {
            let affinity = &known.pod.shape.shape.affinity;
            self.snapshot.with_affinity -= u32::from(affinity.any);
            self.snapshot.with_anti_affinity -= u32::from(!affinity.anti_required.is_empty());
            self.count_claims(&known.pod, false);
            self.moved(known.place, &known.pod, -1);
        }
        self.drop_if_empty(known.place);
        Some(known)
    }

    /// A pod came to a node (1) or went (-1).
    fn moved(&mut self, place: u32, pod: &PodInfo, by: i64) {
        self.generation += 1;
        let node = &mut self.snapshot.nodes[place as usize];
        node.generation = self.generation;
        if !pod.terminating {
            self.snapshot.domains.moved(node, pod.shape.slot, by);
        }
    }

    fn count_claims(&mut self, pod: &PodInfo, add: bool) {
        for name in pod.volumes.iter().flat_map(|volumes| volumes.lasting()) {
            let key = claim_key(&pod.namespace, name);
            if add {
                *self.snapshot.claims_in_use.entry(key).or_default() += 1;
            } else if let Some(count) = self.snapshot.claims_in_use.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.snapshot.claims_in_use.remove(&key);
                }
            }
        }
    }

    /// The pod by uid, if it counts on a node, and whether it is only assumed there.
    pub fn pod(&self, uid: &str) -> Option<(&Arc<PodInfo>, bool)> {
        self.pods.get(uid).map(|known| (&known.pod, known.assumed))
    }

    /// The uids of pods that the API server has shown on a node.
    pub fn confirmed(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pods.iter().filter(|(_, known)| !known.assumed).map(|(uid, _)| uid)
    }

    /// The names of all nodes that have an object.
    pub fn node_names(&self) -> Vec<Arc<str>> {
        self.snapshot.order.iter().map(|place| self.snapshot.node(*place).object().name.clone()).collect()
    }

    /// How many nodes, pods, and pods that are only assumed there are.
    pub fn sizes(&self) -> [usize; 3] {
        [self.snapshot.order.len(), self.pods.len(), self.assumed]
    }

    /// Counts a pod on a node before the API server knows.
    pub fn assume(&mut self, pod: Arc<PodInfo>, node_name: &Arc<str>) {
        self.take(&pod.uid.clone());
        self.put(pod, node_name, true);
    }

    /// The binding was written: from now the expiry runs.
    pub fn finish_binding(&mut self, uid: &str, now: Instant) {
        if let (Some(known), Some(ttl)) = (self.pods.get_mut(uid), self.assume_ttl)
            && known.assumed
        {
            known.expires = Some(now + ttl);
        }
    }

    /// Takes an assumed pod back; `None` if it was confirmed or removed meanwhile.
    pub fn forget(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.pods.get(uid).filter(|known| known.assumed)?;
        self.take(uid).map(|known| known.pod)
    }

    /// Adds or replaces a pod that has a node; returns what was there and whether that was assumed.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>) -> Option<(Arc<PodInfo>, bool)> {
        let old = self.take(&pod.uid.clone()).map(|known| (known.pod, known.assumed));
        let node_name = pod.node_name.clone();
        self.put(pod, &node_name, false);
        old
    }

    /// Removes a pod; returns what was there.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.take(uid).map(|known| known.pod)
    }

    /// Gives up assumed pods that were never confirmed.
    pub fn expire(&mut self, now: Instant) -> Vec<Arc<PodInfo>> {
        if self.assume_ttl.is_none() {
            return Vec::new();
        }
        let late: Vec<Arc<str>> = self
            .pods
            .iter()
            .filter(|(_, known)| known.expires.is_some_and(|at| at <= now))
            .map(|(uid, _)| uid.clone())
            .collect();
        late.iter().filter_map(|uid| self.take(uid)).map(|known| known.pod).collect()
    }

    /// Notes where a pod waits for a node that it freed by preemption; an empty name clears.
    pub fn nominate(&mut self, pod: &Arc<PodInfo>, node: &Arc<str>) {
        self.clear_nomination(&pod.uid);
        if !node.is_empty() {
            self.snapshot.nominated.entry(node.clone()).or_default().push(pod.clone());
        }
    }

    /// The pod waits for no node any more; returns it if it did.
    pub fn clear_nomination(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let mut waited = None;
        self.snapshot.nominated.retain(|_, pods| {
            waited = pods.extract_if(.., |pod| *pod.uid == *uid).next().or(waited.take());
            !pods.is_empty()
        });
        waited
    }

    /// The uids of the pods that wait for a node.
    pub fn nominated(&self) -> impl Iterator<Item = &Arc<str>> {
        self.snapshot.nominated.values().flatten().map(|pod| &pod.uid)
    }
}
