//! Node lifecycle: a node that falls silent becomes Unknown, and taints say what its conditions say.
//!
//! Upstream: `pkg/controller/nodelifecycle`. Life is a change of the node's Lease or status, timed by this process's own
//! clock: clocks of machines are not compared. Nodes are looked at when something changes and when their grace ends,
//! not every five seconds.

mod sync;
mod zones;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use client::{Change, Informer, Scope};
use component::metrics::Text;
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, ObjectReference, Pod},
    },
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    context::Context,
    metrics,
    util::{key, pods},
};
use zones::{Rates, Zones};

const LEASES: &str = "kube-node-lease";
const WORKERS: usize = 4;

/// Runs the node lifecycle controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    queue: Queue<String>,
    /// When each node last showed life.
    alive: Mutex<HashMap<String, Instant>>,
    zones: Mutex<Zones>,
    /// The nodes that were ready when last looked at: that it ends is an event.
    were_ready: Mutex<HashSet<String>>,
    /// The nodes that are not ready, and whose pods were told so. Of one that is not ready when it is first looked at that is
    /// not known: whoever looked before may have ended in between.
    told: Mutex<HashSet<String>>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let i = context.informers.clone();
    let leases: Informer<Lease> = i.scoped(Scope { namespace: Some(LEASES.into()), ..Default::default() });
    let cancel = context.cancel.clone();
    let (queue, alive, told) = (Queue::new(), Mutex::default(), Mutex::default());
    let rates = Rates {
        usual: context.config.node_eviction_rate,
        reduced: context.config.secondary_node_eviction_rate,
        large: context.config.large_cluster_size_threshold,
        threshold: context.config.unhealthy_zone_threshold,
    };
    let (zones, were_ready) = (Mutex::new(Zones::new(rates)), Mutex::default());
    let shell = Arc::new(Shell { context, nodes: i.of(), pods: i.of(), queue, alive, zones, were_ready, told });
    let s = shell.clone();
    shell.nodes.on_change(move |change| s.node_changed(change));
    let s = shell.clone();
    leases.on_change(move |change| {
        // A heartbeat moves the time alone; who waits for it looks when the grace ends.
        if let Change::Added(lease) | Change::Updated { new: lease, .. } = change {
            s.seen(key::name(&lease.metadata));
        }
    });
    shell.nodes.synced().await;
    leases.synced().await;
    shell.pods.synced().await;
    let s = shell.clone();
    let _collected = metrics::collect(shell.context.name, move |out| health(out, &s.zones.lock().health()));
    run_workers(shell.context.name, &shell.queue, WORKERS, cancel, |name| shell.reconcile(name)).await;
    Ok(())
}

/// Writes how the zones are.
fn health(out: &mut Text, zones: &BTreeMap<String, (usize, usize)>) {
    let of = |value: fn(usize, usize) -> f64| {
        zones.iter().map(move |(zone, (all, unready))| ([zone.clone()], value(*all, *unready)))
    };
    let share = |all: usize, unready: usize| 100.0 * (all - unready) as f64 / all as f64;
    let help = "[ALPHA] The share of a zone's nodes that are healthy, in percent.";
    metrics::gauge(out, ("node_collector_zone_health", help), ["zone"], of(share));
    let help = "[ALPHA] A zone's nodes.";
    metrics::gauge(out, ("node_collector_zone_size", help), ["zone"], of(|all, _| all as f64));
    let help = "[ALPHA] Those of a zone's nodes that are not ready.";
    metrics::gauge(out, ("node_collector_unhealthy_nodes_in_zone", help), ["zone"], of(|_, unready| unready as f64));
}

impl Shell {
    fn seen(&self, name: &str) {
        let before = self.alive.lock().insert(name.to_owned(), Instant::now());
        // Back from the dead, or so it seems: its kubelet will say more by itself.
        if before.is_some_and(|b| b.elapsed() > self.context.config.node_monitor_grace_period) {
            self.queue.add(name.to_owned());
        }
    }

    fn has_told(&self, name: &str) -> bool {
        self.told.lock().contains(name)
    }

    fn node_changed(&self, change: &Change<Node>) {
        let node = change.object();
        let name = key::name(&node.metadata);
        match change {
            Change::Added(_) => {
                self.seen(name);
                self.say(node, "RegisteredNode", format!("Registered Node {name} in Controller"));
            }
            Change::Updated { old, new } if sync::heartbeat(old) != sync::heartbeat(new) => self.seen(name),
            Change::Updated { .. } => {}
            Change::Deleted(_) => {
                self.alive.lock().remove(name);
                self.were_ready.lock().remove(name);
                self.told.lock().remove(name);
                self.say(node, "RemovingNode", format!("Removing Node {name} from Controller"));
            }
        }
        self.queue.add(name.to_owned());
        let (old, new) = match change {
            Change::Added(new) => (None, Some(&**new)),
            Change::Updated { old, new } => (Some(&**old), Some(&**new)),
            Change::Deleted(old) => (Some(&**old), None),
        };
        // Whether the unready are given up depends on the others.
        if self.zones.lock().change(old, new) {
            let unready = self.nodes.each().filter(|n| !sync::is_ready(n));
            unready.for_each(|n| self.queue.add(key::name(&n.metadata).to_owned()));
        }
    }

    fn say(&self, node: &Node, reason: &str, message: String) {
        let text = format!("Node {} event: {message}", key::name(&node.metadata));
        self.record(node, reason, text);
    }

    fn record(&self, node: &Node, reason: &str, text: String) {
        let name = node.metadata.name.clone();
        let reference = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            uid: node.metadata.uid.clone(),
            name,
            ..Default::default()
        };
        self.context.recorder.event(&reference, "Normal", reason, text);
    }

    async fn reconcile(&self, name: String) -> anyhow::Result<()> {
        let begun = Instant::now();
        let outcome = self.look(name).await;
        metrics::NODE_SECONDS.with(&[]).observe(begun.elapsed().as_secs_f64());
        outcome
    }

    async fn look(&self, name: String) -> anyhow::Result<()> {
        // Each node is looked at once in its grace, and most need nothing: they stay packed.
        let Some(node) = self.nodes.peek(None, &name) else { return Ok(()) };
        let mut node = Arc::unwrap_or_clone(node);
        let config = &self.context.config;
        let grace = match sync::has_reported(&node) {
            true => config.node_monitor_grace_period,
            false => config.node_startup_grace_period,
        };
        let silent = self.alive.lock().entry(name.clone()).or_insert_with(Instant::now).elapsed();
        let api: Api<Node> = Api::all(self.context.client.clone());
        if silent > grace {
            if sync::mark_unknown(&mut node, Timestamp::now()) {
                node = api.replace_status(&name, &PostParams::default(), &node).await?;
            }
        } else {
            self.queue.add_after(name.clone(), grace - silent + Duration::from_secs(1));
        }
        if sync::is_ready(&node) {
            self.were_ready.lock().insert(name.clone());
            self.told.lock().remove(&name);
        } else {
            if self.were_ready.lock().remove(&name) {
                self.record(&node, "NodeNotReady", format!("Node {name} status is now: NodeNotReady"));
            }
            // Once: the kubelet of a node that is merely not ready may know better afterwards.
            if !self.has_told(&name) {
                self.mark_pods_not_ready(&node).await?;
                self.told.lock().insert(name.clone());
            }
        }
        let (eviction, again) = self.zones.lock().may_evict(&node, sync::wants_eviction(&node), Instant::now());
        if let Some(again) = again {
            self.queue.add_after(name.clone(), again);
        }
        let taints = sync::taints(&node, eviction, Timestamp::now());
        if let Some(taints) = taints {
            let patch =
                json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints}});
            // The list is replaced as a whole: a merge would resurrect what goes.
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            if sync::evicts(&taints) && !sync::evicts(node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())) {
                metrics::NODE_EVICTIONS.with(&[&zones::key(&node)]).add(1);
            }
        }
        Ok(())
    }

    /// Nobody can say any more whether they are ready: Services must not send anything there.
    async fn mark_pods_not_ready(&self, node: &Node) -> anyhow::Result<()> {
        let name = key::name(&node.metadata);
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        for pod in self.pods.found(pods::BY_NODE, name).iter().filter(|p| pods::is_ready(p)) {
            let api: Api<Pod> = Api::namespaced(self.context.client.clone(), key::namespace(&pod.metadata));
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": now});
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
            match api.patch_status(key::name(&pod.metadata), &PatchParams::default(), &Patch::Strategic(patch)).await {
                Err(e) if !client::is_not_found(&e) => return Err(e.into()),
                _ => self.context.recorder.event(
                    &controller::object_reference(&**pod),
                    "Warning",
                    "NodeNotReady",
                    "Node is not ready",
                ),
            }
        }
        Ok(())
    }
}
