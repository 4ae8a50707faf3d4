//! PersistentVolume protection: a deleted volume stays while it is bound.
//!
//! Upstream: `pkg/controller/volume/pvprotection`. Who binds a volume says so in its phase; that alone is asked.

mod sync;

use client::Informer;
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;

use crate::{
    context::Context,
    util::{key, protection},
};

const FINALIZER: &str = "kubernetes.io/pv-protection";

/// Runs the volume protection controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let volumes: Informer<PersistentVolume> = context.informers.of();
    let queue: Queue<String> = Queue::new();
    let wake = queue.clone();
    protection::on_concern(&volumes, FINALIZER, move |meta| wake.add(key::name(meta).to_owned()));
    volumes.synced().await;
    let (volumes, api) = (&volumes, &Api::<PersistentVolume>::all(context.client.clone()));
    run_workers(context.name, &queue, 1, context.cancel.clone(), |name: String| async move {
        let Some(volume) = volumes.get(None, &name) else { return Ok(()) };
        match sync::sync(&volume) {
            Some(action) => protection::carry_out(api, &*volume, FINALIZER, action).await,
            None => Ok(()),
        }
    })
    .await;
    Ok(())
}
