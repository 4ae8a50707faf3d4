//! A real API server in a process of its own, to be killed. It is the test binary run again: a test named `server` that
//! calls [`serve`] makes it one, so no other binary has to have been built.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use storage::Storage;
use tempfile::TempDir;

use crate::Caller;

const ARGUMENTS: &str = "FERRY_TEST_APISERVER";
/// Far more than a start takes; only to end a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between tries, not instead of them.
const PAUSE: Duration = Duration::from_millis(20);

/// What the test named `server` is: an API server where this process was started as one, else nothing.
///
/// # Errors
/// The server's.
pub fn serve() -> anyhow::Result<()> {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return Ok(()) };
    let argv = arguments.split('\n').map(str::to_owned).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(apiserver::command::main(argv))
}

/// A server process; killed when dropped.
pub struct Process {
    directory: TempDir,
    port: u16,
    arguments: Vec<String>,
    child: Child,
}

impl Process {
    /// Starts a server on the embedded store, or on an etcd, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(etcd: Option<&str>, more: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(at("tokens"), "token,admin,1,system:masters\njane,jane,2\njoe,joe,3\nann,ann,4\n")?;
        let port = free_port()?;
        let mut arguments = vec![
            "--bind-address=127.0.0.1".to_owned(),
            // Documentation's: where the server is for others is not what is tested.
            "--advertise-address=192.0.2.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--data-dir={}", at("data")),
            format!("--token-auth-file={}", at("tokens")),
        ];
        arguments.extend(etcd.map(|url| format!("--etcd-servers={url}")));
        arguments.extend(more.iter().map(|flag| (*flag).to_owned()));
        let child = spawn(directory.path(), &arguments)?;
        let mut server = Self { directory, port, arguments, child };
        server.ready().await?;
        Ok(server)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It ended before by itself.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the server ended by itself: {}", self.log());
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again where it was, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = spawn(self.directory.path(), &self.arguments)?;
        self.ready().await
    }

    /// Where it listens, on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its authority, PEM.
    ///
    /// # Errors
    /// It can't be read.
    pub fn authority(&self) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(self.directory.path().join("data/pki/ca.crt"))?)
    }

    /// Memory it has resident, in KiB.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// A client that may do everything, on connections of its own.
    ///
    /// # Errors
    /// The server's authority can't be read.
    pub fn admin(&self) -> anyhow::Result<Caller> {
        self.caller("token")
    }

    /// A client with that token: `token` is an administrator's, `jane`, `joe` and `ann` are users without rights.
    ///
    /// # Errors
    /// The server's authority can't be read.
    pub fn caller(&self, token: &str) -> anyhow::Result<Caller> {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority": self.directory.path().join("data/pki/ca.crt"),
            }}],
            "users": [{"name": "c", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        let file = self.directory.path().join(format!("kubeconfig-{token}"));
        std::fs::write(&file, kubeconfig.to_string())?;
        Ok(Caller::new(client::from_kubeconfig(&file, "testkit")?))
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let poll = async {
            loop {
                ensure!(self.child.try_wait()?.is_none(), "the server does not start: {}", self.log());
                if let Ok(caller) = self.admin()
                    && caller.get("/readyz").await.is_ok_and(|answer| answer.code == 200)
                {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        match tokio::time::timeout(PATIENCE, poll).await {
            Ok(outcome) => outcome,
            Err(_) => anyhow::bail!("the server does not become ready: {}", self.log()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(directory: &Path, arguments: &[String]) -> anyhow::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(directory.join("log"))?;
    let child = Command::new(std::env::current_exe()?)
        .args(["--exact", "server", "--nocapture"])
        .env(ARGUMENTS, arguments.join("\n"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok(child)
}

/// An etcd on loopback ports, with its data in a temporary directory; killed when dropped.
pub struct Etcd {
    _data: TempDir,
    url: String,
    child: Child,
}

impl Etcd {
    /// Starts one; `None` where this machine has none.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let Some(binary) = etcd_binary() else {
            skips::skip("etcd", "(Debian: etcd-server)");
            return Ok(None);
        };
        let data = tempfile::tempdir()?;
        let (port, peer) = (free_port()?, format!("http://127.0.0.1:{}", free_port()?));
        let url = format!("http://127.0.0.1:{port}");
        let child = Command::new(binary)
            .env_clear()
            .args(["--name", "t", "--log-level", "error", "--data-dir"])
            .arg(data.path().join("data"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("t={peer}")])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(data.path().join("log"))?)
            .spawn()?;
        let etcd = Self { _data: data, url, child };
        let answers = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, answers).await.context("etcd does not start")?;
        Ok(Some(etcd))
    }

    /// The bytes at a key.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn get(&self, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.store().await?.get(key).await?.0.map(|kv| kv.value.to_vec()))
    }

    /// Sets a key, as another server on this etcd would, and says at which revision.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn put(&self, key: &str, value: Vec<u8>) -> anyhow::Result<i64> {
        let store = self.store().await?;
        let there = store.get(key).await?.0;
        let expect = there.map_or(storage::Expect::Absent, |kv| storage::Expect::ModRevision(kv.mod_revision));
        match store.put(key, bytes::Bytes::from(value), expect, None).await? {
            storage::Outcome::Done { revision } => Ok(revision),
            storage::Outcome::Conflict { .. } => anyhow::bail!("{key} was changed meanwhile"),
        }
    }

    async fn store(&self) -> anyhow::Result<impl Storage> {
        Ok(storage::EtcdStore::connect(storage::EtcdConfig::new([self.url.as_str()])).await?)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn etcd_binary() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|d| d.join("etcd")).find(|p| p.is_file())
}

/// A port below those that the kernel gives to outgoing connections, so that it is still free after a kill.
fn free_port() -> anyhow::Result<u16> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 8_000)?;
    (0..1_000)
        .map(|_| 21_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed) * 7) % 8_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no free port")
}
