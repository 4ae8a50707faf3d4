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
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio_util::sync::CancellationToken;

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
/// Where pods have their addresses.
const POD_RANGE: &str = "10.244.0.0/24";
/// The pods' bridge.
const BRIDGE: &str = "ferry0";
/// After how long it is said why the node is not Ready; it is waited for on.
const NODE_READY: Duration = Duration::from_secs(60);

/// `ferry up`.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: Up = component::flags::parse("ferry up", &argv, &[])?;
    component::init_logging(flags.v);
    let progress = Progress::begin();
    dependencies::check(&flags)?;
    let node_name = checks::node_name(flags.node_name.as_deref())?;
    let layout = checks::layout(&flags.data_dir)?;
    let _lock = lock::take(&layout)?;
    nat::remember(&layout);
    let cancel = component::shutdown();

    let own_runtime = match &flags.container_runtime_endpoint {
        Some(endpoint) => Some(given_runtime(endpoint, &layout, &progress).await?),
        None => None,
    };
    let (address, word) = address::settle()?;
    if let Some(word) = word {
        progress.say(&word);
    }
    if flags.bind_address.is_loopback() {
        progress.warn(&format!("the API server listens on {} alone: pods cannot reach it", flags.bind_address));
    }
    let api = api::start(&flags, &layout, address, cancel.clone()).await?;
    api.running.ready().await;
    progress.say(&format!("API server ready at https://{}:{}", api.address, flags.secure_port));

    let endpoint = match own_runtime {
        Some(endpoint) => endpoint,
        None => {
            let endpoint = runtime::containerd(&layout).await?;
            image::import(&layout.socket(), &layout.containerd())?;
            endpoint
        }
    };
    progress.say(&format!("container runtime at {endpoint}"));
    checks::forward_packets(&progress);
    // Told to end meanwhile, the server hangs up: that is no fault.
    if let Some(applied) = cancel.run_until_cancelled(rights::apply(api.administrator())).await {
        applied?;
    }
    let mut parts = parts::start(&api, &layout, &node_name, &endpoint, &cancel)?;
    progress.say("scheduler, controllers, kubelet, proxy and DNS started");
    let result = run(&api, &node_name, &progress, &mut parts, &cancel).await;
    progress.manager.stopping();
    result?;
    println!("stopping; containers go on running (ferry down ends them)");
    while parts.join_next().await.is_some() {}
    api.running.stopped().await;
    Ok(())
}

/// A runtime that was there before Ferry: gets what it lacks, as far as that can be.
async fn given_runtime(endpoint: &str, layout: &Layout, progress: &Progress) -> anyhow::Result<String> {
    if let Some(obstacle) = network::provide(endpoint, layout).await? {
        progress.warn(&obstacle);
    }
    std::fs::write(layout.endpoint_file(), endpoint)?;
    // The example's image; a runtime that is not containerd has to get it some other way.
    if let Err(error) = image::import(&cri::path_of(endpoint), &layout.data) {
        progress.warn(&format!("{} is not brought to {endpoint}: {error:#}", image::WEB));
    }
    Ok(endpoint.to_owned())
}

/// Until it is told to stop, or a part ends by itself.
async fn run(
    api: &Api,
    node: &str,
    progress: &Progress,
    parts: &mut parts::Parts,
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    let anybody = api.client("system:anonymous", &["system:unauthenticated"]);
    let tell = async {
        let alive = || async {
            component::notify::tasks()?;
            Api::alive(&anybody).await
        };
        tokio::join!(tell_start(api, node, progress), progress.manager.watch(alive, cancel.clone()));
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Ok(()),
        Some(ended) = parts.join_next() => parts::ended_early(ended, cancel),
        never = tell => match never {},
    }
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
