//! The store of an informer: every object of a kind by namespace and name, and by what indices were asked for.
//!
//! Two levels, so that a namespace lists without touching the others and a lookup needs no allocated key. What has not
//! been read for a while is packed (see `packed`).

#![expect(clippy::mutable_key_type, reason = "objects are ordered by their names alone, which never change")]

use std::{
    borrow::Borrow,
    cmp::Ordering as Order,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use kube::Resource;

use crate::packed::{Codec, Held};

/// Objects by their names, which they know themselves: an entry is a pointer, in every index.
type Names<K> = BTreeSet<Named<K>>;

struct Named<K>(Arc<Held<K>>);

impl<K> Borrow<str> for Named<K> {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl<K> PartialEq for Named<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl<K> Eq for Named<K> {}

impl<K> PartialOrd for Named<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Named<K> {
    fn cmp(&self, other: &Self) -> Order {
        self.0.name.cmp(&other.0.name)
    }
}

fn all<K>(names: &Names<K>) -> impl Iterator<Item = Arc<Held<K>>> {
    names.iter().map(|named| named.0.clone())
}

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
    pub const CONTROLLER: Self = Self::new("controller", controller_uid);
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
        Self { names: BTreeSet::new(), indexed, labelled: HashMap::new() }
    }
}

impl<K: Resource> Namespace<K> {
    fn label(&mut self, object: &K, held: &Arc<Held<K>>) {
        self.each_label(object, |found| {
            found.names.replace(Named(held.clone()));
        });
    }

    fn unlabel(&mut self, name: &str, object: &K) {
        self.each_label(object, |found| {
            found.names.remove(name);
        });
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

fn index<K>(found: &mut HashMap<Box<str>, Names<K>>, key: &str, held: &Arc<Held<K>>) {
    if let Some(names) = found.get_mut(key) {
        names.replace(Named(held.clone()));
    } else {
        found.insert(key.into(), BTreeSet::from([Named(held.clone())]));
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
        self.namespaces.get(namespace)?.names.get(name).map(|named| named.0.clone())
    }

    pub(crate) fn list(&self) -> Vec<Arc<Held<K>>> {
        self.namespaces.values().flat_map(|within| all(&within.names)).collect()
    }

    pub(crate) fn list_namespace(&self, namespace: &str) -> Vec<Arc<Held<K>>> {
        self.namespaces.get(namespace).map(|within| all(&within.names).collect()).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    pub(crate) fn keys(&self) -> Vec<(String, String)> {
        let named = |(ns, within): (&str, &Namespace<K>)| {
            all(&within.names).map(|held| (ns.to_owned(), held.name.to_string())).collect::<Vec<_>>()
        };
        self.namespaces.iter().map(|(ns, within)| (&**ns, within)).flat_map(named).collect()
    }

    /// Those of a namespace, or of all, that an index has under a key, ordered by namespace and name; nothing as long as
    /// the store has no such index.
    pub(crate) fn found(&self, index: &Index<K>, namespace: Option<&str>, key: &str) -> Option<Vec<Arc<Held<K>>>> {
        let at = self.indices.iter().position(|i| i.name == index.name)?;
        let of = |within: &Namespace<K>| {
            within.indexed.get(at).and_then(|found| found.get(key)).map(|names| all(names).collect())
        };
        Some(match namespace {
            Some(namespace) => self.namespaces.get(namespace).and_then(of).unwrap_or_default(),
            None => self.namespaces.values().filter_map(of).flat_map(|found: Vec<_>| found).collect(),
        })
    }

    /// The keys under which an index has anything; nothing as long as the store has no such index.
    pub(crate) fn index_keys(&self, index: &Index<K>) -> Option<Vec<String>> {
        let at = self.indices.iter().position(|i| i.name == index.name)?;
        let within = self.namespaces.values().filter_map(|within| within.indexed.get(at));
        let keys: BTreeSet<&str> = within.flat_map(|found| found.keys().map(|key| &**key)).collect();
        Some(keys.into_iter().map(str::to_owned).collect())
    }

    /// Those of a namespace that have a label, ordered by name; nothing as long as the store does not follow that label.
    pub(crate) fn labelled(&self, namespace: &str, (key, value): (&str, &str)) -> Option<Vec<Arc<Held<K>>>> {
        let found = self.namespaces.get(namespace)?.labelled.get(&*label(key, value))?;
        found.unasked.store(0, Ordering::Relaxed);
        Some(all(&found.names).collect())
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
            for Named(held) in &within.names {
                if let Some(object) = held.peek(&self.codec) {
                    index(&mut found, (by.key)(&object), held);
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
        let known = self.get(namespace, name);
        let held = known.clone().unwrap_or_else(|| Arc::new(Held::new(name, object.clone())));
        let Some(within) = self.namespaces.get_mut(namespace) else { return (held, None) };
        let old = match known {
            Some(known) => known.replace(object.clone(), &self.codec),
            None => {
                within.names.insert(Named(held.clone()));
                None
            }
        };
        for (by, found) in self.indices.iter().zip(&mut within.indexed) {
            let (was, is) = (old.as_ref().map(|old| (by.key)(old)), (by.key)(&object));
            if was == Some(is) {
                continue;
            }
            if let Some(was) = was {
                unindex(found, was, name);
            }
            index(found, is, &held);
        }
        if let Some(old) = old.as_ref().filter(|old| old.meta().labels != object.meta().labels) {
            within.unlabel(name, old);
        }
        if old.as_ref().is_none_or(|old| old.meta().labels != object.meta().labels) {
            within.label(&object, &held);
        }
        (held, old)
    }

    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let within = self.namespaces.get_mut(namespace)?;
        let gone = within.names.take(name)?.0.peek(&self.codec);
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
        let names =
            all(&within.names).filter(|held| held.peek(&self.codec).is_some_and(|k| has(&k))).map(Named).collect();
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
            let mut keys = store.index_keys(&Index::CONTROLLER).unwrap();
            keys.sort_unstable();
            assert_eq!(keys, ["", "1"].map(str::to_owned));
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
