//! What the tests of this crate share: an etcd of their own, and reading watches without waiting for ever.
#![allow(dead_code, missing_docs, clippy::unwrap_used)] // each test binary uses its part; helpers of tests are tests

pub mod contract;
pub mod disk;
pub mod told;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use storage::{EtcdConfig, EtcdStore, Event, Expect, Outcome, Result, Revision, Storage, WatchItem, WatchStream};

/// Far more than anything here takes; only to end a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The etcd binary, if this machine has one.
pub fn etcd_binary() -> Option<PathBuf> {
    let found = std::env::split_paths(&std::env::var_os("PATH")?).map(|d| d.join("etcd")).find(|p| p.is_file());
    if found.is_none() {
        skips::skip("etcd", "(Debian: etcd-server)");
    }
    found
}

/// An etcd on ephemeral loopback ports, with its data in a temporary directory; gone when dropped.
pub struct EtcdServer {
    binary: PathBuf,
    data: tempfile::TempDir,
    extra: Vec<String>,
    scheme: &'static str,
    ports: (u16, u16),
    child: Child,
}

impl EtcdServer {
    pub async fn start(binary: PathBuf) -> Self {
        Self::start_with(binary, "http", Vec::new(), |url| EtcdConfig::new([url])).await.0
    }

    /// Starts one with more flags, and waits until it answers. Ports are chosen anew if somebody else took them meanwhile.
    pub async fn start_with(
        binary: PathBuf,
        scheme: &'static str,
        extra: Vec<String>,
        config: impl Fn(String) -> EtcdConfig,
    ) -> (Self, EtcdStore) {
        for _ in 0..20 {
            let data = tempfile::tempdir().unwrap();
            let ports = (free_port(), free_port());
            let child = spawn(&binary, data.path(), ports, scheme, &extra);
            let mut server = Self { binary: binary.clone(), data, extra: extra.clone(), scheme, ports, child };
            if let Some(store) = server.answers(&config).await {
                return (server, store);
            }
        }
        panic!("etcd does not start");
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.ports.0)
    }

    /// Waits until it answers; `None` if it ended instead.
    async fn answers(&mut self, config: &impl Fn(String) -> EtcdConfig) -> Option<EtcdStore> {
        let url = self.url();
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Ok(store) = EtcdStore::connect(config(url.clone())).await {
                    return Some(store);
                }
                if self.child.try_wait().unwrap().is_some() {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(20)).await; // between tries, not instead of them
            }
        })
        .await
        .expect("etcd neither answers nor ends")
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on its data and ports.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.binary, self.data.path(), self.ports, self.scheme, &self.extra);
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(binary: &PathBuf, data: &std::path::Path, ports: (u16, u16), scheme: &str, extra: &[String]) -> Child {
    let (client, peer) = (format!("{scheme}://127.0.0.1:{}", ports.0), format!("http://127.0.0.1:{}", ports.1));
    let log = std::fs::File::create(data.join("log")).unwrap();
    Command::new(binary)
        .env_clear()
        .args(["--name", "t", "--logger", "zap", "--log-level", "error", "--data-dir"])
        .arg(data.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("t={peer}")])
        .args(extra)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A write that must happen.
pub fn done(outcome: Result<Outcome>) -> Revision {
    match outcome {
        Ok(Outcome::Done { revision }) => revision,
        other => panic!("not done: {other:?}"),
    }
}

pub async fn create(store: &dyn Storage, key: &str, value: &str) -> Revision {
    done(store.put(key, Bytes::copy_from_slice(value.as_bytes()), Expect::Absent, None).await)
}

pub async fn update(store: &dyn Storage, key: &str, value: &str, at: Revision) -> Revision {
    done(store.put(key, Bytes::copy_from_slice(value.as_bytes()), Expect::ModRevision(at), None).await)
}

pub async fn next(watch: &mut WatchStream) -> Result<WatchItem> {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch yields").expect("the watch goes on")
}

/// At least the next `count` events, whatever progress comes between them.
pub async fn at_least(watch: &mut WatchStream, count: usize) -> Vec<Event> {
    let mut all = Vec::new();
    while all.len() < count {
        if let WatchItem::Events(events) = next(watch).await.unwrap() {
            assert!(!events.is_empty());
            all.extend(events);
        }
    }
    all
}

/// The next `count` events, which are all there are.
pub async fn events(watch: &mut WatchStream, count: usize) -> Vec<Event> {
    let all = at_least(watch, count).await;
    assert_eq!(all.len(), count);
    all
}
