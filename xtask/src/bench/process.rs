//! What processes cost, as the kernel counts it in /proc.

use std::time::Duration;

/// The kernel counts CPU in hundredths of a second on every Linux that Ferry runs on.
const TICK: Duration = Duration::from_millis(10);

/// A process that is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    /// What it is of a cluster.
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
}

/// The processes under measurement, in the order in which they were started but for an etcd, which is behind its API server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes(Vec<Process>);

impl Processes {
    pub(crate) fn new(processes: Vec<Process>) -> Self {
        Self(processes)
    }

    /// The processes themselves.
    pub(crate) fn each(&self) -> &[Process] {
        &self.0
    }

    /// CPU that each used since it started, user and system; `None` where no process is known.
    pub(crate) fn cpu(&self) -> Option<Vec<Duration>> {
        (!self.0.is_empty()).then(|| self.0.iter().map(Process::cpu).collect())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.iter().map(Process::resident).sum())
    }

    /// The most that was resident, in bytes.
    pub(crate) fn peak(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.iter().map(Process::peak).sum())
    }

    /// Makes `peak` count from now.
    pub(crate) fn reset_peak(&self) {
        for Process { pid, .. } in &self.0 {
            // Only for processes of the same user; elsewhere the peak is since the start.
            drop(std::fs::write(format!("/proc/{pid}/clear_refs"), "5"));
        }
    }
}

impl Process {
    /// CPU since it started, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(&self.pid.to_string())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        status(self.pid, "VmRSS:")
    }

    /// The most that was resident, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        status(self.pid, "VmHWM:")
    }
}

/// A thread of this process.
#[derive(Debug, Clone)]
pub(crate) struct Thread(String);

impl Thread {
    /// The one that asks.
    pub(crate) fn current() -> anyhow::Result<Self> {
        let own = std::fs::read_link("/proc/thread-self")?;
        Ok(Self(own.to_string_lossy().into_owned()))
    }

    /// CPU that it used since it started.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(&self.0)
    }
}

/// CPU of this process.
pub(crate) fn own_cpu() -> Duration {
    cpu("self")
}

/// `pid` may also be `PID/task/TID`.
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
