//! `ferry up`: a whole cluster on this machine, in one process. Every component is a client of the API server over an
//! in-process connection with an identity of its own; none is an administrator.
//!
//! Stopping it (a signal, or worse) leaves containers running; the next start takes them up again. `ferry down` ends
//! them.

mod dependencies;
mod down;
mod flags;
mod image;
mod lock;
mod nat;
mod process;
mod runtime;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use apiserver::start::Running;
use k8s_openapi::api::core::v1::Node;
use machinery::gvk::GroupResource;
use model::user::UserInfo;
use serde_json::json;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use flags::{Layout, Up};
pub use image::main as image;

/// Where Services have their addresses.
const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The API server's own Service.
const KUBERNETES_IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1));
/// The cluster DNS's Service.
const DNS_IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 10));
/// Where pods have their addresses.
const POD_RANGE: &str = "10.244.0.0/24";
/// The port of the DNS on the node; its Service maps 53 to it.
const DNS_PORT: u16 = 10053;
/// The pods' bridge.
const BRIDGE: &str = "ferry0";
const DOMAIN: &str = "cluster.local";
/// How long the node may take to be Ready.
const NODE_READY: Duration = Duration::from_secs(60);

/// `ferry up`.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: Up = component::flags::parse("ferry up", &argv, &[])?;
    component::init_logging(flags.v);
    let started = Instant::now();
    dependencies::check(&flags)?;
    let layout = Layout::new(&flags.data_dir)?;
    let _lock = lock::take(&layout)?;
    nat::remember(&layout);
    let cancel = component::shutdown();

    let node_name = match &flags.node_name {
        Some(name) => name.clone(),
        None => hostname::get()?.to_string_lossy().trim().to_lowercase(),
    };
    let api = api_server(&flags, &layout, cancel.clone()).await?;
    api.running.ready().await;
    say(started, &format!("API server ready at https://{}:{}", api.address, flags.secure_port));

    let endpoint = match &flags.container_runtime_endpoint {
        Some(endpoint) => {
            std::fs::write(layout.endpoint_file(), endpoint)?;
            // The example's image; a runtime that is not containerd has to get it some other way.
            if let Err(error) = image::import(&runtime::path_of(endpoint), &layout.data) {
                println!("warning: {} is not brought to {endpoint}: {error:#}", image::WEB);
            }
            endpoint.clone()
        }
        None => {
            let endpoint = runtime::containerd(&layout).await?;
            image::import(&layout.socket(), &layout.containerd())?;
            endpoint
        }
    };
    say(started, &format!("container runtime at {endpoint}"));
    let mut parts = components(&api, &layout, &node_name, &endpoint, cancel.clone()).await?;
    say(started, "scheduler, controllers, kubelet, proxy and DNS started");
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        ready = node_ready(&api, &node_name) => match ready {
            true => say(started, &format!("node {node_name} is Ready")),
            false => say(started, &format!("node {node_name} is not Ready yet: kubectl describe node {node_name} says why")),
        },
        Some(ended) = parts.join_next() => return ended_early(ended, &cancel),
    }
    if !cancel.is_cancelled() {
        println!("\nThe cluster runs until this command ends. In another terminal:\n");
        println!("  export KUBECONFIG={}", api.kubeconfig.display());
        println!("  kubectl get nodes");
        println!("  kubectl apply -f examples/web.yaml\n");
    }
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        Some(ended) = parts.join_next() => ended_early(ended, &cancel)?,
    }
    println!("stopping; containers go on running (ferry down ends them)");
    while parts.join_next().await.is_some() {}
    api.running.stopped().await;
    Ok(())
}

pub use down::main as down;

fn say(started: Instant, text: &str) {
    println!("[{:6.2} s] {text}", started.elapsed().as_secs_f64());
}

type Parts = tokio::task::JoinSet<(&'static str, anyhow::Result<()>)>;

/// A part that ends before it is told to takes the others with it; being told may reach it first.
fn ended_early(
    ended: Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>,
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    match ended {
        Ok((_, Ok(()))) if cancel.is_cancelled() => Ok(()),
        Ok((name, Err(error))) => Err(error.context(format!("the {name} ended"))),
        Ok((name, Ok(()))) => bail!("the {name} ended"),
        Err(error) => Err(error.into()),
    }
}

struct Api {
    running: Running,
    pki: apiserver::pki::Pki,
    address: IpAddr,
    kubeconfig: std::path::PathBuf,
}

async fn api_server(flags: &Up, layout: &Layout, cancel: CancellationToken) -> anyhow::Result<Api> {
    let mut argv = vec![
        format!("--data-dir={}", layout.data.display()),
        format!("--bind-address={}", flags.bind_address),
        format!("--secure-port={}", flags.secure_port),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_string(),
        "--authorization-mode=Node,RBAC".to_string(),
        "--enable-admission-plugins=NodeRestriction".to_string(),
        "--kubelet-preferred-address-types=InternalIP,Hostname".to_string(),
        "--allow-privileged=true".to_string(),
    ];
    if !flags.etcd_servers.is_empty() {
        argv.push(format!("--etcd-servers={}", flags.etcd_servers.join(",")));
    }
    let flags_: apiserver::command::Flags =
        component::flags::parse("ferry up", &argv, apiserver::command::UNSUPPORTED)?;
    let address = apiserver::command::advertise_address(&flags_);
    let running = apiserver::command::serve(&flags_, cancel).await?;
    let names = apiserver::pki::server_names(address, Some(KUBERNETES_IP), &[]);
    let now = OffsetDateTime::now_utc();
    let pki = apiserver::pki::Pki::ensure(&layout.data.join("pki"), &names, now)?;
    let kubeconfig = flags.kubeconfig.clone().unwrap_or_else(|| layout.kubeconfig());
    let host = if flags.bind_address.is_loopback() { flags.bind_address } else { address };
    let server = SocketAddr::new(host, flags.secure_port);
    pki.ensure_kubeconfig(&kubeconfig, &format!("https://{server}"), "kubernetes-admin", &["system:masters"], now)?;
    Ok(Api { running, pki, address, kubeconfig })
}

impl Api {
    /// A client inside the process, of that identity.
    fn client(&self, name: &str, groups: &[&str]) -> kube::Client {
        let groups = groups.iter().map(|g| (*g).to_string()).collect();
        let user = UserInfo { name: name.to_string(), groups, ..UserInfo::default() };
        let listener = self.running.in_process(user);
        let connect = move || {
            let listener = listener.clone();
            async move { listener.connect().await }
        };
        client::over_stream(connect, &format!("ferry/{} {name}", env!("CARGO_PKG_VERSION")))
    }
}

/// Starts everything that is a client of the API server.
async fn components(
    api: &Api,
    layout: &Layout,
    node: &str,
    endpoint: &str,
    cancel: CancellationToken,
) -> anyhow::Result<Parts> {
    forward_packets();
    dns_role(api).await?;
    let mut parts = Parts::new();
    let config = scheduler::Config { host: node.to_string(), ..Default::default() };
    let work = scheduler::run(config, api.client("system:kube-scheduler", &[]), cancel.clone());
    parts.spawn(async move { ("scheduler", work.await) });

    let controllers = controller_manager::Config {
        root_ca: Some(api.pki.ca_pem().to_string()),
        client_for: Some(service_accounts(api)),
        ..Default::default()
    };
    let work = controller_manager::run(controllers, api.client("system:kube-controller-manager", &[]), cancel.clone());
    parts.spawn(async move { ("controller manager", work.await) });

    let user = format!("system:node:{node}");
    let client = api.client(&user, &["system:nodes"]);
    let work = kubelet::run(kubelet_config(api, layout, node, endpoint)?, client, cancel.clone());
    parts.spawn(async move { ("kubelet", work.await) });

    let dns = proxy::dns::Config {
        listen: SocketAddr::new(api.address, DNS_PORT),
        domain: DOMAIN.into(),
        cluster_ip: Some(DNS_IP),
        ..Default::default()
    };
    let publication = proxy::dns::Publication { cluster_ip: DNS_IP, node_name: node.to_string(), listen: dns.listen };
    let client = api.client("ferry:dns", &[]);
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

/// Clients of the controllers' own service accounts.
fn service_accounts(api: &Api) -> controller_manager::ClientFor {
    let running = api.running.clone();
    Arc::new(move |name: &'static str| {
        let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"].map(String::from).to_vec();
        let user =
            UserInfo { name: format!("system:serviceaccount:kube-system:{name}"), groups, ..UserInfo::default() };
        let listener = running.in_process(user);
        let connect = move || {
            let listener = listener.clone();
            async move { listener.connect().await }
        };
        let client = client::over_stream(connect, &format!("ferry/{} {name}", env!("CARGO_PKG_VERSION")));
        Box::pin(async move { Ok(client) })
    })
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

/// The right to keep the DNS's Service and its endpoints.
async fn dns_role(api: &Api) -> anyhow::Result<()> {
    let metadata = json!({ "name": "ferry:dns", "namespace": "kube-system" });
    let verbs = json!(["create", "delete", "get", "list", "patch", "update", "watch"]);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
        "rules": [
            { "apiGroups": [""], "resources": ["services"], "verbs": verbs },
            { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs },
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ferry:dns" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ferry:dns" }],
    });
    for (resource, object) in [("roles", role), ("rolebindings", binding)] {
        let resource = GroupResource::new("rbac.authorization.k8s.io", resource);
        match api.running.server.registry.create(&resource, Some("kube-system"), object).await {
            Err(error) if !error.is_already_exists() => bail!("making the DNS's {resource}: {error}"),
            _ => {}
        }
    }
    Ok(())
}

/// Lets the kernel route pods' packets, and Services' answers pass the bridge. Where that cannot be set (inside a
/// container), it is said and the rest goes on.
fn forward_packets() {
    let _ = std::process::Command::new("modprobe").arg("br_netfilter").output();
    for (file, must) in [("net/ipv4/ip_forward", true), ("net/bridge/bridge-nf-call-iptables", false)] {
        let path = format!("/proc/sys/{file}");
        if std::fs::write(&path, "1").is_err() && must {
            println!("warning: cannot write {path}: pods may not reach other hosts");
        }
    }
}

/// Whether the node became Ready in time.
async fn node_ready(api: &Api, name: &str) -> bool {
    let nodes: kube::Api<Node> = kube::Api::all(api.client(&format!("system:node:{name}"), &["system:nodes"]));
    let ready = kube::runtime::wait::await_condition(nodes, name, |node: Option<&Node>| {
        let conditions = node.and_then(|n| n.status.as_ref()).and_then(|s| s.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    });
    tokio::time::timeout(NODE_READY, ready).await.is_ok_and(|r| r.is_ok())
}
