//! From a configuration to a serving API server: store, caches, access, listeners, bootstrap; in the order in which each
//! needs the one before. Serving begins before the bootstrap is done (it writes through the same path); readiness waits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use access::authn::Authenticator;
use access::authn::bearer::Tokens;
use access::authn::service_account::Issuer;
use access::authz::Authorizer;
use access::authz::rbac::Rbac;
use anyhow::Context;
use component::supervisor::{Ended, Supervisor};
use endpoints::connect::Nodes;
use endpoints::metrics::{Measured, Metrics};
use endpoints::sources::{BuiltIn, Custom, Metrics as ResourceMetrics, Source, Sources};
use extensions::controller::Extensions;
use futures::future::BoxFuture;
use kinds::core::service::Repair;
use machinery::status::StatusError;
use storage::Storage;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use writes::admission::Chain;
use writes::{Registry, Rows};

use crate::Server;
use crate::bootstrap::presence::Presence;
use crate::filters::fairness::Fairness;
use crate::filters::leaving::{Leaving, Policy};
use crate::listener::{self, InProcess, Tls};

/// Where objects are kept.
#[derive(Debug, Clone)]
pub enum Store {
    /// The embedded store in this directory.
    Embedded(PathBuf),
    /// In memory, for tests.
    Memory,
    /// An embedded store that is open already.
    Open(Arc<storage::EmbeddedStore>),
    /// An etcd.
    Etcd(storage::EtcdConfig),
    /// A member of a replicated embedded store.
    Raft(crate::replicated::Member),
}

/// Everything a server is started with.
pub struct Config {
    /// Where objects are kept.
    pub store: Store,
    /// Where to listen; `None` serves in-process connections only.
    pub listen: Option<(SocketAddr, Tls)>,
    /// Who asks and what they may: made over the registry, which they read.
    pub access: MakeAccess,
    /// What is served, in the order in which it is asked for a path: made over the registry too. [`own_sources`] for what
    /// this server has itself.
    pub sources: MakeSources,
    /// How kubelets are dialled.
    pub nodes: Nodes,
    /// Reads at once.
    pub max_requests_inflight: usize,
    /// Writes at once.
    pub max_mutating_requests_inflight: usize,
    /// Times.
    pub times: Times,
    /// Makes the objects that every cluster has; called again until it succeeds.
    pub bootstrap: Bootstrap,
    /// How others know that this server is there; `None` where nobody is to.
    pub presence: Option<Arc<Presence>>,
    /// How clients are sent to other servers.
    pub leaving: Policy,
}

/// See [`Config::times`].
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The most that a request which is not long-running may take.
    pub request: Duration,
    /// How long requests are still taken after the server was told to end and says that it is not ready.
    pub shutdown_delay: Duration,
    /// How long objects that expire (Events) are kept after their last write; zero: for ever.
    pub event_ttl: Duration,
    /// Revisions older than this are compacted away, and with them exact lists and continue tokens of that age.
    pub compaction: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(60),
            shutdown_delay: Duration::ZERO,
            event_ttl: Duration::from_secs(3600),
            compaction: Duration::from_secs(300),
        }
    }
}

/// See [`Config::access`].
pub type MakeAccess = Box<dyn FnOnce(&Arc<Registry>) -> anyhow::Result<Access> + Send>;

/// See [`Config::sources`].
pub type MakeSources = Box<dyn FnOnce(&Arc<Registry>) -> Vec<Arc<dyn Source>> + Send>;

/// The built-in kinds, custom resources, and what nodes and pods use. Aggregated services belong before the last, which an
/// APIService of its group's version replaces.
pub fn own_sources(registry: &Arc<Registry>) -> Vec<Arc<dyn Source>> {
    vec![
        Arc::new(BuiltIn::new(registry.built_in().clone())),
        Arc::new(Custom::new(registry.custom().clone())),
        Arc::new(ResourceMetrics::default()),
    ]
}

/// See [`Config::bootstrap`].
pub type Bootstrap = Box<dyn Fn(Arc<Registry>) -> BoxFuture<'static, Result<(), StatusError>> + Send + Sync>;

/// Access control, assembled.
pub struct Access {
    /// Who asks.
    pub authenticator: Arc<dyn Authenticator>,
    /// May they.
    pub authorizer: Arc<dyn Authorizer>,
    /// What the cluster wants of objects.
    pub admission: Chain,
    /// The rights that users hold, for rule reviews.
    pub rbac: Arc<Rbac>,
    /// Bearer tokens, for token reviews.
    pub tokens: Arc<Tokens>,
    /// The issuer of service account tokens, where there is one.
    pub issuer: Option<Arc<Issuer>>,
}

/// A server that serves.
#[derive(Clone)]
pub struct Running {
    /// The server.
    pub server: Arc<Server>,
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// The store's cluster, where the store is replicated: its members, and changing them.
    pub cluster: Option<Arc<raft::RaftStore>>,
    cancel: CancellationToken,
    /// What the server runs beside requests.
    tasks: Supervisor,
    /// Cancelled when the last request has been answered after the server's cancellation.
    drained: CancellationToken,
}

impl Running {
    /// A listener for a component in the same process.
    pub fn in_process(&self, identity: model::user::UserInfo) -> InProcess {
        InProcess::new(self.server.clone(), identity, self.cancel.clone())
    }

    /// Runs `work` beside requests, until the server is told to stop.
    pub(crate) fn keep<F>(&self, name: &'static str, mut work: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.restarting(name, move |own| {
            let work = work();
            async move {
                own.until_stopped(work).await;
            }
        });
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) {
        // Set once, within milliseconds of the start: a short poll is simpler than a channel that clones share.
        while !self.server.ready.load(Ordering::Acquire) && !self.cancel.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until the server has drained after its cancellation.
    pub async fn stopped(&self) {
        self.drained.cancelled().await;
        self.tasks.shutdown().await;
    }

    /// Waits for the failure of a task without which the server must not go on: which, and why. Never returns otherwise.
    pub async fn failed(&self) -> anyhow::Error {
        self.tasks.stopping().cancelled().await;
        match self.tasks.finish().await {
            Err(error) => error,
            Ok(()) => std::future::pending().await,
        }
    }
}

/// Connects to an etcd that may be starting beside this server: upstream's server too gives it 20 s before it fails.
async fn connect_to_etcd(
    etcd: &storage::EtcdConfig,
    cancel: &CancellationToken,
) -> storage::Result<storage::EtcdStore> {
    const PATIENCE: Duration = Duration::from_secs(20);
    const PAUSE: Duration = Duration::from_millis(250);
    let began = Instant::now();
    let mut told = false;
    loop {
        let error = match storage::EtcdStore::connect(etcd.clone()).await {
            Err(error @ storage::Error::Unavailable(_)) if began.elapsed() < PATIENCE && !cancel.is_cancelled() => {
                error
            }
            done => return done,
        };
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%error, "etcd does not answer yet; trying for {PATIENCE:?}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A store that is lost ends the server: what it would answer is what was, and no write would be taken.
fn end_with_the_store(tasks: &Supervisor, storage: Arc<dyn Storage>) {
    tasks.vital("store", move |own| async move {
        match own.until_stopped(storage.failed()).await {
            Some(ended) => Err(ended),
            None => Ok::<(), Ended>(()),
        }
    });
}

/// Starts a server; it runs until `cancel`.
pub async fn start(config: Config, cancel: CancellationToken) -> anyhow::Result<Running> {
    let began = Instant::now();
    // The library's first random number takes tens of milliseconds of gathering entropy: not of the first client's time.
    component::supervisor::blocking("entropy", || aws_lc_rs::rand::fill(&mut [0]));
    let mut cluster = None;
    let storage: Arc<dyn Storage> = match &config.store {
        Store::Raft(member) => cluster.insert(crate::replicated::open(member, &cancel).await?).clone(),
        Store::Embedded(dir) => {
            Arc::new(storage::EmbeddedStore::open_directory(dir).context("opening the embedded store")?)
        }
        Store::Memory => Arc::new(storage::EmbeddedStore::in_memory()),
        Store::Open(store) => store.clone(),
        Store::Etcd(etcd) => Arc::new(connect_to_etcd(etcd, &cancel).await.context("connecting to etcd")?),
    };
    tracing::debug!(elapsed = ?began.elapsed(), "store opened");
    let metrics: Arc<Metrics> = Arc::default();
    let mut rows = kinds::catalogue::rows();
    for expiring in rows.iter_mut().filter(|kind| kind.ttl_seconds.is_some()) {
        Arc::make_mut(&mut expiring.row).ttl_seconds =
            Some(config.times.event_ttl.as_secs()).filter(|seconds| *seconds > 0);
    }
    let storage: Arc<dyn Storage> = Arc::new(Measured::new(storage, metrics.clone(), &rows));
    let rows = Rows::new(rows);
    let values = Arc::new(cache::Values::new(storage.is_shared()));
    let canonicalise: cache::Canonicalise = Arc::new({
        let values = values.clone();
        move |row, bytes| values.seen(row, bytes)
    });
    // What requests need goes on until the last one is answered.
    let (closing, closed, drained) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let tasks = Supervisor::new();
    // The server is told to end, or a task without which it can't go on has failed.
    let (cancel, stopping) = (cancel.child_token(), tasks.stopping());
    end_with_the_store(&tasks, storage.clone());
    let feed =
        cache::start(storage.clone(), rows.iter().map(|kind| kind.row.clone()), canonicalise, &tasks, closed.clone())
            .await?;
    tracing::debug!(elapsed = ?began.elapsed(), "caches loaded");
    let registry = Arc::new(Registry::new(rows, feed, storage.clone(), values));
    let access = (config.access)(&registry)?;
    registry.set_admission(access.admission);
    let extensions = Extensions::start(registry.clone()).await;
    let endpoints = endpoints::Server {
        sources: Sources::new((config.sources)(&registry)),
        registry,
        authenticator: access.authenticator,
        authorizer: access.authorizer,
        rbac: access.rbac,
        tokens: access.tokens,
        issuer: access.issuer,
        metrics,
        openapi: Default::default(),
        nodes: config.nodes,
        ready: Arc::new(AtomicBool::new(false)),
        request_timeout: config.times.request,
        draining: cancel.clone(),
    };
    let fairness =
        Fairness::new(config.max_requests_inflight, config.max_mutating_requests_inflight, config.times.request);
    let server = Arc::new(Server { endpoints: Arc::new(endpoints), fairness, leaving: Leaving::new(config.leaving) });
    server.endpoints.sources.run(&server.endpoints, &tasks);
    let mut address = None;
    let mut serving = None;
    if let Some((at, tls)) = config.listen {
        let listener = TcpListener::bind(at).await.with_context(|| format!("listening on {at}"))?;
        address = Some(listener.local_addr()?);
        serving = Some(listener::serve(server.clone(), listener, tls, closing.clone()));
    }
    if let Some(extensions) = extensions {
        // As long as requests are taken: definitions come and go on other servers meanwhile.
        let (registry, cancel, mut first) = (server.registry.clone(), closing.clone(), Some(extensions));
        tasks.restarting("custom resource definitions", move |_| {
            let (registry, cancel, first) = (registry.clone(), cancel.clone(), first.take());
            async move {
                let started = match first {
                    Some(started) => Some(started),
                    None => Extensions::start(registry).await,
                };
                if let Some(started) = started {
                    started.run(cancel).await;
                }
            }
        });
    }
    tracing::debug!(elapsed = ?began.elapsed(), "serving");
    let (bootstrapped, make, told) = (server.clone(), Arc::new(config.bootstrap), cancel.clone());
    tasks.restarting("bootstrap and repair", move |_| bootstrap(bootstrapped.clone(), make.clone(), told.clone()));
    if let Some(presence) = config.presence.clone() {
        let (kept, told) = (server.clone(), cancel.clone());
        tasks.restarting("presence", move |_| {
            let (presence, kept, told) = (presence.clone(), kept.clone(), told.clone());
            async move { presence.run(&kept.registry, &kept.ready, &told).await }
        });
    }
    let (interval, until) = (config.times.compaction, closed.clone());
    tasks.restarting("compaction", move |_| storage::compact_every(interval, storage.clone(), until.clone()));
    let (told, delay, close) = (cancel.clone(), config.times.shutdown_delay, closing.clone());
    let (ending, presence, most) = (server.clone(), config.presence, config.times.request);
    let (end, ended) = (closed, drained.clone());
    tasks.vital("listener and drain", move |_| async move {
        let drain = async {
            tokio::select! {
                () = told.cancelled() => {
                    let leave = async {
                        if let Some(presence) = &presence {
                            presence.leave(&ending.registry).await;
                        }
                    };
                    tokio::join!(tokio::time::sleep(delay), leave);
                    ending.leaving.drain(most).await;
                }
                () = stopping.cancelled() => told.cancel(),
            }
            close.cancel();
            ending.registry.feed().close();
        };
        match serving {
            Some(serving) => drop(tokio::join!(drain, serving)),
            None => drain.await,
        }
        end.cancel();
        ended.cancel();
    });
    if let Some(store) = cluster.clone() {
        let drained = drained.clone();
        tasks.one_shot("replicated store", async move {
            drained.cancelled().await;
            store.retire().await;
        });
    }
    Ok(Running { server, address, cluster, cancel: closing, tasks, drained })
}

/// Between two repairs of what Services hold, as upstream.
const REPAIR_INTERVAL: Duration = Duration::from_secs(180);

/// Makes what every cluster has, again until it is there.
async fn bootstrap(server: Arc<Server>, make: Arc<Bootstrap>, cancel: CancellationToken) {
    let mut told = None;
    while let Err(error) = make(server.registry.clone()).await {
        // A fault that stays is said once.
        let text = error.to_string();
        if told.as_ref() != Some(&text) {
            tracing::warn!(error = text, "bootstrap failed, trying again");
            told = Some(text);
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
    tracing::debug!("bootstrap done");
    repair(server, cancel).await;
}

/// Keeps what Services hold in repair; the server is ready once it was found in order.
async fn repair(server: Arc<Server>, cancel: CancellationToken) {
    let mut repair = Repair::default();
    loop {
        let wait = match repair.run(&server.registry).await {
            Ok(()) => {
                server.ready.store(true, Ordering::Release);
                REPAIR_INTERVAL
            }
            Err(error) => {
                tracing::warn!(%error, "the repair of what Services hold failed, trying again");
                Duration::from_millis(500)
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
