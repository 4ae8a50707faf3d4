//! The store of an informer: every object of a kind by namespace and name, and, once that is asked for, by controller.
//!
//! Two levels, so that a namespace lists without touching the others and a lookup needs no allocated key.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use kube::Resource;

type Names<K> = BTreeMap<Box<str>, Arc<K>>;

struct Namespace<K> {
    names: Names<K>,
    /// By the controller's UID; under the empty one those that have none. Filled only where the store is indexed.
    controlled: HashMap<Box<str>, Names<K>>,
}

impl<K> Default for Namespace<K> {
    fn default() -> Self {
        Self { names: BTreeMap::new(), controlled: HashMap::new() }
    }
}

impl<K: Resource> Namespace<K> {
    fn index(&mut self, name: &str, object: &Arc<K>) {
        let uid = controller_uid(&**object);
        if !self.controlled.contains_key(uid) {
            self.controlled.insert(uid.into(), BTreeMap::new());
        }
        if let Some(names) = self.controlled.get_mut(uid) {
            names.insert(name.into(), object.clone());
        }
    }

    fn unindex(&mut self, name: &str, object: &K) {
        let uid = controller_uid(object);
        if let Some(names) = self.controlled.get_mut(uid) {
            names.remove(name);
            if names.is_empty() {
                self.controlled.remove(uid);
            }
        }
    }
}

pub(crate) struct Store<K> {
    namespaces: BTreeMap<Box<str>, Namespace<K>>,
    indexed: bool,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { namespaces: BTreeMap::new(), indexed: false }
    }
}

impl<K> Store<K> {
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.namespaces.get(namespace)?.names.get(name).cloned()
    }

    pub(crate) fn list(&self) -> Vec<Arc<K>> {
        self.namespaces.values().flat_map(|n| n.names.values().cloned()).collect()
    }

    pub(crate) fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.namespaces.get(namespace).map(|n| n.names.values().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn keys(&self) -> Vec<(Box<str>, Box<str>)> {
        self.namespaces.iter().flat_map(|(ns, n)| n.names.keys().map(|name| (ns.clone(), name.clone()))).collect()
    }

    /// Those in a namespace whose controller has that UID (empty: those without a controller), ordered by name; nothing as
    /// long as the store is not indexed.
    pub(crate) fn controlled_by(&self, namespace: &str, uid: &str) -> Option<Vec<Arc<K>>> {
        let found = self.namespaces.get(namespace).and_then(|within| within.controlled.get(uid));
        self.indexed.then(|| found.map(|names| names.values().cloned().collect()).unwrap_or_default())
    }
}

impl<K: Resource> Store<K> {
    pub(crate) fn insert(&mut self, namespace: &str, name: &str, object: Arc<K>) -> Option<Arc<K>> {
        if !self.namespaces.contains_key(namespace) {
            self.namespaces.insert(namespace.into(), Namespace::default());
        }
        let within = self.namespaces.get_mut(namespace)?;
        let old = within.names.insert(name.into(), object.clone());
        if self.indexed {
            if let Some(old) = &old {
                within.unindex(name, old);
            }
            within.index(name, &object);
        }
        old
    }

    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let within = self.namespaces.get_mut(namespace)?;
        let gone = within.names.remove(name);
        if let Some(gone) = gone.as_ref().filter(|_| self.indexed) {
            within.unindex(name, gone);
        }
        if within.names.is_empty() {
            self.namespaces.remove(namespace);
        }
        gone
    }

    /// From now on objects are found by their controllers.
    pub(crate) fn index_controllers(&mut self) {
        if std::mem::replace(&mut self.indexed, true) {
            return;
        }
        for within in self.namespaces.values_mut() {
            for (name, object) in within.names.clone() {
                within.index(&name, &object);
            }
        }
    }
}

fn controller_uid<K: Resource>(object: &K) -> &str {
    let owners = object.meta().owner_references.iter().flatten();
    owners.into_iter().find(|o| o.controller == Some(true)).map_or("", |o| &o.uid)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::ConfigMap,
        apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
    };

    use super::*;

    fn object(controller: &str) -> Arc<ConfigMap> {
        let owner = OwnerReference { uid: controller.into(), controller: Some(true), ..Default::default() };
        let other = OwnerReference { uid: "other".into(), ..Default::default() };
        let owners = if controller.is_empty() { vec![other] } else { vec![other, owner] };
        let metadata = ObjectMeta { owner_references: Some(owners), ..Default::default() };
        Arc::new(ConfigMap { metadata, ..Default::default() })
    }

    #[test]
    fn objects_are_found_by_their_controller_also_when_it_changes() {
        for indexed_before in [false, true] {
            let mut store = Store::default();
            assert!(store.controlled_by("x", "1").is_none());
            if indexed_before {
                store.index_controllers();
            }
            for (namespace, name, controller) in
                [("x", "a", "1"), ("x", "b", ""), ("x", "c", "1"), ("x", "d", "2"), ("y", "e", "1"), ("x", "d", "1")]
            {
                store.insert(namespace, name, object(controller));
            }
            store.index_controllers();
            let count = |store: &Store<ConfigMap>, uid| store.controlled_by("x", uid).unwrap().len();
            assert_eq!(
                [count(&store, "1"), count(&store, "2"), count(&store, ""), count(&store, "other")],
                [3, 0, 1, 0]
            );
            store.remove("x", "a");
            store.insert("x", "c", object(""));
            assert_eq!([count(&store, "1"), count(&store, "2"), count(&store, "")], [1, 0, 2]);
        }
    }
}
