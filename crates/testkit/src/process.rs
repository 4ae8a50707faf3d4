//! A real API server in a process of its own, to be killed, and other components beside it. Each is the test binary run
//! again: a test named `server` that calls [`serve`] or [`serve_one_of`] makes it one, so no other binary has to have been
//! built.

use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::Caller;

/// The component's name and its arguments, one a line.
const ARGUMENTS: &str = "FERRY_TEST_COMPONENT";
/// Name of the API server among the components.
const APISERVER: &str = "apiserver";
/// Token, user, UID, groups.
const TOKENS: &str = "token,admin,1,system:masters\njane,jane,2\njoe,joe,3\nann,ann,4\n\
    controller-manager,system:kube-controller-manager,5\nscheduler,system:kube-scheduler,6\n";
/// Far more than a start takes; only to end a test that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between tries, not instead of them.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// A component's `main`, as the `ferry` binary calls it: arguments in, outcome out.
pub type Main = fn(Vec<String>) -> Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// What the test named `server` is: an API server where this process was started as one, else nothing.
///
/// # Errors
/// The server's.
pub fn serve() -> anyhow::Result<()> {
    serve_one_of(&[])
}

/// The same where other components run, too: by name.
///
/// # Errors
/// The component's.
pub fn serve_one_of(others: &[(&str, Main)]) -> anyhow::Result<()> {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return Ok(()) };
    let mut lines = arguments.split('\n').map(str::to_owned);
    let name = lines.next().unwrap_or_default();
    let other = others.iter().find(|(other, _)| *other == name);
    ensure!(other.is_some() || name == APISERVER, "no component is named {name:?}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match other {
        Some((_, main)) => runtime.block_on(main(lines.collect())),
        None => runtime.block_on(apiserver::command::main(lines.collect())),
    }
}

/// A component's process; killed when dropped.
pub struct Component {
    name: String,
    log: PathBuf,
    arguments: Vec<String>,
    child: Child,
}

impl Component {
    /// Starts it; `name` is one of those that the test named `server` knows, `log` what gets its standard error.
    ///
    /// # Errors
    /// No process can be made.
    pub fn start(name: &str, log: PathBuf, arguments: Vec<String>) -> anyhow::Result<Self> {
        let child = spawn(name, &log, &arguments)?;
        Ok(Self { name: name.to_owned(), log, arguments, child })
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It ended before by itself.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.alive()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits until it has ended.
    ///
    /// # Errors
    /// It ended before by itself, or not well, or not at all.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        self.alive()?;
        end(&mut self.child, PATIENCE).await.with_context(|| format!("the {}: {}", self.name, self.log()))
    }

    /// Starts it again as it was started.
    ///
    /// # Errors
    /// No process can be made.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.name, &self.log, &self.arguments)?;
        Ok(())
    }

    /// # Errors
    /// It has ended by itself.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the {} ended by itself: {}", self.name, self.log());
        Ok(())
    }

    /// Number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// SIGTERM for a process, and waits until it has ended.
///
/// # Errors
/// It does not end, or not well.
pub async fn end(child: &mut Child, within: Duration) -> anyhow::Result<()> {
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM)?;
    let ended = async {
        loop {
            if let Some(status) = child.try_wait()? {
                return anyhow::Ok(status);
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let status = tokio::time::timeout(within, ended).await.context("it does not end")??;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

/// A server process; killed when dropped.
pub struct Process {
    // Ended before its directory goes.
    component: Component,
    directory: TempDir,
    port: u16,
}

impl Process {
    /// Starts a server on the embedded store, or on an etcd, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(etcd: Option<&str>, more: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(at("tokens"), TOKENS)?;
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
        let component = Component::start(APISERVER, directory.path().join("log"), arguments)?;
        let mut server = Self { component, directory, port };
        server.ready().await?;
        Ok(server)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It ended before by itself.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.component.kill()
    }

    /// SIGTERM, and waits until it has ended.
    ///
    /// # Errors
    /// It ended before by itself, or not well, or not at all.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        self.component.terminate().await
    }

    /// Starts it again where it was, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.component.start_again()?;
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
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.component.id()))?;
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

    /// A client with that token: `token` is an administrator's, `jane`, `joe` and `ann` are users without rights,
    /// `controller-manager` and `scheduler` those components.
    ///
    /// # Errors
    /// The server's authority can't be read.
    pub fn caller(&self, token: &str) -> anyhow::Result<Caller> {
        Ok(Caller::new(client::from_kubeconfig(&self.kubeconfig(token)?, "testkit")?))
    }

    /// A kubeconfig with that token, as [`Self::caller`] knows them.
    ///
    /// # Errors
    /// It can't be written.
    pub fn kubeconfig(&self, token: &str) -> anyhow::Result<PathBuf> {
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
        Ok(file)
    }

    /// Where its data, its log and its kubeconfigs are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.component.log()
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let poll = async {
            loop {
                self.component.alive().context("it does not start")?;
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

fn spawn(name: &str, log: &Path, arguments: &[String]) -> anyhow::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(log)?;
    let child = Command::new(std::env::current_exe()?)
        .args(["--exact", "server", "--nocapture"])
        .env(ARGUMENTS, format!("{name}\n{}", arguments.join("\n")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok(child)
}

/// A port below those that the kernel gives to outgoing connections, so that it is still free after a kill.
///
/// # Errors
/// None of many is free.
pub fn free_port() -> anyhow::Result<u16> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 8_000)?;
    (0..1_000)
        .map(|_| 21_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed) * 7) % 8_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no free port")
}
