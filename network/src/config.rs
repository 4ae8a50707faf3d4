//! How the network is told what to do.

use std::path::PathBuf;

use anyhow::bail;
use ipnet::IpNet;

use crate::cni::Cni;

/// How pods of other nodes are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// By a route where the node is on a link of this machine, through a tunnel (VXLAN) where it is not
    #[default]
    Auto,
    /// By routes alone: all nodes are on one link
    Routes,
    /// Through a tunnel (VXLAN), always
    Vxlan,
    /// Encrypted (WireGuard): not yet
    Wireguard,
    /// By somebody else's CNI plugin: nothing is written, nothing is routed
    None,
}

/// The network's settings.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// How pods of other nodes are reached.
    pub mode: Mode,
    /// The ranges of all pods, one of a family. Without them those of the nodes are taken.
    pub cluster: Vec<IpNet>,
    /// The configuration that the container runtime's plugins get; `None`: somebody else writes it.
    pub cni: Option<Cni>,
    /// The largest packet of a pod, in bytes; otherwise the link's, less what the tunnel needs.
    pub mtu: Option<u32>,
}

/// One network for the pods of all nodes: routes, tunnels, the configuration of the CNI plugins, masquerading.
#[derive(clap::Args, Debug)]
pub struct Flags {
    /// Path to a kubeconfig of somebody who may list and watch nodes
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Path to a kubeconfig of the node itself, which may annotate its Node; the same by default
    #[arg(long)]
    pub node_kubeconfig: Option<PathBuf>,
    /// The name of the Node; the host's name by default
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// How pods of other nodes are reached
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// The CIDR ranges of the pods in the cluster, one of a family; those of the nodes by default
    #[arg(long, value_delimiter = ',')]
    pub cluster_cidr: Vec<IpNet>,
    /// Where the CNI plugins' configuration is written; empty: nowhere
    #[arg(long, default_value = "/etc/cni/net.d/10-ferry.conflist")]
    pub cni_configuration: String,
    /// Where the CNI plugins keep the addresses that are taken
    #[arg(long, default_value = "/var/lib/cni/networks")]
    pub cni_ipam_dir: PathBuf,
    /// The pods' bridge
    #[arg(long, default_value = "ferry0")]
    pub bridge: String,
    /// The largest packet of a pod; otherwise the link's, less what the tunnel needs
    #[arg(long)]
    pub mtu: Option<u32>,
    /// Remove routes, the tunnel and rules, and exit
    #[arg(long)]
    pub cleanup: bool,
    /// Number for the log level verbosity
    #[arg(long, short = 'v', default_value_t = 0)]
    pub v: u8,
}

impl Flags {
    /// The settings that they say.
    ///
    /// # Errors
    /// They contradict each other.
    pub fn config(&self) -> anyhow::Result<Config> {
        let node_name = match &self.hostname_override {
            Some(name) => name.trim().to_lowercase(),
            None => nix::unistd::gethostname()?.to_string_lossy().trim().to_lowercase(),
        };
        let cluster: Vec<IpNet> = self.cluster_cidr.iter().map(IpNet::trunc).collect();
        let of_family = |v4: bool| cluster.iter().filter(|range| range.addr().is_ipv4() == v4).count();
        if of_family(true) > 1 || of_family(false) > 1 {
            bail!("--cluster-cidr takes one range of each family");
        }
        if let Some(mtu) = self.mtu.filter(|mtu| !(576..=65_535).contains(mtu)) {
            bail!("--mtu {mtu}: a packet has 576 to 65535 bytes");
        }
        let write = self.mode != Mode::None && !self.cni_configuration.is_empty();
        let cni = write.then(|| Cni {
            file: PathBuf::from(&self.cni_configuration),
            ipam: self.cni_ipam_dir.clone(),
            bridge: self.bridge.clone(),
        });
        Ok(Config { node_name, mode: self.mode, cluster, cni, mtu: self.mtu })
    }
}
