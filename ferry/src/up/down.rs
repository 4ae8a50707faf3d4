//! `ferry down`: ends a cluster of this machine and leaves nothing of it: no container, namespace, mount, rule, bridge or
//! cgroup. The cluster's state stays, unless `--purge` says otherwise.
//!
//! Each step is done whatever became of the others, and finds what is there by itself: it works without a running Ferry,
//! with a dead containerd, and twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::mount::{MntFlags, umount2};
use proto::cri::{ListPodSandboxRequest, RemovePodSandboxRequest, StopPodSandboxRequest};

use super::flags::{Down, Layout};
use super::{BRIDGE, address, cri, lock, nat, network, process, runtime};

/// How long the runtime may take to end all pods, before they are ended without it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the runtime may take to be able to answer.
const START: Duration = Duration::from_secs(20);

/// `ferry down`.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: Down = component::flags::parse("ferry down", &argv, &[])?;
    if !nix::unistd::Uid::effective().is_root() {
        bail!("ferry down must run as root: it ends containers and takes their network down");
    }
    if !flags.data_dir.exists() {
        println!("nothing to do: {} does not exist", flags.data_dir.display());
        return Ok(());
    }
    if !Layout::used(&flags.data_dir) {
        println!("nothing to do: {} holds no cluster", flags.data_dir.display());
        return Ok(());
    }
    let layout = Layout::new(&flags.data_dir)?;
    if let Some(pid) = lock::holder(&layout)? {
        process::end(pid).await;
        println!("stopped ferry");
    }
    let _lock = lock::take(&layout)?;
    let mut faults = Vec::new();
    match tokio::time::timeout(PATIENCE, pods(&layout)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(stopped)) => println!("stopped {stopped} pods"),
        Ok(Err(error)) => faults.push(format!("{error:#}")),
        Err(_) => faults.push(format!("the container runtime did not end the pods within {} s", PATIENCE.as_secs())),
    }
    let daemons = process::with_argument(&layout.containerd_config());
    for pid in &daemons {
        process::end(*pid).await;
    }
    if !daemons.is_empty() {
        println!("stopped containerd");
    }
    let left = shims(&layout);
    if left > 0 {
        println!("ended {left} containers without containerd");
    }
    let _ = fs::remove_file(layout.containerd_pid_file());
    let unmounted = unmount(&layout.data);
    if unmounted > 0 {
        println!("unmounted {unmounted}");
    }
    if let Err(error) = loop_devices(&layout.data) {
        faults.push(format!("detaching loop devices: {error:#}"));
    }
    let cleaned = async { proxy::cleanup(&proxy::Rules::of_kernel()?).await };
    if let Err(error) = cleaned.await {
        faults.push(format!("removing the proxy's rules: {error:#}"));
    }
    let cleaned = async { policies::cleanup(&policies::Kernel::open()?).await };
    if let Err(error) = cleaned.await {
        faults.push(format!("removing the policies' rules: {error:#}"));
    }
    if let Err(error) = ::network::cleanup(Some(BRIDGE)).await {
        faults.push(format!("removing the pods' network: {error:#}"));
    }
    address::remove();
    nat::clean(&layout);
    if let Err(error) = network::remove(&layout) {
        faults.push(format!("{error:#}"));
    }
    if let Err(fault) = cgroups(&layout).await {
        faults.push(fault);
    }
    if flags.purge {
        match layout.purge()? {
            true => println!("removed {}", layout.data.display()),
            false => println!("removed the cluster from {}, which holds other things too", layout.data.display()),
        }
    }
    if faults.is_empty() { Ok(()) } else { bail!("not everything could be done: {}", faults.join("; ")) }
}

/// Stops and removes all pods of the cluster's runtime; how many there were.
async fn pods(layout: &Layout) -> anyhow::Result<usize> {
    if let Ok(endpoint) = fs::read_to_string(layout.endpoint_file()) {
        let stopped = sandboxes(&cri::path_of(&endpoint)).await.with_context(|| format!("pods of {endpoint}"))?;
        fs::remove_file(layout.endpoint_file())?;
        return Ok(stopped);
    }
    if bundles(layout).is_empty() {
        return Ok(0);
    }
    // Containers outlive a containerd that died; a new one takes them up, and ends them in order.
    runtime::containerd(layout, ::network::Mode::default()).await?;
    sandboxes(&layout.socket()).await
}

async fn sandboxes(socket: &Path) -> anyhow::Result<usize> {
    let mut client = cri::connect(socket).await?;
    // One that has just started listens before it can answer.
    let deadline = tokio::time::Instant::now() + START;
    let pods = loop {
        match client.list_pod_sandbox(ListPodSandboxRequest::default()).await {
            Ok(list) => break list.into_inner().items,
            Err(status) if tokio::time::Instant::now() > deadline => return Err(status.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    for pod in &pods {
        client.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
        client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
    }
    Ok(pods.len())
}

/// The private containerd's folders of running containers.
fn bundles(layout: &Layout) -> Vec<PathBuf> {
    let tasks = layout.containerd().join("state/io.containerd.runtime.v2.task/k8s.io");
    fs::read_dir(tasks).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Ends containers that are left, and the shims that hold them: what containerd could not. How many.
fn shims(layout: &Layout) -> usize {
    let shims = process::with_argument(&layout.socket());
    if shims.is_empty() {
        return 0;
    }
    let bundles = bundles(layout);
    shims.iter().for_each(|pid| process::kill_now(*pid));
    // The first process of a container takes all others of it along.
    let first =
        bundles.iter().filter_map(|bundle| fs::read_to_string(bundle.join("init.pid")).ok()?.trim().parse().ok());
    first.for_each(process::kill_now);
    shims.len()
}

/// Unmounts everything below the data directory: volumes, root file systems, network namespaces.
fn unmount(data: &Path) -> usize {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let prefix = format!("{}/", data.display());
    let below =
        mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|point| point.starts_with(&prefix));
    below.filter(|point| umount2(*point, MntFlags::MNT_DETACH).is_ok()).count()
}

/// Detaches the loop devices of files below the data directory: volumes that pods had as devices.
fn loop_devices(data: &Path) -> anyhow::Result<()> {
    for device in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let file = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        if !Path::new(file.trim_end()).starts_with(data) {
            continue;
        }
        let output = Command::new("losetup").arg("-d").arg(Path::new("/dev").join(device.file_name())).output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
    }
    Ok(())
}

/// Removes the pods' cgroups; those of others have other names. Processes that were killed take a moment to leave.
async fn cgroups(layout: &Layout) -> Result<(), String> {
    let own = layout.cgroup_root();
    let name = if own.is_empty() { "kubepods" } else { &own };
    let trees = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let groups: Vec<PathBuf> =
        std::iter::once("/sys/fs/cgroup".into()).chain(trees).map(|root: PathBuf| root.join(name)).collect();
    for _ in 0..100 {
        groups.iter().for_each(|group| remove_tree(group));
        if !groups.iter().any(|group| group.exists()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let left: Vec<String> = groups.iter().filter(|g| g.exists()).map(|g| g.display().to_string()).collect();
    Err(format!("processes are left in {}", left.join(", ")))
}

fn remove_tree(dir: &Path) {
    for child in fs::read_dir(dir).into_iter().flatten().flatten().filter(|c| c.path().is_dir()) {
        remove_tree(&child.path());
    }
    let _ = fs::remove_dir(dir);
}
