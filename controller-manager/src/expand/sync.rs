//! The decision: who is waited for to enlarge a claim's volume.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use machinery::quantity::Quantity;
use volumes::{annotations::PRE_RESIZE_CAPACITY, csi_migration};

use super::RESIZER;
use crate::util::key::Key;

/// What is said of a claim whose volume is to be enlarged.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) message: String,
    /// The driver to annotate the claim with.
    pub(crate) resizer: Option<&'static str>,
}

pub(crate) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

/// How much the claim has, as far as is said.
fn has(claim: &PersistentVolumeClaim) -> Quantity {
    let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
    capacity.and_then(|quantity| Quantity::parse(&quantity.0).ok()).unwrap_or_else(Quantity::zero)
}

/// Whether the claim wants more than before, or has got more.
pub(crate) fn has_grown(old: &PersistentVolumeClaim, new: &PersistentVolumeClaim) -> bool {
    volumes::requested(new) > volumes::requested(old) || has(new) > has(old)
}

/// What is said of a claim, given its volume; nothing if it has what it wants.
///
/// # Errors
/// The volume is not the claim's.
pub(crate) fn sync(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<Option<Told>, String> {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let meta = &claim.metadata;
    if !reference.is_some_and(|reference| reference.namespace == meta.namespace && reference.uid == meta.uid) {
        return Err(format!("persistent Volume is not bound to PVC being updated : {:?}", Key::of(meta)));
    }
    let pending = volumes::annotations::has(&volume.metadata, PRE_RESIZE_CAPACITY);
    if volumes::requested(claim) <= has(claim) && !pending {
        return Ok(None);
    }
    Ok(Some(match csi_migration::of_volume(volume) {
        Some((plugin, driver)) => Told {
            message: format!("CSI migration enabled for {plugin}; waiting for external resizer to expand the pvc"),
            resizer: (volumes::annotations::get(meta, RESIZER) != Some(driver)).then_some(driver),
        },
        None => Told { message: "waiting for an external controller to expand this PVC".to_owned(), resizer: None },
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(requested: &str, has: &str, annotations: Value) -> PersistentVolumeClaim {
        let meta = json!({"name": "c", "namespace": "ns", "uid": "u", "annotations": annotations});
        let spec = json!({"resources": {"requests": {"storage": requested}}, "volumeName": "v"});
        let status = json!({"phase": "Bound", "capacity": {"storage": has}});
        serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": status})).unwrap()
    }

    fn volume(uid: &str, annotations: Value, source: Value) -> PersistentVolume {
        let mut spec = json!({"claimRef": {"namespace": "ns", "name": "c", "uid": uid}});
        spec.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "v", "annotations": annotations}, "spec": spec})).unwrap()
    }

    #[test]
    fn who_enlarges_the_volume_is_waited_for() {
        let ebs = || json!({"awsElasticBlockStore": {"volumeID": "x"}});
        let csi = || json!({"csi": {"driver": "d", "volumeHandle": "h"}});
        let told = |message: &str, resizer| Ok(Some(Told { message: message.to_owned(), resizer }));
        let external = || told("waiting for an external controller to expand this PVC", None);
        let migrated = |resizer| {
            let text =
                "CSI migration enabled for kubernetes.io/aws-ebs; waiting for external resizer to expand the pvc";
            told(text, resizer)
        };
        let small = || claim("2Gi", "1Gi", json!({}));
        let check =
            |claim: PersistentVolumeClaim, volume: PersistentVolume, want| assert_eq!(sync(&claim, &volume), want);
        check(small(), volume("u", json!({}), csi()), external());
        check(small(), volume("u", json!({}), json!({"hostPath": {"path": "/x"}})), external());
        check(claim("1Gi", "1024Mi", json!({})), volume("u", json!({}), csi()), Ok(None));
        check(claim("1Gi", "2Gi", json!({})), volume("u", json!({}), csi()), Ok(None));
        check(claim("1Gi", "1Gi", json!({})), volume("u", json!({PRE_RESIZE_CAPACITY: "1Gi"}), csi()), external());
        check(small(), volume("u", json!({}), ebs()), migrated(Some("ebs.csi.aws.com")));
        check(claim("2Gi", "1Gi", json!({RESIZER: "ebs.csi.aws.com"})), volume("u", json!({}), ebs()), migrated(None));
        let refused = Err("persistent Volume is not bound to PVC being updated : ns/c".to_owned());
        check(small(), volume("other", json!({}), csi()), refused);
    }

    #[test]
    fn a_claim_is_looked_at_when_it_grows() {
        let of = |requested, has| claim(requested, has, json!({}));
        assert!(has_grown(&of("1Gi", "1Gi"), &of("2Gi", "1Gi")));
        assert!(has_grown(&of("2Gi", "1Gi"), &of("2Gi", "2Gi")));
        assert!(!has_grown(&of("2Gi", "2Gi"), &of("1Gi", "2Gi")));
        assert!(!has_grown(&of("2Gi", "2Gi"), &of("2048Mi", "2Gi")));
    }
}
