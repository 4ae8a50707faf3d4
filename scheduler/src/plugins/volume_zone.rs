//! A node in a zone or region takes only pods whose volumes are there, going by labels of the volumes.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::PersistentVolume;
use volumes::{claim_class, waits_for_consumer};

use crate::{
    cache::{Snapshot, node::Node, pod::PodInfo, volumes::claim_key},
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Cycle, Filter, Plugin, PreFilter, Scope},
        status::{Code, Status},
    },
};

/// The labels that say where a volume or a node is, with the one that says the same today.
const LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

/// See the module.
pub struct VolumeZone;

/// Where a volume is: a label, the same label's name today, and values of which the node must have one.
type Place = (&'static str, &'static str, BTreeSet<String>);

fn places(volume: &PersistentVolume) -> impl Iterator<Item = Place> {
    LABELS.iter().filter_map(|(label, today)| {
        let value = volume.metadata.labels.as_ref()?.get(*label)?;
        let values: Vec<&str> = value.split("__").map(str::trim).collect();
        let readable = values.iter().all(|value| !value.is_empty());
        readable.then(|| (*label, *today, values.into_iter().map(str::to_owned).collect()))
    })
}

#[derive(Clone)]
struct State(Arc<[Place]>);

/// Where the pod's volumes are; what is wrong where they can't be found.
fn all_places(snapshot: &Snapshot, pod: &PodInfo) -> Result<Vec<Place>, String> {
    let mut all = Vec::new();
    let Some(volumes) = &pod.volumes else { return Ok(all) };
    let shelves = snapshot.volumes.read();
    for name in volumes.lasting() {
        if name.is_empty() {
            return Err("PersistentVolumeClaim had no name".to_owned());
        }
        let claim = shelves.claims.shown(&claim_key(&pod.namespace, name));
        let claim = claim.ok_or_else(|| format!("persistentvolumeclaim {name:?} not found"))?;
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
        if volume.is_empty() {
            let class = claim_class(claim);
            if class.is_empty() {
                return Err("PersistentVolumeClaim had no pv name and storageClass name".to_owned());
            }
            let class_object = shelves.classes.get(class);
            let class_object =
                class_object.ok_or_else(|| format!("storageclass.storage.k8s.io {class:?} not found"))?;
            if class_object.volume_binding_mode.is_none() {
                return Err(format!("VolumeBindingMode not set for StorageClass {class:?}"));
            }
            if waits_for_consumer(class_object) {
                continue;
            }
            return Err("PersistentVolume had no name".to_owned());
        }
        let found = shelves.volumes.shown(volume).ok_or_else(|| format!("persistentvolume {volume:?} not found"))?;
        all.extend(places(&found.object));
    }
    Ok(all)
}

impl PreFilter for VolumeZone {
    fn pre_filter(&self, cycle: &mut Cycle<'_>) -> (Status, Option<BTreeSet<Arc<str>>>) {
        match all_places(cycle.snapshot, cycle.pod) {
            Err(message) => (Status::new(Code::UnschedulableAndUnresolvable, message), None),
            Ok(places) if places.is_empty() => (Status::skip(), None),
            Ok(places) => {
                cycle.state.put(State(places.into()));
                (Status::success(), None)
            }
        }
    }
}

impl Filter for VolumeZone {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        let Some(State(places)) = cycle.state.get::<State>() else { return Status::success() };
        let labels = &node.object().labels;
        // A node that says nothing of zones is one of a cluster without any.
        if LABELS.iter().all(|(label, _)| labels.get(label).is_none()) {
            return Status::success();
        }
        let there = |(label, today, values): &Place| {
            labels.get(label).or_else(|| labels.get(today)).is_some_and(|value| values.contains(&**value))
        };
        if places.iter().all(there) {
            return Status::success();
        }
        Status::new(Code::UnschedulableAndUnresolvable, "node(s) had no available volume zone")
    }
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn events(&self) -> Action {
        Action::CLASS_ADD
            .or(Action::NODE_ADD)
            .or(Action::NODE_UPDATE_LABEL)
            .or(Action::CLAIM_ADD)
            .or(Action::CLAIM_UPDATE)
            .or(Action::VOLUME_ADD)
            .or(Action::VOLUME_UPDATE)
    }

    fn hint(&self, pod: &PodInfo, event: &Event, _: &HintContext<'_>) -> Hint {
        match &event.change {
            Change::Class { new: Some(class), .. } => Hint::from(waits_for_consumer(class)),
            Change::Claim { new: Some(claim), .. } => {
                let (namespace, name) = (claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref());
                let used = pod.volumes.iter().flat_map(|own| own.lasting()).any(|own| Some(&**own) == name);
                Hint::from(namespace == Some(&*pod.namespace) && used)
            }
            Change::Volume { old: Some(old), new: Some(new) } => {
                Hint::from(!places(&old.object).eq(places(&new.object)))
            }
            _ => Hint::Queue,
        }
    }

    fn pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}
