//! The shape of a pod: all that a decision depends on besides the pod's identity and priority.
//!
//! Pods of one workload have one shape. It is kept once, hashed once, and everything the cycle can work out for a shape
//! (which nodes it may ever run on, which other shapes it selects) is worked out once for all of its pods.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::{
    labels::{Interner, Labels, NodeTerm, Selector},
    resources::Resources,
};

/// A taint's toleration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Toleration {
    /// Empty: any key (with `exists`).
    pub key: Arc<str>,
    /// Operator `Exists`.
    pub exists: bool,
    /// The value with operator `Equal`.
    pub value: Arc<str>,
    /// `None`: every effect.
    pub effect: Option<Effect>,
    /// An operator that is neither `Equal` nor `Exists` tolerates nothing.
    pub valid: bool,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Keeps pods away.
    NoSchedule,
    /// Keeps pods away if there is another node.
    PreferNoSchedule,
    /// Keeps pods away and evicts those that run.
    NoExecute,
    /// Something a later version knows.
    Other,
}

impl Effect {
    /// From the API's word.
    pub fn parse(text: &str) -> Self {
        match text {
            "NoSchedule" => Self::NoSchedule,
            "PreferNoSchedule" => Self::PreferNoSchedule,
            "NoExecute" => Self::NoExecute,
            _ => Self::Other,
        }
    }
}

/// A node's taint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taint {
    /// The key.
    pub key: Arc<str>,
    /// The value, often empty.
    pub value: Arc<str>,
    /// The effect.
    pub effect: Effect,
}

impl Toleration {
    /// Whether it tolerates the taint (`core/v1/toleration.go`).
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.valid
            && self.effect.is_none_or(|effect| effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && (self.exists || self.value == taint.value)
    }
}

/// A port on the host that a pod wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// `0.0.0.0` stands for all.
    pub ip: Arc<str>,
    /// TCP, UDP or SCTP.
    pub protocol: Arc<str>,
    /// The number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        const ALL: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (&*self.ip == ALL || &*other.ip == ALL || self.ip == other.ip)
    }
}

/// A term of (anti-)affinity between pods.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AffinityTerm {
    /// Namespaces by name.
    pub namespaces: Box<[Arc<str>]>,
    /// Namespaces by label.
    pub namespace_selector: Selector,
    /// Pods by label.
    pub selector: Selector,
    /// The label of nodes that makes a domain.
    pub topology_key: Arc<str>,
}

impl AffinityTerm {
    /// Whether a pod of that shape is meant; `namespace_labels` are those of its namespace.
    pub fn matches(&self, shape: &PodShape, namespace_labels: Option<&Labels>) -> bool {
        static NONE: std::sync::LazyLock<Labels> = std::sync::LazyLock::new(Labels::default);
        (self.namespaces.contains(&shape.namespace)
            || self.namespace_selector.matches(namespace_labels.unwrap_or(&NONE)))
            && self.selector.matches(&shape.labels)
    }
}

/// All of a pod's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodAffinity {
    /// Required affinity.
    pub required: Box<[AffinityTerm]>,
    /// Required anti-affinity.
    pub anti_required: Box<[AffinityTerm]>,
    /// Preferred affinity with weights.
    pub preferred: Box<[(i32, AffinityTerm)]>,
    /// Preferred anti-affinity with weights.
    pub anti_preferred: Box<[(i32, AffinityTerm)]>,
    /// Whether the pod has a podAffinity or podAntiAffinity at all.
    pub any: bool,
}

/// A spread constraint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpreadConstraint {
    /// The most by which a domain may exceed the emptiest.
    pub max_skew: i32,
    /// The label of nodes that makes a domain.
    pub topology_key: Arc<str>,
    /// `DoNotSchedule`, otherwise `ScheduleAnyway`.
    pub hard: bool,
    /// Pods counted.
    pub selector: Selector,
    /// With fewer domains than this, the emptiest counts as 0.
    pub min_domains: i32,
    /// Count only nodes that the pod's affinity admits.
    pub honor_affinity: bool,
    /// Count only nodes whose taints the pod tolerates.
    pub honor_taints: bool,
}

impl SpreadConstraint {
    /// From the API's constraint; the selector is what came of its selector and the pod's labels.
    pub fn new(constraint: &TopologySpreadConstraint, selector: Selector, interner: &mut Interner) -> Self {
        Self {
            max_skew: constraint.max_skew,
            topology_key: interner.intern(&constraint.topology_key),
            hard: constraint.when_unsatisfiable == "DoNotSchedule",
            selector,
            min_domains: constraint.min_domains.unwrap_or(1),
            honor_affinity: constraint.node_affinity_policy.as_deref().unwrap_or("Honor") == "Honor",
            honor_taints: constraint.node_taints_policy.as_deref().unwrap_or("Ignore") == "Honor",
        }
    }
}

/// The controller that owns a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodShape {
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// The pod's labels.
    pub labels: Labels,
    /// What it asks for.
    pub requests: Resources,
    /// The same with defaults, for scoring.
    pub padded: Resources,
    /// Tolerations.
    pub tolerations: Box<[Toleration]>,
    /// `nodeSelector`.
    pub node_selector: Option<Selector>,
    /// Required node affinity: alternatives; `Some` of none matches nothing.
    pub required_nodes: Option<Box<[NodeTerm]>>,
    /// Preferred node affinity.
    pub preferred_nodes: Box<[(i32, NodeTerm)]>,
    /// Host ports.
    pub ports: Box<[HostPort]>,
    /// Images with tags, of all containers and image volumes.
    pub images: Box<[Arc<str>]>,
    /// Containers and init containers.
    pub container_count: usize,
    /// Spread constraints.
    pub spread: Box<[SpreadConstraint]>,
    /// Affinity between pods.
    pub affinity: PodAffinity,
    /// The controller.
    pub owner: Option<Owner>,
}

impl PodShape {
    /// Whether the node selector and required node affinity admit the node.
    pub fn admits_node(&self, labels: &Labels, name: &str) -> bool {
        self.node_selector.as_ref().is_none_or(|selector| selector.matches(labels))
            && self.required_nodes.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(labels, name)))
    }

    /// The first taint that keeps the pod away.
    pub fn untolerated<'a>(&self, taints: &'a [Taint]) -> Option<&'a Taint> {
        taints.iter().find(|taint| {
            matches!(taint.effect, Effect::NoSchedule | Effect::NoExecute)
                && !self.tolerations.iter().any(|toleration| toleration.tolerates(taint))
        })
    }
}

/// A shape in the table.
#[derive(Clone, Debug)]
pub struct ShapeRef {
    /// Its place, small and reused: an index for per-cycle tables.
    pub slot: u32,
    /// Its number, never reused: a key for what is remembered between cycles.
    pub serial: u64,
    /// The shape.
    pub shape: Arc<PodShape>,
}

/// All shapes in use.
#[derive(Debug, Default)]
pub struct ShapeTable {
    known: HashMap<Arc<PodShape>, (u32, u64)>,
    slots: Vec<Option<Arc<PodShape>>>,
    free: Vec<u32>,
    next_serial: u64,
    sweep_at: usize,
}

impl ShapeTable {
    /// Finds or adds a shape.
    pub fn add(&mut self, shape: PodShape) -> ShapeRef {
        if let Some((known, &(slot, serial))) = self.known.get_key_value(&shape) {
            return ShapeRef { slot, serial, shape: known.clone() };
        }
        if self.known.len() >= self.sweep_at.max(256) {
            self.sweep();
        }
        let shape = Arc::new(shape);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(shape.clone());
                slot
            }
            None => {
                self.slots.push(Some(shape.clone()));
                (self.slots.len() - 1) as u32
            }
        };
        self.next_serial += 1;
        self.known.insert(shape.clone(), (slot, self.next_serial));
        ShapeRef { slot, serial: self.next_serial, shape }
    }

    fn sweep(&mut self) {
        let (slots, free) = (&mut self.slots, &mut self.free);
        // Two references are the table's own.
        self.known.retain(|shape, (slot, _)| {
            let used = Arc::strong_count(shape) > 2;
            if !used {
                slots[*slot as usize] = None;
                free.push(*slot);
            }
            used
        });
        self.sweep_at = self.known.len() * 2;
    }

    /// The shape in a slot.
    pub fn get(&self, slot: u32) -> Option<&Arc<PodShape>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// For each slot, what `f` makes of the shape in it; the default of an empty one.
    pub fn each<T: Default>(&self, f: impl Fn(&PodShape) -> T) -> Vec<T> {
        self.slots.iter().map(|shape| shape.as_ref().map(|shape| f(shape)).unwrap_or_default()).collect()
    }
}
