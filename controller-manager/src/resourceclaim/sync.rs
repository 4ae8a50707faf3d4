//! The decisions: which claims a pod names, which it still needs, who still uses a claim, and what becomes of one that
//! nobody uses.

use std::{collections::BTreeMap, sync::Arc};

use controller::controller_of;
pub(crate) use devices::FINALIZER;
use k8s_openapi::{
    api::{
        core::v1::{Pod, PodResourceClaim, PodResourceClaimStatus},
        resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimStatus, ResourceClaimTemplate},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use crate::util::{
    key,
    pod_claims::{Missing, consumers, entries, full_name, is_for, named},
    pods,
};

/// On a generated claim: the entry of the pod that it was made for.
pub(crate) const ENTRY: &str = "resource.kubernetes.io/pod-claim-name";
/// Of a generated name of 63 characters, without its five random ones and their dash.
const NAME_MAX: usize = 57;

/// The claim that the scheduler made for the pod's extended resources.
fn extended(pod: &Pod) -> Option<&str> {
    Some(pod.status.as_ref()?.extended_resource_claim_status.as_ref()?.resource_claim_name.as_str())
}

/// Whether a claim asks for access as an administrator, in the words of the metrics.
pub(crate) fn admin_access(claim: &ResourceClaim) -> &'static str {
    let requests = claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten());
    let mut exact = requests.filter_map(|request| request.exactly.as_ref());
    if exact.any(|asked| asked.admin_access == Some(true)) { "true" } else { "false" }
}

/// Whether a claim is allocated, asks for such access, and where it comes from: the labels of its metric.
pub(crate) fn sort(claim: &ResourceClaim) -> [String; 3] {
    let annotation = |name: &str| claim.metadata.annotations.as_ref().and_then(|all| all.get(name)).map(String::as_str);
    let source = if annotation("resource.kubernetes.io/extended-resource-claim") == Some("true") {
        "extended_resource"
    } else if annotation(ENTRY).is_some_and(|entry| !entry.is_empty()) {
        "resource_claim_template"
    } else {
        ""
    };
    let allocated = claim.status.as_ref().is_some_and(|status| status.allocation.is_some());
    [allocated.to_string(), admin_access(claim).to_owned(), source.to_owned()]
}

/// Whether the pod concerns this controller at all.
pub(crate) fn has_claims(pod: &Pod) -> bool {
    !entries(pod).is_empty() || extended(pod).is_some()
}

/// All claims that a pod has by name.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = &str> {
    let of_entries = entries(pod).iter().filter_map(|entry| named(pod, entry).ok().flatten());
    of_entries.map(|named| named.name).chain(extended(pod))
}

/// None of its containers runs or ever will.
pub(crate) fn is_done(pod: &Pod) -> bool {
    pods::is_finished(pod) || (pods::is_terminating(pod) && pods::node_name(pod).is_empty())
}

fn is_allocated(claim: &ResourceClaim) -> bool {
    claim.status.as_ref().is_some_and(|s| s.allocation.is_some())
}

/// Allocated and not reserved for this pod.
pub(crate) fn must_reserve(pod: &Pod, claim: &ResourceClaim) -> bool {
    is_allocated(claim) && !devices::entries::is_reserved_for(key::uid(&pod.metadata), claim)
}

pub(crate) fn consumer(pod: &Pod) -> ResourceClaimConsumerReference {
    devices::entries::consumer(key::name(&pod.metadata), key::uid(&pod.metadata))
}

/// Whether there is anything to do for a pod.
pub(crate) fn needs_work(pod: &Pod, claim: impl Fn(&str) -> Option<Arc<ResourceClaim>>) -> bool {
    let for_entry = |entry: &PodResourceClaim| match named(pod, entry) {
        Err(_) => true,
        Ok(None) => false,
        Ok(Some(named)) => match claim(named.name) {
            // One that the user makes is waited for.
            None => named.generated,
            // As long as another one has the name, nothing can be done.
            Some(claim) if named.generated && is_for(pod, &claim).is_err() => false,
            Some(claim) => !pods::node_name(pod).is_empty() && must_reserve(pod, &claim),
        },
    };
    !pods::is_terminating(pod) && entries(pod).iter().any(for_entry)
}

/// What an entry of a pod wants done.
#[derive(Debug, PartialEq)]
pub(crate) enum Step<'a> {
    Nothing,
    /// There is a claim, and the pod's status does not say so.
    Tell(String),
    /// A claim is to be made of this template.
    Make(&'a str),
}

/// Decides about an entry. `owned` are the claims that the pod controls.
///
/// # Errors
/// The entry is of a sort that is not known, in upstream's words.
pub(crate) fn step<'a>(
    pod: &'a Pod,
    entry: &'a PodResourceClaim,
    claim: impl Fn(&str) -> Option<Arc<ResourceClaim>>,
    owned: impl Fn() -> Vec<Arc<ResourceClaim>>,
) -> Result<Step<'a>, String> {
    match named(pod, entry) {
        Err(Missing::NotCreated) => {}
        Err(missing) => {
            return Err(format!(
                "checking for claim before creating it: {}",
                missing.told(&full_name(pod), &entry.name)
            ));
        }
        Ok(None) => return Ok(Step::Nothing),
        Ok(Some(named)) => {
            let usable = |claim: Arc<ResourceClaim>| !named.generated || is_for(pod, &claim).is_ok();
            if claim(named.name).is_some_and(usable) {
                return Ok(Step::Nothing);
            }
        }
    }
    let Some(template) = &entry.resource_claim_template_name else { return Ok(Step::Nothing) };
    // One that was made, and whose name could not be told.
    let of_entry = |claim: &Arc<ResourceClaim>| {
        let annotations = claim.metadata.annotations.as_ref();
        annotations.and_then(|a| a.get(ENTRY)).is_some_and(|name| *name == entry.name)
    };
    Ok(match owned().into_iter().find(of_entry) {
        Some(orphan) => Step::Tell(key::name(&orphan.metadata).to_owned()),
        None => Step::Make(template),
    })
}

/// The claim that is made for an entry of a pod.
pub(crate) fn generate(pod: &Pod, entry: &str, template: &ResourceClaimTemplate) -> ResourceClaim {
    let name = key::name(&pod.metadata);
    let meta = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations: BTreeMap<String, String> = meta.annotations.unwrap_or_default();
    annotations.insert(ENTRY.to_owned(), entry.to_owned());
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        name: name.to_owned(),
        uid: key::uid(&pod.metadata).to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(name_prefix(name, entry)),
            owner_references: Some(vec![owner]),
            annotations: Some(annotations),
            labels: meta.labels,
            ..Default::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// Both names, each cut by the same part if they are too long together.
fn name_prefix(pod: &str, entry: &str) -> String {
    let whole = format!("{pod}-{entry}-");
    if whole.len() <= NAME_MAX {
        return whole;
    }
    let cut = |name: &str| name.chars().take(name.len() * NAME_MAX / whole.len()).collect::<String>();
    format!("{}-{}", cut(pod), cut(entry))
}

/// What is applied to the pod: the claims found now, and those told before, which would go if they were not named again.
pub(crate) fn statuses(pod: &Pod, found: &[(&str, String)]) -> Vec<PodResourceClaimStatus> {
    let status = |entry: &PodResourceClaim| {
        let now = found.iter().find(|(name, _)| *name == entry.name).map(|(_, claim)| claim.clone());
        let before = || named(pod, entry).ok().flatten().filter(|n| n.generated).map(|n| n.name.to_owned());
        let claim = now.or_else(before)?;
        Some(PodResourceClaimStatus { name: entry.name.clone(), resource_claim_name: Some(claim) })
    };
    entries(pod).iter().filter_map(status).collect()
}

/// Whether a claim is still reserved for a consumer.
#[derive(Debug, PartialEq)]
pub(crate) enum Reserved {
    Still,
    NoMore,
    /// The pod was never seen.
    Unknown,
}

/// `gone`: the consumer was seen to go. `cached`: the pod that has its name now, as far as is known.
pub(crate) fn reserved(consumer: &ResourceClaimConsumerReference, gone: bool, cached: Option<&Pod>) -> Reserved {
    let is_pod = consumer.api_group.as_deref().unwrap_or_default().is_empty() && consumer.resource == "pods";
    match cached {
        // Nobody here knows how those are.
        _ if !is_pod => Reserved::Still,
        _ if gone => Reserved::NoMore,
        None => Reserved::Unknown,
        Some(pod) if key::uid(&pod.metadata) != consumer.uid || is_done(pod) => Reserved::NoMore,
        Some(_) => Reserved::Still,
    }
}

/// What is written of a claim.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Settled {
    pub(crate) status: Option<ResourceClaimStatus>,
    /// After that, its finalizer goes.
    pub(crate) unprotect: bool,
}

/// A claim is deallocated with its last consumer, not for having none: a driver may allocate before anyone wants it.
pub(crate) fn settle(claim: &ResourceClaim, remaining: Vec<ResourceClaimConsumerReference>) -> Settled {
    let protected = claim.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
    let mut status = claim.status.clone().unwrap_or_default();
    if remaining.len() < consumers(claim).len() {
        if remaining.is_empty() && protected {
            status.allocation = None;
        }
        let unprotect = protected && status.allocation.is_none();
        status.reserved_for = (!remaining.is_empty()).then_some(remaining);
        return Settled { status: Some(status), unprotect };
    }
    if !protected || claim.metadata.deletion_timestamp.is_none() || !remaining.is_empty() {
        return Settled::default();
    }
    let status = status.allocation.take().map(|_| status);
    Settled { status, unprotect: true }
}

pub(crate) fn unprotect(claim: &mut ResourceClaim) {
    claim.metadata.finalizers.get_or_insert_default().retain(|f| f != FINALIZER);
}

/// The pod that a generated claim was made for.
pub(crate) fn owning_pod(claim: &ResourceClaim) -> Option<&OwnerReference> {
    controller_of(&claim.metadata).filter(|owner| owner.api_version == "v1" && owner.kind == "Pod")
}

/// An unreserved claim whose owner's name `pod` has: is it not, or no more, of use to its owner?
pub(crate) fn is_useless(claim: &ResourceClaim, pod: &Pod) -> bool {
    owning_pod(claim).is_some_and(|owner| owner.uid != key::uid(&pod.metadata)) || is_done(pod)
}
