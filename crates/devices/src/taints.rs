//! Taints of devices, and what tolerates them.

use k8s_openapi::api::resource::v1::{DeviceTaint, DeviceToleration};

/// Whether `toleration` tolerates `taint`, for however long. Which effects matter is the caller's to know.
pub fn tolerates(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let given = |s: &Option<String>| s.clone().filter(|s| !s.is_empty());
    given(&toleration.effect).is_none_or(|effect| effect == taint.effect)
        && given(&toleration.key).is_none_or(|key| key == taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => {
                toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
            }
            Some(_) => false,
        }
}

/// Whether a device with these taints can be given to who tolerates those.
pub(crate) fn all_tolerated(taints: &[DeviceTaint], tolerations: &[DeviceToleration]) -> bool {
    let matters = |taint: &&DeviceTaint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    taints.iter().filter(matters).all(|taint| tolerations.iter().any(|t| tolerates(t, taint)))
}
