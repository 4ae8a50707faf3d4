//! `ferry up`: a whole cluster on this machine, in one process. Every component is a client of the API server over an
//! in-process connection with an identity of its own; none is an administrator.
//!
//! Stopping it (a signal, or worse) leaves containers running; the next start takes them up again. `ferry down` ends
//! them.

mod address;
mod api;
mod checks;
mod cri;
mod dependencies;
mod down;
mod flags;
mod image;
mod lock;
mod nat;
mod network;
mod parts;
mod process;
mod progress;
mod rights;
mod runtime;

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use component::Supervisor;
use k8s_openapi::api::core::v1::Node;

use api::Api;
use flags::{Layout, Up};
use progress::Progress;

pub use down::main as down;
pub use image::main as image;

/// Where Services have their addresses.
const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The API server's own Service.
const KUBERNETES_IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1));
/// The cluster DNS's Service.
const DNS_IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 10));
/// The pods' bridge.
const BRIDGE: &str = "ferry0";
/// After how long it is said why the node is not Ready; it is waited for on.
const NODE_READY: Duration = Duration::from_secs(60);

/// `ferry up`.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: Up = component::flags::parse("ferry up", &argv, &[])?;
    component::init_logging(flags.v);
    let progress = Arc::new(Progress::begin());
    dependencies::check(&flags)?;
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

/// Starts everything: the API server as a task of `root`, the others below it, so that they end before it does.
async fn begin(
    flags: &Up,
    layout: &Layout,
    node_name: String,
    progress: Arc<Progress>,
    root: &Supervisor,
) -> anyhow::Result<()> {
    let mut pods = network::Pods::new(flags, layout, &node_name)?;
    let own_runtime = match &flags.container_runtime_endpoint {
        Some(endpoint) => Some(given_runtime(endpoint, layout, &mut pods, &progress).await?),
        None => None,
    };
    let (address, word) = address::settle()?;
    if let Some(word) = word {
        progress.say(&word);
    }
    if flags.bind_address.is_loopback() {
        progress.warn(&format!("the API server listens on {} alone: pods cannot reach it", flags.bind_address));
    }
    let api = api::start(flags, layout, address, root).await?;
    api.running.ready().await;
    progress.say(&format!("API server ready at https://{}:{}", api.address, flags.secure_port));

    let parts = root.child("parts");
    let endpoint = match own_runtime {
        Some(endpoint) => endpoint,
        None => {
            let (endpoint, started) = runtime::containerd(layout, flags.network).await?;
            if let Some(process) = started {
                runtime::watch(process, layout, &parts);
            }
            image::import(&layout.socket(), &layout.containerd())?;
            endpoint
        }
    };
    progress.say(&format!("container runtime at {endpoint}"));
    checks::forward_packets(&progress);
    // Told to end meanwhile, the server hangs up: that is no fault.
    match root.stopping().run_until_cancelled(rights::apply(api.administrator())).await {
        Some(applied) => applied?,
        None => return Ok(()),
    }
    parts::start(&api, layout, &node_name, &endpoint, pods, &parts)?;
    progress.say("scheduler, controllers, kubelet, proxy and DNS started");
    tell(api, node_name, progress, &parts);
    Ok(())
}

/// A runtime that was there before Ferry: gets what it lacks, as far as that can be.
async fn given_runtime(
    endpoint: &str,
    layout: &Layout,
    pods: &mut network::Pods,
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

/// Has the start told, and the service manager that this is alive.
fn tell(api: Api, node: String, progress: Arc<Progress>, tasks: &Supervisor) {
    let (api, alive) = (Arc::new(api), progress.clone());
    let anybody = api.client("system:anonymous", &["system:unauthenticated"]);
    tasks.restarting("watchdog", move |own| {
        let (progress, anybody) = (alive.clone(), anybody.clone());
        async move {
            let alive = || async {
                component::notify::tasks()?;
                Api::alive(&anybody).await
            };
            progress.manager.watch(alive, own.token()).await;
        }
    });
    tasks.restarting("news of the start", move |own| {
        let (api, node, progress) = (api.clone(), node.clone(), progress.clone());
        async move {
            own.until_stopped(tell_start(&api, &node, &progress)).await;
        }
    });
}

/// Says when the node is Ready, and what keeps it from that if it takes long.
async fn tell_start(api: &Api, node: &str, progress: &Progress) {
    let client = api.client(&format!("system:node:{node}"), &["system:nodes"]);
    let mut ready = pin!(kubelet::until_ready(client.clone(), node));
    let hint = || {
        println!("\nThe cluster runs until this command ends. In another terminal:\n");
        println!("  export KUBECONFIG={}", api.kubeconfig.display());
        println!("  kubectl get nodes");
        println!("  kubectl apply -f examples/web.yaml\n");
    };
    let late = tokio::time::timeout(NODE_READY, ready.as_mut()).await.is_err();
    if late {
        progress.say(&format!("node {node} is not Ready: {}", why(&client, node).await));
        hint();
        ready.await;
    }
    progress.say(&format!("node {node} is Ready"));
    progress.manager.ready();
    if !late {
        hint();
    }
}

/// What the node says of itself.
async fn why(client: &kube::Client, node: &str) -> String {
    let nodes: kube::Api<Node> = kube::Api::all(client.clone());
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
