//! Which storage class a claim asks for and a volume is of, and when volumes of a class are bound.

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};

use crate::annotations::{self, BETA_STORAGE_CLASS};

/// Whether the claim says which class it wants, be it none ("").
pub fn claim_has_class(claim: &PersistentVolumeClaim) -> bool {
    annotations::has(&claim.metadata, BETA_STORAGE_CLASS)
        || claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.is_some())
}

/// The class that the claim asks for; empty for none.
pub fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    let of_spec = || claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotations::get(&claim.metadata, BETA_STORAGE_CLASS).or_else(of_spec).unwrap_or_default()
}

/// The class of the volume; empty for none.
pub fn volume_class(volume: &PersistentVolume) -> &str {
    let of_spec = || volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotations::get(&volume.metadata, BETA_STORAGE_CLASS).or_else(of_spec).unwrap_or_default()
}

/// Whether claims of the class are bound only when a pod that uses them is scheduled.
pub fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_annotation_goes_before_the_field() {
        let check = |annotations: Value, class: Value, want: (bool, &str)| {
            let meta = json!({"metadata": {"annotations": annotations}, "spec": {"storageClassName": class}});
            let claim: PersistentVolumeClaim = serde_json::from_value(meta.clone()).unwrap();
            let volume: PersistentVolume = serde_json::from_value(meta).unwrap();
            assert_eq!((claim_has_class(&claim), claim_class(&claim)), want);
            assert_eq!(volume_class(&volume), want.1);
        };
        check(json!({}), Value::Null, (false, ""));
        check(json!({}), json!(""), (true, ""));
        check(json!({}), json!("gold"), (true, "gold"));
        check(json!({BETA_STORAGE_CLASS: "silver"}), json!("gold"), (true, "silver"));
        check(json!({BETA_STORAGE_CLASS: ""}), json!("gold"), (true, ""));
    }

    #[test]
    fn a_class_waits_if_it_says_so() {
        for (mode, want) in [(json!("WaitForFirstConsumer"), true), (json!("Immediate"), false), (Value::Null, false)] {
            let class = json!({"metadata": {"name": "c"}, "provisioner": "p", "volumeBindingMode": mode});
            assert_eq!(waits_for_consumer(&serde_json::from_value(class).unwrap()), want);
        }
    }
}
