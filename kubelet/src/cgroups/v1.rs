//! One tree a controller.

use super::{Usage, below, keyed, limit_in, number};
use crate::container::resources::PodResources;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const WANTED: &[&str] = &[
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "pids",
    "blkio",
    "devices",
    "freezer",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "systemd",
];

pub(super) fn controllers(base: &Path) -> Vec<(String, PathBuf)> {
    WANTED.iter().map(|name| ((*name).to_owned(), base.join(name))).filter(|(_, path)| path.is_dir()).collect()
}

pub(super) fn make(controllers: &[(String, PathBuf)], path: &str) -> io::Result<()> {
    for (name, base) in controllers {
        let folder = below(base, path);
        if name == "cpuset" {
            cpuset(base, &folder)?;
        } else if let Err(error) = fs::create_dir_all(&folder) {
            // A controller that is not ours to use does not stop the node.
            if matches!(name.as_str(), "cpu" | "memory") {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// A new group of this controller holds no processor until it is given some, its parents first.
fn cpuset(base: &Path, folder: &Path) -> io::Result<()> {
    if folder == base || folder.is_dir() && !fs::read_to_string(folder.join("cpuset.cpus"))?.trim().is_empty() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        cpuset(base, parent)?;
        fs::create_dir_all(folder)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            fs::write(folder.join(file), fs::read_to_string(parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

fn folder(controllers: &[(String, PathBuf)], name: &str, path: &str) -> Option<PathBuf> {
    controllers.iter().find(|(n, _)| n == name).map(|(_, base)| below(base, path))
}

pub(super) fn limit(controllers: &[(String, PathBuf)], path: &str, resources: PodResources) -> io::Result<()> {
    if let Some(cpu) = folder(controllers, "cpu", path) {
        fs::write(cpu.join("cpu.shares"), resources.cpu_shares.to_string())?;
        if let Some(quota) = resources.cpu_quota_us {
            fs::write(cpu.join("cpu.cfs_period_us"), resources.cpu_period_us.to_string())?;
            fs::write(cpu.join("cpu.cfs_quota_us"), quota.to_string())?;
        }
    }
    if let (Some(memory), Some(limit)) = (folder(controllers, "memory", path), resources.memory_limit_bytes) {
        fs::write(memory.join("memory.limit_in_bytes"), limit.to_string())?;
    }
    Ok(())
}

pub(super) fn usage(controllers: &[(String, PathBuf)], path: &str) -> Usage {
    let cpu_ns = folder(controllers, "cpuacct", path).map_or(0, |f| number(&f.join("cpuacct.usage")));
    let processes = folder(controllers, "pids", path).map_or(0, |f| number(&f.join("pids.current")));
    let Some(memory) = folder(controllers, "memory", path) else {
        return Usage { cpu_ns, processes, ..Usage::default() };
    };
    let used = number(&memory.join("memory.usage_in_bytes"));
    let stat = memory.join("memory.stat");
    Usage {
        cpu_ns,
        memory_bytes: used,
        working_set_bytes: used.saturating_sub(keyed(&stat, "total_inactive_file")),
        rss_bytes: keyed(&stat, "total_rss"),
        memory_limit_bytes: limit_in(&memory.join("memory.limit_in_bytes")),
        swap_bytes: keyed(&stat, "total_swap"),
        // Of memory and swap together: cAdvisor's own.
        swap_limit_bytes: limit_in(&memory.join("memory.memsw.limit_in_bytes")),
        page_faults: keyed(&stat, "total_pgfault"),
        major_page_faults: keyed(&stat, "total_pgmajfault"),
        processes,
    }
}
