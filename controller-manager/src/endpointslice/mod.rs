//! EndpointSlices: the addresses behind each Service that has a selector.
//!
//! Upstream: `pkg/controller/endpointslice` and `staging/.../endpointslice`. Each slice is a watch event to every node,
//! so [`sync::sync`] changes as few of them as it can.

mod hints;
mod sync;

use std::{sync::Arc, time::Duration};

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};

use crate::{
    context::Context,
    util::{
        key::{self, Key},
        services,
        slices::{self, Tracker},
    },
};

/// What slices made here say they are managed by.
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";

/// Runs the EndpointSlice controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    queue: Queue<Key>,
    tracker: Tracker,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let i = context.informers.clone();
    let (workers, cancel) = (context.config.concurrent_service_endpoint_syncs, context.cancel.clone());
    let (services, pods, nodes, slices) = (i.of(), i.of(), i.of(), i.of());
    let tracker = Tracker::default();
    let shell = Arc::new(Shell { context, services, pods, nodes, slices, queue: Queue::new(), tracker });
    let s = shell.clone();
    shell.services.on_change(move |change| s.queue.add(Key::of(&change.object().metadata)));
    let s = shell.clone();
    let batch = shell.context.config.endpointslice_updates_batch_period;
    shell.pods.on_change(move |change| services::wake(&s.services, &s.queue, batch, change));
    let s = shell.clone();
    shell.slices.on_change(move |change| s.slice_changed(change));
    let s = shell.clone();
    shell.nodes.on_change(move |change| s.node_changed(change));
    shell.services.synced().await;
    shell.pods.synced().await;
    shell.nodes.synced().await;
    shell.slices.synced().await;
    run_workers(shell.context.name, &shell.queue, workers, cancel, |key| shell.reconcile(key)).await;
    Ok(())
}

/// The Service of a slice that this controller manages.
fn service_of(slice: &EndpointSlice) -> Option<Key> {
    slices::service_of(slice, MANAGER)
}

impl Shell {
    fn slice_changed(&self, change: &Change<EndpointSlice>) {
        // A Service that is not wanted any more, or a label that somebody changed, concerns both.
        let keys = match change {
            Change::Added(s) => [service_of(s), None],
            Change::Updated { old, new } => [service_of(old), service_of(new)],
            Change::Deleted(s) => {
                let key = service_of(s);
                if let Some(key) = &key
                    && self.tracker.gone(key, key::uid(&s.metadata))
                {
                    return;
                }
                [key, None]
            }
        };
        keys.into_iter().flatten().filter(|key| self.needs_look(key, change.object())).for_each(|k| self.queue.add(k));
    }

    /// Changes that this controller made itself need no second look.
    fn needs_look(&self, key: &Key, slice: &EndpointSlice) -> bool {
        !self.tracker.is_own(key, slice)
    }

    /// A node that came or changed its zone changes what slices say about its pods.
    fn node_changed(&self, change: &Change<Node>) {
        let node = match change {
            Change::Updated { old, new } if sync::zone(old) == sync::zone(new) => return,
            change => change.object(),
        };
        let name = key::name(&node.metadata);
        for pod in self.pods.found(crate::util::pods::BY_NODE, name) {
            services::wake(&self.services, &self.queue, Duration::ZERO, &Change::Added(pod));
        }
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let Some(service) = self.services.get(Some(&key.namespace), &key.name) else {
            // Its slices go with it: they have it as their owner.
            self.tracker.forget(&key);
            return Ok(());
        };
        let Some(selector) = services::selector(&service) else { return Ok(()) };
        let pods = selector.select(&self.pods, &key.namespace);
        let mut slices = self.slices.list_namespace(&key.namespace);
        slices.retain(|s| service_of(s).as_ref() == Some(&key) && s.metadata.deletion_timestamp.is_none());
        if self.tracker.is_stale(&key, &slices) {
            anyhow::bail!("EndpointSlice informer cache is out of date");
        }
        let node = |name: &str| self.nodes.get(None, name);
        let plan = sync::sync(&service, &pods, node, &slices, self.context.config.max_endpoints_per_slice);
        let mut writes = plan.writes;
        if service.metadata.deletion_timestamp.is_some() {
            writes.create.clear();
        }
        let mut result = writes.carry_out(&self.context.client, &self.tracker, &key, "Service").await;
        if result.is_ok() && !plan.problems.is_empty() {
            result = Err(anyhow::anyhow!(plan.problems.join(", ")));
        }
        if let Err(error) = &result {
            let message =
                format!("Error updating Endpoint Slices for Service {}/{}: {error:#}", key.namespace, key.name);
            let reference = object_reference(&*service);
            self.context.recorder.event(&reference, "Warning", "FailedToUpdateEndpointSlices", message);
        }
        result
    }
}
