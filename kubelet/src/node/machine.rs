//! What this machine is and has. Upstream takes it from cAdvisor; here it is read from `/proc`, `/sys` and `/etc`.

use std::{fs, io, net::IpAddr, os::unix::fs::MetadataExt, path::Path};

#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    pub(crate) cpus: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) swap_bytes: i64,
    pub(crate) machine_id: String,
    pub(crate) system_uuid: String,
    pub(crate) boot_id: String,
    pub(crate) kernel: String,
    pub(crate) os_image: String,
    pub(crate) architecture: &'static str,
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A value of `/proc/meminfo` in bytes.
pub(crate) fn meminfo(name: &str) -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let row = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    row.and_then(|v| v.trim().trim_end_matches(" kB").trim().parse::<i64>().ok()).unwrap_or(0) * 1024
}

/// When the machine was started, in seconds since 1970; 0 where the kernel does not say.
pub(crate) fn booted_secs() -> i64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0)
}

impl Machine {
    pub(crate) fn read() -> Self {
        let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let pretty =
            os.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"').to_owned();
        let mut machine_id = line("/etc/machine-id");
        if machine_id.is_empty() {
            machine_id = line("/var/lib/dbus/machine-id");
        }
        let uuid = line("/sys/class/dmi/id/product_uuid");
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as i64),
            memory_bytes: meminfo("MemTotal"),
            swap_bytes: meminfo("SwapTotal"),
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
            machine_id,
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel: line("/proc/sys/kernel/osrelease"),
            os_image: pretty,
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        }
    }
}

/// A file system's figures in bytes and inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) capacity: u64,
    pub(crate) available: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_free: u64,
}

/// Bytes of the node's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: i64,
    pub(crate) available: i64,
}

/// The kernel's tasks: how many there may be, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tasks {
    pub(crate) limit: i64,
    pub(crate) running: i64,
}

/// What is measured anew each time; passed in, so that a test says what a full disk or a short memory would.
pub(crate) trait Gauges: Send + Sync {
    fn memory(&self) -> Memory;
    fn disk(&self, path: &Path) -> io::Result<Disk>;
    /// Equal for paths on one file system.
    fn device(&self, path: &Path) -> io::Result<u64>;
    fn tasks(&self) -> Option<Tasks>;
}

/// This machine's own.
pub(crate) struct Kernel;

impl Gauges for Kernel {
    fn memory(&self) -> Memory {
        Memory { total: meminfo("MemTotal"), available: meminfo("MemAvailable") }
    }

    fn disk(&self, path: &Path) -> io::Result<Disk> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        Ok(Disk {
            capacity: stat.blocks() * stat.fragment_size(),
            available: stat.blocks_available() * stat.fragment_size(),
            inodes: stat.files(),
            inodes_free: stat.files_free(),
        })
    }

    fn device(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.dev())
    }

    /// Upstream: pkg/kubelet/stats/pidlimit.
    fn tasks(&self) -> Option<Tasks> {
        let limits = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];
        let limit = limits.iter().filter_map(|file| line(file).parse().ok()).min()?;
        let load = line("/proc/loadavg");
        let running = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
        Some(Tasks { limit, running })
    }
}

/// The address of the interface that the default route uses.
pub(crate) fn default_address() -> Option<IpAddr> {
    // No packet is sent: the kernel picks the source address when a datagram socket is connected.
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("198.51.100.1", 9)).ok()?;
    socket.local_addr().ok().map(|a| a.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
}
