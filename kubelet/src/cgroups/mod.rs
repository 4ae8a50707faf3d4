//! Pod cgroups, in the layout of upstream's cgroupfs driver: `<root>/kubepods[/burstable|/besteffort]/pod<uid>`.
//!
//! cgroup v1, also mounted hybrid, has a tree a controller; v2 has one tree. The files' names and units differ, the layout does not.

mod v1;
mod v2;

use crate::container::resources::PodResources;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The hierarchy of this machine.
#[derive(Debug, Clone)]
enum Hierarchy {
    /// Mount point of each controller's tree.
    V1(Vec<(String, PathBuf)>),
    V2(PathBuf),
}

#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    hierarchy: Hierarchy,
    /// `cgroupRoot`, without slashes at its ends; empty for the top.
    root: String,
}

impl Cgroups {
    /// Looks at what is mounted under `/sys/fs/cgroup`.
    pub(crate) fn detect(root: &str) -> Self {
        let base = Path::new("/sys/fs/cgroup");
        let hierarchy = if base.join("cgroup.controllers").exists() {
            Hierarchy::V2(base.to_owned())
        } else {
            Hierarchy::V1(v1::controllers(base))
        };
        Self { hierarchy, root: root.trim_matches('/').to_owned() }
    }

    /// One tree at any place, whose files a test writes.
    #[cfg(test)]
    pub(crate) fn at(base: &Path) -> Self {
        Self { hierarchy: Hierarchy::V2(base.to_owned()), root: String::new() }
    }

    /// The path that the runtime is given as the sandbox's parent.
    pub(crate) fn pod_path(&self, class: &str, uid: &str) -> String {
        let middle = match class {
            "Guaranteed" => String::new(),
            other => format!("/{}", other.to_lowercase()),
        };
        format!("{}/kubepods{middle}/pod{uid}", self.prefix())
    }

    fn prefix(&self) -> String {
        if self.root.is_empty() { String::new() } else { format!("/{}", self.root) }
    }

    /// Makes the parents of all pods.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        for middle in ["", "/burstable", "/besteffort"] {
            let path = format!("{}/kubepods{middle}", self.prefix());
            self.make(&path)?;
        }
        // Best effort gets what is left; burstable's share follows its pods' and is left at the kernel's default here.
        let least =
            PodResources { cpu_shares: 2, cpu_quota_us: None, cpu_period_us: 100_000, memory_limit_bytes: None };
        self.limit(&format!("{}/kubepods/besteffort", self.prefix()), least)
    }

    pub(crate) fn create_pod(&self, class: &str, uid: &str, resources: PodResources) -> io::Result<()> {
        let path = self.pod_path(class, uid);
        self.make(&path)?;
        self.limit(&path, resources)
    }

    fn make(&self, path: &str) -> io::Result<()> {
        match &self.hierarchy {
            Hierarchy::V1(controllers) => v1::make(controllers, path),
            Hierarchy::V2(base) => v2::make(base, path),
        }
    }

    fn limit(&self, path: &str, resources: PodResources) -> io::Result<()> {
        match &self.hierarchy {
            Hierarchy::V1(controllers) => v1::limit(controllers, path, resources),
            Hierarchy::V2(base) => v2::limit(base, path, resources),
        }
    }

    fn folders(&self, path: &str) -> Vec<PathBuf> {
        match &self.hierarchy {
            Hierarchy::V1(controllers) => controllers.iter().map(|(_, base)| below(base, path)).collect(),
            Hierarchy::V2(base) => vec![below(base, path)],
        }
    }

    /// Removes the pod's group, and what the runtime left below it. Busy means that a process of it still ends.
    pub(crate) fn remove_pod(&self, uid: &str) -> io::Result<()> {
        for class in ["Guaranteed", "Burstable", "BestEffort"] {
            for folder in self.folders(&self.pod_path(class, uid)) {
                remove_tree(&folder)?;
            }
        }
        Ok(())
    }

    /// Uids of pods that have a group.
    pub(crate) fn pods(&self) -> Vec<String> {
        let mut uids = Vec::new();
        for middle in ["", "/burstable", "/besteffort"] {
            for folder in self.folders(&format!("{}/kubepods{middle}", self.prefix())) {
                for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                    uids.extend(entry.file_name().to_string_lossy().strip_prefix("pod").map(str::to_owned));
                }
            }
        }
        uids.sort();
        uids.dedup();
        uids
    }

    /// Figures of a pod's group.
    pub(crate) fn usage(&self, class: &str, uid: &str) -> Usage {
        let path = self.pod_path(class, uid);
        self.usage_at(&path)
    }

    /// Figures of a pod's group, whatever its class; `None` where it has none.
    pub(crate) fn usage_of_pod(&self, uid: &str) -> Option<Usage> {
        Some(self.usage_at(&self.found_pod(uid)?))
    }

    /// Figures of one container in the group of a pod, which is named by the container's id.
    pub(crate) fn usage_of_container(&self, uid: &str, id: &str) -> Option<Usage> {
        let path = format!("{}/{id}", self.found_pod(uid)?);
        self.folders(&path).iter().any(|folder| folder.is_dir()).then(|| self.usage_at(&path))
    }

    /// Some process of the pod.
    pub(crate) fn process_of_pod(&self, uid: &str) -> Option<String> {
        self.folders(&self.found_pod(uid)?).iter().find_map(|folder| process_in(folder))
    }

    fn found_pod(&self, uid: &str) -> Option<String> {
        let paths = ["Burstable", "BestEffort", "Guaranteed"].map(|class| self.pod_path(class, uid));
        paths.into_iter().find(|path| self.folders(path).iter().any(|folder| folder.is_dir()))
    }

    /// Figures of all pods together.
    pub(crate) fn pods_usage(&self) -> Usage {
        self.usage_at(&format!("{}/kubepods", self.prefix()))
    }

    /// Figures of the whole machine, also of what runs beside `cgroupRoot`.
    pub(crate) fn node_usage(&self) -> Usage {
        match &self.hierarchy {
            Hierarchy::V1(controllers) => v1::usage(controllers, "/"),
            Hierarchy::V2(base) => v2::usage_of_root(base, Path::new("/proc/meminfo")),
        }
    }

    fn usage_at(&self, path: &str) -> Usage {
        match &self.hierarchy {
            Hierarchy::V1(controllers) => v1::usage(controllers, path),
            Hierarchy::V2(base) => v2::usage(base, path),
        }
    }
}

/// CPU in nanoseconds, memory and swap in bytes, and how many processes there are. A limit is `None` where there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_ns: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) working_set_bytes: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) memory_limit_bytes: Option<u64>,
    pub(crate) swap_bytes: u64,
    pub(crate) swap_limit_bytes: Option<u64>,
    pub(crate) page_faults: u64,
    pub(crate) major_page_faults: u64,
    pub(crate) processes: u64,
}

/// The first process of a group or of one below it.
fn process_in(folder: &Path) -> Option<String> {
    let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let first = own.lines().next().map(str::to_owned);
    first.or_else(|| {
        let below = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
        below.filter(|path| path.is_dir()).find_map(|path| process_in(&path))
    })
}

fn below(base: &Path, path: &str) -> PathBuf {
    base.join(path.trim_start_matches('/'))
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A file's number.
fn number(file: &Path) -> u64 {
    fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// A limit's number; `max`, and the largest that v1 can write, are none.
fn limit_in(file: &Path) -> Option<u64> {
    let limit: u64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < UNLIMITED).then_some(limit)
}

/// Upstream's `maxMemorySize`.
const UNLIMITED: u64 = 1 << 62;

/// A number from a file of `key value` lines; a unit may follow.
fn keyed(file: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.split_whitespace().next()?.parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}
