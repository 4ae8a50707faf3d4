//! Starting one container: image, configuration, create, start, postStart. Upstream: kuberuntime_container.go, startContainer.

use super::{Desired, Hold, PANICKED, START_RETRY, Worker, kill, step};
use crate::{
    container::{config, env, hosts, security},
    cri::observe,
    hooks,
    images::Refused,
    node_agent::Agent,
    objects::Objects,
    pod::{self, Kind},
    volumes::{self, block, mounts},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use proto::cri;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};
use tokio::sync::watch;

/// A waiting reason, its message, and when to try again if not as usual.
struct Fault {
    reason: &'static str,
    message: String,
    until: Option<Timestamp>,
}

impl Fault {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), until: None }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        Self { reason: refused.reason, message: refused.message, until: refused.until }
    }
}

/// The pod is to be ended.
struct Forestalled;

/// Does `work` unless the pod is to be ended before it is done.
async fn unless_ended<T>(
    mut desired: watch::Receiver<Desired>,
    work: impl Future<Output = T>,
) -> Result<T, Forestalled> {
    let ended = async {
        while desired.wait_for(|d| d.removed || d.verdict.is_some() || pod::deleting(&d.pod)).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        outcome = work => Ok(outcome),
        () = ended => Err(Forestalled),
    }
}

/// A container that is ready to be made.
struct Launch {
    agent: Arc<Agent>,
    pod: Arc<Pod>,
    container: Container,
    sandbox: String,
    sandbox_config: cri::PodSandboxConfig,
    container_config: cri::ContainerConfig,
}

impl Launch {
    /// Makes it and starts it. Its id.
    async fn run(self) -> Result<String, Fault> {
        let Self { agent, pod, container, sandbox, sandbox_config, container_config } = self;
        let tell = |kind: &str, reason: &str, message: &str| {
            agent.events.pod(&pod, Some(&container.name), kind, reason, message)
        };
        let failed = |message: &str| tell("Warning", "Failed", &format!("Error: {message}"));
        let log_path = Path::new(&sandbox_config.log_directory).join(&container_config.log_path);
        if let Some(parent) = log_path.parent() {
            let _ = fs::create_dir_all(parent);
        }
        let id = match agent.runtime.create_container(&sandbox, container_config, sandbox_config).await {
            Ok(id) => id,
            Err(error) => {
                failed(&error.message);
                return Err(Fault::new("CreateContainerError", error.message));
            }
        };
        tell("Normal", "Created", "Container created");
        if let Err(error) = agent.runtime.start_container(&id).await {
            failed(&error.message);
            return Err(Fault::new("RunContainerError", error.message));
        }
        tell("Normal", "Started", "Container started");
        if let Some(folder) = &agent.config.container_log_dir {
            link_log(folder, &pod, &container, &id, &log_path);
        }
        Ok(id)
    }
}

/// Runs the hook of a container that has been started; one that fails ends the container.
async fn post_start(
    agent: &Arc<Agent>,
    pod: &Arc<Pod>,
    container: &Container,
    id: &str,
    pod_ip: String,
) -> Result<(), Fault> {
    let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return Ok(()) };
    let Err(message) = hooks::run(agent.runtime.as_ref(), pod, container, id, &pod_ip, hook).await else {
        return Ok(());
    };
    tracing::warn!(pod = pod::format(pod), container = container.name, message, "postStart hook failed");
    agent.events.pod(pod, Some(&container.name), "Warning", "FailedPostStartHook", "PostStartHook failed");
    let kill = kill::Kill { agent: agent.clone(), pod: pod.clone(), pod_ip };
    let _ = kill.container(id, &container.name, "FailedPostStartHook", step::KillReason::Other, None).await;
    Err(Fault::new("PostStartHookError", message))
}

impl Worker {
    /// Starts the container, or says why it waits. A pod that is to be ended meanwhile is not kept waiting by a pull or a hook.
    pub(super) async fn start(&mut self, desired: &Desired, observed: &observe::Pod, kind: Kind, index: usize) {
        let pod = desired.pod.clone();
        let ephemeral = pod::ephemeral(&pod);
        let list: &[Container] = match kind {
            Kind::Init => pod::init_containers(&pod),
            Kind::Regular => &pod::spec(&pod).containers,
            Kind::Ephemeral => &ephemeral,
        };
        let Some(container) = list.get(index).cloned() else { return };
        let now = self.agent.clock.now();
        if let Some(last) =
            observed.containers.iter().find(|c| c.name == container.name && c.state == observe::State::Exited)
        {
            let finished = Timestamp::from_nanosecond(i128::from(last.finished_at_ns)).unwrap_or(now);
            self.backoff.next(&step::backoff_key(&pod, &container), finished);
        }
        let outcome = match self.try_start(&pod, observed, kind, &container).await {
            Ok(outcome) => outcome,
            Err(Forestalled) => return,
        };
        match outcome {
            Ok(()) => drop(self.memory.holds.remove(&container.name)),
            Err(fault) => {
                let now = self.agent.clock.now();
                tracing::info!(
                    pod = pod::format(&pod),
                    container = container.name,
                    reason = fault.reason,
                    message = fault.message,
                    "container not started"
                );
                let until = fault.until.map_or(now + START_RETRY, |until| {
                    until.min(now + START_RETRY).max(now + jiff::SignedDuration::from_secs(1))
                });
                let hold = Hold { reason: fault.reason.to_owned(), message: fault.message, until };
                self.memory.holds.insert(container.name.clone(), hold);
            }
        }
    }

    async fn try_start(
        &mut self,
        pod: &Arc<Pod>,
        observed: &observe::Pod,
        kind: Kind,
        container: &Container,
    ) -> Result<Result<(), Fault>, Forestalled> {
        let Some(sandbox) = observed.sandboxes.first() else { return Ok(Ok(())) };
        let desired = self.desired.clone();
        let ready = unless_ended(desired.clone(), self.ready_to_start(pod, observed, sandbox, kind, container)).await?;
        let launch = match ready {
            Ok(launch) => launch,
            Err(fault) => return Ok(Err(fault)),
        };
        // Not cut off: what the runtime has begun to make must not be left half done and unobserved.
        let name = ("container start", format!("{}/{}", pod::format(pod), container.name));
        let id = match self.tasks.one_shot(name, launch.run()).await {
            Ok(Ok(id)) => id,
            Ok(Err(fault)) => return Ok(Err(fault)),
            Err(_) => return Ok(Err(Fault::new("RunContainerError", PANICKED))),
        };
        let pod_ip = self.pod_ip(pod, observed);
        unless_ended(desired, post_start(&self.agent, pod, container, &id, pod_ip)).await
    }

    /// Everything that a start needs: the image, and a configuration.
    async fn ready_to_start(
        &mut self,
        pod: &Arc<Pod>,
        observed: &observe::Pod,
        sandbox: &observe::Sandbox,
        kind: Kind,
        container: &Container,
    ) -> Result<Launch, Fault> {
        let agent = self.agent.clone();
        let sandbox_config =
            self.sandbox_config(pod, sandbox.attempt).map_err(|e| Fault::new("CreateContainerConfigError", e))?;
        let mut secrets = Vec::new();
        for reference in pod::spec(pod).image_pull_secrets.iter().flatten() {
            match agent.objects.secret(pod::namespace(pod), &reference.name).await {
                Ok(secret) => secrets.push(secret),
                Err(error) => {
                    let message = format!(
                        "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                        reference.name
                    );
                    tracing::warn!(pod = pod::format(pod), error = error.message, message);
                    agent.events.pod(pod, None, "Warning", "FailedToRetrieveImagePullSecret", &message);
                }
            }
        }
        let failed = |message: &str| {
            agent.events.pod(pod, Some(&container.name), "Warning", "Failed", &format!("Error: {message}"))
        };
        let image = match agent.images.ensure(pod, container, &secrets, &sandbox_config).await {
            Ok(image) => image,
            Err(refused) => {
                failed(refused.reason);
                return Err(refused.into());
            }
        };
        let restart_count = restart_count(&agent.config.file.pod_logs_dir, pod, observed, &container.name);
        let prepared = self.container_config(pod, observed, kind, container, &image, restart_count).await;
        let container_config = match prepared {
            Ok(prepared) => prepared,
            Err(message) => {
                failed(&message);
                return Err(Fault::new("CreateContainerConfigError", message));
            }
        };
        let (pod, container, sandbox) = (pod.clone(), container.clone(), sandbox.id.clone());
        Ok(Launch { agent, pod, container, sandbox, sandbox_config, container_config })
    }

    pub(super) fn pod_ip(&self, pod: &Pod, observed: &observe::Pod) -> String {
        let own = if pod::host_network(pod) { self.agent.host_ips.first() } else { observed.ips().first() };
        own.cloned().unwrap_or_default()
    }

    async fn container_config(
        &mut self,
        pod: &Pod,
        observed: &observe::Pod,
        kind: Kind,
        container: &Container,
        image: &str,
        restart_count: u32,
    ) -> Result<cri::ContainerConfig, String> {
        let agent = self.agent.clone();
        let pod_ips = if pod::host_network(pod) { agent.host_ips.clone() } else { observed.ips().to_vec() };
        let facts = agent.facts(&pod_ips);
        let services = agent.service_env(pod)?;
        let env = env::environment(pod, container, &services, &facts, agent.objects.as_ref()).await?;
        let folder = volumes::pod_dir(&agent.config.root_dir, pod::uid(pod));
        let empty = volumes::Volumes::new();
        let volumes = self.volumes.as_ref().map_or(&empty, |v| &v.0);
        let devices = block::devices(container, volumes)?;
        let mut list = mounts::mounts(&folder, container, volumes, &env)?;
        self.own_files(pod, container, &folder, &pod_ips, &mut list)?;
        let status = agent.runtime.image_status(image).await.map_err(|e| e.to_string())?;
        let user = security::ImageUser::of(status.as_ref());
        let target = pod::spec(pod)
            .ephemeral_containers
            .iter()
            .flatten()
            .find(|e| e.name == container.name)
            .and_then(|e| e.target_container_name.clone());
        let target = match target.filter(|t| kind == Kind::Ephemeral && !t.is_empty()) {
            Some(name) => Some(
                observed.container(&name).ok_or_else(|| format!("unable to find target container {name}"))?.id.clone(),
            ),
            None => None,
        };
        let seccomp_root = agent.config.root_dir.join("seccomp");
        let parts = config::Parts {
            kind,
            restart_count,
            image_ref: image,
            image_user: &user,
            env: &env,
            mounts: list,
            devices,
            target: target.as_deref(),
            cpu: agent.cpu(),
            memory_bytes: agent.machine.memory_bytes,
            security: security::Settings {
                seccomp_root: &seccomp_root,
                seccomp_default: agent.config.file.seccomp_default,
            },
        };
        config::config(pod, container, parts)
    }

    /// `/etc/hosts` and the termination message, unless a volume is mounted there.
    fn own_files(
        &self,
        pod: &Pod,
        container: &Container,
        folder: &Path,
        pod_ips: &[String],
        list: &mut Vec<cri::Mount>,
    ) -> Result<(), String> {
        let taken = |path: &str| list.iter().any(|m| m.container_path == path);
        let mut own = Vec::new();
        if !taken("/etc/hosts") && (!pod_ips.is_empty() || pod::host_network(pod)) {
            let spec = pod::spec(pod);
            let aliases = spec.host_aliases.as_deref().unwrap_or_default();
            let content = if pod::host_network(pod) {
                hosts::host_network(&fs::read_to_string("/etc/hosts").map_err(|e| e.to_string())?, aliases)
            } else {
                let (host, domain) = hosts::name_and_domain(pod, &self.agent.config.file.cluster_domain)?;
                hosts::managed(pod_ips, &host, &domain, aliases)
            };
            let file = folder.join("etc-hosts");
            fs::write(&file, content)
                .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o644)))
                .map_err(|e| e.to_string())?;
            own.push((file, "/etc/hosts".to_owned()));
        }
        let path = container.termination_message_path.as_deref().unwrap_or_default();
        if !path.is_empty() {
            let place = folder.join("containers").join(&container.name);
            fs::create_dir_all(&place).map_err(|e| e.to_string())?;
            let file = place.join(format!("{:08x}", rand::random::<u32>()));
            fs::write(&file, "")
                .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o666)))
                .map_err(|e| e.to_string())?;
            own.push((file, if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }));
        }
        list.extend(own.into_iter().map(|(file, container_path)| cri::Mount {
            host_path: file.to_string_lossy().into_owned(),
            container_path,
            ..Default::default()
        }));
        Ok(())
    }
}

/// One more than the last container's; after a reboot that the runtime did not survive, one more than the last log's.
fn restart_count(logs: &str, pod: &Pod, observed: &observe::Pod, name: &str) -> u32 {
    if let Some(last) = observed.container(name) {
        return last.restart_count + 1;
    }
    let folder = format!("{}/{name}", config::pod_log_dir(logs, pod));
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let numbers = files.filter_map(|f| f.file_name().to_string_lossy().split(".log").next()?.parse::<u32>().ok());
    numbers.max().map_or(0, |last| last + 1)
}

/// `<pod>_<namespace>_<container>-<id>.log`, the name by which log collectors find it.
fn link_log(folder: &Path, pod: &Pod, container: &Container, id: &str, log: &Path) {
    let link = folder.join(format!("{}_{}_{}-{id}.log", pod::name(pod), pod::namespace(pod), container.name));
    if let Err(error) = fs::create_dir_all(folder).and_then(|()| std::os::unix::fs::symlink(log, &link)) {
        tracing::debug!(link = %link.display(), %error, "no link to a container's log");
    }
}
