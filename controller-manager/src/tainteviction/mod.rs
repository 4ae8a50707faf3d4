//! Taint eviction: pods leave a node whose NoExecute taints they do not, or no longer, tolerate.
//!
//! Upstream: `pkg/controller/tainteviction`. A pod's stay is counted from when the taint was first seen here.

mod sync;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use kube::{Api, api::DeleteParams};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    context::Context,
    metrics,
    util::{
        key::{self, Key},
        pods,
        pods::disrupt,
    },
};
use sync::Stay;

const WORKERS: usize = 8;

/// Runs the taint eviction controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

struct Shell {
    context: Context,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    queue: Queue<Key>,
    /// Since when a pod's days are counted, with its UID, and whether it was evicted when they were over.
    since: Mutex<HashMap<Key, Days>>,
}

/// The days of a pod.
struct Days {
    uid: String,
    since: Instant,
    over: bool,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (pods, nodes) = (context.informers.of(), context.informers.of::<Node>());
    let cancel = context.cancel.clone();
    let shell = Arc::new(Shell { context, pods, nodes, queue: Queue::new(), since: Mutex::default() });
    // The nodes that have such taints: pods are many, and ask for theirs whenever they come or are bound.
    let tainted: Arc<Mutex<HashSet<String>>> = Arc::default();
    let (s, known) = (shell.clone(), tainted.clone());
    shell.nodes.on_change(move |change| {
        let new = change.object();
        let name = key::name(&new.metadata);
        // Before its pods are looked for: one that comes later finds it here.
        if matches!(change, Change::Deleted(_)) || sync::no_execute(new).is_empty() {
            known.lock().remove(name);
        } else {
            known.lock().insert(name.to_owned());
        }
        let wake = match change {
            Change::Updated { old, .. } => sync::no_execute(old) != sync::no_execute(new),
            _ => !sync::no_execute(new).is_empty(),
        };
        if wake {
            s.pods.found(pods::BY_NODE, name).iter().for_each(|p| s.queue.add(Key::of(&p.metadata)));
        }
    });
    let s = shell.clone();
    shell.pods.on_change(move |change| {
        let pod = change.object();
        let tainted = || tainted.lock().contains(pods::node_name(pod));
        let wake = match change {
            Change::Added(_) => tainted(),
            Change::Updated { old, new } => pods::node_name(old) != pods::node_name(new) && tainted(),
            Change::Deleted(_) => s.since.lock().contains_key(&Key::of(&pod.metadata)),
        };
        if wake {
            s.queue.add(Key::of(&pod.metadata));
        }
    });
    shell.pods.synced().await;
    shell.nodes.synced().await;
    run_workers(shell.context.name, &shell.queue, WORKERS, cancel, |key| shell.reconcile(key)).await;
    Ok(())
}

impl Shell {
    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let pod = self.pods.get(Some(&key.namespace), &key.name).filter(|p| !pods::is_terminating(p));
        let node = pod.as_ref().and_then(|p| self.nodes.get(None, pods::node_name(p)));
        let (Some(pod), Some(node)) = (pod, node) else {
            self.cancel(&key);
            return Ok(());
        };
        match sync::stay(&pod, &node) {
            Stay::ForEver => {
                self.cancel(&key);
                Ok(())
            }
            Stay::For(limit) => {
                let passed = self.counted(&key, &pod);
                if passed < limit {
                    self.queue.add_after(key, limit - passed);
                    return Ok(());
                }
                self.evict(&key, &pod, passed - limit).await
            }
        }
    }

    fn counted(&self, key: &Key, pod: &Pod) -> Duration {
        let uid = key::uid(&pod.metadata);
        let mut since = self.since.lock();
        let begin = || Days { uid: uid.to_owned(), since: Instant::now(), over: false };
        let days = since.entry(key.clone()).or_insert_with(begin);
        if days.uid != uid {
            *days = begin();
        }
        days.since.elapsed()
    }

    /// The pod's days are counted no more: it may stay, or is gone before they were over.
    fn cancel(&self, key: &Key) {
        if self.since.lock().remove(key).is_some_and(|days| !days.over) {
            self.say(key, format!("Cancelling deletion of Pod {}/{}", key.namespace, key.name));
        }
    }

    fn say(&self, key: &Key, message: String) {
        let pod = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            ..Default::default()
        };
        self.context.recorder.event(&pod, "Normal", "TaintManagerEviction", message);
    }

    /// Deletes a pod, so late.
    async fn evict(&self, key: &Key, pod: &Pod, late: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        self.say(key, format!("Marking for deletion Pod {}/{}", key.namespace, key.name));
        if let Some(days) = self.since.lock().get_mut(key) {
            days.over = true;
        }
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let why = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
        disrupt::mark(&api, pod, Some(why), None).await?;
        let uid = kube::api::Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        match api.delete(&key.name, &DeleteParams { preconditions: Some(uid), ..Default::default() }).await {
            Err(e) if !client::is_not_found(&e) && !client::is_conflict(&e) => Err(e.into()),
            Ok(_) => {
                metrics::TAINT_DELETIONS.with(&[]).add(1);
                metrics::TAINT_DELETION_SECONDS.with(&[]).observe((late + begun.elapsed()).as_secs_f64());
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }
}
