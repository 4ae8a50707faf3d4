//! What was found for a pod's claims: assumed in the cycle, written outside it, and waited for.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use volumes::{
    annotations::{self, BOUND_BY_CONTROLLER, SELECTED_NODE},
    bind_volume,
};

use super::find::{Found, is_bound, volume_name};
use crate::cache::{
    node::NodeObject,
    volumes::{Shelves, Versioned, Volume, Volumes, claim_key},
};

/// Between two looks at what has changed, so that a thousand waiting pods do not look at every single change.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A volume or a claim that is decided on.
struct Decided<T> {
    object: Arc<T>,
    /// Its version once the decision is written; empty before that, or where there was nothing to write.
    written: Mutex<String>,
}

/// See the module.
pub struct Reserved {
    all: Arc<Volumes>,
    node: Arc<NodeObject>,
    volumes: Vec<(Arc<PersistentVolumeClaim>, Decided<Volume>)>,
    claims: Vec<Decided<PersistentVolumeClaim>>,
}

fn key_of(claim: &PersistentVolumeClaim) -> String {
    let [namespace, name] =
        [&claim.metadata.namespace, &claim.metadata.name].map(|part| part.as_deref().unwrap_or_default());
    claim_key(namespace, name)
}

impl Reserved {
    /// Assumes what was found on a node.
    ///
    /// # Errors
    /// Something has changed meanwhile; then nothing is assumed.
    pub fn new(all: Arc<Volumes>, node: Arc<NodeObject>, found: Found) -> Result<Self, String> {
        let mut reserved = Self { all, node, volumes: Vec::new(), claims: Vec::new() };
        let assumed = reserved.assume(found);
        if assumed.is_err() {
            reserved.take_back();
        }
        assumed.map(|()| reserved)
    }

    fn assume(&mut self, found: Found) -> Result<(), String> {
        for (claim, volume) in found.volumes {
            let object = match bind_volume(&volume.object, &claim) {
                None => volume,
                Some(bound) => {
                    let bound = Arc::new(volume.with(bound));
                    self.all
                        .decide(|shelves| shelves.volumes.assume(bound.name(), "persistentvolumes", bound.clone()))?;
                    bound
                }
            };
            self.volumes.push((claim, Decided { object, written: Mutex::default() }));
        }
        for claim in found.made {
            let mut decided = (*claim).clone();
            annotations::set(&mut decided.metadata, SELECTED_NODE, &self.node.name);
            let (key, object) = (key_of(&claim), Arc::new(decided));
            self.all.decide(|shelves| shelves.claims.assume(&key, "persistentvolumeclaims", object.clone()))?;
            self.claims.push(Decided { object, written: Mutex::default() });
        }
        Ok(())
    }

    /// Takes back what is not written.
    pub fn take_back(&self) {
        self.all.decide(|shelves| {
            for (_, volume) in self.volumes.iter().filter(|(_, volume)| volume.written.lock().is_empty()) {
                shelves.volumes.restore(volume.object.name(), volume.object.version());
            }
            for claim in self.claims.iter().filter(|claim| claim.written.lock().is_empty()) {
                shelves.claims.restore(&key_of(&claim.object), claim.object.version());
            }
        });
    }

    /// Writes everything: volumes say whose they are, claims on which node their volumes are wanted. What the server
    /// has in another version by now it refuses.
    pub async fn write(&self, client: &kube::Client) -> Result<(), String> {
        for (_, volume) in &self.volumes {
            let object = &volume.object.object;
            let mut patch = precondition(&object.metadata);
            patch["spec"] = json!({"claimRef": object.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref())});
            if let Some(by) = annotations::get(&object.metadata, BOUND_BY_CONTROLLER) {
                patch["metadata"]["annotations"] = json!({BOUND_BY_CONTROLLER: by});
            }
            let api: Api<PersistentVolume> = Api::all(client.clone());
            let written = api.patch_metadata(volume.object.name(), &PatchParams::default(), &Patch::Merge(patch)).await;
            *volume.written.lock() = version(written)?;
        }
        for claim in &self.claims {
            let meta = &claim.object.metadata;
            let mut patch = precondition(meta);
            patch["metadata"]["annotations"] = json!({SELECTED_NODE: &*self.node.name});
            let [namespace, name] = [&meta.namespace, &meta.name].map(|part| part.as_deref().unwrap_or_default());
            let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
            let written = api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await;
            *claim.written.lock() = version(written)?;
        }
        Ok(())
    }

    /// Waits until the controller has bound everything.
    pub async fn bound(&self, timeout: Duration) -> Result<(), String> {
        let failed = |message: String| format!("binding volumes: {message}");
        let mut changes = self.all.changes();
        let deadline = Instant::now() + timeout;
        loop {
            if self.look(&self.all.read()).map_err(failed)? {
                return Ok(());
            }
            let changed = async {
                tokio::time::sleep(LOOK_AGAIN).await;
                changes.changed().await
            };
            match tokio::time::timeout_at(deadline, changed).await {
                Ok(Ok(())) => {}
                _ => return Err(failed("context deadline exceeded".to_owned())),
            }
        }
    }

    /// Whether everything is bound; an error if that will not come any more.
    fn look(&self, shelves: &Shelves) -> Result<bool, String> {
        for (claim, decided) in &self.volumes {
            let name = decided.object.name();
            let volume = shelves.volumes.shown(name);
            let volume =
                volume.ok_or_else(|| format!("failed to check binding: persistentvolumes {name:?} not found"))?;
            let key = key_of(claim);
            let claim = shelves.claims.shown(&key);
            let claim =
                claim.ok_or_else(|| format!("failed to check binding: persistentvolumeclaims {key:?} not found"))?;
            if older(volume.version(), &decided.written.lock()) {
                return Ok(false);
            }
            self.reaches(shelves, volume)?;
            let reference = volume.object.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            if reference.and_then(|reference| reference.uid.as_deref()).unwrap_or_default().is_empty() {
                return Err(format!("ClaimRef got reset for pv {name:?}"));
            }
            if !is_bound(claim) {
                return Ok(false);
            }
        }
        for decided in &self.claims {
            let key = key_of(&decided.object);
            let claim = shelves.claims.shown(&key);
            let claim = claim
                .ok_or_else(|| format!("failed to check provisioning pvc: persistentvolumeclaims {key:?} not found"))?;
            if older(claim.version(), &decided.written.lock()) {
                return Ok(false);
            }
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            if claim.metadata.annotations.as_ref().is_none_or(std::collections::BTreeMap::is_empty) {
                return Err(format!("selectedNode annotation reset for PVC {name:?}"));
            }
            if annotations::get(&claim.metadata, SELECTED_NODE) != Some(&self.node.name) {
                return Err(format!("provisioning failed for PVC {name:?}"));
            }
            if !volume_name(claim).is_empty() {
                let Some(volume) = shelves.volumes.shown(volume_name(claim)) else { return Ok(false) };
                self.reaches(shelves, volume)?;
            }
            if !is_bound(claim) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn reaches(&self, shelves: &Shelves, volume: &Volume) -> Result<(), String> {
        if shelves.reaches(&self.node, volume) {
            return Ok(());
        }
        let (volume, node) = (volume.name(), &*self.node.name);
        Err(format!("pv {volume:?} node affinity doesn't match node {node:?}: no matching NodeSelectorTerms"))
    }
}

/// A patch of that very version of that very object.
fn precondition(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Value {
    json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}})
}

fn version<K>(written: kube::Result<kube::core::PartialObjectMeta<K>>) -> Result<String, String> {
    match written {
        Ok(object) => Ok(object.metadata.resource_version.unwrap_or_default()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(error) => Err(error.to_string()),
    }
}

fn older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(version), Ok(than)) if version < than)
}
