//! The store of an informer: every object of a kind by namespace and name, and by what indices were asked for.
//!
//! Two levels, so that a namespace lists without touching the others and a lookup needs no allocated key. What has not
//! been read for a while is packed (see `packed`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use kube::Resource;

use crate::packed::{Codec, Held};

/// Names are shared by all indices.
type Names<K> = BTreeMap<Arc<str>, Arc<Held<K>>>;

/// A way to find objects of a namespace other than by their name.
pub struct Index<K> {
    name: &'static str,
    key: fn(&K) -> &str,
}

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Index<K> {}

impl<K> Index<K> {
    /// `key` says under what an object is found; `name` tells the indices of a kind apart.
    pub const fn new(name: &'static str, key: fn(&K) -> &str) -> Self {
        Self { name, key }
    }
}

impl<K: Resource> Index<K> {
    /// By the controller's UID; under the empty one those that have none.
    pub(crate) const CONTROLLER: Self = Self::new("controller", controller_uid);
}

/// Objects that have a label which somebody selects by.
struct Labelled<K> {
    names: Names<K>,
    /// Rounds of [`Store::age`] since anybody asked.
    unasked: AtomicU32,
}

struct Namespace<K> {
    names: Names<K>,
    /// One for each index of the store.
    indexed: Vec<HashMap<Box<str>, Names<K>>>,
    /// By label, as [`label`] writes it.
    labelled: HashMap<Box<str>, Labelled<K>>,
}

impl<K> Namespace<K> {
    fn new(indices: usize) -> Self {
        let indexed = std::iter::repeat_with(HashMap::new).take(indices).collect();
        Self { names: BTreeMap::new(), indexed, labelled: HashMap::new() }
    }
}

impl<K: Resource> Namespace<K> {
    fn label(&mut self, name: &Arc<str>, object: &K, held: &Arc<Held<K>>) {
        self.each_label(object, |found| drop(found.names.insert(name.clone(), held.clone())));
    }

    fn unlabel(&mut self, name: &str, object: &K) {
        self.each_label(object, |found| drop(found.names.remove(name)));
    }

    fn each_label(&mut self, object: &K, change: impl Fn(&mut Labelled<K>)) {
        if self.labelled.is_empty() {
            return;
        }
        for (key, value) in object.meta().labels.iter().flatten() {
            self.labelled.get_mut(&*label(key, value)).into_iter().for_each(&change);
        }
    }
}

fn label(key: &str, value: &str) -> Box<str> {
    format!("{key}={value}").into()
}

fn index<K>(found: &mut HashMap<Box<str>, Names<K>>, key: &str, name: &Arc<str>, held: &Arc<Held<K>>) {
    if let Some(names) = found.get_mut(key) {
        names.insert(name.clone(), held.clone());
    } else {
        found.insert(key.into(), BTreeMap::from([(name.clone(), held.clone())]));
    }
}

fn unindex<K>(found: &mut HashMap<Box<str>, Names<K>>, key: &str, name: &str) {
    if let Some(names) = found.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            found.remove(key);
        }
    }
}

pub(crate) struct Store<K> {
    namespaces: BTreeMap<Box<str>, Namespace<K>>,
    indices: Vec<Index<K>>,
    codec: Arc<Codec<K>>,
}

impl<K> Store<K> {
    pub(crate) fn new(codec: Arc<Codec<K>>) -> Self {
        Self { namespaces: BTreeMap::new(), indices: Vec::new(), codec }
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Held<K>>> {
        self.namespaces.get(namespace)?.names.get(name).cloned()
    }

    pub(crate) fn list(&self) -> Vec<Arc<Held<K>>> {
        self.namespaces.values().flat_map(|n| n.names.values().cloned()).collect()
    }

    pub(crate) fn list_namespace(&self, namespace: &str) -> Vec<Arc<Held<K>>> {
        self.namespaces.get(namespace).map(|n| n.names.values().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn keys(&self) -> Vec<(Box<str>, Arc<str>)> {
        self.namespaces.iter().flat_map(|(ns, n)| n.names.keys().map(|name| (ns.clone(), name.clone()))).collect()
    }

    /// Those of a namespace, or of all, that an index has under a key, ordered by namespace and name; nothing as long as
    /// the store has no such index.
    pub(crate) fn found(&self, index: &Index<K>, namespace: Option<&str>, key: &str) -> Option<Vec<Arc<Held<K>>>> {
        let at = self.indices.iter().position(|i| i.name == index.name)?;
        let of = |within: &Namespace<K>| {
            within.indexed.get(at).and_then(|found| found.get(key)).map(|names| names.values().cloned().collect())
        };
        Some(match namespace {
            Some(namespace) => self.namespaces.get(namespace).and_then(of).unwrap_or_default(),
            None => self.namespaces.values().filter_map(of).flat_map(|found: Vec<_>| found).collect(),
        })
    }

    /// Those of a namespace that have a label, ordered by name; nothing as long as the store does not follow that label.
    pub(crate) fn labelled(&self, namespace: &str, (key, value): (&str, &str)) -> Option<Vec<Arc<Held<K>>>> {
        let found = self.namespaces.get(namespace)?.labelled.get(&*label(key, value))?;
        found.unasked.store(0, Ordering::Relaxed);
        Some(found.names.values().cloned().collect())
    }

    pub(crate) fn count(&self, namespace: &str) -> usize {
        self.namespaces.get(namespace).map_or(0, |within| within.names.len())
    }

    /// From now on objects are found by that index too.
    pub(crate) fn add_index(&mut self, by: Index<K>) {
        if self.indices.iter().any(|i| i.name == by.name) {
            return;
        }
        for within in self.namespaces.values_mut() {
            let mut found = HashMap::new();
            for (name, held) in &within.names {
                if let Some(object) = held.peek(&self.codec) {
                    index(&mut found, (by.key)(&object), name, held);
                }
            }
            within.indexed.push(found);
        }
        self.indices.push(by);
    }

    /// Labels that nobody has asked for in so many rounds are no longer followed.
    pub(crate) fn age(&mut self, rounds: u32) {
        for within in self.namespaces.values_mut() {
            within.labelled.retain(|_, found| found.unasked.fetch_add(1, Ordering::Relaxed) < rounds);
        }
    }
}

impl<K: Resource> Store<K> {
    /// Gives what was there before.
    pub(crate) fn insert(&mut self, namespace: &str, name: &str, object: Arc<K>) -> (Arc<Held<K>>, Option<Arc<K>>) {
        if !self.namespaces.contains_key(namespace) {
            self.namespaces.insert(namespace.into(), Namespace::new(self.indices.len()));
        }
        let held = Arc::new(Held::new(object.clone()));
        let Some(within) = self.namespaces.get_mut(namespace) else { return (held, None) };
        let name = within.names.get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone());
        let old = within.names.insert(name.clone(), held.clone()).and_then(|old| old.peek(&self.codec));
        for (by, found) in self.indices.iter().zip(&mut within.indexed) {
            if let Some(old) = &old {
                unindex(found, (by.key)(old), &name);
            }
            index(found, (by.key)(&object), &name, &held);
        }
        if let Some(old) = &old {
            within.unlabel(&name, old);
        }
        within.label(&name, &object, &held);
        (held, old)
    }

    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let within = self.namespaces.get_mut(namespace)?;
        let gone = within.names.remove(name)?.peek(&self.codec);
        for (by, found) in self.indices.iter().zip(&mut within.indexed) {
            if let Some(gone) = &gone {
                unindex(found, (by.key)(gone), name);
            }
        }
        if let Some(gone) = &gone {
            within.unlabel(name, gone);
        }
        if within.names.is_empty() {
            self.namespaces.remove(namespace);
        }
        gone
    }

    /// From now on the objects of that namespace are found by that label too, as long as somebody asks.
    pub(crate) fn follow_label(&mut self, namespace: &str, (key, value): (&str, &str)) {
        let Some(within) = self.namespaces.get_mut(namespace) else { return };
        let has = |k: &K| k.meta().labels.as_ref().is_some_and(|labels| labels.get(key).is_some_and(|v| v == value));
        let with_it = within.names.iter().filter(|(_, held)| held.peek(&self.codec).is_some_and(|k| has(&k)));
        let names = with_it.map(|(name, held)| (name.clone(), held.clone())).collect();
        within.labelled.insert(label(key, value), Labelled { names, unasked: AtomicU32::new(0) });
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
            let codec = Arc::<Codec<ConfigMap>>::default();
            let mut store = Store::new(codec.clone());
            assert!(store.found(&Index::CONTROLLER, Some("x"), "1").is_none());
            if indexed_before {
                store.add_index(Index::CONTROLLER);
            }
            for (namespace, name, controller) in
                [("x", "a", "1"), ("x", "b", ""), ("x", "c", "1"), ("x", "d", "2"), ("y", "e", "1"), ("x", "d", "1")]
            {
                let (held, _) = store.insert(namespace, name, object(controller));
                assert!(!held.rest(&codec, true), "packed");
            }
            store.add_index(Index::CONTROLLER);
            let count = |store: &Store<ConfigMap>, uid| store.found(&Index::CONTROLLER, Some("x"), uid).unwrap().len();
            assert_eq!(
                [count(&store, "1"), count(&store, "2"), count(&store, ""), count(&store, "other")],
                [3, 0, 1, 0]
            );
            assert_eq!(store.found(&Index::CONTROLLER, None, "1").unwrap().len(), 4);
            store.remove("x", "a");
            store.insert("x", "c", object(""));
            assert_eq!([count(&store, "1"), count(&store, "2"), count(&store, "")], [1, 0, 2]);
        }
    }
    #[test]
    fn objects_are_found_by_labels_as_long_as_somebody_asks() {
        let codec = Arc::<Codec<ConfigMap>>::default();
        let mut store = Store::new(codec.clone());
        let object = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Arc::new(ConfigMap {
                metadata: ObjectMeta { labels: Some(labels), ..Default::default() },
                ..Default::default()
            })
        };
        let web = ("app", "web");
        store.insert("x", "a", object(&[web, ("tier", "front")])).0.rest(&codec, true);
        store.insert("x", "b", object(&[("app", "db")])).0.rest(&codec, true);
        store.insert("y", "a", object(&[web])).0.rest(&codec, true);
        assert!(store.labelled("x", web).is_none());
        store.follow_label("x", web);
        let count = |store: &Store<ConfigMap>| store.labelled("x", web).map(|found| found.len());
        assert_eq!(count(&store), Some(1));
        store.insert("x", "b", object(&[web]));
        store.insert("x", "c", object(&[web]));
        store.insert("x", "a", object(&[("tier", "front")]));
        assert_eq!(count(&store), Some(2));
        store.remove("x", "b");
        assert_eq!(count(&store), Some(1));
        (0..3).for_each(|_| store.age(3));
        assert_eq!(count(&store), Some(1));
        (0..4).for_each(|_| store.age(3));
        assert_eq!(count(&store), None);
        assert_eq!([store.count("x"), store.count("y"), store.count("z")], [2, 1, 0]);
    }
}
