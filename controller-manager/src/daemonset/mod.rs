//! DaemonSet: one pod on each node that wants it.
//!
//! Upstream: `pkg/controller/daemon`. [`sync::manage`] and [`rolling::roll`] decide, [`revisions`] keeps the history of the
//! template; this shell observes and does. A set is looked at when it, its pods or its revisions change, or when a node
//! changes so that it could want or lose a pod; not before the informers have shown what was written of it the last time.

mod nodes;
mod placed;
mod reconcile;
mod revisions;
mod rolling;
mod sync;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use client::{Change, Informer};
use controller::{Queue, controller_of, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use parking_lot::Mutex;

use crate::{
    context::Context,
    util::{
        doubts::Doubts,
        expectations::Expectations,
        freshness::Freshness,
        key::{self, Key},
        owners, pods,
        selector::Selector,
    },
};
use nodes::Demands;
use placed::Placed;
use sync::Failures;

/// The first wait before a failed pod is deleted again on the same node, and the longest.
const FAILURE_WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15 * 60)];

/// Runs the DaemonSet controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    sets: Informer<DaemonSet>,
    revisions: Informer<ControllerRevision>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    queue: Queue<Key>,
    /// Names of nodes that changed.
    changed_nodes: Queue<String>,
    placed: Placed,
    expectations: Expectations,
    doubts: Doubts,
    written: Freshness<2>,
    failures: Mutex<Failures>,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let informers = context.informers.clone();
    let (workers, cancel) = (context.config.concurrent_daemonset_syncs, context.cancel.clone());
    let shell = Arc::new(Shell {
        context,
        sets: informers.of(),
        revisions: informers.of(),
        pods: informers.of(),
        nodes: informers.of(),
        queue: Queue::new(),
        changed_nodes: Queue::new(),
        placed: Placed::default(),
        expectations: Expectations::default(),
        doubts: Doubts::default(),
        written: Freshness::default(),
        failures: Mutex::new(Failures::new(FAILURE_WAITS[0], FAILURE_WAITS[1])),
    });
    let s = shell.clone();
    shell.sets.on_change(move |change| {
        s.set_changed(change);
        s.wake_waiting();
    });
    let s = shell.clone();
    shell.revisions.on_change(move |change| s.revision_changed(change));
    let s = shell.clone();
    shell.pods.on_change(move |change| {
        s.pod_changed(change);
        s.wake_waiting();
    });
    let s = shell.clone();
    shell.nodes.on_change(move |change| s.node_changed(change));
    shell.sets.synced().await;
    shell.revisions.synced().await;
    shell.pods.synced().await;
    shell.nodes.synced().await;
    let name = shell.context.name;
    let of_nodes = |node: String| {
        shell.wake_for_node(&node);
        std::future::ready(Ok(()))
    };
    futures::join!(
        run_workers(name, &shell.queue, workers, cancel.clone(), |key| shell.reconcile(key)),
        run_workers("daemonset-node-updates", &shell.changed_nodes, 1, cancel, of_nodes),
    );
    Ok(())
}

/// What is written of a set, by what informer it comes back.
#[derive(Clone, Copy)]
enum Written {
    Set,
    Pod,
}

impl Shell {
    /// The sets that wait for an informer look whether it has come that far.
    fn wake_waiting(&self) {
        self.written.waiting().into_iter().for_each(|key| self.queue.add(key));
    }

    fn set_changed(&self, change: &Change<DaemonSet>) {
        let key = Key::of(&change.object().metadata);
        if matches!(change, Change::Deleted(_)) {
            self.expectations.forget(&key);
            self.doubts.forget(&key);
            self.written.forget(&key);
        }
        self.queue.add(key);
    }

    fn revision_changed(&self, change: &Change<ControllerRevision>) {
        let meta = &change.object().metadata;
        match change {
            Change::Updated { old, .. } => self.owned_changed(&old.metadata, meta),
            Change::Added(_) if meta.deletion_timestamp.is_none() => self.wake(meta),
            _ => self.wake_owner(meta),
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        self.placed.note(change);
        let pod = change.object();
        let owner = controller_of(&pod.metadata).and_then(|o| self.resolve(&pod.metadata, o));
        match (change, owner) {
            (Change::Updated { old, .. }, Some((key, set))) if !pods::is_terminating(pod) => {
                let wait = sync::min_ready_seconds(&set);
                if wait > 0 && !pods::is_ready(old) && pods::is_ready(pod) {
                    // One more, since the times that are compared have whole seconds.
                    self.queue.add_after(key, Duration::from_secs(wait.unsigned_abs().into()) + Duration::from_secs(1));
                }
            }
            (Change::Deleted(_), Some((key, _))) => self.expectations.deletion_observed(&key, key::uid(&pod.metadata)),
            (_, Some((key, _))) if pods::is_terminating(pod) => {
                self.expectations.deletion_observed(&key, key::uid(&pod.metadata));
            }
            (Change::Added(_), Some((key, _))) => self.expectations.creation_observed(&key),
            _ => {}
        }
        match change {
            Change::Updated { old, .. } if !pods::is_terminating(pod) => {
                self.owned_changed(&old.metadata, &pod.metadata);
            }
            Change::Added(_) if !pods::is_terminating(pod) => self.wake(&pod.metadata),
            _ => self.wake_owner(&pod.metadata),
        }
    }

    /// Of a pod or a revision: the owner that it had and the one that it has; an orphan that changed may be adopted.
    fn owned_changed(&self, old: &ObjectMeta, new: &ObjectMeta) {
        let (was, is) = (controller_of(old), controller_of(new));
        if was != is {
            self.wake_owner(old);
        }
        if is.is_some() || was != is || old.labels != new.labels {
            self.wake(new);
        }
    }

    /// The owner, or whoever may want an orphan.
    fn wake(&self, meta: &ObjectMeta) {
        if controller_of(meta).is_some() {
            return self.wake_owner(meta);
        }
        owners::selecting(&self.sets, meta, selector).into_iter().for_each(|key| self.queue.add(key));
    }

    fn wake_owner(&self, meta: &ObjectMeta) {
        if let Some((key, _)) = controller_of(meta).and_then(|o| self.resolve(meta, o)) {
            self.queue.add(key);
        }
    }

    fn resolve(&self, meta: &ObjectMeta, owner: &OwnerReference) -> Option<(Key, Arc<DaemonSet>)> {
        owners::resolve(&self.sets, meta.namespace.as_deref(), owner)
    }

    fn node_changed(&self, change: &Change<Node>) {
        let taints = |node: &Node| node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
        let matters = match change {
            Change::Added(_) => true,
            Change::Updated { old, new } => old.metadata.labels != new.metadata.labels || taints(old) != taints(new),
            Change::Deleted(_) => false,
        };
        if matters {
            self.changed_nodes.add(key::name(&change.object().metadata).to_owned());
        }
    }

    /// Queues the sets that a node's change gives something to do, or to count.
    fn wake_for_node(&self, node: &str) {
        let sets = self.sets.list();
        // Without sets no node need be looked at.
        let Some(node) = sets.first().and_then(|_| self.nodes.get(None, node)) else { return };
        let there = self.placed.sets_on(key::name(&node.metadata));
        for set in sets {
            let (fit, key) = (Demands::of(&set).fit(&node), Key::of(&set.metadata));
            let astray = set.status.as_ref().is_some_and(|s| s.number_misscheduled > 0);
            let matters = if there.contains(&key) { !fit.keep || astray } else { fit.run };
            if matters {
                self.queue.add(key);
            }
        }
    }
}

/// Nothing if it is invalid.
fn selector(set: &DaemonSet) -> Option<Selector> {
    Selector::new(&set.spec.as_ref()?.selector)
}
