//! Who makes and deletes a volume: a provisioner elsewhere, almost always; the controller itself only what lies on its own
//! machine, and nobody what plugins did that were in Kubernetes once.
//!
//! Upstream: the plugins of `cmd/kube-controller-manager/app/plugins.go`, of which hostPath alone can delete.

use k8s_openapi::api::{core::v1::PersistentVolume, storage::v1::StorageClass};
use volumes::{
    annotations::{self, MIGRATED_TO, PROVISIONED_BY},
    csi_migration,
};

const HOST_PATH: &str = "kubernetes.io/host-path";
const NFS: &str = "kubernetes.io/nfs";
/// The names that plugins of Kubernetes have; all others are somebody else's.
pub(super) const IN_TREE: &str = "kubernetes.io/";

/// The provisioner that is asked for a volume of the class, which is never the controller itself.
///
/// # Errors
/// There is none, and why.
pub(super) fn provisioner(class: &StorageClass) -> Result<&str, String> {
    let name = class.provisioner.as_str();
    if let Some(driver) = csi_migration::driver_of(name) {
        return Ok(driver);
    }
    match name {
        HOST_PATH => Err(format!("Failed to create provisioner: provisioning in volume plugin {name:?} is disabled")),
        NFS => Err("no provisionable volume plugin matched".to_owned()),
        _ if name.starts_with(IN_TREE) => Err(format!("no volume plugin matched name: {name}")),
        _ => Ok(name),
    }
}

/// Who deletes what a volume stands for.
#[derive(Debug, PartialEq)]
pub(super) enum Deleter<'a> {
    /// A provisioner elsewhere.
    External,
    /// The controller, by removing this directory.
    Directory(&'a str),
}

/// Who deletes the volume: who made it, or who can.
///
/// # Errors
/// Nobody, and why.
pub(super) fn deleter(volume: &PersistentVolume) -> Result<Deleter<'_>, String> {
    let spec = volume.spec.as_ref();
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let path = || spec.and_then(|spec| spec.host_path.as_ref()).map(|source| source.path.as_str());
    match annotations::get(&volume.metadata, PROVISIONED_BY).filter(|name| !name.is_empty()) {
        Some(HOST_PATH) => {
            let why =
                || format!("failed to create deleter for volume {name:?}: spec.PersistentVolumeSource.HostPath is nil");
            return path().map(Deleter::Directory).ok_or_else(why);
        }
        Some(NFS) => return Err("no deletable volume plugin matched".to_owned()),
        Some(plugin) if plugin.starts_with(IN_TREE) => return Err(format!("no volume plugin matched name: {plugin}")),
        Some(_) => return Ok(Deleter::External),
        None => {}
    }
    if annotations::has(&volume.metadata, MIGRATED_TO) || spec.is_some_and(|spec| spec.csi.is_some()) {
        return Ok(Deleter::External);
    }
    if let Some(path) = path() {
        return Ok(Deleter::Directory(path));
    }
    let why = match spec.is_some_and(|spec| spec.nfs.is_some()) {
        true => "no deletable volume plugin matched",
        false => "no volume plugin matched",
    };
    Err(format!("error getting deleter volume plugin for volume {name:?}: {why}"))
}

/// Whether a pod can empty the volume.
pub(super) fn is_recyclable(volume: &PersistentVolume) -> bool {
    volume.spec.as_ref().is_some_and(|spec| spec.host_path.is_some() || spec.nfs.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_provisioner_is_somebody_else() {
        let check = |name: &str, want: Result<&str, &str>| {
            let class = serde_json::from_value(json!({"metadata": {}, "provisioner": name})).unwrap();
            assert_eq!(provisioner(&class), want.map_err(str::to_owned));
        };
        check("vendor.com/x", Ok("vendor.com/x"));
        check("ferry.dev/local", Ok("ferry.dev/local"));
        check("kubernetes.io/gce-pd", Ok("pd.csi.storage.gke.io"));
        check("kubernetes.io/no-provisioner", Err("no volume plugin matched name: kubernetes.io/no-provisioner"));
        check("kubernetes.io/nfs", Err("no provisionable volume plugin matched"));
        let disabled =
            "Failed to create provisioner: provisioning in volume plugin \"kubernetes.io/host-path\" is disabled";
        check("kubernetes.io/host-path", Err(disabled));
    }

    #[test]
    fn a_volume_is_deleted_by_who_made_it_or_by_who_can() {
        let check = |annotations: Value, source: Value, want: Result<Deleter<'_>, &str>| {
            let volume = json!({"metadata": {"name": "v", "annotations": annotations}, "spec": source});
            let volume = serde_json::from_value(volume).unwrap();
            assert_eq!(deleter(&volume), want.map_err(str::to_owned));
        };
        let path = || json!({"hostPath": {"path": "/tmp/x"}});
        let by = |name: &str| json!({PROVISIONED_BY: name});
        check(json!({}), path(), Ok(Deleter::Directory("/tmp/x")));
        check(by(""), path(), Ok(Deleter::Directory("/tmp/x")));
        check(by("kubernetes.io/host-path"), path(), Ok(Deleter::Directory("/tmp/x")));
        check(by("vendor.com/x"), path(), Ok(Deleter::External));
        check(by("kubernetes.io/other"), path(), Err("no volume plugin matched name: kubernetes.io/other"));
        check(json!({MIGRATED_TO: "x"}), path(), Ok(Deleter::External));
        let csi = json!({"csi": {"driver": "d", "volumeHandle": "h"}});
        check(json!({}), csi, Ok(Deleter::External));
        let none = "error getting deleter volume plugin for volume \"v\": no volume plugin matched";
        check(json!({}), json!({"local": {"path": "/x"}}), Err(none));
        let none = "error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched";
        check(json!({}), json!({"nfs": {"server": "s", "path": "/x"}}), Err(none));
    }
}
