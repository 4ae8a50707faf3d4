//! Endpoints: the old form of what EndpointSlices say, one object a Service.
//!
//! Upstream: `pkg/controller/endpoint`. Deprecated, but clients read it still.

mod sync;

use std::sync::Arc;

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};

use crate::{
    context::Context,
    util::{
        freshness::{Freshness, STALE_WAIT},
        key::Key,
        services,
        trigger_times::{self, TriggerTimes},
    },
};

const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

/// Runs the endpoints controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
    queue: Queue<Key>,
    /// What of the Endpoints the informer has not shown yet.
    written: Freshness<1>,
    triggers: TriggerTimes,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let i = context.informers.clone();
    let (workers, cancel) = (context.config.concurrent_endpoint_syncs, context.cancel.clone());
    let (services, pods, endpoints) = (i.of(), i.of(), i.of::<Endpoints>());
    let (written, triggers) = (Freshness::default(), TriggerTimes::default());
    let shell = Arc::new(Shell { context, services, pods, endpoints, queue: Queue::new(), written, triggers });
    let s = shell.clone();
    shell.services.on_change(move |change| s.queue.add(Key::of(&change.object().metadata)));
    let s = shell.clone();
    let batch = shell.context.config.endpoint_updates_batch_period;
    shell.pods.on_change(move |change| services::wake(&s.services, &s.queue, batch, change));
    shell.services.synced().await;
    shell.pods.synced().await;
    shell.endpoints.synced().await;
    shell.queue_leftovers();
    let s = shell.clone();
    shell.endpoints.on_change(move |change| {
        if let Change::Deleted(gone) = change {
            s.endpoints_deleted(Key::of(&gone.metadata));
        }
        s.written.waiting().into_iter().for_each(|key| s.queue.add(key));
    });
    run_workers(shell.context.name, &shell.queue, workers, cancel, |key| shell.reconcile(key)).await;
    Ok(())
}

impl Shell {
    /// Queues what is there at the start, for Services that went while nobody looked; leader election's locks never
    /// had one.
    fn queue_leftovers(&self) {
        for endpoints in self.endpoints.list() {
            let annotations = endpoints.metadata.annotations.as_ref();
            if !annotations.is_some_and(|a| a.contains_key(LEADER_ANNOTATION)) {
                self.queue.add(Key::of(&endpoints.metadata));
            }
        }
    }

    /// A Service's Endpoints are made anew; Endpoints without a Service are their user's affair.
    fn endpoints_deleted(&self, key: Key) {
        if self.services.get(Some(&key.namespace), &key.name).is_some() {
            self.queue.add(key);
        }
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let api: Api<Endpoints> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let Some(service) = self.services.get(Some(&key.namespace), &key.name) else {
            self.written.forget(&key);
            self.triggers.forget(&key);
            // Also where the informer has not seen Endpoints yet.
            return match api.delete(&key.name, &DeleteParams::default()).await {
                Err(e) if !client::is_not_found(&e) => Err(e.into()),
                _ => Ok(()),
            };
        };
        let Some(selector) = services::selector(&service) else { return Ok(()) };
        if !self.written.is_fresh(&key, || [self.endpoints.version()]) {
            self.queue.add_after(key, STALE_WAIT);
            return Ok(());
        }
        let pods = selector.select(&self.pods, &key.namespace);
        let current = self.endpoints.get(Some(&key.namespace), &key.name);
        let changed = self.triggers.first_change(&key, &service, &pods);
        let Some(mut new) = sync::sync(&service, &pods, current.as_deref()) else { return Ok(()) };
        trigger_times::annotate(&mut new.metadata, changed);
        let (verb, reason, done) = match current {
            None => ("create", "FailedToCreateEndpoint", api.create(&PostParams::default(), &new).await),
            Some(_) => ("update", "FailedToUpdateEndpoint", api.replace(&key.name, &PostParams::default(), &new).await),
        };
        match done {
            Ok(written) => {
                self.written.note(&key, 0, &written.metadata);
                Ok(())
            }
            Err(e) if client::is_namespace_terminating(&e) => Ok(()),
            Err(e) => {
                let of = if verb == "create" { "for service " } else { "" };
                let message =
                    format!("Failed to {verb} endpoint {of}{}/{}: {}", key.namespace, key.name, client::message(&e));
                self.context.recorder.event(&object_reference(&new), "Warning", reason, message);
                Err(e.into())
            }
        }
    }
}
