//! A real etcd in processes of its own, of one member or of several, one of which may be killed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use storage::{Expect, Outcome, Storage};
use tempfile::TempDir;

use crate::process::{PATIENCE, PAUSE, free_port};

/// A process of it; killed when dropped.
struct Member {
    port: u16,
    child: Child,
}

impl Drop for Member {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An etcd on loopback ports, with its data in a temporary directory; killed when dropped.
pub struct Etcd {
    // Ended before its directory goes.
    members: Vec<Member>,
    _data: TempDir,
    url: String,
}

impl Etcd {
    /// Starts one; `None` where this machine has none.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        Self::of_members(1).await
    }

    /// Starts one of several members.
    ///
    /// # Errors
    /// It does not start.
    pub async fn of_members(count: usize) -> anyhow::Result<Option<Self>> {
        let Some(binary) = binary() else {
            skips::skip("etcd", "(Debian: etcd-server)");
            return Ok(None);
        };
        let data = tempfile::tempdir()?;
        let ports = (0..count).map(|_| Ok((free_port()?, free_port()?))).collect::<anyhow::Result<Vec<_>>>()?;
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        let peers: Vec<String> =
            ports.iter().enumerate().map(|(number, (_, peer))| format!("m{number}={}", at(*peer))).collect();
        let mut members = Vec::new();
        for (number, (port, peer)) in ports.iter().enumerate() {
            let (client, peer) = (at(*port), at(*peer));
            let child = Command::new(&binary)
                .env_clear()
                .args(["--name", &format!("m{number}"), "--log-level", "error", "--data-dir"])
                .arg(data.path().join(format!("data{number}")))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &peers.join(",")])
                .stdout(Stdio::null())
                .stderr(std::fs::File::create(data.path().join(format!("log{number}")))?)
                .spawn()?;
            members.push(Member { port: *port, child });
        }
        let url = ports.iter().map(|(port, _)| at(*port)).collect::<Vec<_>>().join(",");
        let etcd = Self { members, _data: data, url };
        tokio::time::timeout(PATIENCE, etcd.answers()).await.context("etcd does not start")?;
        Ok(Some(etcd))
    }

    /// Waits until all members listen and one of them answers: they have chosen a leader.
    async fn answers(&self) {
        for member in &self.members {
            while tokio::net::TcpStream::connect(("127.0.0.1", member.port)).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        while self.get("none").await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// SIGKILL for a member, for good.
    ///
    /// # Errors
    /// There is no such member, or it ended before by itself.
    pub fn kill_member(&mut self, number: usize) -> anyhow::Result<()> {
        let member = self.members.get_mut(number).context("no such member")?;
        anyhow::ensure!(member.child.try_wait()?.is_none(), "the member ended by itself");
        member.child.kill()?;
        member.child.wait()?;
        Ok(())
    }

    /// The bytes at a key.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn get(&self, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.store().await?.get(key).await?.0.map(|kv| kv.value.to_vec()))
    }

    /// All keys with a prefix, and what is there.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn all(&self, prefix: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let found = self.store().await?.range(prefix, storage::RangeOptions::default()).await?;
        Ok(found.kvs.into_iter().map(|kv| (kv.key.to_string(), kv.value.to_vec())).collect())
    }

    /// Sets a key, as another server on this etcd would, and says at which revision.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn put(&self, key: &str, value: Vec<u8>) -> anyhow::Result<i64> {
        let store = self.store().await?;
        let there = store.get(key).await?.0;
        let expect = there.map_or(Expect::Absent, |kv| Expect::ModRevision(kv.mod_revision));
        match store.put(key, bytes::Bytes::from(value), expect, None).await? {
            Outcome::Done { revision } => Ok(revision),
            Outcome::Conflict { .. } => anyhow::bail!("{key} was changed meanwhile"),
        }
    }

    /// Removes a key.
    ///
    /// # Errors
    /// etcd does not answer, or there is no such key.
    pub async fn delete(&self, key: &str) -> anyhow::Result<()> {
        let store = self.store().await?;
        let there = store.get(key).await?.0.with_context(|| format!("{key} is not there"))?;
        match store.delete(key, there.mod_revision).await? {
            Outcome::Done { .. } => Ok(()),
            Outcome::Conflict { .. } => anyhow::bail!("{key} was changed meanwhile"),
        }
    }

    async fn store(&self) -> anyhow::Result<impl Storage> {
        Ok(storage::EtcdStore::connect(storage::EtcdConfig::new(self.url.split(','))).await?)
    }

    /// Where it listens: a URL for each member, with commas.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn binary() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|d| d.join("etcd")).find(|p| p.is_file())
}
