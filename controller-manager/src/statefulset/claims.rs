//! A StatefulSet's claims, and whom they go with: `persistentVolumeClaimRetentionPolicy`.
//!
//! Claims that are to be deleted with the set are the set's, those to be deleted when it is scaled down belong to the
//! pod that goes; the garbage collector does the rest. What another controller owns is left alone, and so is what belongs
//! to an earlier set or pod of the same name: the collector will take that.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::Resource;

use super::identity::{self, claim_name, claim_templates};
use crate::util::key;

/// The claims of the pod of that ordinal, in the order of the templates.
pub(crate) fn wanted(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let selector = set.spec.as_ref().and_then(|s| s.selector.match_labels.clone()).unwrap_or_default();
    let claim = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.metadata.name = Some(claim_name(set, template, ordinal));
        claim.metadata.namespace = set.metadata.namespace.clone();
        claim.metadata.labels.get_or_insert_default().extend(selector.clone());
        claim
    };
    claim_templates(set).iter().map(claim).collect()
}

/// When claims go: with the set, and with pods that are scaled away.
#[derive(Clone, Copy)]
struct Policy {
    with_set: bool,
    with_pod: bool,
}

fn policy(set: &StatefulSet) -> Policy {
    let policy = set.spec.as_ref().and_then(|s| s.persistent_volume_claim_retention_policy.as_ref());
    let deletes = |when: Option<&String>| when.is_some_and(|w| w == "Delete");
    Policy {
        with_set: deletes(policy.and_then(|p| p.when_deleted.as_ref())),
        with_pod: deletes(policy.and_then(|p| p.when_scaled.as_ref())),
    }
}

fn refs(claim: &PersistentVolumeClaim) -> &[OwnerReference] {
    claim.metadata.owner_references.as_deref().unwrap_or_default()
}

/// A reference to an object of that kind and name, though it may be an earlier one's.
fn names<K: Resource<DynamicType = ()>>(reference: &OwnerReference, object: &K) -> bool {
    reference.api_version == K::api_version(&())
        && reference.kind == K::kind(&())
        && reference.name == key::name(object.meta())
}

fn is_of<K: Resource>(reference: &OwnerReference, object: &K) -> bool {
    Some(&reference.uid) == object.meta().uid.as_ref()
}

fn owned_by<K: Resource>(claim: &PersistentVolumeClaim, object: &K) -> bool {
    refs(claim).iter().any(|r| is_of(r, object))
}

/// Whether the first reference of that kind and name is an earlier object's.
fn is_stale<K: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim, object: &K) -> bool {
    refs(claim).iter().find(|r| names(r, object)).is_some_and(|r| !is_of(r, object))
}

/// Whether claims would be deleted, but somebody else has a say in this one.
pub(crate) fn has_other_controller(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    let Policy { with_set, with_pod } = policy(set);
    (with_set || with_pod)
        && refs(claim).iter().any(|r| match (names(r, set), names(r, pod)) {
            (true, _) => !is_of(r, set),
            (_, true) => !is_of(r, pod),
            _ => r.controller == Some(true),
        })
}

/// Whether the set and the pod should be among its owners now.
fn owners(set: &StatefulSet, pod: &Pod) -> (bool, bool) {
    let Policy { with_set, with_pod } = policy(set);
    let condemned = with_pod && identity::is_condemned(set, pod);
    (with_set && !condemned, condemned)
}

/// Whether the claim's owners are as the policy wants them, or none of our business.
pub(crate) fn owners_match(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    if is_stale(claim, set) || is_stale(claim, pod) {
        return true;
    }
    let have = (owned_by(claim, set), owned_by(claim, pod));
    if has_other_controller(claim, set, pod) {
        return have == (false, false);
    }
    let ours = |r: &OwnerReference| is_of(r, set) || is_of(r, pod);
    let controls = refs(claim).iter().all(|r| !ours(r) || r.controller == Some(true));
    controls && have == owners(set, pod)
}

/// Gives the claim the owners that the policy wants.
pub(crate) fn update_owners(claim: &mut PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) {
    let left_alone = has_other_controller(claim, set, pod);
    let (with_set, with_pod) = owners(set, pod);
    let references = claim.metadata.owner_references.get_or_insert_default();
    references.retain(|r| !names(r, set) && !names(r, pod));
    if left_alone {
        return;
    }
    if with_pod && !references.iter().any(|r| is_of(r, pod)) {
        references.push(controller::controller_ref(pod));
    }
    if with_set && !references.iter().any(|r| is_of(r, set)) {
        references.push(controller::controller_ref(set));
    }
}

/// Whether a claim is about to go with an earlier pod of that name: the new pod has to wait for that.
pub(crate) fn blocks(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    policy(set).with_pod && is_stale(claim, pod)
}
