//! How much storage a claim requests and a volume has.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim},
    apimachinery::pkg::api::resource,
};
use machinery::quantity::Quantity;

/// The storage that a claim requests; zero if it says none.
pub fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    storage(claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()))
}

/// The storage that a volume has; zero if it says none.
pub fn capacity(volume: &PersistentVolume) -> Quantity {
    storage(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

fn storage(of: Option<&BTreeMap<String, resource::Quantity>>) -> Quantity {
    let text = of.and_then(|resources| resources.get("storage")).map_or("0", |quantity| &quantity.0);
    Quantity::parse(text).unwrap_or_else(|_| Quantity::zero())
}
