//! What `ferry up` and `ferry down` can be told, and where their files are.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use controller_manager::NodeRanges;
use sha2::{Digest, Sha256};

use super::store::Store;
use super::{DNS_IP, DOMAIN, STORE_PORT};
use crate::join::Join;
use crate::join::keys::Etcd;
use crate::join::settings::Settings;

/// Where the cluster's state is kept by default.
const DATA_DIR: &str = "/var/lib/ferry";
/// All that Ferry keeps in its data directory. Purging deletes this and no more: the folder may be somebody's home.
const ENTRIES: &[&str] = &[
    "admin.conf",
    "cni-configuration",
    "containerd",
    "images",
    "images.tar",
    "ipam",
    "kubelet",
    "pki",
    "pods",
    "runtime-endpoint",
    "store",
    "tables-before",
    "ferry.pid",
    "kubelet.conf",
    "node-name",
    "server.json",
    "settings.json",
    "joined.json",
    "leaving",
];

/// Brings up a whole cluster on this machine, in one process, which goes on until it is stopped; containers outlive it.
#[derive(Debug, Clone, clap::Args)]
pub struct Up {
    /// Install the Debian packages that a node needs, where they are missing
    #[arg(long)]
    pub install_deps: bool,
    /// Where the cluster's state is kept
    #[arg(long, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// Replicate the embedded store, so that other servers can join; one that is there already is taken over
    #[arg(long)]
    pub replicated: bool,
    /// Members of the replicated store that are known beside this one
    #[arg(skip)]
    pub members: Vec<String>,
    /// Keep objects in these etcd servers instead of the embedded store
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// The authority of these servers' certificates
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate with which they are asked
    #[arg(long)]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key
    #[arg(long)]
    pub etcd_keyfile: Option<PathBuf>,
    /// Socket of a CRI runtime that runs already; without it a private containerd is started
    #[arg(long)]
    pub container_runtime_endpoint: Option<String>,
    /// The address on which the API server listens
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port on which the API server listens
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Where pods have their addresses: one range, or one of each family
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: String,
    /// The prefix length of a node's part of that range; 24 of IPv4, 64 of IPv6 by default
    #[arg(long, default_value_t = 0)]
    pub node_cidr_mask_size: u8,
    /// The same of the IPv4 range, with ranges of both families
    #[arg(long, default_value_t = 0)]
    pub node_cidr_mask_size_ipv4: u8,
    /// The same of the IPv6 range, with ranges of both families
    #[arg(long, default_value_t = 0)]
    pub node_cidr_mask_size_ipv6: u8,
    /// How pods of other nodes are reached
    #[arg(long, value_enum, default_value_t)]
    pub network: network::Mode,
    /// Isolate each namespace but kube-system, but for what policies open
    #[arg(long)]
    pub default_deny: bool,
    /// Where Services of type LoadBalancer have their addresses: ranges and CIDRs of the nodes' link, such as
    /// 192.0.2.100-192.0.2.120; without any they have the nodes' own
    #[arg(long, value_delimiter = ',')]
    pub load_balancer_addresses: Vec<String>,
    /// The name of the node; the host's name by default
    #[arg(long)]
    pub node_name: Option<String>,
    /// The node's address; the one by which the default route leaves by default
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// Where to write the administrator's kubeconfig
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Number for the log level verbosity
    #[arg(long, short = 'v', default_value_t = 0)]
    pub v: u8,
}

/// Ends the cluster that `ferry up` brought up, its containers too, and leaves nothing of it running.
#[derive(Debug, Clone, clap::Args)]
pub struct Down {
    /// Where the cluster's state is kept
    #[arg(long, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// Delete the cluster's state too
    #[arg(long)]
    pub purge: bool,
}

impl Up {
    /// What the nodes have to agree on.
    pub fn settings(&self, ranges: &NodeRanges) -> Settings {
        Settings {
            cluster_cidrs: ranges.cluster.iter().map(|(range, _)| *range).collect(),
            node_cidr_mask_sizes: [
                self.node_cidr_mask_size,
                self.node_cidr_mask_size_ipv4,
                self.node_cidr_mask_size_ipv6,
            ],
            cluster_dns: DNS_IP,
            cluster_domain: DOMAIN.to_owned(),
            network: self.network,
            default_deny: self.default_deny,
            load_balancer_addresses: self.load_balancer_addresses.clone(),
        }
    }

    /// Whether the embedded store is replicated: it stays so.
    pub fn is_replicated(&self, layout: &Layout) -> bool {
        let was = apiserver::replicated::is_there(&layout.data.join("store"));
        self.etcd_servers.is_empty() && (self.replicated || was || !self.members.is_empty())
    }

    /// Where the cluster's state is, as this server at `address` sees it.
    pub fn store(&self, layout: &Layout, address: IpAddr) -> Store {
        let own = SocketAddr::new(address, STORE_PORT).to_string();
        let others = self.members.iter().filter(|member| **member != own).cloned();
        let members = std::iter::once(own.clone()).chain(others).collect();
        Store {
            members: if self.is_replicated(layout) { members } else { Vec::new() },
            etcd: Etcd {
                servers: self.etcd_servers.clone(),
                ca: self.etcd_cafile.clone(),
                cert: self.etcd_certfile.clone(),
                key: self.etcd_keyfile.clone(),
            },
        }
    }

    /// Another server of a cluster, which agrees on those settings and has its state there.
    ///
    /// # Errors
    /// A setting that this version does not know.
    pub fn of_server(join: &Join, settings: &Settings, store: &Store) -> anyhow::Result<Self> {
        let ranges: Vec<String> = settings.cluster_cidrs.iter().map(ToString::to_string).collect();
        let [node_cidr_mask_size, node_cidr_mask_size_ipv4, node_cidr_mask_size_ipv6] = settings.node_cidr_mask_sizes;
        let defaults: Self = component::flags::parse("ferry up", &[], &[])?;
        Ok(Self {
            data_dir: join.data_dir.clone(),
            etcd_servers: store.etcd.servers.clone(),
            etcd_cafile: store.etcd.ca.clone(),
            etcd_certfile: store.etcd.cert.clone(),
            etcd_keyfile: store.etcd.key.clone(),
            members: store.members.clone(),
            container_runtime_endpoint: join.container_runtime_endpoint.clone(),
            bind_address: join.bind_address,
            secure_port: join.secure_port,
            cluster_cidr: ranges.join(","),
            node_cidr_mask_size,
            node_cidr_mask_size_ipv4,
            node_cidr_mask_size_ipv6,
            network: settings.network,
            default_deny: settings.default_deny,
            load_balancer_addresses: settings.load_balancer_addresses.clone(),
            node_name: join.node_name.clone(),
            node_ip: join.node_ip,
            v: join.v,
            ..defaults
        })
    }
}

/// The files of one cluster on this machine.
#[derive(Debug, Clone)]
pub struct Layout {
    /// `--data-dir`, absolute.
    pub data: PathBuf,
}

impl Layout {
    /// Makes the folder.
    pub fn new(data: &std::path::Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        Ok(Self { data: data.canonicalize()? })
    }

    /// Whether a cluster has ever been in that folder.
    pub fn used(data: &std::path::Path) -> bool {
        ENTRIES.iter().any(|name| data.join(name).exists())
    }

    /// Deletes the cluster's state, and the folder if nothing else is in it; whether that is so.
    pub fn purge(&self) -> std::io::Result<bool> {
        for path in ENTRIES.iter().map(|name| self.data.join(name)) {
            match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&path)?,
                Ok(_) => std::fs::remove_file(&path)?,
                Err(_) => {}
            }
        }
        match std::fs::remove_dir(&self.data) {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// The cluster's keys, and certificates.
    pub fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }

    /// There while this server is to leave a replicated store.
    pub fn leaving_file(&self) -> PathBuf {
        self.data.join("leaving")
    }

    /// Names the node that this machine is.
    pub fn node_name_file(&self) -> PathBuf {
        self.data.join("node-name")
    }

    /// The group of the pods' cgroups. A cluster in another place than the default has one of its own: a kubelet removes
    /// pods' groups that it does not know, and two clusters on one kernel must not know each other's.
    pub fn cgroup_root(&self) -> String {
        if self.data == std::path::Path::new(DATA_DIR) {
            return String::new();
        }
        let hash = Sha256::digest(self.data.as_os_str().as_encoded_bytes());
        format!("ferry-{}", hash.iter().take(4).map(|b| format!("{b:02x}")).collect::<String>())
    }

    /// The runtime of the cluster's pods, where it is not the private containerd.
    pub fn endpoint_file(&self) -> PathBuf {
        self.data.join("runtime-endpoint")
    }

    /// Names the CNI configuration that was written for a runtime which is not the private containerd.
    pub fn cni_file(&self) -> PathBuf {
        self.data.join("cni-configuration")
    }

    /// The process of `ferry up`, which holds a lock on it as long as it lives.
    pub fn pid_file(&self) -> PathBuf {
        self.data.join("ferry.pid")
    }

    /// The private containerd's folder.
    pub fn containerd(&self) -> PathBuf {
        self.data.join("containerd")
    }

    /// The private containerd's socket. Its path must stay short: the kernel allows 107 bytes.
    pub fn socket(&self) -> PathBuf {
        self.containerd().join("containerd.sock")
    }

    /// Which of iptables' tables there were before the cluster.
    pub fn nat_file(&self) -> PathBuf {
        self.data.join("tables-before")
    }

    /// The private containerd's configuration; its path is in that process's command line.
    pub fn containerd_config(&self) -> PathBuf {
        self.containerd().join("config.toml")
    }

    /// The private containerd's process.
    pub fn containerd_pid_file(&self) -> PathBuf {
        self.containerd().join("containerd.pid")
    }

    /// The administrator's kubeconfig, where no other place is given.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("admin.conf")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_deletes_what_is_ferrys_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let layout = Layout::new(&data).unwrap();
        assert!(!Layout::used(&data), "an empty folder holds no cluster");
        std::fs::write(data.join("letter"), "dear").unwrap();
        std::fs::create_dir_all(data.join("store/wal")).unwrap();
        std::fs::write(layout.pid_file(), "1").unwrap();
        assert!(Layout::used(&data));
        assert!(!layout.purge().unwrap());
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
        assert_eq!(std::fs::read_to_string(data.join("letter")).unwrap(), "dear");
        std::fs::remove_file(data.join("letter")).unwrap();
        assert!(layout.purge().unwrap() && !data.exists());
    }
}
