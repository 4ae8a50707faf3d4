//! One network for the pods of all nodes, without a pod that makes it: a node's part of it is its routes to the other nodes'
//! ranges (plain ones on one link, through VXLAN otherwise), the configuration of its CNI plugins, and that what leaves the
//! cluster is masqueraded.
//!
//! `model` decides, `kernel` does; `agent` is a turn of both, and here is the shell that takes the turns when nodes, links or
//! routes change, and looks every half minute whether somebody undid something. When it ends everything stays: packets go on.
//!
//! Ranges come from the node IPAM controller. The formats are flannel's where it has some (VXLAN 1 at port 8472, a node's range
//! by its first address as gateway): what breaks there has been found by many.
//!
//! What it must **not** know: pods, Services, policies, how containers are made.

mod agent;
mod cni;
mod config;
mod kernel;
mod masquerade;
pub mod model;
mod sysctl;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use client::{Change, Informers};
use component::Supervisor;
use component::supervisor::guarded_future;
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use rtnetlink::packet_route::link::InfoKind;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use agent::Agent;
pub use cni::Cni;
pub use config::{Config, Flags, Mode};
pub use kernel::{DEVICE, PROTOCOL};
use model::{ANNOTATION, Endpoint, Node, NodePart};

/// The tunnel's network, as flannel's.
pub const VNI: u32 = 1;
/// The port that tunnels listen on: the kernel's, and flannel's, and not IANA's 4789.
pub const PORT: u16 = 8472;

/// How long the first change of a burst waits for the rest of it.
const GATHER: Duration = Duration::from_millis(10);
/// How often it is looked whether all is still there.
const LOOK: Duration = Duration::from_secs(30);
const FIRST_BACKOFF: Duration = Duration::from_millis(250);

/// The network of a node beside any kubelet; `argv` without the component's name.
///
/// # Errors
/// Bad flags, no kubeconfig, a kernel that does not let us.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: Flags = component::flags::parse("ferry network", &argv, &[])?;
    component::init_logging(flags.v);
    if flags.cleanup {
        return cleanup(None).await;
    }
    let config = flags.config()?;
    let kubeconfig = flags.kubeconfig.context("no kubeconfig: give one with --kubeconfig")?;
    let agent = client::user_agent("ferry-network", "");
    let client = client::from_kubeconfig(&kubeconfig, &agent)?;
    let node_client = match &flags.node_kubeconfig {
        Some(kubeconfig) => client::from_kubeconfig(kubeconfig, &agent)?,
        None => client.clone(),
    };
    let tasks = component::supervised();
    tasks.vital("network", move |own| run(config, client, node_client, own.token()));
    tasks.finish().await
}

/// Runs the network of a node until cancelled; what is there stays: see [`cleanup`]. `client` is of somebody who may list and
/// watch nodes (a node may see itself alone); `node_client` is the node's own, which annotates its Node.
///
/// # Errors
/// The kernel does not let us, or has not what the mode needs.
pub async fn run(
    config: Config,
    client: kube::Client,
    node_client: kube::Client,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    check(config.mode).await?;
    let stop = cancel.child_token();
    let _ended = stop.clone().drop_guard();
    let tasks = Supervisor::under(&stop);
    if config.mode == Mode::None {
        // What another mode left would be in the way of what does it now.
        agent::clean(None, &tasks).await?;
        cancel.cancelled().await;
        return Ok(());
    }
    let informers = Informers::new(client, &tasks);
    tasks.vital("routes", move |own| follow(config, informers.owned_by("routes", &own), node_client, own));
    tasks.finish().await
}

/// Removes routes, the tunnel, rules, and the bridge of that name with them. Nothing to remove is no error.
///
/// # Errors
/// The kernel does not let us.
pub async fn cleanup(bridge: Option<&str>) -> anyhow::Result<()> {
    let tasks = Supervisor::new();
    let cleaned = agent::clean(bridge, &tasks).await;
    tasks.shutdown().await;
    cleaned
}

/// Whether the mode can be, said before anything is begun.
///
/// # Errors
/// It can't: why, and what to do.
pub async fn check(mode: Mode) -> anyhow::Result<()> {
    if mode != Mode::Wireguard {
        return Ok(());
    }
    let tasks = Supervisor::new();
    let is_there = kernel::Kernel::open(&tasks)?.has_kind(InfoKind::Wireguard).await;
    tasks.shutdown().await;
    if !is_there? {
        bail!("the mode wireguard needs a kernel with WireGuard, which this one has not: take another mode");
    }
    bail!("the mode wireguard is not done yet: take another mode");
}

/// The nodes as they were last seen.
type Nodes = Arc<Mutex<BTreeMap<String, Node>>>;

async fn follow(
    config: Config,
    informers: Informers,
    node_client: kube::Client,
    tasks: Supervisor,
) -> anyhow::Result<()> {
    let name = config.node_name.clone();
    let mut agent = Agent::new(config.clone(), &tasks)?;
    let changed = Arc::new(Notify::new());
    kernel::watch(changed.clone(), &tasks).context("netlink")?;
    let nodes = Nodes::default();
    let parts = informers.of::<NodePart>();
    parts.synced().await;
    // Nothing is removed on the word of a list that is not there.
    if !parts.is_synced() {
        return Ok(());
    }
    let (seen, told) = (nodes.clone(), changed.clone());
    parts.on_change(move |change| {
        let node = Node::of(change.object());
        let mut seen = seen.lock();
        let is_new = match change {
            Change::Deleted(_) => seen.remove(&node.name).is_some(),
            _ => seen.insert(node.name.clone(), node.clone()).as_ref() != Some(&node),
        };
        if is_new {
            told.notify_one();
        }
    });
    tracing::info!(node = name, mode = ?config.mode, "keeping the routes to other nodes' pods");
    let mut failures = 0;
    loop {
        let all = nodes.lock().clone();
        let turn = async {
            if let Some(endpoint) = agent.turn(&all).await? {
                publish(&node_client, &name, all.get(&name).and_then(|node| node.endpoint), endpoint).await?;
            }
            anyhow::Ok(())
        };
        let fault = match guarded_future("network_turn", turn).await {
            Ok(done) => done.err(),
            Err(ended) => Some(anyhow::anyhow!("{ended}")),
        };
        if let Some(error) = fault {
            let pause = LOOK.min(FIRST_BACKOFF * 2u32.pow(failures));
            failures = (failures + 1).min(8);
            tracing::error!(error = format!("{error:#}"), ?pause, "the network is not as it should be; trying again");
            if tasks.until_stopped(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
            // A socket that broke is not mended by asking again.
            if failures > 1 {
                agent = Agent::new(config.clone(), &tasks)?;
            }
            continue;
        }
        failures = 0;
        let wait = async {
            let _ = tokio::time::timeout(LOOK, changed.notified()).await;
            tokio::time::sleep(GATHER).await;
        };
        if tasks.until_stopped(wait).await.is_none() {
            return Ok(());
        }
    }
}

/// Has the other nodes know this one's end of the tunnel, or that there is none.
async fn publish(
    client: &kube::Client,
    name: &str,
    published: Option<Endpoint>,
    endpoint: Option<Endpoint>,
) -> anyhow::Result<()> {
    if published == endpoint {
        return Ok(());
    }
    let text = endpoint.map(|endpoint| serde_json::to_string(&endpoint)).transpose()?;
    let patch = json!({ "metadata": { "annotations": { ANNOTATION: text } } });
    let nodes: Api<NodePart> = Api::all(client.clone());
    nodes.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&patch)).await.context("annotating the Node")?;
    tracing::info!(?endpoint, "the other nodes are told of the tunnel");
    Ok(())
}
