//! Starts API servers for the bench: on loopback, on a free port, with a PKI made for the run, TLS and RBAC on, and limits so
//! high that nothing throttles; Ferry's and upstream's with the same flags. They end with the bench.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper::Method;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
};

use super::connection::Access;
use super::report::UPSTREAM;

/// A server that does not get ready in this time never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// How to start a server, again and again.
pub(crate) struct Launcher {
    pub(crate) name: String,
    program: PathBuf,
    first_args: Vec<String>,
    /// The etcd to start before it; without one the server has its own store.
    etcd: Option<PathBuf>,
    folder: PathBuf,
    port: u16,
    etcd_ports: (u16, u16),
}

/// A running server; killed when dropped.
pub(crate) struct Launched {
    server: Child,
    etcd: Option<Child>,
    pub(crate) ready_after: Duration,
}

impl Launched {
    pub(crate) fn pids(&self) -> Vec<u32> {
        std::iter::once(self.server.id()).chain(self.etcd.as_ref().map(Child::id)).collect()
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        for child in std::iter::once(&mut self.server).chain(self.etcd.as_mut()) {
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
        Self::new(name, program, vec!["apiserver".to_owned()], etcd, data)
    }

    pub(crate) fn upstream(folder: &Path, data: &Path) -> anyhow::Result<Self> {
        let etcd = etcd_binary(Some(folder))?;
        Self::new(UPSTREAM, folder.join("kube-apiserver"), Vec::new(), Some(etcd), data)
    }

    fn new(
        name: &str,
        program: PathBuf,
        first_args: Vec<String>,
        etcd: Option<PathBuf>,
        data: &Path,
    ) -> anyhow::Result<Self> {
        if !program.is_file() {
            bail!("{} is not there", program.display());
        }
        let folder = data.join(name.replace(' ', "-"));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder)?;
        let ports = (free_port()?, (free_port()?, free_port()?));
        let launcher =
            Self { name: name.to_owned(), program, first_args, etcd, folder, port: ports.0, etcd_ports: ports.1 };
        launcher.make_pki()?;
        Ok(launcher)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn make_pki(&self) -> anyhow::Result<()> {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        let named = |names: &[&str], common: &str, organisation: Option<&str>| -> anyhow::Result<CertificateParams> {
            let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())?;
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, common);
            if let Some(organisation) = organisation {
                params.distinguished_name.push(DnType::OrganizationName, organisation);
            }
            Ok(params)
        };
        let (ca_key, mut ca) = (key()?, named(&[], "bench-ca", None)?);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(self.file("ca.crt"), ca.self_signed(&ca_key)?.pem())?;
        let issuer = Issuer::new(ca, ca_key);
        for (file, names, common, organisation) in [
            ("server", &["127.0.0.1", "localhost"][..], "kube-apiserver", None),
            ("admin", &[][..], "bench", Some("system:masters")),
        ] {
            let (key, params) = (key()?, named(names, common, organisation)?);
            std::fs::write(self.file(&format!("{file}.crt")), params.signed_by(&key, &issuer)?.pem())?;
            std::fs::write(self.file(&format!("{file}.key")), key.serialize_pem())?;
        }
        let accounts = key()?;
        std::fs::write(self.file("sa.key"), accounts.serialize_pem())?;
        std::fs::write(self.file("sa.pub"), accounts.public_key_pem())?;
        Ok(())
    }

    /// As whom the bench asks: an administrator with a certificate.
    pub(crate) fn access(&self) -> anyhow::Result<Access> {
        let read = |name: &str| std::fs::read(self.file(name));
        let (ca, certificate, key) = (read("ca.crt")?, read("admin.crt")?, read("admin.key")?);
        Access::new("127.0.0.1", self.port, &ca, Some((&certificate, &key)), None)
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
        let flag = |name: &str, file: &str| format!("--{name}={}", self.file(file).display());
        let mut command = Command::new(&self.program);
        command.args(&self.first_args);
        command.arg(match &self.etcd {
            Some(_) => format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_ports.0),
            None => flag("data-dir", "data"),
        });
        command.args([
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--max-requests-inflight=4000".to_owned(),
            "--max-mutating-requests-inflight=4000".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            flag("tls-cert-file", "server.crt"),
            flag("tls-private-key-file", "server.key"),
            flag("client-ca-file", "ca.crt"),
            flag("service-account-key-file", "sa.pub"),
            flag("service-account-signing-key-file", "sa.key"),
        ]);
        let begin = Instant::now();
        let server = run(command, &self.file("server.log"))?;
        let mut launched = Launched { server, etcd, ready_after: Duration::ZERO };
        let access = self.access()?;
        loop {
            // A new connection each time: before it listens there is nothing to keep.
            if let Ok(mut connection) = access.http1().await
                && connection.call(Method::GET, "/readyz", None).await.is_ok()
            {
                launched.ready_after = begin.elapsed();
                return Ok(launched);
            }
            if launched.server.try_wait()?.is_some() || begin.elapsed() > PATIENCE {
                bail!("{} does not get ready: see {}", self.name, self.file("server.log").display());
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
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("starting {:?}", command.get_program()))
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
