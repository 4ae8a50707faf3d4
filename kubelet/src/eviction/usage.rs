//! What pods use of memory, disk and process numbers. Upstream: the summary of pkg/kubelet/server/stats, as far as eviction
//! reads it.

use crate::{container::config::pod_log_dir, cri::labels, node_agent::Agent, pod, qos, volumes};
use component::supervisor;
use k8s_openapi::api::core::v1::{Pod, Volume};
use proto::cri;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Disk in bytes and inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) bytes: i64,
    pub(crate) inodes: i64,
}

impl std::ops::AddAssign for Disk {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

impl std::iter::Sum for Disk {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) working_set_bytes: i64,
    /// The writable layer.
    pub(crate) root: Disk,
    pub(crate) logs: Disk,
}

/// One pod's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) working_set_bytes: i64,
    pub(crate) processes: i64,
    pub(crate) containers: Vec<Container>,
    /// Of the volumes that are on the node's disk or in its memory and end with the pod.
    pub(crate) volumes: BTreeMap<String, Disk>,
    /// `/etc/hosts`, and logs that are no single container's.
    pub(crate) others: Disk,
}

/// By the pod's uid; without those of which nothing runs.
pub(crate) type Usages = HashMap<String, Usage>;

/// The volume is on the node's disk and ends with the pod. Upstream: pkg/volume/util, IsLocalEphemeralVolume.
pub(crate) fn is_local_ephemeral(volume: &Volume) -> bool {
    let on_disk = volume.empty_dir.as_ref().is_some_and(|e| e.medium.as_deref().unwrap_or_default().is_empty());
    on_disk || volume.config_map.is_some() || volume.git_repo.is_some()
}

impl Usage {
    /// Everything that counts against the pod's limit of ephemeral storage.
    pub(crate) fn ephemeral_storage(&self, pod: &Pod) -> Disk {
        let mut sum: Disk = self.containers.iter().flat_map(|c| [c.root, c.logs]).sum();
        let local = pod::spec(pod).volumes.iter().flatten().filter(|v| is_local_ephemeral(v));
        sum += local.filter_map(|v| self.volumes.get(&v.name)).copied().sum();
        sum += self.others;
        sum
    }
}

/// Asks the runtime, the kernel and, for the pods that `on_disk` picks, the disk.
pub(crate) async fn collect(
    agent: &Arc<Agent>,
    pods: &[Arc<Pod>],
    on_disk: impl Fn(&Pod) -> bool,
) -> crate::cri::Result<Usages> {
    let mut by_uid: HashMap<String, Vec<cri::ContainerStats>> = HashMap::new();
    for stats in agent.runtime.container_stats().await? {
        let uid = stats.attributes.as_ref().and_then(|a| a.labels.get(labels::POD_UID).cloned());
        by_uid.entry(uid.unwrap_or_default()).or_default().push(stats);
    }
    let wanted: Vec<(Arc<Pod>, Vec<cri::ContainerStats>, bool)> =
        pods.iter().filter_map(|pod| Some((pod.clone(), by_uid.remove(pod::uid(pod))?, on_disk(pod)))).collect();
    let agent = agent.clone();
    let work = move || {
        wanted.iter().map(|(pod, stats, disk)| (pod::uid(pod).to_owned(), one(&agent, pod, stats, *disk))).collect()
    };
    Ok(supervisor::blocking("usage of pods", work).await?)
}

fn one(agent: &Agent, pod: &Pod, stats: &[cri::ContainerStats], on_disk: bool) -> Usage {
    let group = agent.cgroups.usage(qos::class(pod), pod::uid(pod));
    let logs = PathBuf::from(pod_log_dir(&agent.config.file.pod_logs_dir, pod));
    let folder = volumes::pod_dir(&agent.config.root_dir, pod::uid(pod));
    let number = |value: &Option<cri::UInt64Value>| value.as_ref().map_or(0, |v| v.value as i64);
    let mut usage = Usage {
        working_set_bytes: group.working_set_bytes as i64,
        processes: group.processes as i64,
        ..Usage::default()
    };
    for container in stats {
        let name = container.attributes.as_ref().and_then(|a| a.labels.get(labels::CONTAINER_NAME));
        let Some(name) = name else { continue };
        let layer = container.writable_layer.clone().unwrap_or_default();
        usage.containers.push(Container {
            name: name.clone(),
            working_set_bytes: container.memory.as_ref().map_or(0, |m| number(&m.working_set_bytes)),
            root: Disk { bytes: number(&layer.used_bytes), inodes: number(&layer.inodes_used) },
            logs: if on_disk { used(&logs.join(name)) } else { Disk::default() },
        });
    }
    if !on_disk {
        return usage;
    }
    for volume in pod::spec(pod).volumes.iter().flatten() {
        let plugin = match (&volume.empty_dir, &volume.config_map) {
            (Some(_), _) => "kubernetes.io~empty-dir",
            (_, Some(_)) => "kubernetes.io~configmap",
            _ => continue,
        };
        usage.volumes.insert(volume.name.clone(), used(&folder.join("volumes").join(plugin).join(&volume.name)));
    }
    usage.others = used(&folder.join("etc-hosts"));
    for file in fs::read_dir(&logs).into_iter().flatten().flatten() {
        if file.file_type().is_ok_and(|t| t.is_file()) {
            usage.others += used(&file.path());
        }
    }
    usage
}

/// What a tree takes on its file system: blocks and inodes, a file with several names once. A path that is not there takes
/// nothing. Upstream: pkg/volume/util/fs, DiskUsage.
fn used(path: &Path) -> Disk {
    let Ok(top) = fs::metadata(path) else { return Disk::default() };
    let mut disk = Disk::default();
    // What cannot be read is not counted; the next look counts it.
    let _ = walk(path, top.dev(), &mut HashSet::new(), &mut disk);
    disk
}

fn walk(path: &Path, device: u64, links: &mut HashSet<u64>, disk: &mut Disk) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if meta.dev() != device || (meta.nlink() > 1 && !meta.is_dir() && !links.insert(meta.ino())) {
        return Ok(());
    }
    *disk += Disk { bytes: meta.blocks() as i64 * 512, inodes: 1 };
    if meta.is_dir() {
        for entry in fs::read_dir(path)?.flatten() {
            walk(&entry.path(), device, links, disk)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_once_whatever_its_names() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a"), vec![1; 10_000]).expect("written");
        fs::hard_link(folder.path().join("a"), folder.path().join("b")).expect("linked");
        std::os::unix::fs::symlink("/etc", folder.path().join("c")).expect("linked");
        let disk = used(folder.path());
        assert_eq!(disk.inodes, 3, "the folder, the file, the link");
        assert!((10_000..40_000).contains(&disk.bytes), "{disk:?}");
        assert_eq!(used(&folder.path().join("nothing")), Disk::default());
    }
}
