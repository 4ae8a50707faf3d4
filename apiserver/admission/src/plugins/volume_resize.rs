//! PersistentVolumeClaimResize: a claim grows only when it is bound and its class allows it.

use async_trait::async_trait;
use machinery::json::Fields;
use machinery::quantity::Quantity;
use machinery::status::StatusError;
use model::resources::STORAGE_CLASSES;
use serde_json::Value;
use writes::admission::{Operation, Plugin, Request};

use super::forbidden;

/// See the module.
pub struct PersistentVolumeClaimResize;

/// The class of a claim: an old annotation outranks the field.
fn class(claim: &Value) -> &str {
    let old = claim["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class").and_then(Value::as_str);
    old.unwrap_or_else(|| claim.sub("spec").text("storageClassName"))
}

fn size(claim: &Value) -> Option<Quantity> {
    claim.at("/spec/resources/requests").text("storage").parse().ok()
}

fn grows(old: &Value, new: &Value) -> bool {
    match (size(old), size(new)) {
        (Some(old), Some(new)) => new > old,
        (None, Some(_)) => true,
        _ => false,
    }
}

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.operation == Operation::Update && request.is_whole("", "persistentvolumeclaims")
    }

    async fn validate(&self, request: &Request<'_>, claim: &Value) -> Result<(), StatusError> {
        let Some(old) = request.old.filter(|old| grows(old, claim)) else { return Ok(()) };
        if old.sub("status").text("phase") != "Bound" {
            return Err(forbidden(request, claim, "Only bound persistent volume claims can be expanded"));
        }
        let (now, before) = (class(claim), class(old));
        let allowed = !now.is_empty()
            && now == before
            && request.registry.get(&STORAGE_CLASSES, None, now).is_some_and(|c| c["allowVolumeExpansion"] == true);
        if allowed {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(forbidden(request, claim, why))
    }
}
