//! What a kubelet is told: upstream's `KubeletConfiguration` file and flags, made into one value.

mod file;
pub(crate) mod flags;

pub use file::{Authentication, Authorization, KubeletConfiguration, Span, Taint};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::{net::IpAddr, path::PathBuf, time::Duration};

/// A kubelet's settings. `Default` is upstream's.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name in the API; the host's name by default.
    pub node_name: String,
    /// The label `kubernetes.io/hostname`.
    pub hostname: String,
    /// Addresses to report; found out if empty.
    pub node_ips: Vec<IpAddr>,
    /// State of pods: volumes, termination messages.
    pub root_dir: PathBuf,
    /// Everything that the configuration file can say.
    pub file: KubeletConfiguration,
    /// Labels of a new node.
    pub node_labels: Vec<(String, String)>,
    /// Certificate and key as PEM text, in place of files; self-signed if neither is given.
    pub serving_pem: Option<(String, String)>,
    /// CA of client certificates as PEM text, in place of a file.
    pub client_ca_pem: Option<String>,
    /// Links to container logs, named after their pods; `None`: none are made.
    pub container_log_dir: Option<PathBuf>,
    /// The node's own logs, served at `/logs/`.
    pub node_log_dir: PathBuf,
    /// Whether the health port is served; several kubelets in one network namespace cannot share it.
    pub serve_healthz: bool,
    /// Tags of images that are never removed to free the disk.
    pub pinned_images: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let hostname =
            hostname::get().map(|h| h.to_string_lossy().trim().to_lowercase()).unwrap_or_else(|_| "localhost".into());
        Self {
            node_name: hostname.clone(),
            hostname,
            node_ips: Vec::new(),
            root_dir: "/var/lib/kubelet".into(),
            file: KubeletConfiguration::default(),
            node_labels: Vec::new(),
            serving_pem: None,
            client_ca_pem: None,
            container_log_dir: Some("/var/log/containers".into()),
            node_log_dir: "/var/log".into(),
            serve_healthz: true,
            pinned_images: Vec::new(),
        }
    }
}

impl Config {
    /// What `systemReserved` and `kubeReserved` keep from pods, in thousandths.
    pub(crate) fn reserved(&self, name: &str) -> i64 {
        let lists = [&self.file.system_reserved, &self.file.kube_reserved];
        let texts = lists.into_iter().filter_map(|list| list.get(name));
        texts.map(|text| crate::quantity::milli(&Quantity(text.clone()))).sum()
    }
}

/// What a duration of Go's can hold. Everything that is computed from one, here and in tokio, assumes no more.
const DURATION_LIMIT: Duration = Duration::from_nanos(i64::MAX as u64);

/// Go's durations: `10s`, `1m30s`, `1.5h`, `100ms`, `0`. A bare number is nanoseconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    parse(text).filter(|duration| *duration <= DURATION_LIMIT)
}

fn parse(text: &str) -> Option<Duration> {
    if let Ok(ns) = text.parse::<u64>() {
        return Some(Duration::from_nanos(ns));
    }
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("100ms", Some(100)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("x", None),
            ("5", Some(0)),
            // Go refuses what its 64 bits of nanoseconds cannot hold.
            ("2562047h", Some(9_223_369_200_000)),
            ("2562048h", None),
            ("99999999999999999999h", None),
            ("18446744073709551615", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), expected, "{text}");
        }
    }
}
