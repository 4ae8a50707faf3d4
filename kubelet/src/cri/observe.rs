//! What the runtime knows of one pod, in the shape that decisions and statuses are made from.
//!
//! Everything here comes from the runtime's answers and the labels and annotations that some kubelet put there, so a restarted
//! kubelet sees what the old one saw. Upstream: kubecontainer.PodStatus.

use super::{Result, Runtime, labels};
use crate::logs;
use proto::cri;
use std::{collections::HashMap, net::IpAddr, os::unix::fs::FileExt, path::Path};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Running,
    Exited,
    Unknown,
}

#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) ready: bool,
    pub(crate) attempt: u32,
    pub(crate) host_network: bool,
    pub(crate) created_at_ns: i64,
    pub(crate) ips: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) sandbox: String,
    pub(crate) state: State,
    pub(crate) created_at_ns: i64,
    pub(crate) started_at_ns: i64,
    pub(crate) finished_at_ns: i64,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    /// The runtime's message and the container's own termination message.
    pub(crate) message: String,
    pub(crate) image: String,
    pub(crate) image_ref: String,
    pub(crate) restart_count: u32,
    pub(crate) hash: String,
    pub(crate) user: Option<cri::LinuxContainerUser>,
}

/// One pod; sandboxes and containers newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pod {
    pub(crate) sandboxes: Vec<Sandbox>,
    pub(crate) containers: Vec<Container>,
}

impl Pod {
    /// The newest container of that name.
    pub(crate) fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|c| matches!(c.state, State::Running | State::Unknown))
    }

    /// The addresses of the sandbox in use.
    pub(crate) fn ips(&self) -> &[String] {
        self.sandboxes.first().filter(|s| s.ready).map_or(&[], |s| s.ips.as_slice())
    }
}

/// Statuses of containers that have ended do not change any more: asked for once.
pub(crate) type Ended = HashMap<String, Container>;

/// Asks the runtime for everything that carries the pod's uid.
pub(crate) async fn observe(runtime: &dyn Runtime, uid: &str, ended: &mut Ended) -> Result<Pod> {
    let mut pod = Pod::default();
    for sandbox in runtime.list_sandboxes(Some(uid)).await? {
        match runtime.sandbox_status(&sandbox.id).await {
            Ok(status) => pod.sandboxes.push(convert_sandbox(status)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    pod.sandboxes.sort_by_key(|s| std::cmp::Reverse(s.created_at_ns));
    let listed = runtime.list_containers(Some(uid)).await?;
    ended.retain(|id, _| listed.iter().any(|c| c.id == *id));
    for item in listed {
        if let Some(known) = ended.get(&item.id) {
            pod.containers.push(known.clone());
            continue;
        }
        match runtime.container_status(&item.id).await {
            Ok(status) => {
                let container = convert_container(status, item.pod_sandbox_id);
                if container.state == State::Exited {
                    ended.insert(container.id.clone(), container.clone());
                }
                pod.containers.push(container);
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    pod.containers.sort_by_key(|c| std::cmp::Reverse(c.created_at_ns));
    Ok(pod)
}

fn convert_sandbox(status: cri::PodSandboxStatus) -> Sandbox {
    let options = status.linux.and_then(|l| l.namespaces).and_then(|n| n.options).unwrap_or_default();
    let host_network = options.network() == cri::NamespaceMode::Node;
    let network = status.network.unwrap_or_default();
    let addresses = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    Sandbox {
        ready: status.state == cri::PodSandboxState::SandboxReady as i32,
        attempt: status.metadata.unwrap_or_default().attempt,
        host_network,
        created_at_ns: status.created_at,
        ips: if host_network { Vec::new() } else { addresses.filter(|ip| ip.parse::<IpAddr>().is_ok()).collect() },
        id: status.id,
    }
}

fn convert_container(status: cri::ContainerStatus, sandbox: String) -> Container {
    let note = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
    let state = match status.state() {
        cri::ContainerState::ContainerCreated => State::Created,
        cri::ContainerState::ContainerRunning => State::Running,
        cri::ContainerState::ContainerExited => State::Exited,
        cri::ContainerState::ContainerUnknown => State::Unknown,
    };
    let metadata = status.metadata.clone().unwrap_or_default();
    let message = if state == State::Exited { ending(&status) } else { String::new() };
    Container {
        name: status.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
        sandbox,
        state,
        created_at_ns: status.created_at,
        started_at_ns: status.started_at,
        finished_at_ns: status.finished_at,
        exit_code: status.exit_code,
        reason: status.reason.clone(),
        message,
        image: status.image.clone().unwrap_or_default().image,
        image_ref: status.image_ref.clone(),
        restart_count: note(labels::RESTART_COUNT).parse().unwrap_or(metadata.attempt),
        hash: note(labels::HASH),
        user: status.user.and_then(|u| u.linux),
        id: status.id,
    }
}

/// Upstream's limits: 4096 bytes of a message file; of a log 2048 bytes and 80 lines.
const MESSAGE_LIMIT_BYTES: u64 = 4096;
const LOG_MESSAGE_LIMIT_BYTES: usize = 2048;
const LOG_MESSAGE_LIMIT_LINES: usize = 80;

/// The runtime's message and what the container wrote to its termination message file, or, where its policy says so and it
/// failed without a word, the end of its log.
fn ending(status: &cri::ContainerStatus) -> String {
    let path = status.annotations.get(labels::TERMINATION_MESSAGE_PATH).map_or("", String::as_str);
    let policy = status.annotations.get(labels::TERMINATION_MESSAGE_POLICY).map_or("", String::as_str);
    let from_logs = policy == "FallbackToLogsOnError" && (status.exit_code != 0 || status.reason == "OOMKilled");
    let own = status
        .mounts
        .iter()
        .find(|m| !path.is_empty() && m.container_path == path)
        .map(|m| tail(Path::new(&m.host_path)));
    let own = match own {
        Some(Err(error)) => format!("Error on reading termination log {path}: {error}"),
        Some(Ok(text)) if !text.is_empty() => text,
        Some(Ok(_)) | None if from_logs => {
            logs::read::last_lines(Path::new(&status.log_path), LOG_MESSAGE_LIMIT_LINES, LOG_MESSAGE_LIMIT_BYTES)
        }
        _ => String::new(),
    };
    match (status.message.is_empty(), own.is_empty()) {
        (true, _) => own,
        (false, true) => status.message.clone(),
        (false, false) => format!("{}: {own}", status.message),
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        other => other?,
    };
    let length = file.metadata()?.len();
    let mut buffer = vec![0; length.min(MESSAGE_LIMIT_BYTES) as usize];
    let read = file.read_at(&mut buffer, length.saturating_sub(MESSAGE_LIMIT_BYTES))?;
    Ok(String::from_utf8_lossy(&buffer[..read]).into_owned())
}
