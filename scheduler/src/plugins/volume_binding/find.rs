//! What a pod's claims ask of a node: looked up once a pod, asked of each node (`volumebinding/binder.go`).
//!
//! Whatever does not depend on the node is worked out beforehand: which volumes satisfy a claim, in which order they are
//! taken, and which capacities are large enough. A node only says which of them it reaches.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, TopologySelectorTerm},
    storage::v1::StorageClass,
};
use machinery::quantity::Quantity;
use smallvec::SmallVec;
use volumes::{
    Fit, Wanted,
    annotations::{self, BIND_COMPLETED, NO_PROVISIONER, SELECTED_NODE},
    claim_class, requested, waits_for_consumer,
};

use super::made_for;
use crate::{
    cache::{
        labels::Labels,
        node::NodeObject,
        pod::PodInfo,
        volumes::{Capacity, HOST_NAME, Shelves, Volume, claim_key},
    },
    framework::status::{Code, Reason, Status},
};

const NO_NODE_AFFINITY: &str = "node(s) didn't match PersistentVolume's node affinity";
const NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind";
const NO_SPACE: &str = "node(s) did not have enough free storage";
const LOST: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// Why a node will not do, in upstream's words and order.
pub type Reasons = SmallVec<[Reason; 1]>;

/// A claim that waits for its pod.
struct Waiting {
    claim: Arc<PersistentVolumeClaim>,
    /// The node on which its volume is being made already.
    selected: Option<String>,
    size: Quantity,
    candidates: Candidates,
    provision: Provision,
}

/// Volumes that satisfy a claim, the best first.
struct Candidates {
    all: Vec<Arc<Volume>>,
    /// The first is reserved for the claim, so no other is taken.
    reserved: bool,
    /// Indices of those that are bound to host names, by host name; there may be one a node.
    local: HashMap<String, Vec<usize>>,
    /// Indices of the others.
    others: Vec<usize>,
}

impl Candidates {
    fn new(wanted: &Wanted, shelves: &Shelves, class: &str) -> Self {
        let fit = |volume: &Arc<Volume>| Some((wanted.fit(&volume.object)?, volume.clone()));
        let mut fitting: Vec<_> = shelves.of_class(class).filter_map(fit).collect();
        fitting.sort_by(|(a, _), (b, _)| a.cmp(b));
        let reserved = fitting.first().is_some_and(|(fit, _)| *fit == Fit::Reserved);
        let all: Vec<Arc<Volume>> = fitting.into_iter().map(|(_, volume)| volume).collect();
        let (mut local, mut others) = (HashMap::<String, Vec<usize>>::new(), Vec::new());
        for (index, volume) in all.iter().enumerate() {
            if volume.hosts.is_empty() {
                others.push(index);
            }
            for host in volume.hosts.iter() {
                local.entry(host.clone()).or_default().push(index);
            }
        }
        Self { all, reserved, local, others }
    }

    /// The best that the node reaches and nobody else has.
    fn best(&self, node: &NodeObject, taken: impl Fn(&Volume) -> bool) -> Option<&Arc<Volume>> {
        let reaches = |volume: &Volume| volume.reach.includes(&node.labels);
        if self.reserved {
            return self.all.iter().find(|volume| !taken(volume)).filter(|volume| reaches(volume));
        }
        let fits = |index: &&usize| !taken(&self.all[**index]) && reaches(&self.all[**index]);
        let local = node.labels.get(HOST_NAME).and_then(|host| self.local.get(&**host));
        let local = local.and_then(|indices| indices.iter().find(fits));
        local.into_iter().chain(self.others.iter().find(fits)).min().map(|index| &self.all[*index])
    }
}

/// Whether a volume can be made for a claim.
enum Provision {
    /// Asking is an error.
    Impossible(String),
    /// Nobody makes volumes of the class.
    Never,
    /// Where the class admits it, and where one of the capacities is, if any is asked for.
    Where(Arc<StorageClass>, Option<Vec<Arc<Capacity>>>),
}

/// A volume, and the nodes on which a driver stands in for its plugin.
type Bound = (Arc<Volume>, HashSet<Arc<str>>);

/// The claims of a pod.
pub struct Claims {
    /// The volumes of those that are bound; `None` for one that is gone.
    bound: Vec<Option<Bound>>,
    /// In the order of the pod.
    waiting: Vec<Waiting>,
    /// Indices of those that wait, the smallest claim first.
    by_size: Vec<usize>,
}

/// What a pod's claims get on a node.
#[derive(Default)]
pub struct Found {
    /// Volumes that are there.
    pub volumes: Vec<(Arc<PersistentVolumeClaim>, Arc<Volume>)>,
    /// Claims whose volumes have to be made.
    pub made: Vec<Arc<PersistentVolumeClaim>>,
}

impl Found {
    /// Whether all claims were bound before.
    pub fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.made.is_empty()
    }
}

impl Claims {
    /// Of a pod; `None` if it has none. A status says why the pod can't be placed at all.
    pub fn of(pod: &PodInfo, shelves: &Shelves) -> Result<Option<Self>, Status> {
        let claims = pod.volumes.as_ref().map(|volumes| &*volumes.claims).unwrap_or_default();
        if claims.is_empty() {
            return Ok(None);
        }
        let unresolvable = |message: String| Status::new(Code::UnschedulableAndUnresolvable, message);
        for claim in claims {
            let Some(found) = shelves.claims.shown(&claim_key(&pod.namespace, &claim.name)) else {
                return Err(unresolvable(if claim.ephemeral {
                    format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim {:?}",
                        claim.name
                    )
                } else {
                    format!("persistentvolumeclaim {:?} not found", claim.name)
                }));
            };
            if found.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
                return Err(unresolvable(format!(
                    "persistentvolumeclaim {:?} bound to non-existent persistentvolume {:?}",
                    claim.name,
                    volume_name(found)
                )));
            }
            if found.metadata.deletion_timestamp.is_some() {
                return Err(unresolvable(format!("persistentvolumeclaim {:?} is being deleted", claim.name)));
            }
            if claim.ephemeral {
                made_for(pod, found).map_err(unresolvable)?;
            }
        }
        let (mut bound, mut waiting, mut late) = (Vec::new(), Vec::new(), false);
        for claim in claims {
            let Some(claim) = shelves.claims.get(&claim_key(&pod.namespace, &claim.name)) else { continue };
            if is_bound(claim) {
                let volume = shelves.volumes.get(volume_name(claim)).cloned();
                bound.push(volume.map(|volume| (volume.clone(), shelves.by_driver(&volume))));
                continue;
            }
            let class = shelves.classes.get(claim_class(claim));
            if let Some(class) = class.filter(|class| class.volume_binding_mode.is_none()) {
                let name = class.metadata.name.as_deref().unwrap_or_default();
                return Err(Status::new(Code::Error, format!("VolumeBindingMode not set for StorageClass {name:?}")));
            }
            match class.filter(|class| waits_for_consumer(class) && volume_name(claim).is_empty()) {
                Some(class) => {
                    waiting.push(Waiting::new(claim, class, shelves).map_err(|why| Status::new(Code::Error, why))?)
                }
                None => late = true,
            }
        }
        if late {
            return Err(unresolvable("pod has unbound immediate PersistentVolumeClaims".to_owned()));
        }
        let mut by_size: Vec<usize> = (0..waiting.len()).collect();
        by_size.sort_by(|a, b| waiting[*a].size.cmp(&waiting[*b].size));
        Ok(Some(Self { bound, waiting, by_size }))
    }

    /// What they get on a node, or why they can't have it there.
    ///
    /// # Errors
    /// Something is wrong that no node can help.
    pub fn on(&self, node: &NodeObject) -> Result<Result<Found, Reasons>, String> {
        let refused = self.bound.iter().find_map(|volume| match volume {
            None => Some(LOST),
            Some((volume, by_driver)) => {
                let reached = volume.is_reached(&node.labels, by_driver.contains(&node.name));
                (!reached).then_some(NO_NODE_AFFINITY)
            }
        });
        let (missing, away) = (refused == Some(LOST), refused == Some(NO_NODE_AFFINITY));
        let found = self.find(node)?;
        let reasons = [(NO_NODE_AFFINITY, away), (LOST, missing)];
        match found {
            Ok(found) if refused.is_none() => Ok(Ok(found)),
            found => {
                let why = found.err();
                let mut all: Reasons = SmallVec::new();
                let order =
                    [reasons[0], (NO_VOLUME, why == Some(NO_VOLUME)), (NO_SPACE, why == Some(NO_SPACE)), reasons[1]];
                all.extend(order.into_iter().filter(|(_, holds)| *holds).map(|(reason, _)| Reason::Borrowed(reason)));
                Ok(Err(all))
            }
        }
    }

    fn find(&self, node: &NodeObject) -> Result<Result<Found, &'static str>, String> {
        let elsewhere = |waiting: &Waiting| waiting.selected.as_ref().is_some_and(|selected| **selected != *node.name);
        if self.waiting.iter().any(elsewhere) {
            return Ok(Err(NO_VOLUME));
        }
        let mut found = Found::default();
        let mut to_make: Vec<&Waiting> = self.waiting.iter().filter(|waiting| waiting.selected.is_some()).collect();
        for waiting in self.by_size.iter().map(|index| &self.waiting[*index]) {
            if waiting.selected.is_some() {
                continue;
            }
            let taken = |volume: &Volume| found.volumes.iter().any(|(_, other)| other.name() == volume.name());
            match waiting.candidates.best(node, taken) {
                Some(volume) => found.volumes.push((waiting.claim.clone(), volume.clone())),
                None => to_make.push(waiting),
            }
        }
        for waiting in to_make {
            match &waiting.provision {
                Provision::Impossible(message) => return Err(message.clone()),
                Provision::Never => return Ok(Err(NO_VOLUME)),
                Provision::Where(class, capacities) => {
                    if !admits(class.allowed_topologies.as_deref().unwrap_or_default(), &node.labels) {
                        return Ok(Err(NO_VOLUME));
                    }
                    let there = |capacity: &Arc<Capacity>| {
                        capacity.nodes.as_ref().is_some_and(|nodes| nodes.matches(&node.labels))
                    };
                    if capacities.as_ref().is_some_and(|capacities| !capacities.iter().any(there)) {
                        return Ok(Err(NO_SPACE));
                    }
                }
            }
            found.made.push(waiting.claim.clone());
        }
        Ok(Ok(found))
    }
}

impl Waiting {
    fn new(claim: &Arc<PersistentVolumeClaim>, class: &Arc<StorageClass>, shelves: &Shelves) -> Result<Self, String> {
        let wanted = Wanted::new(claim.clone())?;
        Ok(Self {
            selected: annotations::get(&claim.metadata, SELECTED_NODE).map(str::to_owned),
            size: requested(claim),
            candidates: Candidates::new(&wanted, shelves, claim_class(claim)),
            provision: Provision::of(claim, class, shelves),
            claim: claim.clone(),
        })
    }
}

impl Provision {
    fn of(claim: &PersistentVolumeClaim, class: &Arc<StorageClass>, shelves: &Shelves) -> Self {
        if claim_class(claim).is_empty() {
            let meta = &claim.metadata;
            let [namespace, name] = [&meta.namespace, &meta.name].map(|part| part.as_deref().unwrap_or_default());
            return Self::Impossible(format!("no class for claim {:?}", claim_key(namespace, name)));
        }
        if class.provisioner.is_empty() || class.provisioner == NO_PROVISIONER {
            return Self::Never;
        }
        let asks = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage"));
        let driver = shelves.drivers.get(&*class.provisioner);
        let tells = driver.is_some_and(|driver| driver.spec.storage_capacity == Some(true));
        let capacities = asks.filter(|_| tells).map(|_| {
            let size = requested(claim).value();
            let name = class.metadata.name.as_deref().unwrap_or_default();
            let enough = |capacity: &&Arc<Capacity>| {
                &*capacity.class == name && capacity.limit.is_some_and(|limit| limit >= size)
            };
            shelves.capacities.values().filter(enough).cloned().collect()
        });
        Self::Where(class.clone(), capacities)
    }
}

/// Whether a class admits nodes with these labels (`core/v1/helper`).
fn admits(terms: &[TopologySelectorTerm], labels: &Labels) -> bool {
    let holds = |term: &TopologySelectorTerm| {
        let expressions = term.match_label_expressions.as_deref().unwrap_or_default();
        let one_of = |expression: &k8s_openapi::api::core::v1::TopologySelectorLabelRequirement| {
            labels.get(&expression.key).is_some_and(|value| expression.values.iter().any(|wanted| **wanted == **value))
        };
        !expressions.is_empty() && expressions.iter().all(one_of)
    };
    terms.is_empty() || terms.iter().any(holds)
}

/// spec.volumeName; empty if none.
pub fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default()
}

/// Whether the controller has done all that belongs to a binding.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    !volume_name(claim).is_empty() && annotations::has(&claim.metadata, BIND_COMPLETED)
}
