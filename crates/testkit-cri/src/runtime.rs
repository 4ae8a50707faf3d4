//! The runtime service: sandboxes and containers that only exist in a list.

use crate::{
    Shared,
    call::begin,
    cri,
    generated::runtime_service_server::RuntimeService,
    world::{Container, KILLED, Sandbox, World},
};
use std::{collections::HashMap, fs, path::Path, pin::Pin, time::Duration};
use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, async_trait};

pub(crate) struct Service(pub(crate) Shared);

type Answer<T> = Result<Response<T>, Status>;

fn fits(selector: &HashMap<String, String>, labels: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn missing(kind: &str, id: &str) -> Status {
    Status::not_found(format!("an error occurred when try to find {kind} {id:?}: not found"))
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn pod_of(world: &World, id: &str) -> Result<String, Status> {
    let found = world.sandboxes.iter().find(|s| s.id == id);
    found.map(|s| s.pod().to_owned()).ok_or_else(|| missing("sandbox", id))
}

fn name_of(world: &World, id: &str) -> Result<String, Status> {
    let found = world.containers.iter().find(|c| c.id == id);
    found.map(|c| c.name().to_owned()).ok_or_else(|| missing("container", id))
}

fn options(config: &cri::PodSandboxConfig) -> cri::NamespaceOption {
    let context = config.linux.as_ref().and_then(|l| l.security_context.as_ref());
    context.and_then(|c| c.namespace_options.clone()).unwrap_or_default()
}

fn status(container: &Container) -> cri::ContainerStatus {
    let image = container.config.image.clone().unwrap_or_default();
    let reason = match (container.state, container.exit_code) {
        (cri::ContainerState::ContainerExited, 0) => "Completed",
        (cri::ContainerState::ContainerExited, _) => "Error",
        _ => "",
    };
    cri::ContainerStatus {
        id: container.id.clone(),
        metadata: container.config.metadata.clone(),
        state: container.state as i32,
        created_at: container.created_at,
        started_at: container.started_at,
        finished_at: container.finished_at,
        exit_code: container.exit_code,
        image: Some(cri::ImageSpec { image: image.user_specified_image.clone(), ..Default::default() }),
        image_ref: image.image,
        reason: reason.into(),
        labels: container.config.labels.clone(),
        annotations: container.config.annotations.clone(),
        mounts: container.config.mounts.clone(),
        log_path: container.log_path.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

#[async_trait]
impl RuntimeService for Service {
    async fn version(&self, _: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        Ok(Response::new(cri::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "fake".into(),
            runtime_version: "v1.0.0".into(),
            runtime_api_version: "v1".into(),
        }))
    }

    async fn status(&self, _: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        begin(&self.0, "Status", "", "").await?;
        let fault = self.0.lock().network_fault.clone();
        let condition = |kind: &str, fault: Option<String>| cri::RuntimeCondition {
            r#type: kind.into(),
            status: fault.is_none(),
            reason: fault.as_ref().map(|_| "NetworkPluginNotReady".into()).unwrap_or_default(),
            message: fault.unwrap_or_default(),
        };
        let conditions = vec![condition("RuntimeReady", None), condition("NetworkReady", fault)];
        let status = Some(cri::RuntimeStatus { conditions });
        Ok(Response::new(cri::StatusResponse { status, ..Default::default() }))
    }

    async fn runtime_config(&self, _: Request<cri::RuntimeConfigRequest>) -> Answer<cri::RuntimeConfigResponse> {
        let linux = Some(cri::LinuxRuntimeConfiguration { cgroup_driver: cri::CgroupDriver::Cgroupfs as i32 });
        Ok(Response::new(cri::RuntimeConfigResponse { linux }))
    }

    async fn update_runtime_config(
        &self,
        _: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        Ok(Response::new(cri::UpdateRuntimeConfigResponse {}))
    }

    async fn run_pod_sandbox(&self, request: Request<cri::RunPodSandboxRequest>) -> Answer<cri::RunPodSandboxResponse> {
        let config = request.into_inner().config.unwrap_or_default();
        let pod = config.metadata.clone().unwrap_or_default().name;
        begin(&self.0, "RunPodSandbox", &pod, "").await?;
        let mut world = self.0.lock();
        let id = world.id("s");
        let host = options(&config).network() == cri::NamespaceMode::Node;
        let ip = if host { String::new() } else { world.address() };
        let created_at = world.now();
        world.sandboxes.push(Sandbox { id: id.clone(), config, ready: true, created_at, ip });
        Ok(Response::new(cri::RunPodSandboxResponse { pod_sandbox_id: id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let pod = pod_of(&self.0.lock(), &id)?;
        begin(&self.0, "StopPodSandbox", &pod, "").await?;
        let mut world = self.0.lock();
        let inside: Vec<String> = world.containers.iter().filter(|c| c.sandbox == id).map(|c| c.id.clone()).collect();
        for container in inside {
            world.end(&container, KILLED);
        }
        if let Some(sandbox) = world.sandboxes.iter_mut().find(|s| s.id == id) {
            sandbox.ready = false;
        }
        Ok(Response::new(cri::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let Ok(pod) = pod_of(&self.0.lock(), &id) else {
            return Ok(Response::new(cri::RemovePodSandboxResponse {}));
        };
        begin(&self.0, "RemovePodSandbox", &pod, "").await?;
        let mut world = self.0.lock();
        world.containers.retain(|c| c.sandbox != id);
        world.sandboxes.retain(|s| s.id != id);
        Ok(Response::new(cri::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let world = self.0.lock();
        let sandbox = world.sandboxes.iter().find(|s| s.id == id).ok_or_else(|| missing("sandbox", &id))?;
        let state =
            if sandbox.ready { cri::PodSandboxState::SandboxReady } else { cri::PodSandboxState::SandboxNotready };
        let status = cri::PodSandboxStatus {
            id: id.clone(),
            metadata: sandbox.config.metadata.clone(),
            state: state as i32,
            created_at: sandbox.created_at,
            network: Some(cri::PodSandboxNetworkStatus { ip: sandbox.ip.clone(), additional_ips: Vec::new() }),
            linux: Some(cri::LinuxPodSandboxStatus {
                namespaces: Some(cri::Namespace { options: Some(options(&sandbox.config)) }),
            }),
            labels: sandbox.config.labels.clone(),
            annotations: sandbox.config.annotations.clone(),
            runtime_handler: String::new(),
        };
        Ok(Response::new(cri::PodSandboxStatusResponse { status: Some(status), ..Default::default() }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let world = self.0.lock();
        let items = world.sandboxes.iter().filter(|s| fits(&filter.label_selector, &s.config.labels));
        let items = items.map(|s| cri::PodSandbox {
            id: s.id.clone(),
            metadata: s.config.metadata.clone(),
            state: if s.ready { cri::PodSandboxState::SandboxReady } else { cri::PodSandboxState::SandboxNotready }
                as i32,
            created_at: s.created_at,
            labels: s.config.labels.clone(),
            annotations: s.config.annotations.clone(),
            runtime_handler: String::new(),
        });
        Ok(Response::new(cri::ListPodSandboxResponse { items: items.collect() }))
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        let request = request.into_inner();
        let config = request.config.unwrap_or_default();
        let directory = request.sandbox_config.unwrap_or_default().log_directory;
        let name = config.metadata.clone().unwrap_or_default().name;
        begin(&self.0, "CreateContainer", &name, "").await?;
        let mut world = self.0.lock();
        pod_of(&world, &request.pod_sandbox_id)?;
        let image = config.image.clone().unwrap_or_default().user_specified_image;
        let (id, created_at) = (world.id("c"), world.now());
        let program = world.programs.get(&image).cloned().unwrap_or_default();
        world.containers.push(Container {
            id: id.clone(),
            sandbox: request.pod_sandbox_id,
            log_path: Path::new(&directory).join(&config.log_path),
            config,
            state: cri::ContainerState::ContainerCreated,
            created_at,
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            program,
            ends: None,
        });
        Ok(Response::new(cri::CreateContainerResponse { container_id: id }))
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        let id = request.into_inner().container_id;
        let name = name_of(&self.0.lock(), &id)?;
        begin(&self.0, "StartContainer", &name, "").await?;
        let mut world = self.0.lock();
        let now = world.now();
        if let Some(container) = world.containers.iter_mut().find(|c| c.id == id) {
            container.state = cri::ContainerState::ContainerRunning;
            container.started_at = now;
            container.ends = container.program.runs.map(|runs| Instant::now() + runs);
            // A folder that is not there is the kubelet's fault and shows when its log is read.
            let _ = fs::OpenOptions::new().create(true).append(true).open(&container.log_path);
        }
        Ok(Response::new(cri::StartContainerResponse {}))
    }

    async fn stop_container(&self, request: Request<cri::StopContainerRequest>) -> Answer<cri::StopContainerResponse> {
        let cri::StopContainerRequest { container_id: id, timeout } = request.into_inner();
        let name = name_of(&self.0.lock(), &id)?;
        begin(&self.0, "StopContainer", &name, &timeout.to_string()).await?;
        let ending = self.0.lock().stopping(&id, seconds(timeout));
        if let Some((after, code)) = ending {
            tokio::time::sleep(after).await;
            self.0.lock().end(&id, code);
        }
        Ok(Response::new(cri::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        let Ok(name) = name_of(&self.0.lock(), &id) else {
            return Ok(Response::new(cri::RemoveContainerResponse {}));
        };
        begin(&self.0, "RemoveContainer", &name, "").await?;
        self.0.lock().containers.retain(|c| c.id != id);
        Ok(Response::new(cri::RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let mut world = self.0.lock();
        world.settle();
        let containers = world.containers.iter().filter(|c| fits(&filter.label_selector, &c.config.labels));
        let containers = containers.map(|c| {
            let image = c.config.image.clone().unwrap_or_default();
            cri::Container {
                id: c.id.clone(),
                pod_sandbox_id: c.sandbox.clone(),
                metadata: c.config.metadata.clone(),
                image_ref: image.image.clone(),
                image: Some(image),
                state: c.state as i32,
                created_at: c.created_at,
                labels: c.config.labels.clone(),
                annotations: c.config.annotations.clone(),
                image_id: String::new(),
            }
        });
        Ok(Response::new(cri::ListContainersResponse { containers: containers.collect() }))
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        let mut world = self.0.lock();
        world.settle();
        let container = world.containers.iter().find(|c| c.id == id).ok_or_else(|| missing("container", &id))?;
        Ok(Response::new(cri::ContainerStatusResponse { status: Some(status(container)), info: Default::default() }))
    }

    async fn update_container_resources(
        &self,
        request: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        let name = name_of(&self.0.lock(), &request.into_inner().container_id)?;
        begin(&self.0, "UpdateContainerResources", &name, "").await?;
        Ok(Response::new(cri::UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        let id = request.into_inner().container_id;
        let name = name_of(&self.0.lock(), &id)?;
        begin(&self.0, "ReopenContainerLog", &name, "").await?;
        if let Some(container) = self.0.lock().containers.iter().find(|c| c.id == id) {
            fs::OpenOptions::new().create(true).append(true).open(&container.log_path)?;
        }
        Ok(Response::new(cri::ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, request: Request<cri::ExecSyncRequest>) -> Answer<cri::ExecSyncResponse> {
        let cri::ExecSyncRequest { container_id: id, cmd, timeout } = request.into_inner();
        let name = name_of(&self.0.lock(), &id)?;
        begin(&self.0, "ExecSync", &name, &cmd.join(" ")).await?;
        let outcome = (self.0.lock().command)(&name, &cmd);
        let limit = seconds(timeout);
        if !limit.is_zero() && outcome.takes > limit {
            tokio::time::sleep(limit).await;
            return Err(Status::deadline_exceeded(format!("timeout {limit:?} exceeded: context deadline exceeded")));
        }
        tokio::time::sleep(outcome.takes).await;
        Ok(Response::new(cri::ExecSyncResponse {
            stdout: outcome.stdout.into_bytes(),
            stderr: Vec::new(),
            exit_code: outcome.exit_code,
        }))
    }

    async fn exec(&self, request: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        let request = request.into_inner();
        let name = name_of(&self.0.lock(), &request.container_id)?;
        begin(&self.0, "Exec", &name, &request.cmd.join(" ")).await?;
        Err(Status::unimplemented("the fake runtime serves no streams"))
    }

    async fn attach(&self, request: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        let name = name_of(&self.0.lock(), &request.into_inner().container_id)?;
        begin(&self.0, "Attach", &name, "").await?;
        Err(Status::unimplemented("the fake runtime serves no streams"))
    }

    async fn port_forward(&self, request: Request<cri::PortForwardRequest>) -> Answer<cri::PortForwardResponse> {
        let request = request.into_inner();
        let pod = pod_of(&self.0.lock(), &request.pod_sandbox_id)?;
        let ports: Vec<String> = request.port.iter().map(i32::to_string).collect();
        begin(&self.0, "PortForward", &pod, &ports.join(" ")).await?;
        let url = self.0.lock().streams.clone();
        let url = url.ok_or_else(|| Status::unimplemented("the fake runtime serves no streams"))?;
        Ok(Response::new(cri::PortForwardResponse { url }))
    }

    async fn list_container_stats(
        &self,
        _: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        begin(&self.0, "ListContainerStats", "", "").await?;
        let world = self.0.lock();
        let number = |value: u64| Some(cri::UInt64Value { value });
        let stats = world.containers.iter().filter(|c| c.state == cri::ContainerState::ContainerRunning).map(|c| {
            let figures = world.figures.get(c.name()).copied().unwrap_or_default();
            cri::ContainerStats {
                attributes: Some(cri::ContainerAttributes {
                    id: c.id.clone(),
                    metadata: c.config.metadata.clone(),
                    labels: c.config.labels.clone(),
                    annotations: c.config.annotations.clone(),
                }),
                cpu: (figures.cpu_ns > 0).then(|| cri::CpuUsage {
                    timestamp: world.now(),
                    usage_core_nano_seconds: number(figures.cpu_ns),
                    usage_nano_cores: None,
                }),
                memory: Some(cri::MemoryUsage {
                    timestamp: world.now(),
                    working_set_bytes: number(figures.working_set_bytes),
                    ..Default::default()
                }),
                writable_layer: Some(cri::FilesystemUsage {
                    timestamp: world.now(),
                    fs_id: None,
                    used_bytes: number(figures.layer_bytes),
                    inodes_used: number(figures.layer_inodes),
                }),
                swap: None,
            }
        });
        Ok(Response::new(cri::ListContainerStatsResponse { stats: stats.collect() }))
    }

    type GetContainerEventsStream = Pin<Box<dyn Stream<Item = Result<cri::ContainerEventResponse, Status>> + Send>>;

    async fn get_container_events(&self, _: Request<cri::GetEventsRequest>) -> Answer<Self::GetContainerEventsStream> {
        Err(Status::unimplemented("the fake runtime sends no events"))
    }
}
