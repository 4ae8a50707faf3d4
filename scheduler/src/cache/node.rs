//! A node in the cache: what its object says (shared, replaced as a whole) and what the pods on it use (numbers).

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Node as ApiNode;

use super::{
    labels::{Interner, Labels},
    pod::PodInfo,
    resources::{Resources, amount},
    shape::{Effect, HostPort, Taint},
};

/// What a Node object says, as far as scheduling cares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeObject {
    /// metadata.name.
    pub name: Arc<str>,
    /// metadata.labels.
    pub labels: Labels,
    /// spec.taints.
    pub taints: Box<[Taint]>,
    /// spec.unschedulable.
    pub unschedulable: bool,
    /// status.allocatable.
    pub allocatable: Resources,
    /// status.allocatable.pods.
    pub allowed_pods: i64,
    /// Names of images on the node with their size.
    pub images: Box<[(Arc<str>, i64)]>,
    /// Region and zone: nodes are visited zone by zone in turn.
    pub zone: Arc<str>,
    /// Changes with the status of any condition.
    pub conditions_digest: u64,
    /// Changes with any annotation.
    pub annotations_digest: u64,
    /// The whole object, if extenders may want to see it.
    pub object: Option<Arc<ApiNode>>,
}

impl NodeObject {
    /// From the API's object.
    pub fn new(node: &ApiNode, interner: &mut Interner) -> Self {
        let labels = Labels::new(node.metadata.labels.as_ref(), interner);
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        let allocatable = status.and_then(|s| s.allocatable.as_ref());
        let digest = |parts: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            parts(&mut hasher);
            hasher.finish()
        };
        let region = labels.get("topology.kubernetes.io/region").cloned().unwrap_or_default();
        let zone = labels.get("topology.kubernetes.io/zone").cloned().unwrap_or_default();
        Self {
            name: interner.intern(node.metadata.name.as_deref().unwrap_or_default()),
            taints: spec
                .and_then(|s| s.taints.as_ref())
                .into_iter()
                .flatten()
                .map(|taint| Taint {
                    key: interner.intern(&taint.key),
                    value: interner.intern(taint.value.as_deref().unwrap_or_default()),
                    effect: Effect::parse(&taint.effect),
                })
                .collect(),
            unschedulable: spec.and_then(|s| s.unschedulable).unwrap_or_default(),
            allocatable: allocatable.map(|list| Resources::new(list, interner)).unwrap_or_default(),
            allowed_pods: allocatable.and_then(|list| list.get("pods")).map_or(0, |pods| amount(pods, false)),
            images: status
                .and_then(|s| s.images.as_ref())
                .into_iter()
                .flatten()
                .flat_map(|image| image.names.iter().flatten().map(|name| (name, image.size_bytes.unwrap_or_default())))
                .map(|(name, size)| (interner.intern(name), size))
                .collect(),
            zone: if region.is_empty() && zone.is_empty() {
                Arc::default()
            } else {
                interner.intern(&format!("{region}/{zone}"))
            },
            conditions_digest: digest(&|hasher| {
                let mut all: Vec<_> = status
                    .and_then(|s| s.conditions.as_ref())
                    .into_iter()
                    .flatten()
                    .map(|c| (&c.type_, &c.status))
                    .collect();
                all.sort();
                all.hash(hasher);
            }),
            annotations_digest: digest(&|hasher| node.metadata.annotations.hash(hasher)),
            object: None,
            labels,
        }
    }
}

/// How many pods of one shape are on a node.
#[derive(Clone, Debug)]
pub struct ShapeCount {
    /// The shape's slot.
    pub slot: u32,
    /// All of them.
    pub total: u32,
    /// Those not being deleted.
    pub live: u32,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Where it is in the snapshot.
    pub place: u32,
    /// `None`: pods were seen on a node whose object is not there (yet, or any more).
    pub object: Option<Arc<NodeObject>>,
    /// Changes whenever `object` does; never the same twice.
    pub object_generation: u64,
    /// Changes whenever `object` or a pod does; never the same twice.
    pub generation: u64,
    /// What its pods ask for.
    pub requested: Resources,
    /// The same with defaults, for scoring.
    pub padded: Resources,
    /// The pods, assumed ones included.
    pub pods: Vec<Arc<PodInfo>>,
    /// The pods by shape.
    pub shapes: Vec<ShapeCount>,
    /// Host ports in use.
    pub ports: Vec<HostPort>,
    /// Pods with any (anti-)affinity to pods.
    pub with_affinity: u32,
    /// Pods with required anti-affinity.
    pub with_anti_affinity: u32,
}

impl Node {
    /// The object of a node that is known to have one: all nodes that the cycle visits.
    pub fn object(&self) -> &NodeObject {
        static NONE: std::sync::LazyLock<NodeObject> = std::sync::LazyLock::new(NodeObject::default);
        self.object.as_deref().unwrap_or(&NONE)
    }

    /// Counts a pod in.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        let shape = &pod.shape.shape;
        self.requested.add(&shape.requests);
        self.padded.add(&shape.padded);
        self.ports.extend(shape.ports.iter().cloned());
        self.with_affinity += u32::from(shape.affinity.any);
        self.with_anti_affinity += u32::from(!shape.affinity.anti_required.is_empty());
        let live = u32::from(!pod.terminating);
        match self.shapes.iter_mut().find(|count| count.slot == pod.shape.slot) {
            Some(count) => {
                count.total += 1;
                count.live += live;
            }
            None => self.shapes.push(ShapeCount { slot: pod.shape.slot, total: 1, live }),
        }
        self.pods.push(pod);
    }

    /// Counts a pod out; false if it was not there.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some(at) = self.pods.iter().position(|pod| &*pod.uid == uid) else { return false };
        let pod = self.pods.swap_remove(at);
        let shape = &pod.shape.shape;
        self.requested.sub(&shape.requests);
        self.padded.sub(&shape.padded);
        for port in &shape.ports {
            if let Some(at) = self.ports.iter().position(|used| used == port) {
                self.ports.swap_remove(at);
            }
        }
        self.with_affinity -= u32::from(shape.affinity.any);
        self.with_anti_affinity -= u32::from(!shape.affinity.anti_required.is_empty());
        if let Some(at) = self.shapes.iter().position(|count| count.slot == pod.shape.slot) {
            let count = &mut self.shapes[at];
            count.total -= 1;
            count.live -= u32::from(!pod.terminating);
            if count.total == 0 {
                self.shapes.swap_remove(at);
            }
        }
        true
    }
}
