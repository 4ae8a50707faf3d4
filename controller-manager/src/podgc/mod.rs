//! Pod garbage collection: pods that nobody will ever finish.
//!
//! Upstream: `pkg/controller/podgc`: too many finished pods; pods of nodes that are gone; pods that are deleted but were
//! never scheduled; deleted pods of a node that is out of service. Upstream looks every 20 seconds; here a change that
//! could matter makes it look 20 seconds later, and nothing happens on an idle cluster.

mod sync;

use std::{collections::HashMap, sync::Arc, time::Duration};

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Pod};
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

const PERIOD: Duration = Duration::from_secs(20);
/// How long a node must have been gone before its pods are.
const QUARANTINE: Duration = Duration::from_secs(40);

/// Runs the pod garbage collector.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let (pods, nodes): (Informer<Pod>, Informer<Node>) = (context.informers.of(), context.informers.of());
    let queue: Queue<()> = Queue::new();
    let (wake, known) = (queue.clone(), nodes.clone());
    [sync::ENDED, pods::BY_NODE].into_iter().for_each(|index| pods.index(index));
    pods.on_change(move |change| {
        if matches!(change, Change::Deleted(_)) {
            return;
        }
        let pod = change.object();
        if sync::may_be_garbage(pod, |node| known.has(None, node)) {
            wake.add_after((), PERIOD);
        }
    });
    let wake = queue.clone();
    nodes.on_change(move |change| match change {
        Change::Deleted(_) => wake.add_after((), PERIOD),
        Change::Updated { new, .. } if sync::out_of_service(new) => wake.add_after((), PERIOD),
        _ => {}
    });
    pods.synced().await;
    nodes.synced().await;
    queue.add(());
    let missing: Mutex<HashMap<String, Instant>> = Mutex::default();
    let (pods, nodes, queue, missing, context) = (&pods, &nodes, &queue, &missing, &context);
    run_workers(context.name, queue, 1, context.cancel.clone(), |()| async move {
        let known = |node: &str| nodes.has(None, node);
        let all = candidates(pods, known);
        let gone = gone_nodes(context, nodes, missing, sync::unknown_nodes(&all, known)).await;
        if !missing.lock().is_empty() {
            queue.add_after((), PERIOD);
        }
        let threshold = context.config.terminated_pod_gc_threshold;
        let doomed = sync::sync(&all, |n| nodes.get(None, n), &gone, threshold);
        let mut first_error = None;
        for (pod, why) in doomed {
            if let Err(error) = remove(context, &pod, why).await {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    })
    .await;
    Ok(())
}

/// The pods that may be garbage, ordered by namespace and name. No others are looked at.
fn candidates(pods: &Informer<Pod>, known: impl Fn(&str) -> bool) -> Vec<Arc<Pod>> {
    let mut nodes = pods.keys(pods::BY_NODE);
    nodes.retain(|node| !node.is_empty() && !known(node));
    let ended = pods.each_found(sync::ENDED, sync::HAS_ENDED);
    let stray = nodes.iter().flat_map(|node| pods.each_found(pods::BY_NODE, node));
    let stray = stray.filter(|pod| sync::ended(pod) != sync::HAS_ENDED);
    let mut all: Vec<_> = ended.chain(stray).collect();
    all.sort_by_cached_key(|pod| Key::of(&pod.metadata));
    all
}

/// Of the nodes that the informer lacks, those that have been away long enough and that the server lacks too.
async fn gone_nodes(
    context: &Context,
    nodes: &Informer<Node>,
    missing: &Mutex<HashMap<String, Instant>>,
    unknown: Vec<String>,
) -> Vec<String> {
    let due: Vec<String> = {
        let mut missing = missing.lock();
        missing.retain(|name, _| unknown.contains(name) && !nodes.has(None, name));
        unknown.iter().for_each(|n| {
            missing.entry(n.clone()).or_insert_with(Instant::now);
        });
        missing.iter().filter(|(_, since)| since.elapsed() >= QUARANTINE).map(|(n, _)| n.clone()).collect()
    };
    let api: Api<Node> = Api::all(context.client.clone());
    let mut gone = vec![];
    for name in due {
        if matches!(api.get_opt(&name).await, Ok(None)) {
            gone.push(name);
        }
    }
    gone
}

/// Marks a pod failed, if it has not ended, and deletes it at once: no kubelet will.
async fn remove(context: &Context, pod: &Pod, why: sync::Why) -> anyhow::Result<()> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), key::namespace(&pod.metadata));
    let name = key::name(&pod.metadata);
    if !pods::is_finished(pod) {
        let condition = match why {
            sync::Why::NodeGone => Some(("DeletionByPodGC", "PodGC: node no longer exists")),
            _ => None,
        };
        disrupt::mark(&api, pod, condition, Some("Failed")).await?;
    }
    tracing::info!(namespace = key::namespace(&pod.metadata), name, ?why, "pod garbage collected");
    let labels = [key::namespace(&pod.metadata), why.label()];
    metrics::PODS_FORCED.with(&labels).add(1);
    match api.delete(name, &DeleteParams { grace_period_seconds: Some(0), ..Default::default() }).await {
        Err(e) if !client::is_not_found(&e) => {
            metrics::PODS_NOT_FORCED.with(&labels).add(1);
            Err(e.into())
        }
        _ => Ok(()),
    }
}
