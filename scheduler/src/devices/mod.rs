//! Claims, slices and classes as the scheduler knows them, for all profiles.
//!
//! One lock over all of it, so that what is taken is never looked at half-way. A claim that was written here counts from
//! then on, whatever the informer still shows (upstream's assume cache); and what a cycle decided is taken until it is
//! written, or given up (its allocations in flight). Upstream: `plugins/dynamicresources/dra_manager.go`.

pub mod extended;
pub mod pod;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use devices::{Allocated, Inventory};
use k8s_openapi::{
    api::resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// On the claim that the scheduler makes for a pod's extended resources.
pub const EXTENDED: &str = "resource.kubernetes.io/extended-resource-claim";
/// What the name of every class is preceded by, to be asked for as an extended resource.
pub const CLASS_PREFIX: &str = "deviceclass.resource.kubernetes.io/";

/// Classes by name.
pub type Classes = BTreeMap<String, Arc<DeviceClass>>;

/// See the module.
#[derive(Default)]
pub struct Devices {
    state: Mutex<State>,
    /// Told when a claim changes.
    pub claims_changed: Notify,
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        write!(f, "Devices({} claims, {} in flight)", state.claims.len(), state.in_flight.len())
    }
}

/// Namespace and name.
type Key = (String, String);

#[derive(Default)]
struct State {
    claims: HashMap<Key, Known>,
    /// By the UID of a claim.
    in_flight: HashMap<String, AllocationResult>,
    allocated: Arc<Allocated>,
    inventory: Arc<Inventory>,
    classes: Arc<Classes>,
    /// The class of an extended resource.
    resources: HashMap<String, Arc<DeviceClass>>,
    /// Claims for extended resources, by the UID of their pod.
    extended: HashMap<String, Key>,
}

/// A claim as the informer shows it, and as it was written here after that.
#[derive(Default)]
struct Known {
    shown: Option<Arc<ResourceClaim>>,
    assumed: Option<Arc<ResourceClaim>>,
}

impl Known {
    fn latest(&self) -> Option<&Arc<ResourceClaim>> {
        self.assumed.as_ref().or(self.shown.as_ref())
    }
}

/// What devices are looked for in, at one moment.
#[derive(Clone)]
pub struct View {
    /// What there is.
    pub inventory: Arc<Inventory>,
    /// What is taken.
    pub allocated: Arc<Allocated>,
    /// The classes.
    pub classes: Arc<Classes>,
}

fn key(meta: &ObjectMeta) -> Key {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn version(claim: &ResourceClaim) -> u64 {
    claim.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn allocation(claim: &ResourceClaim) -> Option<&AllocationResult> {
    claim.status.as_ref()?.allocation.as_ref()
}

/// The pod that a claim for extended resources was made for.
fn extended_for(claim: &ResourceClaim) -> Option<&str> {
    let annotations = claim.metadata.annotations.as_ref()?;
    let owners = claim.metadata.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|owner| owner.controller == Some(true))?;
    (annotations.get(EXTENDED).map(String::as_str) == Some("true")).then_some(owner.uid.as_str())
}

impl Devices {
    /// The informer shows a claim; returns what it showed before.
    pub fn show_claim(&self, claim: ResourceClaim) -> (Option<Arc<ResourceClaim>>, Arc<ResourceClaim>) {
        let claim = Arc::new(claim);
        let mut state = self.state.lock();
        let before = state.change(&key(&claim.metadata), |known| {
            if known.assumed.as_ref().is_some_and(|assumed| version(assumed) <= version(&claim)) {
                known.assumed = None;
            }
            known.shown = Some(claim.clone());
        });
        drop(state);
        self.claims_changed.notify_waiters();
        (before, claim)
    }

    /// The informer shows that a claim is gone.
    pub fn forget_claim(&self, namespace: &str, name: &str) {
        let gone = |known: &mut Known| {
            known.assumed = None;
            known.shown = None;
        };
        self.state.lock().change(&(namespace.to_owned(), name.to_owned()), gone);
        self.claims_changed.notify_waiters();
    }

    /// The keys (`namespace/name`, or the name) of what there is of a kind, for telling which of it a list did not show. A
    /// claim that no list can have shown yet is not among them.
    pub fn keys(&self, kind: &str) -> Vec<String> {
        let state = self.state.lock();
        match kind {
            "resourceclaims" => {
                let shown = state.claims.iter().filter(|(_, known)| known.shown.is_some());
                shown.map(|((namespace, name), _)| format!("{namespace}/{name}")).collect()
            }
            "resourceslices" => state.inventory.names().cloned().collect(),
            _ => state.classes.keys().cloned().collect(),
        }
    }

    /// A claim was written, and this is what came back.
    pub fn assume(&self, claim: ResourceClaim) {
        let claim = Arc::new(claim);
        let newer = |than: &Option<Arc<ResourceClaim>>| than.as_ref().is_none_or(|t| version(&claim) > version(t));
        self.state.lock().change(&key(&claim.metadata), |known| {
            if newer(&known.shown) && newer(&known.assumed) {
                known.assumed = Some(claim.clone());
            }
        });
        self.claims_changed.notify_waiters();
    }

    /// The claim as it is, as far as is known.
    pub fn claim(&self, namespace: &str, name: &str) -> Option<Arc<ResourceClaim>> {
        let state = self.state.lock();
        state.claims.get(&(namespace.to_owned(), name.to_owned())).and_then(Known::latest).cloned()
    }

    /// The claim that was made for the extended resources of a pod.
    pub fn extended_claim(&self, pod_uid: &str) -> Option<Arc<ResourceClaim>> {
        let state = self.state.lock();
        state.claims.get(state.extended.get(pod_uid)?).and_then(Known::latest).cloned()
    }

    /// Takes devices for a claim until [`Devices::land`], whatever the claim says.
    pub fn take_off(&self, claim_uid: &str, allocation: AllocationResult) {
        let mut state = self.state.lock();
        Arc::make_mut(&mut state.allocated).add(&allocation);
        if let Some(before) = state.in_flight.insert(claim_uid.to_owned(), allocation) {
            Arc::make_mut(&mut state.allocated).remove(&before);
        }
    }

    /// The allocation is written, or given up: from now on the claim says what it has.
    pub fn land(&self, claim_uid: &str) {
        let mut state = self.state.lock();
        if let Some(allocation) = state.in_flight.remove(claim_uid) {
            Arc::make_mut(&mut state.allocated).remove(&allocation);
        }
    }

    /// Whether devices are taken for a claim that does not have them yet.
    pub fn is_in_flight(&self, claim_uid: &str) -> bool {
        self.state.lock().in_flight.contains_key(claim_uid)
    }

    /// The informer shows a slice.
    pub fn show_slice(&self, slice: &ResourceSlice) {
        Arc::make_mut(&mut self.state.lock().inventory).insert(slice);
    }

    /// The informer shows that a slice is gone.
    pub fn forget_slice(&self, name: &str) {
        Arc::make_mut(&mut self.state.lock().inventory).remove(name);
    }

    /// The informer shows a class; returns what it showed before.
    pub fn show_class(&self, class: DeviceClass) -> (Option<Arc<DeviceClass>>, Arc<DeviceClass>) {
        let class = Arc::new(class);
        let name = class.metadata.name.clone().unwrap_or_default();
        let mut state = self.state.lock();
        let old = Arc::make_mut(&mut state.classes).insert(name, class.clone());
        state.resources = extended::classes(&state.classes);
        (old, class)
    }

    /// The informer shows that a class is gone.
    pub fn forget_class(&self, name: &str) {
        let mut state = self.state.lock();
        Arc::make_mut(&mut state.classes).remove(name);
        state.resources = extended::classes(&state.classes);
    }

    /// The class whose devices an extended resource stands for.
    pub fn class_of(&self, resource: &str) -> Option<Arc<DeviceClass>> {
        self.state.lock().resources.get(resource).cloned()
    }

    /// Everything that devices are looked for in.
    pub fn view(&self) -> View {
        let state = self.state.lock();
        View { inventory: state.inventory.clone(), allocated: state.allocated.clone(), classes: state.classes.clone() }
    }
}

impl State {
    /// Changes what is known of a claim, and what is taken with it; returns what was shown before.
    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Known)) -> Option<Arc<ResourceClaim>> {
        let known = self.claims.entry(key.clone()).or_default();
        let (shown, before) = (known.shown.clone(), known.latest().cloned());
        change(known);
        let after = known.latest().cloned();
        if after.is_none() {
            self.claims.remove(key);
        }
        // An allocation never changes: it comes and goes as a whole.
        let taken = |claim: &Option<Arc<ResourceClaim>>| claim.as_deref().and_then(allocation).cloned();
        let uid = |claim: &Option<Arc<ResourceClaim>>| claim.as_ref().and_then(|c| c.metadata.uid.clone());
        let (had, has) = (taken(&before), taken(&after));
        if had.is_some() != has.is_some() || uid(&before) != uid(&after) {
            let allocated = Arc::make_mut(&mut self.allocated);
            had.iter().for_each(|allocation| allocated.remove(allocation));
            has.iter().for_each(|allocation| allocated.add(allocation));
        }
        if let Some(pod) = before.as_deref().and_then(extended_for) {
            self.extended.remove(pod);
        }
        if let Some(pod) = after.as_deref().and_then(extended_for) {
            self.extended.insert(pod.to_owned(), key.clone());
        }
        shown
    }
}
