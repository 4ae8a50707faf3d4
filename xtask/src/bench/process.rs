//! What processes cost, as the kernel counts it in /proc.

use std::time::Duration;

/// The kernel counts CPU in hundredths of a second on every Linux that Ferry runs on.
const TICK: Duration = Duration::from_millis(10);

/// The processes of one server: itself, and its etcd where it has one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes(Vec<u32>);

impl Processes {
    pub(crate) fn new(pids: &[u32]) -> Self {
        Self(pids.to_vec())
    }

    /// CPU that each used since it started, user and system; `None` where no process is known.
    pub(crate) fn cpu(&self) -> Option<Vec<Duration>> {
        (!self.0.is_empty()).then(|| self.0.iter().map(|pid| cpu(&pid.to_string())).collect())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.iter().map(|pid| status(*pid, "VmRSS:")).sum())
    }

    /// The most that was resident, in bytes.
    pub(crate) fn peak(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.iter().map(|pid| status(*pid, "VmHWM:")).sum())
    }

    /// Makes `peak` count from now.
    pub(crate) fn reset_peak(&self) {
        for pid in &self.0 {
            // Only for processes of the same user; elsewhere the peak is since the start.
            drop(std::fs::write(format!("/proc/{pid}/clear_refs"), "5"));
        }
    }
}

/// CPU of this process.
pub(crate) fn own_cpu() -> Duration {
    cpu("self")
}

fn cpu(pid: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may hold anything, so fields are counted from behind it: state is the third.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|f| f.parse::<u32>().ok()).sum();
    TICK * ticks
}

fn status(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}
