//! Claims: bound to a volume that is of this node (`hostPath` or `local`). Upstream: the checks of
//! pkg/kubelet/volumemanager/populator.

use super::device::Device;
use crate::{objects::api_message, pod};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{Api, Client};
use std::path::PathBuf;

pub(crate) struct Claims {
    client: Client,
}

impl Claims {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The volume that the claim is bound to.
    pub(crate) async fn volume(&self, namespace: &str, claim: &str) -> Result<PersistentVolume, String> {
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), namespace);
        let found = claims
            .get(claim)
            .await
            .map_err(|e| format!("error processing PVC {namespace}/{claim}: {}", api_message(&e)))?;
        let bound = found.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Bound"));
        let Some(volume) = found.spec.and_then(|s| s.volume_name).filter(|_| bound) else {
            return Err(format!("error processing PVC {namespace}/{claim}: PVC is not bound"));
        };
        Api::<PersistentVolume>::all(self.client.clone()).get(&volume).await.map_err(|e| api_message(&e))
    }
}

/// A volume that is a folder, a file or a device of this node.
pub(crate) enum Source {
    /// A path, and what must be there.
    HostPath { path: String, kind: String },
    /// What somebody has put there.
    Local { path: PathBuf },
}

/// What the volume is, and whether containers get it as a device. Both say where it has to be listed in a container.
pub(crate) fn source(pod: &Pod, name: &str, volume: &PersistentVolume) -> Result<(Source, bool), String> {
    let spec = volume.spec.as_ref().ok_or("no volume plugin matched")?;
    let block = spec.volume_mode.as_deref() == Some("Block");
    let (mounted, as_device) = uses(pod, name);
    if block && mounted {
        return Err(format!("volume {name} has volumeMode Block, but is specified in volumeMounts"));
    }
    if !block && as_device {
        return Err(format!("volume {name} has volumeMode Filesystem, but is specified in volumeDevices"));
    }
    match (&spec.host_path, &spec.local) {
        (Some(found), _) if !block => {
            let kind = found.type_.clone().unwrap_or_default();
            Ok((Source::HostPath { path: found.path.clone(), kind }, false))
        }
        (_, Some(found)) => Ok((Source::Local { path: found.path.clone().into() }, block)),
        _ => Err("no volume plugin matched".into()),
    }
}

/// How the device of a local volume is mounted.
pub(crate) fn device(volume: &PersistentVolume, path: PathBuf, read_only: bool) -> Device {
    let spec = volume.spec.clone().unwrap_or_default();
    let options = read_only.then(|| "ro".to_owned()).into_iter().chain(spec.mount_options.into_iter().flatten());
    Device {
        volume: volume.metadata.name.clone().unwrap_or_default(),
        path,
        fs_type: spec.local.and_then(|local| local.fs_type).filter(|kind| !kind.is_empty()).unwrap_or("ext4".into()),
        options: options.collect(),
    }
}

/// Whether any container mounts the volume, and whether any has it as a device.
fn uses(pod: &Pod, name: &str) -> (bool, bool) {
    let spec = pod::spec(pod);
    let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
    (
        containers().flat_map(|c| c.volume_mounts.iter().flatten()).any(|m| m.name == name),
        containers().flat_map(|c| c.volume_devices.iter().flatten()).any(|d| d.name == name),
    )
}
