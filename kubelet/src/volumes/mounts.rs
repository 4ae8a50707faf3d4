//! A container's mounts from a pod's volumes. Upstream: kubelet_pods.go, makeMounts.

use super::{Volumes, subpath};
use crate::container::{env::Env, expand::expand};
use k8s_openapi::api::core::v1::{Container, VolumeMount};
use proto::cri;
use std::path::Path;

/// The errors are upstream's sentences; they become `CreateContainerConfigError`.
pub(crate) fn mounts(
    pod_dir: &Path,
    container: &Container,
    volumes: &Volumes,
    env: &Env,
) -> Result<Vec<cri::Mount>, String> {
    let list = container.volume_mounts.as_deref().unwrap_or_default();
    list.iter().enumerate().map(|(index, mount)| one(pod_dir, container, index, mount, volumes, env)).collect()
}

fn one(
    pod_dir: &Path,
    container: &Container,
    index: usize,
    mount: &VolumeMount,
    volumes: &Volumes,
    env: &Env,
) -> Result<cri::Mount, String> {
    let volume = volumes
        .get(&mount.name)
        .ok_or_else(|| format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name))?;
    let sub_path = match mount.sub_path_expr.as_deref().filter(|e| !e.is_empty()) {
        Some(expression) => expanded(expression, env)?,
        None => mount.sub_path.clone().unwrap_or_default(),
    };
    let host_path = if sub_path.is_empty() {
        volume.path.clone()
    } else {
        subpath::validate(&sub_path)?;
        let fault = |error: std::io::Error| {
            tracing::warn!(volume = mount.name, container = container.name, %error, "sub-path refused");
            format!("failed to prepare subPath for volumeMount {:?} of container {:?}", mount.name, container.name)
        };
        let fd = subpath::open_beneath(&volume.path, &sub_path, volume.managed).map_err(fault)?;
        subpath::bind(&fd, pod_dir, &mount.name, &container.name, index).map_err(fault)?
    };
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
        _ => cri::MountPropagation::PropagationPrivate,
    };
    let container_path =
        if mount.mount_path.starts_with('/') { mount.mount_path.clone() } else { format!("/{}", mount.mount_path) };
    Ok(cri::Mount {
        container_path,
        host_path: host_path.to_string_lossy().into_owned(),
        readonly: mount.read_only == Some(true) || volume.read_only,
        propagation: propagation as i32,
        ..Default::default()
    })
}

/// Every variable must be known: a path with a `$(NAME)` left in it is a mistake.
fn expanded(expression: &str, env: &Env) -> Result<String, String> {
    let missing = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let path = expand(expression, &|name| {
        let value = env.get(name).cloned();
        if value.is_none() {
            missing.borrow_mut().insert(name.to_owned());
        }
        value
    });
    let missing: Vec<String> = missing.into_inner().into_iter().collect();
    if missing.is_empty() { Ok(path) } else { Err(format!("missing value for {}", missing.join(", "))) }
}
