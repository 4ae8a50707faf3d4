//! `ferry up`: a whole cluster on this machine, in one process. Every component is a client of the API server over an
//! in-process connection with an identity of its own; none is an administrator.
//!
//! Stopping it (a signal, or worse) leaves containers running; the next start takes them up again. `ferry down` ends
//! them.

pub mod address;
mod api;
pub mod checks;
mod cri;
pub mod dependencies;
mod down;
mod flags;
mod image;
pub mod lock;
pub mod nat;
pub mod network;
pub mod node;
mod parts;
mod process;
mod progress;
mod recover;
mod rights;
mod runtime;
mod store;

use std::io::IsTerminal;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use component::Supervisor;

use crate::join::discovery;
use crate::token;
use api::Api;
use node::Node;

pub use down::main as down;
pub use flags::{Layout, Up};
pub use image::main as image;
pub use progress::Progress;
pub use recover::main as recover;
pub use store::Store;

/// Where Services have their addresses.
const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The API server's own Service.
const KUBERNETES_IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1));
/// The cluster DNS's Service.
const DNS_IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 10));
/// The pods' bridge.
const BRIDGE: &str = "ferry0";
/// The port at which members of a replicated store reach each other.
const STORE_PORT: u16 = 6444;
/// The domain of the cluster's names.
const DOMAIN: &str = "cluster.local";

/// `ferry up`.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: Up = component::flags::parse("ferry up", &argv, &[])?;
    component::init_logging(flags.v);
    let progress = Arc::new(Progress::begin());
    dependencies::check("up", flags.install_deps, flags.container_runtime_endpoint.is_some())?;
    let node_name = checks::node_name(flags.node_name.as_deref())?;
    let layout = checks::layout(&flags.data_dir)?;
    let _lock = lock::take(&layout)?;
    nat::remember(&layout);
    let root = component::supervised();
    if let Err(error) = begin(&flags, &layout, node_name, progress.clone(), &root).await {
        root.stop();
        // What ended the beginning is the reason, whatever else fails at the end.
        return Err(root.finish().await.err().unwrap_or(error));
    }
    root.stopping().cancelled().await;
    progress.manager.stopping();
    println!("stopping; containers go on running (ferry down ends them)");
    root.finish().await
}

/// Starts everything of a server: the API server as a task of `root`, the others below it, so that they end before it does.
pub async fn begin(
    flags: &Up,
    layout: &Layout,
    name: String,
    progress: Arc<Progress>,
    root: &Supervisor,
) -> anyhow::Result<()> {
    ::network::check(flags.network).await?;
    let ranges = network::ranges(flags)?;
    let settings = flags.settings(&ranges);
    let mut pods = network::config(&settings, layout, &name);
    let own_runtime = match &flags.container_runtime_endpoint {
        Some(endpoint) => Some(given_runtime(endpoint, layout, &mut pods, &progress).await?),
        None => None,
    };
    let address = own_address(flags.node_ip, &progress)?;
    if flags.bind_address.is_loopback() {
        progress.warn(&format!("the API server listens on {} alone: nobody else can reach it", flags.bind_address));
    }
    let address = api::advertised(flags, address);
    let store = flags.store(layout, address);
    store.write(layout)?;
    let api = api::start(flags, layout, &store, address, root).await?;
    api.running.ready().await;
    progress.say(&format!("API server ready at https://{}:{}", api.address, flags.secure_port));

    let parts = root.child("parts");
    let endpoint = match own_runtime {
        Some(endpoint) => endpoint,
        None => private_runtime(layout, &pods, &parts).await?,
    };
    progress.say(&format!("container runtime at {endpoint}"));
    checks::forward_packets(&progress);
    let made = async {
        rights::apply(api.administrator()).await?;
        settings.publish(api.administrator()).await?;
        discovery::publish(api.administrator(), &api.url, api.pki.ca_pem()).await
    };
    // Told to end meanwhile, the server hangs up: that is no fault.
    match root.stopping().run_until_cancelled(made).await {
        Some(made) => made?,
        None => return Ok(()),
    }
    let node = Node { name, address: api.address, endpoint, settings };
    let kubelet = parts::kubelet_config(&api, layout, &node)?;
    let identity = (format!("system:node:{}", node.name), ["system:nodes"]);
    let own = api.client(&identity.0, &identity.1);
    parts::start(&api, &node.name, ranges, store.is_shared(), &parts)?;
    crate::snapshot::scheduled::start(api.client(rights::SNAPSHOTS, &[]), &layout.data, &parts);
    let clients = node::Clients {
        node: own.clone(),
        proxy: api.client("system:kube-proxy", &[]),
        dns: api.client(rights::DNS, &[]),
        policies: api.client(rights::POLICIES, &[]),
        balancer: api.client(rights::BALANCER, &[]),
        allocates: true,
    };
    node::start(&node, kubelet, pods, clients, &parts)?;
    progress.say("scheduler, controllers, kubelet, network, policies, proxy and DNS started");
    let hint = hint(&api, layout).await;
    watch_over(&api, progress.clone(), &parts);
    leave_when_told(&api, layout, &parts, root);
    node::tell(own, node.name, progress, &parts, move |_| println!("{hint}"));
    Ok(())
}

/// Where other machines reach this one: as given, or as its links say.
pub fn own_address(given: Option<IpAddr>, progress: &Progress) -> anyhow::Result<IpAddr> {
    let (address, word) = address::settle()?;
    if let Some(word) = word {
        progress.say(&word);
    }
    Ok(given.unwrap_or(address))
}

/// A runtime that was there before Ferry: gets what it lacks, as far as that can be.
pub async fn given_runtime(
    endpoint: &str,
    layout: &Layout,
    pods: &mut ::network::Config,
    progress: &Progress,
) -> anyhow::Result<String> {
    if let Some(obstacle) = network::provide(endpoint, layout, pods).await? {
        progress.warn(&obstacle);
    }
    std::fs::write(layout.endpoint_file(), endpoint)?;
    // The example's image; a runtime that is not containerd has to get it some other way.
    if let Err(error) = image::import(&cri::path_of(endpoint), &layout.data) {
        progress.warn(&format!("{} is not brought to {endpoint}: {error:#}", image::WEB));
    }
    Ok(endpoint.to_owned())
}

/// A containerd of Ferry's own, started unless it runs.
pub async fn private_runtime(layout: &Layout, pods: &::network::Config, parts: &Supervisor) -> anyhow::Result<String> {
    let (endpoint, started) = runtime::containerd(layout, pods.mode).await?;
    if let Some(process) = started {
        runtime::watch(process, layout, parts);
    }
    image::import(&layout.socket(), &layout.containerd())?;
    Ok(endpoint)
}

/// What to do next. Tokens are shown to people alone, and kept out of logs.
async fn hint(api: &Api, layout: &Layout) -> String {
    let mut lines = vec![
        "\nThe cluster runs until this command ends. In another terminal:\n".to_owned(),
        format!("  export KUBECONFIG={}", api.kubeconfig.display()),
        "  kubectl get nodes".into(),
        "  kubectl apply -f examples/web.yaml\n".into(),
    ];
    if !std::io::stdout().is_terminal() {
        lines.push("`ferry token create` prints the command with which another machine joins.\n".into());
        return lines.join("\n");
    }
    let made = async {
        let cluster = token::Cluster::new(api.administrator(), api.url.clone(), api.pki.ca_pem().as_bytes())?;
        let terms = token::Terms::of_a_day("of ferry up");
        let agent = cluster.create(&terms, None).await?;
        let server = match token::own_keys(&layout.data) {
            Ok(keys) => Some(cluster.create(&terms, Some(&keys)).await?),
            Err(_) => None,
        };
        let tokens = [Some(agent), server].into_iter().flatten();
        anyhow::Ok(tokens.map(|token| token::command(&cluster.server, &token)).collect::<Vec<_>>())
    };
    match made.await {
        Ok(commands) => {
            lines.push("Another machine joins with (for a day; `ferry token create` prints more):\n".into());
            lines.extend(commands.iter().map(|command| format!("  {command}\n")));
        }
        Err(error) => lines.push(format!("`ferry token create` fails, so that no machine can join: {error:#}\n")),
    }
    lines.join("\n")
}

/// Takes this server from a replicated store when `ferry leave` says so by a file, and ends the process: nobody else is asked
/// whether a member is gone for good.
fn leave_when_told(api: &Api, layout: &Layout, parts: &Supervisor, root: &Supervisor) {
    let Some(cluster) = api.running.cluster.clone() else { return };
    let (file, root) = (layout.leaving_file(), root.clone());
    parts.restarting("leaving", move |own| {
        let (cluster, file, root) = (cluster.clone(), file.clone(), root.clone());
        async move {
            while !file.exists() {
                if own.until_stopped(tokio::time::sleep(Duration::from_millis(200))).await.is_none() {
                    return anyhow::Ok(());
                }
            }
            let own = cluster.status().await.id;
            cluster.remove(own).await.context("leaving the store's cluster")?;
            std::fs::remove_file(&file)?;
            root.stop();
            Ok(())
        }
    });
}

/// Has the service manager told that this is alive.
fn watch_over(api: &Api, progress: Arc<Progress>, tasks: &Supervisor) {
    let anybody = api.client("system:anonymous", &["system:unauthenticated"]);
    tasks.restarting("watchdog", move |own| {
        let (progress, anybody) = (progress.clone(), anybody.clone());
        async move {
            let alive = || async {
                component::notify::tasks()?;
                Api::alive(&anybody).await
            };
            progress.manager.watch(alive, own.token()).await;
        }
    });
}
