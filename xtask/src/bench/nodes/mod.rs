//! Nodes without machines, as kubemark's: Node objects and Leases that are registered once, and one watch of the pods that are
//! bound, for all nodes together. What a kubelet would say of its pods is said at once: they run and are ready, or have ended; and
//! those that are deleted are gone.
//!
//! They have a thread of their own, so that what they cost is told apart from what is measured.

mod kubelets;
mod object;
mod pods;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper::Method;
use tokio::sync::{oneshot, watch};

use super::connection::{Access, JSON, STRATEGIC};
use super::load::load;
use super::objects;
use super::process::Thread;
use kubelets::Kubelets;
pub(crate) use object::name as node_name;

/// Connections that register nodes.
const CONNECTIONS: usize = 16;

/// What nodes there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) count: usize,
    pub(crate) conduct: Conduct,
    /// Each node answers on a port of its own what its pods use; for a few nodes.
    pub(crate) kubelets: bool,
}

/// What becomes of pods that are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// Nothing.
    Leave,
    /// They run and are ready.
    Run,
    /// They end at once, with success.
    Succeed,
}

/// How far the pods are, each counted once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// Seen bound to a node.
    pub(crate) bound: usize,
    /// When the first was.
    pub(crate) first_bound: Option<Instant>,
    /// When the last was.
    pub(crate) last_bound: Option<Instant>,
    /// Reported to run or to have ended.
    pub(crate) reported: usize,
    /// When the last was.
    pub(crate) last_reported: Option<Instant>,
}

/// The nodes; they end when dropped.
pub(crate) struct Nodes {
    progress: watch::Receiver<Progress>,
    thread: Thread,
    handle: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
    end: Option<oneshot::Sender<()>>,
}

impl Nodes {
    /// Registers the nodes, and follows their pods from then on.
    pub(crate) async fn start(access: &Access, setup: Setup) -> anyhow::Result<Self> {
        let kubelets = if setup.kubelets { Some(Kubelets::bind(setup.count)?) } else { None };
        register(access, setup.count, kubelets.as_ref()).await?;
        let (sender, progress) = watch::channel(Progress::default());
        let (end, ended) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let access = access.clone();
        let handle = std::thread::Builder::new().name("nodes".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            drop(tell.send(Thread::current()?));
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                tokio::select! {
                    result = pods::follow(&access, setup.conduct, kubelets, sender) => result,
                    _ = ended => Ok(()),
                }
            })
        })?;
        let thread = told.await.context("the nodes' thread did not start")?;
        Ok(Self { progress, thread, handle: Some(handle), end: Some(end) })
    }

    /// Waits until the pods are that far.
    pub(crate) async fn until(
        &mut self,
        patience: Duration,
        enough: impl Fn(&Progress) -> bool,
    ) -> anyhow::Result<Progress> {
        let waited = tokio::time::timeout(patience, self.progress.wait_for(|progress| enough(progress))).await;
        match waited.map(|progress| progress.map(|progress| *progress)) {
            Ok(Ok(progress)) => Ok(progress),
            Err(_) => bail!("after {patience:?} the pods are only this far: {:?}", *self.progress.borrow()),
            Ok(Err(_)) => Err(self.ended().await),
        }
    }

    /// Why they have ended; not before they have.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        while self.progress.changed().await.is_ok() {}
        match self.handle.take().map(std::thread::JoinHandle::join) {
            Some(Ok(Err(error))) => error.context("the nodes have ended"),
            _ => anyhow::anyhow!("the nodes have ended"),
        }
    }

    /// How far the pods are now.
    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// CPU that they used since they started.
    pub(crate) fn cpu(&self) -> Duration {
        self.thread.cpu()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(handle) = self.handle.take() {
            drop(handle.join());
        }
    }
}

/// Each node is ready from the start; the taint that every new node gets is taken off here, for where no controller runs.
async fn register(access: &Access, count: usize, kubelets: Option<&Kubelets>) -> anyhow::Result<()> {
    objects::namespace(&mut access.http1().await?, object::LEASES).await?;
    let post = |path: String, body: String| (Method::POST, path, Some((JSON, body.into())));
    let create = |i| post("/api/v1/nodes".to_owned(), object::node(i, kubelets.map(|k| k.port(i))));
    load(access, CONNECTIONS, 0..count, create).await.context("registering nodes")?;
    let untaint = |i| {
        let body = r#"{"spec":{"taints":null}}"#;
        (Method::PATCH, format!("/api/v1/nodes/{}", object::name(i)), Some((STRATEGIC, body.into())))
    };
    load(access, CONNECTIONS, 0..count, untaint).await.context("taking taints off nodes")?;
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", object::LEASES);
    load(access, CONNECTIONS, 0..count, |i| post(leases.clone(), object::lease(i))).await.context("making leases")?;
    Ok(())
}
