//! `ferry apiserver`: from kube-apiserver's flags to a running server.

mod assemble;
mod flags;
mod noted;
mod own;
mod several;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

pub use assemble::Assembly;
pub use flags::{Flags, UNSUPPORTED};

use crate::replicated::Member;
use crate::start::{Config, Running, Store, Times, own_sources, start};
use kinds::core::service::set_node_port_range;

/// The process: flags, logging, serving until a signal, drain.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: Flags = component::flags::parse("kube-apiserver", &argv, UNSUPPORTED)?;
    component::init_logging(flags.v);
    flags.feature_gates.gates()?.warn(&["APIServerIdentity"]);
    let cancel = component::shutdown();
    let running = serve(&flags, cancel.clone()).await?;
    tracing::info!(address = ?running.address, "serving");
    tokio::select! {
        () = cancel.cancelled() => {}
        failed = running.failed() => return Err(failed),
    }
    running.stopped().await;
    Ok(())
}

/// Starts a server as the flags say.
pub async fn serve(flags: &Flags, cancel: CancellationToken) -> anyhow::Result<Running> {
    set_node_port_range(port_range(&flags.service_node_port_range).context("--service-node-port-range")?);
    let advertise = advertise_address(flags);
    let assembly = Assembly::new(flags, advertise)?;
    let store = store(assembly.flags())?;
    let (bootstrap, presence) = assembly.bootstrap()?;
    let config = Config {
        store,
        listen: Some((SocketAddr::new(flags.bind_address, flags.secure_port), assembly.tls()?)),
        nodes: assembly.nodes()?,
        access: assembly.access(),
        sources: Box::new(own_sources),
        bootstrap,
        presence: Some(Arc::new(presence)),
        leaving: several::leaving(flags)?,
        times: Times {
            request: duration("--request-timeout", &flags.request_timeout)?,
            shutdown_delay: duration("--shutdown-delay-duration", &flags.shutdown_delay_duration)?,
            event_ttl: duration("--event-ttl", &flags.event_ttl)?,
            compaction: duration("--etcd-compaction-interval", &flags.etcd_compaction_interval)?,
        },
        max_requests_inflight: flags.max_requests_inflight,
        max_mutating_requests_inflight: flags.max_mutating_requests_inflight,
    };
    let running = start(config, cancel).await?;
    if let Some(pki) = assembly.pki.clone() {
        running.keep("own certificates", move || pki.clone().renew());
    }
    Ok(running)
}

/// Where objects are kept.
fn store(flags: &Flags) -> anyhow::Result<Store> {
    Ok(match (&flags.data_dir, flags.etcd_servers.is_empty()) {
        (Some(dir), true) => own_store(flags, &dir.join("store"))?,
        (_, false) => Store::Etcd(storage::EtcdConfig {
            ca_file: flags.etcd_cafile.clone(),
            cert_file: flags.etcd_certfile.clone(),
            key_file: flags.etcd_keyfile.clone(),
            ..storage::EtcdConfig::new(flags.etcd_servers.clone())
        }),
        (None, true) => bail!("--data-dir or --etcd-servers must be specified"),
    })
}

/// The embedded store in a directory: alone, or a member of several.
fn own_store(flags: &Flags, directory: &Path) -> anyhow::Result<Store> {
    let Some(listen) = flags.cluster_listen else { return Ok(Store::Embedded(directory.into())) };
    let file = |flag: &str, file: &Option<PathBuf>| file.clone().with_context(|| format!("{flag} must be specified"));
    if flags.cluster_advertise.is_none() && listen.ip().is_unspecified() {
        bail!("--cluster-advertise must be specified where --cluster-listen is {listen}: no other member reaches that");
    }
    Ok(Store::Raft(Member {
        directory: directory.into(),
        listen,
        advertise: flags.cluster_advertise.clone().unwrap_or_else(|| listen.to_string()),
        join: flags.cluster_join.clone(),
        credentials: raft::tls::Files {
            ca: file("--cluster-ca-file", &flags.cluster_ca_file)?,
            certificate: file("--cluster-cert-file", &flags.cluster_cert_file)?,
            key: file("--cluster-key-file", &flags.cluster_key_file)?,
        },
    }))
}

fn duration(flag: &str, text: &str) -> anyhow::Result<Duration> {
    machinery::duration::length(text)
        .map_err(|why| anyhow::anyhow!("invalid argument {text:?} for {flag:?} flag: {why}"))
}

/// A range of ports as upstream reads it: `30000-32767`, `30000+2767`, `30000`.
fn port_range(text: &str) -> anyhow::Result<RangeInclusive<u16>> {
    let port = |text: &str| text.trim().parse::<u16>().with_context(|| format!("{text:?} is not a port"));
    let range = match (text.split_once('-'), text.split_once('+')) {
        (Some((first, last)), _) => port(first)?..=port(last)?,
        (_, Some((first, more))) => port(first)?..=port(first)?.saturating_add(port(more)?),
        _ => port(text)?..=port(text)?,
    };
    if range.is_empty() {
        bail!("the range {text:?} is empty: its end is before its beginning");
    }
    Ok(range)
}

/// Under which address other members of the cluster reach the server: as given, the bound one if others can reach that,
/// or the address that the default route leaves from (`apimachinery/pkg/util/net`, ResolveBindAddress).
pub fn advertise_address(flags: &Flags) -> IpAddr {
    let bound = Some(flags.bind_address).filter(|a| !a.is_unspecified() && !a.is_loopback());
    let given = flags.advertise_address.filter(|a| !a.is_unspecified()).or(bound);
    given.unwrap_or_else(|| {
        // Connecting a datagram socket sends nothing; it only asks the routing table.
        let routed = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.connect("192.0.2.1:9")?;
            socket.local_addr()
        });
        routed.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip())
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    Ok(String::from_utf8(read(path)?)?)
}

/// A TLS client towards kubelets: with our certificate, whichever that is at the time, trusting whom `trusted` does, or anything
/// where none is given, as upstream.
///
/// # Errors
/// The TLS library refuses its own defaults.
pub fn kubelet_client(
    certificate: Option<Arc<dyn rustls::client::ResolvesClientCert>>,
    trusted: Option<component::tls::TrustedServers>,
) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let verifier: Arc<dyn rustls::client::danger::ServerCertVerifier> = match trusted {
        Some(trusted) => Arc::new(trusted),
        None => Arc::new(assemble::Unverified(provider)),
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match certificate {
        Some(certificate) => builder.with_client_cert_resolver(certificate),
        None => builder.with_no_client_auth(),
    };
    // With a session that is taken up again its certificate would go on.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ports_are_upstreams() {
        for (text, expect) in [("30000-32767", 30000..=32767), ("30000+10", 30000..=30010), ("80", 80..=80)] {
            assert_eq!(port_range(text).unwrap(), expect);
        }
        for text in ["", "a-b", "90-80", "1-70000"] {
            assert!(port_range(text).is_err(), "{text}");
        }
    }
}
