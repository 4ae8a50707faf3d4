//! Claims: bound to a volume that is a folder of this node (`hostPath` or `local`). Drivers come with the storage issue.

use crate::objects::api_message;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{Api, Client};
use std::path::PathBuf;

pub(crate) struct Claims {
    client: Client,
}

impl Claims {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(crate) async fn path(&self, namespace: &str, claim: &str) -> Result<PathBuf, String> {
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), namespace);
        let found = claims
            .get(claim)
            .await
            .map_err(|e| format!("error processing PVC {namespace}/{claim}: {}", api_message(&e)))?;
        let bound = found.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Bound"));
        let Some(volume) = found.spec.and_then(|s| s.volume_name).filter(|_| bound) else {
            return Err(format!("error processing PVC {namespace}/{claim}: PVC is not bound"));
        };
        let volume =
            Api::<PersistentVolume>::all(self.client.clone()).get(&volume).await.map_err(|e| api_message(&e))?;
        let spec = volume.spec.unwrap_or_default();
        if let Some(source) = spec.host_path {
            super::host_path::prepare(&source.path, source.type_.as_deref().unwrap_or_default())?;
            return Ok(source.path.into());
        }
        spec.local.map(|source| source.path.into()).ok_or_else(|| "no volume plugin matched".into())
    }
}
