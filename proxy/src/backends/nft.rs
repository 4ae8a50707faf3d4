//! Transactions go through one process of `nft` each, as text: its kernel interface is large, and starting it takes
//! about ten milliseconds, which the coalescing of changes hides.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// A transaction that takes longer has gone wrong.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What is kept of its complaints.
const MAX_ERROR_BYTES: u64 = 4096;

/// Why a transaction failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no nft.
    #[error("nft is not installed, and Services need it: install the package nftables")]
    Missing,
    /// It may not.
    #[error("nft may not change rules: run as root (CAP_NET_ADMIN is needed)")]
    Forbidden,
    /// It would not.
    #[error("nft: {0}")]
    Failed(String),
    /// It hangs.
    #[error("nft did not finish within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// It could not be run.
    #[error("running nft: {0}")]
    Io(#[from] std::io::Error),
}

/// How to run nft.
#[derive(Debug, Clone)]
pub struct Nft {
    command: Vec<String>,
}

impl Default for Nft {
    fn default() -> Self {
        // Services are often started without sbin on their path.
        let found = ["/usr/sbin/nft", "/sbin/nft"].into_iter().find(|path| std::path::Path::new(path).exists());
        Nft { command: vec![found.unwrap_or("nft").to_owned()] }
    }
}

impl Nft {
    /// Runs it by another command, for instance in another network namespace.
    pub fn with_command(command: Vec<String>) -> Nft {
        Nft { command }
    }

    /// Applies a script as one transaction: all of it or nothing.
    ///
    /// # Errors
    /// nft is missing, refuses or hangs; the kernel then has what it had before.
    pub async fn apply(&self, script: &str) -> Result<(), Error> {
        let (program, arguments) = self.command.split_first().ok_or(Error::Missing)?;
        let mut command = Command::new(program);
        command.args(arguments).args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Missing,
            _ => Error::Io(error),
        })?;
        let mut stdin = child.stdin.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
        let stderr = child.stderr.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
        let mut complaint = Vec::new();
        let run = async {
            let write = async {
                // It may stop reading at the first error; what it says matters then, not the broken pipe.
                let _ = stdin.write_all(script.as_bytes()).await;
                drop(stdin);
            };
            let read = async {
                let mut limited = stderr.take(MAX_ERROR_BYTES);
                limited.read_to_end(&mut complaint).await?;
                tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await
            };
            let (status, (), _) = tokio::join!(child.wait(), write, read);
            status
        };
        let status = tokio::time::timeout(TIMEOUT, run).await.map_err(|_| Error::Timeout)??;
        if status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&complaint);
        if complaint.contains("Operation not permitted") {
            return Err(Error::Forbidden);
        }
        Err(Error::Failed(complaint.lines().take(3).collect::<Vec<_>>().join(" ").chars().take(500).collect()))
    }
}
