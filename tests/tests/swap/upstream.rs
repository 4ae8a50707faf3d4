//! Upstream's kube-apiserver in a process of its own, on the same etcd as a server of Ferry's and with the same certificates,
//! keys and tokens.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use testkit::{Caller, Etcd, Process};

/// Far more than anything takes; only to end a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);
/// Of both, so that they make one cluster.
pub const SHARED: &[&str] = &[
    "--service-cluster-ip-range=10.0.0.0/24",
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
];
/// Where upstream's is said to be.
pub const ADDRESS: &str = "192.0.2.100";

/// See the module.
pub struct Upstream {
    child: Child,
    arguments: Vec<String>,
    binary: PathBuf,
    log: PathBuf,
    kubeconfig: PathBuf,
}

/// Upstream's binary, where there is one.
fn binary() -> Option<PathBuf> {
    let found = std::env::var_os("FERRY_TEST_KUBE_APISERVER").map(PathBuf::from);
    if found.is_none() {
        skips::skip("upstream's kube-apiserver", "(FERRY_TEST_KUBE_APISERVER)");
    }
    found
}

/// An etcd and a server of Ferry's on it; `None` where there is no server of upstream's to compare with, or no etcd.
pub async fn ferry() -> anyhow::Result<Option<(Etcd, Process)>> {
    if binary().is_none() {
        return Ok(None);
    }
    let Some(etcd) = Etcd::start().await? else { return Ok(None) };
    let ferry = Process::start(Some(etcd.url()), SHARED).await?;
    Ok(Some((etcd, ferry)))
}

impl Upstream {
    /// Starts it beside Ferry's, and waits until it is ready.
    pub async fn start(etcd: &Etcd, ferry: &Process) -> anyhow::Result<Self> {
        let binary = binary().context("no binary")?;
        let port = testkit::free_port()?;
        let pki = |name: &str| ferry.directory().join("data/pki").join(name).display().to_string();
        let mut arguments = vec![
            format!("--etcd-servers={}", etcd.url()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--advertise-address={ADDRESS}"),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", pki("apiserver.crt")),
            format!("--tls-private-key-file={}", pki("apiserver.key")),
            format!("--client-ca-file={}", pki("ca.crt")),
            format!("--token-auth-file={}", ferry.directory().join("tokens").display()),
            format!("--service-account-key-file={}", pki("sa.pub")),
            format!("--service-account-signing-key-file={}", pki("sa.key")),
            "--authorization-mode=Node,RBAC".to_owned(),
            format!("--requestheader-client-ca-file={}", pki("front-proxy-ca.crt")),
            "--requestheader-allowed-names=front-proxy-client".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--requestheader-uid-headers=X-Remote-Uid".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            format!("--proxy-client-cert-file={}", pki("front-proxy-client.crt")),
            format!("--proxy-client-key-file={}", pki("front-proxy-client.key")),
        ];
        arguments.extend(SHARED.iter().map(|flag| (*flag).to_owned()));
        let log = ferry.directory().join("upstream.log");
        let kubeconfig = ferry.directory().join("upstream.kubeconfig");
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": format!("https://127.0.0.1:{port}"), "certificate-authority": pki("ca.crt")}}],
            "users": [{"name": "c", "user": {"token": "token"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        std::fs::write(&kubeconfig, config.to_string())?;
        let child = spawn(&binary, &arguments, &log)?;
        let mut upstream = Self { child, arguments, binary, log, kubeconfig };
        upstream.ready().await?;
        Ok(upstream)
    }

    /// A client that may do everything.
    pub fn admin(&self) -> anyhow::Result<Caller> {
        Caller::from_kubeconfig(&self.kubeconfig)
    }

    /// SIGTERM; waits until it has ended.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        testkit::end(&mut self.child, PATIENCE).await.with_context(|| format!("upstream's server: {}", self.log()))
    }

    /// Starts it again, and waits until it is ready.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.binary, &self.arguments, &self.log)?;
        self.ready().await
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let ready = async {
            loop {
                let ended = self.child.try_wait()?;
                anyhow::ensure!(ended.is_none(), "upstream's server ended: {}", self.log());
                if self.admin()?.get("/readyz").await.is_ok_and(|answer| answer.code == 200) {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        match tokio::time::timeout(PATIENCE, ready).await {
            Ok(outcome) => outcome,
            Err(_) => anyhow::bail!("upstream's server does not become ready: {}", self.log()),
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(binary: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(binary);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().with_context(|| format!("starting {}", binary.display()))
}

/// GET through both: what differs in the answers, or the answer.
pub async fn same(ferry: &Caller, upstream: &Caller, path: &str) -> anyhow::Result<Value> {
    let (ours, theirs) = (ferry.get(path).await?, upstream.get(path).await?);
    anyhow::ensure!(ours.code == theirs.code, "{path}: {} here, {} there: {}", ours.code, theirs.code, theirs.body);
    let mut differences = Vec::new();
    differ(&ours.body, &theirs.body, "", &mut differences);
    anyhow::ensure!(differences.is_empty(), "{path}: {}", differences.join("; "));
    Ok(ours.body)
}

/// Where two values differ, in words.
pub fn differ(ours: &Value, theirs: &Value, at: &str, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differ(a, b, &format!("{at}/{key}"), out),
                    (Some(a), None) => out.push(format!("{at}/{key} is {a} here alone")),
                    (None, Some(b)) => out.push(format!("{at}/{key} is {b} there alone")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| differ(a, b, &format!("{at}/{i}"), out));
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{at} is {a} here, {b} there")),
    }
}
