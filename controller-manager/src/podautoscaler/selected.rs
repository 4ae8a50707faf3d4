//! Which pods an autoscaler's target has, and whether another autoscaler has them too.
//!
//! Both are looked up by one label that a selector asks for. So a turn costs what the target's pods cost, however many others
//! are in the namespace.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use client::Informer;
use k8s_openapi::api::core::v1::Pod;
use machinery::selector::LabelSelector;
use parking_lot::Mutex;

use crate::util::key::Key;

/// A label and its value.
type Pair = (String, String);

/// Of one namespace.
#[derive(Default)]
struct Space {
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
    /// Asks the informer.
    pub(super) fn new(pods: Informer<Pod>) -> Arc<Self> {
        Arc::new(Self { pods, spaces: Mutex::default() })
    }

    pub(super) async fn synced(&self) {
        self.pods.synced().await;
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
        let pair = pair(selector);
        let label = pair.clone();
        if let Some(space) = self.spaces.lock().get_mut(&hpa.namespace) {
            space.learn(&hpa.name, pair, selector);
        }
        let label = label.as_ref().map(|(key, value)| (key.as_str(), value.as_str()));
        self.pods.selected(&hpa.namespace, label, |pod| selector.matches(&pod.metadata.labels.as_ref()))
    }

    /// How many pods there are in a namespace.
    pub(super) fn number(&self, namespace: &str) -> usize {
        self.pods.count(namespace)
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
            }
        }
    }
}
