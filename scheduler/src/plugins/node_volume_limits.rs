//! A node takes no more volumes of a storage driver than the driver said it can attach there.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::CSINode};
use volumes::claim_class;

use super::volume_binding::made_for;
use crate::{
    cache::{
        node::Node,
        pod::PodInfo,
        pod_volumes::{InTree, PodClaim, PodVolumes, successor},
        volumes::{Shelves, claim_key},
    },
    framework::{
        events::{Action, Change, Event, Hint, HintContext},
        extension::{Cycle, Filter, Plugin, PreFilter, Scope},
        status::{Code, Status},
    },
};

/// See the module.
pub struct NodeVolumeLimits;

/// A volume of a driver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Volume {
    driver: Arc<str>,
    handle: String,
}

#[derive(Clone)]
struct State(Arc<[Volume]>);

fn counts(volumes: &PodVolumes) -> bool {
    !volumes.claims.is_empty() || !volumes.in_tree.is_empty()
}

fn of_in_tree(storage: &InTree) -> Option<Volume> {
    let handle = storage.handle.to_string();
    storage.counted.then(|| Volume { driver: Arc::from(storage.driver), handle })
}

/// The volume of a claim, or the one that will be made for it; `None` if no driver counts it.
fn of_claim(shelves: &Shelves, key: &str, claim: &PersistentVolumeClaim) -> Option<Volume> {
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
    let Some(volume) = shelves.volumes.shown(name) else {
        let class = shelves.classes.get(claim_class(claim))?;
        let driver = match successor(&class.provisioner) {
            Some((_, false)) => return None,
            Some((driver, true)) => driver,
            None => class.provisioner.as_str(),
        };
        // No volume has such a handle: drivers know of no namespaces.
        return Some(Volume { driver: Arc::from(driver), handle: format!("claim {key}") });
    };
    let spec = volume.object.spec.as_ref()?;
    match &spec.csi {
        Some(csi) if csi.driver.is_empty() || csi.volume_handle.is_empty() => None,
        Some(csi) => Some(Volume { driver: Arc::from(&*csi.driver), handle: csi.volume_handle.clone() }),
        None => of_in_tree(&InTree::of_volume(spec)?),
    }
}

/// The volumes of a pod. A claim that is not there is an error for a pod that is yet to run, and nothing otherwise.
fn of_pod(shelves: &Shelves, pod: &PodInfo, new: bool, into: &mut Vec<Volume>) -> Result<(), Status> {
    let Some(volumes) = &pod.volumes else { return Ok(()) };
    into.extend(volumes.in_tree.iter().filter_map(of_in_tree));
    for PodClaim { name, ephemeral } in &volumes.claims {
        if name.is_empty() {
            return Err(Status::new(Code::Error, "PersistentVolumeClaim had no name"));
        }
        let key = claim_key(&pod.namespace, name);
        let Some(claim) = shelves.claims.shown(&key) else {
            if new {
                let message = format!("looking up PVC {key}: persistentvolumeclaim {name:?} not found");
                return Err(Status::new(Code::UnschedulableAndUnresolvable, message));
            }
            continue;
        };
        if *ephemeral {
            made_for(pod, claim).map_err(|message| Status::new(Code::Error, message))?;
        }
        into.extend(of_claim(shelves, &key, claim));
    }
    Ok(())
}

fn limits(node: &CSINode) -> HashMap<&str, i64> {
    let limit = |driver: &'_ k8s_openapi::api::storage::v1::CSINodeDriver| driver.allocatable.as_ref()?.count;
    node.spec.drivers.iter().filter_map(|driver| Some((driver.name.as_str(), i64::from(limit(driver)?)))).collect()
}

impl PreFilter for NodeVolumeLimits {
    fn pre_filter(&self, cycle: &mut Cycle<'_>) -> (Status, Option<BTreeSet<Arc<str>>>) {
        if !cycle.pod.volumes.as_deref().is_some_and(counts) {
            return (Status::skip(), None);
        }
        let mut own = Vec::new();
        let found = of_pod(&cycle.snapshot.volumes.read(), cycle.pod, true, &mut own);
        // What is wrong is said of each node, as upstream does.
        match found {
            Ok(()) => cycle.state.put(Ok::<_, Status>(State(own.into()))),
            Err(status) => cycle.state.put(Err::<State, _>(status)),
        }
        (Status::success(), None)
    }
}

impl Filter for NodeVolumeLimits {
    fn scope(&self) -> Scope {
        Scope::Pods
    }

    fn filter(&self, cycle: &Cycle<'_>, node: &Node) -> Status {
        let own = match cycle.state.get::<Result<State, Status>>() {
            Some(Ok(State(own))) => own,
            Some(Err(status)) => return status.clone(),
            None => return Status::success(),
        };
        let shelves = cycle.snapshot.volumes.read();
        let name = &node.object().name;
        let Some(csi_node) = shelves.csi_nodes.get(name) else { return Status::success() };
        let limits = limits(csi_node);
        if limits.is_empty() || !own.iter().any(|volume| limits.contains_key(&*volume.driver)) {
            return Status::success();
        }
        let mut there = Vec::new();
        for other in &node.pods {
            if let Err(status) = of_pod(&shelves, other, false, &mut there) {
                return status;
            }
        }
        let there: HashSet<Volume> = there.into_iter().collect();
        let attached = shelves.attached_to(name).filter_map(|attachment| {
            let volume = shelves.volumes.shown(&attachment.volume)?;
            let csi = volume.object.spec.as_ref()?.csi.as_ref()?;
            let driver = Some(attachment.attacher.clone()).filter(|driver| !driver.is_empty())?;
            Some(Volume { driver, handle: csi.volume_handle.clone() })
        });
        let attached: HashSet<Volume> = attached.filter(|volume| !there.contains(volume)).collect();
        let new: HashSet<&Volume> = own.iter().filter(|volume| !there.contains(*volume)).collect();
        for (driver, limit) in limits {
            let of_driver = |volume: &&Volume| &*volume.driver == driver;
            let more = new.iter().filter(|volume| of_driver(volume)).count();
            let used = there.iter().filter(of_driver).count() + attached.iter().filter(of_driver).count();
            if more > 0 && (used + more) as i64 > limit {
                return Status::new(Code::Unschedulable, "node(s) exceed max volume count");
            }
        }
        Status::success()
    }
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn events(&self) -> Action {
        Action::CSI_NODE_ADD
            .or(Action::CSI_NODE_UPDATE)
            .or(Action::POD_DELETE)
            .or(Action::CLAIM_ADD)
            .or(Action::ATTACHMENT_DELETE)
    }

    fn hint(&self, pod: &PodInfo, event: &Event, _: &HintContext<'_>) -> Hint {
        match &event.change {
            Change::Pod { old: Some(gone), .. } => {
                let had_node = gone.is_assigned() || !gone.nominated_node.is_empty();
                Hint::from(had_node && gone.volumes.as_deref().is_some_and(counts))
            }
            Change::Claim { new: Some(claim), .. } => {
                let (namespace, name) = (claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref());
                let used = pod.volumes.iter().flat_map(|own| &own.claims).any(|own| Some(&*own.name) == name);
                Hint::from(namespace == Some(&*pod.namespace) && used)
            }
            Change::Attachment { old: Some(gone), .. } => {
                let Some(own) = &pod.volumes else { return Hint::Skip };
                let in_tree = own.in_tree.iter().any(|storage| *storage.driver == *gone.attacher);
                Hint::from(own.lasting().next().is_some() || in_tree)
            }
            Change::CsiNode { old: Some(old), new: Some(new) } => {
                let before = limits(old);
                let more = |(driver, limit): (&str, i64)| limit > before.get(driver).copied().unwrap_or_default();
                Hint::from(limits(new).into_iter().any(more))
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
