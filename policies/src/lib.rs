//! Network policies of networking.k8s.io/v1 on a node, for its pods: what their policies do not allow is dropped.
//!
//! `model` is what policies, pods and namespaces mean for packets; `compile` says it as chains and sets, one change at a time;
//! both are pure. `table` is the difference to what the kernel has, and `agent` the shell around them all.
//!
//! Where the API leaves it open: a pod reaches itself, and its node reaches it. Pods of the host's network are the node: no
//! policy is about them, no selector takes them, blocks of addresses do. What was let through goes on when policies change.
//! What is neither TCP, UDP nor SCTP passes where a rule names no ports. The cluster's DNS where it is no pod (`kube-dns` without
//! pods, as Ferry's own) is allowed by rules that select its pods elsewhere: `k8s-app: kube-dns` in `kube-system`, at its ports.
//!
//! What it must **not** know: Services, how packets find their way, what is stored where.

mod agent;
mod bridge;
pub mod compile;
mod config;
pub mod content;
mod denials;
pub mod facts;
mod health;
mod kernel;
pub mod model;
pub mod table;
mod tracker;

use anyhow::Context;
use client::Informers;
use component::Supervisor;
use netfilter::tables::Version;
use netfilter::{Change, Transaction};
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use denials::REASON;
pub use kernel::Kernel;

/// An agent that runs alone; `argv` without the component's name.
///
/// # Errors
/// Bad flags, no kubeconfig, a kernel without nftables.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: config::Flags = component::flags::parse("policies", &argv, &[])?;
    component::init_logging(flags.v);
    if flags.cleanup {
        return cleanup(&Kernel::open()?).await;
    }
    let config = config::load(&flags)?;
    let kubeconfig = flags.kubeconfig.context("no kubeconfig: give one with --kubeconfig")?;
    let client = client::from_kubeconfig(&kubeconfig, &client::user_agent("ferry-policies", ""))?;
    let tasks = component::supervised();
    tasks.vital("policies", move |own| run(config, client, own.token()));
    tasks.finish().await
}

/// Enforces policies until cancelled. The rules stay: see [`cleanup`].
///
/// # Errors
/// The kernel has no nftables or does not let us, an address can't be bound.
pub async fn run(config: Config, client: kube::Client, cancel: CancellationToken) -> anyhow::Result<()> {
    let stop = cancel.child_token();
    let _ended = stop.clone().drop_guard();
    let tasks = Supervisor::under(&stop);
    let informers = Informers::new(client, &tasks);
    tasks.vital("enforcement", move |own| agent::run(config, informers.owned_by("policies", &own), own));
    tasks.finish().await
}

/// Removes all rules: from then on nothing is enforced. Nothing to remove is no error.
///
/// # Errors
/// The kernel does not let us.
pub async fn cleanup(kernel: &Kernel) -> anyhow::Result<()> {
    for table in [Version::V4, Version::V6].into_iter().flat_map(table::Table::names) {
        let version = table.version;
        let mut transaction = Transaction::default();
        transaction.extend([Change::AddTable(table.clone()), Change::DeleteTable(table)]);
        match kernel.apply(transaction).await {
            // A kernel without IPv6 has no table to remove.
            Err(netfilter::Error::Refused { .. }) if version == Version::V6 => {}
            other => other?,
        }
    }
    Ok(())
}
