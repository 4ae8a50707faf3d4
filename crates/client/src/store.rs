//! The store of an informer: every object of a kind by namespace and name.
//!
//! Two levels, so that a namespace lists without touching the others and a lookup needs no allocated key.

use std::{collections::BTreeMap, sync::Arc};

type Names<K> = BTreeMap<Box<str>, Arc<K>>;

pub(crate) struct Store<K> {
    namespaces: BTreeMap<Box<str>, Names<K>>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { namespaces: BTreeMap::new() }
    }
}

impl<K> Store<K> {
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.namespaces.get(namespace)?.get(name).cloned()
    }

    pub(crate) fn insert(&mut self, namespace: &str, name: &str, object: Arc<K>) -> Option<Arc<K>> {
        if !self.namespaces.contains_key(namespace) {
            self.namespaces.insert(namespace.into(), BTreeMap::new());
        }
        self.namespaces.get_mut(namespace)?.insert(name.into(), object)
    }

    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let names = self.namespaces.get_mut(namespace)?;
        let gone = names.remove(name);
        if names.is_empty() {
            self.namespaces.remove(namespace);
        }
        gone
    }

    pub(crate) fn list(&self) -> Vec<Arc<K>> {
        self.namespaces.values().flat_map(|n| n.values().cloned()).collect()
    }

    pub(crate) fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.namespaces.get(namespace).map(|n| n.values().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn keys(&self) -> Vec<(Box<str>, Box<str>)> {
        self.namespaces.iter().flat_map(|(ns, names)| names.keys().map(|n| (ns.clone(), n.clone()))).collect()
    }
}
