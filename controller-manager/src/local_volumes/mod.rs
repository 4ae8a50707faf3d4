//! Provisions the claims of classes whose provisioner is `ferry/local`: a folder, or a block device, of the node that the
//! scheduler chose for the claim's first pod. Grows them, and removes them when nobody wants them any more.
//!
//! Upstream has no such controller; it does what an external provisioner and resizer do (`sig-storage-lib-external-provisioner`,
//! `external-resizer`), with their events, and asks the node's kubelet for the volume (`/localVolumes/`). It runs only where
//! it is named: only Ferry's kubelet can answer it.

mod node;
mod sync;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use volumes::annotations::{EXTERNAL_FINALIZER, SELECTED_NODE};

use crate::{
    context::Context,
    util::key::{self, Key},
};
use sync::{ClaimAction, Place, VolumeAction};

const WORKERS: usize = 5;

/// A claim, or a volume by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Concern {
    Claim(Key),
    Volume(String),
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    nodes: Informer<Node>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let queue: Queue<Concern> = Queue::new();
    let i = context.informers.clone();
    let shell = Shell { context: context.clone(), claims: i.of(), volumes: i.of(), classes: i.of(), nodes: i.of() };
    let wake = queue.clone();
    shell.claims.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) {
            wake.add(Concern::Claim(Key::of(&change.object().metadata)));
        }
    });
    let wake = queue.clone();
    shell.volumes.on_change(move |change| {
        if !matches!(change, Change::Deleted(_)) && sync::is_ours(change.object()) {
            wake.add(Concern::Volume(key::name(&change.object().metadata).to_owned()));
        }
    });
    // A claim that waits for its class, or for its class to allow more.
    let (wake, claims) = (queue.clone(), shell.claims.clone());
    shell.classes.on_change(move |change| {
        let class = change.object();
        let of_class =
            |claim: &&Arc<PersistentVolumeClaim>| Some(volumes::claim_class(claim)) == class.metadata.name.as_deref();
        let list = claims.list();
        list.iter().filter(of_class).for_each(|claim| wake.add(Concern::Claim(Key::of(&claim.metadata))));
    });
    tokio::join!(shell.claims.synced(), shell.volumes.synced(), shell.classes.synced(), shell.nodes.synced());
    let shell = &shell;
    run_workers(context.name, &queue, WORKERS, context.cancel.clone(), |concern: Concern| async move {
        match concern {
            Concern::Claim(key) => shell.claim(&key).await,
            Concern::Volume(name) => shell.volume(&name).await,
        }
    })
    .await;
    Ok(())
}

impl Shell {
    async fn claim(&self, key: &Key) -> anyhow::Result<()> {
        let Some(claim) = self.claims.get(Some(&key.namespace), &key.name) else { return Ok(()) };
        let class = self.classes.get(None, volumes::claim_class(&claim));
        let volume = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref());
        let volume = volume.and_then(|name| self.volumes.get(None, name));
        let node = sync::selected_node(&claim).and_then(|name| self.nodes.get(None, name));
        match sync::claim(&claim, class.as_deref(), node.as_deref(), volume.as_deref()) {
            ClaimAction::Nothing => Ok(()),
            ClaimAction::Refuse { message, again_elsewhere } => self.refused(&claim, &message, again_elsewhere).await,
            ClaimAction::Provision { place, class } => self.provision(&claim, class, &place).await,
            ClaimAction::Grow { place, bytes } => self.grow(&claim, &place, &bytes).await,
            ClaimAction::Mark(conditions) => self.patch_status(&claim, json!({"conditions": conditions})).await,
        }
    }

    async fn provision(
        &self,
        claim: &PersistentVolumeClaim,
        class: &StorageClass,
        place: &Place,
    ) -> anyhow::Result<()> {
        let kept = match node::keep(&self.context.client, place).await {
            Ok(kept) => kept,
            Err(fault) => {
                self.refused(claim, &fault.message, fault.full).await?;
                anyhow::bail!(fault.message);
            }
        };
        let volume = sync::volume(claim, class, place, &kept);
        let volumes = Api::<PersistentVolume>::all(self.context.client.clone());
        match volumes.create(&PostParams::default(), &volume).await {
            Err(e) if !client::is_already_exists(&e) => return Err(e.into()),
            _ => {}
        }
        let message = format!("Successfully provisioned volume {}", place.volume);
        self.context.recorder.event(&object_reference(claim), "Normal", "ProvisioningSucceeded", message);
        Ok(())
    }

    /// Says why there is no volume; somewhere else there may be one.
    async fn refused(&self, claim: &PersistentVolumeClaim, why: &str, again_elsewhere: bool) -> anyhow::Result<()> {
        let class = volumes::claim_class(claim);
        let message = format!("failed to provision volume with StorageClass {class:?}: {why}");
        self.context.recorder.event(&object_reference(claim), "Warning", "ProvisioningFailed", message);
        if !again_elsewhere {
            return Ok(());
        }
        let key = Key::of(&claim.metadata);
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.context.client.clone(), &key.namespace);
        let version = &claim.metadata.resource_version;
        let gone = json!({"metadata": {"resourceVersion": version, "annotations": {SELECTED_NODE: null}}});
        match claims.patch(&key.name, &PatchParams::default(), &Patch::Merge(gone)).await {
            Err(e) if !client::is_not_found(&e) && !client::is_conflict(&e) => Err(e.into()),
            _ => Ok(()),
        }
    }

    async fn grow(&self, claim: &PersistentVolumeClaim, place: &Place, capacity: &str) -> anyhow::Result<()> {
        let reference = object_reference(claim);
        let kept = match node::keep(&self.context.client, place).await {
            Ok(kept) => kept,
            Err(fault) => {
                let message = format!("resize volume {:?} failed: {}", place.volume, fault.message);
                self.context.recorder.event(&reference, "Warning", "VolumeResizeFailed", message.clone());
                anyhow::bail!(message);
            }
        };
        let volumes = Api::<PersistentVolume>::all(self.context.client.clone());
        let grown = json!({
            "metadata": {"annotations": {sync::LIMITED: kept.limited.to_string()}},
            "spec": {"capacity": {"storage": capacity}},
        });
        volumes.patch(&place.volume, &PatchParams::default(), &Patch::Merge(grown)).await?;
        let conditions = sync::conditions_after_growth(claim, place, kept.limited);
        let status = json!({
            "capacity": {"storage": capacity}, "conditions": conditions,
            "allocatedResources": null, "allocatedResourceStatuses": null,
        });
        self.patch_status(claim, status).await?;
        self.context.recorder.event(&reference, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded");
        Ok(())
    }

    async fn patch_status(&self, claim: &PersistentVolumeClaim, status: Value) -> anyhow::Result<()> {
        let key = Key::of(&claim.metadata);
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.context.client.clone(), &key.namespace);
        // Conditions are replaced as a list: nobody else's may be lost.
        let patch = json!({"metadata": {"resourceVersion": claim.metadata.resource_version}, "status": status});
        match claims.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(e) if !client::is_not_found(&e) => Err(e.into()),
            _ => Ok(()),
        }
    }

    async fn volume(&self, name: &str) -> anyhow::Result<()> {
        let Some(volume) = self.volumes.get(None, name) else { return Ok(()) };
        let volumes = Api::<PersistentVolume>::all(self.context.client.clone());
        match sync::volume_action(&volume, |node| self.nodes.has(None, node)) {
            VolumeAction::Nothing => Ok(()),
            VolumeAction::Delete => match volumes.delete(name, &DeleteParams::default()).await {
                Err(e) if !client::is_not_found(&e) => Err(e.into()),
                _ => Ok(()),
            },
            VolumeAction::LetGo { node } => {
                if let Some(node) = node
                    && let Err(fault) = node::remove(&self.context.client, node, name).await
                {
                    let reference = object_reference(&*volume);
                    self.context.recorder.event(&reference, "Warning", "VolumeFailedDelete", fault.message.clone());
                    anyhow::bail!(fault.message);
                }
                let mut volume = (*volume).clone();
                volume.metadata.finalizers.get_or_insert_default().retain(|f| f != EXTERNAL_FINALIZER);
                match volumes.replace(name, &PostParams::default(), &volume).await {
                    Err(e) if !client::is_not_found(&e) => Err(e.into()),
                    _ => Ok(()),
                }
            }
        }
    }
}
