//! PersistentVolumeClaim protection: a deleted claim stays while a scheduled pod uses it.
//!
//! Upstream: `pkg/controller/volume/pvcprotection`. The key is a namespace: its pods are looked through once for all of
//! its claims, and listed once from the server before any claim is let go, since an informer may be behind.

mod sync;

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, api::ListParams};

use crate::{
    context::Context,
    util::{
        key,
        protection::{self, Action},
    },
};

const FINALIZER: &str = "kubernetes.io/pvc-protection";

/// Runs the claim protection controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    pods: Informer<Pod>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (claims, pods) = (context.informers.of::<PersistentVolumeClaim>(), context.informers.of::<Pod>());
    let queue: Queue<String> = Queue::new();
    let wake = queue.clone();
    protection::on_concern(&claims, FINALIZER, move |meta| wake.add(key::namespace(meta).to_owned()));
    let wake = queue.clone();
    pods.on_change(move |change| {
        let pod = change.object();
        let released = matches!(change, Change::Deleted(_)) || sync::is_shut_down(pod);
        if released && sync::has_claims(pod) {
            wake.add(key::namespace(&pod.metadata).to_owned());
        }
    });
    claims.synced().await;
    pods.synced().await;
    let (name, cancel) = (context.name, context.cancel.clone());
    let shell = &Shell { context, claims, pods };
    run_workers(name, &queue, 1, cancel, |namespace: String| shell.reconcile(namespace)).await;
    Ok(())
}

impl Shell {
    async fn reconcile(&self, namespace: String) -> anyhow::Result<()> {
        let mut claims = self.claims.list_namespace(&namespace);
        claims.retain(|claim| protection::concerns(&claim.metadata, FINALIZER));
        if claims.is_empty() {
            return Ok(());
        }
        let known: Vec<_> = self.pods.each_in(&namespace).filter(|pod| sync::has_claims(pod)).collect();
        let mut actions = sync::sync(claims, known.iter().map(|pod| &**pod));
        if actions.iter().any(|(_, action)| *action == Action::Remove) {
            let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &namespace);
            let live = api.list(&ListParams::default()).await?;
            actions = sync::sync(actions.into_iter().map(|(claim, _)| claim), live.items.iter());
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), &namespace);
        let mut first_error = None;
        for (claim, action) in actions {
            if let Err(error) = protection::carry_out(&api, &*claim, FINALIZER, action).await {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}
