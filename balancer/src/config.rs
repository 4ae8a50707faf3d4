//! How the balancer is told what to do.

use std::path::PathBuf;

use anyhow::Context;
use k8s_openapi::api::core::v1::Service;

use crate::pool::Pool;

/// The class that Services name to be this balancer's and nobody else's.
pub const CLASS: &str = "ferry/balancer";

/// Which Services are the balancer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Those with this `spec.loadBalancerClass`.
    pub name: String,
    /// And not those without any, which are another's.
    pub only: bool,
}

impl Default for Class {
    fn default() -> Self {
        Class { name: CLASS.to_owned(), only: false }
    }
}

impl Class {
    /// Whether a Service of type LoadBalancer is the balancer's.
    pub fn serves(&self, service: &Service) -> bool {
        match service.spec.as_ref().and_then(|spec| spec.load_balancer_class.as_ref()) {
            Some(class) => *class == self.name,
            None => !self.only,
        }
    }
}

/// The balancer's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node's name.
    pub node_name: String,
    /// The addresses of Services; none: they get the nodes' own, and nothing is announced.
    pub pool: Option<Pool>,
    /// The interface that addresses are announced on; none: the one with the node's address.
    pub interface: Option<String>,
    /// Which Services are the balancer's.
    pub class: Class,
    /// Whether this process may be the one that gives out addresses.
    pub allocate: bool,
    /// Whether this node announces.
    pub announce: bool,
    /// What the cluster is called, for whom that matters.
    pub cluster_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            node_name: String::new(),
            pool: None,
            interface: None,
            class: Class::default(),
            allocate: true,
            announce: true,
            cluster_name: "kubernetes".to_owned(),
        }
    }
}

/// Load balancers for a cluster without a cloud: gives Services of type LoadBalancer their addresses, and answers for these
/// on the node's link.
#[derive(clap::Args, Debug, Default)]
pub struct Flags {
    #[command(flatten)]
    pub(crate) feature_gates: component::feature_gates::Flag,
    /// Path to kubeconfig file with authorization information
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The name of the Node that this runs on
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// The addresses that Services get: ranges and CIDRs, such as 192.0.2.100-192.0.2.120,2001:db8::/120. Without any they
    /// get the nodes' own
    #[arg(long, value_delimiter = ',')]
    pub addresses: Vec<String>,
    /// The interface that addresses are announced on; by default the one that has the node's address
    #[arg(long)]
    pub interface: Option<String>,
    /// Services of this loadBalancerClass are the balancer's, beside those of none
    #[arg(long, default_value = CLASS)]
    pub load_balancer_class: String,
    /// Services of no class are somebody else's
    #[arg(long)]
    pub only_class: bool,
    /// Take part in giving out addresses: one process of the cluster does
    #[arg(long, default_value_t = true)]
    pub allocate: bool,
    /// Take part in announcing addresses: each has one node that does
    #[arg(long, default_value_t = true)]
    pub announce: bool,
    /// What the cluster is called
    #[arg(long, default_value = "kubernetes")]
    pub cluster_name: String,
    /// Log level verbosity
    #[arg(short, long, default_value_t = 0)]
    pub v: u8,
}

/// The settings of a stand-alone balancer.
///
/// # Errors
/// A value that makes no sense.
pub fn load(flags: Flags) -> anyhow::Result<Config> {
    flags.feature_gates.gates()?.warn(&[]);
    let node_name = match flags.hostname_override.as_deref().map(str::trim) {
        None | Some("") => {
            nix::unistd::gethostname().context("the host's name")?.to_string_lossy().trim().to_lowercase()
        }
        Some(name) => name.to_lowercase(),
    };
    let pool = match flags.addresses.iter().all(|range| range.trim().is_empty()) {
        true => None,
        false => Some(Pool::parse(&flags.addresses).context("--addresses")?),
    };
    anyhow::ensure!(!flags.load_balancer_class.is_empty(), "--load-balancer-class is empty");
    Ok(Config {
        node_name,
        pool,
        interface: flags.interface.filter(|name| !name.is_empty()),
        class: Class { name: flags.load_balancer_class, only: flags.only_class },
        allocate: flags.allocate,
        announce: flags.announce,
        cluster_name: flags.cluster_name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Config> {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        load(component::flags::parse("ferry-balancer", &argv, &[])?)
    }

    #[test]
    fn flags_are_settings() {
        let config =
            parse("--hostname-override=N1 --addresses=192.0.2.1-192.0.2.9,2001:db8::/120 --interface eth1").unwrap();
        assert_eq!((config.node_name.as_str(), config.interface.as_deref()), ("n1", Some("eth1")));
        assert_eq!(config.pool.map(|pool| pool.to_string()).as_deref(), Some("192.0.2.1-192.0.2.9,2001:db8::/120"));
        assert!(parse("").unwrap().pool.is_none() && !parse("--announce=false").unwrap().announce);
        let why = format!("{:#}", parse("--addresses=x").unwrap_err());
        assert!(why.starts_with("--addresses: not a range of addresses: \"x\""), "{why}");
    }

    #[test]
    fn a_service_is_ours_by_its_class() {
        let service = |class: Option<&str>| -> Service {
            serde_json::from_value(serde_json::json!({"spec": {"loadBalancerClass": class}})).unwrap()
        };
        let serves = |line: &str| {
            let class = parse(line).unwrap().class;
            [None, Some(CLASS), Some("other")].map(|name| class.serves(&service(name)))
        };
        assert_eq!(serves(""), [true, true, false]);
        assert_eq!(serves("--only-class"), [false, true, false]);
        assert_eq!(serves("--load-balancer-class=other"), [true, false, true]);
    }
}
