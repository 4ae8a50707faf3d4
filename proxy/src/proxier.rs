//! The loop: take what changed, compile it, apply the difference, all within milliseconds.
//!
//! The first change of a burst waits a moment for the others, and then no two updates are closer than
//! `min_sync_period`. A failure makes the next update a whole one, retried with growing patience that no change cuts
//! short. A Service whose compilation panics keeps its old rules and no other from theirs; an update that panics leaves
//! nothing that the next one builds on. Ending leaves the rules where they are: connections go on while the proxy is
//! restarted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use client::Informers;
use component::Supervisor;
use component::supervisor::{self, guarded, guarded_future};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node as ApiNode, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use netfilter::Socket;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::backends::conntrack::{self, Serving};
use crate::backends::nftables::{LocalDetector, Options, Table, compile};
use crate::backends::rules::Rules;
use crate::config::{Config, DetectLocal};
use crate::health::{self, Health, ServiceCheck, ServiceChecks};
use crate::model::{self, Family, Protocol, ServicePort, service_ports};
use crate::node::{NodeInfo, host_addresses, node_port_addresses};
use crate::tracker::{Key, Tracker};

/// How long the first change of a burst waits for the rest of it.
const GATHER: Duration = Duration::from_millis(3);
/// How often the table is looked at, whether somebody removed it.
const CHECK_PERIOD: Duration = Duration::from_secs(30);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Runs until cancelled.
///
/// # Errors
/// The kernel has no nftables or does not let us, an address can't be bound.
pub async fn run(config: Config, informers: Informers, tasks: Supervisor) -> anyhow::Result<()> {
    let rules = Rules::of_kernel().context("netfilter")?;
    // What the kernel does not allow is better said at once than with the first Service.
    rules.apply(Table::probe()).await?;
    config.conntrack.apply();
    let health = Health::new();
    if let Some(address) = config.healthz_bind_address {
        health::serve_healthz(address, health.clone(), &tasks).await.context("health server")?;
    }
    if let Some(address) = config.metrics_bind_address {
        health::serve_metrics(address, health.clone(), &tasks).await.context("metrics server")?;
    }

    let (services, slices) = (informers.of::<Service>(), informers.of::<EndpointSlice>());
    let scope =
        client::Scope { field_selector: Some(format!("metadata.name={}", config.node_name)), ..Default::default() };
    let nodes = informers.scoped::<ApiNode>(scope);
    tokio::join!(services.synced(), slices.synced(), nodes.synced());
    if tasks.token().is_cancelled() {
        return Ok(());
    }
    let tracker = Tracker::new(services, &slices);
    let around = Arc::new(Mutex::new(Surroundings::default()));
    let (seen, told) = (around.clone(), tracker.clone());
    nodes.on_change(move |change| {
        let gone = matches!(change, client::Change::Deleted(_));
        let before = seen.lock().node.clone();
        let now = if gone { NodeInfo { leaving: true, ..before.clone() } } else { NodeInfo::of(change.object()) };
        if before != now {
            seen.lock().node = now;
            told.mark_all();
        }
    });
    let (seen, told) = (around.clone(), tracker.clone());
    // Not waited for: a server may not have them, or not show them.
    informers.of::<ServiceCIDR>().on_change(move |change| {
        let range = change.object();
        let cidrs = range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
        let gone = matches!(change, client::Change::Deleted(_));
        let now: Vec<IpNet> = cidrs.filter(|_| !gone).filter_map(|cidr| cidr.parse().ok()).collect();
        let name = range.metadata.name.clone().unwrap_or_default();
        let replace = |all: &mut BTreeMap<_, _>| if gone { all.remove(&name) } else { all.insert(name, now.clone()) };
        let before = replace(&mut seen.lock().service_ranges);
        if before.unwrap_or_default() != now {
            told.mark_all();
        }
    });
    tracing::info!(node = config.node_name, "proxying Services with nftables");
    Proxier::new(config, rules, tracker, around, health, &tasks).run(tasks.token()).await;
    Ok(())
}

/// What is outside of Services, and bears on their rules.
#[derive(Clone, Default)]
struct Surroundings {
    node: NodeInfo,
    /// Where cluster IPs come from, by the name of the ServiceCIDR.
    service_ranges: BTreeMap<String, Vec<IpNet>>,
}

struct Proxier {
    config: Config,
    rules: Rules,
    tracker: Arc<Tracker>,
    around: Arc<Mutex<Surroundings>>,
    health: Arc<Health>,
    checks: ServiceChecks,
    tables: [Table; 2],
    /// The ports of UDP Services: whose flows may have to be cut.
    udp: HashMap<(Key, Family), Vec<ServicePort>>,
    /// Families of which some changed, and flows are to be looked at.
    udp_changed: HashSet<Family>,
    /// Services whose rules could not be worked out, and when that is tried again unless they change before.
    broken: HashMap<Key, Instant>,
    pace: Pace,
}

impl Proxier {
    fn new(
        config: Config,
        rules: Rules,
        tracker: Arc<Tracker>,
        around: Arc<Mutex<Surroundings>>,
        health: Arc<Health>,
        tasks: &Supervisor,
    ) -> Proxier {
        let tables = new_tables(&config, &around.lock());
        Proxier {
            tables,
            pace: Pace::new(config.min_sync_period),
            config,
            rules,
            tracker,
            around,
            checks: ServiceChecks::new(health.clone(), tasks.child("service_checks")),
            health,
            udp: HashMap::new(),
            udp_changed: HashSet::new(),
            broken: HashMap::new(),
        }
    }

    async fn run(mut self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep_until(self.pace.due.into()) => {}
                () = self.tracker.changed() => {
                    self.health.queued();
                    self.pace.changed(Instant::now());
                    continue;
                }
            }
            let start = Instant::now();
            let ok = self.update(async |proxier, dirty| proxier.sync(start, dirty).await).await;
            // Not before the own rules are there: traffic finds the one or the other.
            if ok
                && std::mem::take(&mut self.config.succeed)
                && let Err(error) = crate::succeed(&self.rules).await
            {
                tracing::warn!(%error, "what another proxy left can't be removed");
            }
            let cleanups = self.tables.iter().filter_map(Table::next_cleanup);
            let early = cleanups.chain(self.broken.values().copied()).min();
            self.pace.updated(start, ok, early, self.tracker.is_dirty());
        }
    }

    /// Has `sync` bring what changed to the kernel. False if it has to be tried again: with nothing but the informers'
    /// word to go by, if it panicked.
    async fn update(&mut self, sync: impl AsyncFnOnce(&mut Self, &HashSet<Key>) -> bool) -> bool {
        let (mut dirty, now) = (self.tracker.take(), Instant::now());
        dirty.extend(self.broken.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()));
        let synced = guarded_future("proxy_sync", sync(self, &dirty)).await;
        synced.unwrap_or_else(|_| {
            self.tables = new_tables(&self.config, &self.around.lock());
            self.udp.clear();
            self.tracker.put_back(dirty);
            self.tracker.mark_all();
            self.health.failed();
            false
        })
    }

    /// Compiles what changed and applies it. False if it has to be tried again.
    async fn sync(&mut self, start: Instant, dirty: &HashSet<Key>) -> bool {
        if self.pace.is_check_due(start) && self.is_missing().await {
            tracing::warn!("somebody removed the rules; making them anew");
            self.tables.iter_mut().for_each(Table::resync);
        }
        let around = self.around.lock().clone();
        self.health.node_leaving(around.node.leaving);
        for table in &mut self.tables {
            let options = options(&self.config, &around, table.options().family);
            table.set_options(options);
        }
        let node = model::Node { name: self.config.node_name.clone(), zone: around.node.zone };
        self.each(dirty, |proxier, key| proxier.compile(key, &node));
        let mut ok = true;
        for table in &mut self.tables {
            ok &= apply(&self.rules, table, dirty.len()).await;
        }
        if ok {
            self.health.updated(start.elapsed());
        } else {
            self.health.failed();
        }
        for family in std::mem::take(&mut self.udp_changed) {
            self.cut_stale_flows(family).await;
        }
        ok
    }

    /// Has `work` done for each Service; one with which it panics is left for later.
    fn each(&mut self, dirty: &HashSet<Key>, work: impl Fn(&mut Self, &Key)) {
        for key in dirty {
            self.broken.remove(key);
            if guarded("proxy_service", || work(self, key)).is_err() {
                tracing::error!(namespace = key.0, service = key.1, "the Service's rules could not be worked out");
                self.broken.insert(key.clone(), Instant::now() + CHECK_PERIOD);
            }
        }
    }

    fn compile(&mut self, key: &Key, node: &model::Node) {
        let found = self.tracker.get(key);
        let mut check = None;
        for table in &mut self.tables {
            let family = table.options().family;
            let ports = found.as_ref().map_or_else(Vec::new, |(service, slices)| {
                service_ports(service, slices.iter().map(AsRef::as_ref), node, family)
            });
            check = check.or_else(|| {
                let with = ports.iter().find_map(|port| Some((port.health_check_port?, port)));
                with.map(|(port, with)| ServiceCheck { port, local_ready: with.endpoints.local_ready })
            });
            table.replace(&format!("{}/{}", key.0, key.1), compile(&ports, table.options()));
            let udp: Vec<ServicePort> = ports.into_iter().filter(|port| port.protocol == Protocol::Udp).collect();
            if udp.is_empty() {
                self.udp.remove(&(key.clone(), family));
            } else if self.udp.insert((key.clone(), family), udp.clone()).as_ref() != Some(&udp) {
                self.udp_changed.insert(family);
            }
        }
        self.checks.set(key, check);
    }

    async fn cut_stale_flows(&self, family: Family) {
        let mut serving = Serving::default();
        let ports = self.udp.iter().filter(|((_, of), _)| *of == family).flat_map(|(_, ports)| ports);
        ports.for_each(|port| serving.add(port));
        let clean = move || conntrack::clean(&mut Socket::open()?, family, &serving);
        match supervisor::blocking("conntrack", clean).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(flows)) => tracing::debug!(flows, "cut UDP flows to endpoints that are gone"),
            Ok(Err(error)) => tracing::warn!(%error, "UDP flows to endpoints that are gone can't be cut"),
        }
    }

    /// Whether the table is gone: emptying the chain that is always empty fails.
    async fn is_missing(&self) -> bool {
        matches!(self.rules.apply(self.tables[0].sign_of_life()).await, Err(netfilter::Error::Refused { .. }))
    }
}

fn new_tables(config: &Config, around: &Surroundings) -> [Table; 2] {
    [Family::V4, Family::V6].map(|family| Table::new(options(config, around, family)))
}

/// When the next update is due.
#[derive(Debug)]
struct Pace {
    due: Instant,
    /// When the last one began.
    last: Instant,
    /// Those before it that failed, since one that did not.
    failures: u32,
    min_sync_period: Duration,
}

impl Pace {
    /// The first update, which makes the table, Services or none, is due at once.
    fn new(min_sync_period: Duration) -> Pace {
        let now = Instant::now();
        Pace { due: now, last: now, failures: 0, min_sync_period }
    }

    /// Something changed. After a failure it has to wait as everything has.
    fn changed(&mut self, now: Instant) {
        if self.failures == 0 {
            self.due = self.due.min((now + GATHER).max(self.last + self.min_sync_period));
        }
    }

    /// Whether the table was not looked at for long.
    fn is_check_due(&self, now: Instant) -> bool {
        now.duration_since(self.last) >= CHECK_PERIOD
    }

    /// An update that began at `start` is over. `early`: when something has to be done though nothing changes; `dirty`:
    /// something changed meanwhile.
    fn updated(&mut self, start: Instant, ok: bool, early: Option<Instant>, dirty: bool) {
        self.last = start;
        self.failures = if ok { 0 } else { (self.failures + 1).min(8) };
        if !ok {
            self.due = start + MAX_BACKOFF.min(Duration::from_millis(250) * 2u32.pow(self.failures));
            return;
        }
        let next = if dirty { self.min_sync_period } else { CHECK_PERIOD };
        self.due = early.map_or(start + next, |early| early.min(start + next));
    }
}

async fn apply(rules: &Rules, table: &mut Table, services: usize) -> bool {
    let family = table.options().family;
    if !table.is_known() {
        let mut found = Vec::new();
        for name in Table::names(family) {
            match rules.timed_addresses(name.clone()).await {
                Ok(clients) => found.extend(clients.map(|clients| (name, clients))),
                Err(error) => tracing::warn!(?family, %error, "what another proxy left can't be read"),
            }
        }
        table.take_over(found);
    }
    // A host without IPv6 has no table for it, and needs none until there is a Service for it.
    if family == Family::V6 && table.is_empty() && !table.is_known() {
        return true;
    }
    let start = Instant::now();
    let transactions = table.transactions(start);
    if transactions.is_empty() {
        return true;
    }
    let applied = async {
        for transaction in transactions {
            rules.apply(transaction).await?;
        }
        Ok::<_, netfilter::Error>(())
    };
    match applied.await {
        Ok(()) => {
            table.applied(Instant::now());
            tracing::debug!(?family, services, elements = table.len(), took = ?start.elapsed(), "applied");
            true
        }
        Err(error) => {
            tracing::error!(?family, %error, "rules not applied; all of them will be tried again");
            table.resync();
            false
        }
    }
}

fn options(config: &Config, around: &Surroundings, family: Family) -> Options {
    let mut node = around.node.clone();
    if let Some(ip) = config.node_ip {
        node.ips.insert(0, ip);
    }
    let local = match &config.detect_local {
        DetectLocal::ClusterCidr(cidrs) if cidrs.is_empty() => LocalDetector::None,
        DetectLocal::ClusterCidr(cidrs) => LocalDetector::Cidrs(cidrs.clone()),
        DetectLocal::NodeCidr => LocalDetector::Cidrs(node.pod_cidrs.clone()),
        DetectLocal::Interface(name) => LocalDetector::Interface(name.clone()),
    };
    let on_host = if config.node_port_addresses.is_empty() { Vec::new() } else { host_addresses() };
    Options {
        family,
        local,
        masquerade_all: config.masquerade_all,
        masquerade_mark: 1 << config.masquerade_bit,
        node_port_addresses: node_port_addresses(&config.node_port_addresses, &node, &on_host),
        service_ranges: around.service_ranges.values().flatten().copied().collect(),
    }
}

#[cfg(test)]
mod tests;
