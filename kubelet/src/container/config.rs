//! One container, as the runtime is asked to make it. Upstream: kuberuntime_container.go, generateContainerConfig.

use super::{
    env::Env,
    expand::expand,
    resources::{self, Cpu},
    security::{self, ImageUser},
};
use crate::{
    cri::labels,
    pod::{self, Kind},
};
use k8s_openapi::api::core::v1::{Container, Pod};
use proto::cri;

/// What was prepared for the container.
pub(crate) struct Parts<'a> {
    pub(crate) kind: Kind,
    pub(crate) restart_count: u32,
    pub(crate) image_ref: &'a str,
    pub(crate) image_user: &'a ImageUser,
    pub(crate) env: &'a Env,
    pub(crate) mounts: Vec<cri::Mount>,
    pub(crate) devices: Vec<cri::Device>,
    /// The container whose processes an ephemeral container sees.
    pub(crate) target: Option<&'a str>,
    pub(crate) cpu: Cpu,
    pub(crate) memory_bytes: i64,
    pub(crate) security: security::Settings<'a>,
}

/// The log's place below the pod's log folder.
pub(crate) fn log_path(container: &str, restart_count: u32) -> String {
    format!("{container}/{restart_count}.log")
}

pub(crate) fn config(pod: &Pod, container: &Container, parts: Parts) -> Result<cri::ContainerConfig, String> {
    security::verify_non_root(pod, container, parts.image_user)?;
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, &|name| parts.env.get(name).cloned())).collect()
    };
    let signal =
        container.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref()).and_then(cri::Signal::from_str_name);
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: container.name.clone(), attempt: parts.restart_count }),
        image: Some(cri::ImageSpec {
            image: parts.image_ref.to_owned(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: parts
            .env
            .iter()
            .map(|(key, value)| cri::KeyValue { key: key.clone(), value: value.clone().into_bytes() })
            .collect(),
        mounts: parts.mounts,
        devices: parts.devices,
        labels: labels::container(pod, container),
        annotations: labels::annotations(pod, container, parts.restart_count),
        log_path: log_path(&container.name, parts.restart_count),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(resources::container(pod, container, parts.cpu, parts.memory_bytes)),
            security_context: Some(security::context(
                pod,
                parts.kind,
                container,
                parts.image_user,
                parts.target,
                &parts.security,
            )?),
        }),
        stop_signal: signal.unwrap_or(cri::Signal::RuntimeDefault) as i32,
    })
}

/// The container's log folder and its pod's.
pub(crate) fn pod_log_dir(root: &str, pod: &Pod) -> String {
    format!("{root}/{}_{}_{}", pod::namespace(pod), pod::name(pod), pod::uid(pod))
}
