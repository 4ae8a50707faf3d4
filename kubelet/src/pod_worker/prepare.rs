//! What must be there before a pod's first container: folders, its cgroup, its volumes. And the sandbox.

use super::{Desired, Hold, PANICKED, SANDBOX_RETRY, Worker};
use crate::{
    container::{config::pod_log_dir, dns, hosts, resources, sandbox},
    cri::observe,
    pod, qos,
    volumes::{self, content::Sources},
};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use proto::cri;
use std::{fs, sync::Arc};

impl Worker {
    /// True if a container may be started. If not, it has waited.
    pub(super) async fn prepare(&mut self, pod: &Arc<Pod>, observed: &observe::Pod) -> bool {
        let network = self.agent.health.read().network.clone();
        if let Some(fault) = network.filter(|_| !pod::host_network(pod)) {
            self.agent.events.pod(pod, None, "Warning", "NetworkNotReady", &format!("network is not ready: {fault}"));
            self.rest(Some(self.agent.clock.now() + SignedDuration::from_secs(1))).await;
            return false;
        }
        if self.volumes.is_some() && !self.take_stale() {
            return true;
        }
        if let Err(error) = self.make_places(pod) {
            let message = format!("error making pod data directories: {error}");
            self.agent.events.pod(pod, None, "Warning", "Failed", &message);
            self.rest(Some(self.agent.clock.now() + SignedDuration::from_secs(2))).await;
            return false;
        }
        let faults = self.mount(pod, observed).await;
        if faults.is_empty() {
            self.volume_tries = 0;
            return true;
        }
        for fault in &faults {
            let message = format!("MountVolume.SetUp failed for volume {:?} : {}", fault.volume, fault.message);
            self.agent.events.pod(pod, None, "Warning", "FailedMount", &message);
        }
        // Half a second, doubling to two minutes; a changed object ends the wait.
        let pause = SignedDuration::from_millis(500 << self.volume_tries.min(8));
        self.volume_tries += 1;
        self.rest(Some(self.agent.clock.now() + pause)).await;
        false
    }

    fn make_places(&self, pod: &Pod) -> std::io::Result<()> {
        let agent = &self.agent;
        let folder = volumes::pod_dir(&agent.config.root_dir, pod::uid(pod));
        for name in ["volumes", "plugins", "containers"] {
            fs::create_dir_all(folder.join(name))?;
        }
        if agent.config.file.cgroups_per_qos {
            agent.cgroups.create_pod(qos::class(pod), pod::uid(pod), resources::pod_resources(pod, agent.cpu()))?;
        }
        Ok(())
    }

    async fn mount(&mut self, pod: &Pod, observed: &observe::Pod) -> Vec<volumes::Fault> {
        let agent = self.agent.clone();
        let facts = agent.facts(observed.ips());
        let sources = Sources { objects: agent.objects.as_ref(), tokens: &agent.tokens, facts: &facts };
        let (mounted, faults) = volumes::mount_all(&agent.config.root_dir, pod, &sources, &agent.claims).await;
        if faults.is_empty() {
            self.volumes = Some((mounted, self.agent.clock.now()));
        }
        faults
    }

    /// Keeps the volumes of a running pod up to date.
    pub(super) async fn look_after_volumes(&mut self, pod: &Pod, observed: &observe::Pod) {
        let Some((_, at)) = &self.volumes else { return };
        let now = self.agent.clock.now();
        let renewal = self.agent.tokens.next_renewal(pod::uid(pod)).is_some_and(|at| at <= now);
        let regular = now.duration_since(*at)
            >= SignedDuration::try_from(self.agent.config.file.sync_frequency.0)
                .unwrap_or(SignedDuration::from_secs(60));
        if self.take_stale() || renewal || regular {
            let at = now;
            for fault in self.mount(pod, observed).await {
                let message = format!("MountVolume.SetUp failed for volume {:?} : {}", fault.volume, fault.message);
                self.agent.events.pod(pod, None, "Warning", "FailedMount", &message);
            }
            if let Some((_, last)) = &mut self.volumes {
                *last = at;
            }
        }
    }

    pub(super) async fn create_sandbox(
        &mut self,
        desired: &Desired,
        observed: &observe::Pod,
        attempt: u32,
        replaces: bool,
    ) {
        let pod = &desired.pod;
        if replaces {
            self.agent.events.pod(
                pod,
                None,
                "Normal",
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            );
            if !self.kill(desired, observed, None, "").await {
                return;
            }
            for container in
                observed.containers.iter().filter(|c| pod::init_containers(pod).iter().any(|i| i.name == c.name))
            {
                let _ = self.agent.runtime.remove_container(&container.id).await;
            }
        }
        let made = match self.sandbox_config(pod, attempt) {
            Ok(config) => match fs::create_dir_all(&config.log_directory) {
                Ok(()) => self.run_sandbox(pod, config).await,
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = made {
            tracing::warn!(pod = pod::format(pod), error, "cannot create a pod's sandbox");
            self.agent.events.pod(
                pod,
                None,
                "Warning",
                "FailedCreatePodSandBox",
                &format!("Failed to create pod sandbox: {error}"),
            );
            let hold =
                Hold { reason: String::new(), message: String::new(), until: self.agent.clock.now() + SANDBOX_RETRY };
            self.memory.holds.insert(String::new(), hold);
        } else {
            self.memory.holds.remove("");
            // The downward API may show the pod's address.
            self.stale.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Once begun it ends, whatever becomes of the worker.
    async fn run_sandbox(&self, pod: &Pod, config: cri::PodSandboxConfig) -> Result<String, String> {
        let runtime = self.agent.runtime.clone();
        let made = self
            .tasks
            .one_shot(("sandbox start", pod::format(pod)), async move { runtime.run_sandbox(config, "").await });
        made.await.map_err(|_| PANICKED.to_owned())?.map_err(|error| error.to_string())
    }

    pub(super) fn sandbox_config(&mut self, pod: &Pod, attempt: u32) -> Result<cri::PodSandboxConfig, String> {
        let agent = &self.agent;
        let (dns, warnings) = dns::pod_dns(pod, &agent.dns_settings());
        if self.sandbox_env.is_none() {
            for (reason, message) in warnings {
                agent.events.pod(pod, None, "Warning", reason, &message);
            }
        }
        let (host, domain) = hosts::name_and_domain(pod, &agent.config.file.cluster_domain)?;
        let parts = sandbox::Parts {
            attempt,
            dns,
            hostname: hosts::kernel_name(pod, &host, &domain)?,
            log_directory: pod_log_dir(&agent.config.file.pod_logs_dir, pod),
            cgroup_parent: if agent.config.file.cgroups_per_qos {
                agent.cgroups.pod_path(qos::class(pod), pod::uid(pod))
            } else {
                String::new()
            },
            resources: resources::pod_resources(pod, agent.cpu()),
        };
        let config = sandbox::config(pod, parts);
        self.sandbox_env = Some(config.clone());
        Ok(config)
    }
}
