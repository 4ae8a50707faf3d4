//! The loop: take what changed, compile it, apply the difference, all within milliseconds.
//!
//! The first change of a burst waits a moment for the others, and then no two updates are closer than `min_sync_period`. A
//! failure makes the next update a whole one, retried with growing patience that no change cuts short; so does a panic. Ending
//! leaves the rules where they are, and what starts next takes them over only once it knows what the cluster is: so there is no
//! moment without them. Where there are none, on a node that starts, nothing new is forwarded until then.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use client::{Informers, Scope};
use component::Supervisor;
use component::supervisor::guarded_future;
use controller::Recorder;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use netfilter::tables::Version;
use tokio_util::sync::CancellationToken;

use crate::compile::{Compiler, Options, base};
use crate::config::Config;
use crate::health::{self, Health};
use crate::kernel::Kernel;
use crate::model::{DNS, SYSTEM};
use crate::table::Table;
use crate::tracker::Tracker;
use crate::{bridge, denials};

/// How long the first change of a burst waits for the rest of it.
const GATHER: Duration = Duration::from_millis(2);
/// How often the tables are looked at, whether somebody removed them.
const CHECK_PERIOD: Duration = Duration::from_secs(5);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The DNS is waited for this long: who may not see it goes on without.
const DNS_PATIENCE: Duration = Duration::from_secs(5);

/// Runs until cancelled.
///
/// # Errors
/// The kernel has no nftables or does not let us, an address can't be bound.
pub async fn run(config: Config, informers: Informers, tasks: Supervisor) -> anyhow::Result<()> {
    let kernel = Kernel::open().context("netfilter")?;
    bridge::show_packets();
    let untold = match kernel.apply(base::tells()).await {
        Ok(()) => false,
        Err(netfilter::Error::Refused { why, .. }) => {
            tracing::warn!(
                why,
                "the kernel has no nfnetlink_log: connections that are dropped are counted, and no Event tells of them"
            );
            true
        }
        Err(error) => return Err(error).context("netfilter"),
    };
    for version in versions() {
        hold(&kernel, version).await.context("netfilter")?;
    }
    let health = Health::new();
    if let Some(address) = config.healthz_bind_address {
        health::serve_healthz(address, health.clone(), &tasks).await.context("health server")?;
    }
    if let Some(address) = config.metrics_bind_address {
        // A socket of its own: who asks does not wait for what is being applied.
        let counters = Kernel::open().context("netfilter")?;
        health::serve_metrics(address, health.clone(), counters, &tasks).await.context("metrics server")?;
    }
    let tracker = Arc::new(Tracker::default());
    if !untold {
        tell_denials(&config, &informers, &tracker, &health, &tasks);
    }

    let (pods, namespaces) = (informers.of::<Pod>(), informers.of::<Namespace>());
    let policies = informers.of::<NetworkPolicy>();
    let node = format!("metadata.name={}", config.node_name);
    let nodes = informers.scoped::<Node>(Scope { field_selector: Some(node), ..Scope::default() });
    let dns = informers.scoped::<EndpointSlice>(Scope {
        namespace: Some(SYSTEM.to_owned()),
        label_selector: Some(format!("kubernetes.io/service-name={DNS}")),
        ..Scope::default()
    });
    // Before the first list is in, so that nothing is told twice; it is looked at once all of it is there.
    tracker.pods(&pods, config.node_name.clone());
    tracker.namespaces(&namespaces);
    tracker.policies(&policies);
    tracker.node(&nodes);
    tracker.dns(&dns);
    let synced = async { tokio::join!(pods.synced(), namespaces.synced(), policies.synced(), nodes.synced()) };
    if tasks.until_stopped(synced).await.is_none() {
        return Ok(());
    }
    if tokio::time::timeout(DNS_PATIENCE, dns.synced()).await.is_err() {
        tracing::warn!("where the cluster's DNS answers can't be seen: only rules for its pods open it");
    }
    if tasks.token().is_cancelled() {
        return Ok(());
    }
    if !nodes.has(None, &config.node_name) {
        tracing::info!(node = config.node_name, "there is no such node yet: no pod is one of this machine's");
    }
    tracing::info!(node = config.node_name, "enforcing network policies with nftables");
    let options = Options { default_deny: config.default_deny, untold };
    let min_sync_period = config.min_sync_period;
    Agent::new(options, min_sync_period, kernel, tracker, health).run(tasks.token()).await;
    Ok(())
}

/// The families that this kernel has.
fn versions() -> impl Iterator<Item = Version> {
    let has_v6 = Path::new("/proc/net/if_inet6").exists();
    [Version::V4, Version::V6].into_iter().filter(move |version| *version == Version::V4 || has_v6)
}

/// Lets no new flow pass until the first rules are there, unless former ones are.
async fn hold(kernel: &Kernel, version: Version) -> Result<(), netfilter::Error> {
    let names = Table::names(version);
    for name in &names {
        if kernel.has(name).await? {
            return Ok(());
        }
    }
    tracing::info!(
        ?version,
        "no rules are left from before: nothing new is forwarded until policies and pods are known"
    );
    kernel.apply(base::hold(&names[0])).await
}

fn tell_denials(
    config: &Config,
    informers: &Informers,
    tracker: &Arc<Tracker>,
    health: &Arc<Health>,
    tasks: &Supervisor,
) {
    let recorder = Recorder::new(informers.client().clone(), "ferry-policies", &config.node_name, tasks);
    let (tracker, health) = (tracker.clone(), health.clone());
    tasks.restarting("policy_denials", move |own| denials::run(tracker.clone(), recorder.clone(), health.clone(), own));
}

struct Agent {
    options: Options,
    kernel: Kernel,
    tracker: Arc<Tracker>,
    health: Arc<Health>,
    tables: Vec<(Compiler, Table)>,
    /// The compilers have to be told everything.
    anew: bool,
    due: Instant,
    last: Instant,
    failures: u32,
    min_sync_period: Duration,
}

impl Agent {
    fn new(
        options: Options,
        min_sync_period: Duration,
        kernel: Kernel,
        tracker: Arc<Tracker>,
        health: Arc<Health>,
    ) -> Agent {
        let now = Instant::now();
        Agent {
            options,
            kernel,
            tracker,
            health,
            tables: Vec::new(),
            anew: true,
            due: now,
            last: now,
            failures: 0,
            min_sync_period,
        }
    }

    async fn run(mut self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep_until(self.due.into()) => {}
                () = self.tracker.changed() => {
                    self.health.queued();
                    // After a failure it has to wait as everything has.
                    if self.failures == 0 {
                        let now = Instant::now();
                        self.due = self.due.min((now + GATHER).max(self.last + self.min_sync_period));
                    }
                    continue;
                }
            }
            let start = Instant::now();
            let synced = guarded_future("policies_sync", self.sync(start)).await;
            let ok = synced.unwrap_or_else(|_| {
                self.anew = true;
                false
            });
            self.updated(start, ok);
        }
    }

    /// When the next update is due, after one that began at `start`.
    fn updated(&mut self, start: Instant, ok: bool) {
        self.last = start;
        if ok {
            self.failures = 0;
            self.health.updated(start.elapsed());
            let next = if self.tracker.is_dirty() { self.min_sync_period } else { CHECK_PERIOD };
            let cleanup = self.tables.iter().filter_map(|(_, table)| table.next_cleanup()).min();
            self.due = cleanup.map_or(start + next, |cleanup| cleanup.min(start + next));
        } else {
            self.failures = (self.failures + 1).min(8);
            self.health.failed();
            self.due = start + MAX_BACKOFF.min(Duration::from_millis(125) * 2u32.pow(self.failures));
        }
    }

    /// Compiles what changed and applies it. False if it has to be tried again.
    async fn sync(&mut self, start: Instant) -> bool {
        let due_for_check = start.duration_since(self.last) >= CHECK_PERIOD;
        if self.anew {
            let made = |version| (Compiler::new(self.options, version), Table::new(version));
            self.tables = versions().map(made).collect();
        }
        let tables = &mut self.tables;
        let anew = self.anew;
        let known = self.tracker.take(|facts, changed| {
            for (compiler, _) in tables.iter_mut() {
                if anew { compiler.all(facts) } else { changed.tell(facts, compiler) }
            }
            [facts.pods(), facts.policies.len()]
        });
        self.anew = false;
        let mut ok = true;
        for (compiler, table) in &mut self.tables {
            if due_for_check && table.is_known() && matches!(self.kernel.has(&table.name()).await, Ok(false)) {
                tracing::warn!(table = %table.name(), "somebody removed the rules; making them anew");
                table.resync();
            }
            let applied = apply(&self.kernel, compiler, table, start).await;
            if let Err(error) = applied {
                tracing::error!(%error, "rules not applied; all of them will be tried again");
                table.resync();
                ok = false;
            }
        }
        if ok {
            self.health.enforced(known);
        }
        ok
    }
}

async fn apply(
    kernel: &Kernel,
    compiler: &mut Compiler,
    table: &mut Table,
    start: Instant,
) -> Result<(), netfilter::Error> {
    if !table.is_known() {
        let [first, _] = Table::names(table.version());
        table.take_over(kernel.has(&first).await?);
    }
    let transactions = table.transactions(&mut compiler.wanted, start);
    if transactions.is_empty() {
        return Ok(());
    }
    for transaction in transactions {
        kernel.apply(transaction).await?;
    }
    table.applied(compiler.wanted.content(), Instant::now());
    tracing::debug!(table = %table.name(), took = ?start.elapsed(), "applied");
    Ok(())
}
