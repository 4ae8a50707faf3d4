//! Whose a volume is: its claimRef, which a user, the controller, the scheduler or a provisioner writes.

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};

use crate::annotations::{self, BOUND_BY_CONTROLLER};

/// Whether the volume is bound to the claim or reserved for it: namespace and name are the claim's, and the UID, if
/// there is one, too.
pub fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else { return false };
    let meta = &claim.metadata;
    reference.name.as_deref().unwrap_or_default() == meta.name.as_deref().unwrap_or_default()
        && reference.namespace.as_deref().unwrap_or_default() == meta.namespace.as_deref().unwrap_or_default()
        && reference.uid.as_deref().filter(|uid| !uid.is_empty()).is_none_or(|uid| Some(uid) == meta.uid.as_deref())
}

/// The volume as it is when it is bound to the claim; nothing if it is so already.
///
/// It is annotated as bound by the controller unless it was reserved for the claim before.
pub fn bind_volume(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let whole = |reference: &&ObjectReference| reference.uid == claim.metadata.uid && is_bound_to(volume, claim);
    let bound = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()).filter(whole).is_some();
    let by_us = !is_bound_to(volume, claim) && !annotations::has(&volume.metadata, BOUND_BY_CONTROLLER);
    if bound && !by_us {
        return None;
    }
    let mut volume = volume.clone();
    if !bound {
        volume.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("PersistentVolumeClaim".into()),
            namespace: claim.metadata.namespace.clone(),
            name: claim.metadata.name.clone(),
            uid: claim.metadata.uid.clone(),
            resource_version: claim.metadata.resource_version.clone(),
            field_path: None,
        });
    }
    if by_us {
        annotations::set(&mut volume.metadata, BOUND_BY_CONTROLLER, "yes");
    }
    Some(volume)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim() -> PersistentVolumeClaim {
        let meta = json!({"name": "c", "namespace": "ns", "uid": "u", "resourceVersion": "7"});
        serde_json::from_value(json!({"metadata": meta})).unwrap()
    }

    fn volume(reference: Value) -> PersistentVolume {
        serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": {"claimRef": reference}})).unwrap()
    }

    #[test]
    fn a_volume_is_its_claims_by_name_and_uid() {
        let check = |reference: Value, want| assert_eq!(is_bound_to(&volume(reference), &claim()), want);
        check(Value::Null, false);
        check(json!({"name": "c", "namespace": "ns"}), true);
        check(json!({"name": "c", "namespace": "ns", "uid": ""}), true);
        check(json!({"name": "c", "namespace": "ns", "uid": "u"}), true);
        check(json!({"name": "c", "namespace": "ns", "uid": "other"}), false);
        check(json!({"name": "other", "namespace": "ns"}), false);
        check(json!({"name": "c", "namespace": "other"}), false);
    }

    #[test]
    fn binding_says_who_did_it() {
        let check = |reference: Value, want: Option<bool>| {
            let bound = bind_volume(&volume(reference), &claim());
            let by_us = bound.as_ref().map(|volume| annotations::has(&volume.metadata, BOUND_BY_CONTROLLER));
            assert_eq!(by_us, want);
            let Some(reference) = bound.and_then(|volume| volume.spec?.claim_ref) else { return };
            let whole = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "ns", "name": "c", "uid": "u",
                "resourceVersion": "7",
            });
            assert_eq!(serde_json::to_value(reference).unwrap(), whole);
        };
        check(Value::Null, Some(true));
        check(json!({"name": "c", "namespace": "ns"}), Some(false));
        check(json!({"name": "c", "namespace": "ns", "uid": "u"}), None);
        check(json!({"name": "c", "namespace": "ns", "uid": "other"}), Some(true));
    }
}
