//! A runtime's client that panics where a test sets a trap: in the kubelet's own code, as a fault of it would.

use crate::cri::{ExecOutput, Result, Runtime, grpc::Grpc};
use async_trait::async_trait;
use parking_lot::Mutex;
use proto::cri;
use std::{collections::HashMap, time::Duration};

pub(crate) struct Traps {
    inner: Grpc,
    /// How many more calls of that name panic.
    set: Mutex<HashMap<&'static str, u32>>,
}

impl Traps {
    pub(crate) fn around(inner: Grpc) -> Self {
        Self { inner, set: Mutex::default() }
    }

    /// The next calls of that method panic.
    pub(crate) fn set(&self, call: &'static str, times: u32) {
        self.set.lock().insert(call, times);
    }

    /// How many of them have not been made yet.
    pub(crate) fn left(&self, call: &'static str) -> u32 {
        self.set.lock().get(call).copied().unwrap_or(0)
    }

    fn step(&self, call: &'static str) {
        let sprung = self.set.lock().get_mut(call).filter(|left| **left > 0).map(|left| *left -= 1).is_some();
        assert!(!sprung, "a trap in {call}");
    }
}

macro_rules! passed_on {
    ($(fn $call:ident($($name:ident: $kind:ty),*) -> $output:ty;)*) => {
        #[async_trait]
        impl Runtime for Traps {
            $(async fn $call(&self, $($name: $kind),*) -> Result<$output> {
                self.step(stringify!($call));
                self.inner.$call($($name),*).await
            })*
        }
    };
}

passed_on! {
    fn version() -> cri::VersionResponse;
    fn status() -> cri::StatusResponse;
    fn update_pod_cidr(cidr: &str) -> ();
    fn run_sandbox(config: cri::PodSandboxConfig, handler: &str) -> String;
    fn stop_sandbox(id: &str) -> ();
    fn remove_sandbox(id: &str) -> ();
    fn sandbox_status(id: &str) -> cri::PodSandboxStatus;
    fn list_sandboxes(pod_uid: Option<&str>) -> Vec<cri::PodSandbox>;
    fn create_container(sandbox: &str, config: cri::ContainerConfig, sandbox_config: cri::PodSandboxConfig) -> String;
    fn start_container(id: &str) -> ();
    fn stop_container(id: &str, grace: Duration) -> ();
    fn remove_container(id: &str) -> ();
    fn list_containers(pod_uid: Option<&str>) -> Vec<cri::Container>;
    fn container_status(id: &str) -> cri::ContainerStatus;
    fn reopen_log(id: &str) -> ();
    fn container_stats() -> Vec<cri::ContainerStats>;
    fn exec_sync(id: &str, command: &[String], timeout: Duration) -> ExecOutput;
    fn exec(request: cri::ExecRequest) -> String;
    fn attach(request: cri::AttachRequest) -> String;
    fn port_forward(sandbox: &str, ports: &[i32]) -> String;
    fn list_images() -> Vec<cri::Image>;
    fn image_status(image: &str) -> Option<cri::Image>;
    fn pull_image(image: &str, auth: Option<cri::AuthConfig>, sandbox: cri::PodSandboxConfig) -> String;
    fn remove_image(image: &str) -> ();
    fn image_fs() -> Vec<cri::FilesystemUsage>;
}
