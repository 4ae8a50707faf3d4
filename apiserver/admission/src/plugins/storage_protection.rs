//! StorageObjectInUseProtection: volumes and claims are held by a finalizer until nothing uses them.

use async_trait::async_trait;
use machinery::status::StatusError;
use serde_json::Value;
use writes::admission::{Plugin, Request};

/// See the module.
pub struct StorageObjectInUseProtection;

fn finalizer(request: &Request<'_>) -> Option<&'static str> {
    match (&*request.resource.group, &*request.resource.resource) {
        ("", "persistentvolumes") => Some("kubernetes.io/pv-protection"),
        ("", "persistentvolumeclaims") => Some("kubernetes.io/pvc-protection"),
        ("storage.k8s.io", "volumeattributesclasses") => Some("kubernetes.io/vac-protection"),
        _ => None,
    }
}

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.creates() && request.subresource.is_none() && finalizer(request).is_some()
    }

    async fn admit(&self, request: &Request<'_>, obj: &mut Value) -> Result<(), StatusError> {
        if let Some(finalizer) = finalizer(request) {
            machinery::meta::add_finalizer(obj, finalizer);
        }
        Ok(())
    }
}
