//! The volumes of a pod, as far as they matter for where it may run: claims, and storage that is named in the pod itself.
//!
//! Most pods have none of these, and then nothing is kept.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeSpec, Pod, Volume};

use super::labels::Interner;

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodClaim {
    /// The claim's name.
    pub name: Arc<str>,
    /// It is made for the pod (a generic ephemeral volume).
    pub ephemeral: bool,
}

/// A disk named in the pod itself that not everybody can have at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// A GCE persistent disk, by name.
    Gce(String, ReadOnly),
    /// An AWS elastic block store volume, by its id.
    Aws(String),
    /// An iSCSI disk, by its target.
    Iscsi(String, ReadOnly),
    /// A Ceph block device: monitors, pool, image.
    Rbd(Vec<String>, String, String, ReadOnly),
}

/// Whether the pod only reads the disk.
type ReadOnly = bool;

impl Disk {
    fn of(volume: &Volume) -> impl Iterator<Item = Self> {
        let gce = volume.gce_persistent_disk.as_ref();
        let gce = gce.map(|disk| Self::Gce(disk.pd_name.clone(), disk.read_only.unwrap_or_default()));
        let aws = volume.aws_elastic_block_store.as_ref().map(|disk| Self::Aws(disk.volume_id.clone()));
        let iscsi = volume.iscsi.as_ref();
        let iscsi = iscsi.map(|disk| Self::Iscsi(disk.iqn.clone(), disk.read_only.unwrap_or_default()));
        let rbd = volume.rbd.as_ref().map(|disk| {
            let pool = disk.pool.clone().unwrap_or_default();
            Self::Rbd(disk.monitors.clone(), pool, disk.image.clone(), disk.read_only.unwrap_or_default())
        });
        gce.into_iter().chain(aws).chain(iscsi).chain(rbd)
    }

    /// Whether both are the same disk, and one of the two writes (or it can be attached only once).
    pub fn conflicts(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gce(a, a_reads), Self::Gce(b, b_reads)) | (Self::Iscsi(a, a_reads), Self::Iscsi(b, b_reads)) => {
                a == b && !(*a_reads && *b_reads)
            }
            (Self::Aws(a), Self::Aws(b)) => a == b,
            (Self::Rbd(a_monitors, a_pool, a_image, a_reads), Self::Rbd(b_monitors, b_pool, b_image, b_reads)) => {
                a_pool == b_pool
                    && a_image == b_image
                    && a_monitors.iter().any(|monitor| b_monitors.contains(monitor))
                    && !(*a_reads && *b_reads)
            }
            _ => false,
        }
    }
}

/// Storage of a plugin that was part of Kubernetes once, whose work a CSI driver does today (`csi-translation-lib`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTree {
    /// The driver.
    pub driver: &'static str,
    /// Which storage, as the driver names it.
    pub handle: Arc<str>,
    /// Whether nodes are told how many of these they can attach.
    pub counted: bool,
}

/// The plugins by name, their drivers, and whether volumes of theirs are counted.
const IN_TREE: [(&str, &str, bool); 7] = [
    ("kubernetes.io/aws-ebs", "ebs.csi.aws.com", true),
    ("kubernetes.io/azure-disk", "disk.csi.azure.com", true),
    ("kubernetes.io/azure-file", "file.csi.azure.com", false),
    ("kubernetes.io/cinder", "cinder.csi.openstack.org", true),
    ("kubernetes.io/gce-pd", "pd.csi.storage.gke.io", true),
    ("kubernetes.io/portworx-volume", "pxd.portworx.com", true),
    ("kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com", false),
];

/// The driver that does the work of a provisioner of a class, if that is a plugin of these, and whether it is counted.
pub fn successor(provisioner: &str) -> Option<(&'static str, bool)> {
    let found = IN_TREE.iter().find(|(plugin, ..)| *plugin == provisioner);
    found.map(|(_, driver, counted)| (*driver, *counted))
}

impl InTree {
    fn new(plugin: &str, handle: &str) -> Option<Self> {
        let (driver, counted) = successor(plugin)?;
        // AWS volumes are also named with their zone: aws://zone/vol-id.
        let handle = handle.strip_prefix("aws://").and_then(|rest| rest.rsplit('/').next()).unwrap_or(handle);
        Some(Self { driver, handle: Arc::from(handle), counted })
    }

    /// Of a volume in a pod.
    pub fn of_pod(volume: &Volume) -> Option<Self> {
        if let Some(disk) = &volume.aws_elastic_block_store {
            Self::new("kubernetes.io/aws-ebs", &disk.volume_id)
        } else if let Some(disk) = &volume.azure_disk {
            Self::new("kubernetes.io/azure-disk", &disk.disk_uri)
        } else if let Some(share) = &volume.azure_file {
            Self::new("kubernetes.io/azure-file", &share.share_name)
        } else if let Some(disk) = &volume.cinder {
            Self::new("kubernetes.io/cinder", &disk.volume_id)
        } else if let Some(disk) = &volume.gce_persistent_disk {
            Self::new("kubernetes.io/gce-pd", &disk.pd_name)
        } else if let Some(disk) = &volume.portworx_volume {
            Self::new("kubernetes.io/portworx-volume", &disk.volume_id)
        } else if let Some(disk) = &volume.vsphere_volume {
            Self::new("kubernetes.io/vsphere-volume", &disk.volume_path)
        } else {
            None
        }
    }

    /// Of a PersistentVolume.
    pub fn of_volume(spec: &PersistentVolumeSpec) -> Option<Self> {
        if let Some(disk) = &spec.aws_elastic_block_store {
            Self::new("kubernetes.io/aws-ebs", &disk.volume_id)
        } else if let Some(disk) = &spec.azure_disk {
            Self::new("kubernetes.io/azure-disk", &disk.disk_uri)
        } else if let Some(share) = &spec.azure_file {
            Self::new("kubernetes.io/azure-file", &share.share_name)
        } else if let Some(disk) = &spec.cinder {
            Self::new("kubernetes.io/cinder", &disk.volume_id)
        } else if let Some(disk) = &spec.gce_persistent_disk {
            Self::new("kubernetes.io/gce-pd", &disk.pd_name)
        } else if let Some(disk) = &spec.portworx_volume {
            Self::new("kubernetes.io/portworx-volume", &disk.volume_id)
        } else if let Some(disk) = &spec.vsphere_volume {
            Self::new("kubernetes.io/vsphere-volume", &disk.volume_path)
        } else {
            None
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct PodVolumes {
    /// Claims in order.
    pub claims: Box<[PodClaim]>,
    /// Disks.
    pub disks: Box<[Disk]>,
    /// Storage of former plugins.
    pub in_tree: Box<[InTree]>,
    /// Drivers of volumes that live and die with the pod.
    pub drivers: Box<[Arc<str>]>,
}

impl PodVolumes {
    /// Of a pod; `None` if there are none that matter.
    pub fn new(pod: &Pod, interner: &mut Interner) -> Option<Box<Self>> {
        let volumes = pod.spec.as_ref()?.volumes.as_deref().unwrap_or_default();
        let claims: Box<[_]> = volumes.iter().filter_map(|volume| claim(pod, volume)).collect();
        let disks: Box<[_]> = volumes.iter().flat_map(Disk::of).collect();
        let in_tree: Box<[_]> = volumes.iter().filter_map(InTree::of_pod).collect();
        let drivers: Box<[_]> =
            volumes.iter().filter_map(|volume| Some(interner.intern(&volume.csi.as_ref()?.driver))).collect();
        let none = claims.is_empty() && disks.is_empty() && in_tree.is_empty() && drivers.is_empty();
        (!none).then(|| Box::new(Self { claims, disks, in_tree, drivers }))
    }

    /// The claims that are not made for the pod, by name.
    pub fn lasting(&self) -> impl Iterator<Item = &Arc<str>> {
        self.claims.iter().filter(|claim| !claim.ephemeral).map(|claim| &claim.name)
    }
}

fn claim(pod: &Pod, volume: &Volume) -> Option<PodClaim> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(PodClaim { name: Arc::from(claim.claim_name.as_str()), ephemeral: false });
    }
    volume.ephemeral.as_ref()?;
    Some(PodClaim { name: Arc::from(volumes::claim_name(pod, &volume.name)), ephemeral: true })
}
