//! The cluster that a scenario runs on, and its command lines.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{Cursor, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use component::Supervisor;
use http::Method;
use kubectl::cli::{context::Session, streams::Streams};
use parking_lot::Mutex;
use serde_json::json;
use testkit::{Caller, Cluster};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::{hollow_node, mask::mask, transcript::Outcome};

/// Longer than any command here takes, on a machine that does something else too.
const LIMIT: Duration = Duration::from_secs(60);

/// Names another kubectl (upstream's) to run the transcripts with, to compare.
const OTHER: &str = "FERRY_TEST_KUBECTL";

/// A cluster of two hollow nodes, `node-1` and `node-2`; it ends when this is dropped.
pub struct World {
    cluster: Cluster,
    admin: Caller,
    cancel: CancellationToken,
}

impl World {
    pub async fn start() -> anyhow::Result<Self> {
        let cluster = Cluster::start().await?;
        let admin = cluster.admin();
        let cancel = CancellationToken::new();
        let tasks = Supervisor::under(&cancel);
        let client = admin.kube();
        let controllers = controller_manager::Config::default();
        let manager = controller_manager::run(controllers, client.clone(), cancel.clone());
        tasks.vital("controller-manager", |_| manager);
        let scheduler = scheduler::run(scheduler::Config::default(), client, cancel.clone());
        tasks.vital("scheduler", |_| scheduler);
        for name in ["node-1", "node-2"] {
            hollow_node::start(name, &admin, &tasks).await?;
        }
        let range = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]}});
        admin.send(Method::POST, "/apis/networking.k8s.io/v1/servicecidrs", Some(&range)).await?;
        let world = Self { cluster, admin, cancel };
        tokio::time::timeout(LIMIT, world.nodes_ready(2)).await.context("the nodes do not get ready")??;
        Ok(world)
    }

    /// Waits until the controllers have taken the taint off that every new node has: nothing is placed before.
    async fn nodes_ready(&self, count: usize) -> anyhow::Result<()> {
        let mut events = self.admin.open("/api/v1/nodes?watch=1").await?;
        let mut ready = BTreeSet::new();
        while ready.len() < count {
            let node = events.next().await.context("the watch ended")?["object"].take();
            if node["spec"]["taints"].is_null() {
                ready.insert(node["metadata"]["name"].to_string());
            }
        }
        Ok(())
    }

    /// Runs a line as typed.
    pub async fn run(&self, line: &str, input: &str) -> anyhow::Result<Outcome> {
        let words = shlex::split(line).with_context(|| format!("{line:?} is not quoted well"))?;
        match words.split_first() {
            Some((first, arguments)) if first == "kubectl" => {
                self.kubectl(arguments, input).await.context(line.to_owned())
            }
            _ => anyhow::bail!("{line:?} is not a command line of kubectl"),
        }
    }

    async fn kubectl(&self, arguments: &[String], input: &str) -> anyhow::Result<Outcome> {
        if let Some(other) = std::env::var_os(OTHER) {
            return self.other(&other, arguments, input).await;
        }
        let written = Arc::new(Mutex::new(Vec::new()));
        let tape = |error| Tape { error, written: written.clone() };
        let streams = Streams::new(Cursor::new(input.to_owned()), tape(false), tape(true));
        let session = Session { streams, client: Some(self.admin.kube()) };
        let running = kubectl::run(arguments.to_vec(), session);
        let ended = tokio::time::timeout(LIMIT, running).await;
        let written = std::mem::take(&mut *written.lock());
        let code = ended.with_context(|| format!("it does not end; it wrote {written:?}"))?;
        let written = written.into_iter().map(|(error, text)| (error, mask(&text))).collect();
        Ok(Outcome { written, code })
    }
}

impl World {
    /// The same with another program, of which the order of standard output and error is not known.
    async fn other(&self, program: &OsStr, arguments: &[String], input: &str) -> anyhow::Result<Outcome> {
        let server = format!("--server=http://{}", self.cluster.loopback().await?);
        let mut child = tokio::process::Command::new(program)
            .arg(server)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        child.stdin.take().context("no standard input")?.write_all(input.as_bytes()).await?;
        let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await.context("it does not end")??;
        let text = |bytes: &[u8]| mask(&String::from_utf8_lossy(bytes));
        let written = vec![(false, text(&ended.stdout)), (true, text(&ended.stderr))];
        Ok(Outcome { written, code: ended.status.code().unwrap_or(-1) })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Standard output or standard error, noted in the order of writes.
struct Tape {
    error: bool,
    written: Arc<Mutex<Vec<(bool, String)>>>,
}

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut written = self.written.lock();
        let text = String::from_utf8_lossy(bytes);
        match written.last_mut() {
            Some((error, last)) if *error == self.error => last.push_str(&text),
            _ => written.push((self.error, text.into_owned())),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
