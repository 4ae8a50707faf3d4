//! Which Services changed, and the slices of each: the seam between informers, which tell in their own time, and the
//! proxy, which asks when it is ready.
//!
//! A burst of a thousand changes is a set of a thousand names, or of one, if they are all the same Service's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use client::{Change, Informer};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::model::service_of;

/// `(namespace, name)` of a Service.
pub type Key = (String, String);

#[derive(Default)]
struct State {
    slices: HashMap<Key, BTreeMap<String, Arc<EndpointSlice>>>,
    dirty: HashSet<Key>,
}

/// The names of Services that changed since they were last taken.
pub struct Tracker {
    services: Informer<Service>,
    state: Mutex<State>,
    wake: Notify,
}

impl Tracker {
    /// Listens to the informers from now on; what is there already counts as changed.
    pub fn new(services: Informer<Service>, slices: &Informer<EndpointSlice>) -> Arc<Tracker> {
        let tracker = Arc::new(Tracker { services, state: Mutex::default(), wake: Notify::new() });
        let told = tracker.clone();
        tracker.services.on_change(move |change| {
            let meta = &change.object().metadata;
            told.mark((meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default()));
        });
        let told = tracker.clone();
        slices.on_change(move |change| told.slice(change));
        tracker
    }

    fn slice(&self, change: &Change<EndpointSlice>) {
        let (old, new) = match change {
            Change::Added(new) => (None, Some(new)),
            Change::Updated { old, new } => (Some(old), Some(new)),
            Change::Deleted(old) => (Some(old), None),
        };
        let name = |slice: &EndpointSlice| slice.metadata.name.clone().unwrap_or_default();
        let mut state = self.state.lock();
        if let Some((old, key)) = old.and_then(|old| Some((old, service_of(old)?))) {
            if let Some(slices) = state.slices.get_mut(&key) {
                slices.remove(&name(old));
                if slices.is_empty() {
                    state.slices.remove(&key);
                }
            }
            state.dirty.insert(key);
        }
        if let Some((new, key)) = new.and_then(|new| Some((new, service_of(new)?))) {
            state.slices.entry(key.clone()).or_default().insert(name(new), new.clone());
            state.dirty.insert(key);
        }
        drop(state);
        self.wake.notify_one();
    }

    fn mark(&self, key: Key) {
        self.state.lock().dirty.insert(key);
        self.wake.notify_one();
    }

    /// Counts these as changed again, without waking anybody: they were taken in vain.
    pub fn put_back(&self, keys: impl IntoIterator<Item = Key>) {
        self.state.lock().dirty.extend(keys);
    }

    /// Counts every Service as changed.
    pub fn mark_all(&self) {
        let keys = self
            .services
            .list()
            .into_iter()
            .filter_map(|service| Some((service.metadata.namespace.clone()?, service.metadata.name.clone()?)));
        self.state.lock().dirty.extend(keys);
        self.wake.notify_one();
    }

    /// Returns when something has changed; maybe once too often.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Whether something is waiting to be taken.
    pub fn is_dirty(&self) -> bool {
        !self.state.lock().dirty.is_empty()
    }

    /// Takes the names of what changed.
    pub fn take(&self) -> HashSet<Key> {
        std::mem::take(&mut self.state.lock().dirty)
    }

    /// A Service, if it is there, with its slices.
    pub fn get(&self, key: &Key) -> Option<(Arc<Service>, Vec<Arc<EndpointSlice>>)> {
        let service = self.services.get(Some(&key.0), &key.1)?;
        let slices = self.state.lock().slices.get(key).map(|slices| slices.values().cloned().collect());
        Some((service, slices.unwrap_or_default()))
    }
}
