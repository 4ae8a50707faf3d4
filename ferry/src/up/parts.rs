//! The parts of a cluster that are clients of its API server: scheduler, controllers, kubelet, proxy and DNS, each with an
//! identity of its own; none is an administrator. A part that fails, or ends by itself, ends the process with its name.
//!
//! The scheduler and the controllers say of themselves what they do at upstream's ports, on this machine alone, to those whom
//! the API server lets ask: the administrator, and whoever may read metrics.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::bail;
use client::delegated::Port;
use component::Supervisor;
use time::OffsetDateTime;

use super::api::Api;
use super::flags::Layout;
use super::network::Pods;
use super::{DNS_IP, checks, image, rights};

/// The port of the DNS on the node; its Service maps 53 to it.
const DNS_PORT: u16 = 10053;
const DOMAIN: &str = "cluster.local";

/// The kernel's words for a port that is taken.
const IN_USE: &str = "Address already in use";

/// Runs a part until it is told to end.
fn part<F>(parts: &Supervisor, name: &'static str, work: impl FnOnce(Supervisor) -> F + Send + 'static)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    parts.vital(name, move |own| async move {
        let stopping = own.stopping();
        match work(own).await {
            Err(error) if format!("{error:#}").contains(IN_USE) => Err(error.context(checks::PORT_TAKEN)),
            Ok(()) if !stopping.is_cancelled() => bail!("it ended by itself"),
            outcome => outcome,
        }
    });
}

/// Where a part says of itself what it does.
fn own_port(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// A part's own port, with a certificate of the cluster's for that part, where whoever has one of the cluster's is known.
fn guarded(api: &Api, port: u16, user: &str, client: &kube::Client) -> anyhow::Result<Port> {
    let names = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
    let serving = api.pki.serving(user, &names, OffsetDateTime::now_utc())?;
    Port::new(own_port(port), (&serving.cert_pem, &serving.key_pem), api.pki.ca_pem(), client)
}

/// Starts them, once the ports are free without which there is no node, or nobody to ask.
pub fn start(
    api: &Api,
    layout: &Layout,
    node: &str,
    endpoint: &str,
    pods: Pods,
    parts: &Supervisor,
) -> anyhow::Result<()> {
    let kubelet = kubelet_config(api, layout, node, endpoint)?;
    let ports = [scheduler::serving::PORT, controller_manager::serving::PORT].map(own_port);
    checks::port_is_free(SocketAddr::new(kubelet.file.address.parse()?, kubelet.file.port))?;
    ports.into_iter().try_for_each(checks::port_is_free)?;
    let config = scheduler::Config { host: node.to_string(), ..Default::default() };
    let user = "system:kube-scheduler";
    let client = api.client(user, &[]);
    let port = guarded(api, scheduler::serving::PORT, user, &client)?;
    part(parts, "scheduler", move |own| async move {
        scheduler::serving::serve(port, &config, &own).await?;
        scheduler::run(config, client, own.token()).await
    });

    let controllers = controller_manager::Config {
        controllers: ["*", rights::PROVISIONER].map(String::from).to_vec(),
        root_ca: Some(api.pki.ca_pem().to_string()),
        service_account_key: Some(std::fs::read_to_string(api.pki.path("sa.key"))?),
        signing: controller_manager::Signing::with(api.pki.path("ca.crt"), api.pki.path("ca.key")),
        client_for: Some(api.service_accounts()),
        node_ranges: Some(pods.ranges.clone()),
        ..Default::default()
    };
    let user = "system:kube-controller-manager";
    let client = api.client(user, &[]);
    let port = guarded(api, controller_manager::serving::PORT, user, &client)?;
    part(parts, "controller manager", move |own| async move {
        controller_manager::serving::serve(port, &controllers, &own).await?;
        controller_manager::run(controllers, client, own.token()).await
    });

    let user = format!("system:node:{node}");
    let client = api.client(&user, &["system:nodes"]);
    part(parts, "kubelet", move |own| kubelet::run(kubelet, client, own));

    let dns = proxy::dns::Config {
        listen: SocketAddr::new(api.address, DNS_PORT),
        domain: DOMAIN.into(),
        cluster_ip: Some(DNS_IP),
        ..Default::default()
    };
    let publication = proxy::dns::Publication { cluster_ip: DNS_IP, node_name: node.to_string(), listen: dns.listen };
    let client = api.client(rights::DNS, &[]);
    let dns_client = Some(client.clone());
    parts.restarting("DNS publisher", move |own| proxy::dns::publish(client.clone(), publication.clone(), own.token()));
    let config = proxy::Config {
        node_name: node.to_string(),
        node_ip: Some(api.address),
        detect_local: proxy::DetectLocal::ClusterCidr(pods.config.cluster.clone()),
        dns: Some(dns),
        ..Default::default()
    };
    let client = api.client("system:kube-proxy", &[]);
    let reads_nodes = client.clone();
    part(parts, "proxy", move |own| proxy::run(config, client, dns_client, own.token()));

    let node_client = api.client(&format!("system:node:{node}"), &["system:nodes"]);
    part(parts, "network", move |own| ::network::run(pods.config, reads_nodes, node_client, own.token()));
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the process says when one of two parts ends so, after the other has ended in order.
    async fn said<F>(work: impl FnOnce(Supervisor) -> F + Send + 'static) -> String
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let root = Supervisor::new();
        let parts = root.child("parts");
        let server = root.token();
        let (told, order) = std::sync::mpsc::channel();
        part(&parts, "other", move |own| async move {
            own.token().cancelled().await;
            let _ = told.send(server.is_cancelled());
            Ok(())
        });
        part(&parts, "kubelet", work);
        let error = root.finish().await.unwrap_err();
        assert!(!order.try_recv().unwrap(), "the API server ends after those who need it");
        format!("{error:#}")
    }

    #[tokio::test]
    async fn a_part_that_fails_ends_the_process_with_its_name() {
        let failed = said(|_| async { bail!("no room") }).await;
        assert_eq!(failed, "the task kubelet failed: no room");
        let panicked = said(|_| async { panic!("it broke") }).await;
        assert!(panicked.starts_with("the task kubelet panicked: it broke (at ferry/src/up/parts.rs:"), "{panicked}");
        let ended = said(|_| async { Ok(()) }).await;
        assert_eq!(ended, "the task kubelet failed: it ended by itself");
        let taken = said(|_| async { bail!("listening: {IN_USE} (os error 98)") }).await;
        assert_eq!(
            taken,
            "the task kubelet failed: another program, perhaps another cluster's, has a port that a node needs: end it: \
             listening: Address already in use (os error 98)"
        );
    }

    #[tokio::test]
    async fn parts_that_are_told_to_end_are_no_fault() {
        let root = Supervisor::new();
        part(&root.child("parts"), "kubelet", |own| async move {
            own.token().cancelled().await;
            Ok(())
        });
        root.stop();
        root.finish().await.unwrap();
    }
}
