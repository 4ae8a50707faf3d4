//! Upstream's kubelet flags. Flags win over the file.

use super::{Config, KubeletConfiguration};
use crate::certificates;
use anyhow::bail;
use component::{
    feature_gates::FeatureGates,
    flags::{Refuse, Unsupported, Warn},
};
use std::{net::IpAddr, path::PathBuf};

/// The node agent, with the flags of kubelet.
#[derive(clap::Args, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    feature_gates: component::feature_gates::Flag,
    /// A KubeletConfiguration file
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// How to reach the API server
    #[arg(long)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// How to ask for a certificate, where --kubeconfig has none that is good
    #[arg(long)]
    pub(crate) bootstrap_kubeconfig: Option<PathBuf>,
    /// Folder of the node's certificates
    #[arg(long, default_value = "/var/lib/kubelet/pki")]
    pub(crate) cert_dir: PathBuf,
    /// Renew the client certificate before it expires
    #[arg(long)]
    rotate_certificates: bool,
    /// Have the cluster sign the certificate of the node's port
    #[arg(long)]
    rotate_server_certificates: bool,
    /// The node's name, in place of the host's
    #[arg(long)]
    hostname_override: Option<String>,
    /// Folder of pods' volumes and state
    #[arg(long, default_value = "/var/lib/kubelet")]
    root_dir: PathBuf,
    /// Address, or two of different families, to report as the node's
    #[arg(long, value_delimiter = ',')]
    node_ip: Vec<IpAddr>,
    /// Labels of a new node: key=value,...
    #[arg(long, value_delimiter = ',')]
    node_labels: Vec<String>,
    /// Taints of a new node: key=value:effect,...
    #[arg(long, value_delimiter = ',')]
    register_with_taints: Vec<String>,
    /// Whether the node registers itself
    #[arg(long, default_value_t = true)]
    register_node: bool,
    /// Socket of the container runtime
    #[arg(long)]
    container_runtime_endpoint: Option<String>,
    /// Address to serve on
    #[arg(long)]
    address: Option<String>,
    /// Port to serve on
    #[arg(long)]
    port: Option<u16>,
    /// Port of /healthz; 0: none
    #[arg(long)]
    healthz_port: Option<u16>,
    /// Certificate to serve with
    #[arg(long)]
    tls_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long)]
    tls_private_key_file: Option<PathBuf>,
    /// Authority of client certificates
    #[arg(long)]
    client_ca_file: Option<PathBuf>,
    /// Whether callers without credentials reach authorization
    #[arg(long)]
    anonymous_auth: bool,
    /// Webhook or AlwaysAllow
    #[arg(long)]
    authorization_mode: Option<String>,
    /// Addresses of the cluster's DNS
    #[arg(long, value_delimiter = ',')]
    cluster_dns: Vec<String>,
    /// Domain of the cluster
    #[arg(long)]
    cluster_domain: Option<String>,
    /// The node's resolver file
    #[arg(long)]
    resolv_conf: Option<String>,
    /// Group under which pods' groups are made
    #[arg(long)]
    cgroup_root: Option<String>,
    /// cgroupfs
    #[arg(long)]
    cgroup_driver: Option<String>,
    /// Pods that the node takes
    #[arg(long)]
    max_pods: Option<i64>,
    /// Whether swap that is on stops the kubelet
    #[arg(long, default_value_t = true)]
    fail_swap_on: bool,
    /// Folder of pod manifests
    #[arg(long)]
    pod_manifest_path: Option<PathBuf>,
    /// The cloud's name of the node
    #[arg(long)]
    provider_id: Option<String>,
    /// How much to log
    #[arg(long, short, default_value_t = 0)]
    pub(crate) v: u8,
}

/// Flags of upstream's that are not here: ignoring one would be unsafe, or would only be less.
const UNSUPPORTED: &[(&str, Unsupported)] = &[
    ("cloud-provider", Warn),
    ("cloud-config", Warn),
    ("image-credential-provider-config", Refuse),
    ("image-credential-provider-bin-dir", Refuse),
    ("config-dir", Refuse),
    ("seccomp-default", Refuse),
    ("protect-kernel-defaults", Warn),
    ("read-only-port", Warn),
    ("pod-infra-container-image", Warn),
    ("container-runtime", Warn),
    ("runtime-cgroups", Warn),
    ("kubelet-cgroups", Warn),
    ("system-cgroups", Warn),
    ("event-qps", Warn),
    ("event-burst", Warn),
    ("kube-api-qps", Warn),
    ("kube-api-burst", Warn),
    ("logging-format", Warn),
    ("vmodule", Warn),
    ("volume-plugin-dir", Warn),
    ("enable-server", Warn),
];

pub(crate) fn parse(argv: &[String]) -> anyhow::Result<(Config, Flags)> {
    let flags: Flags = component::flags::parse("kubelet", argv, UNSUPPORTED)?;
    let mut file = match &flags.config {
        Some(path) => component::config::load::<KubeletConfiguration>(path, "KubeletConfiguration")?,
        None => KubeletConfiguration::default(),
    };
    let mut config = Config {
        root_dir: flags.root_dir.clone(),
        cert_dir: Some(flags.cert_dir.clone()),
        node_ips: flags.node_ip.clone(),
        ..Config::default()
    };
    if let Some(name) = flags.hostname_override.as_ref().map(|n| n.trim().to_lowercase()).filter(|n| !n.is_empty()) {
        config.hostname.clone_from(&name);
        config.node_name = name;
    }
    for label in flags.node_labels.iter().filter(|label| !label.is_empty()) {
        config.add_label(label)?;
    }
    for taint in flags.register_with_taints.iter().filter(|taint| !taint.is_empty()) {
        file.register_with_taints.push(taint.parse()?);
    }
    macro_rules! over {
        ($($flag:ident => $($field:ident).+),* $(,)?) => { $( if let Some(value) = flags.$flag.clone() { file.$($field).+ = value.into(); } )* };
    }
    over! {
        container_runtime_endpoint => container_runtime_endpoint, address => address, port => port, healthz_port => healthz_port,
        tls_cert_file => tls_cert_file, tls_private_key_file => tls_private_key_file, client_ca_file => authentication.x509.client_ca_file,
        authorization_mode => authorization.mode, cluster_domain => cluster_domain, resolv_conf => resolv_conf,
        cgroup_root => cgroup_root, cgroup_driver => cgroup_driver, max_pods => max_pods, pod_manifest_path => static_pod_path,
        provider_id => provider_id,
    }
    // A flag says nothing by being as it is by default.
    file.register_node &= flags.register_node;
    file.fail_swap_on &= flags.fail_swap_on;
    file.rotate_certificates |= flags.rotate_certificates;
    file.server_tls_bootstrap |= flags.rotate_server_certificates;
    file.authentication.anonymous.enabled |= flags.anonymous_auth;
    if !flags.cluster_dns.is_empty() {
        file.cluster_dns.clone_from(&flags.cluster_dns);
    }
    if file.cgroup_driver != "cgroupfs" {
        bail!("cgroupDriver {:?} is not supported, only \"cgroupfs\"", file.cgroup_driver);
    }
    // Of the flag and the file each gate may be of either; the flag's wins.
    config.feature_gates = FeatureGates::new(file.feature_gates.clone())?.with(flags.feature_gates.gates()?);
    if file.server_tls_bootstrap && !config.feature_gates.enabled(certificates::SERVING) {
        bail!("serverTLSBootstrap requires the feature gate {}", certificates::SERVING);
    }
    config.file = file;
    Ok((config, flags))
}
