//! `ferry snapshot restore`: a whole cluster into a new data directory or an empty etcd, offline; or a namespace and single
//! objects, through the API of a cluster that runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use snapshots::target::Target;

use super::flags::{Cluster, Encrypted, Place};
use super::{cluster, objects};

/// Makes a new cluster of a snapshot, in a data directory that holds none (`ferry up --data-dir` serves it then) or in an empty
/// etcd. With --namespace or --resource, brings back objects as they were in a cluster that runs.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// A file, a name that `ferry snapshot list` tells, s3://BUCKET/PREFIX/NAME, or `latest`
    pub snapshot: String,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub encrypted: Encrypted,
    #[command(flatten)]
    pub cluster: Cluster,
    /// Restore the whole cluster into these etcd servers, which hold none
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// SSL Certificate Authority file used to secure etcd communication
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    /// SSL certification file used to secure etcd communication
    #[arg(long)]
    pub etcd_certfile: Option<PathBuf>,
    /// SSL key file used to secure etcd communication
    #[arg(long)]
    pub etcd_keyfile: Option<PathBuf>,
    /// How far the new store's revision lies above the snapshot's: more than were written since it was taken
    #[arg(long, default_value_t = 1_000_000_000)]
    pub bump_revision: i64,
    /// Bring back this namespace, through the API of the running cluster
    #[arg(long, short = 'n')]
    pub namespace: Option<String>,
    /// Bring back only these: TYPE/NAME, for example deployments/web; several with commas
    #[arg(long, value_delimiter = ',')]
    pub resource: Vec<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub async fn main(argv: &[String]) -> anyhow::Result<()> {
    let flags: Restore = component::flags::parse("ferry snapshot restore", argv, &[])?;
    let some = flags.namespace.is_some() || !flags.resource.is_empty();
    if some && !flags.etcd_servers.is_empty() {
        bail!("--namespace and --resource restore through the API, and --etcd-servers a whole cluster");
    }
    if !some && flags.dry_run {
        bail!("--dry-run goes with --namespace or --resource; `ferry snapshot verify` reads a whole snapshot");
    }
    let file = fetched(&flags.snapshot, &flags.place).await?;
    let secret = flags.encrypted.secret()?;
    match some {
        true => objects::restore(&flags, &file.path, secret.as_ref()).await,
        false => cluster::restore(&flags, &file.path, secret).await,
    }
}

/// A snapshot on this machine.
pub struct Fetched {
    /// Its file.
    pub path: PathBuf,
    /// It was brought here for this command alone.
    _temporary: Option<tempfile::TempDir>,
}

/// The snapshot that is meant, brought to this machine if it is elsewhere.
pub async fn fetched(snapshot: &str, place: &Place) -> anyhow::Result<Fetched> {
    let (target, name) = match snapshot.rsplit_once('/') {
        Some((prefix, name)) if snapshot.starts_with("s3://") => {
            (Target::of(prefix, &place.access()?)?, name.to_owned())
        }
        _ if Path::new(snapshot).exists() => {
            return Ok(Fetched { path: PathBuf::from(snapshot), _temporary: None });
        }
        _ if snapshot == "latest" => {
            let target = place.target()?;
            let entries = target.list().await?;
            let newest = entries.last().with_context(|| format!("there is no snapshot in {}", target.place("")))?;
            let clusters = |entry: &&snapshots::target::Entry| entry.parts.cluster != newest.parts.cluster;
            if let Some(other) = entries.iter().find(clusters) {
                bail!("snapshots of several clusters are there ({} and {}): name one", newest.name, other.name);
            }
            let name = newest.name.clone();
            (target, name)
        }
        _ if snapshot.contains('/') => bail!("{snapshot} is not there"),
        _ => (place.target()?, snapshot.to_owned()),
    };
    let temporary = match &target {
        Target::Folder(_) => None,
        Target::S3(_) => Some(tempfile::tempdir()?),
    };
    let folder = temporary.as_ref().map_or(Path::new("."), |folder| folder.path());
    let path = target.fetch(&name, folder).await?;
    if !path.exists() {
        bail!("{} is not there; `ferry snapshot list` tells what is", path.display());
    }
    Ok(Fetched { path, _temporary: temporary })
}
