//! The kernel's connection tracking limits, raised as upstream does. In a network namespace most can't be written: that
//! is said once, and is no reason not to run.

use std::time::Duration;

/// What to set; nothing where zero or `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conntrack {
    /// Connections per core.
    pub max_per_core: u32,
    /// At least this many.
    pub min: u32,
    /// Idle established TCP connections.
    pub tcp_established: Option<Duration>,
    /// Half-closed TCP connections.
    pub tcp_close_wait: Option<Duration>,
    /// Do not drop out-of-window packets.
    pub tcp_be_liberal: bool,
    /// UDP without an answer.
    pub udp: Option<Duration>,
    /// UDP with answers.
    pub udp_stream: Option<Duration>,
}

impl Default for Conntrack {
    fn default() -> Self {
        Conntrack {
            max_per_core: 32_768,
            min: 131_072,
            tcp_established: Some(Duration::from_secs(24 * 3600)),
            tcp_close_wait: Some(Duration::from_secs(3600)),
            tcp_be_liberal: false,
            udp: None,
            udp_stream: None,
        }
    }
}

impl Conntrack {
    /// The values to write, by the name under `net.netfilter`.
    fn values(&self, cores: u32) -> Vec<(&'static str, u64)> {
        let max = match self.max_per_core {
            0 => 0,
            per_core => u64::from(per_core.saturating_mul(cores).max(self.min)),
        };
        let seconds = |duration: Option<Duration>| duration.map_or(0, |d| d.as_secs());
        let all = [
            ("nf_conntrack_max", max),
            ("nf_conntrack_tcp_timeout_established", seconds(self.tcp_established)),
            ("nf_conntrack_tcp_timeout_close_wait", seconds(self.tcp_close_wait)),
            ("nf_conntrack_tcp_be_liberal", u64::from(self.tcp_be_liberal)),
            ("nf_conntrack_udp_timeout", seconds(self.udp)),
            ("nf_conntrack_udp_timeout_stream", seconds(self.udp_stream)),
        ];
        all.into_iter().filter(|(_, value)| *value > 0).collect()
    }

    /// Sets what differs.
    pub fn apply(&self) {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        let mut failed = Vec::new();
        for (name, value) in self.values(cores) {
            let path = format!("/proc/sys/net/netfilter/{name}");
            let now = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok());
            if now != Some(value) && std::fs::write(&path, value.to_string()).is_err() {
                failed.push(name);
            }
        }
        if !failed.is_empty() {
            tracing::info!(
                "connection tracking keeps the kernel's own limits here: {} can't be set",
                failed.join(", ")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_sets_nothing() {
        assert_eq!(
            Conntrack::default().values(2),
            [
                ("nf_conntrack_max", 131_072),
                ("nf_conntrack_tcp_timeout_established", 86_400),
                ("nf_conntrack_tcp_timeout_close_wait", 3600)
            ]
        );
        let none =
            Conntrack { max_per_core: 0, min: 0, tcp_established: None, tcp_close_wait: None, ..Conntrack::default() };
        assert_eq!(none.values(2), []);
    }
}
