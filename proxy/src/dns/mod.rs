//! Cluster DNS, served by the node: names of Services, endpoints and pods, and everything else from the node's own
//! resolvers.
//!
//! It follows the Kubernetes DNS specification 1.1.0, and CoreDNS where that is silent. There is no DNS pod: each node
//! answers its own pods on its own address, and the Service `kube-dns` leads to it (`publish`), which works under any
//! service proxy.

mod forward;
mod index;
mod publish;
mod server;
#[cfg(test)]
mod tests;
mod zone;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use client::{Informer, Informers};
use component::Supervisor;
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::Namespace;
use parking_lot::RwLock;

pub use index::Index;
pub use publish::{Publication, publish};
pub use zone::{Outcome, Zone};

/// The DNS server's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen, by UDP and TCP: an address of the node, so that answers leave from where questions came in.
    pub listen: SocketAddr,
    /// The cluster's domain.
    pub domain: String,
    /// The cluster IP of the Service `kube-dns`.
    pub cluster_ip: Option<IpAddr>,
    /// How long answers about the cluster may be kept, in seconds (CoreDNS: 5).
    pub ttl_seconds: u32,
    /// The servers for all other names; none means those of `resolv_conf`.
    pub upstreams: Vec<SocketAddr>,
    /// The node's own resolver configuration, looked at again when it changes.
    pub resolv_conf: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 53)),
            domain: "cluster.local".into(),
            cluster_ip: None,
            ttl_seconds: 5,
            upstreams: Vec::new(),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }
}

/// Serves DNS until `tasks` have to end. Who may not list namespaces gives none, and names of pods are then answered in any.
///
/// # Errors
/// The domain is no name, or the address can't be bound.
pub async fn run(
    config: Config,
    informers: Informers,
    namespaces: Option<Informer<Namespace>>,
    tasks: Supervisor,
) -> anyhow::Result<()> {
    let zone = Zone::new(&config.domain, config.cluster_ip, config.ttl_seconds).context("cluster domain")?;
    let sockets = server::bind(config.listen).await?;
    let index = Arc::new(RwLock::new(Index::default()));
    let (services, slices) = (informers.of(), informers.of());
    // Half the names would answer with a wrong "no such name", which resolvers keep.
    tokio::join!(services.synced(), slices.synced());
    if tasks.token().is_cancelled() {
        return Ok(());
    }
    let told = index.clone();
    services.on_change(move |change| told.write().service(change));
    let told = index.clone();
    slices.on_change(move |change| told.write().slice(change));
    if let Some(namespaces) = namespaces {
        let told = index.clone();
        // Not waited for: names of Services are answered without them.
        tasks.one_shot("dns_namespaces", async move {
            namespaces.synced().await;
            told.write().know_namespaces();
            namespaces.on_change(move |change| told.write().namespace(change));
        });
    }
    tracing::info!(listen = %config.listen, domain = config.domain, "serving cluster DNS");
    let forwarder = forward::Forwarder::new(&config);
    let names = zone.clone();
    let lookup = Box::new(move |name: &Name, kind| names.lookup(&index.read(), name, kind));
    server::Server { zone, lookup, forwarder }.start(sockets, &tasks);
    tasks.token().cancelled().await;
    Ok(())
}
