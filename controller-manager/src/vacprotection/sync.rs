//! The decision: a class is in use while a volume or a claim names it.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::VolumeAttributesClass,
};

use super::FINALIZER;
use crate::util::{
    key,
    protection::{self, Action},
};

/// The classes that a claim names: the one it wants, the one it has, and the one it is being changed to.
pub(crate) fn of_claim(claim: &PersistentVolumeClaim) -> Vec<&str> {
    let status = claim.status.as_ref();
    let names = [
        claim.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref()),
        status.and_then(|s| s.current_volume_attributes_class_name.as_deref()),
        status.and_then(|s| s.modify_volume_status.as_ref()?.target_volume_attributes_class_name.as_deref()),
    ];
    names.into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// The class that a volume names, if any.
pub(crate) fn of_volume(volume: &PersistentVolume) -> Vec<&str> {
    let name = volume.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref());
    name.into_iter().filter(|name| !name.is_empty()).collect()
}

/// What to do about one class; `volumes` and `claims` are asked where it matters.
pub(crate) fn sync(
    class: &VolumeAttributesClass,
    volumes: impl FnOnce() -> Vec<Arc<PersistentVolume>>,
    claims: impl FnOnce() -> Vec<Arc<PersistentVolumeClaim>>,
) -> Option<Action> {
    let name = key::name(&class.metadata);
    protection::decide(&class.metadata, FINALIZER, || {
        volumes().iter().any(|v| of_volume(v).contains(&name)) || claims().iter().any(|c| of_claim(c).contains(&name))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(volumes: Value, claims: Value, want: Option<Action>) {
        let class = json!({
            "metadata": {"name": "gold", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER]},
            "driverName": "d",
        });
        let class: VolumeAttributesClass = serde_json::from_value(class).unwrap();
        let got = sync(
            &class,
            || {
                serde_json::from_value::<Vec<PersistentVolume>>(volumes.clone())
                    .unwrap()
                    .into_iter()
                    .map(Arc::new)
                    .collect()
            },
            || {
                serde_json::from_value::<Vec<PersistentVolumeClaim>>(claims.clone())
                    .unwrap()
                    .into_iter()
                    .map(Arc::new)
                    .collect()
            },
        );
        assert_eq!(got, want, "{volumes} {claims}");
    }

    #[test]
    fn a_class_that_is_named_anywhere_is_kept() {
        let none = || json!([]);
        let claim = |spec: Value, status: Value| json!([{"metadata": {"name": "c"}, "spec": spec, "status": status}]);
        check(none(), none(), Some(Action::Remove));
        check(json!([{"metadata": {}, "spec": {"volumeAttributesClassName": "gold"}}]), none(), None);
        check(json!([{"metadata": {}, "spec": {"volumeAttributesClassName": "lead"}}]), none(), Some(Action::Remove));
        check(none(), claim(json!({"volumeAttributesClassName": "gold"}), json!({})), None);
        check(none(), claim(json!({}), json!({"currentVolumeAttributesClassName": "gold"})), None);
        let target = json!({"modifyVolumeStatus": {"status": "InProgress", "targetVolumeAttributesClassName": "gold"}});
        check(none(), claim(json!({"volumeAttributesClassName": "lead"}), target), None);
        check(none(), claim(json!({"volumeAttributesClassName": ""}), json!({})), Some(Action::Remove));
    }
}
