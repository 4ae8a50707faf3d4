//! `cargo xtask bench`: a load generator and what it measures of API servers and clusters, several of them in one run if wanted.
//!
//! It starts `ferry apiserver` itself (embedded store, loopback, TLS and RBAC on; on an etcd too if wanted), and upstream's
//! binaries alike where a folder of them is given; any other server is reached by kubeconfig. One server after another runs
//! alone through all shapes. What is counted is what a client sees (throughput, median, 99th percentile) and what it costs
//! the server (CPU by its process ids, memory). The generator's own CPU is told too: on a small machine it takes its share.
//! Then each shape of a cluster (`shapes::cluster`) runs on a new one, which has a controller manager and a scheduler too.

mod cluster;
mod connection;
mod kubeconfig;
mod launch;
mod lines;
mod load;
mod measure;
mod network;
mod nodes;
mod objects;
mod pki;
mod process;
mod report;
mod shapes;
mod wanted;

use std::path::PathBuf;

use anyhow::bail;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use connection::Access;
use launch::{Launched, Launcher};
use process::{Process, Processes};
use report::Report;

/// Measures API servers under load.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Flags {
    /// Shapes to run, comma separated: start, memory, sequential, create, get, list, watch, restart, snapshot, pods; and
    /// of clusters: deployment, schedule, job, daemonset, statefulsets, autoscalers, manager-memory, services (the proxy) and
    /// policies (both in a network namespace, and only where they are named). Default: all others
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Objects of the sequential shape
    #[arg(long, default_value_t = 1_000)]
    sequential: usize,
    /// Pods of the create shape, and of the first list
    #[arg(long, default_value_t = 10_000)]
    create: usize,
    /// Pods of the second list, of `restart` and of the memory after them
    #[arg(long, default_value_t = 50_000)]
    many: usize,
    /// Connections of the create and get shapes
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Watchers, one run for each number
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000])]
    watchers: Vec<usize>,
    /// Watchers on one connection
    #[arg(long, default_value_t = 50)]
    per_connection: usize,
    /// Changes a second while they watch
    #[arg(long, default_value_t = 100)]
    events_per_second: u32,
    /// For how long
    #[arg(long, default_value_t = 5)]
    watch_seconds: u32,
    /// The ferry binary [default: beside this one]
    #[arg(long)]
    ferry: Option<PathBuf>,
    /// Do not run Ferry
    #[arg(long)]
    no_ferry: bool,
    /// Also run Ferry on a new etcd (found in --upstream or on the PATH), beside its embedded store
    #[arg(long)]
    ferry_on_etcd: bool,
    /// Where servers keep their data while measured [default: target/bench, on the disk that is to be measured]
    #[arg(long)]
    data: Option<PathBuf>,
    /// A folder with upstream's kube-apiserver and etcd, for clusters also kube-controller-manager and kube-scheduler, started
    /// beside Ferry on the same machine
    #[arg(long)]
    upstream: Option<PathBuf>,
    /// Requests a second that upstream's controller manager and scheduler may make (--kube-api-qps and --kube-api-burst)
    /// [default: theirs]
    #[arg(long)]
    upstream_qps: Option<u32>,
    /// A kubeconfig of another API server
    #[arg(long)]
    against: Option<PathBuf>,
    /// Process ids of that server, whose CPU and memory are counted
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// A kubeconfig of a cluster with a node, for `pods`
    #[arg(long)]
    node: Option<PathBuf>,
    /// The image of those pods; it must be on the node
    #[arg(long, default_value = "registry.k8s.io/pause:3.10.2")]
    image: String,
    /// Also write the figures to this file, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    cluster: shapes::cluster::Sizes,
}

impl Flags {
    fn wants(&self, shape: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|s| s == shape)
    }

    fn wants_any(&self, shapes: &[&str]) -> bool {
        shapes.iter().any(|shape| self.wants(shape))
    }
}

/// One API server under measurement.
pub(crate) struct Target {
    name: String,
    access: Access,
    processes: Processes,
    /// If the bench started it.
    launched: Option<Launched>,
    launcher: Option<Launcher>,
}

/// Runs the benchmark.
pub(crate) fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(std::iter::once("bench".to_owned()).chain(argv.iter().cloned()));
    if flags.only.iter().any(|shape| shapes::cluster::OF_PACKETS.contains(&shape.as_str())) && !network::is_own() {
        return Err(network::enter(&argv));
    }
    // One thread: a generator that takes both cores of a small machine measures itself.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // What was started ends with the bench, whatever ends that.
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            result = run(flags) => result,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminated.recv() => bail!("terminated"),
        }
    })
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    let own = std::env::current_exe()?;
    let release = own.parent().unwrap_or(&own).to_owned();
    let data = flags.data.clone().unwrap_or_else(|| release.parent().unwrap_or(&release).join("bench"));
    let mut report = Report::default();
    let mut launchers = Vec::new();
    let ferry = flags.ferry.clone().unwrap_or_else(|| release.join("ferry"));
    if !flags.no_ferry {
        launchers.push(Launcher::ferry(ferry.clone(), None, &data)?);
    }
    if flags.ferry_on_etcd {
        launchers.push(Launcher::ferry(ferry, Some(launch::etcd_binary(flags.upstream.as_deref())?), &data)?);
    }
    if let Some(folder) = &flags.upstream {
        launchers.push(Launcher::upstream(folder, &data, flags.upstream_qps)?);
    }
    for launcher in launchers {
        if flags.wants_any(shapes::NAMES) {
            let mut target = launch_and_time(launcher.clone(), &flags, &mut report).await?;
            measure(&mut target, &flags, &mut report).await?;
        }
        shapes::cluster::run(&launcher, &flags, &mut report).await?;
    }
    if let Some(file) = &flags.against {
        let access = kubeconfig::read(file)?;
        let processes = Processes::new(flags.pid.iter().map(|&pid| Process { name: "server", pid }).collect());
        let mut target = Target { name: access.host(), access, processes, launched: None, launcher: None };
        measure(&mut target, &flags, &mut report).await?;
    }
    if let Some(file) = flags.node.as_ref().filter(|_| flags.wants("pods")) {
        shapes::pods(&kubeconfig::read(file)?, &flags.image, &mut report).await?;
    }
    report.print();
    if let Some(file) = &flags.json {
        std::fs::write(file, report.json())?;
    }
    Ok(())
}

async fn measure(target: &mut Target, flags: &Flags, report: &mut Report) -> anyhow::Result<()> {
    if flags.wants("memory") {
        shapes::idle(target, report).await?;
    }
    shapes::run(target, flags, report).await
}

/// Starts a server, five times from nothing if that is to be measured, and keeps the last one; the figure is the median.
async fn launch_and_time(launcher: Launcher, flags: &Flags, report: &mut Report) -> anyhow::Result<Target> {
    let name = launcher.name.clone();
    let mut launched = launcher.start_empty().await?;
    if flags.wants("start") {
        let mut times = vec![launched.ready_after];
        for _ in 0..4 {
            drop(launched);
            launched = launcher.start_empty().await?;
            times.push(launched.ready_after);
        }
        times.sort_unstable();
        report.line(&name, "start to ready, empty", vec![report::seconds("median", times[times.len() / 2])]);
    }
    let access = launcher.access()?;
    let processes = launched.processes();
    Ok(Target { name, access, processes, launched: Some(launched), launcher: Some(launcher) })
}
