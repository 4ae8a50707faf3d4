//! What runs on every node, of a server or of an agent: kubelet, the pods' network, proxy and DNS. Whose clients they are, and
//! how these reach a server, is their caller's business.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use component::Supervisor;
use k8s_openapi::api::core::v1::Node as ApiNode;

use super::flags::Layout;
use super::image;
use super::parts::part;
use super::progress::Progress;
use crate::join::settings::Settings;

/// The port of the DNS on the node; its Service maps 53 to it.
const DNS_PORT: u16 = 10053;
/// After how long it is said why the node is not Ready; it is waited for on.
const NODE_READY: Duration = Duration::from_secs(60);

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where other machines reach it.
    pub address: IpAddr,
    /// Its container runtime.
    pub endpoint: String,
    /// What all nodes of the cluster agree on.
    pub settings: Settings,
}

/// Clients of the node's parts, each of an identity that may do what its part does.
pub struct Clients {
    /// The node's own.
    pub node: kube::Client,
    /// The proxy's; the network reads the other nodes with it, too.
    pub proxy: kube::Client,
    /// The DNS's.
    pub dns: kube::Client,
    /// The policies'.
    pub policies: kube::Client,
    /// The load balancer's.
    pub balancer: kube::Client,
    /// Whether that may give out addresses: the cluster's servers do.
    pub allocates: bool,
}

/// Starts them.
pub fn start(
    node: &Node,
    kubelet: kubelet::Config,
    network: network::Config,
    clients: Clients,
    parts: &Supervisor,
) -> anyhow::Result<()> {
    let Clients { node: own, proxy, dns, policies, balancer, allocates } = clients;
    let client = own.clone();
    part(parts, "kubelet", move |own| kubelet::run(kubelet, client, own));

    let config = proxy::dns::Config {
        listen: SocketAddr::new(node.address, DNS_PORT),
        domain: node.settings.cluster_domain.clone(),
        cluster_ip: Some(node.settings.cluster_dns),
        ..Default::default()
    };
    let publication = proxy::dns::Publication {
        cluster_ip: node.settings.cluster_dns,
        node_name: node.name.clone(),
        listen: config.listen,
    };
    let client = dns.clone();
    parts.restarting("DNS publisher", move |own| proxy::dns::publish(client.clone(), publication.clone(), own.token()));
    let config = proxy::Config {
        node_name: node.name.clone(),
        node_ip: Some(node.address),
        detect_local: proxy::DetectLocal::ClusterCidr(node.settings.cluster_cidrs.clone()),
        dns: Some(config),
        ..Default::default()
    };
    let client = proxy.clone();
    part(parts, "proxy", move |own| proxy::run(config, client, Some(dns), own.token()));
    let config = policies::Config {
        node_name: node.name.clone(),
        default_deny: node.settings.default_deny,
        ..Default::default()
    };
    part(parts, "policies", move |own| policies::run(config, policies, own.token()));
    let config = balancer::Config {
        node_name: node.name.clone(),
        pool: node.settings.load_balancers()?,
        allocate: allocates,
        ..Default::default()
    };
    part(parts, "load balancer", move |own| balancer::run(config, balancer, own.token()));
    part(parts, "network", move |stop| network::run(network, proxy, own, stop.token()));
    Ok(())
}

/// The kubelet's settings, but for its certificates.
pub fn kubelet_config(node: &Node, layout: &Layout) -> kubelet::Config {
    let mut config = kubelet::Config {
        node_name: node.name.clone(),
        // As with upstream's --hostname-override: hosts that were copied may all have one name.
        hostname: node.name.clone(),
        node_ips: vec![node.address],
        root_dir: layout.data.join("kubelet"),
        ..Default::default()
    };
    config.file.container_runtime_endpoint.clone_from(&node.endpoint);
    config.file.cluster_dns = vec![node.settings.cluster_dns.to_string()];
    config.file.cluster_domain.clone_from(&node.settings.cluster_domain);
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
    config
}

/// Says when the node is Ready, and what keeps it from that if it takes long; `client` is the node's own, and `hint` is said
/// once.
pub fn tell(
    client: kube::Client,
    node: String,
    progress: Arc<Progress>,
    tasks: &Supervisor,
    hint: impl Fn(&Progress) + Clone + Send + Sync + 'static,
) {
    tasks.restarting("news of the start", move |own| {
        let (client, node, progress, hint) = (client.clone(), node.clone(), progress.clone(), hint.clone());
        async move {
            own.until_stopped(tell_start(&client, &node, &progress, hint)).await;
        }
    });
}

async fn tell_start(client: &kube::Client, node: &str, progress: &Progress, hint: impl Fn(&Progress)) {
    let mut ready = pin!(kubelet::until_ready(client.clone(), node));
    let late = tokio::time::timeout(NODE_READY, ready.as_mut()).await.is_err();
    if late {
        progress.say(&format!("node {node} is not Ready: {}", why(client, node).await));
        hint(progress);
        ready.await;
    }
    progress.say(&format!("node {node} is Ready"));
    progress.manager.ready();
    if !late {
        hint(progress);
    }
}

/// What the node says of itself.
async fn why(client: &kube::Client, node: &str) -> String {
    let nodes: kube::Api<ApiNode> = kube::Api::all(client.clone());
    match nodes.get_opt(node).await {
        Ok(Some(node)) => {
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
            ready.and_then(|ready| ready.message).unwrap_or_else(|| "it has not said anything yet".into())
        }
        Ok(None) => "it is not registered yet".into(),
        Err(error) => error.to_string(),
    }
}
