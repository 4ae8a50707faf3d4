//! The service proxy (nftables maps) and the cluster DNS, from the same informers.
//!
//! `model` decides what a node does with a Service, and `backends` says it to the kernel; both are pure up to the last
//! step. `proxier` is the shell around them. `dns` answers names from the same Services and slices.
//!
//! What it must **not** know: pods, how endpoints come about, what is stored where.

pub mod backends;
mod config;
pub mod dns;
mod health;
pub mod model;
mod node;
mod proxier;
mod sysctl;
mod tracker;

use anyhow::Context;
use client::Informers;
use component::Supervisor;
use netfilter::tables::{Table, Version};
use netfilter::{Change, Transaction};
use tokio_util::sync::CancellationToken;

pub use backends::rules::Rules;
pub use config::{Config, DetectLocal};
pub use sysctl::Conntrack;

/// A stand-alone proxy with upstream's flags; `argv` without the component's name.
///
/// # Errors
/// Bad flags or configuration, no kubeconfig, a kernel without nftables.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: config::Flags = component::flags::parse("kube-proxy", &argv, config::UNSUPPORTED)?;
    component::init_logging(flags.v);
    if flags.cleanup {
        return cleanup(&Rules::of_kernel()?).await;
    }
    let dns_kubeconfig = flags.dns_kubeconfig.clone();
    let mut dns_client = None;
    let (config, kubeconfig) = config::load(flags)?;
    let kubeconfig = kubeconfig.context("no kubeconfig: give one with --kubeconfig")?;
    let client = client::from_kubeconfig(&kubeconfig, &client::user_agent("kube-proxy", ""))?;
    let tasks = component::supervised();
    if let (Some(dns), Some(kubeconfig)) = (&config.dns, dns_kubeconfig) {
        let cluster_ip = dns.cluster_ip.context("--dns-kubeconfig needs --dns-service-ip")?;
        let publication = dns::Publication { cluster_ip, node_name: config.node_name.clone(), listen: dns.listen };
        let client = client::from_kubeconfig(&kubeconfig, &client::user_agent("ferry-dns", ""))?;
        dns_client = Some(client.clone());
        tasks.restarting("dns_publication", move |own| dns::publish(client.clone(), publication.clone(), own.token()));
    }
    tasks.vital("proxy", move |own| run(config, client, dns_client, own.token()));
    tasks.finish().await
}

/// Runs the proxy, and the DNS if it is configured, until cancelled. The rules stay: see [`cleanup`]. To lead pods to
/// the DNS is the caller's: see [`dns::publish`]. `dns_client` is of somebody who may list namespaces, as a proxy may not.
///
/// # Errors
/// The kernel has no nftables or does not let us, an address can't be bound.
pub async fn run(
    config: Config,
    client: kube::Client,
    dns_client: Option<kube::Client>,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let stop = cancel.child_token();
    let _ended = stop.clone().drop_guard();
    let tasks = Supervisor::under(&stop);
    let informers = Informers::new(client, &tasks);
    if let Some(dns) = config.dns.clone() {
        let informers = informers.clone();
        let own_informers = dns_client.map(|client| Informers::new(client, &tasks));
        tasks.vital("dns", move |own| {
            let namespaces = own_informers.map(|informers| informers.owned_by("dns", &own).of());
            dns::run(dns, informers.owned_by("dns", &own), namespaces, own)
        });
    }
    tasks.vital("services", move |own| proxier::run(config, informers.owned_by("services", &own), own));
    tasks.finish().await
}

/// Removes all rules of the proxy. Nothing to remove is no error.
///
/// # Errors
/// The kernel does not let us.
pub async fn cleanup(rules: &Rules) -> anyhow::Result<()> {
    for name in backends::nftables::TABLES {
        remove(rules, name).await?;
    }
    Ok(())
}

/// Removes the rules that upstream's proxy leaves when it ends. Nobody updates them any more, and what they refuse stays
/// refused beside any other table. (Upstream's does so with the rules of its other modes.)
///
/// # Errors
/// The kernel does not let us.
pub async fn succeed(rules: &Rules) -> anyhow::Result<()> {
    remove(rules, "kube-proxy").await
}

async fn remove(rules: &Rules, name: &str) -> anyhow::Result<()> {
    for version in [Version::V4, Version::V6] {
        let table = Table { version, name: name.to_owned() };
        let mut transaction = Transaction::default();
        transaction.extend([Change::AddTable(table.clone()), Change::DeleteTable(table)]);
        match rules.apply(transaction).await {
            // A kernel without IPv6 has no table to remove.
            Err(netfilter::Error::Refused { .. }) if version == Version::V6 => {}
            other => other?,
        }
    }
    Ok(())
}
