//! What `ferry join` can be told, and what is kept of it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::write;

/// In the data directory.
const KEPT: &str = "joined.json";

/// Makes this machine a node of a cluster, which it is until it is stopped; containers outlive it.
#[derive(Debug, Clone, clap::Args)]
pub struct Join {
    /// A server of the cluster: HOST or HOST:PORT; left out, what was said before counts
    pub cluster: Option<String>,
    /// The token, as `ferry token create` prints it
    #[arg(long)]
    pub token: Option<String>,
    /// A file with the token
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Join as another server: an API server, a scheduler and controllers of the cluster's run here too
    #[arg(long)]
    pub server: bool,
    /// Install the Debian packages that a node needs, where they are missing
    #[arg(long)]
    pub install_deps: bool,
    /// Where the node's state is kept
    #[arg(long, default_value = "/var/lib/ferry")]
    pub data_dir: PathBuf,
    /// Socket of a CRI runtime that runs already; without it a private containerd is started
    #[arg(long)]
    pub container_runtime_endpoint: Option<String>,
    /// The name of the node; the host's name by default
    #[arg(long)]
    pub node_name: Option<String>,
    /// The node's address; the one by which the default route leaves by default
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// Labels of the new node: key=value, comma separated
    #[arg(long, value_delimiter = ',')]
    pub node_labels: Vec<String>,
    /// Taints of the new node: key=value:effect, comma separated
    #[arg(long, value_delimiter = ',')]
    pub register_with_taints: Vec<String>,
    /// The address on which a server's API server listens
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port on which a server's API server listens
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Number for the log level verbosity
    #[arg(long, short = 'v', default_value_t = 0)]
    pub v: u8,
}

impl Join {
    /// Has a new node the labels and taints that were asked for.
    ///
    /// # Errors
    /// One of them is none.
    pub fn describe(&self, kubelet: &mut kubelet::Config) -> anyhow::Result<()> {
        self.node_labels.iter().filter(|label| !label.is_empty()).try_for_each(|label| kubelet.add_label(label))?;
        for taint in self.register_with_taints.iter().filter(|taint| !taint.is_empty()) {
            kubelet.file.register_with_taints.push(taint.parse()?);
        }
        Ok(())
    }

    /// The token, if one was given: by flag, file, or FERRY_TOKEN.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn token(&self) -> anyhow::Result<Option<String>> {
        Ok(match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(file)) => {
                Some(std::fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display()))?)
            }
            (None, None) => std::env::var("FERRY_TOKEN").ok().filter(|token| !token.is_empty()),
        })
    }
}

/// With what a machine has joined, but for the token.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// As another server.
    pub is_server: bool,
    arguments: Vec<String>,
}

impl Kept {
    /// `None` where no machine has joined.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = data.join(KEPT);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| path.display().to_string())?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Keeps it, unless this is but another start.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(data: &Path, arguments: &[String], is_server: bool) -> anyhow::Result<()> {
        let given: Join = component::flags::parse("ferry join", arguments, &[])?;
        if given.cluster.is_none() {
            return Ok(());
        }
        let kept = Self { is_server, arguments: without_token(arguments) };
        write(&data.join(KEPT), &serde_json::to_string_pretty(&kept)?, 0o600)
    }

    /// What was said before, and now in addition.
    ///
    /// # Errors
    /// This version does not know a flag any more.
    pub fn with(&self, arguments: &[String]) -> anyhow::Result<Join> {
        let all: Vec<String> = self.arguments.iter().chain(arguments).cloned().collect();
        component::flags::parse("ferry join", &all, &[]).context("with what was said when this machine joined")
    }
}

fn without_token(arguments: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--token" | "--token-file" | "--token_file" => drop(rest.next()),
            word if ["--token=", "--token-file=", "--token_file="].iter().any(|flag| word.starts_with(flag)) => {}
            "--install-deps" => {}
            word => kept.push(word.to_owned()),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_was_said_once_counts_at_every_start_but_for_the_token() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Kept::read(dir.path()).unwrap(), None);
        let said = words("192.0.2.1 --token secret --node-name a --node-labels=x=y,z=");
        Kept::write(dir.path(), &said, false).unwrap();
        assert!(!std::fs::read_to_string(dir.path().join(KEPT)).unwrap().contains("secret"));
        let kept = Kept::read(dir.path()).unwrap().unwrap();
        let again = kept.with(&words("--node-name=b -v 2")).unwrap();
        assert_eq!(again.cluster.as_deref(), Some("192.0.2.1"));
        assert_eq!((again.node_name.as_deref(), again.v, again.token.as_deref()), (Some("b"), 2, None));
        assert_eq!(again.node_labels, ["x=y", "z="]);
        Kept::write(dir.path(), &words("--node-name=b"), false).unwrap();
        assert_eq!(Kept::read(dir.path()).unwrap().unwrap(), kept, "a start says nothing new");
        for text in ["a --token=t", "a --token_file f", "--token-file=f a"] {
            assert_eq!(without_token(&words(text)), ["a"], "{text}");
        }
    }
}
