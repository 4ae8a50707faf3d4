//! Services of type LoadBalancer: each has its load balancer of the cloud, which leads to the nodes there are.
//!
//! Upstream: `k8s.io/cloud-provider/controllers/service`. A finalizer keeps the Service until its load balancer is gone.

mod sync;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use client::{Change, Informer, Informers};
use component::metrics::{Counter, Histogram};
use controller::{Queue, Recorder, key::Key, object_reference, run_workers};
use k8s_openapi::api::core::v1::{LoadBalancerStatus, Node, Service};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Failure, LoadBalancers};
pub use sync::{FINALIZER, takes_load};

/// How long a failed Service waits, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// The most nodes that are named in an event.
const MOST_NAMES: usize = 20;

/// What the controller counts: upstream's four figures of it, which the program shows.
pub struct Figures {
    /// Times that a load balancer was given its nodes.
    pub syncs: Arc<Counter>,
    /// Load balancers that could not be given the nodes there are now.
    pub node_errors: Arc<Counter>,
    /// How long it took to give all load balancers the nodes there are now.
    pub node_seconds: Arc<Histogram>,
    /// How long it took to give one load balancer its nodes.
    pub seconds: Arc<Histogram>,
}

/// What the controller works with.
pub struct Parts {
    /// What its queue is called.
    pub name: &'static str,
    /// What the cloud calls the cluster.
    pub cluster_name: String,
    /// Services that are worked on at once.
    pub workers: usize,
    /// For everything that is written.
    pub client: Client,
    /// For everything that is read.
    pub informers: Informers,
    /// For the Services' events.
    pub recorder: Recorder,
    /// The cloud's.
    pub balancers: Arc<dyn LoadBalancers>,
    /// Where it counts.
    pub figures: Figures,
}

/// What is known of a Service since it was last looked at.
struct Known {
    service: Arc<Service>,
    /// The nodes that its load balancer was last given.
    nodes: BTreeMap<String, String>,
}

struct Shell {
    parts: Parts,
    services: Informer<Service>,
    nodes: Informer<Node>,
    queue: Queue<Key>,
    changed_nodes: Queue<()>,
    known: Mutex<HashMap<Key, Known>>,
}

/// Runs the controller until cancelled.
pub async fn run(parts: Parts, cancel: CancellationToken) {
    let (services, nodes) = (parts.informers.of(), parts.informers.of());
    let (workers, name) = (parts.workers, parts.name);
    let (queue, changed_nodes) = (Queue::with_retries(RETRY.0, RETRY.1), Queue::with_retries(RETRY.0, RETRY.1));
    let shell = Arc::new(Shell { parts, services, nodes, queue, changed_nodes, known: Mutex::default() });
    shell.parts.balancers.follow(&shell.queue);
    let s = shell.clone();
    shell.services.on_change(move |change| {
        let serves = |service: &Service| s.serves(service);
        let concerned = match change {
            Change::Added(service) => s.wants(service) || sync::needs_cleanup(service),
            Change::Updated { old, new } => sync::needs_update(old, new, &serves) || sync::needs_cleanup(new),
            Change::Deleted(_) => true,
        };
        if concerned {
            s.queue.add(Key::of(&change.object().metadata));
        }
    });
    let s = shell.clone();
    shell.nodes.on_change(move |change| {
        if !matches!(change, Change::Updated { old, new } if !sync::matters(old, new)) {
            s.changed_nodes.add(());
        }
    });
    shell.services.synced().await;
    shell.nodes.synced().await;
    futures::join!(
        run_workers(name, &shell.queue, workers, cancel.clone(), |key| shell.reconcile(key)),
        run_workers("service-lb-nodes", &shell.changed_nodes, 1, cancel, |()| shell.nodes_changed()),
    );
}

impl Shell {
    fn cluster(&self) -> &str {
        &self.parts.cluster_name
    }

    fn serves(&self, service: &Service) -> bool {
        self.parts.balancers.serves(service)
    }

    fn wants(&self, service: &Service) -> bool {
        sync::wants(service, &|service| self.serves(service))
    }

    fn say(&self, service: &Service, kind: &str, reason: &str, message: impl Into<String>) {
        self.parts.recorder.event(&object_reference(service), kind, reason, message);
    }

    fn remember(&self, key: &Key, service: &Arc<Service>, nodes: Option<BTreeMap<String, String>>) {
        let mut known = self.known.lock();
        let known =
            known.entry(key.clone()).or_insert_with(|| Known { service: service.clone(), nodes: BTreeMap::new() });
        known.service = service.clone();
        if let Some(nodes) = nodes {
            known.nodes = nodes;
        }
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let before = self.known.lock().get(&key).map(|known| known.service.clone());
        let now = self.services.get(Some(&key.namespace), &key.name);
        // One that went without the finalizer, or another that has its name now.
        if let Some(before) = before.filter(|b| now.as_ref().is_none_or(|n| n.metadata.uid != b.metadata.uid)) {
            self.forget(&key, &before).await?;
        }
        let Some(service) = now else { return Ok(()) };
        self.remember(&key, &service, None);
        let deletes = !self.wants(&service) || sync::needs_cleanup(&service);
        let outcome = if deletes { self.delete(&key, &service).await } else { self.ensure(&key, &service).await };
        match outcome {
            Ok(()) if deletes => drop(self.known.lock().remove(&key)),
            Ok(()) => {}
            Err(failure) => {
                let why = match &failure {
                    Failure::Elsewhere => return Ok(()),
                    Failure::Later(_, why) | Failure::Failed(why) => why.clone(),
                };
                self.say(&service, "Warning", "SyncLoadBalancerFailed", format!("Error syncing load balancer: {why}"));
                let Failure::Later(wait, _) = failure else { anyhow::bail!(why) };
                self.queue.add_after(key, wait);
            }
        }
        Ok(())
    }

    async fn ensure(&self, key: &Key, service: &Arc<Service>) -> Result<(), Failure> {
        self.say(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer");
        if !sync::is_protected(service) {
            let added = self.patch(key, json!({"metadata": {"finalizers": [FINALIZER]}})).await;
            added.map_err(|e| failed("failed to add load balancer cleanup finalizer", &e))?;
        }
        let nodes = sync::backends(self.nodes.list());
        if nodes.is_empty() {
            let why = "There are no available nodes for LoadBalancer";
            self.say(service, "Warning", "UnAvailableLoadBalancer", why);
        }
        self.remember(key, service, Some(sync::known(&nodes)));
        let status =
            self.parts.balancers.ensure(self.cluster(), service, &nodes).await.map_err(|failure| match failure {
                Failure::Elsewhere => Failure::Elsewhere,
                Failure::Later(wait, why) => Failure::Later(wait, format!("failed to ensure load balancer: {why}")),
                Failure::Failed(why) => Failure::Failed(format!("failed to ensure load balancer: {why}")),
            })?;
        self.say(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer");
        self.write_status(key, service, &status).await
    }

    async fn delete(&self, key: &Key, service: &Service) -> Result<(), Failure> {
        let exists = self.parts.balancers.exists(self.cluster(), service).await;
        if exists.map_err(|e| failed("failed to check if load balancer exists before cleanup", &e))? {
            self.say(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer");
            match self.parts.balancers.delete(self.cluster(), service).await {
                Ok(()) | Err(Failure::Elsewhere) => {}
                Err(Failure::Later(_, why) | Failure::Failed(why)) => {
                    return Err(Failure::Failed(format!("failed to delete load balancer: {why}")));
                }
            }
        }
        // Together: a Service of another type that has addresses still is refused.
        let mut patch = json!({"status": {"loadBalancer": {"ingress": null}}});
        if sync::is_protected(service) {
            patch["metadata"] = json!({"$deleteFromPrimitiveList/finalizers": [FINALIZER]});
        }
        let balanced = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        if sync::is_protected(service) || !sync::same(balanced, &LoadBalancerStatus::default()) {
            let removed = self.patch(key, patch).await;
            removed.map_err(|e| failed("failed to remove load balancer cleanup finalizer", &e))?;
        }
        self.say(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer");
        Ok(())
    }

    /// Deletes the load balancer of a Service that is gone.
    async fn forget(&self, key: &Key, service: &Service) -> anyhow::Result<()> {
        if self.wants(service) {
            self.say(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer");
            if let Err(Failure::Later(_, why) | Failure::Failed(why)) =
                self.parts.balancers.delete(self.cluster(), service).await
            {
                self.say(
                    service,
                    "Warning",
                    "DeleteLoadBalancerFailed",
                    format!("Error deleting load balancer: {why}"),
                );
                anyhow::bail!(why);
            }
            self.say(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer");
        }
        self.known.lock().remove(key);
        Ok(())
    }

    async fn write_status(&self, key: &Key, service: &Service, new: &LoadBalancerStatus) -> Result<(), Failure> {
        if sync::same(service.status.as_ref().and_then(|s| s.load_balancer.as_ref()), new) {
            return Ok(());
        }
        let written = self.patch(key, json!({"status": {"loadBalancer": {"ingress": new.ingress}}})).await;
        written.map_err(|e| failed("failed to update load balancer status", &e))
    }

    /// By the status, as the role allows no more. That the Service is gone is no error.
    async fn patch(&self, key: &Key, patch: Value) -> anyhow::Result<()> {
        let api: Api<Service> = Api::namespaced(self.parts.client.clone(), &key.namespace);
        match api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(e) if !client::is_not_found(&e) => Err(anyhow::Error::msg(client::message(&e))),
            _ => Ok(()),
        }
    }

    /// Gives all load balancers the nodes there are now; those that fail are made anew, later.
    async fn nodes_changed(&self) -> anyhow::Result<()> {
        let nodes = sync::backends(self.nodes.list());
        let now = sync::known(&nodes);
        let mut changed = vec![];
        for (key, known) in &mut *self.known.lock() {
            if self.wants(&known.service) && known.nodes != now {
                known.nodes.clone_from(&now);
                changed.push((key.clone(), known.service.clone()));
            }
        }
        let all_begun = Instant::now();
        for (key, service) in changed {
            self.parts.figures.syncs.add(1);
            let begun = Instant::now();
            let updated = self.parts.balancers.update(self.cluster(), &service, &nodes).await;
            self.parts.figures.seconds.observe(begun.elapsed().as_secs_f64());
            match updated {
                Ok(()) if nodes.is_empty() => {
                    let why = "There are no available nodes for LoadBalancer";
                    self.say(&service, "Warning", "UnAvailableLoadBalancer", why);
                }
                Ok(()) => self.say(&service, "Normal", "UpdatedLoadBalancer", "Updated load balancer with new hosts"),
                Err(Failure::Elsewhere) => {}
                // One that is not there yet is made with these nodes.
                Err(_) if matches!(self.parts.balancers.exists(self.cluster(), &service).await, Ok(false)) => {}
                Err(Failure::Later(_, why) | Failure::Failed(why)) => {
                    let message = format!(
                        "Error updating load balancer with new hosts {} [node names limited, total number of nodes: {}], \
                         error: {why}",
                        named(&now),
                        nodes.len()
                    );
                    self.say(&service, "Warning", "UpdateLoadBalancerFailed", message);
                    self.parts.figures.node_errors.add(1);
                    self.queue.add(key);
                }
            }
        }
        self.parts.figures.node_seconds.observe(all_begun.elapsed().as_secs_f64());
        Ok(())
    }
}

/// The nodes' names as Go prints a list.
fn named(nodes: &BTreeMap<String, String>) -> String {
    let mut names: Vec<String> = nodes.keys().take(MOST_NAMES).cloned().collect();
    if nodes.len() > MOST_NAMES {
        names.push(format!("<{} more>", nodes.len() - MOST_NAMES));
    }
    format!("[{}]", names.join(" "))
}

fn failed(what: &str, error: &anyhow::Error) -> Failure {
    Failure::Failed(format!("{what}: {error:#}"))
}
