//! Which claims a pod has: those that its entries name, and those that were made for them, which its status tells.
//!
//! Upstream: `resourceclaim/resourceclaim.go`.

use k8s_openapi::{
    api::{
        core::v1::{PodResourceClaim, PodResourceClaimStatus},
        resource::v1::{ResourceClaim, ResourceClaimConsumerReference},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// The claim behind an entry of a pod.
#[derive(Debug, PartialEq)]
pub struct Named<'a> {
    /// In the pod's namespace.
    pub name: &'a str,
    /// Made from a template: it must belong to the pod.
    pub generated: bool,
}

/// Why an entry has no claim.
#[derive(Debug, PartialEq)]
pub enum Missing {
    /// It will be made.
    NotCreated,
    /// The entry says neither claim nor template.
    Unsupported,
}

impl Missing {
    /// In upstream's words, of a pod by `namespace/name` and the name of its entry.
    pub fn told(&self, pod: &str, entry: &str) -> String {
        match self {
            Self::NotCreated => format!("pod {pod:?}: ResourceClaim not created yet"),
            Self::Unsupported => {
                format!("pod {pod:?}, spec.resourceClaim {entry:?}: none of the supported fields are set")
            }
        }
    }
}

/// The claim of an entry, with what the pod's status tells; none if it was decided that the entry needs none.
pub fn named<'a>(
    entry: &'a PodResourceClaim,
    told: &'a [PodResourceClaimStatus],
) -> Result<Option<Named<'a>>, Missing> {
    if let Some(name) = &entry.resource_claim_name {
        return Ok(Some(Named { name, generated: false }));
    }
    if entry.resource_claim_template_name.is_none() {
        return Err(Missing::Unsupported);
    }
    let status = told.iter().find(|s| s.name == entry.name).ok_or(Missing::NotCreated)?;
    Ok(status.resource_claim_name.as_deref().map(|name| Named { name, generated: true }))
}

/// Whether a generated claim was made for the pod with this `namespace/name` and UID, and not for another of its name.
///
/// # Errors
/// It was not, in upstream's words.
pub fn is_for(pod: &str, uid: &str, claim: &ResourceClaim) -> Result<(), String> {
    let owner = claim.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    if owner.is_some_and(|owner| owner.uid == uid) {
        return Ok(());
    }
    let claim = full_name(&claim.metadata);
    Err(format!("ResourceClaim {claim} was not created for Pod {pod} (Pod is not owner)"))
}

/// Whom a claim is reserved for.
pub fn consumers(claim: &ResourceClaim) -> &[ResourceClaimConsumerReference] {
    claim.status.as_ref().and_then(|s| s.reserved_for.as_deref()).unwrap_or_default()
}

/// Whether a claim is reserved for the pod with this UID.
pub fn is_reserved_for(uid: &str, claim: &ResourceClaim) -> bool {
    consumers(claim).iter().any(|consumer| consumer.uid == uid)
}

/// A pod, as a claim notes it.
pub fn consumer(name: &str, uid: &str) -> ResourceClaimConsumerReference {
    ResourceClaimConsumerReference {
        api_group: None,
        resource: "pods".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
    }
}

/// `namespace/name`, or the name alone where there is no namespace.
pub fn full_name(meta: &ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or_default();
    match meta.namespace.as_deref() {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}
