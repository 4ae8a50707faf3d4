//! Starts servers for the bench: API servers on loopback, on a free port, with a PKI made for the run, TLS and RBAC on, and limits
//! so high that nothing throttles; a controller manager and a scheduler beside them where a cluster is measured. Ferry's and
//! upstream's have the same flags. They end with the bench.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper::Method;

use super::connection::Access;
use super::pki;
use super::process::{Process, Processes};
use super::report::UPSTREAM;

/// A server that does not get ready in this time never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// Of a proxy, but for its kubeconfig: what it can't change in a namespace it leaves alone.
const PROXY_FLAGS: [&str; 8] = [
    "--proxy-mode=nftables",
    "--cluster-cidr=10.244.0.0/16",
    "--hostname-override=node-00000",
    "--conntrack-max-per-core=0",
    "--conntrack-min=0",
    "--conntrack-tcp-timeout-established=0",
    "--conntrack-tcp-timeout-close-wait=0",
    "--v=2",
];

/// What is started of a cluster beside its API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Manager,
    Scheduler,
}

/// How to start servers, again and again.
#[derive(Clone)]
pub(crate) struct Launcher {
    pub(crate) name: String,
    programs: Programs,
    /// The etcd to start before the API server; without one that has its own store.
    etcd: Option<PathBuf>,
    folder: PathBuf,
    port: u16,
    etcd_ports: (u16, u16),
    /// What upstream's parts may ask a second; `None`: what they allow themselves.
    qps: Option<u32>,
}

#[derive(Clone)]
enum Programs {
    /// One binary.
    Ferry(PathBuf),
    /// A folder of them.
    Upstream(PathBuf),
}

impl Programs {
    fn command(&self, of_ferry: &str, of_upstream: &str) -> Command {
        match self {
            Self::Ferry(program) => {
                let mut command = Command::new(program);
                command.arg(of_ferry);
                command
            }
            Self::Upstream(folder) => Command::new(folder.join(of_upstream)),
        }
    }
}

/// Running servers; killed when dropped.
pub(crate) struct Launched {
    children: Vec<(&'static str, Child)>,
    pub(crate) ready_after: Duration,
}

impl Launched {
    /// The API server, its etcd where it has one, then the other parts as they were started.
    pub(crate) fn processes(&self) -> Processes {
        Processes::new(self.children.iter().map(|(name, child)| Process { name, pid: child.id() }).collect())
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // What asks ends before what is asked.
        for (_, child) in self.children.iter_mut().rev() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The etcd of a folder of upstream's binaries, or of the PATH.
pub(crate) fn etcd_binary(folder: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folder.map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
    folders.map(|f| f.join("etcd")).find(|p| p.is_file()).context("no etcd found (Debian: etcd-server)")
}

impl Launcher {
    pub(crate) fn ferry(program: PathBuf, etcd: Option<PathBuf>, data: &Path) -> anyhow::Result<Self> {
        let name = if etcd.is_some() { "ferry on etcd" } else { "ferry" };
        Self::new(name, Programs::Ferry(program), etcd, data, None)
    }

    pub(crate) fn upstream(folder: &Path, data: &Path, qps: Option<u32>) -> anyhow::Result<Self> {
        let etcd = etcd_binary(Some(folder))?;
        Self::new(UPSTREAM, Programs::Upstream(folder.to_owned()), Some(etcd), data, qps)
    }

    fn new(
        name: &str,
        programs: Programs,
        etcd: Option<PathBuf>,
        data: &Path,
        qps: Option<u32>,
    ) -> anyhow::Result<Self> {
        let folder = data.join(name.replace(' ', "-"));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder)?;
        // Files are named in flags and kubeconfigs of processes.
        let folder = folder.canonicalize()?;
        let (port, etcd_ports) = (free_port()?, (free_port()?, free_port()?));
        pki::write(&folder, port)?;
        Ok(Self { name: name.to_owned(), programs, etcd, folder, port, etcd_ports, qps })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// As whom the bench asks: an administrator with a certificate.
    pub(crate) fn access(&self) -> anyhow::Result<Access> {
        self.access_to(self.port)
    }

    fn access_to(&self, port: u16) -> anyhow::Result<Access> {
        let read = |name: &str| std::fs::read(self.file(name));
        let (ca, certificate, key) = (read("ca.crt")?, read("admin.crt")?, read("admin.key")?);
        Access::new("127.0.0.1", port, &ca, Some((&certificate, &key)), None)
    }

    /// Starts with no data.
    pub(crate) async fn start_empty(&self) -> anyhow::Result<Launched> {
        for folder in ["data", "etcd"] {
            drop(std::fs::remove_dir_all(self.file(folder)));
        }
        self.start().await
    }

    /// Starts with the data that is there. An etcd is started first and not counted.
    pub(crate) async fn start(&self) -> anyhow::Result<Launched> {
        let etcd = match &self.etcd {
            Some(program) => Some(self.start_etcd(program).await?),
            None => None,
        };
        let mut command = self.programs.command("apiserver", "kube-apiserver");
        command.arg(match &self.etcd {
            Some(_) => format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_ports.0),
            None => self.flag("data-dir", "data"),
        });
        command.args(self.serving(self.port));
        command.args([
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--max-requests-inflight=4000".to_owned(),
            "--max-mutating-requests-inflight=4000".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            self.flag("client-ca-file", "ca.crt"),
            self.flag("service-account-key-file", "sa.pub"),
            self.flag("service-account-signing-key-file", "sa.key"),
        ]);
        let begin = Instant::now();
        let mut children = vec![("API server", run(command, &self.file("server.log"))?)];
        children.extend(etcd.map(|etcd| ("etcd", etcd)));
        let mut launched = Launched { children, ready_after: Duration::ZERO };
        self.ready("server.log", self.port, "/readyz", &mut launched.children[0].1).await?;
        launched.ready_after = begin.elapsed();
        Ok(launched)
    }

    /// Starts the proxy of the first node in this network namespace, and does not wait for it.
    pub(crate) fn start_proxy(&self, launched: &mut Launched) -> anyhow::Result<()> {
        let mut command = self.programs.command("proxy", "kube-proxy");
        command.args(PROXY_FLAGS).arg(self.flag("kubeconfig", "proxy.conf"));
        launched.children.push(("proxy", run(command, &self.file("proxy.log"))?));
        Ok(())
    }

    /// Starts the agent for policies of the first node, likewise.
    pub(crate) fn start_policies(&self, launched: &mut Launched) -> anyhow::Result<()> {
        let mut command = self.programs.command("policies", "policies");
        command.arg("--hostname-override=node-00000").arg(self.flag("kubeconfig", "policies.conf"));
        launched.children.push(("policies", run(command, &self.file("policies.log"))?));
        Ok(())
    }

    /// Starts a part beside the API server, and returns when it says that it is healthy: it has then begun to look around.
    pub(crate) async fn start_part(&self, part: Part, launched: &mut Launched) -> anyhow::Result<()> {
        let port = free_port()?;
        let (name, log, user, mut command) = match part {
            Part::Manager => {
                let mut command = self.programs.command("controller-manager", "kube-controller-manager");
                command.args([
                    "--use-service-account-credentials=true".to_owned(),
                    // Nodes of the bench say once that they are ready.
                    "--node-monitor-grace-period=24h".to_owned(),
                    self.flag("root-ca-file", "ca.crt"),
                    self.flag("service-account-private-key-file", "sa.key"),
                ]);
                ("controller manager", "manager.log", "manager", command)
            }
            Part::Scheduler => {
                ("scheduler", "scheduler.log", "scheduler", self.programs.command("scheduler", "kube-scheduler"))
            }
        };
        command.args(self.serving(port)).arg("--leader-elect=false");
        for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(self.flag(flag, &format!("{user}.conf")));
        }
        if let (Programs::Upstream(_), Some(qps)) = (&self.programs, self.qps) {
            command.args([format!("--kube-api-qps={qps}"), format!("--kube-api-burst={qps}")]);
        }
        let mut child = run(command, &self.file(log))?;
        let ready = self.ready(log, port, "/healthz", &mut child).await;
        launched.children.push((name, child));
        ready
    }

    /// A command of Ferry's, on its own store; `None` for other servers.
    pub(crate) fn own_command(&self, command: &str) -> Option<Command> {
        match (&self.programs, &self.etcd) {
            (programs @ Programs::Ferry(_), None) => Some(programs.command(command, command)),
            _ => None,
        }
    }

    /// Forgets all data, as a disk that is lost.
    pub(crate) fn remove_data(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_dir_all(self.file("data"))?)
    }

    pub(crate) fn flag(&self, name: &str, file: &str) -> String {
        format!("--{name}={}", self.file(file).display())
    }

    /// Flags of what every part serves.
    fn serving(&self, port: u16) -> [String; 4] {
        [
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            self.flag("tls-cert-file", "server.crt"),
            self.flag("tls-private-key-file", "server.key"),
        ]
    }

    async fn ready(&self, log: &str, port: u16, path: &str, child: &mut Child) -> anyhow::Result<()> {
        let (access, begin) = (self.access_to(port)?, Instant::now());
        loop {
            // A new connection each time: before it listens there is nothing to keep.
            if let Ok(mut connection) = access.http1().await
                && connection.call(Method::GET, path, None).await.is_ok()
            {
                return Ok(());
            }
            if child.try_wait()?.is_some() || begin.elapsed() > PATIENCE {
                bail!("{} does not get ready: see {}", self.name, self.file(log).display());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn start_etcd(&self, program: &Path) -> anyhow::Result<Child> {
        let [client, peer] = [self.etcd_ports.0, self.etcd_ports.1].map(|port| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new(program);
        command.arg("--data-dir").arg(self.file("etcd"));
        command.args(["--name", "bench", "--quota-backend-bytes", "8589934592"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("bench={peer}")]);
        let child = run(command, &self.file("etcd.log"))?;
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.etcd_ports.0)).await.is_err() {
            if begin.elapsed() > PATIENCE {
                bail!("etcd does not start: see {}", self.file("etcd.log").display());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(child)
    }
}

fn run(mut command: Command, log: &Path) -> anyhow::Result<Child> {
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    // With which flags is said: the log begins with them.
    writeln!(log, "{command:?}")?;
    command.spawn().with_context(|| format!("starting {:?}", command.get_program()))
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
