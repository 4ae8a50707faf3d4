//! What a pod says of claims and of resources that devices may stand for.

use k8s_openapi::api::core::v1::{Container, Pod, PodResourceClaim, PodResourceClaimStatus};
use machinery::names::{is_native_resource, qualified_name};

use super::CLASS_PREFIX;
use crate::cache::resources::amount;

/// See the module; most pods have none of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodClaims {
    /// spec.resourceClaims.
    pub entries: Vec<PodResourceClaim>,
    /// status.resourceClaimStatuses.
    pub told: Vec<PodResourceClaimStatus>,
    /// Init containers first; none if no container asks for a resource that a class may stand for.
    pub containers: Vec<Asking>,
}

/// A container.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// Its name.
    pub name: String,
    /// It ends before the others begin.
    pub is_short_lived: bool,
    /// What it asks for.
    pub resources: Vec<Asked>,
}

/// A resource that a class of devices may stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its name.
    pub resource: String,
    /// Its place among the names of all resources that the container asks for.
    pub index: usize,
    /// How many; 0 if it is no whole number.
    pub count: i64,
}

/// Whether a class of devices may stand for a resource.
pub fn may_be_devices(resource: &str) -> bool {
    let extended = !is_native_resource(resource)
        && !resource.starts_with("requests.")
        && qualified_name(&format!("requests.{resource}")).is_empty();
    extended || resource.starts_with(CLASS_PREFIX)
}

impl PodClaims {
    /// None if the pod has nothing to do with devices.
    pub fn new(pod: &Pod) -> Option<Box<Self>> {
        let spec = pod.spec.as_ref()?;
        let entries = spec.resource_claims.clone().unwrap_or_default();
        let init = spec
            .init_containers
            .iter()
            .flatten()
            .map(|container| asking(container, container.restart_policy.as_deref() != Some("Always")));
        let mut containers: Vec<Asking> =
            init.chain(spec.containers.iter().map(|container| asking(container, false))).collect();
        if containers.iter().all(|container| container.resources.is_empty()) {
            containers.clear();
        }
        if entries.is_empty() && containers.is_empty() {
            return None;
        }
        let told = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.clone()).unwrap_or_default();
        Some(Box::new(Self { entries, told, containers }))
    }
}

fn asking(container: &Container, is_short_lived: bool) -> Asking {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    // The names are in order.
    let asked = requests
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, (name, _))| may_be_devices(name))
        .map(|(index, (name, quantity))| Asked { resource: name.clone(), index, count: whole(quantity) });
    Asking { name: container.name.clone(), is_short_lived, resources: asked.collect() }
}

fn whole(quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> i64 {
    let value = amount(quantity, false);
    if amount(quantity, true) == value.saturating_mul(1000) { value } else { 0 }
}
