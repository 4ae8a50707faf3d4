//! The container runtime as the kubelet sees it: the interface's calls as one trait.
//!
//! The trait exists so that what the kubelet decides can be tested without containers; the one real implementation is
//! [`grpc`]. Requests and answers are the interface's own messages: a second vocabulary would only be copied to and fro.

pub(crate) mod grpc;
pub(crate) mod labels;
pub(crate) mod observe;

use async_trait::async_trait;
use component::supervisor::Ended;
use proto::cri;
use std::time::Duration;

/// A call that the runtime refused or that did not reach it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("rpc error: code = {} desc = {message}", code_name(*code))]
pub(crate) struct Error {
    pub(crate) code: tonic::Code,
    pub(crate) message: String,
}

impl Error {
    /// The sandbox, container or image is not there (any more).
    pub(crate) fn is_not_found(&self) -> bool {
        self.code == tonic::Code::NotFound
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self { code: status.code(), message: status.message().to_owned() }
    }
}

impl From<Ended> for Error {
    fn from(ended: Ended) -> Self {
        Self { code: tonic::Code::Internal, message: ended.to_string() }
    }
}

/// The names that gRPC's Go side prints, which reach users in events and in a container's `message`.
fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code::*;
    match code {
        Ok => "OK",
        Cancelled => "Canceled",
        Unknown => "Unknown",
        InvalidArgument => "InvalidArgument",
        DeadlineExceeded => "DeadlineExceeded",
        NotFound => "NotFound",
        AlreadyExists => "AlreadyExists",
        PermissionDenied => "PermissionDenied",
        ResourceExhausted => "ResourceExhausted",
        FailedPrecondition => "FailedPrecondition",
        Aborted => "Aborted",
        OutOfRange => "OutOfRange",
        Unimplemented => "Unimplemented",
        Internal => "Internal",
        Unavailable => "Unavailable",
        DataLoss => "DataLoss",
        Unauthenticated => "Unauthenticated",
    }
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What a command in a container left behind.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExecOutput {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exit_code: i32,
}

/// The runtime and image services of one node.
#[async_trait]
pub(crate) trait Runtime: Send + Sync + 'static {
    async fn version(&self) -> Result<cri::VersionResponse>;
    async fn status(&self) -> Result<cri::StatusResponse>;
    async fn update_pod_cidr(&self, cidr: &str) -> Result<()>;

    async fn run_sandbox(&self, config: cri::PodSandboxConfig, handler: &str) -> Result<String>;
    async fn stop_sandbox(&self, id: &str) -> Result<()>;
    async fn remove_sandbox(&self, id: &str) -> Result<()>;
    async fn sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatus>;
    async fn list_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<cri::PodSandbox>>;

    async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String>;
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Returns when the container has ended: after its stop signal, or killed after `grace`.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;
    async fn remove_container(&self, id: &str) -> Result<()>;
    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<cri::Container>>;
    async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus>;
    async fn reopen_log(&self, id: &str) -> Result<()>;
    async fn container_stats(&self) -> Result<Vec<cri::ContainerStats>>;

    /// `timeout` zero: none.
    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecOutput>;
    /// These three return the address at which the runtime serves the stream.
    async fn exec(&self, request: cri::ExecRequest) -> Result<String>;
    async fn attach(&self, request: cri::AttachRequest) -> Result<String>;
    async fn port_forward(&self, sandbox: &str, ports: &[i32]) -> Result<String>;

    async fn list_images(&self) -> Result<Vec<cri::Image>>;
    async fn image_status(&self, image: &str) -> Result<Option<cri::Image>>;
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<cri::AuthConfig>,
        sandbox: cri::PodSandboxConfig,
    ) -> Result<String>;
    async fn remove_image(&self, image: &str) -> Result<()>;
    async fn image_fs(&self) -> Result<Vec<cri::FilesystemUsage>>;
}
