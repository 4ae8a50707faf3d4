//! EndpointSlice mirroring: Endpoints that somebody made for a Service without a selector, as EndpointSlices, which alone
//! proxies read.
//!
//! Upstream: `pkg/controller/endpointslicemirroring`.

mod sync;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    core::v1::{Endpoints, Service},
    discovery::v1::EndpointSlice,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    context::Context,
    metrics,
    util::{
        key::{self, Key},
        slices::{self, Tracker, Writes, service_of},
    },
};

/// What slices made here say they are managed by.
pub(crate) const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    endpoints: Informer<Endpoints>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    /// The names of the mirrored slices: most Endpoints have none, and are done with at once.
    mirrored: Mutex<HashMap<Key, BTreeSet<String>>>,
    queue: Queue<Key>,
    tracker: Tracker,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let i = context.informers.clone();
    let (workers, cancel) = (context.config.mirroring_concurrent_service_endpoint_syncs, context.cancel.clone());
    let (endpoints, services, slices) = (i.of(), i.of(), i.of());
    let (mirrored, queue, tracker) = (Mutex::default(), Queue::new(), Tracker::default());
    let shell = Arc::new(Shell { context, endpoints, services, slices, mirrored, queue, tracker });
    let s = shell.clone();
    shell.slices.on_change(move |change| s.slice_changed(change));
    let s = shell.clone();
    shell.endpoints.on_change(move |change| s.endpoints_changed(change));
    let s = shell.clone();
    shell.services.on_change(move |change| s.service_changed(change));
    shell.endpoints.synced().await;
    shell.services.synced().await;
    shell.slices.synced().await;
    let (slices, max) = (shell.slices.clone(), shell.context.config.mirroring_max_endpoints_per_subset);
    let _collected = metrics::collect(shell.context.name, move |out| {
        slices::write_numbers(out, "endpoint_slice_mirroring_controller", MANAGER, &slices.list(), max);
    });
    run_workers(shell.context.name, &shell.queue, workers, cancel, |key| shell.reconcile(key)).await;
    Ok(())
}

/// Whether these Endpoints are to be mirrored, if their Service has no selector.
fn wanted(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let skipped = meta.labels.as_ref().and_then(|l| l.get(SKIP)).is_some_and(|v| v == "true");
    let lock = meta.annotations.as_ref().is_some_and(|a| a.contains_key(LEADER_ANNOTATION));
    !skipped && !lock
}

fn has_selector(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.selector.as_ref()).is_some_and(|s| !s.is_empty())
}

impl Shell {
    fn endpoints_changed(&self, change: &Change<Endpoints>) {
        let concerned = match change {
            Change::Updated { old, new } => wanted(old) || wanted(new),
            change => wanted(change.object()),
        };
        if concerned {
            self.queue.add(Key::of(&change.object().metadata));
        }
    }

    fn service_changed(&self, change: &Change<Service>) {
        let concerned = match change {
            Change::Updated { old, new } => has_selector(old) != has_selector(new),
            change => !has_selector(change.object()),
        };
        if concerned {
            self.queue.add(Key::of(&change.object().metadata));
        }
    }

    fn slice_changed(&self, change: &Change<EndpointSlice>) {
        let (before, after) = match change {
            Change::Added(s) => (None, service_of(s, MANAGER)),
            Change::Updated { old, new } => (service_of(old, MANAGER), service_of(new, MANAGER)),
            Change::Deleted(s) => (service_of(s, MANAGER), None),
        };
        let slice = change.object();
        let name = key::name(&slice.metadata);
        let mut mirrored = self.mirrored.lock();
        if let Some(of) = before.as_ref().and_then(|key| mirrored.get_mut(key)) {
            of.remove(name);
        }
        if let Some(key) = &after {
            mirrored.entry(key.clone()).or_default().insert(name.to_owned());
        }
        if let Some(key) = before.as_ref().filter(|key| mirrored.get(*key).is_some_and(BTreeSet::is_empty)) {
            mirrored.remove(key);
        }
        drop(mirrored);
        let own = match (change, &before) {
            (Change::Deleted(s), Some(key)) => self.tracker.gone(key, key::uid(&s.metadata)),
            _ => after
                .as_ref()
                .is_some_and(|key| before.as_ref().is_none_or(|b| b == key) && self.tracker.is_own(key, slice)),
        };
        if !own {
            let wait = self.context.config.mirroring_endpointslice_updates_batch_period;
            [before, after].into_iter().flatten().for_each(|key| self.queue.add_after(key, wait));
        }
    }

    /// The slices made for these Endpoints, as the informer has them.
    fn slices(&self, key: &Key) -> Vec<Arc<EndpointSlice>> {
        let names = self.mirrored.lock().get(key).cloned().unwrap_or_default();
        let slices = names.iter().filter_map(|name| self.slices.get(Some(&key.namespace), name));
        slices.filter(|s| service_of(s, MANAGER).as_ref() == Some(key)).collect()
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let begun = Instant::now();
        let outcome = self.mirror(key).await;
        metrics::MIRROR_SECONDS.with(&[]).observe(begun.elapsed().as_secs_f64());
        outcome
    }

    async fn mirror(&self, key: Key) -> anyhow::Result<()> {
        let namespace = Some(key.namespace.as_str());
        let service = self.services.get(namespace, &key.name).filter(|s| !has_selector(s));
        let endpoints = self.endpoints.get(namespace, &key.name).filter(|e| wanted(e)).filter(|_| service.is_some());
        let slices = self.slices(&key);
        let Some(endpoints) = endpoints else {
            self.tracker.forget(&key);
            let delete = slices.iter().map(|s| (**s).clone()).collect();
            let writes = Writes { delete, ..Default::default() };
            let changes = &metrics::MIRROR_CHANGES;
            return writes.carry_out(&self.context.client, &self.tracker, &key, "Endpoints", changes).await;
        };
        if self.tracker.is_stale(&key, &slices) {
            return Err(slices::Stale.into());
        }
        let max = self.context.config.mirroring_max_endpoints_per_subset;
        let plan = sync::sync(&endpoints, &slices, max);
        let say = |reason: &str, message: String| {
            self.context.recorder.event(&object_reference(&*endpoints), "Warning", reason, message);
        };
        let (invalid, skipped) = (plan.invalid, plan.skipped);
        if invalid > 0 {
            let message = format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
            say("InvalidIPAddress", message);
        }
        if skipped > invalid {
            say(
                "TooManyAddressesToMirror",
                format!(
                    "A max of {max} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were skipped"
                ),
            );
        }
        let moved = plan.writes.moved(&slices);
        for (counted, number) in [
            (&metrics::MIRROR_ADDED, moved.added),
            (&metrics::MIRROR_UPDATED, moved.updated),
            (&metrics::MIRROR_REMOVED, moved.removed),
            (&metrics::MIRROR_SKIPPED, skipped),
        ] {
            counted.with(&[]).observe(number as f64);
        }
        let changes = &metrics::MIRROR_CHANGES;
        plan.writes.carry_out(&self.context.client, &self.tracker, &key, "Endpoints", changes).await
    }
}
