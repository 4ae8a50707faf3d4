//! Load balancers for clusters without a cloud: addresses for Services of type LoadBalancer, and on each node an announcer
//! that answers ARP and neighbour discovery for those of them that are its own.
//!
//! `book` decides who gets which address, `election` and `speaker` who answers for it; all are pure. `provider` is the
//! built-in cloud behind the interface of every cloud's, which the controller in `crates/cloud` drives; `tables` and
//! `announcer` are the shell around the rest. What reaches a node is the proxy's.
//!
//! What it must **not** know: rules of packets, pods, how endpoints come about.

mod announcer;
mod book;
mod claim;
mod config;
mod election;
mod family;
mod frames;
mod lead;
mod link;
mod membership;
mod nodes;
mod pool;
mod provider;
mod speaker;
mod tables;

use std::sync::Arc;

use anyhow::Context;
use client::Informers;
use component::Supervisor;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use announcer::Own;
use election::Table;

pub use config::{CLASS, Class, Config};
pub use pool::Pool;

/// What it is called in events, and its Lease.
pub(crate) const COMPONENT: &str = "ferry-balancer";

/// A stand-alone balancer; `argv` without the component's name.
///
/// # Errors
/// Bad flags, no kubeconfig.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: config::Flags = component::flags::parse(COMPONENT, &argv, &[])?;
    component::init_logging(flags.v);
    let kubeconfig = flags.kubeconfig.clone().context("no kubeconfig: give one with --kubeconfig")?;
    let config = config::load(flags)?;
    let client = client::from_kubeconfig(&kubeconfig, &client::user_agent(COMPONENT, ""))?;
    let tasks = component::supervised();
    tasks.vital("balancer", move |own| run(config, client, own.token()));
    tasks.finish().await
}

/// Runs the balancer until cancelled. Nothing of it stays on the machine: it has put no address on a link, and its sockets
/// are all that answers.
///
/// # Errors
/// A task that must not end has ended.
pub async fn run(config: Config, client: kube::Client, cancel: CancellationToken) -> anyhow::Result<()> {
    let stop = cancel.child_token();
    let _ended = stop.clone().drop_guard();
    let tasks = Supervisor::under(&stop);
    let informers = Informers::new(client.clone(), &tasks);
    if config.allocate {
        let (config, informers) = (config.clone(), informers.clone());
        tasks.restarting("addresses", move |own| {
            lead::run(config.clone(), client.clone(), informers.owned_by("addresses", &own), own)
        });
    }
    // The nodes' own addresses are answered for by the nodes.
    if config.announce && config.pool.is_some() {
        let (tables, told) = watch::channel(Arc::new(Table::default()));
        let (own_node, this) = watch::channel(None);
        let config = config.clone();
        tasks.restarting("tables", move |own| {
            tables::follow(config.clone(), informers.owned_by("tables", &own), own, tables.clone(), own_node.clone())
        });
        tasks.restarting("announcing", move |own| announcing(this.clone(), told.clone(), own));
    }
    tasks.finish().await
}

/// Announces as the node that this is, and anew where that changes.
async fn announcing(
    mut this: watch::Receiver<Option<Own>>,
    tables: watch::Receiver<Arc<Table>>,
    tasks: Supervisor,
) -> anyhow::Result<()> {
    loop {
        let known = tasks.until_stopped(this.wait_for(Option::is_some)).await;
        let Some(Ok(own)) = known.map(|known| known.map(|own| own.clone())) else { return Ok(()) };
        let Some(own) = own else { continue };
        let run = tasks.child("link");
        tokio::select! {
            ended = announcer::run(own, tables.clone(), &run) => return ended,
            changed = this.changed() => changed?,
        }
        run.shutdown().await;
    }
}
