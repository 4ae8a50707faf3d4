//! Quotas: each one's status says what it limits, and how much of it is used.
//!
//! Upstream: `pkg/controller/resourcequota`. Admission charges what is created, so that two creations at once can't both
//! have what is left; this counts again what is freed, and everything every five minutes. New objects therefore wake
//! nobody: a count that sees them late would give away what admission has charged for them.

mod counters;
mod memory;
mod sync;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use client::{Change, Informer};
use controller::{Queue, run_workers};
use futures::future::BoxFuture;
use k8s_openapi::{
    api::{
        core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service},
        resource::v1::{DeviceClass, ResourceClaim},
    },
    jiff::Timestamp,
};
use kube::{Api, Resource, api::PostParams};
use serde_json::Value;
use usage::{
    Counted, Evaluator,
    amounts::Amounts,
    devices::{DeviceClasses, claimant, is_of},
};

use crate::{
    context::Context,
    util::key::{self, Key},
};
use counters::Counters;
use memory::Memory;

/// When a kind is looked for again that was not served, as long as upstream takes to discover it.
const RETRY: Duration = Duration::from_secs(30);

/// The kinds that use more than their number.
const PODS: Evaluator<'static> = Evaluator::of("", "pods");
const SERVICES: Evaluator<'static> = Evaluator::of("", "services");
const CLAIMS: Evaluator<'static> = Evaluator::of("", "persistentvolumeclaims");
const DEVICE_CLAIMS: Evaluator<'static> = Evaluator::of("resource.k8s.io", "resourceclaims");
const RICH: [Evaluator<'static>; 4] = [PODS, SERVICES, CLAIMS, DEVICE_CLAIMS];

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run(context))
}

/// Queues the quotas that limit something of which there is less now.
#[derive(Clone)]
struct Waker {
    quotas: Informer<ResourceQuota>,
    classes: Informer<DeviceClass>,
    queue: Queue<Key>,
}

impl Waker {
    /// In one namespace, or in all.
    fn wake(&self, evaluator: &Evaluator<'_>, namespace: Option<&str>) {
        let classes = self.classes(evaluator.counted);
        let evaluator = &evaluator.with(&classes);
        let quotas = namespace.map_or_else(|| self.quotas.list(), |namespace| self.quotas.list_namespace(namespace));
        for quota in quotas {
            if sync::tracks(&quota, evaluator) || !sync::named(&quota, evaluator).is_empty() {
                self.queue.add(Key::of(&quota.metadata));
            }
        }
    }

    /// The classes of devices, where they tell what is counted.
    fn classes(&self, counted: Counted) -> DeviceClasses {
        let all = if counted == Counted::DeviceClaims { self.classes.list() } else { Vec::new() };
        let values: Vec<Value> = all.iter().filter_map(|class| serde_json::to_value(&**class).ok()).collect();
        DeviceClasses::of(&values)
    }

    /// Follows a kind: what goes, and what `frees` says of a change.
    fn follow<K: Resource + 'static>(
        &self,
        informer: &Informer<K>,
        evaluator: Evaluator<'static>,
        frees: impl Fn(&K, &K) -> bool + Send + Sync + 'static,
    ) {
        let waker = self.clone();
        informer.on_change(move |change| {
            let freed = match change {
                Change::Added(_) => false,
                Change::Updated { old, new } => frees(old, new),
                Change::Deleted(_) => true,
            };
            if freed {
                waker.wake(&evaluator, Some(key::namespace(change.object().meta())));
            }
        });
    }
}

/// The objects of one kind, and what is remembered of them.
struct Counting<K> {
    informer: Informer<K>,
    memory: Memory,
}

struct Shell {
    context: Context,
    waker: Waker,
    /// Quotas that wait for their first figures.
    urgent: Queue<Key>,
    pods: Counting<Pod>,
    services: Counting<Service>,
    claims: Counting<PersistentVolumeClaim>,
    device_claims: Counting<ResourceClaim>,
    counters: Counters,
}

async fn run(context: Context) -> anyhow::Result<()> {
    let i = context.informers.clone();
    let (workers, cancel) = (context.config.concurrent_resource_quota_syncs, context.cancel.clone());
    let waker = Waker { quotas: i.of(), classes: i.of(), queue: Queue::new() };
    let counters = Counters::new(&context, waker.clone());
    let shell = Arc::new(Shell {
        urgent: Queue::new(),
        pods: Counting { informer: i.of(), memory: Memory::default() },
        services: Counting { informer: i.of(), memory: Memory::default() },
        claims: Counting { informer: i.of(), memory: Memory::default() },
        device_claims: Counting { informer: i.of(), memory: Memory::default() },
        context,
        waker,
        counters,
    });
    let s = shell.clone();
    shell.waker.quotas.on_change(move |change| s.quota_changed(change));
    shell.waker.follow(&shell.pods.informer, PODS, |old, new| sync::pod_frees(old, new, Timestamp::now()));
    shell.waker.follow(&shell.services.informer, SERVICES, sync::service_frees);
    shell.waker.follow(&shell.claims.informer, CLAIMS, sync::claim_frees);
    shell.waker.follow(&shell.device_claims.informer, DEVICE_CLAIMS, |_, _| false);
    shell.waker.quotas.synced().await;
    shell.waker.classes.synced().await;
    shell.pods.informer.synced().await;
    shell.services.informer.synced().await;
    shell.claims.informer.synced().await;
    shell.device_claims.informer.synced().await;
    let s = shell.clone();
    shell.context.tasks.restarting("resourcequota_resync", move |run| {
        let shell = s.clone();
        async move {
            run.until_stopped(shell.resync()).await;
        }
    });
    let name = shell.context.name;
    tokio::join!(
        run_workers(name, &shell.waker.queue, workers, cancel.clone(), |key| shell.reconcile(key)),
        run_workers("resourcequota-priority", &shell.urgent, workers, cancel.clone(), |key| shell.reconcile(key)),
    );
    Ok(())
}

impl Shell {
    fn quota_changed(&self, change: &Change<ResourceQuota>) {
        let quota = change.object();
        let key = Key::of(&quota.metadata);
        match change {
            // Its status is this controller's own affair, and admission's.
            Change::Updated { old, new } if sync::same(sync::hard(old), sync::hard(new)) => {}
            Change::Deleted(_) => self.waker.queue.add(key),
            _ if sync::is_urgent(quota, countable) => self.urgent.add(key),
            _ => self.waker.queue.add(key),
        }
    }

    /// Has everything counted again, now and then.
    async fn resync(&self) {
        let period = self.context.config.resource_quota_sync_period;
        while !period.is_zero() {
            tokio::time::sleep(period).await;
            let quotas = self.waker.quotas.list();
            let numbered = quotas.iter().flat_map(|quota| numbered(quota).into_keys());
            let wanted: HashSet<_> = numbered.collect();
            self.counters.retain(&wanted).await;
            quotas.iter().for_each(|quota| self.waker.queue.add(Key::of(&quota.metadata)));
        }
    }

    async fn reconcile(&self, key: Key) -> anyhow::Result<()> {
        let Some(quota) = self.waker.quotas.get(Some(&key.namespace), &key.name) else {
            if self.waker.quotas.list_namespace(&key.namespace).is_empty() {
                self.forget(&key.namespace);
            }
            return Ok(());
        };
        let spec = serde_json::to_value(&quota.spec)?;
        let now = Timestamp::now();
        let mut used = Amounts::new();
        self.pods.count(&quota, &spec, PODS, now, &mut used);
        self.services.count(&quota, &spec, SERVICES, now, &mut used);
        self.claims.count(&quota, &spec, CLAIMS, now, &mut used);
        self.count_device_claims(&quota, &spec, now, &mut used);
        let mut missing = false;
        for (kind, named) in numbered(&quota) {
            match self.counters.number(&kind, &key.namespace).await {
                Some(number) => {
                    sync::count_number(&spec, &Evaluator::of(&kind.0, &kind.1), &named, number, &mut used);
                }
                None => missing = true,
            }
        }
        if let Some(new) = sync::sync(&quota, &used) {
            let api: Api<ResourceQuota> = Api::namespaced(self.context.client.clone(), &key.namespace);
            match api.replace_status(&key.name, &PostParams::default(), &new).await {
                Err(e) if !client::is_not_found(&e) => return Err(e.into()),
                _ => {}
            }
        }
        if missing {
            // It may be served one day.
            self.waker.queue.add_after(key, RETRY);
        }
        Ok(())
    }

    /// Adds what claims of devices use, also as extended resources.
    fn count_device_claims(&self, quota: &ResourceQuota, spec: &Value, now: Timestamp, used: &mut Amounts) {
        let classes = self.waker.classes(DEVICE_CLAIMS.counted);
        let named = sync::named(quota, &DEVICE_CLAIMS.with(&classes));
        if named.is_empty() {
            return;
        }
        let namespace = key::namespace(&quota.metadata);
        let claims = self.device_claims.informer.list_namespace(namespace);
        let counted = self.device_claims.memory.of(&DEVICE_CLAIMS, namespace, claims.iter().cloned(), now);
        // Those that were made for pods, as they are read.
        let made: Vec<Value> = claims
            .iter()
            .filter(|claim| claim.metadata.annotations.is_some())
            .filter_map(|claim| serde_json::to_value(&**claim).ok())
            .filter(|claim| claimant(claim).is_some())
            .collect();
        let of_pod = |claim: &Value| {
            let pod = self.pods.informer.get(Some(namespace), claimant(claim)?.0)?;
            let pod = serde_json::to_value(&*pod).ok()?;
            is_of(claim, &pod, &made).then(|| PODS.usage(&pod, now))
        };
        let objects = claims.iter().zip(&counted).map(|(claim, counted)| {
            let name = key::name(&claim.metadata);
            let of_pod = made.iter().find(|made| machinery::meta::name(made) == name).and_then(of_pod);
            let mut usage = counted.usage.clone();
            classes.charge(&mut usage, &of_pod.unwrap_or_default());
            memory::Counted { facts: counted.facts.clone(), usage }
        });
        let objects: Vec<_> = objects.collect();
        sync::count(spec, &named, &objects, used);
    }

    fn forget(&self, namespace: &str) {
        self.pods.memory.forget(namespace);
        self.services.memory.forget(namespace);
        self.claims.memory.forget(namespace);
        self.device_claims.memory.forget(namespace);
    }
}

impl<K: Resource + serde::Serialize> Counting<K> {
    /// Adds what the objects use of what a quota names.
    fn count(
        &self,
        quota: &ResourceQuota,
        spec: &Value,
        evaluator: Evaluator<'static>,
        now: Timestamp,
        used: &mut Amounts,
    ) {
        let named = sync::named(quota, &evaluator);
        if named.is_empty() {
            return;
        }
        let namespace = key::namespace(&quota.metadata);
        let objects = self.memory.of(&evaluator, namespace, self.informer.each_in(namespace), now);
        sync::count(spec, &named, objects.iter().map(|o| &**o), used);
    }
}

/// The kinds whose mere numbers a quota limits, by group and plural, each with its names in the quota.
fn numbered(quota: &ResourceQuota) -> BTreeMap<(String, String), Vec<&str>> {
    let mut kinds: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for name in sync::hard(quota).keys() {
        if let Some(of) = Evaluator::by_number(name).filter(|of| of.counted == Counted::Number) {
            kinds.entry((of.group().to_owned(), of.resource().to_owned())).or_default().push(name);
        }
    }
    kinds
}

/// Whether anybody counts what a quota names so.
fn countable(name: &str) -> bool {
    Evaluator::by_number(name).is_some() || RICH.iter().any(|evaluator| evaluator.names(name))
}
