//! An agent: a node that runs pods, and is a client of the cluster's servers.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use client::Informers;
use client::certificates::{CLIENT, Renewal, renew};
use component::Supervisor;
use component::tls::request::Template;
use component::tls::{Rotating, Store};
use kubelet::certificates::Files;
use tokio::sync::watch;

use super::flags::Join;
use super::servers::{self, File};
use super::settings::Settings;
use super::token::Token;
use super::{discovery, write};
use crate::up::node::{self, Clients, Node};
use crate::up::{self, Layout, Progress, checks, network};

/// Who is in it runs beside a node's kubelet.
const AGENTS: &str = "ferry:agents";

/// Where an agent's own files are.
struct Paths {
    pki: PathBuf,
    kubeconfig: PathBuf,
    bootstrap: PathBuf,
    settings: PathBuf,
}

/// Starts everything of an agent as tasks of `root`.
///
/// # Errors
/// In one line: why this machine is no node of the cluster.
pub async fn begin(
    flags: &Join,
    layout: &Layout,
    name: String,
    token: Option<Token>,
    progress: Arc<Progress>,
    root: &Supervisor,
) -> anyhow::Result<()> {
    let paths = Paths {
        pki: layout.pki(),
        kubeconfig: layout.data.join("kubelet.conf"),
        bootstrap: layout.data.join("bootstrap.conf"),
        settings: layout.data.join("settings.json"),
    };
    let file = File {
        path: paths.kubeconfig.clone(),
        authority: paths.pki.join("ca.crt"),
        certificate: Store::new(&paths.pki, "kubelet-client").current_path(),
    };
    let address = up::own_address(flags.node_ip, &progress)?;
    let files = ask(flags, &paths, &file, &name, token, &progress).await?;
    let parts = root.child("parts");
    let certificate = kubelet::certificates::rotate(&files, &name, &parts)?;
    let own = client::renewed(&paths.kubeconfig, certificate, &client::user_agent("kubelet", ""))?;
    let settings = Settings::fetch(own.clone(), &paths.settings).await?;
    let identity = identity(&paths, &name, own.clone(), &parts).await?;
    let agent = |name: &str| client::renewed(&paths.kubeconfig, identity.clone(), &client::user_agent(name, ""));

    let mut pods = network::config(&settings, layout, &name);
    let endpoint = match &flags.container_runtime_endpoint {
        Some(endpoint) => up::given_runtime(endpoint, layout, &mut pods, &progress).await?,
        None => up::private_runtime(layout, &pods, &parts).await?,
    };
    progress.say(&format!("container runtime at {endpoint}"));
    checks::forward_packets(&progress);
    let informers = Informers::new(agent("ferry")?, &parts);
    parts.restarting("servers", move |own| {
        servers::follow(file.clone(), informers.owned_by("servers", &own), own.clone())
    });
    let node = Node { name: name.clone(), address, endpoint, settings };
    let kubelet = kubelet_config(&node, layout, &paths, flags)?;
    let clients = Clients {
        node: own.clone(),
        proxy: agent("kube-proxy")?,
        dns: agent("ferry-dns")?,
        policies: agent("ferry-policies")?,
        balancer: agent("ferry-balancer")?,
        allocates: false,
    };
    node::start(&node, kubelet, pods, clients, &parts)?;
    progress.say("kubelet, network, policies, proxy and DNS started");
    node::tell(own, name, progress, &parts, |_| {});
    Ok(())
}

/// Sees to it that the node has a certificate: with a token the first time.
async fn ask(
    flags: &Join,
    paths: &Paths,
    file: &File,
    name: &str,
    token: Option<Token>,
    progress: &Progress,
) -> anyhow::Result<Files> {
    let files = Files {
        kubeconfig: paths.kubeconfig.clone(),
        bootstrap_kubeconfig: Some(paths.bootstrap.clone()),
        cert_dir: paths.pki.clone(),
    };
    if !kubelet::certificates::needed(&files.kubeconfig)? {
        return Ok(files);
    }
    let server = flags.cluster.as_deref().context("give a server of the cluster")?;
    let servers = [discovery::address(server)?];
    let [server] = &servers;
    let Some(token) = token else {
        bail!(
            "{}",
            match paths.kubeconfig.exists() {
                true =>
                    "the node's certificate has expired: join again with a new token (--token), once the old node is deleted",
                false => "a token is needed (--token): `ferry token create` on a server prints one",
            }
        );
    };
    let authority = discovery::authority(server, &token, &layout_of(paths)).await?;
    write(&file.authority, &authority, 0o644)?;
    progress.say(&format!("{server} is of the cluster that the token is for"));
    let user = format!("{{ token: {} }}", token.bearer());
    write(&paths.bootstrap, &discovery::kubeconfig(&servers, Some(&file.authority), &user), 0o600)?;
    let asked = kubelet::certificates::bootstrap(&files, name).await;
    // The token is of no more use here.
    let _ = std::fs::remove_file(&paths.bootstrap);
    asked?;
    file.write(&servers)?;
    progress.say(&format!("the cluster has taken this machine up as node {name}"));
    Ok(files)
}

fn layout_of(paths: &Paths) -> PathBuf {
    paths.kubeconfig.parent().map(PathBuf::from).unwrap_or_default()
}

/// The identity of all that runs beside the kubelet, which is renewed as long as `parts` lives.
async fn identity(paths: &Paths, name: &str, own: kube::Client, parts: &Supervisor) -> anyhow::Result<Arc<Rotating>> {
    let store = Store::new(&paths.pki, "ferry-agent");
    let now = k8s_openapi::jiff::Timestamp::now();
    let first = store.current()?.filter(|kept| now < kept.facts.not_after);
    let certificate = Rotating::new(first);
    let template = Template {
        common_name: format!("ferry:agent:{name}"),
        organization: Some(AGENTS.into()),
        ..Template::default()
    };
    let renewal = Renewal {
        purpose: CLIENT,
        // It never changes, so that nobody need hold the other end.
        template: watch::channel(Some(template)).1,
        certificate: certificate.clone(),
        store,
        asker: Arc::new(move |_| Ok(own.clone())),
        at_once: false,
        lasts: None,
    };
    parts.restarting("agent certificate", move |own| {
        let renewal = renewal.clone();
        async move {
            own.until_stopped(renew(renewal)).await;
        }
    });
    while certificate.current().is_none() {
        certificate.replaced(certificate.version()).await;
    }
    Ok(certificate)
}

fn kubelet_config(node: &Node, layout: &Layout, paths: &Paths, flags: &Join) -> anyhow::Result<kubelet::Config> {
    let mut config = node::kubelet_config(node, layout);
    config.cert_dir = Some(paths.pki.clone());
    config.file.server_tls_bootstrap = true;
    config.client_ca_pem = None;
    config.file.authentication.x509.client_ca_file = Some(paths.pki.join("ca.crt"));
    flags.describe(&mut config)?;
    checks::port_is_free(std::net::SocketAddr::new(config.file.address.parse::<IpAddr>()?, config.file.port))?;
    Ok(config)
}
