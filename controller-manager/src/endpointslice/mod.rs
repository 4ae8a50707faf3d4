//! EndpointSlices: the addresses behind each Service that has a selector.
//!
//! Upstream: `pkg/controller/endpointslice` and `staging/.../endpointslice`. Each slice is a watch event to every node,
//! so [`sync::sync`] changes as few of them as it can.

mod hints;
mod sync;
mod topology;

use std::{sync::Arc, time::Duration};

use client::{Change, Informer};
use controller::{Queue, object_reference, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use parking_lot::Mutex;

use self::{
    hints::Distribution,
    topology::{Topology, Zones},
};
use crate::{
    context::Context,
    metrics::{self, Collected},
    util::{
        key::{self, Key},
        nodes, services,
        slices::{self, Tracker, Writes},
        trigger_times::{self, TriggerTimes},
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
    /// Nodes have changed, so that zones may have other shares.
    zones_changed: Queue<()>,
    topology: Mutex<Topology>,
    tracker: Tracker,
    triggers: TriggerTimes,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let i = context.informers.clone();
    let (workers, cancel) = (context.config.concurrent_service_endpoint_syncs, context.cancel.clone());
    let shell = Arc::new(Shell {
        context,
        services: i.of(),
        pods: i.of(),
        nodes: i.of(),
        slices: i.of(),
        queue: Queue::new(),
        zones_changed: Queue::new(),
        topology: Mutex::default(),
        tracker: Tracker::default(),
        triggers: TriggerTimes::default(),
    });
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
    shell.topology.lock().zones = Zones::of(shell.nodes.each());
    let _collected = collected(&shell);
    let name = shell.context.name;
    tokio::join!(
        run_workers(name, &shell.queue, workers, cancel.clone(), |key| shell.reconcile(key)),
        run_workers("endpointslice-topology", &shell.zones_changed, 1, cancel, |()| shell.look_at_zones()),
    );
    Ok(())
}

/// How many slices there are and should be, and how Services want their traffic.
fn collected(shell: &Shell) -> Collected {
    let (slices, services, max) =
        (shell.slices.clone(), shell.services.clone(), shell.context.config.max_endpoints_per_slice);
    metrics::collect(shell.context.name, move |out| {
        slices::write_numbers(out, "endpoint_slice_controller", MANAGER, &slices.list(), max);
        let help = "[BETA] Services that say how their traffic is to be distributed.";
        let services = services.list();
        let said = services.iter().filter(|service| hints::distribution(service) != hints::Distribution::Anywhere);
        let said = said.filter_map(|service| Some([service.spec.as_ref()?.traffic_distribution.clone()?]));
        let of = ("endpoint_slice_controller_services_count_by_traffic_distribution", help);
        metrics::gauge(out, of, ["traffic_distribution"], metrics::tally(said));
    })
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

    /// The zones' shares are other ones: Services whose hints give an endpoint too much are looked at.
    async fn look_at_zones(&self) -> anyhow::Result<()> {
        let mut topology = self.topology.lock();
        topology.zones = Zones::of(self.nodes.each());
        topology.overloaded().into_iter().for_each(|key| self.queue.add(key));
        Ok(())
    }

    /// A node that came or changed its zone changes what slices say about its pods.
    fn node_changed(&self, change: &Change<Node>) {
        let same =
            |old: &Node, new: &Node| nodes::is_ready(old) == nodes::is_ready(new) && sync::zone(old) == sync::zone(new);
        if !matches!(change, Change::Updated { old, new } if same(old, new)) {
            self.zones_changed.add(());
        }
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
        let outcome = self.look(key).await;
        let result = match &outcome {
            Ok(()) => "success",
            Err(error) if error.is::<slices::Stale>() => "stale",
            Err(_) => "error",
        };
        metrics::SLICES_SYNCS.with(&[result]).add(1);
        outcome
    }

    async fn look(&self, key: Key) -> anyhow::Result<()> {
        let Some(service) = self.services.get(Some(&key.namespace), &key.name) else {
            // Its slices go with it: they have it as their owner.
            self.tracker.forget(&key);
            self.topology.lock().forget(&key);
            self.triggers.forget(&key);
            return Ok(());
        };
        let Some(selector) = services::selector(&service) else { return Ok(()) };
        let pods = selector.select(&self.pods, &key.namespace);
        let mut slices = self.slices.list_namespace(&key.namespace);
        slices.retain(|s| service_of(s).as_ref() == Some(&key) && s.metadata.deletion_timestamp.is_none());
        if self.tracker.is_stale(&key, &slices) {
            return Err(slices::Stale.into());
        }
        let changed = self.triggers.first_change(&key, &service, &pods);
        let node = |name: &str| self.nodes.get(None, name);
        let max = self.context.config.max_endpoints_per_slice;
        let (plan, said) = {
            let mut topology = self.topology.lock();
            let mut plan = sync::sync(&service, &pods, node, &slices, max, &topology.zones);
            for family in ["IPv4", "IPv6"] {
                if !plan.hints.iter().any(|(of, _)| *of == family) {
                    topology.remove(&key, family);
                }
            }
            let outcomes = std::mem::take(&mut plan.hints).into_iter();
            let said: Vec<_> = outcomes.filter_map(|(family, outcome)| topology.note(&key, family, outcome)).collect();
            (plan, said)
        };
        let mut writes = plan.writes;
        if service.metadata.deletion_timestamp.is_some() {
            writes.create.clear();
        }
        let written = writes.create.iter_mut().chain(&mut writes.update);
        written.for_each(|slice| trigger_times::annotate(&mut slice.metadata, changed));
        tally(&service, &writes, &slices);
        let changes = &metrics::SLICES_CHANGES;
        let mut result = writes.carry_out(&self.context.client, &self.tracker, &key, "Service", changes).await;
        let reference = object_reference(&*service);
        for (kind, reason, message) in said {
            self.context.recorder.event(&reference, kind, reason, message);
        }
        if result.is_ok() && !plan.problems.is_empty() {
            result = Err(anyhow::anyhow!(plan.problems.join(", ")));
        }
        if let Err(error) = &result {
            let message =
                format!("Error updating Endpoint Slices for Service {}/{}: {error:#}", key.namespace, key.name);
            self.context.recorder.event(&reference, "Warning", "FailedToUpdateEndpointSlices", message);
        }
        result
    }
}

/// Counts what a turn does.
fn tally(service: &Service, writes: &Writes, existing: &[Arc<EndpointSlice>]) {
    let moved = writes.moved(existing);
    metrics::SLICES_ADDED.with(&[]).observe(moved.added as f64);
    metrics::SLICES_REMOVED.with(&[]).observe(moved.removed as f64);
    let by_topology = topology::is_wanted(service);
    let distribution = service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref());
    let distribution = distribution.filter(|_| !by_topology && hints::distribution(service) != Distribution::Anywhere);
    let labels = [if by_topology { "Auto" } else { "Disabled" }, distribution.unwrap_or_default()];
    let written = writes.create.len() + writes.update.len() + writes.delete.len();
    metrics::SLICES_CHANGED.with(&labels).observe(written as f64);
}
