//! Which claims a pod has: those that it names, and those that were made for it, which its status tells.

pub(crate) use devices::entries::{Missing, Named, consumers};
use k8s_openapi::api::{
    core::v1::{Pod, PodResourceClaim},
    resource::v1::ResourceClaim,
};

use super::key;

/// What the pod asks for.
pub(crate) fn entries(pod: &Pod) -> &[PodResourceClaim] {
    pod.spec.as_ref().and_then(|s| s.resource_claims.as_deref()).unwrap_or_default()
}

/// The claim of an entry; none if it was decided that it needs none.
pub(crate) fn named<'a>(pod: &'a Pod, entry: &'a PodResourceClaim) -> Result<Option<Named<'a>>, Missing> {
    let told = pod.status.as_ref().and_then(|s| s.resource_claim_statuses.as_deref()).unwrap_or_default();
    devices::entries::named(entry, told)
}

/// Whether a generated claim was made for this pod, and not for another of its name.
pub(crate) fn is_for(pod: &Pod, claim: &ResourceClaim) -> Result<(), String> {
    devices::entries::is_for(&full_name(pod), key::uid(&pod.metadata), claim)
}

/// `namespace/name`.
pub(crate) fn full_name(pod: &Pod) -> String {
    devices::entries::full_name(&pod.metadata)
}
