//! Volume plugins that were in Kubernetes once, and the CSI drivers that do their work.
//!
//! Upstream: `csi-translation-lib` and `pkg/volume/csimigration`: all of them have been taken over.

use k8s_openapi::api::core::v1::PersistentVolume;

const MIGRATED: &[(&str, &str)] = &[
    ("kubernetes.io/aws-ebs", "ebs.csi.aws.com"),
    ("kubernetes.io/gce-pd", "pd.csi.storage.gke.io"),
    ("kubernetes.io/cinder", "cinder.csi.openstack.org"),
    ("kubernetes.io/azure-disk", "disk.csi.azure.com"),
    ("kubernetes.io/azure-file", "file.csi.azure.com"),
    ("kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"),
    ("kubernetes.io/portworx-volume", "pxd.portworx.com"),
];

/// The driver that does the work of a plugin.
pub(crate) fn driver_of(plugin: &str) -> Option<&'static str> {
    MIGRATED.iter().find(|(name, _)| *name == plugin).map(|(_, driver)| *driver)
}

/// The plugin of the past that the volume is of, and its driver.
pub(crate) fn of_volume(volume: &PersistentVolume) -> Option<(&'static str, &'static str)> {
    let spec = volume.spec.as_ref()?;
    let sources = [
        spec.aws_elastic_block_store.is_some(),
        spec.gce_persistent_disk.is_some(),
        spec.cinder.is_some(),
        spec.azure_disk.is_some(),
        spec.azure_file.is_some(),
        spec.vsphere_volume.is_some(),
        spec.portworx_volume.is_some(),
    ];
    MIGRATED.iter().zip(sources).find(|(_, is)| *is).map(|(plugin, _)| *plugin)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_plugin_of_the_past_has_a_driver() {
        let check = |source: Value, plugin: &str, driver: &str| {
            let volume = serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": source})).unwrap();
            assert_eq!(of_volume(&volume), Some((plugin, driver)));
            assert_eq!(driver_of(plugin), Some(driver));
        };
        check(json!({"awsElasticBlockStore": {"volumeID": "x"}}), "kubernetes.io/aws-ebs", "ebs.csi.aws.com");
        check(json!({"gcePersistentDisk": {"pdName": "x"}}), "kubernetes.io/gce-pd", "pd.csi.storage.gke.io");
        check(json!({"cinder": {"volumeID": "x"}}), "kubernetes.io/cinder", "cinder.csi.openstack.org");
        let disk = json!({"azureDisk": {"diskName": "x", "diskURI": "y"}});
        check(disk, "kubernetes.io/azure-disk", "disk.csi.azure.com");
        let file = json!({"azureFile": {"secretName": "x", "shareName": "y"}});
        check(file, "kubernetes.io/azure-file", "file.csi.azure.com");
        let vsphere = json!({"vsphereVolume": {"volumePath": "x"}});
        check(vsphere, "kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com");
        check(json!({"portworxVolume": {"volumeID": "x"}}), "kubernetes.io/portworx-volume", "pxd.portworx.com");
        let volume =
            json!({"metadata": {"name": "v"}, "spec": {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "h"}}});
        assert_eq!(of_volume(&serde_json::from_value(volume).unwrap()), None);
        assert_eq!(driver_of("kubernetes.io/host-path"), None);
    }
}
