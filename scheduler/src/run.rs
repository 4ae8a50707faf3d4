//! The shell: watches feed the core, the core decides, the actor does.
//!
//! The core has a thread of its own, for deciding is pure computation and must not hold up the runtime's tasks. It gets
//! everything through one channel and applies all that is there before it tries the next pod. The watches keep no
//! objects: what scheduling needs of them is in the core's cache, and nowhere else.

use std::{
    collections::HashSet,
    fmt::Debug,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use client::{Event as Seen, Reflector, Target};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{Namespace, Node, Pod, ReplicationController, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::Resource;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    bind::{Actor, Done},
    cache::{
        Budget,
        labels::{Labels, Selector},
        owners::OwnerKind,
    },
    config::Config,
    core::{Core, Effect},
    events::Recorder,
};

/// How often pods that wait for long are looked at.
const TICK: Duration = Duration::from_secs(30);

enum Input {
    Pod(Seen<Pod>),
    Node(Seen<Node>),
    Namespace(Seen<Namespace>),
    Service(Seen<Service>),
    ReplicaSet(Seen<ReplicaSet>),
    ReplicationController(Seen<ReplicationController>),
    StatefulSet(Seen<StatefulSet>),
    Budget(Seen<PodDisruptionBudget>),
    Done(Done),
    Stop,
}

fn watch<K>(
    client: &kube::Client,
    cancel: &CancellationToken,
    query: &str,
    inputs: &Sender<Input>,
    wrap: impl Fn(Seen<K>) -> Input + Send + 'static,
) where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    let target = Target { path: K::url_path(&(), None), query: query.to_owned(), metadata_only: false };
    let reflector = Reflector { client: client.clone(), target };
    let (cancel, inputs) = (cancel.clone(), inputs.clone());
    tokio::spawn(async move {
        // Once the receiver is gone the scheduler stops anyway.
        let sink = move |seen: Seen<K>| drop(inputs.send(wrap(seen)));
        reflector.run(cancel, |object: &K| object.meta().resource_version.as_deref(), sink).await;
    });
}

/// Schedules until cancelled.
pub async fn run(config: Config, client: kube::Client, cancel: CancellationToken) -> anyhow::Result<()> {
    let core = Core::new(&config.settings(), |n| rand::random_range(0..n), |interner| config.frameworks(interner))
        .map_err(anyhow::Error::msg)?;
    let host = config.host.clone();
    let recorder = Recorder::start(client.clone(), host, cancel.clone());
    let (done, mut all_done) = tokio::sync::mpsc::unbounded_channel();
    let actor = Actor::new(client.clone(), recorder, core.profiles().clone(), done);
    let (inputs, received) = channel();

    let finished_out = "fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed";
    watch(&client, &cancel, finished_out, &inputs, Input::Pod);
    watch(&client, &cancel, "", &inputs, Input::Node);
    watch(&client, &cancel, "", &inputs, Input::Namespace);
    watch(&client, &cancel, "", &inputs, Input::Service);
    watch(&client, &cancel, "", &inputs, Input::ReplicaSet);
    watch(&client, &cancel, "", &inputs, Input::ReplicationController);
    watch(&client, &cancel, "", &inputs, Input::StatefulSet);
    watch(&client, &cancel, "", &inputs, Input::Budget);
    let to_core = inputs.clone();
    tokio::spawn(async move {
        while let Some(done) = all_done.recv().await {
            if to_core.send(Input::Done(done)).is_err() {
                break;
            }
        }
    });
    let runtime = Handle::current();
    let thread = std::thread::Builder::new().name("scheduler".to_owned()).spawn(move || {
        let _in_runtime = runtime.enter();
        Loop { core, actor, unsynced: 8, seen_pods: None, seen_nodes: None }.run(&received);
    })?;
    cancel.cancelled().await;
    let _ = inputs.send(Input::Stop);
    tokio::task::spawn_blocking(move || thread.join())
        .await?
        .map_err(|_| anyhow::anyhow!("the scheduling thread panicked"))
}

struct Loop {
    core: Core,
    actor: Actor,
    /// Kinds whose first list is not in yet: until then nothing is decided.
    unsynced: usize,
    /// While a list is coming in: what it has shown so far.
    seen_pods: Option<HashSet<String>>,
    seen_nodes: Option<HashSet<String>>,
}

impl Loop {
    fn run(mut self, inputs: &Receiver<Input>) {
        let mut next_tick = Instant::now() + TICK;
        let mut synced = HashSet::new();
        loop {
            // Everything that is there first: a decision on old news is a wrong one.
            loop {
                match inputs.try_recv() {
                    Ok(Input::Stop) => return,
                    Ok(input) => self.apply(input, &mut synced),
                    Err(_) => break,
                }
            }
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.core.tick(now);
            }
            if self.unsynced == 0
                && let Some(effects) = self.core.step(now)
            {
                self.act(effects);
                continue;
            }
            let until = self.core.next_due().map_or(next_tick, |due| due.min(next_tick));
            let until = if self.unsynced == 0 { until } else { next_tick };
            match inputs.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(input) => self.apply(input, &mut synced),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn act(&self, effects: Vec<Effect>) {
        for effect in effects {
            self.actor.act(effect);
        }
    }

    fn synced(&mut self, kind: &'static str, synced: &mut HashSet<&'static str>) {
        if synced.insert(kind) {
            self.unsynced -= 1;
            if self.unsynced == 0 {
                tracing::info!("caches are synced; scheduling");
            }
        }
    }

    fn apply(&mut self, input: Input, synced: &mut HashSet<&'static str>) {
        let now = Instant::now();
        match input {
            Input::Stop => {}
            Input::Done(Done::Evicted(preemptor)) => self.core.evicted(&preemptor, now),
            Input::Done(Done::Bound(uid, result)) => {
                let effects = self.core.bound(&uid, result, now);
                self.act(effects);
            }
            Input::Pod(Seen::Restart) => self.seen_pods = Some(HashSet::new()),
            Input::Pod(Seen::Apply(pod)) => {
                if let (Some(seen), Some(uid)) = (&mut self.seen_pods, &pod.metadata.uid) {
                    seen.insert(uid.clone());
                }
                self.core.pod_changed(&pod, now);
            }
            Input::Pod(Seen::Delete(pod)) => {
                self.core.pod_deleted(pod.metadata.uid.as_deref().unwrap_or_default(), now)
            }
            Input::Pod(Seen::Restarted) => {
                let seen = self.seen_pods.take().unwrap_or_default();
                for uid in self.core.known_pods() {
                    if !seen.contains(&*uid) {
                        self.core.pod_deleted(&uid, now);
                    }
                }
                self.synced("pods", synced);
            }
            Input::Node(Seen::Restart) => self.seen_nodes = Some(HashSet::new()),
            Input::Node(Seen::Apply(node)) => {
                if let (Some(seen), Some(name)) = (&mut self.seen_nodes, &node.metadata.name) {
                    seen.insert(name.clone());
                }
                self.core.node_changed(&node, now);
            }
            Input::Node(Seen::Delete(node)) => {
                self.core.node_deleted(node.metadata.name.as_deref().unwrap_or_default(), now);
            }
            Input::Node(Seen::Restarted) => {
                let seen = self.seen_nodes.take().unwrap_or_default();
                for name in self.core.cache().node_names() {
                    if !seen.contains(&*name) {
                        self.core.node_deleted(&name, now);
                    }
                }
                self.synced("nodes", synced);
            }
            Input::Namespace(seen) => self.namespace(seen, synced),
            Input::Service(seen) => self.owner(OwnerKind::Service, seen, synced, |service, interner| {
                let selector = service.spec.as_ref()?.selector.as_ref()?;
                Some(Selector::from_map(selector.iter(), interner))
            }),
            Input::ReplicaSet(seen) => self.owner(OwnerKind::ReplicaSet, seen, synced, |set, interner| {
                Some(Selector::from_api(Some(&set.spec.as_ref()?.selector), interner))
            }),
            Input::StatefulSet(seen) => self.owner(OwnerKind::StatefulSet, seen, synced, |set, interner| {
                Some(Selector::from_api(Some(&set.spec.as_ref()?.selector), interner))
            }),
            Input::ReplicationController(seen) => {
                self.owner(OwnerKind::ReplicationController, seen, synced, |controller, interner| {
                    let selector = controller.spec.as_ref()?.selector.as_ref()?;
                    Some(Selector::from_map(selector.iter(), interner))
                });
            }
            Input::Budget(seen) => self.budget(seen, synced),
        }
    }

    fn namespace(&mut self, seen: Seen<Namespace>, synced: &mut HashSet<&'static str>) {
        let cache = self.core.cache_mut();
        match seen {
            Seen::Restart => cache.snapshot_mut().namespaces.clear(),
            Seen::Restarted => self.synced("namespaces", synced),
            Seen::Apply(namespace) => {
                let name = cache.interner().intern(namespace.metadata.name.as_deref().unwrap_or_default());
                let labels = Labels::new(namespace.metadata.labels.as_ref(), cache.interner());
                cache.snapshot_mut().namespaces.insert(name, labels);
            }
            Seen::Delete(namespace) => {
                cache.snapshot_mut().namespaces.remove(namespace.metadata.name.as_deref().unwrap_or_default());
            }
        }
    }

    fn owner<K: Resource<DynamicType = ()>>(
        &mut self,
        kind: OwnerKind,
        seen: Seen<K>,
        synced: &mut HashSet<&'static str>,
        selector: impl Fn(&K, &mut crate::cache::labels::Interner) -> Option<Selector>,
    ) {
        let cache = self.core.cache_mut();
        let (object, present) = match &seen {
            Seen::Restart => return cache.snapshot_mut().owners.clear(kind),
            Seen::Restarted => {
                let name = match kind {
                    OwnerKind::Service => "services",
                    OwnerKind::ReplicaSet => "replicasets",
                    OwnerKind::StatefulSet => "statefulsets",
                    OwnerKind::ReplicationController => "replicationcontrollers",
                };
                return self.synced(name, synced);
            }
            Seen::Apply(object) => (object, true),
            Seen::Delete(object) => (object, false),
        };
        let interner = cache.interner();
        let namespace = interner.intern(object.meta().namespace.as_deref().unwrap_or_default());
        let name = interner.intern(object.meta().name.as_deref().unwrap_or_default());
        let selector = if present { selector(object, interner) } else { None };
        cache.snapshot_mut().owners.set(kind, namespace, name, selector);
    }

    fn budget(&mut self, seen: Seen<PodDisruptionBudget>, synced: &mut HashSet<&'static str>) {
        let cache = self.core.cache_mut();
        let (object, present) = match &seen {
            Seen::Restart => return cache.snapshot_mut().budgets.clear(),
            Seen::Restarted => return self.synced("poddisruptionbudgets", synced),
            Seen::Apply(object) => (object, true),
            Seen::Delete(object) => (object, false),
        };
        let interner = cache.interner();
        let namespace = interner.intern(object.metadata.namespace.as_deref().unwrap_or_default());
        let name: Arc<str> = interner.intern(object.metadata.name.as_deref().unwrap_or_default());
        if !present {
            cache.snapshot_mut().budgets.remove(&(namespace, name));
            return;
        }
        let status = object.status.as_ref();
        let budget = Budget {
            selector: Selector::from_api(object.spec.as_ref().and_then(|spec| spec.selector.as_ref()), interner),
            allowed: status.and_then(|status| status.disruptions_allowed).unwrap_or_default(),
            disrupted: status
                .and_then(|s| s.disrupted_pods.as_ref())
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect(),
        };
        cache.snapshot_mut().budgets.insert((namespace, name), budget);
    }
}
