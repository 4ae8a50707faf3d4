//! Shared informers: one watch a kind and scope for all who ask, whatever their number.
//!
//! Handlers are plain closures called in the informer's task, in the order of changes; what takes time belongs in a
//! queue. A handler added late is first told what is already there, so nobody has to care when it came. The stored
//! objects lack `metadata.managedFields`: no reader here wants them, and they are a third of a pod.

use std::{
    any::{Any, TypeId},
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::Arc,
};

use kube::{Client, Resource};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    reflector::{Event, Reflector, Target, escape},
    store::Store,
};

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

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

struct Shared<K> {
    store: RwLock<Store<K>>,
    /// Held while a change is applied and told, so that a replay and a change can't overtake each other.
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
    cancel: CancellationToken,
}

/// A local, live copy of a kind. Cheap to clone.
pub struct Informer<K>(Arc<Shared<K>>);

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Informer<K> {
    /// The object by name; cluster-scoped kinds have no namespace.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>> {
        self.0.store.read().get(namespace.unwrap_or_default(), name)
    }

    /// Everything, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.store.read().list()
    }

    /// Everything in a namespace, ordered by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.0.store.read().list_namespace(namespace)
    }

    /// Calls `f` for what is there now (as `Added`) and for every change from now on.
    ///
    /// `f` runs in the informer's task: it must be quick, and must not call `on_change` of the same informer.
    pub fn on_change(&self, f: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let mut handlers = self.0.handlers.lock();
        for k in self.list() {
            f(&Change::Added(k));
        }
        handlers.push(Box::new(f));
    }

    /// Returns once the first list is in (or the informers were cancelled).
    pub async fn synced(&self) {
        let mut rx = self.0.synced.subscribe();
        tokio::select! {
            _ = rx.wait_for(|synced| *synced) => {}
            () = self.0.cancel.cancelled() => {}
        }
    }

    /// True once the first list is in.
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }
}

impl<K: Resource + DeserializeOwned + Clone + Send + Sync + 'static> Shared<K> {
    fn apply(&self, object: K) -> (String, String) {
        let meta = object.meta();
        let key = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let new = Arc::new(object);
        let handlers = self.handlers.lock();
        let old = self.store.write().insert(&key.0, &key.1, new.clone());
        let changes = match old {
            None => vec![Change::Added(new)],
            Some(old) if old.meta().resource_version == new.meta().resource_version => vec![],
            // Deleted and made again while nobody looked: two objects, two changes.
            Some(old) if old.meta().uid != new.meta().uid => vec![Change::Deleted(old), Change::Added(new)],
            Some(old) => vec![Change::Updated { old, new }],
        };
        changes.iter().for_each(|c| handlers.iter().for_each(|h| h(c)));
        drop(handlers);
        key
    }

    fn delete(&self, namespace: &str, name: &str, last: Option<K>) {
        let handlers = self.handlers.lock();
        let old = self.store.write().remove(namespace, name);
        if let Some(gone) = last.map(Arc::new).or(old) {
            let change = Change::Deleted(gone);
            handlers.iter().for_each(|h| h(&change));
        }
    }

    async fn run(self: Arc<Self>, reflector: Reflector, cancel: CancellationToken) {
        let mut seen: Option<HashSet<(String, String)>> = None;
        let sink = |event: Event<K>| match event {
            Event::Restart => seen = Some(HashSet::new()),
            Event::Apply(mut k) => {
                k.meta_mut().managed_fields = None;
                let key = self.apply(k);
                if let Some(seen) = &mut seen {
                    seen.insert(key);
                }
            }
            Event::Delete(mut k) => {
                k.meta_mut().managed_fields = None;
                let (ns, name) = (k.meta().namespace.clone(), k.meta().name.clone());
                self.delete(&ns.unwrap_or_default(), &name.unwrap_or_default(), Some(k));
            }
            Event::Restarted => {
                let seen = seen.take().unwrap_or_default();
                let keys = self.store.read().keys();
                for (ns, name) in keys {
                    if !seen.contains(&(ns.to_string(), name.to_string())) {
                        self.delete(&ns, &name, None);
                    }
                }
                self.synced.send_replace(true);
            }
        };
        reflector.run(cancel, |k: &K| k.meta().resource_version.as_deref(), sink).await;
    }
}

/// The informers of one identity.
pub struct Informers {
    client: Client,
    cancel: CancellationToken,
    running: Mutex<HashMap<(TypeId, Scope), Box<dyn Any + Send + Sync>>>,
}

impl Informers {
    /// Informers that read with `client` until `cancel`.
    pub fn new(client: Client, cancel: CancellationToken) -> Self {
        Self { client, cancel, running: Mutex::default() }
    }

    /// The client that they read with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// All objects of a kind, in all namespaces; started on first use.
    pub fn of<K>(&self) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        self.scoped(Scope::default())
    }

    /// Part of a kind; started on first use.
    pub fn scoped<K>(&self, scope: Scope) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    {
        let mut running = self.running.lock();
        let key = (TypeId::of::<K>(), scope.clone());
        if let Some(i) = running.get(&key).and_then(|i| i.downcast_ref::<Informer<K>>()) {
            return i.clone();
        }
        let (synced, _) = watch::channel(false);
        let cancel = self.cancel.clone();
        let shared = Arc::new(Shared { store: RwLock::default(), handlers: Mutex::default(), synced, cancel });
        let selectors = [("fieldSelector", &scope.field_selector), ("labelSelector", &scope.label_selector)];
        let query: Vec<_> =
            selectors.iter().filter_map(|(k, v)| v.as_ref().map(|v| format!("{k}={}", escape(v)))).collect();
        let path = K::url_path(&(), scope.namespace.as_deref());
        let target = Target { path, query: query.join("&"), metadata_only: false };
        let reflector = Reflector { client: self.client.clone(), target };
        tokio::spawn(shared.clone().run(reflector, self.cancel.clone()));
        running.insert(key, Box::new(Informer(shared.clone())));
        Informer(shared)
    }
}
