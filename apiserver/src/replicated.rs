//! Opens the member of a replicated store that a server runs on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
pub use raft::Recovered;
use raft::tls::{Files, TlsNetwork};
use raft::{Options, RaftStore, Times};
use storage::disk::{Disk, RealDisk};
use storage::{EmbeddedOptions, Storage};
use tokio_util::sync::CancellationToken;

/// How a member is started.
#[derive(Debug, Clone)]
pub struct Member {
    /// Where its data are, or those of an embedded store that it takes over, or nothing.
    pub directory: PathBuf,
    /// Where it listens for other members.
    pub listen: SocketAddr,
    /// `IP:PORT` at which they reach it.
    pub advertise: String,
    /// Members to ask to be let in, where it has no data yet; without any it begins a cluster.
    pub join: Vec<String>,
    /// What it proves itself with.
    pub credentials: Files,
}

/// Makes the member in a directory the only one of a new cluster, where the others are lost; while no server runs on it.
///
/// # Errors
/// There is no member, or its disk fails.
pub fn recover(directory: &Path, advertise: &str) -> anyhow::Result<Recovered> {
    let disk = RealDisk::open(directory).with_context(|| format!("opening {}", directory.display()))?;
    Ok(raft::recover(&(Arc::new(disk) as Arc<dyn Disk>), &EmbeddedOptions::default(), advertise)?)
}

/// Whether a directory holds a member of a replicated store.
pub fn is_there(directory: &Path) -> bool {
    directory.join("raft-identity").exists()
}

/// Opens it, and waits until its cluster has a majority: before, no request could be answered.
pub async fn open(member: &Member, cancel: &CancellationToken) -> anyhow::Result<Arc<RaftStore>> {
    const PAUSE: Duration = Duration::from_millis(50);
    let disk = RealDisk::open(&member.directory).with_context(|| format!("opening {}", member.directory.display()))?;
    let network = TlsNetwork::bind(member.listen, Arc::new(member.credentials.clone())).await?;
    let options = Options {
        storage: EmbeddedOptions::default(),
        times: Times::default(),
        advertise: member.advertise.clone(),
        join: member.join.clone(),
    };
    let opening = async {
        let store = RaftStore::open(Arc::new(disk), Arc::new(network), options).await;
        let store = Arc::new(store.context("opening the replicated store")?);
        let mut told = false;
        loop {
            let error = tokio::select! {
                ended = store.failed() => bail!(ended),
                revision = store.revision() => match revision {
                    Ok(_) => return Ok(store),
                    Err(error) => error,
                },
            };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, "the store's cluster does not answer yet; trying until it does");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match cancel.run_until_cancelled(opening).await {
        Some(opened) => opened,
        None => bail!("the server was told to end before the store's cluster answered"),
    }
}
