//! What a kubelet is told: upstream's `KubeletConfiguration` file and flags, made into one value.

mod file;
pub(crate) mod flags;

pub use file::{Authentication, Authorization, KubeletConfiguration, Span, Taint};

use anyhow::Context;
use component::{feature_gates::FeatureGates, tls::Rotating};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::{net::IpAddr, path::PathBuf, sync::Arc};

/// A kubelet's settings. `Default` is upstream's.
#[derive(Debug, Clone)]
pub struct Config {
    /// Features that are switched.
    pub feature_gates: FeatureGates,
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
    /// Folder of the node's certificates; without one nothing is kept, and nothing asked for.
    pub cert_dir: Option<PathBuf>,
    /// The certificate of the port, renewed by whoever gives it; before everything else that says one.
    pub serving: Option<Arc<Rotating>>,
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
        let hostname = nix::unistd::gethostname()
            .map(|h| h.to_string_lossy().trim().to_lowercase())
            .unwrap_or_else(|_| "localhost".into());
        Self {
            feature_gates: FeatureGates::default(),
            node_name: hostname.clone(),
            hostname,
            node_ips: Vec::new(),
            root_dir: "/var/lib/kubelet".into(),
            file: KubeletConfiguration::default(),
            node_labels: Vec::new(),
            cert_dir: None,
            serving: None,
            serving_pem: None,
            client_ca_pem: None,
            container_log_dir: Some("/var/log/containers".into()),
            node_log_dir: "/var/log".into(),
            serve_healthz: true,
            pinned_images: Vec::new(),
        }
    }
}

impl std::str::FromStr for Taint {
    type Err = anyhow::Error;

    /// As `--register-with-taints` has it: `key=value:effect`.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (pair, effect) = text.rsplit_once(':').with_context(|| format!("invalid taint spec: {text}"))?;
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok(Self { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() })
    }
}

impl Config {
    /// Gives a new node a label, as `--node-labels` has it.
    ///
    /// # Errors
    /// It is not `key=value`.
    pub fn add_label(&mut self, label: &str) -> anyhow::Result<()> {
        let (key, value) = label.split_once('=').with_context(|| {
            format!("invalid argument {label:?} for \"--node-labels\" flag: {label} must be formatted as key=value")
        })?;
        self.node_labels.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// What `systemReserved` and `kubeReserved` keep from pods, in thousandths.
    pub(crate) fn reserved(&self, name: &str) -> i64 {
        let lists = [&self.file.system_reserved, &self.file.kube_reserved];
        let texts = lists.into_iter().filter_map(|list| list.get(name));
        texts.map(|text| crate::quantity::milli(&Quantity(text.clone()))).sum()
    }
}
