//! The parts of a cluster that are clients of its API server: scheduler, controllers, kubelet, proxy and DNS, each with an
//! identity of its own; none is an administrator.

use std::net::SocketAddr;

use anyhow::bail;
use time::OffsetDateTime;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::flags::Layout;
use super::{DNS_IP, POD_RANGE, checks, image, rights};

/// The port of the DNS on the node; its Service maps 53 to it.
const DNS_PORT: u16 = 10053;
const DOMAIN: &str = "cluster.local";

/// The kernel's words for a port that is taken.
const IN_USE: &str = "Address already in use";

/// Running parts, by name.
pub type Parts = JoinSet<(&'static str, anyhow::Result<()>)>;

/// A part that ends before it is told to takes the others with it; being told may reach it first.
pub fn ended_early(
    ended: Result<(&'static str, anyhow::Result<()>), JoinError>,
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    match ended {
        Ok((_, Ok(()))) if cancel.is_cancelled() => Ok(()),
        Ok((name, Err(error))) => {
            let error = if format!("{error:#}").contains(IN_USE) { error.context(checks::PORT_TAKEN) } else { error };
            Err(error.context(format!("the {name} ended")))
        }
        Ok((name, Ok(()))) => bail!("the {name} ended"),
        Err(error) => Err(error.into()),
    }
}

/// Starts them, once the port is free without which there is no node.
pub fn start(
    api: &Api,
    layout: &Layout,
    node: &str,
    endpoint: &str,
    cancel: &CancellationToken,
) -> anyhow::Result<Parts> {
    let kubelet = kubelet_config(api, layout, node, endpoint)?;
    checks::port_is_free(SocketAddr::new(kubelet.file.address.parse()?, kubelet.file.port))?;
    let mut parts = Parts::new();
    let config = scheduler::Config { host: node.to_string(), ..Default::default() };
    let work = scheduler::run(config, api.client("system:kube-scheduler", &[]), cancel.clone());
    parts.spawn(async move { ("scheduler", work.await) });

    let controllers = controller_manager::Config {
        root_ca: Some(api.pki.ca_pem().to_string()),
        client_for: Some(api.service_accounts()),
        ..Default::default()
    };
    let work = controller_manager::run(controllers, api.client("system:kube-controller-manager", &[]), cancel.clone());
    parts.spawn(async move { ("controller manager", work.await) });

    let user = format!("system:node:{node}");
    let client = api.client(&user, &["system:nodes"]);
    let work = kubelet::run(kubelet, client, cancel.clone());
    parts.spawn(async move { ("kubelet", work.await) });

    let dns = proxy::dns::Config {
        listen: SocketAddr::new(api.address, DNS_PORT),
        domain: DOMAIN.into(),
        cluster_ip: Some(DNS_IP),
        ..Default::default()
    };
    let publication = proxy::dns::Publication { cluster_ip: DNS_IP, node_name: node.to_string(), listen: dns.listen };
    let client = api.client(rights::DNS, &[]);
    let work = proxy::dns::publish(client, publication, cancel.clone());
    parts.spawn(async move {
        work.await;
        ("DNS publisher", Ok(()))
    });
    let config = proxy::Config {
        node_name: node.to_string(),
        node_ip: Some(api.address),
        detect_local: proxy::DetectLocal::ClusterCidr(vec![POD_RANGE.parse()?]),
        dns: Some(dns),
        ..Default::default()
    };
    let work = proxy::run(config, api.client("system:kube-proxy", &[]), cancel.clone());
    parts.spawn(async move { ("proxy", work.await) });
    Ok(parts)
}

fn kubelet_config(api: &Api, layout: &Layout, node: &str, endpoint: &str) -> anyhow::Result<kubelet::Config> {
    let now = OffsetDateTime::now_utc();
    let names = [node.to_string(), api.address.to_string()];
    let serving = api.pki.serving(&format!("system:node:{node}"), &names, now)?;
    let mut config = kubelet::Config {
        node_name: node.to_string(),
        node_ips: vec![api.address],
        root_dir: layout.data.join("kubelet"),
        serving_pem: Some((serving.cert_pem, serving.key_pem)),
        client_ca_pem: Some(api.pki.ca_pem().to_string()),
        ..Default::default()
    };
    config.file.container_runtime_endpoint = endpoint.to_string();
    config.file.cluster_dns = vec![DNS_IP.to_string()];
    config.file.cluster_domain = DOMAIN.into();
    config.file.fail_swap_on = false;
    config.file.cgroup_root = layout.cgroup_root();
    // A share of a large disk that others fill too says little: what matters is that some room is left.
    for (signal, left) in [
        ("nodefs.available", "1Gi"),
        ("imagefs.available", "1Gi"),
        ("nodefs.inodesFree", "1%"),
        ("imagefs.inodesFree", "1%"),
    ] {
        config.file.eviction_hard.insert(signal.into(), left.into());
    }
    config.file.image_gc_high_threshold_percent = 95;
    config.file.image_gc_low_threshold_percent = 90;
    // What Ferry made itself no registry can give back.
    config.pinned_images = vec![image::PAUSE.into(), image::WEB.into()];
    config.file.pod_logs_dir = layout.data.join("pods").display().to_string();
    config.container_log_dir = None;
    Ok(config)
}
