//! `ferry leave`: takes this machine's node away from its cluster in order. Its pods go to other nodes, as `kubectl drain` has
//! them go; then the node is deleted by the cluster, on its own wish; then everything of it on this machine ends.

mod pods;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::Instant;

use crate::join::Kept;
use crate::up::{Layout, Store, lock};
use pods::{Fate, fate};

/// On a Node: it is to be deleted.
const LEAVING: &str = "ferry.dev/leaving";
/// How long the cluster may take to delete the node.
const DELETED: Duration = Duration::from_secs(60);
/// Between two tries of an eviction that would be one too many, as `kubectl drain`.
const AGAIN: Duration = Duration::from_secs(5);

/// Takes this machine's node away from its cluster: its pods go to other nodes, and nothing of it stays here.
#[derive(Debug, Clone, clap::Args)]
struct Leave {
    /// Where the node's state is kept
    #[arg(long, default_value = "/var/lib/ferry")]
    data_dir: PathBuf,
    /// How long its pods may take to go
    #[arg(long, value_parser = machinery::duration::length, default_value = "5m")]
    timeout: Duration,
    /// Leave whatever becomes of the pods, and though no server answers
    #[arg(long)]
    force: bool,
}

/// `ferry leave`.
///
/// # Errors
/// What keeps the node from leaving, in one line; what was done by then stays done, and it can be said again.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: Leave = component::flags::parse("ferry leave", &argv, &[])?;
    if !nix::unistd::Uid::effective().is_root() {
        bail!("ferry leave must run as root: it ends containers and takes their network down");
    }
    let Some(kept) = Kept::read(&flags.data_dir)? else {
        bail!(
            "{} holds no node that has joined a cluster; `ferry down` ends one of `ferry up`",
            flags.data_dir.display()
        );
    };
    let layout = Layout::new(&flags.data_dir)?;
    let file = layout.data.join(if kept.is_server { "admin.conf" } else { "kubelet.conf" });
    match part(&flags, &layout, &file, kept.is_server).await {
        Err(error) if flags.force => {
            println!("warning: {error:#}; going on, as --force says: `kubectl delete node` does what is left");
        }
        done => done?,
    }
    crate::up::down(vec![format!("--data-dir={}", layout.data.display()), "--purge".into()]).await
}

/// Has the cluster know that the node is gone.
async fn part(flags: &Leave, layout: &Layout, kubeconfig: &Path, is_server: bool) -> anyhow::Result<()> {
    let client = client::from_kubeconfig(kubeconfig, "ferry-leave")?;
    let name = std::fs::read_to_string(layout.node_name_file()).context("which node this machine is")?;
    let nodes: Api<Node> = Api::all(client.clone());
    let reach = tokio::time::timeout(Duration::from_secs(15), nodes.get_opt(&name)).await;
    if reach.context("no server answers")?.map_err(said)?.is_none() {
        println!("node {name} is gone from the cluster already");
        return Ok(());
    }
    let cordon = Patch::Merge(json!({ "spec": { "unschedulable": true } }));
    nodes.patch(&name, &PatchParams::default(), &cordon).await.map_err(said)?;
    println!("node {name} cordoned");
    drain(&client, &name, flags).await?;
    if is_server {
        nodes.delete(&name, &DeleteParams::default()).await.map_err(said)?;
        println!("node {name} is gone from the cluster");
        return leave_store(layout).await;
    } else {
        let wish = Patch::Merge(json!({ "metadata": { "annotations": { LEAVING: "true" } } }));
        nodes.patch_metadata(&name, &PatchParams::default(), &wish).await.map_err(said)?;
    }
    let deadline = Instant::now() + DELETED;
    while nodes.get_opt(&name).await.map_err(said)?.is_some() {
        if Instant::now() > deadline {
            bail!(
                "the cluster has not deleted node {name} within {} s: is its controller manager well?",
                DELETED.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("node {name} is gone from the cluster");
    Ok(())
}

/// Has the server leave the store that it shares with others by a copy of its own.
async fn leave_store(layout: &Layout) -> anyhow::Result<()> {
    let is_member = Store::read(layout)?.is_some_and(|store| !store.members.is_empty());
    if !is_member {
        return Ok(());
    }
    if lock::holder(layout)?.is_none() {
        bail!("the server does not run, and can tell nobody that it leaves: start it, or go on with --force");
    }
    std::fs::write(layout.leaving_file(), "")?;
    let deadline = Instant::now() + DELETED;
    while lock::holder(layout)?.is_some() {
        if Instant::now() > deadline {
            let _ = std::fs::remove_file(layout.leaving_file());
            bail!("the other servers have not let this one go within {} s: do most of them run?", DELETED.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("the server has left the store");
    Ok(())
}

/// Has the node's pods go.
async fn drain(client: &Client, node: &str, flags: &Leave) -> anyhow::Result<()> {
    let all: Api<Pod> = Api::all(client.clone());
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let deadline = Instant::now() + flags.timeout;
    let mut told = std::collections::BTreeSet::new();
    loop {
        let pods = all.list(&here).await.map_err(said)?.items;
        let going: Vec<(&Pod, Fate)> =
            pods.iter().map(|pod| (pod, fate(pod))).filter(|(_, f)| *f != Fate::Stays).collect();
        let alone: Vec<String> =
            going.iter().filter(|(_, f)| *f == Fate::Lost).map(|(pod, _)| pods::name(pod)).collect();
        if !alone.is_empty() && !flags.force {
            bail!(
                "pods that no controller would make again elsewhere: {} (--force leaves without them)",
                alone.join(", ")
            );
        }
        if going.is_empty() {
            return Ok(());
        }
        let mut kept = Vec::new();
        for (pod, _) in going.iter().filter(|(pod, _)| pod.metadata.deletion_timestamp.is_none()) {
            let name = pods::name(pod);
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let own: Api<Pod> = Api::namespaced(client.clone(), namespace);
            match own.evict(pod.metadata.name.as_deref().unwrap_or_default(), &EvictParams::default()).await {
                Ok(_) if told.insert(name.clone()) => println!("evicting pod {name}"),
                Ok(_) => {}
                Err(error) if client::is_not_found(&error) => {}
                // A disruption budget.
                Err(kube::Error::Api(status)) if status.code == 429 => kept.push(format!("{name}: {}", status.message)),
                Err(error) => return Err(said(error)),
            }
        }
        if Instant::now() > deadline {
            let waiting: Vec<String> = going.iter().map(|(pod, _)| pods::name(pod)).collect();
            let why = if kept.is_empty() { waiting.join(", ") } else { kept.join("; ") };
            bail!("pods have not gone within {}: {why}", machinery::duration::text(flags.timeout.as_nanos() as i64));
        }
        tokio::time::sleep(if kept.is_empty() { Duration::from_millis(500) } else { AGAIN }).await;
    }
}

fn said(error: kube::Error) -> anyhow::Error {
    anyhow::anyhow!("{}", client::message(&error))
}
