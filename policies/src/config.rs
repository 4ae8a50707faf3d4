//! How the agent is told what to do: its settings, and flags in the manner of upstream's proxy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

/// The agent's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// Each namespace but `kube-system` is isolated, as if it had a policy that is about all its pods and allows nothing but
    /// what they ask the cluster's DNS. Other policies open what they say.
    pub default_deny: bool,
    /// Least time between two updates of the kernel.
    pub min_sync_period: Duration,
    /// Where to serve `/healthz`.
    pub healthz_bind_address: Option<SocketAddr>,
    /// Where to serve `/metrics`.
    pub metrics_bind_address: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            node_name: String::new(),
            default_deny: false,
            min_sync_period: Duration::from_millis(5),
            healthz_bind_address: Some(SocketAddr::from(([127, 0, 0, 1], 10246))),
            metrics_bind_address: Some(SocketAddr::from(([127, 0, 0, 1], 10247))),
        }
    }
}

/// Enforces NetworkPolicies of networking.k8s.io/v1 for the pods of a node, by nftables.
#[derive(clap::Args, Debug, Default)]
pub struct Flags {
    /// Path to kubeconfig file with authorization information
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The name of the Node that this runs on
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// Isolate each namespace but kube-system, except for what policies allow and for questions to the cluster's DNS
    #[arg(long)]
    pub default_deny: bool,
    /// Remove all rules and exit: nothing is enforced on this node any more
    #[arg(long)]
    pub cleanup: bool,
    /// The IP and port for the health check server; empty to disable
    #[arg(long)]
    pub healthz_bind_address: Option<String>,
    /// The IP and port for the metrics server; empty to disable
    #[arg(long)]
    pub metrics_bind_address: Option<String>,
    /// Number for the log level verbosity
    #[arg(long, short, default_value_t = 0)]
    pub v: u8,
}

/// The settings of an agent that runs alone.
///
/// # Errors
/// An address that is none, a host without a name.
pub fn load(flags: &Flags) -> anyhow::Result<Config> {
    let default = Config::default();
    let node_name = match flags.hostname_override.as_deref().map(str::trim) {
        None | Some("") => {
            nix::unistd::gethostname().context("the host's name")?.to_string_lossy().trim().to_lowercase()
        }
        Some(name) => name.to_lowercase(),
    };
    Ok(Config {
        node_name,
        default_deny: flags.default_deny,
        healthz_bind_address: address(flags.healthz_bind_address.as_deref(), default.healthz_bind_address)?,
        metrics_bind_address: address(flags.metrics_bind_address.as_deref(), default.metrics_bind_address)?,
        ..default
    })
}

/// An address may lack its port, which is the default's then.
fn address(given: Option<&str>, default: Option<SocketAddr>) -> anyhow::Result<Option<SocketAddr>> {
    match given {
        None => Ok(default),
        Some("") => Ok(None),
        Some(text) => {
            let ip = || text.parse().map(|ip| SocketAddr::new(ip, default.map_or(0, |default| default.port())));
            Ok(Some(text.parse().or_else(|_| ip()).with_context(|| format!("invalid address: \"{text}\""))?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Config> {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        load(&component::flags::parse("policies", &argv, &[])?)
    }

    #[test]
    fn flags_in_upstreams_manner() {
        let config = parse(
            "--kubeconfig=p.conf --hostname-override=Node-1 --default-deny --healthz-bind-address=0.0.0.0 \
             --metrics-bind-address= -v 2",
        )
        .unwrap();
        assert_eq!((config.node_name.as_str(), config.default_deny), ("node-1", true));
        assert_eq!(config.healthz_bind_address, Some("0.0.0.0:10246".parse().unwrap()));
        assert_eq!(config.metrics_bind_address, None);
        assert_eq!(parse("").unwrap().metrics_bind_address, Some("127.0.0.1:10247".parse().unwrap()));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let fails = |line: &str| format!("{:#}", parse(line).unwrap_err());
        assert_eq!(fails("--nonsense"), "unknown flag: --nonsense");
        assert!(fails("--healthz-bind-address=x").starts_with("invalid address: \"x\""));
    }
}
