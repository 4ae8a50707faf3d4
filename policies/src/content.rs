//! What a table should hold, and which parts of that have changed since the kernel was told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netfilter::tables::{Datum, Element, Rule, Set};

/// By what an element is told from others of its set: its key and, of a range, where it ends.
pub type Id = Vec<Datum>;

/// The id of an element.
pub fn id(element: &Element) -> Id {
    element.key.iter().chain(element.last.iter().flatten()).copied().collect()
}

/// Chains and sets that come and go, with all that is in them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Content {
    /// Each has a counter of its name.
    pub chains: BTreeMap<String, Vec<Rule>>,
    /// By name.
    pub sets: BTreeMap<String, Set>,
    /// By the set's name.
    pub elements: BTreeMap<String, BTreeMap<Id, Element>>,
}

/// What may be other than the kernel knows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dirty {
    /// Names of chains.
    pub chains: BTreeSet<String>,
    /// Names of sets.
    pub sets: BTreeSet<String>,
    /// Elements by the set's name.
    pub elements: BTreeMap<String, BTreeSet<Id>>,
}

/// A content, and what of it has changed.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    content: Content,
    dirty: Dirty,
}

impl Wanted {
    /// All of it.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// What has changed since this was asked.
    pub fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    /// Whether nothing has.
    pub fn is_clean(&self) -> bool {
        self.dirty == Dirty::default()
    }

    /// The chain has these rules.
    pub fn set_chain(&mut self, name: &str, rules: Vec<Rule>) {
        if self.content.chains.get(name) != Some(&rules) {
            self.content.chains.insert(name.to_owned(), rules);
            self.dirty.chains.insert(name.to_owned());
        }
    }

    /// There is no such chain.
    pub fn remove_chain(&mut self, name: &str) {
        if self.content.chains.remove(name).is_some() {
            self.dirty.chains.insert(name.to_owned());
        }
    }

    /// The set is there; it may have been.
    pub fn add_set(&mut self, set: Set) {
        if !self.content.sets.contains_key(&set.name) {
            self.dirty.sets.insert(set.name.clone());
            self.content.sets.insert(set.name.clone(), set);
        }
    }

    /// It goes, with its elements.
    pub fn remove_set(&mut self, name: &str) {
        if self.content.sets.remove(name).is_some() {
            self.content.elements.remove(name);
            self.dirty.elements.remove(name);
            self.dirty.sets.insert(name.to_owned());
        }
    }

    /// These are the set's elements.
    pub fn set_elements(&mut self, set: &str, elements: impl IntoIterator<Item = Element>) {
        let have = self.content.elements.get(set).into_iter().flatten().map(|(id, _)| id.clone()).collect();
        self.change(set, have, elements);
    }

    /// These are the set's elements whose key begins with that address.
    pub fn set_elements_of(&mut self, set: &str, ip: IpAddr, elements: impl IntoIterator<Item = Element>) {
        let first = Datum::Address(ip);
        let from = self.content.elements.get(set).into_iter().flat_map(|elements| elements.range(vec![first]..));
        let have = from.map(|(id, _)| id).take_while(|id| id.first() == Some(&first)).cloned().collect();
        self.change(set, have, elements);
    }

    /// Elements come in the place of those that the set has.
    fn change(&mut self, set: &str, have: Vec<Id>, elements: impl IntoIterator<Item = Element>) {
        let mut wanted: BTreeMap<Id, Element> = elements.into_iter().map(|element| (id(&element), element)).collect();
        if have.is_empty() && wanted.is_empty() {
            return;
        }
        let all = self.content.elements.entry(set.to_owned()).or_default();
        let dirty = self.dirty.elements.entry(set.to_owned()).or_default();
        for id in have {
            match wanted.remove(&id) {
                Some(element) if all.get(&id) == Some(&element) => {}
                Some(element) => {
                    all.insert(id.clone(), element);
                    dirty.insert(id);
                }
                None => {
                    all.remove(&id);
                    dirty.insert(id);
                }
            }
        }
        dirty.extend(wanted.keys().cloned());
        all.extend(wanted);
        if dirty.is_empty() {
            self.dirty.elements.remove(set);
        }
        if self.content.elements.get(set).is_some_and(BTreeMap::is_empty) {
            self.content.elements.remove(set);
        }
    }
}
