//! Which pods an autoscaler's target has, and whether another autoscaler has them too.
//!
//! Pods are looked up by one label that the selector asks for, of which there is an index: of the labels that some autoscaler
//! asks for, and of no others. So a turn costs what the target's pods cost, however many others are in the namespace.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use client::{Change, Informer};
use k8s_openapi::api::core::v1::Pod;
use machinery::selector::LabelSelector;
use parking_lot::Mutex;

use crate::util::key::{self, Key};

/// A label and its value.
type Pair = (String, String);

/// Of one namespace.
#[derive(Default)]
struct Space {
    /// Names of pods by the labels that are asked for.
    pods: HashMap<Pair, BTreeSet<String>>,
    /// What the autoscalers select.
    selectors: BTreeMap<String, (Option<Pair>, LabelSelector)>,
    /// Their names by the label that they ask for; without one, those that may select anything.
    by_pair: HashMap<Option<Pair>, BTreeSet<String>>,
}

/// See the module.
pub(super) struct Selected {
    pods: Informer<Pod>,
    spaces: Mutex<HashMap<String, Space>>,
}

/// A label that all selected pods have.
fn pair(selector: &LabelSelector) -> Option<Pair> {
    let LabelSelector::All(requirements) = selector else { return None };
    let exact = |key: &String| Some((key.clone(), selector.exact_match(key)?.to_owned()));
    requirements.iter().find_map(|requirement| exact(&requirement.key))
}

fn labels(pod: &Pod) -> impl Iterator<Item = (&String, &String)> {
    pod.metadata.labels.iter().flatten()
}

impl Selected {
    /// Follows the pods.
    pub(super) fn new(pods: Informer<Pod>) -> Arc<Self> {
        let selected = Arc::new(Self { pods, spaces: Mutex::default() });
        let following = selected.clone();
        selected.pods.on_change(move |change| following.changed(change));
        selected
    }

    pub(super) async fn synced(&self) {
        self.pods.synced().await;
    }

    fn changed(&self, change: &Change<Pod>) {
        let new = change.object();
        let mut spaces = self.spaces.lock();
        let Some(space) = spaces.get_mut(key::namespace(&new.metadata)) else { return };
        let name = key::name(&new.metadata);
        let gone = match change {
            Change::Added(_) => None,
            Change::Updated { old, .. } => Some(old),
            Change::Deleted(old) => Some(old),
        };
        for (key, value) in gone.into_iter().flat_map(|pod| labels(pod)) {
            if let Some(names) = space.pods.get_mut(&(key.clone(), value.clone())) {
                names.remove(name);
            }
        }
        if matches!(change, Change::Deleted(_)) {
            return;
        }
        for (key, value) in labels(new) {
            if let Some(names) = space.pods.get_mut(&(key.clone(), value.clone())) {
                names.insert(name.to_owned());
            }
        }
    }

    /// There is an autoscaler, of which nobody knows yet what it selects.
    pub(super) fn known(&self, hpa: &Key) {
        let mut spaces = self.spaces.lock();
        let space = spaces.entry(hpa.namespace.clone()).or_default();
        space.selectors.entry(hpa.name.clone()).or_insert((None, LabelSelector::Nothing));
    }

    /// The autoscaler is gone.
    pub(super) fn forget(&self, hpa: &Key) {
        let mut spaces = self.spaces.lock();
        if let Some(space) = spaces.get_mut(&hpa.namespace) {
            space.forget(&hpa.name);
            if space.selectors.is_empty() {
                spaces.remove(&hpa.namespace);
            }
        }
    }

    /// How many autoscalers there are in a namespace.
    pub(super) fn autoscalers(&self, namespace: &str) -> usize {
        self.spaces.lock().get(namespace).map_or(0, |space| space.selectors.len())
    }

    /// The pods that the autoscaler's target has.
    pub(super) fn pods(&self, hpa: &Key, selector: &LabelSelector) -> Vec<Arc<Pod>> {
        let namespace = Some(hpa.namespace.as_str());
        let taken = |pod: &Arc<Pod>| selector.matches(&pod.metadata.labels.as_ref());
        let mut spaces = self.spaces.lock();
        let space = spaces.get_mut(&hpa.namespace).filter(|space| space.selectors.contains_key(&hpa.name));
        let pair = pair(selector);
        let (Some(space), Some(wanted)) = (space, pair.clone()) else {
            if let Some(space) = spaces.get_mut(&hpa.namespace) {
                space.learn(&hpa.name, pair, selector);
            }
            drop(spaces);
            return self.pods.list_namespace(&hpa.namespace).into_iter().filter(taken).collect();
        };
        space.learn(&hpa.name, pair, selector);
        // The lock is held while the index is made: no change of a pod comes between the list and it.
        let names = space.pods.entry(wanted).or_insert_with_key(|(key, value)| {
            let all = self.pods.list_namespace(&hpa.namespace);
            let has = |pod: &&Arc<Pod>| pod.metadata.labels.as_ref().is_some_and(|l| l.get(key) == Some(value));
            all.iter().filter(has).map(|pod| key::name(&pod.metadata).to_owned()).collect()
        });
        names.iter().filter_map(|name| self.pods.get(namespace, name)).filter(taken).collect()
    }

    /// How many pods there are in a namespace.
    pub(super) fn number(&self, namespace: &str) -> usize {
        self.pods.list_namespace(namespace).len()
    }

    /// The autoscalers that have any of these pods, in order.
    pub(super) fn controlling(&self, namespace: &str, pods: &[Arc<Pod>]) -> BTreeSet<Key> {
        let spaces = self.spaces.lock();
        let Some(space) = spaces.get(namespace) else { return BTreeSet::new() };
        let mut found: HashSet<&str> = HashSet::new();
        for pod in pods {
            let asking = labels(pod).map(|(key, value)| Some((key.clone(), value.clone()))).chain([None]);
            for name in asking.filter_map(|pair| space.by_pair.get(&pair)).flatten() {
                let selects = |(_, selector): &(_, LabelSelector)| selector.matches(&pod.metadata.labels.as_ref());
                if !found.contains(name.as_str()) && space.selectors.get(name).is_some_and(selects) {
                    found.insert(name);
                }
            }
        }
        found.into_iter().map(|name| Key::new(namespace, name)).collect()
    }
}

impl Space {
    /// What an autoscaler that is known selects.
    fn learn(&mut self, name: &str, pair: Option<Pair>, selector: &LabelSelector) {
        if self.selectors.get(name).is_some_and(|(_, known)| known != selector) {
            self.forget(name);
            self.by_pair.entry(pair.clone()).or_default().insert(name.to_owned());
            self.selectors.insert(name.to_owned(), (pair, selector.clone()));
        }
    }

    fn forget(&mut self, name: &str) {
        let Some((pair, _)) = self.selectors.remove(name) else { return };
        if let Some(names) = self.by_pair.get_mut(&pair) {
            names.remove(name);
            if names.is_empty() {
                self.by_pair.remove(&pair);
                if let Some(pair) = pair {
                    self.pods.remove(&pair);
                }
            }
        }
    }
}
