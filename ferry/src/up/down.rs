//! `ferry down`: ends a cluster of this machine and leaves nothing of it: no container, namespace, mount, rule, bridge or
//! cgroup. The cluster's state stays, unless `--purge` says otherwise.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use proto::cri::{ListPodSandboxRequest, RemovePodSandboxRequest, StopPodSandboxRequest};
use tonic::transport::{Endpoint, Uri};

use super::flags::{Down, Layout};
use super::{BRIDGE, runtime};

/// How long a process may take to end after being asked.
const PATIENCE: Duration = Duration::from_secs(20);

/// `ferry down`.
pub async fn main(argv: Vec<String>) -> anyhow::Result<()> {
    let flags: Down = component::flags::parse("ferry down", &argv, &[])?;
    if !flags.data_dir.exists() {
        println!("nothing to do: {} does not exist", flags.data_dir.display());
        return Ok(());
    }
    let layout = Layout::new(&flags.data_dir)?;
    if end(&layout.pid_file(), "ferry").await {
        println!("stopped ferry");
    }
    let socket = layout.socket();
    if runtime::answers(&socket).await {
        let stopped = sandboxes(&socket).await?;
        println!("stopped {stopped} pods");
    }
    if end(&layout.containerd_pid_file(), "containerd").await {
        println!("stopped containerd");
    }
    let unmounted = unmount(&layout.data);
    if unmounted > 0 {
        println!("unmounted {unmounted}");
    }
    proxy::cleanup(&proxy::Nft::default()).await?;
    // Gone already where there was no pod.
    let _ = Command::new("ip").args(["link", "delete", BRIDGE]).output();
    cgroups();
    if flags.purge {
        fs::remove_dir_all(&layout.data)?;
        println!("removed {}", layout.data.display());
    }
    Ok(())
}

/// Ends the process of a pid file, if it is that program; whether there was one.
async fn end(pid_file: &Path, program: &str) -> bool {
    let Some(pid) = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
        return false;
    };
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let _ = fs::remove_file(pid_file);
    // A number that meanwhile belongs to another program is left alone.
    if command.trim() != program {
        return false;
    }
    let pid = Pid::from_raw(pid);
    let _ = kill(pid, Signal::SIGTERM);
    let deadline = Instant::now() + PATIENCE;
    while kill(pid, None) != Err(Errno::ESRCH) && !zombie(pid) {
        if Instant::now() > deadline {
            let _ = kill(pid, Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

fn zombie(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|s| s.trim_start().starts_with('Z')))
}

/// Stops and removes all pods of the private containerd.
async fn sandboxes(socket: &Path) -> anyhow::Result<usize> {
    let socket = socket.to_path_buf();
    let channel = Endpoint::from_static("http://containerd")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        }))
        .await?;
    let mut client = RuntimeServiceClient::new(channel);
    let pods = client.list_pod_sandbox(ListPodSandboxRequest::default()).await?.into_inner().items;
    for pod in &pods {
        client.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
        client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
    }
    Ok(pods.len())
}

/// Unmounts everything below the data directory: volumes, root file systems, network namespaces.
fn unmount(data: &Path) -> usize {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let prefix = format!("{}/", data.display());
    let below =
        mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|point| point.starts_with(&prefix));
    below.filter(|point| umount2(*point, MntFlags::MNT_DETACH).is_ok()).count()
}

/// Removes the pods' cgroups; those of others have other names.
fn cgroups() {
    let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    for root in std::iter::once("/sys/fs/cgroup".into()).chain(roots) {
        remove_tree(&root.join("kubepods"));
    }
}

fn remove_tree(dir: &Path) {
    for child in fs::read_dir(dir).into_iter().flatten().flatten().filter(|c| c.path().is_dir()) {
        remove_tree(&child.path());
    }
    let _ = fs::remove_dir(dir);
}
