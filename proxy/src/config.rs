//! How the proxy is told what to do: its own settings, upstream's KubeProxyConfiguration, and upstream's flags.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use component::feature_gates::FeatureGates;
use component::flags::{Refuse, Unsupported, Warn};
use ipnet::IpNet;
use serde::Deserialize;

use crate::dns;
use crate::sysctl::Conntrack;

/// How pods of this node are told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetectLocal {
    /// By the cluster's pod ranges.
    ClusterCidr(Vec<IpNet>),
    /// By the node's own pod ranges.
    NodeCidr,
    /// By the interface they come through; may end in `*`.
    Interface(String),
}

/// The proxy's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// Overrides the node's address as the API gives it.
    pub node_ip: Option<IpAddr>,
    /// Local traffic.
    pub detect_local: DetectLocal,
    /// Masquerade all traffic to cluster IPs.
    pub masquerade_all: bool,
    /// The bit of the packet mark that asks for masquerading.
    pub masquerade_bit: u8,
    /// `--nodeport-addresses`.
    pub node_port_addresses: Vec<String>,
    /// Least time between two updates of the kernel.
    pub min_sync_period: Duration,
    /// Where to serve `/healthz`.
    pub healthz_bind_address: Option<SocketAddr>,
    /// Where to serve `/metrics`.
    pub metrics_bind_address: Option<SocketAddr>,
    /// Connection tracking.
    pub conntrack: Conntrack,
    /// Cluster DNS beside the proxy, from the same informers.
    pub dns: Option<dns::Config>,
    /// This proxy stands in for upstream's on the node, and removes what that left: see [`crate::succeed`].
    pub succeed: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            node_name: String::new(),
            node_ip: None,
            detect_local: DetectLocal::ClusterCidr(Vec::new()),
            masquerade_all: false,
            masquerade_bit: 14,
            node_port_addresses: Vec::new(),
            // Long enough to make one transaction of a burst, short enough for nobody to notice.
            min_sync_period: Duration::from_millis(5),
            healthz_bind_address: Some(SocketAddr::from(([0, 0, 0, 0], 10256))),
            metrics_bind_address: Some(SocketAddr::from(([127, 0, 0, 1], 10249))),
            conntrack: Conntrack::default(),
            dns: None,
            succeed: false,
        }
    }
}

/// The service proxy on nftables, with the flags of kube-proxy, and cluster DNS beside it.
#[derive(clap::Args, Debug, Default)]
pub struct Flags {
    #[command(flatten)]
    pub(crate) feature_gates: component::feature_gates::Flag,
    /// The path to the configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Path to kubeconfig file with authorization information
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The address of the Kubernetes API server (only the kubeconfig's is used)
    #[arg(long)]
    pub master: Option<String>,
    /// Which proxy mode to use: nftables
    #[arg(long)]
    pub proxy_mode: Option<String>,
    /// The CIDR ranges of the pods in the cluster
    #[arg(long, value_delimiter = ',')]
    pub cluster_cidr: Option<Vec<String>>,
    /// The name of the Node that the proxy is running on
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// Overrides the idea of what the node's primary IP is
    #[arg(long)]
    pub bind_address: Option<IpAddr>,
    /// The IP and port for the health check server; empty to disable
    #[arg(long)]
    pub healthz_bind_address: Option<String>,
    /// The IP and port for the metrics server; empty to disable
    #[arg(long)]
    pub metrics_bind_address: Option<String>,
    /// Exit if a port can't be bound
    #[arg(long)]
    pub bind_address_hard_fail: bool,
    /// CIDR ranges of the node's addresses that accept NodePort traffic, or primary
    #[arg(long, value_delimiter = ',')]
    pub nodeport_addresses: Option<Vec<String>>,
    /// How to detect local traffic: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix
    #[arg(long)]
    pub detect_local_mode: Option<String>,
    /// A bridge interface name
    #[arg(long)]
    pub pod_bridge_interface: Option<String>,
    /// An interface name prefix
    #[arg(long)]
    pub pod_interface_name_prefix: Option<String>,
    /// SNAT all traffic sent via Service cluster IPs
    #[arg(long)]
    pub masquerade_all: bool,
    /// The bit of the fwmark space to mark packets requiring SNAT with
    #[arg(long)]
    pub iptables_masquerade_bit: Option<u8>,
    /// Most connections to track per CPU core; 0 leaves it as it is
    #[arg(long)]
    pub conntrack_max_per_core: Option<u32>,
    /// Fewest connections to track, whatever the cores
    #[arg(long)]
    pub conntrack_min: Option<u32>,
    /// Idle timeout of established TCP connections; 0 leaves it as it is
    #[arg(long)]
    pub conntrack_tcp_timeout_established: Option<String>,
    /// NAT timeout of TCP connections in CLOSE_WAIT
    #[arg(long)]
    pub conntrack_tcp_timeout_close_wait: Option<String>,
    /// Enable liberal mode for tracking TCP packets
    #[arg(long)]
    pub conntrack_tcp_be_liberal: bool,
    /// Idle timeout of UNREPLIED UDP connections
    #[arg(long)]
    pub conntrack_udp_timeout: Option<String>,
    /// Idle timeout of ASSURED UDP connections
    #[arg(long)]
    pub conntrack_udp_timeout_stream: Option<String>,
    /// Ferry's own: also serve the cluster's DNS, at this address of the node (IP:port)
    #[arg(long)]
    pub dns_bind_address: Option<SocketAddr>,
    /// Ferry's own: the domain that the DNS serves
    #[arg(long, default_value = "cluster.local")]
    pub dns_domain: String,
    /// Ferry's own: the cluster IP of the Service kube-dns
    #[arg(long)]
    pub dns_service_ip: Option<IpAddr>,
    /// Ferry's own: a kubeconfig that may write the Service kube-dns and this node's EndpointSlice of it; without it,
    /// they are somebody else's task
    #[arg(long)]
    pub dns_kubeconfig: Option<PathBuf>,
    /// Remove all rules and exit
    #[arg(long)]
    pub cleanup: bool,
    /// Log level verbosity
    #[arg(short, long, default_value_t = 0)]
    pub v: u8,
}

/// Flags of upstream's that have no effect here, and those that must not be ignored.
pub const UNSUPPORTED: &[(&str, Unsupported)] = &[
    ("write-config-to", Refuse),
    ("init-only", Refuse),
    ("kube-api-content-type", Warn),
    ("kube-api-burst", Warn),
    ("kube-api-qps", Warn),
    ("profiling", Warn),
    ("show-hidden-metrics-for-version", Warn),
    ("iptables-localhost-nodeports", Warn),
    ("iptables-sync-period", Warn),
    ("iptables-min-sync-period", Warn),
    ("ipvs-sync-period", Warn),
    ("ipvs-min-sync-period", Warn),
    ("ipvs-scheduler", Warn),
    ("ipvs-exclude-cidrs", Warn),
    ("ipvs-strict-arp", Warn),
    ("ipvs-tcp-timeout", Warn),
    ("ipvs-tcpfin-timeout", Warn),
    ("ipvs-udp-timeout", Warn),
    ("oom-score-adj", Warn),
    ("config-sync-period", Warn),
    ("healthz-port", Warn),
    ("metrics-port", Warn),
    ("logging-format", Warn),
    ("log-flush-frequency", Warn),
    ("vmodule", Warn),
];

/// The part of KubeProxyConfiguration (v1alpha1) that is supported; the rest is ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    feature_gates: BTreeMap<String, bool>,
    client_connection: ClientConnection,
    hostname_override: String,
    bind_address: String,
    healthz_bind_address: Option<String>,
    metrics_bind_address: Option<String>,
    mode: String,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: String,
    detect_local_mode: String,
    detect_local: DetectLocalFile,
    node_port_addresses: Option<Vec<String>>,
    nftables: NftablesFile,
    conntrack: ConntrackFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClientConnection {
    kubeconfig: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DetectLocalFile {
    bridge_interface: String,
    interface_name_prefix: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NftablesFile {
    masquerade_bit: Option<u8>,
    masquerade_all: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConntrackFile {
    max_per_core: Option<u32>,
    min: Option<u32>,
    tcp_established_timeout: Option<String>,
    tcp_close_wait_timeout: Option<String>,
    tcp_be_liberal: bool,
    udp_timeout: Option<String>,
    udp_stream_timeout: Option<String>,
}

/// The settings of a stand-alone proxy, and its kubeconfig. A configuration file wins over flags, as upstream has it.
///
/// # Errors
/// A file that can't be read, a value that makes no sense, a mode other than nftables.
pub fn load(flags: Flags) -> anyhow::Result<(Config, Option<PathBuf>)> {
    let mut file = match &flags.config {
        Some(path) => component::config::load::<File>(path, "KubeProxyConfiguration")?,
        None => File::default(),
    };
    if flags.config.is_none() {
        file = from_flags(&flags);
    } else if let Some(name) = &flags.hostname_override {
        file.hostname_override.clone_from(name);
    }
    let gates = match &flags.config {
        Some(_) => FeatureGates::new(std::mem::take(&mut file.feature_gates))?,
        None => flags.feature_gates.gates()?,
    };
    gates.warn(&[]);
    let mut config = Config { dns: dns(&flags), succeed: true, ..Config::default() };
    match file.mode.as_str() {
        "" | "nftables" => {}
        mode @ ("iptables" | "ipvs") => tracing::warn!(mode, "this proxy has one mode, nftables, and uses it"),
        mode => bail!("invalid proxy mode: \"{mode}\", must be nftables"),
    }
    config.node_name = match file.hostname_override.trim() {
        "" => nix::unistd::gethostname().context("the host's name")?.to_string_lossy().trim().to_lowercase(),
        name => name.to_lowercase(),
    };
    let bind = file.bind_address.parse::<IpAddr>().ok();
    if !file.bind_address.is_empty() && bind.is_none() {
        bail!("invalid bind address: \"{}\"", file.bind_address);
    }
    config.node_ip = bind.filter(|ip| !ip.is_unspecified());
    config.healthz_bind_address = address(file.healthz_bind_address, config.healthz_bind_address, 10256)?;
    config.metrics_bind_address = address(file.metrics_bind_address, config.metrics_bind_address, 10249)?;
    config.detect_local = detect_local(&file.detect_local_mode, &file.cluster_cidr, &file.detect_local)?;
    config.masquerade_all = file.nftables.masquerade_all;
    config.masquerade_bit = file.nftables.masquerade_bit.unwrap_or(14);
    if config.masquerade_bit > 31 {
        bail!("invalid masquerade bit: {}, must be 0 to 31", config.masquerade_bit);
    }
    config.node_port_addresses = file.node_port_addresses.unwrap_or_default();
    for entry in config.node_port_addresses.iter().filter(|entry| *entry != "primary") {
        entry.parse::<IpNet>().with_context(|| format!("invalid nodeport address: \"{entry}\""))?;
    }
    let conntrack = file.conntrack;
    config.conntrack = Conntrack {
        max_per_core: conntrack.max_per_core.unwrap_or(config.conntrack.max_per_core),
        min: conntrack.min.unwrap_or(config.conntrack.min),
        tcp_established: duration(conntrack.tcp_established_timeout, config.conntrack.tcp_established)?,
        tcp_close_wait: duration(conntrack.tcp_close_wait_timeout, config.conntrack.tcp_close_wait)?,
        tcp_be_liberal: conntrack.tcp_be_liberal,
        udp: duration(conntrack.udp_timeout, None)?,
        udp_stream: duration(conntrack.udp_stream_timeout, None)?,
    };
    let kubeconfig = Some(file.client_connection.kubeconfig).filter(|path| !path.is_empty()).map(PathBuf::from);
    Ok((config, kubeconfig.or(flags.kubeconfig)))
}

fn dns(flags: &Flags) -> Option<dns::Config> {
    let listen = flags.dns_bind_address?;
    Some(dns::Config {
        listen,
        domain: flags.dns_domain.clone(),
        cluster_ip: flags.dns_service_ip,
        ..dns::Config::default()
    })
}

fn from_flags(flags: &Flags) -> File {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    File {
        feature_gates: BTreeMap::new(),
        client_connection: ClientConnection::default(),
        hostname_override: text(&flags.hostname_override),
        bind_address: flags.bind_address.map(|ip| ip.to_string()).unwrap_or_default(),
        healthz_bind_address: flags.healthz_bind_address.clone(),
        metrics_bind_address: flags.metrics_bind_address.clone(),
        mode: text(&flags.proxy_mode),
        cluster_cidr: flags.cluster_cidr.clone().unwrap_or_default().join(","),
        detect_local_mode: text(&flags.detect_local_mode),
        detect_local: DetectLocalFile {
            bridge_interface: text(&flags.pod_bridge_interface),
            interface_name_prefix: text(&flags.pod_interface_name_prefix),
        },
        node_port_addresses: flags.nodeport_addresses.clone(),
        nftables: NftablesFile { masquerade_bit: flags.iptables_masquerade_bit, masquerade_all: flags.masquerade_all },
        conntrack: ConntrackFile {
            max_per_core: flags.conntrack_max_per_core,
            min: flags.conntrack_min,
            tcp_established_timeout: flags.conntrack_tcp_timeout_established.clone(),
            tcp_close_wait_timeout: flags.conntrack_tcp_timeout_close_wait.clone(),
            tcp_be_liberal: flags.conntrack_tcp_be_liberal,
            udp_timeout: flags.conntrack_udp_timeout.clone(),
            udp_stream_timeout: flags.conntrack_udp_timeout_stream.clone(),
        },
    }
}

fn address(given: Option<String>, default: Option<SocketAddr>, port: u16) -> anyhow::Result<Option<SocketAddr>> {
    match given.as_deref() {
        None => Ok(default),
        Some("") => Ok(None),
        Some(text) => {
            let ip = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
            let address = text.parse().or_else(|_| ip()).with_context(|| format!("invalid address: \"{text}\""))?;
            Ok(Some(address))
        }
    }
}

fn detect_local(mode: &str, cidrs: &str, interfaces: &DetectLocalFile) -> anyhow::Result<DetectLocal> {
    match mode {
        "" | "ClusterCIDR" => {
            let cidrs = cidrs.split(',').map(str::trim).filter(|cidr| !cidr.is_empty());
            let parse = |cidr: &str| cidr.parse().with_context(|| format!("invalid cluster CIDR: \"{cidr}\""));
            Ok(DetectLocal::ClusterCidr(cidrs.map(parse).collect::<anyhow::Result<_>>()?))
        }
        "NodeCIDR" => Ok(DetectLocal::NodeCidr),
        "BridgeInterface" => interface(&interfaces.bridge_interface, ""),
        "InterfaceNamePrefix" => interface(&interfaces.interface_name_prefix, "*"),
        mode => bail!("invalid detect local mode: \"{mode}\""),
    }
}

fn interface(name: &str, suffix: &str) -> anyhow::Result<DetectLocal> {
    // It becomes part of a rule: nothing but what an interface's name may be.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 15 || !name.chars().all(plain) {
        bail!("invalid interface name for the detect local mode: \"{name}\"");
    }
    Ok(DetectLocal::Interface(format!("{name}{suffix}")))
}

/// A duration of the file; zero means that nothing is set.
fn duration(text: Option<String>, default: Option<Duration>) -> anyhow::Result<Option<Duration>> {
    let Some(text) = text else { return Ok(default) };
    let length = machinery::duration::length(&text).map_err(anyhow::Error::msg)?;
    Ok(Some(length).filter(|length| !length.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Config> {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Ok(load(component::flags::parse("kube-proxy", &argv, UNSUPPORTED)?)?.0)
    }

    #[test]
    fn flags_as_upstream_has_them() {
        let config = parse(
            "--kubeconfig=proxy.conf --proxy-mode=nftables --conntrack-max-per-core=0 --conntrack-min=0 \
             --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 \
             --cluster-cidr=10.244.0.0/16,fd00::/48 --hostname-override=Node-1 --metrics-bind-address= \
             --healthz-bind-address=127.0.0.1",
        )
        .unwrap();
        assert_eq!(config.node_name, "node-1");
        assert!(matches!(config.detect_local, DetectLocal::ClusterCidr(cidrs) if cidrs.len() == 2));
        assert_eq!(config.conntrack.tcp_established, None);
        assert_eq!(config.metrics_bind_address, None);
        assert_eq!(config.healthz_bind_address, Some("127.0.0.1:10256".parse().unwrap()));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let fails = |line: &str| format!("{:#}", parse(line).unwrap_err());
        assert_eq!(fails("--nonsense"), "unknown flag: --nonsense");
        assert_eq!(fails("--feature-gates=Nonsense=true"), "unrecognized feature gate: Nonsense");
        assert_eq!(fails("--proxy-mode=userspace"), "invalid proxy mode: \"userspace\", must be nftables");
        assert!(fails("--cluster-cidr=x").contains("invalid cluster CIDR: \"x\""));
        assert!(
            fails("--detect-local-mode=InterfaceNamePrefix --pod-interface-name-prefix=a\"b").contains("interface")
        );
        assert!(fails("--conntrack-udp-timeout=3x").contains("duration"));
        assert!(fails("--iptables-masquerade-bit=32").contains("masquerade bit"));
    }

    #[test]
    fn the_configuration_file() {
        let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n\
            clusterCIDR: 10.244.0.0/16\nhostnameOverride: n1\nclientConnection: {kubeconfig: /k}\n\
            conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 1h0m0s}\nnodePortAddresses: [0.0.0.0/0]\n";
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), text).unwrap();
        let flags = Flags { config: Some(path.path().to_owned()), ..Flags::default() };
        let (config, kubeconfig) = load(flags).unwrap();
        assert_eq!(kubeconfig, Some("/k".into()));
        assert_eq!(config.conntrack.tcp_established, Some(Duration::from_secs(3600)));
        assert_eq!(config.node_port_addresses, ["0.0.0.0/0"]);
    }
}
