//! Routes of a cloud: each node's ranges of pods' addresses lead to it.
//!
//! Upstream: `k8s.io/cloud-provider/controllers/route`. It runs where nodes get ranges here.

mod sync;

use std::{collections::BTreeMap, sync::Arc};

use client::Informer;
use controller::object_reference;
use futures::future::{BoxFuture, join_all};
use ipnet::IpNet;
use k8s_openapi::{api::core::v1::Node, jiff::Timestamp};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    cloud::{Route, Routes},
    context::Context,
    metrics,
    util::key,
};

/// The most routes that are made or deleted at a time.
const PARALLEL: usize = 200;

/// Runs the controller, if the cloud has routes.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

async fn run(context: Context) -> anyhow::Result<()> {
    let routes = context.config.cloud.as_ref().and_then(|cloud| cloud.routes());
    let (Some(routes), Some(ranges)) = (routes, &context.config.node_ranges) else { return Ok(()) };
    let cluster: Vec<IpNet> = ranges.cluster.iter().map(|(range, _)| *range).collect();
    let nodes: Informer<Node> = context.informers.of();
    nodes.synced().await;
    let look = async {
        loop {
            if let Err(error) = reconcile(&context, &*routes, &nodes.list(), &cluster).await {
                tracing::warn!(error = format!("{error:#}"), "couldn't reconcile node routes");
            }
            tokio::time::sleep(context.config.route_reconciliation_period).await;
        }
    };
    context.cancel.run_until_cancelled(look).await;
    Ok(())
}

async fn reconcile(
    context: &Context,
    routes: &dyn Routes,
    nodes: &[Arc<Node>],
    cluster: &[IpNet],
) -> anyhow::Result<()> {
    metrics::ROUTE_SYNCS.with(&[]).add(1);
    let name = &context.config.cluster_name;
    let there = routes.list(name).await?;
    let by_name: BTreeMap<&str, &Node> = nodes.iter().map(|node| (key::name(&node.metadata), &**node)).collect();
    let all: Vec<&Node> = by_name.values().copied().collect();
    let mut plan = sync::sync(&all, &there, cluster);
    let delete = async {
        for part in plan.delete.chunks(PARALLEL) {
            join_all(part.iter().map(|route| remove(routes, name, route))).await;
        }
    };
    let create = async {
        let mut failed = vec![];
        for part in plan.create.chunks(PARALLEL) {
            let node = |route: &Route| by_name.get(route.node.as_str()).copied();
            let made = part.iter().map(|(hint, route)| make(context, routes, hint, route, node(route)));
            let made = join_all(made).await;
            failed.extend(part.iter().zip(made).filter(|(_, made)| !made).map(|((_, route), _)| route.node.clone()));
        }
        failed
    };
    let failed = if plan.in_turn {
        delete.await;
        create.await
    } else {
        futures::join!(delete, create).1
    };
    for node in failed {
        plan.nodes.insert(node, false);
    }
    let api: Api<Node> = Api::all(context.client.clone());
    for (name, reached) in plan.nodes {
        if by_name.get(name.as_str()).is_some_and(|node| !sync::is_said(node, reached)) {
            say(&api, &name, reached).await?;
        }
    }
    Ok(())
}

async fn remove(routes: &dyn Routes, cluster: &str, route: &Route) {
    if let Err(error) = routes.delete(cluster, route).await {
        tracing::warn!(route.name, route.destination, error = format!("{error:#}"), "could not delete a route");
    }
}

/// Makes a route, and says whether it is there.
async fn make(context: &Context, routes: &dyn Routes, hint: &str, route: &Route, node: Option<&Node>) -> bool {
    let begun = tokio::time::Instant::now();
    let Err(error) = routes.create(&context.config.cluster_name, hint, route).await else { return true };
    let took = machinery::duration::text(i64::try_from(begun.elapsed().as_nanos()).unwrap_or(i64::MAX));
    let Route { destination, node: of, .. } = route;
    let why = format!("Could not create route {hint} {destination} for node {of} after {took}: {error:#}");
    if let Some(node) = node {
        context.recorder.event(&object_reference(node), "Warning", "FailedToCreateRoute", why);
    }
    false
}

async fn say(api: &Api<Node>, node: &str, reached: bool) -> anyhow::Result<()> {
    let (status, reason) = sync::said(reached);
    let message = if reached { "RouteController created a route" } else { "RouteController failed to create a route" };
    let now = machinery::time::rfc3339(Timestamp::now());
    let condition = json!({
        "type": "NetworkUnavailable", "status": status, "reason": reason, "message": message,
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    });
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    match api.patch_status(node, &PatchParams::default(), &patch).await {
        Err(e) if !client::is_not_found(&e) => Err(e.into()),
        _ => Ok(()),
    }
}
