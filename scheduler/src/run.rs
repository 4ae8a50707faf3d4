//! The shell: watches feed the core, the core decides, the actor does.
//!
//! The core has a thread of its own, for deciding is pure computation and must not hold up the runtime's tasks. It gets
//! everything through one channel and applies all that is there before it tries the next pod. The watches keep no
//! objects: what scheduling needs of them is in the core's cache, and nowhere else.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use client::{Event as Seen, Reflector, Target};
use component::{Supervisor, supervisor::guarded};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service},
    policy::v1::PodDisruptionBudget,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};
use kube::Resource;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    bind::{Actor, Done},
    cache::{
        Budget,
        labels::{Interner, Labels, Selector},
        owners::OwnerKind,
        volumes,
    },
    config::Config,
    core::{Core, Effect},
    events::Recorder,
};

/// How often pods that wait for long are looked at.
const TICK: Duration = Duration::from_secs(30);

/// How long bindings, patches and evictions under way may take to end.
const ACTIONS_END: Duration = Duration::from_secs(5);

enum Input {
    Pod(Seen<Pod>),
    Node(Seen<Node>),
    Namespace(Seen<Namespace>),
    Service(Seen<Service>),
    ReplicaSet(Seen<ReplicaSet>),
    ReplicationController(Seen<ReplicationController>),
    StatefulSet(Seen<StatefulSet>),
    Budget(Seen<PodDisruptionBudget>),
    /// What the volume plugins look at.
    Stored(Stored),
    ResourceClaim(Seen<ResourceClaim>),
    ResourceSlice(Seen<ResourceSlice>),
    DeviceClass(Seen<DeviceClass>),
    Done(Done),
    Stop,
}

/// Kinds that the volume plugins look at.
enum Stored {
    Claim(Box<Seen<PersistentVolumeClaim>>),
    Volume(Box<Seen<PersistentVolume>>),
    Class(Seen<StorageClass>),
    CsiNode(Seen<CSINode>),
    CsiDriver(Seen<CSIDriver>),
    Capacity(Seen<CSIStorageCapacity>),
    Attachment(Box<Seen<VolumeAttachment>>),
}

/// The plugin that looks at claims for devices: without it these are not watched.
const OF_DEVICES: &str = "DynamicResources";
/// The plugins that look at volumes: without any of these nothing of it is watched.
const OF_VOLUMES: [&str; 4] = ["VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone"];

fn watch<K>(
    client: &kube::Client,
    tasks: &Supervisor,
    query: &str,
    inputs: &Sender<Input>,
    wrap: impl Fn(Seen<K>) -> Input + Copy + Send + Sync + 'static,
) where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    let target = Target { path: K::url_path(&(), None), query: query.to_owned(), metadata_only: false };
    let reflector = Arc::new(Reflector { client: client.clone(), target });
    let inputs = inputs.clone();
    tasks.restarting(("informer", K::plural(&()).into_owned()), move |own| {
        let (reflector, inputs) = (reflector.clone(), inputs.clone());
        async move {
            // Once the receiver is gone the scheduler stops anyway.
            let sink = |seen: Seen<K>| drop(inputs.send(wrap(seen)));
            reflector.run(own.token(), |object: &K| object.meta().resource_version.as_deref(), sink).await;
        }
    });
}

/// Schedules until cancelled; what was decided before is carried out.
///
/// # Errors
/// The configuration can't work, or the scheduling thread ended.
pub async fn run(config: Config, client: kube::Client, cancel: CancellationToken) -> anyhow::Result<()> {
    let extenders = config.extenders()?;
    let make = |interner: &mut Interner| {
        let mut frameworks = config.frameworks(interner)?;
        frameworks.iter_mut().for_each(|framework| framework.extend(extenders.clone()));
        Ok::<_, String>(frameworks)
    };
    let core = Core::new(&config.settings(), |n| rand::random_range(0..n), make).map_err(anyhow::Error::msg)?;
    let stop = cancel.child_token();
    let _ended = stop.clone().drop_guard();
    let tasks = Supervisor::under(&stop);
    let recorder = Recorder::start(client.clone(), config.host.clone(), &tasks);
    let (inputs, received) = channel();
    let to_core = inputs.clone();
    // The receiver is gone only when the scheduler stops.
    let done = move |done| drop(to_core.send(Input::Done(done)));
    let actions = tasks.child_within("actions", ACTIONS_END);
    let actor = Actor::new(client.clone(), recorder, core.profiles().clone(), actions.clone(), done);

    let finished_out = "fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed";
    watch(&client, &tasks, finished_out, &inputs, Input::Pod);
    watch(&client, &tasks, "", &inputs, Input::Node);
    watch(&client, &tasks, "", &inputs, Input::Namespace);
    watch(&client, &tasks, "", &inputs, Input::Service);
    watch(&client, &tasks, "", &inputs, Input::ReplicaSet);
    watch(&client, &tasks, "", &inputs, Input::ReplicationController);
    watch(&client, &tasks, "", &inputs, Input::StatefulSet);
    watch(&client, &tasks, "", &inputs, Input::Budget);
    let mut unsynced = 8;
    let plugins: Vec<&str> =
        core.profiles().iter().flat_map(|framework| &framework.plugins).map(|plugin| plugin.name()).collect();
    if plugins.contains(&OF_DEVICES) {
        unsynced += 3;
        watch(&client, &tasks, "", &inputs, Input::ResourceClaim);
        watch(&client, &tasks, "", &inputs, Input::ResourceSlice);
        watch(&client, &tasks, "", &inputs, Input::DeviceClass);
    }
    if plugins.iter().any(|name| OF_VOLUMES.contains(name)) {
        unsynced += 7;
        watch(&client, &tasks, "", &inputs, |seen| Input::Stored(Stored::Claim(Box::new(seen))));
        watch(&client, &tasks, "", &inputs, |seen| Input::Stored(Stored::Volume(Box::new(seen))));
        watch(&client, &tasks, "", &inputs, |seen| Input::Stored(Stored::Class(seen)));
        watch(&client, &tasks, "", &inputs, |seen| Input::Stored(Stored::CsiNode(seen)));
        watch(&client, &tasks, "", &inputs, |seen| Input::Stored(Stored::CsiDriver(seen)));
        watch(&client, &tasks, "", &inputs, |seen| Input::Stored(Stored::Capacity(seen)));
        watch(&client, &tasks, "", &inputs, |seen| Input::Stored(Stored::Attachment(Box::new(seen))));
    }
    // Below them: it ends before they do.
    actions.vital("scheduling", move |own| async move {
        let decide = Loop { core, actor, unsynced, seen_pods: None, seen_nodes: None, seen: HashMap::new() };
        let mut thread = own.thread("scheduler", move || decide.run(&received))?;
        if let Some(ended) = own.until_stopped(&mut thread).await {
            return ended.map_err(anyhow::Error::from);
        }
        let _ = inputs.send(Input::Stop);
        Ok(thread.await?)
    });
    tasks.finish().await
}

/// What becomes of an object.
enum Became<'a, K> {
    Is(K),
    /// By its key: `namespace/name`, or the name.
    Gone(&'a str),
}

fn key<K: Resource>(object: &K) -> String {
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    meta.namespace.as_ref().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

struct Loop {
    core: Core,
    actor: Actor,
    /// Kinds whose first list is not in yet: until then nothing is decided.
    unsynced: usize,
    /// While a list is coming in: what it has shown so far.
    seen_pods: Option<HashSet<String>>,
    seen_nodes: Option<HashSet<String>>,
    /// The same for what the plugins of volumes and of devices look at, by kind: their keys.
    seen: HashMap<&'static str, HashSet<String>>,
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
                    Ok(input) => self.take(input, &mut synced),
                    Err(_) => break,
                }
            }
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                let _ = guarded("scheduling_tick", || self.core.tick(now));
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
                Ok(input) => self.take(input, &mut synced),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn act(&self, effects: Vec<Effect>) {
        for effect in effects {
            let _ = guarded("scheduling_effect", || self.actor.act(effect));
        }
    }

    /// An object that can't be taken in does not keep the others out.
    fn take(&mut self, input: Input, synced: &mut HashSet<&'static str>) {
        let _ = guarded("scheduling_input", || self.apply(input, synced));
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
            Input::Pod(Seen::Restarted(_)) => {
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
            Input::Node(Seen::Restarted(_)) => {
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
            Input::Stored(stored) => match stored {
                Stored::Claim(seen) => self.stored("persistentvolumeclaims", *seen, synced, now),
                Stored::Volume(seen) => self.stored("persistentvolumes", *seen, synced, now),
                Stored::Class(seen) => self.stored("storageclasses", seen, synced, now),
                Stored::CsiNode(seen) => self.stored("csinodes", seen, synced, now),
                Stored::CsiDriver(seen) => self.stored("csidrivers", seen, synced, now),
                Stored::Capacity(seen) => self.stored("csistoragecapacities", seen, synced, now),
                Stored::Attachment(seen) => self.stored("volumeattachments", *seen, synced, now),
            },
            Input::ResourceClaim(seen) => self.devices("resourceclaims", seen, synced, |core, became| match became {
                Became::Is(claim) => core.resource_claim_changed(claim, now),
                Became::Gone(key) => {
                    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
                    core.cache().snapshot().devices.forget_claim(namespace, name);
                }
            }),
            Input::ResourceSlice(seen) => self.devices("resourceslices", seen, synced, |core, became| match became {
                Became::Is(slice) => core.resource_slice_changed(&slice, now),
                Became::Gone(name) => core.cache().snapshot().devices.forget_slice(name),
            }),
            Input::DeviceClass(seen) => self.devices("deviceclasses", seen, synced, |core, became| match became {
                Became::Is(class) => core.device_class_changed(class, now),
                Became::Gone(name) => core.cache().snapshot().devices.forget_class(name),
            }),
        }
    }

    /// What the volume plugins look at.
    fn stored<K: volumes::Stored>(
        &mut self,
        kind: &'static str,
        seen: Seen<K>,
        synced: &mut HashSet<&'static str>,
        now: Instant,
    ) {
        let known = |core: &Core| {
            let keys = K::keys(&core.cache().snapshot().volumes.read());
            keys.iter().map(ToString::to_string).collect()
        };
        self.follow(kind, seen, synced, known, |core, became| match became {
            Became::Is(object) => core.stored(&key(&object), Some(object), now),
            Became::Gone(key) => core.stored::<K>(key, None, now),
        });
    }

    /// Claims for devices, slices and classes.
    fn devices<K: Resource<DynamicType = ()>>(
        &mut self,
        kind: &'static str,
        seen: Seen<K>,
        synced: &mut HashSet<&'static str>,
        apply: impl Fn(&mut Core, Became<'_, K>),
    ) {
        self.follow(kind, seen, synced, |core| core.cache().snapshot().devices.keys(kind), apply);
    }

    /// Follows a kind: what a list does not show of what is `known` is gone.
    fn follow<K: Resource<DynamicType = ()>>(
        &mut self,
        kind: &'static str,
        seen: Seen<K>,
        synced: &mut HashSet<&'static str>,
        known: impl Fn(&Core) -> Vec<String>,
        apply: impl Fn(&mut Core, Became<'_, K>),
    ) {
        match seen {
            Seen::Restart => drop(self.seen.insert(kind, HashSet::new())),
            Seen::Apply(object) => {
                if let Some(shown) = self.seen.get_mut(kind) {
                    shown.insert(key(&object));
                }
                apply(&mut self.core, Became::Is(object));
            }
            Seen::Delete(object) => apply(&mut self.core, Became::Gone(&key(&object))),
            Seen::Restarted(_) => {
                let shown = self.seen.remove(kind).unwrap_or_default();
                for gone in known(&self.core).iter().filter(|key| !shown.contains(*key)) {
                    apply(&mut self.core, Became::Gone(gone));
                }
                self.synced(kind, synced);
            }
        }
    }

    fn namespace(&mut self, seen: Seen<Namespace>, synced: &mut HashSet<&'static str>) {
        let cache = self.core.cache_mut();
        match seen {
            Seen::Restart => cache.snapshot_mut().namespaces.clear(),
            Seen::Restarted(_) => self.synced("namespaces", synced),
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
        selector: impl Fn(&K, &mut Interner) -> Option<Selector>,
    ) {
        let cache = self.core.cache_mut();
        let (object, present) = match &seen {
            Seen::Restart => return cache.snapshot_mut().owners.clear(kind),
            Seen::Restarted(_) => {
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
            Seen::Restarted(_) => return self.synced("poddisruptionbudgets", synced),
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
