//! What not everybody can have at the same time: a claim that only one pod may use, a disk that somebody writes.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    cache::{node::Node, pod::PodInfo, volumes::claim_key},
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Cycle, Filter, Plugin, PreFilter, Scope},
        status::{Code, Status},
    },
};

/// See the module.
pub struct VolumeRestrictions;

#[derive(Clone)]
struct State {
    /// The pod's claims that only one pod may use.
    alone: Vec<Arc<str>>,
    /// How often other pods use them.
    users: i64,
}

impl PreFilter for VolumeRestrictions {
    fn pre_filter(&self, cycle: &mut Cycle<'_>) -> (Status, Option<BTreeSet<Arc<str>>>) {
        let Some(volumes) = cycle.pod.volumes.as_deref() else { return (Status::skip(), None) };
        let namespace = &cycle.pod.namespace;
        let mut alone = Vec::new();
        let shelves = cycle.snapshot.volumes.read();
        for name in volumes.lasting() {
            let Some(claim) = shelves.claims.shown(&claim_key(namespace, name)) else {
                let message = format!("persistentvolumeclaim {name:?} not found");
                return (Status::new(Code::UnschedulableAndUnresolvable, message), None);
            };
            let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
            if modes.iter().any(|mode| mode == "ReadWriteOncePod") && !alone.contains(name) {
                alone.push(name.clone());
            }
        }
        drop(shelves);
        let used = alone.iter().filter(|name| cycle.snapshot.claims_in_use.contains_key(&*claim_key(namespace, name)));
        let users = used.count() as i64;
        if volumes.disks.is_empty() && users == 0 {
            return (Status::skip(), None);
        }
        cycle.state.put(State { alone, users });
        (Status::success(), None)
    }

    fn trial(&self, cycle: &mut Cycle<'_>, pod: &PodInfo, _: &Node, added: bool) {
        let same_namespace = pod.namespace == cycle.pod.namespace;
        if let (Some(volumes), Some(state), true) = (&pod.volumes, cycle.state.get_mut::<State>(), same_namespace) {
            let uses = volumes.lasting().filter(|name| state.alone.contains(name)).count() as i64;
            state.users += if added { uses } else { -uses };
        }
    }
}

fn conflict(pod: &PodInfo, other: &PodInfo) -> bool {
    let (Some(own), Some(others)) = (&pod.volumes, &other.volumes) else { return false };
    own.disks.iter().any(|disk| others.disks.iter().any(|other| disk.conflicts(other)))
}

impl Filter for VolumeRestrictions {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        let disks = cycle.pod.volumes.as_ref().is_some_and(|volumes| !volumes.disks.is_empty());
        if disks && node.pods.iter().any(|other| conflict(cycle.pod, other)) {
            return Status::new(Code::Unschedulable, "node(s) had no available disk");
        }
        if cycle.state.get::<State>().is_some_and(|state| state.users > 0) {
            return Status::new(
                Code::Unschedulable,
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
            );
        }
        Status::success()
    }
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn events(&self) -> Action {
        Action::POD_DELETE.or(Action::NODE_ADD).or(Action::CLAIM_ADD)
    }

    fn hint(&self, pod: &PodInfo, event: &Event, _: &HintContext<'_>) -> Hint {
        match &event.change {
            Change::Pod { old: Some(gone), .. } => {
                let (Some(own), Some(freed)) = (&pod.volumes, &gone.volumes) else { return Hint::Skip };
                let shared = || own.lasting().any(|name| freed.lasting().any(|other| name == other));
                Hint::from(pod.namespace == gone.namespace && (conflict(pod, gone) || shared()))
            }
            Change::Claim { new: Some(claim), .. } => {
                let (namespace, name) = (claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref());
                let uses = |own: &Box<_>| own_lasting(own, name.unwrap_or_default());
                Hint::from(namespace == Some(&*pod.namespace) && pod.volumes.as_ref().is_some_and(uses))
            }
            Change::Pod { .. } | Change::Claim { .. } => Hint::Skip,
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

fn own_lasting(volumes: &crate::cache::pod_volumes::PodVolumes, name: &str) -> bool {
    volumes.lasting().any(|own| **own == *name)
}
