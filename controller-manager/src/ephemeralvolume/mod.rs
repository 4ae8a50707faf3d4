//! Generic ephemeral volumes: for each of a pod's a claim that is the pod's own.
//!
//! Upstream: `pkg/controller/volume/ephemeral`. The claim goes with the pod, by its owner reference; one that somebody
//! deletes is made again.

mod sync;

use std::sync::Arc;

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, api::PostParams};

use crate::{
    context::Context,
    metrics,
    util::{
        claim_users::ClaimUsers,
        key::{self, Key},
        pods,
    },
};

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (pods, claims) = (context.informers.of::<Pod>(), context.informers.of::<PersistentVolumeClaim>());
    let queue: Queue<Key> = Queue::new();
    let users = ClaimUsers::of(&pods);
    let wake = queue.clone();
    let concerns = |pod: &Arc<Pod>| !pods::is_terminating(pod) && sync::volumes(pod).next().is_some();
    pods.on_change(move |change| match change {
        Change::Added(pod) if concerns(pod) => wake.add(Key::of(&pod.metadata)),
        _ => {}
    });
    let wake = queue.clone();
    claims.on_change(move |change| {
        if let Change::Deleted(claim) = change {
            let pods = users.get(&Key::of(&claim.metadata));
            pods.iter().filter(|pod| concerns(pod)).for_each(|pod| wake.add(Key::of(&pod.metadata)));
        }
    });
    pods.synced().await;
    claims.synced().await;
    let (name, cancel) = (context.name, context.cancel.clone());
    let workers = context.config.concurrent_ephemeralvolume_syncs;
    let shell = &Shell { context, pods, claims };
    run_workers(name, &queue, workers, cancel, |pod: Key| shell.reconcile(pod)).await;
    Ok(())
}

impl Shell {
    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let Some(pod) = self.pods.get(Some(&key.namespace), &key.name).filter(|pod| !pods::is_terminating(pod)) else {
            return Ok(());
        };
        for volume in sync::volumes(&pod) {
            let found = self.claims.get(Some(&key.namespace), &volumes::claim_name(&pod, &volume.name));
            let made = match sync::sync(&pod, volume, found.as_deref()) {
                Ok(None) => Ok(()),
                Ok(Some(claim)) => self.create(&claim).await,
                Err(why) => Err(why),
            };
            if let Err(why) = made {
                let message = format!("ephemeral volume {}: {why}", volume.name);
                let about = object_reference(&*pod);
                self.context.recorder.event(&about, "Warning", "FailedBinding", message.clone());
                anyhow::bail!("pod {key:?}, {message}");
            }
        }
        Ok(())
    }

    async fn create(&self, claim: &PersistentVolumeClaim) -> Result<(), String> {
        let namespace = key::namespace(&claim.metadata);
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), namespace);
        metrics::EPHEMERAL_CREATES.with(&[]).add(1);
        let made = api.create(&PostParams::default(), claim).await;
        if made.is_err() {
            metrics::EPHEMERAL_CREATE_FAILURES.with(&[]).add(1);
        }
        let name = key::name(&claim.metadata);
        made.map(drop).map_err(|error| format!("create PVC {name}: {}", client::message(&error)))
    }
}
