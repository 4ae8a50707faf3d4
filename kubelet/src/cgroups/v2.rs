//! One tree; a group's children get the controllers that it hands on.

use super::{Usage, below, keyed, limit_in, number};
use crate::container::resources::PodResources;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const CONTROLLERS: &[&str] = &["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

pub(super) fn make(base: &Path, path: &str) -> io::Result<()> {
    let folder = below(base, path);
    fs::create_dir_all(&folder)?;
    let mut at = PathBuf::from(base);
    hand_on(&at);
    for part in Path::new(path.trim_start_matches('/')) {
        at.push(part);
        hand_on(&at);
    }
    Ok(())
}

/// A controller that the kernel or the parent lacks is simply not there.
fn hand_on(folder: &Path) {
    let available = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    for controller in CONTROLLERS.iter().filter(|c| available.split_whitespace().any(|a| a == **c)) {
        let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

pub(super) fn limit(base: &Path, path: &str, resources: PodResources) -> io::Result<()> {
    let folder = below(base, path);
    fs::write(folder.join("cpu.weight"), weight(resources.cpu_shares).to_string())?;
    if let Some(quota) = resources.cpu_quota_us {
        fs::write(folder.join("cpu.max"), format!("{quota} {}", resources.cpu_period_us))?;
    }
    if let Some(limit) = resources.memory_limit_bytes {
        fs::write(folder.join("memory.max"), limit.to_string())?;
    }
    Ok(())
}

/// Shares of v1, 2 to 262144, on v2's scale of 1 to 10000; the curve is runc's, which sends 1024 to 100.
fn weight(shares: i64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil() as u64
}

pub(super) fn usage(base: &Path, path: &str) -> Usage {
    let folder = below(base, path);
    let used = number(&folder.join("memory.current"));
    let stat = folder.join("memory.stat");
    Usage {
        cpu_ns: keyed(&folder.join("cpu.stat"), "usage_usec") * 1000,
        memory_bytes: used,
        working_set_bytes: used.saturating_sub(keyed(&stat, "inactive_file")),
        rss_bytes: keyed(&stat, "anon"),
        memory_limit_bytes: limit_in(&folder.join("memory.max")),
        swap_bytes: number(&folder.join("memory.swap.current")),
        swap_limit_bytes: limit_in(&folder.join("memory.swap.max")),
        page_faults: keyed(&stat, "pgfault"),
        major_page_faults: keyed(&stat, "pgmajfault"),
        processes: number(&folder.join("pids.current")),
    }
}

/// The same of the top, which the kernel does not count as a group: upstream (`opencontainers/cgroups`, `rootStatsFromMeminfo`)
/// takes what processes and files have for what is used, and swap from the kernel's figures of the machine.
pub(super) fn usage_of_root(base: &Path, meminfo: &Path) -> Usage {
    let stat = base.join("memory.stat");
    let used = keyed(&stat, "anon") + keyed(&stat, "file");
    let swap = keyed(meminfo, "SwapTotal:").saturating_sub(keyed(meminfo, "SwapFree:")) * 1024;
    Usage {
        memory_bytes: used,
        working_set_bytes: used.saturating_sub(keyed(&stat, "inactive_file")),
        swap_bytes: swap,
        ..usage(base, "/")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_whole_machine_is_what_processes_and_files_have() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
        write("cpu.stat", "usage_usec 3000\n");
        write("memory.stat", "anon 5000\nfile 3000\nslab 9000\ninactive_file 1000\npgfault 7\n");
        write("meminfo", "MemTotal:       16 kB\nSwapTotal:       8 kB\nSwapFree:        3 kB\n");
        let all = super::usage_of_root(dir.path(), &dir.path().join("meminfo"));
        assert_eq!((all.cpu_ns, all.memory_bytes, all.working_set_bytes), (3_000_000, 8000, 7000));
        assert_eq!((all.rss_bytes, all.swap_bytes, all.page_faults), (5000, 5120, 7));
    }

    #[test]
    fn weights() {
        for (shares, expected) in [(2, 1), (1024, 100), (262_144, 10_000)] {
            assert_eq!(super::weight(shares), expected, "{shares}");
        }
    }
}
