//! The decision: a volume is in use while it is bound.

use k8s_openapi::api::core::v1::PersistentVolume;

use super::FINALIZER;
use crate::util::protection::{self, Action};

/// What to do about one volume.
pub(crate) fn sync(volume: &PersistentVolume) -> Option<Action> {
    let phase = || volume.status.as_ref().and_then(|s| s.phase.as_deref());
    protection::decide(&volume.metadata, FINALIZER, || phase() == Some("Bound"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bound_volume_is_kept() {
        let check = |deleted: bool, phase: &str, want: Option<Action>| {
            let mut volume =
                json!({"metadata": {"name": "v", "finalizers": [FINALIZER]}, "spec": {}, "status": {"phase": phase}});
            if deleted {
                volume["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            assert_eq!(sync(&serde_json::from_value(volume).unwrap()), want, "{phase}");
        };
        check(true, "Bound", None);
        check(true, "Released", Some(Action::Remove));
        check(true, "Available", Some(Action::Remove));
        check(true, "Failed", Some(Action::Remove));
        check(false, "Available", None);
    }
}
