//! Flags that several commands have: where snapshots are kept, what they are encrypted with, how the cluster is reached.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use snapshots::Secret;
use snapshots::target::{Access, Target};

/// Where snapshots are kept.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Place {
    /// Where snapshots are kept: a folder, or s3://BUCKET/PREFIX; snapshots/ in the data directory by default
    #[arg(long)]
    pub target: Option<String>,
    /// Where the cluster's state is kept on this machine
    #[arg(long, default_value = "/var/lib/ferry")]
    pub data_dir: PathBuf,
    /// The address of the S3-compatible store (https://HOST:PORT); AWS_ENDPOINT_URL, or Amazon's, by default
    #[arg(long)]
    pub s3_endpoint: Option<String>,
    /// The region of the bucket; AWS_REGION, or us-east-1, by default
    #[arg(long)]
    pub s3_region: Option<String>,
    /// A file with lines AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=...; the environment's by default
    #[arg(long)]
    pub s3_credentials_file: Option<PathBuf>,
    /// A certificate authority for the store's address
    #[arg(long)]
    pub s3_ca_file: Option<PathBuf>,
}

impl Place {
    /// The folder of snapshots on this machine.
    pub fn folder(&self) -> PathBuf {
        self.data_dir.join("snapshots")
    }

    /// How a bucket is reached.
    pub fn access(&self) -> anyhow::Result<Access> {
        let mut access = Access::from_environment();
        if let Some(file) = &self.s3_credentials_file {
            access = with_file(access, file)?;
        }
        let Self { s3_endpoint, s3_region, s3_ca_file, .. } = self.clone();
        access.endpoint = s3_endpoint.or(access.endpoint);
        access.region = s3_region.or(access.region);
        access.ca_file = s3_ca_file.or(access.ca_file);
        Ok(access)
    }

    /// Where they are kept.
    pub fn target(&self) -> anyhow::Result<Target> {
        match &self.target {
            Some(text) => Target::of(text, &self.access()?),
            None => Ok(Target::Folder(self.folder())),
        }
    }
}

fn with_file(access: Access, file: &Path) -> anyhow::Result<Access> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let get = |name: &str| {
        let value = |line: &str| {
            line.trim().strip_prefix(name)?.trim_start().strip_prefix('=').map(str::trim).map(String::from)
        };
        text.lines().find_map(value)
    };
    match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => Ok(access.with_keys(&id, &secret)),
        _ => bail!("{} has no lines AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=...", file.display()),
    }
}

/// What a snapshot is encrypted with.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Encrypted {
    /// Encrypted with the random bytes in this file, 32 at least
    #[arg(long)]
    pub key_file: Option<PathBuf>,
    /// Encrypted with the passphrase in the first line of this file
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
}

impl Encrypted {
    /// The secret, if one is given.
    pub fn secret(&self) -> anyhow::Result<Option<Secret>> {
        Ok(match (&self.key_file, &self.passphrase_file) {
            (Some(_), Some(_)) => bail!("--key-file and --passphrase-file are one too many"),
            (Some(file), None) => Some(Secret::key_file(file)?),
            (None, Some(file)) => Some(Secret::passphrase_file(file)?),
            (None, None) => None,
        })
    }
}

/// The running cluster.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Cluster {
    /// The administrator's kubeconfig; admin.conf in the data directory, or else $KUBECONFIG, by default
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
}

impl Cluster {
    /// The kubeconfig's file.
    pub fn file(&self, data_dir: &Path) -> anyhow::Result<PathBuf> {
        let own = Some(data_dir.join("admin.conf")).filter(|file| file.exists());
        let named = || std::env::var_os("KUBECONFIG").filter(|name| !name.is_empty()).map(PathBuf::from);
        let file = self.kubeconfig.clone().or(own).or_else(named);
        file.with_context(|| format!("no cluster is known: {} holds none; give --kubeconfig", data_dir.display()))
    }

    /// A client.
    pub fn client(&self, data_dir: &Path) -> anyhow::Result<kube::Client> {
        client::from_kubeconfig(&self.file(data_dir)?, &client::user_agent("ferry", "snapshot"))
    }
}

/// How results are told.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Output {
    /// json, for scripts
    #[arg(long, short = 'o')]
    pub output: Option<String>,
}

impl Output {
    /// Whether JSON is asked for.
    pub fn json(&self) -> anyhow::Result<bool> {
        match self.output.as_deref() {
            None | Some("") => Ok(false),
            Some("json") => Ok(true),
            Some(other) => {
                bail!("unable to match a printer suitable for the output format {other:?}, allowed formats are: json")
            }
        }
    }
}

/// A length for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1000.0, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short() {
        for (bytes, text) in [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (15_200_000, "15 MB"), (999_950, "1.0 MB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn credentials_come_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c");
        std::fs::write(&file, "# ours\nAWS_ACCESS_KEY_ID = me\nAWS_SECRET_ACCESS_KEY=se=cret\n").unwrap();
        let access = with_file(Access::default(), &file).unwrap();
        assert_eq!(access.access_key.as_deref(), Some("me"));
        assert!(!format!("{access:?}").contains("se=cret"));
        std::fs::write(&file, "").unwrap();
        assert!(with_file(Access::default(), &file).unwrap_err().to_string().contains("has no lines"));
    }
}
