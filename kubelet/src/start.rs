//! Bringing a kubelet up: the runtime, the node's object, then everything that works on pods.

use crate::{
    cgroups::Cgroups,
    config::Config,
    cri::{Runtime, grpc::Grpc},
    eviction, housekeeping,
    node::{
        lease,
        machine::{self, Machine},
        register, status as node_status, turns,
    },
    node_agent::{Agent, Parts},
    objects::api_message,
    pleg, server,
};
use anyhow::{Context, bail};
use client::{Change, Informers, Scope};
use component::{
    Clock, Supervisor,
    supervisor::{self, Name, Outcome, Task},
};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::{Node, NodeStatus, Pod};
use kube::Client;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time;

/// Runs a kubelet until `own` is stopped. Containers go on running.
///
/// # Errors
/// The node cannot work at all: no root, swap where it is forbidden, a port that is taken, a broken configuration.
pub async fn run(config: Config, client: Client, own: Supervisor) -> anyhow::Result<()> {
    run_with(config, client.clone(), client, own).await
}

pub(crate) async fn run_with(config: Config, client: Client, heartbeat: Client, own: Supervisor) -> anyhow::Result<()> {
    own.until_stopped(serve(config, client, heartbeat, own.clone())).await.unwrap_or(Ok(()))
}

/// Runs one of the kubelet's loops until `tasks` is stopped; one that panics or returns an error is begun anew.
pub(crate) fn keep<F>(
    tasks: &Supervisor,
    name: impl Into<Name>,
    mut work: impl FnMut() -> F + Send + 'static,
) -> Task<()>
where
    F: Future<Output: Outcome> + Send + 'static,
{
    tasks.restarting(name, move |own| {
        let work = work();
        async move { own.until_stopped(work).await.map_or(Ok(()), Outcome::into_result) }
    })
}

async fn serve(config: Config, client: Client, heartbeat: Client, own: Supervisor) -> anyhow::Result<()> {
    check_host(&config)?;
    let thresholds = eviction::threshold::thresholds(&config.file)?;
    let listener = server::listen(&config).await?;
    let cgroups = Cgroups::detect(&config.file.cgroup_root);
    if config.file.cgroups_per_qos {
        cgroups.prepare().context("cannot make the pods' cgroups")?;
    }
    std::fs::create_dir_all(config.root_dir.join("pods"))
        .with_context(|| format!("cannot make {}", config.root_dir.display()))?;
    std::fs::create_dir_all(&config.file.pod_logs_dir)
        .with_context(|| format!("cannot make {}", config.file.pod_logs_dir))?;
    let runtime: Arc<dyn Runtime> =
        Arc::new(Grpc::connect(&config.file.container_runtime_endpoint, config.file.runtime_request_timeout.0)?);
    let version = runtime_version(runtime.as_ref()).await;
    let agent = Agent::new(Parts {
        config,
        client,
        runtime,
        runtime_name: version.runtime_name.clone(),
        cgroups,
        clock: Clock::system(),
        gauges: Arc::new(machine::Kernel),
        machine: Machine::read(),
        tasks: own.clone(),
    });

    let first = node_report(&agent, &version, &NodeStatus::default()).await;
    let registered = Arc::new(OnceLock::new());
    let node = if agent.config.file.register_node {
        Some(register::register(&agent.client, &agent.config, &agent.machine, &first).await)
    } else {
        None
    };
    agent.events.node("Normal", "Starting", "Starting kubelet.");
    if node.is_some() {
        tell_changes(&agent, &NodeStatus::default(), &first);
    }
    if let Some(uid) = node.as_ref().and_then(|n| n.metadata.uid.clone()) {
        let _ = registered.set(uid);
    }
    let (name, seconds) = (agent.config.node_name.clone(), agent.config.file.node_lease_duration_seconds);
    keep(&own, "node lease", move || {
        let owner = registered.clone();
        lease::run(heartbeat.clone(), name.clone(), seconds, move || owner.get().cloned())
    });
    let each = |name: &'static str, work: fn(Arc<Agent>) -> BoxFuture<'static, ()>| {
        let agent = agent.clone();
        keep(&own, name, move || work(agent.clone()));
    };
    each("runtime events", |agent| pleg::run(agent).boxed());
    each("log rotation", |agent| housekeeping::logs::run(agent).boxed());
    each("image garbage collection", |agent| housekeeping::images::run(agent).boxed());
    each("log watch", |agent| agent.log_watcher.clone().run().boxed());
    let (reported, mut node) = (agent.clone(), node);
    keep(&own, "node status", move || report_node(reported.clone(), version.clone(), node.take()));
    let evicting = agent.clone();
    keep(&own, "eviction", move || eviction::run(evicting.clone(), thresholds.clone()));
    start_following(&agent);
    if agent.config.serve_healthz && agent.config.file.healthz_port != 0 {
        let agent = agent.clone();
        own.restarting("health port", move |own| {
            let agent = agent.clone();
            async move { server::healthz(&agent.config, own).await }
        });
    }
    server::serve(agent, listener, own.child("server")).await
}

/// What no waiting mends.
fn check_host(config: &Config) -> anyhow::Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        bail!("the kubelet must run as root: it mounts volumes and makes cgroups");
    }
    if config.file.fail_swap_on && machine::meminfo("SwapTotal") > 0 {
        bail!("running with swap on is not supported, please disable swap or set --fail-swap-on flag to false");
    }
    Ok(())
}

async fn runtime_version(runtime: &dyn Runtime) -> proto::cri::VersionResponse {
    let mut told = false;
    loop {
        match runtime.version().await {
            Ok(version) => return version,
            Err(error) if !told => {
                told = true;
                tracing::error!(%error, "the container runtime does not answer, waiting for it");
            }
            Err(_) => {}
        }
        time::sleep(Duration::from_millis(250)).await;
    }
}

/// Follows the pods of this node, as the API has them.
pub(crate) fn start_following(agent: &Arc<Agent>) {
    let followed = agent.clone();
    agent.tasks.restarting("pods of the node", move |own| {
        let work = follow_pods(followed.clone(), own.clone());
        async move { own.until_stopped(work).await }.map(drop)
    });
}

async fn follow_pods(agent: Arc<Agent>, own: Supervisor) {
    let informers = Informers::new(agent.client.clone(), &own);
    let scope = Scope { field_selector: Some(format!("spec.nodeName={}", agent.config.node_name)), ..Scope::default() };
    let pods = informers.scoped::<Pod>(scope);
    let sink = agent.clone();
    pods.on_change(move |change: &Change<Pod>| match change {
        Change::Added(pod) => sink.pod_updated(pod),
        Change::Updated { old, new } => {
            if old.metadata.uid != new.metadata.uid {
                sink.pod_removed(old);
            }
            sink.pod_updated(new);
        }
        Change::Deleted(pod) => sink.pod_removed(pod),
    });
    pods.synced().await;
    // It returns too when the informer is told to end.
    if !pods.is_synced() {
        return;
    }
    // Those that went while nobody followed.
    agent.pods_listed(&pods.list());
    keep(&own, "housekeeping", move || housekeeping::run(agent.clone()));
    own.token().cancelled().await;
}

/// Asks the runtime how it is.
async fn check_runtime(agent: &Agent) {
    let (runtime, network) = match agent.runtime.status().await {
        Ok(answer) => {
            let conditions = answer.status.unwrap_or_default().conditions;
            let find = |kind: &str| conditions.iter().find(|c| c.r#type == kind);
            let told = |c: &proto::cri::RuntimeCondition| {
                format!("{}={} reason:{} message:{}", c.r#type, c.status, c.reason, c.message)
            };
            let runtime = match find("RuntimeReady") {
                Some(c) if c.status => None,
                Some(c) => Some(format!("container runtime not ready: {}", told(c))),
                None => Some("container runtime status check may not have completed yet".into()),
            };
            let network = match find("NetworkReady") {
                Some(c) if c.status => None,
                Some(c) => Some(format!("container runtime network not ready: {}", told(c))),
                None => Some("container runtime network not ready".into()),
            };
            (runtime, network)
        }
        Err(error) => (Some(format!("container runtime is down: {error}")), None),
    };
    let mut health = agent.health.write();
    health.runtime = runtime;
    health.network = network;
}

async fn node_report(agent: &Agent, version: &proto::cri::VersionResponse, old: &NodeStatus) -> NodeStatus {
    check_runtime(agent).await;
    let images = agent.runtime.list_images().await.unwrap_or_default();
    let health = agent.health.read().clone();
    let faults: Vec<String> = health.runtime.into_iter().chain(health.network).collect();
    let (gauges, root) = (agent.gauges.clone(), agent.config.root_dir.clone());
    let disk = supervisor::blocking("measuring a disk", move || gauges.disk(&root)).await;
    let disk = disk.ok().and_then(Result::ok).unwrap_or_default();
    let findings = node_status::Findings {
        config: &agent.config,
        machine: &agent.machine,
        disk,
        addresses: &agent.host_ips,
        runtime: version,
        images: &images,
        faults: &faults,
        memory_pressure: health.memory_pressure,
        disk_pressure: health.disk_pressure,
        pid_pressure: health.pid_pressure,
        kubelet_port: agent.config.file.port,
        now: agent.clock.now(),
    };
    let status = node_status::status(old, &findings);
    let addresses = status.addresses.clone().unwrap_or_default();
    agent.addresses.send_if_modified(|old| std::mem::replace(old, addresses.clone()) != addresses);
    status
}

/// Half a second, or less if the runtime gets a network that it lacks: the node's range comes when the node is registered.
async fn until_networked(agent: &Agent) {
    for _ in 0..10 {
        time::sleep(Duration::from_millis(50)).await;
        if agent.health.read().network.is_some() {
            check_runtime(agent).await;
            if agent.health.read().network.is_none() {
                return;
            }
        }
    }
}

/// Looks every ten seconds (twice a second until the node is ready) and writes what changed, or after five minutes anyway.
async fn report_node(agent: Arc<Agent>, version: proto::cri::VersionResponse, mut held: Option<Node>) {
    let file = &agent.config.file;
    let api = kube::Api::<Node>::all(agent.client.clone());
    let mut written = time::Instant::now();
    let mut ready = false;
    let mut cidr = None;
    loop {
        if held.is_none() {
            held = api.get_opt(&agent.config.node_name).await.ok().flatten();
        }
        if let Some(node) = &held {
            let assigned = node.spec.as_ref().and_then(|s| s.pod_cidr.clone());
            if let Some(range) = assigned.as_deref().filter(|_| assigned != cidr)
                && agent.runtime.update_pod_cidr(range).await.is_ok()
            {
                cidr = assigned.clone();
            }
            let old = node.status.clone().unwrap_or_default();
            let new = node_report(&agent, &version, &old).await;
            let now_ready = new.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
            if node_status::changed(&old, &new) || written.elapsed() >= file.node_status_report_frequency.0 {
                match register::report(&agent.client, &agent.config.node_name, &old, &new).await {
                    Ok(node) => {
                        written = time::Instant::now();
                        held = Some(node);
                        tell_changes(&agent, &old, &new);
                    }
                    Err(error) => {
                        tracing::error!(error = api_message(&error), "unable to update node status");
                        held = None;
                    }
                }
            }
            ready = now_ready;
        }
        if ready {
            time::sleep(file.node_status_update_frequency.0).await;
        } else {
            until_networked(&agent).await;
        }
        if ready && held.is_some() {
            // Others write the node's status too; a patch against what they changed would undo it.
            if let Ok(Some(node)) = api.get_opt(&agent.config.node_name).await {
                held = Some(node);
            }
        }
    }
}

/// Events for conditions that turned.
fn tell_changes(agent: &Agent, old: &NodeStatus, new: &NodeStatus) {
    for reason in turns::turns(old, new) {
        agent.events.node("Normal", reason, &format!("Node {} status is now: {reason}", agent.config.node_name));
    }
}
