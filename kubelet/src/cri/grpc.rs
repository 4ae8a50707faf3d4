//! The runtime over its Unix socket.

use super::{Error, ExecOutput, Result, Runtime};
use async_trait::async_trait;
use proto::cri::{self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient};
use std::{collections::HashMap, path::PathBuf, time::Duration};
use tonic::{Request, transport::Channel};

/// Upstream's limit of one message: a node with thousands of containers lists more than gRPC's 4 MiB.
const MESSAGE_LIMIT_BYTES: usize = 16 << 20;

/// gRPC writes a deadline with eight digits: what is longer than some years is for ever.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A connection that is made at the first call and made again whenever the runtime came back.
#[derive(Clone)]
pub(crate) struct Grpc {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    /// `runtimeRequestTimeout`: for every call but the ones that wait for a container or a registry.
    timeout: Duration,
}

impl Grpc {
    /// `endpoint` is `unix:///path` or a path.
    pub(crate) fn connect(endpoint: &str, timeout: Duration) -> anyhow::Result<Self> {
        let path = PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
        anyhow::ensure!(path.is_absolute(), "container runtime endpoint {endpoint:?} is not a unix socket");
        let channel = tonic::transport::Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_| {
                let path = path.clone();
                async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
            }),
        );
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_LIMIT_BYTES),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT_BYTES),
            timeout,
        })
    }

    fn timed<T>(&self, message: T) -> Request<T> {
        within(message, self.timeout)
    }
}

fn within<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout.min(LONGEST_TIMEOUT));
    request
}

fn by_uid(pod_uid: Option<&str>) -> HashMap<String, String> {
    pod_uid.map(|uid| (super::labels::POD_UID.to_owned(), uid.to_owned())).into_iter().collect()
}

fn spec(image: &str) -> Option<cri::ImageSpec> {
    Some(cri::ImageSpec { image: image.to_owned(), ..Default::default() })
}

fn missing(what: &str) -> Error {
    Error { code: tonic::Code::Internal, message: format!("{what} is nil") }
}

#[async_trait]
impl Runtime for Grpc {
    async fn version(&self) -> Result<cri::VersionResponse> {
        let request = cri::VersionRequest { version: "0.1.0".into() };
        Ok(self.runtime.clone().version(self.timed(request)).await?.into_inner())
    }
    async fn status(&self) -> Result<cri::StatusResponse> {
        Ok(self.runtime.clone().status(self.timed(cri::StatusRequest { verbose: false })).await?.into_inner())
    }
    async fn update_pod_cidr(&self, cidr: &str) -> Result<()> {
        let network_config = Some(cri::NetworkConfig { pod_cidr: cidr.to_owned() });
        let request = cri::UpdateRuntimeConfigRequest { runtime_config: Some(cri::RuntimeConfig { network_config }) };
        self.runtime.clone().update_runtime_config(self.timed(request)).await?;
        Ok(())
    }

    async fn run_sandbox(&self, config: cri::PodSandboxConfig, handler: &str) -> Result<String> {
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        // Upstream doubles the timeout here: the sandbox image may have to be pulled first.
        Ok(self
            .runtime
            .clone()
            .run_pod_sandbox(within(request, self.timeout.saturating_mul(2)))
            .await?
            .into_inner()
            .pod_sandbox_id)
    }
    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        self.runtime
            .clone()
            .stop_pod_sandbox(self.timed(cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }))
            .await?;
        Ok(())
    }
    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        self.runtime
            .clone()
            .remove_pod_sandbox(self.timed(cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() }))
            .await?;
        Ok(())
    }
    async fn sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatus> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer = self.runtime.clone().pod_sandbox_status(self.timed(request)).await?.into_inner();
        answer.status.ok_or_else(|| missing("pod sandbox status"))
    }
    async fn list_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<cri::PodSandbox>> {
        let filter = Some(cri::PodSandboxFilter { label_selector: by_uid(pod_uid), ..Default::default() });
        Ok(self
            .runtime
            .clone()
            .list_pod_sandbox(self.timed(cri::ListPodSandboxRequest { filter }))
            .await?
            .into_inner()
            .items)
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(self.runtime.clone().create_container(self.timed(request)).await?.into_inner().container_id)
    }
    async fn start_container(&self, id: &str) -> Result<()> {
        self.runtime
            .clone()
            .start_container(self.timed(cri::StartContainerRequest { container_id: id.to_owned() }))
            .await?;
        Ok(())
    }
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let request = cri::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: grace.min(LONGEST_TIMEOUT).as_secs() as i64,
        };
        self.runtime.clone().stop_container(within(request, self.timeout.saturating_add(grace))).await?;
        Ok(())
    }
    async fn remove_container(&self, id: &str) -> Result<()> {
        self.runtime
            .clone()
            .remove_container(self.timed(cri::RemoveContainerRequest { container_id: id.to_owned() }))
            .await?;
        Ok(())
    }
    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<cri::Container>> {
        let filter = Some(cri::ContainerFilter { label_selector: by_uid(pod_uid), ..Default::default() });
        Ok(self
            .runtime
            .clone()
            .list_containers(self.timed(cri::ListContainersRequest { filter }))
            .await?
            .into_inner()
            .containers)
    }
    async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self.runtime.clone().container_status(self.timed(request)).await?.into_inner();
        answer.status.ok_or_else(|| missing("container status"))
    }
    async fn reopen_log(&self, id: &str) -> Result<()> {
        self.runtime
            .clone()
            .reopen_container_log(self.timed(cri::ReopenContainerLogRequest { container_id: id.to_owned() }))
            .await?;
        Ok(())
    }
    async fn container_stats(&self) -> Result<Vec<cri::ContainerStats>> {
        let request = cri::ListContainerStatsRequest { filter: Some(cri::ContainerStatsFilter::default()) };
        Ok(self.runtime.clone().list_container_stats(self.timed(request)).await?.into_inner().stats)
    }

    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        let message = cri::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            timeout: timeout.as_secs() as i64,
        };
        // The runtime ends the command at its timeout; the call is given a little longer, to hear of that.
        let request = if timeout.is_zero() {
            Request::new(message)
        } else {
            within(message, self.timeout.saturating_add(timeout))
        };
        let answer = self.runtime.clone().exec_sync(request).await?.into_inner();
        Ok(ExecOutput { stdout: answer.stdout, stderr: answer.stderr, exit_code: answer.exit_code })
    }
    async fn exec(&self, request: cri::ExecRequest) -> Result<String> {
        Ok(self.runtime.clone().exec(self.timed(request)).await?.into_inner().url)
    }
    async fn attach(&self, request: cri::AttachRequest) -> Result<String> {
        Ok(self.runtime.clone().attach(self.timed(request)).await?.into_inner().url)
    }
    async fn port_forward(&self, sandbox: &str, ports: &[i32]) -> Result<String> {
        let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.to_owned(), port: ports.to_vec() };
        Ok(self.runtime.clone().port_forward(self.timed(request)).await?.into_inner().url)
    }

    async fn list_images(&self) -> Result<Vec<cri::Image>> {
        Ok(self
            .images
            .clone()
            .list_images(self.timed(cri::ListImagesRequest { filter: None }))
            .await?
            .into_inner()
            .images)
    }
    async fn image_status(&self, image: &str) -> Result<Option<cri::Image>> {
        let request = cri::ImageStatusRequest { image: spec(image), verbose: false };
        Ok(self.images.clone().image_status(self.timed(request)).await?.into_inner().image)
    }
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<cri::AuthConfig>,
        sandbox: cri::PodSandboxConfig,
    ) -> Result<String> {
        let request = cri::PullImageRequest { image: spec(image), auth, sandbox_config: Some(sandbox) };
        Ok(self.images.clone().pull_image(Request::new(request)).await?.into_inner().image_ref)
    }
    async fn remove_image(&self, image: &str) -> Result<()> {
        self.images.clone().remove_image(self.timed(cri::RemoveImageRequest { image: spec(image) })).await?;
        Ok(())
    }
    async fn image_fs(&self) -> Result<Vec<cri::FilesystemUsage>> {
        Ok(self
            .images
            .clone()
            .image_fs_info(self.timed(cri::ImageFsInfoRequest {}))
            .await?
            .into_inner()
            .image_filesystems)
    }
}
