//! Shared informers: one watch a kind and scope for all who ask, whatever their number.
//!
//! Handlers are plain closures called in the informer's task, in the order of changes; what takes time belongs in a
//! queue. A handler added late is first told what is already there, so nobody has to care when it came. A handler that
//! panics misses that change: the panic is counted under its owner's name, the other handlers and the informer go on.
//! An informer that panics lists again, and its handlers are told what is different from the state they know.
//! The stored objects lack `metadata.managedFields`: no reader here wants them, and they are a third of a pod. What has not
//! been read for some seconds is packed, as `packed` says: its readers do not see that.

use std::{
    any::{Any, TypeId},
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use component::{
    Supervisor,
    supervisor::{Name, guarded},
};
use kube::{Client, Resource};
use parking_lot::{Mutex, RwLock};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    packed::{Codec, Held},
    reflector::{Event, Reflector, Target, escape},
    store::{Index, Store},
};

/// Rounds of packing after which a label that nobody selects by is no longer followed.
const UNASKED: u32 = 60;
/// Objects packed without letting others run.
const AT_ONCE: usize = 64;

/// Which part of a kind to hold. The default is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// One namespace instead of all.
    pub namespace: Option<String>,
    /// Such as `spec.nodeName=n1`.
    pub field_selector: Option<String>,
    /// Such as `app in (a,b)`.
    pub label_selector: Option<String>,
}

/// What happened to an object.
#[derive(Debug)]
pub enum Change<K> {
    /// It is there and was not before (also on the replay to a new handler).
    Added(Arc<K>),
    /// It changed.
    Updated {
        /// The state before.
        old: Arc<K>,
        /// The state now.
        new: Arc<K>,
    },
    /// It is gone; this is the last state known, which is stale if the deletion was noticed by a list.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// The newest state known.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(k) | Self::Deleted(k) | Self::Updated { new: k, .. } => k,
        }
    }
}

/// Whose handlers they are, and until when they are called.
#[derive(Clone)]
struct Owner {
    /// Of each of its handlers.
    name: Name,
    until: CancellationToken,
}

/// Whether a list comes in.
enum Listing {
    No,
    /// Into an empty store.
    First,
    /// By namespace and name, what it has shown so far.
    Again(HashSet<(String, String)>),
}

type Call<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

struct Handler<K> {
    owner: Owner,
    call: Call<K>,
}

impl<K> Handler<K> {
    fn tell(&self, change: &Change<K>) {
        // Logged and counted; what it missed is its owner's loss alone.
        let _ = guarded(self.owner.name.clone(), || (self.call)(change));
    }
}

struct Shared<K> {
    store: RwLock<Store<K>>,
    codec: Arc<Codec<K>>,
    /// Held while a change is applied and told, so that a replay and a change can't overtake each other.
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
    /// The resourceVersion that the store is at, as far as it is a number.
    version: AtomicU64,
    /// Cancelled when the informer's task is over.
    over: CancellationToken,
}

/// A local, live copy of a kind, as one owner sees it. Cheap to clone.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
    owner: Owner,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), owner: self.owner.clone() }
    }
}

impl<K> Informer<K> {
    /// The object by name; cluster-scoped kinds have no namespace.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>> {
        let held = self.shared.store.read().get(namespace.unwrap_or_default(), name)?;
        self.shared.open(&held)
    }

    /// The object by name, for one look: unlike [`Informer::get`] it leaves what is packed as it is.
    pub fn peek(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>> {
        let held = self.shared.store.read().get(namespace.unwrap_or_default(), name)?;
        held.peek(&self.shared.codec)
    }

    /// Whether there is an object of that name.
    pub fn has(&self, namespace: Option<&str>, name: &str) -> bool {
        self.shared.store.read().get(namespace.unwrap_or_default(), name).is_some()
    }

    /// Everything, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.open_all(&self.shared.store.read().list())
    }

    /// Everything in a namespace, ordered by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.shared.open_all(&self.shared.store.read().list_namespace(namespace))
    }

    /// Everything, ordered by namespace and name, one at a time: for a single look over what may be very many objects.
    pub fn each(&self) -> impl Iterator<Item = Arc<K>> + use<K> {
        let (all, codec) = (self.shared.store.read().list(), self.shared.codec.clone());
        all.into_iter().filter_map(move |held| held.peek(&codec))
    }

    /// As [`Informer::each`], of one namespace.
    pub fn each_in(&self, namespace: &str) -> impl Iterator<Item = Arc<K>> + use<K> {
        let (all, codec) = (self.shared.store.read().list_namespace(namespace), self.shared.codec.clone());
        all.into_iter().filter_map(move |held| held.peek(&codec))
    }

    /// How many there are in a namespace.
    pub fn count(&self, namespace: &str) -> usize {
        self.shared.store.read().count(namespace)
    }

    /// Everything, of all namespaces, that the index has under this key, ordered by namespace and name.
    ///
    /// The first to ask has the index made, which is kept from then on.
    pub fn found(&self, index: Index<K>, key: &str) -> Vec<Arc<K>> {
        self.shared.found(index, None, key)
    }

    /// Has an index made that will be asked for: while nothing is there yet that costs nothing.
    pub fn index(&self, by: Index<K>) {
        self.shared.store.write().add_index(by);
    }

    /// As [`Informer::found`], one at a time and for a single look, as [`Informer::each`].
    pub fn each_found(&self, index: Index<K>, key: &str) -> impl Iterator<Item = Arc<K>> + use<K> {
        let (found, codec) = (self.shared.indexed(index, None, key), self.shared.codec.clone());
        found.into_iter().filter_map(move |held| held.peek(&codec))
    }

    /// The keys under which the index has anything, in no order. Kept as [`Informer::found`] says.
    pub fn keys(&self, index: Index<K>) -> Vec<String> {
        let keys = self.shared.store.read().index_keys(&index);
        keys.unwrap_or_else(|| {
            self.index(index);
            self.shared.store.read().index_keys(&index).unwrap_or_default()
        })
    }

    /// How many objects are not packed.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.shared.store.read().list().iter().filter(|held| held.is_open()).count()
    }

    /// Calls `f` for what is there now (as `Added`) and for every change from now on, as long as its owner runs.
    ///
    /// `f` runs in the informer's task: it must be quick, and must not call `on_change` of the same informer.
    pub fn on_change(&self, f: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let handler = Handler { owner: self.owner.clone(), call: Box::new(f) };
        let mut handlers = self.shared.handlers.lock();
        handlers.retain(|h| !h.owner.until.is_cancelled());
        for k in self.each() {
            handler.tell(&Change::Added(k));
        }
        handlers.push(handler);
    }

    /// Returns once the first list is in (or the owner, or the informer, was told to end).
    pub async fn synced(&self) {
        let mut rx = self.shared.synced.subscribe();
        tokio::select! {
            _ = rx.wait_for(|synced| *synced) => {}
            () = self.shared.over.cancelled() => {}
            () = self.owner.until.cancelled() => {}
        }
    }

    /// The resourceVersion up to which everything is shown; 0 before the first list, and where versions are no numbers.
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    /// True once the first list is in.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }
}

impl<K: Resource> Informer<K> {
    /// Everything in a namespace that `matches` and has that label, ordered by name. Without a label everything is looked at.
    ///
    /// A label that is asked for is followed from then on, for some minutes.
    pub fn selected(&self, namespace: &str, label: Option<(&str, &str)>, matches: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let shared = &self.shared;
        let held = match label {
            None => shared.store.read().list_namespace(namespace),
            Some(label) => {
                let followed = shared.store.read().labelled(namespace, label);
                followed.unwrap_or_else(|| {
                    let mut store = shared.store.write();
                    store.follow_label(namespace, label);
                    store.labelled(namespace, label).unwrap_or_default()
                })
            }
        };
        held.iter().filter_map(|held| held.open_if(&shared.codec, &matches)).collect()
    }

    /// Everything in a namespace whose controller (of the owners the one that controls) has this UID, ordered by name.
    ///
    /// The first to ask has an index made, which is kept from then on.
    pub fn controlled_by(&self, namespace: &str, uid: &str) -> Vec<Arc<K>> {
        self.shared.found(Index::CONTROLLER, Some(namespace), uid)
    }

    /// Everything in a namespace that nobody controls, ordered by name. Indexed as [`Informer::controlled_by`] is.
    pub fn uncontrolled(&self, namespace: &str) -> Vec<Arc<K>> {
        self.controlled_by(namespace, "")
    }
}

impl<K> Shared<K> {
    fn open(&self, held: &Held<K>) -> Option<Arc<K>> {
        held.open(&self.codec)
    }

    fn open_all(&self, held: &[Arc<Held<K>>]) -> Vec<Arc<K>> {
        held.iter().filter_map(|held| self.open(held)).collect()
    }

    fn found(&self, index: Index<K>, namespace: Option<&str>, key: &str) -> Vec<Arc<K>> {
        self.open_all(&self.indexed(index, namespace, key))
    }

    fn indexed(&self, index: Index<K>, namespace: Option<&str>, key: &str) -> Vec<Arc<Held<K>>> {
        let found = self.store.read().found(&index, namespace, key);
        found.unwrap_or_else(|| {
            let mut store = self.store.write();
            store.add_index(index);
            store.found(&index, namespace, key).unwrap_or_default()
        })
    }

    /// Packs what nobody reads.
    async fn rest(&self) {
        loop {
            self.codec.opened.due().await;
            let all = {
                let mut store = self.store.write();
                store.age(UNASKED);
                store.list()
            };
            let mut open = false;
            for some in all.chunks(AT_ONCE) {
                some.iter().for_each(|held| open |= held.rest(&self.codec, false));
                tokio::task::yield_now().await;
            }
            if open {
                self.codec.opened.some_stay();
            }
        }
    }

    /// What comes up to that version is in the store. Versions are the server's, which counts up.
    fn reached(&self, version: Option<&str>) {
        if let Some(version) = version.and_then(|v| v.parse().ok()) {
            self.version.fetch_max(version, Ordering::Release);
        }
    }

    /// Tells those handlers whose owners still run, and drops the others.
    fn tell(handlers: &mut Vec<Handler<K>>, changes: &[Change<K>]) {
        handlers.retain(|h| !h.owner.until.is_cancelled());
        changes.iter().for_each(|change| handlers.iter().for_each(|h| h.tell(change)));
    }
}

impl<K: Resource + DeserializeOwned + Clone + Send + Sync + 'static> Shared<K> {
    /// `listed`: as part of a list, which is in no order of versions.
    fn apply(&self, object: K, listed: bool) {
        let new = Arc::new(object);
        let [namespace, name] =
            [&new.meta().namespace, &new.meta().name].map(|part| part.as_deref().unwrap_or_default());
        let mut handlers = self.handlers.lock();
        let (held, old) = self.store.write().insert(namespace, name, new.clone());
        self.reached(new.meta().resource_version.as_deref().filter(|_| !listed));
        let changes = match old {
            None => vec![Change::Added(new)],
            Some(old) if old.meta().resource_version == new.meta().resource_version => vec![],
            // Deleted and made again while nobody looked: two objects, two changes.
            Some(old) if old.meta().uid != new.meta().uid => vec![Change::Deleted(old), Change::Added(new)],
            Some(old) => vec![Change::Updated { old, new }],
        };
        Self::tell(&mut handlers, &changes);
        drop((handlers, changes));
        // Of what a list brings nobody may ever want to know more.
        if !listed || held.rest(&self.codec, true) {
            self.codec.opened.one_told();
        }
    }

    fn delete(&self, namespace: &str, name: &str, last: Option<K>) {
        let mut handlers = self.handlers.lock();
        let old = self.store.write().remove(namespace, name);
        self.reached(last.as_ref().and_then(|k| k.meta().resource_version.as_deref()));
        if let Some(gone) = last.map(Arc::new).or(old) {
            Self::tell(&mut handlers, &[Change::Deleted(gone)]);
        }
    }

    async fn run(self: Arc<Self>, reflector: Arc<Reflector>, cancel: CancellationToken) {
        // While a list comes in, what it has shown so far; the first one leaves nothing behind that it could lack.
        let mut listing = Listing::No;
        let sink = |event: Event<K>| match event {
            Event::Restart if self.store.read().is_empty() => listing = Listing::First,
            Event::Restart => listing = Listing::Again(HashSet::new()),
            Event::Apply(mut k) => {
                k.meta_mut().managed_fields = None;
                if let Listing::Again(seen) = &mut listing {
                    let meta = k.meta();
                    seen.insert((meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default()));
                }
                self.apply(k, !matches!(listing, Listing::No));
            }
            Event::Delete(mut k) => {
                k.meta_mut().managed_fields = None;
                let (ns, name) = (k.meta().namespace.clone(), k.meta().name.clone());
                self.delete(&ns.unwrap_or_default(), &name.unwrap_or_default(), Some(k));
            }
            Event::Restarted(version) => {
                if let Listing::Again(seen) = std::mem::replace(&mut listing, Listing::No) {
                    let keys = self.store.read().keys();
                    for (ns, name) in keys.into_iter().filter(|key| !seen.contains(key)) {
                        self.delete(&ns, &name, None);
                    }
                }
                self.reached(Some(&version));
                self.synced.send_replace(true);
            }
        };
        tokio::select! {
            () = reflector.run(cancel, |k: &K| k.meta().resource_version.as_deref(), sink) => {}
            () = self.rest() => {}
        }
    }
}

/// What the clones of [`Informers`] share.
struct Pool {
    client: Client,
    tasks: Supervisor,
    running: Mutex<HashMap<(TypeId, Scope), Box<dyn Any + Send + Sync>>>,
}

/// The informers of one identity, as one owner sees them. Cheap to clone; clones share their watches.
#[derive(Clone)]
pub struct Informers {
    pool: Arc<Pool>,
    owner: Owner,
}

impl Informers {
    /// Informers that read with `client`, each as a restarting task `informer/<kind>` of `tasks`.
    pub fn new(client: Client, tasks: &Supervisor) -> Self {
        let owner = Owner { name: "informer_handler".into(), until: tasks.token() };
        Self { pool: Arc::new(Pool { client, tasks: tasks.clone(), running: Mutex::default() }), owner }
    }

    /// The same informers for another owner: its handlers are named `informer_handler/<owner>`, and are dropped once
    /// `tasks` has to end, so that those of a run that is over do not pile up.
    pub fn owned_by(&self, owner: &str, tasks: &Supervisor) -> Self {
        let owner = Owner { name: ("informer_handler", owner).into(), until: tasks.token() };
        Self { pool: self.pool.clone(), owner }
    }

    /// The client that they read with.
    pub fn client(&self) -> &Client {
        &self.pool.client
    }

    /// All objects of a kind, in all namespaces; started on first use.
    pub fn of<K>(&self) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        self.scoped(Scope::default())
    }

    /// Part of a kind; started on first use.
    pub fn scoped<K>(&self, scope: Scope) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        let owner = self.owner.clone();
        let mut running = self.pool.running.lock();
        let key = (TypeId::of::<K>(), scope.clone());
        if let Some(shared) = running.get(&key).and_then(|i| i.downcast_ref::<Arc<Shared<K>>>()) {
            return Informer { shared: shared.clone(), owner };
        }
        let (synced, _) = watch::channel(false);
        let over = CancellationToken::new();
        let ended = over.clone().drop_guard();
        let codec = Arc::new(Codec::default());
        let shared = Arc::new(Shared {
            store: RwLock::new(Store::new(codec.clone())),
            codec,
            handlers: Mutex::default(),
            synced,
            version: AtomicU64::new(0),
            over,
        });
        let selectors = [("fieldSelector", &scope.field_selector), ("labelSelector", &scope.label_selector)];
        let query: Vec<_> =
            selectors.iter().filter_map(|(k, v)| v.as_ref().map(|v| format!("{k}={}", escape(v)))).collect();
        let path = K::url_path(&(), scope.namespace.as_deref());
        let target = Target { path, query: query.join("&"), metadata_only: false };
        let reflector = Arc::new(Reflector { client: self.pool.client.clone(), target });
        let of_task = shared.clone();
        self.pool.tasks.restarting(("informer", K::plural(&()).into_owned()), move |run| {
            let _ended = &ended;
            of_task.clone().run(reflector.clone(), run.token())
        });
        running.insert(key, Box::new(shared.clone()));
        Informer { shared, owner }
    }
}
