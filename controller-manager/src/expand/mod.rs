//! Claims that were enlarged: whoever can enlarge their volumes is told, and the user that it is waited for.
//!
//! Upstream: `pkg/controller/volume/expand`. No plugin of the controller itself can enlarge a volume: CSI drivers' resizers
//! and other controllers do, which see the claim. What plugins did that were in Kubernetes once, a driver does now, and the
//! claim is annotated with its name.

mod sync;

use std::sync::Arc;

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{context::Context, util::key::Key};

const WORKERS: usize = 10;
/// On a claim: who enlarges its volume.
const RESIZER: &str = "volume.kubernetes.io/storage-resizer";

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (claims, volumes) =
        (context.informers.of::<PersistentVolumeClaim>(), context.informers.of::<PersistentVolume>());
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    claims.on_change(move |change| {
        let concerns = match change {
            Change::Added(_) => true,
            Change::Updated { old, new } => sync::has_grown(old, new),
            Change::Deleted(_) => false,
        };
        if concerns && sync::is_bound(change.object()) {
            wake.add(Key::of(&change.object().metadata));
        }
    });
    claims.synced().await;
    volumes.synced().await;
    let (name, cancel) = (context.name, context.cancel.clone());
    let shell = &Shell { context, claims, volumes };
    run_workers(name, &queue, WORKERS, cancel, |claim: Key| shell.reconcile(claim)).await;
    Ok(())
}

impl Shell {
    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let Some(claim) = self.claims.get(Some(&key.namespace), &key.name) else { return Ok(()) };
        let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
        let volume: Option<Arc<PersistentVolume>> = self.volumes.get(None, name);
        let volume = volume.ok_or_else(|| anyhow::anyhow!("failed to get PV {name:?}: not found"))?;
        let Some(told) = sync::sync(&claim, &volume).map_err(anyhow::Error::msg)? else { return Ok(()) };
        let about = object_reference(&*claim);
        self.context.recorder.event(&about, "Normal", "ExternalExpanding", told.message);
        if let Some(driver) = told.resizer {
            let patch = json!({"metadata": {"annotations": {RESIZER: driver}}});
            let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), &key.namespace);
            api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Ok(())
    }
}
