//! A pod's volumes: made before its first container, kept up to date while it runs, taken away after its last.
//!
//! Everything lies under `<root>/pods/<uid>`, in upstream's layout, so that what is mounted can be found again, and cleaned up,
//! by a kubelet that knows nothing about the pod.

pub(crate) mod atomic_writer;
pub(crate) mod block;
pub(crate) mod claims;
pub(crate) mod content;
mod device;
pub(crate) mod host_path;
pub(crate) mod local;
pub(crate) mod mount;
pub(crate) mod mounts;
pub(crate) mod ownership;
mod quota;
pub(crate) mod subpath;

use crate::{
    container::resources::{self, Cpu},
    pod, quantity,
};
use component::supervisor;
use content::Sources;
use k8s_openapi::api::core::v1::{Pod, Volume};
use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A volume that is there.
#[derive(Debug, Clone)]
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
    pub(crate) read_only: bool,
    /// Written by the kubelet alone.
    pub(crate) managed: bool,
}

/// Why a volume is not there: its name and upstream's sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) volume: String,
    pub(crate) message: String,
}

pub(crate) type Volumes = HashMap<String, Mounted>;

/// `<root>/pods/<uid>`.
pub(crate) fn pod_dir(root: &Path, uid: &str) -> PathBuf {
    root.join("pods").join(uid)
}

/// Makes or refreshes all volumes of the pod.
pub(crate) async fn mount_all(
    root: &Path,
    pod: &Pod,
    sources: &Sources<'_>,
    claims: &claims::Claims,
) -> (Volumes, Vec<Fault>) {
    let (mut volumes, mut faults) = (Volumes::new(), Vec::new());
    for volume in pod::spec(pod).volumes.iter().flatten() {
        match mount_one(root, pod, volume, sources, claims).await {
            Ok(mounted) => drop(volumes.insert(volume.name.clone(), mounted)),
            Err(message) => faults.push(Fault { volume: volume.name.clone(), message }),
        }
    }
    (volumes, faults)
}

async fn mount_one(
    root: &Path,
    pod: &Pod,
    volume: &Volume,
    sources: &Sources<'_>,
    claims: &claims::Claims,
) -> Result<Mounted, String> {
    let base = pod_dir(root, pod::uid(pod)).join("volumes");
    let place = |plugin: &str| base.join(format!("kubernetes.io~{plugin}")).join(&volume.name);
    let context = pod::spec(pod).security_context.clone().unwrap_or_default();
    let group = context.fs_group;
    if let Some(payload) = content::content(pod, volume, sources).await {
        let payload = payload?;
        let (path, memory) = if volume.config_map.is_some() {
            (place("configmap"), false)
        } else if volume.secret.is_some() {
            (place("secret"), true)
        } else if volume.downward_api.is_some() {
            (place("downward-api"), true)
        } else {
            (place("projected"), true)
        };
        let target = path.clone();
        let limit = memory_size(pod, None, sources.facts.memory_bytes);
        let work = move || -> io::Result<()> {
            empty_dir(&target, memory, limit)?;
            atomic_writer::write(&target, &payload, |fresh| {
                group.map_or(Ok(()), |group| ownership::give(fresh, group, true))
            })?;
            group.map_or(Ok(()), |group| give_root(&target, group))
        };
        blocking(work).await?;
        return Ok(Mounted { path, read_only: true, managed: true });
    }
    if let Some(source) = &volume.empty_dir {
        let path = place("empty-dir");
        let memory = source.medium.as_deref() == Some("Memory");
        let limit = memory_size(pod, source.size_limit.as_ref().map(quantity::value), sources.facts.memory_bytes);
        let target = path.clone();
        let work = move || -> io::Result<()> {
            empty_dir(&target, memory, limit)?;
            match group {
                Some(group) if !ownership::matches(&target, group) => ownership::give(&target, group, false),
                _ => Ok(()),
            }
        };
        blocking(work).await?;
        return Ok(Mounted { path, read_only: false, managed: false });
    }
    if let Some(source) = &volume.host_path {
        let (path, kind) = (source.path.clone(), source.type_.clone().unwrap_or_default());
        supervisor::blocking("volume", move || host_path::prepare(&path, &kind)).await.map_err(|e| e.to_string())??;
        return Ok(Mounted { path: PathBuf::from(&source.path), read_only: false, managed: false });
    }
    let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some((source.claim_name.clone(), source.read_only == Some(true))),
        (_, Some(_)) => Some((format!("{}-{}", pod::name(pod), volume.name), false)),
        _ => None,
    };
    if let Some((claim, read_only)) = claim {
        return claimed(root, pod, &volume.name, (&claim, read_only), group, claims).await;
    }
    Err("no volume plugin matched".into())
}

/// A volume that a claim is bound to.
async fn claimed(
    root: &Path,
    pod: &Pod,
    name: &str,
    (claim, read_only): (&str, bool),
    group: Option<i64>,
    claims: &claims::Claims,
) -> Result<Mounted, String> {
    let volume = claims.volume(pod::namespace(pod), claim).await?;
    let (path, alone) = match claims::source(pod, name, &volume)? {
        (claims::Source::HostPath { path, kind }, _) => {
            let target = path.clone();
            let prepare = move || host_path::prepare(&target, &kind);
            supervisor::blocking("volume", prepare).await.map_err(|e| e.to_string())??;
            // It is the node's, and keeps its owners whatever group the pod has (pkg/volume/hostpath).
            return Ok(Mounted { path: path.into(), read_only, managed: false });
        }
        (claims::Source::Local { path }, block) => {
            let target = path.clone();
            if block {
                let (pod_dir, name) = (pod_dir(root, pod::uid(pod)), volume.metadata.name.unwrap_or_default());
                let work = move || block::attach(&pod_dir, &name, &target);
                let path = supervisor::blocking("volume", work).await.map_err(|e| e.to_string())?;
                let path = path.map_err(|e| e.to_string())?;
                return Ok(Mounted { path, read_only, managed: false });
            }
            match fs::metadata(&target).map(|found| found.file_type()) {
                Ok(found) if found.is_dir() => (path, true),
                Ok(found) if found.is_block_device() => {
                    let device = claims::device(&volume, target, read_only);
                    let (root, uid) = (root.to_owned(), pod::uid(pod).to_owned());
                    let work = move || device::attach(&root, &uid, &device);
                    let attached = supervisor::blocking("volume", work).await.map_err(|e| e.to_string())?;
                    attached.map_err(|e| e.to_string())?
                }
                Ok(_) => return Err("only directory and block device are supported".into()),
                Err(_) => return Err(format!("path {:?} does not exist", target.display())),
            }
        }
    };
    if let Some(group) = group.filter(|g| alone && !read_only && !ownership::matches(&path, *g)) {
        let target = path.clone();
        blocking(move || ownership::give(&target, group, false)).await?;
    }
    Ok(Mounted { path, read_only, managed: false })
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), String> {
    supervisor::blocking("volume", work).await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

fn give_root(target: &Path, group: i64) -> io::Result<()> {
    let group = u32::try_from(group).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    std::os::unix::fs::lchown(target, None, Some(group))?;
    let mode = fs::metadata(target)?.permissions().mode();
    fs::set_permissions(target, fs::Permissions::from_mode(mode & 0o7777 | 0o2777))
}

/// How large a volume in memory may grow, in bytes: as its limit, the pod's limit of memory or the node's allocatable memory
/// says, whichever is least. Its content counts as the pod's memory: with more room it would only get the pod killed.
/// Upstream: pkg/volume/emptydir, calculateEmptyDirMemorySize.
fn memory_size(pod: &Pod, own_limit: Option<i64>, allocatable: i64) -> i64 {
    let pod_limit = resources::pod_resources(pod, Cpu::default()).memory_limit_bytes;
    [pod_limit, own_limit].into_iter().flatten().filter(|limit| *limit > 0).fold(allocatable, i64::min)
}

/// A folder that everybody may write, in memory if wished: that has the sticky bit, which a file system in memory begins with and
/// upstream leaves where it is (pkg/volume/emptydir, setupDir).
fn empty_dir(target: &Path, memory: bool, limit_bytes: i64) -> io::Result<()> {
    if target.is_dir() && (!memory || mount::is_mount_point(target)) {
        return Ok(());
    }
    fs::create_dir_all(target)?;
    let mode = match memory {
        true => mount::tmpfs(target, limit_bytes).map(|()| 0o1777)?,
        false => 0o777,
    };
    fs::set_permissions(target, fs::Permissions::from_mode(mode))
}

/// Takes everything of a pod away: mounts first, so that nothing behind them is deleted. It may wait for a file system that
/// does not answer: never on a thread that runs tasks.
pub(crate) fn remove_pod_dir(root: &Path, uid: &str) -> io::Result<()> {
    let folder = pod_dir(root, uid);
    #[cfg(test)]
    tests::note_removal(&folder);
    if !folder.exists() {
        return Ok(());
    }
    mount::unmount_below(&folder)?;
    let remove = || match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    device::detach(root, &folder, || block::detach(root, &folder, remove))
}

/// The uids that have a folder.
pub(crate) fn known_pods(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("pods")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
pub(crate) mod tests;
