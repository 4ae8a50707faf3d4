//! A pod as the scheduler keeps it: identity, priority, and a reference to its shape.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm};

use super::{
    labels::{Interner, Labels, NodeTerm, Selector},
    pod_volumes::PodVolumes,
    resources,
    shape::{
        AffinityTerm, Effect, HostPort, Owner, PodAffinity, PodShape, ShapeRef, ShapeTable, SpreadConstraint,
        Toleration,
    },
};
use crate::devices::pod::PodClaims;

/// See the module.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// metadata.uid.
    pub uid: Arc<str>,
    /// metadata.namespace.
    pub namespace: Arc<str>,
    /// metadata.name.
    pub name: Arc<str>,
    /// metadata.resourceVersion, for references in events.
    pub resource_version: Arc<str>,
    /// metadata.generation.
    pub generation: i64,
    /// spec.priority.
    pub priority: i32,
    /// spec.schedulerName.
    pub scheduler_name: Arc<str>,
    /// spec.nodeName; empty while pending.
    pub node_name: Arc<str>,
    /// status.nominatedNodeName; often empty.
    pub nominated_node: Arc<str>,
    /// spec.schedulingGates by name.
    pub gates: Box<[Arc<str>]>,
    /// spec.preemptionPolicy is `Never`.
    pub never_preempts: bool,
    /// metadata.deletionTimestamp is set.
    pub terminating: bool,
    /// It is terminating because the scheduler preempted it.
    pub preempted: bool,
    /// status.phase is Succeeded or Failed: it holds no resources.
    pub finished: bool,
    /// status.startTime in seconds; `None` before the kubelet saw it.
    pub started: Option<Timestamp>,
    /// The PodScheduled condition: status, reason, message.
    pub scheduled_condition: Option<Box<(String, String, String)>>,
    /// Volumes that matter for where it may run; not of the shape, for the pods of a StatefulSet differ in them.
    pub volumes: Option<Box<PodVolumes>>,
    /// The whole object, if extenders may want to see it.
    pub object: Option<Arc<Pod>>,
    /// What it says of devices; `None` if nothing.
    pub claims: Option<Box<PodClaims>>,
    /// What decisions depend on.
    pub shape: ShapeRef,
}

impl PodInfo {
    /// From the API's object.
    pub fn new(pod: &Pod, interner: &mut Interner, shapes: &mut ShapeTable) -> Self {
        let meta = &pod.metadata;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let shape = shape_of(pod, interner);
        let terminating = meta.deletion_timestamp.is_some();
        let condition = |kind: &str| status.and_then(|s| s.conditions.iter().flatten().find(|c| c.type_ == kind));
        Self {
            uid: Arc::from(text(&meta.uid)),
            namespace: interner.intern(&text(&meta.namespace)),
            name: Arc::from(text(&meta.name)),
            resource_version: Arc::from(text(&meta.resource_version)),
            generation: meta.generation.unwrap_or_default(),
            priority: spec.and_then(|s| s.priority).unwrap_or_default(),
            scheduler_name: interner
                .intern(spec.and_then(|s| s.scheduler_name.as_deref()).unwrap_or("default-scheduler")),
            node_name: interner.intern(spec.and_then(|s| s.node_name.as_deref()).unwrap_or_default()),
            nominated_node: interner.intern(status.and_then(|s| s.nominated_node_name.as_deref()).unwrap_or_default()),
            gates: spec
                .and_then(|s| s.scheduling_gates.as_ref())
                .into_iter()
                .flatten()
                .map(|gate| interner.intern(&gate.name))
                .collect(),
            never_preempts: spec.and_then(|s| s.preemption_policy.as_deref()) == Some("Never"),
            terminating,
            preempted: terminating
                && condition("DisruptionTarget")
                    .is_some_and(|c| c.status == "True" && c.reason.as_deref() == Some("PreemptionByScheduler")),
            finished: matches!(status.and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed")),
            started: status.and_then(|s| s.start_time.as_ref()).map(|time| time.0),
            scheduled_condition: condition("PodScheduled")
                .map(|c| Box::new((c.status.clone(), text(&c.reason), text(&c.message)))),
            volumes: PodVolumes::new(pod, interner),
            object: None,
            claims: PodClaims::new(pod),
            shape: shapes.add(shape),
        }
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether it has a node.
    pub fn is_assigned(&self) -> bool {
        !self.node_name.is_empty()
    }
}

/// An image's name as nodes report it: with a tag.
pub fn normalized_image(name: &str) -> String {
    match (name.rfind(':'), name.rfind('/')) {
        (Some(colon), slash) if slash.is_none_or(|slash| colon > slash) => name.to_owned(),
        _ => format!("{name}:latest"),
    }
}

fn shape_of(pod: &Pod, interner: &mut Interner) -> PodShape {
    let meta = &pod.metadata;
    let namespace = interner.intern(meta.namespace.as_deref().unwrap_or_default());
    let labels = Labels::new(meta.labels.as_ref(), interner);
    let (requests, padded) = resources::of_pod(pod, interner);
    let owner = meta
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| Owner { kind: interner.intern(&owner.kind), name: interner.intern(&owner.name) });
    let Some(spec) = &pod.spec else {
        return PodShape { namespace, labels, requests, padded, owner, ..Default::default() };
    };
    let tolerations = spec
        .tolerations
        .iter()
        .flatten()
        .map(|toleration| {
            let operator = toleration.operator.as_deref().unwrap_or_default();
            Toleration {
                key: interner.intern(toleration.key.as_deref().unwrap_or_default()),
                exists: operator == "Exists",
                value: interner.intern(toleration.value.as_deref().unwrap_or_default()),
                effect: toleration.effect.as_deref().filter(|e| !e.is_empty()).map(Effect::parse),
                valid: matches!(operator, "" | "Equal" | "Exists"),
            }
        })
        .collect();
    let all_containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut ports = Vec::new();
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    for port in spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten()) {
        let Some(number) = port.host_port.filter(|number| *number > 0) else { continue };
        ports.push(HostPort {
            ip: interner.intern(port.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0")),
            protocol: interner.intern(port.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP")),
            port: number,
        });
    }
    let volumes = spec.volumes.iter().flatten().filter_map(|v| v.image.as_ref()?.reference.as_deref());
    let images: Vec<Arc<str>> = all_containers()
        .filter_map(|c| c.image.as_deref())
        .chain(volumes)
        .map(|image| interner.intern(&normalized_image(image)))
        .collect();
    let node_affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required_nodes = node_affinity
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
        .map(|selector| selector.node_selector_terms.iter().map(|term| NodeTerm::new(term, interner)).collect());
    let preferred_nodes = node_affinity
        .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
        .into_iter()
        .flatten()
        .filter(|preferred| preferred.weight != 0)
        .map(|preferred| (preferred.weight, NodeTerm::new(&preferred.preference, interner)))
        .collect();
    let spread = spec
        .topology_spread_constraints
        .iter()
        .flatten()
        .map(|constraint| {
            let mut selector = Selector::from_api(constraint.label_selector.as_ref(), interner);
            let own = constraint
                .match_label_keys
                .iter()
                .flatten()
                .filter_map(|key| meta.labels.as_ref().and_then(|labels| labels.get_key_value(key)));
            let own = Selector::from_map(own, interner);
            if !own.is_everything() {
                selector = own.and(&selector);
            }
            SpreadConstraint::new(constraint, selector, interner)
        })
        .collect();
    let pod_affinity = spec.affinity.as_ref().and_then(|a| a.pod_affinity.as_ref());
    let pod_anti = spec.affinity.as_ref().and_then(|a| a.pod_anti_affinity.as_ref());
    let mut terms = |list: Option<&Vec<PodAffinityTerm>>| -> Box<[AffinityTerm]> {
        list.into_iter().flatten().map(|term| affinity_term(term, &namespace, interner)).collect()
    };
    let required = terms(pod_affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()));
    let anti_required = terms(pod_anti.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()));
    let mut weighted =
        |list: Option<&Vec<k8s_openapi::api::core::v1::WeightedPodAffinityTerm>>| -> Box<[(i32, AffinityTerm)]> {
            list.into_iter()
                .flatten()
                .map(|term| (term.weight, affinity_term(&term.pod_affinity_term, &namespace, interner)))
                .collect()
        };
    let preferred =
        weighted(pod_affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()));
    let anti_preferred =
        weighted(pod_anti.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()));
    PodShape {
        tolerations,
        node_selector: spec
            .node_selector
            .as_ref()
            .filter(|map| !map.is_empty())
            .map(|map| Selector::from_map(map.iter(), interner)),
        required_nodes,
        preferred_nodes,
        ports: ports.into(),
        images: images.into(),
        container_count: all_containers().count(),
        spread,
        affinity: PodAffinity {
            required,
            anti_required,
            preferred,
            anti_preferred,
            any: pod_affinity.is_some() || pod_anti.is_some(),
        },
        namespace,
        labels,
        requests,
        padded,
        owner,
    }
}

fn affinity_term(term: &PodAffinityTerm, namespace: &Arc<str>, interner: &mut Interner) -> AffinityTerm {
    let names = term.namespaces.as_deref().unwrap_or_default();
    let namespaces = if names.is_empty() && term.namespace_selector.is_none() {
        Box::new([namespace.clone()]) as Box<[_]>
    } else {
        names.iter().map(|name| interner.intern(name)).collect()
    };
    AffinityTerm {
        namespaces,
        namespace_selector: Selector::from_api(term.namespace_selector.as_ref(), interner),
        selector: Selector::from_api(term.label_selector.as_ref(), interner),
        topology_key: interner.intern(&term.topology_key),
    }
}
