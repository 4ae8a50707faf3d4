//! The graph of who owns whom, by UID, and what a change of it calls for.
//!
//! Upstream: `pkg/controller/garbagecollector/graph_builder.go`. Pure: changes go in, work comes out. Objects that own
//! nothing, are owned by nothing and are not being deleted are remembered by their UID and namespace alone; of the others,
//! siblings share what they have in common.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;

pub(crate) use crate::util::uid::Uid;

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// What an object's metadata says that matters here.
#[derive(Deserialize, Clone, Debug, Default)]
pub(crate) struct Item {
    pub(crate) metadata: Meta,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) resource_version: Option<String>,
    pub(crate) deletion_timestamp: Option<String>,
    pub(crate) finalizers: Vec<String>,
    pub(crate) owner_references: Vec<OwnerReference>,
}

impl Meta {
    pub(crate) fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|f| f == finalizer)
    }

    fn deleting_with(&self, finalizer: &str) -> bool {
        self.deletion_timestamp.is_some() && self.has(finalizer)
    }
}

/// What is needed to find an object again.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Identity {
    pub(crate) api_version: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Box<str>,
    pub(crate) uid: Box<str>,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) identity: Identity,
    /// Siblings have one list.
    pub(crate) owners: Arc<[OwnerReference]>,
    pub(crate) dependents: BTreeSet<Uid>,
    pub(crate) being_deleted: bool,
    /// Being deleted in the foreground: it waits for its dependents.
    pub(crate) deleting_dependents: bool,
    /// Known from references only; whether it exists is to be found out.
    pub(crate) is_virtual: bool,
}

impl Node {
    fn new(identity: Identity, is_virtual: bool) -> Box<Self> {
        let (owners, dependents) = (Arc::default(), BTreeSet::new());
        Box::new(Self { identity, owners, dependents, being_deleted: false, deleting_dependents: false, is_virtual })
    }
}

/// What is to be done because of a change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Work {
    /// See whether it must go.
    Delete(Uid),
    /// Take it out of its dependents' references, then let it go.
    Orphan(Uid),
    /// Tell that it names an owner which is in another namespace.
    Misplaced {
        /// The dependent.
        dependent: Uid,
        /// The owner it names.
        owner: Uid,
    },
}

/// A kind by its number in the collector's list.
pub(crate) type Kind = u32;

#[derive(Default)]
pub(crate) struct Graph {
    /// Boxed: a third of a large table is empty.
    nodes: HashMap<Uid, Box<Node>>,
    observed: HashMap<Uid, Seen>,
    namespaces: Namespaces,
    /// Texts that many identities have in common.
    shared: HashSet<Arc<str>>,
    /// Owners known to be gone, so that a thousand dependents ask once. Bounded.
    absent: HashSet<(Uid, String)>,
}

/// What is remembered of every object.
#[derive(Clone, Copy)]
struct Seen {
    kind: Kind,
    namespace: u32,
}

/// Namespaces by numbers.
#[derive(Default)]
struct Namespaces {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Namespaces {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

const ABSENT_LIMIT: usize = 500;

impl Graph {
    pub(crate) fn get(&self, uid: Uid) -> Option<&Node> {
        self.nodes.get(&uid).map(|node| &**node)
    }

    pub(crate) fn is_absent(&self, owner: &OwnerReference, namespace: &str) -> bool {
        let uid = Uid::new(&owner.uid);
        self.absent.contains(&(uid, String::new())) || self.absent.contains(&(uid, namespace.to_owned()))
    }

    pub(crate) fn note_absent(&mut self, uid: &str, namespace: &str) {
        if self.absent.len() >= ABSENT_LIMIT {
            self.absent.clear();
        }
        self.absent.insert((Uid::new(uid), namespace.to_owned()));
    }

    fn share(&mut self, mut identity: Identity) -> Identity {
        for text in [&mut identity.api_version, &mut identity.kind, &mut identity.namespace] {
            match self.shared.get(text) {
                Some(shared) => *text = shared.clone(),
                None => drop(self.shared.insert(text.clone())),
            }
        }
        identity
    }

    /// The list, or that of a sibling which says the same.
    fn share_owners(&self, owners: &[OwnerReference]) -> Arc<[OwnerReference]> {
        let owner = owners.first().and_then(|owner| self.nodes.get(&Uid::new(&owner.uid)));
        let sibling = owner.and_then(|owner| owner.dependents.first()).and_then(|uid| self.nodes.get(uid));
        sibling.map(|sibling| &sibling.owners).filter(|theirs| ***theirs == *owners).cloned().unwrap_or(owners.into())
    }

    /// An object is there, in this state.
    pub(crate) fn apply(&mut self, kind: Kind, identity: Identity, meta: &Meta) -> Vec<Work> {
        let uid = Uid::new(&identity.uid);
        let identity = self.share(identity);
        let mut work = vec![];
        let namespace = self.namespaces.number(&identity.namespace);
        self.observed.insert(uid, Seen { kind, namespace });
        if let Some(node) = self.nodes.get_mut(&uid) {
            let supposed = std::mem::replace(&mut node.identity, identity.clone());
            let was_virtual = std::mem::take(&mut node.is_virtual);
            // References that called it something else, or from another namespace, are wrong: look at who made them.
            if was_virtual && supposed != identity {
                let dependents: Vec<Uid> = node.dependents.iter().copied().collect();
                for dependent in dependents {
                    if !identity.namespace.is_empty()
                        && self.nodes.get(&dependent).is_some_and(|n| n.identity.namespace != identity.namespace)
                    {
                        work.push(Work::Misplaced { dependent, owner: uid });
                    }
                    work.push(Work::Delete(dependent));
                }
            }
        } else if meta.owner_references.is_empty() && meta.deletion_timestamp.is_none() {
            return work;
        }
        let owners = self.share_owners(&meta.owner_references);
        let node = self.nodes.entry(uid).or_insert_with(|| Node::new(identity, false));
        let was_foreground = node.deleting_dependents;
        node.being_deleted |= meta.deletion_timestamp.is_some();
        let foreground = meta.deleting_with(FOREGROUND);
        node.deleting_dependents = foreground;
        let old = std::mem::replace(&mut node.owners, owners);
        let orphaning = meta.deleting_with(ORPHAN);
        // Each state that still has the finalizer asks for it; a queue makes one of many.
        if orphaning {
            work.push(Work::Orphan(uid));
        }
        if foreground && !was_foreground {
            work.extend(node.dependents.iter().map(|d| Work::Delete(*d)));
            work.push(Work::Delete(uid));
        }
        self.update_owners(uid, &old, &meta.owner_references, &mut work);
        work
    }

    fn update_owners(&mut self, uid: Uid, old: &[OwnerReference], new: &[OwnerReference], work: &mut Vec<Work>) {
        let blocks = |o: &OwnerReference| o.block_owner_deletion == Some(true);
        for gone in old {
            let still = new.iter().find(|n| n.uid == gone.uid);
            let owner = Uid::new(&gone.uid);
            // An owner that waited for this one need not wait longer.
            if blocks(gone) && still.is_none_or(|n| !blocks(n)) && self.nodes.contains_key(&owner) {
                work.push(Work::Delete(owner));
            }
            if still.is_none() {
                self.detach(owner, uid);
            }
        }
        let Some(me) = self.nodes.get(&uid) else { return };
        let namespace = me.identity.namespace.clone();
        for reference in new {
            let owner = Uid::new(&reference.uid);
            if old.iter().any(|o| o.uid == reference.uid) {
                continue;
            }
            let seen = self.observed.get(&owner);
            let there = seen.and_then(|seen| self.namespaces.names.get(seen.namespace as usize));
            let misplaced = there.is_some_and(|there| !there.is_empty() && **there != *namespace);
            let known = self.nodes.contains_key(&owner);
            let is_virtual = seen.is_none();
            let identity = Identity {
                api_version: reference.api_version.as_str().into(),
                kind: reference.kind.as_str().into(),
                namespace: there.map_or_else(|| namespace.clone(), |there| there.as_str().into()),
                name: reference.name.as_str().into(),
                uid: reference.uid.as_str().into(),
            };
            let identity = if known { identity } else { self.share(identity) };
            let node = self.nodes.entry(owner).or_insert_with(|| Node::new(identity, is_virtual));
            node.dependents.insert(uid);
            let i = &node.identity;
            let wrong = *i.kind != *reference.kind
                || *i.name != *reference.name
                || group(&i.api_version) != group(&reference.api_version)
                || (known && !i.namespace.is_empty() && i.namespace != namespace)
                || misplaced;
            if node.is_virtual && !known {
                work.push(Work::Delete(owner));
            }
            if misplaced {
                work.push(Work::Misplaced { dependent: uid, owner });
            }
            if wrong || node.deleting_dependents {
                work.push(Work::Delete(uid));
            }
        }
    }

    fn detach(&mut self, owner: Uid, dependent: Uid) {
        let Some(node) = self.nodes.get_mut(&owner) else { return };
        node.dependents.remove(&dependent);
        if node.dependents.is_empty() && node.owners.is_empty() && !node.being_deleted {
            self.nodes.remove(&owner);
        }
    }

    /// An object is gone.
    pub(crate) fn delete(&mut self, uid: Uid) -> Vec<Work> {
        self.observed.remove(&uid);
        let Some(node) = self.nodes.remove(&uid) else { return vec![] };
        let mut work: Vec<_> = node.dependents.iter().map(|d| Work::Delete(*d)).collect();
        if !node.dependents.is_empty() {
            let Identity { uid, namespace, .. } = &node.identity;
            self.note_absent(uid, namespace);
        }
        for reference in node.owners.iter() {
            let owner = Uid::new(&reference.uid);
            self.detach(owner, uid);
            if self.nodes.get(&owner).is_some_and(|o| o.deleting_dependents) {
                work.push(Work::Delete(owner));
            }
        }
        work
    }

    /// A kind was listed anew: what it no longer has is gone.
    pub(crate) fn retain(&mut self, kind: Kind, seen: &HashSet<Uid>) -> Vec<Work> {
        let gone = self.observed.iter().filter(|(uid, k)| k.kind == kind && !seen.contains(uid)).map(|(uid, _)| *uid);
        let gone: Vec<_> = gone.collect();
        gone.into_iter().flat_map(|uid| self.delete(uid)).collect()
    }

    /// The dependents that keep `owner` from going in the foreground.
    pub(crate) fn blocking(&self, owner: Uid) -> Vec<(Uid, &Node)> {
        let Some(node) = self.nodes.get(&owner) else { return vec![] };
        let blocks =
            |n: &Node| n.owners.iter().any(|o| Uid::new(&o.uid) == owner && o.block_owner_deletion == Some(true));
        let dependents = node.dependents.iter().filter_map(|d| self.get(*d).map(|n| (*d, n)));
        dependents.filter(|(_, n)| blocks(n)).collect()
    }
}

pub(crate) fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
