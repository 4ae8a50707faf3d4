//! From fragments to transactions: what the kernel has, what it should have, and the difference.
//!
//! A service's change marks its elements as dirty; [`Table::transaction`] compares only those. What was said to the kernel
//! counts as there once [`Table::applied`] is called; after a failure nothing is known, and the next one makes the
//! whole table anew, in one transaction, so that packets never meet half of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use netfilter::tables::{self, Datum, Element, Rule, Set};
use netfilter::{Change, Transaction};

use crate::model::Family;

use super::{Fragment, Map, Options, Shared, Value, base, table};

/// Kernels before 6.2 notice that a chain is no longer used a moment after the last element that led to it is gone.
const STALE_AFTER: Duration = Duration::from_secs(1);

type Key = (Map, Vec<Datum>);

/// The table of one family.
pub struct Table {
    options: Options,
    fragments: HashMap<String, Fragment>,
    /// Who wants which element: two Services may claim one external address, and the first by name has it.
    claims: HashMap<Key, BTreeMap<String, Value>>,
    installed: HashMap<Key, Value>,
    installed_chains: HashMap<String, Vec<Rule>>,
    installed_sets: HashSet<String>,
    shared: HashSet<Shared>,
    dirty: BTreeSet<Key>,
    dirty_chains: BTreeSet<String>,
    dirty_sets: BTreeSet<String>,
    stale: BTreeMap<String, Instant>,
    known: bool,
    pending: Pending,
}

/// What a transaction that is under way does to what is installed.
#[derive(Default)]
struct Pending {
    full: bool,
    elements: Vec<(Key, Option<Value>)>,
    chains: Vec<(String, Option<Vec<Rule>>)>,
    sets: Vec<(String, bool)>,
    shared: Vec<Shared>,
    stale: Vec<String>,
    deleted: Vec<String>,
}

impl Table {
    /// A table of which the kernel knows nothing yet.
    pub fn new(options: Options) -> Table {
        Table {
            options,
            fragments: HashMap::new(),
            claims: HashMap::new(),
            installed: HashMap::new(),
            installed_chains: HashMap::new(),
            installed_sets: HashSet::new(),
            shared: HashSet::new(),
            dirty: BTreeSet::new(),
            dirty_chains: BTreeSet::new(),
            dirty_sets: BTreeSet::new(),
            stale: BTreeMap::new(),
            known: false,
            pending: Pending::default(),
        }
    }

    /// Changes nothing that is seen, and needs all rights.
    pub fn probe() -> Transaction {
        let mut probe = Transaction::default();
        probe.push(Change::AddTable(table(Family::V4)));
        probe
    }

    /// Changes nothing, and is refused where the table is gone.
    pub fn sign_of_life(&self) -> Transaction {
        let mut sign = Transaction::default();
        sign.push(Change::FlushChain(self.table(), base::ALIVE.to_owned()));
        sign
    }

    /// The options of the rules.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Takes other options: the whole table will be made anew.
    pub fn set_options(&mut self, options: Options) {
        if self.options != options {
            self.options = options;
            self.known = false;
        }
    }

    /// What `service` (its `namespace/name`) holds from now on.
    pub fn replace(&mut self, service: &str, fragment: Fragment) {
        let old = if fragment == Fragment::default() {
            self.fragments.remove(service)
        } else {
            self.fragments.insert(service.to_owned(), fragment.clone())
        };
        let old = old.unwrap_or_default();
        for key in old.elements.keys().filter(|key| !fragment.elements.contains_key(*key)) {
            if let Some(claim) = self.claims.get_mut(key) {
                claim.remove(service);
                if claim.is_empty() {
                    self.claims.remove(key);
                }
            }
            self.dirty.insert(key.clone());
        }
        for (key, value) in &fragment.elements {
            if old.elements.get(key) != Some(value) {
                self.claims.entry(key.clone()).or_default().insert(service.to_owned(), value.clone());
                self.dirty.insert(key.clone());
            }
        }
        self.dirty_chains.extend(old.chains.keys().chain(fragment.chains.keys()).cloned());
        self.dirty_sets.extend(old.sets.keys().chain(fragment.sets.keys()).cloned());
    }

    /// Forgets what the kernel has: the next transaction makes the table anew.
    pub fn resync(&mut self) {
        self.known = false;
    }

    /// Whether the kernel has the table, as far as we know.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// When chains that are no longer used can be deleted, if there are any: another transaction is due then.
    pub fn next_cleanup(&self) -> Option<Instant> {
        self.stale.values().min().map(|since| *since + STALE_AFTER)
    }

    /// How many elements the kernel should have.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether there is nothing to proxy.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// What makes the kernel's table what it should be; `None` if it is that already. To be followed by
    /// [`Table::applied`] or [`Table::resync`].
    pub fn transaction(&mut self, now: Instant) -> Option<Transaction> {
        let mut out = Transaction::default();
        self.pending = Pending { full: !self.known, ..Pending::default() };
        if self.pending.full {
            out = base::create(&self.options);
            self.installed.clear();
            self.installed_chains.clear();
            self.installed_sets.clear();
            self.shared.clear();
            self.stale.clear();
            self.dirty = self.claims.keys().cloned().collect();
            self.dirty_chains = self.fragments.values().flat_map(|fragment| fragment.chains.keys().cloned()).collect();
            self.dirty_sets = self.fragments.values().flat_map(|fragment| fragment.sets.keys().cloned()).collect();
        }
        let changes = self.changed_elements();
        let chains = self.changed_chains();
        let sets = self.changed_sets();
        out.extend(sets.iter().filter_map(|(_, set)| Some(Change::AddSet(self.table(), set.clone()?))));
        self.change_chains(&chains, &changes, &mut out);
        self.change_elements(&changes, &mut out);
        self.remove(&chains, &sets, now, &mut out);
        self.pending.elements = changes;
        self.pending.chains = chains;
        self.pending.sets = sets.into_iter().map(|(name, set)| (name, set.is_some())).collect();
        (!out.is_empty()).then_some(out)
    }

    /// The last transaction was applied.
    pub fn applied(&mut self, now: Instant) {
        let pending = std::mem::take(&mut self.pending);
        self.known = true;
        for (key, value) in pending.elements {
            match value {
                Some(value) => self.installed.insert(key, value),
                None => self.installed.remove(&key),
            };
        }
        for (name, rules) in pending.chains {
            match rules {
                Some(rules) => {
                    self.stale.remove(&name);
                    self.installed_chains.insert(name, rules)
                }
                None => self.installed_chains.remove(&name),
            };
        }
        for (name, there) in pending.sets {
            if there {
                self.installed_sets.insert(name);
            } else {
                self.installed_sets.remove(&name);
            }
        }
        self.shared.extend(pending.shared);
        self.stale.extend(pending.stale.into_iter().map(|name| (name, now)));
        for name in pending.deleted {
            self.stale.remove(&name);
        }
        self.dirty.clear();
        self.dirty_chains.clear();
        self.dirty_sets.clear();
    }

    fn changed_elements(&self) -> Vec<(Key, Option<Value>)> {
        let wanted = |key: &Key| self.claims.get(key).and_then(|claim| claim.values().next());
        let changed = self.dirty.iter().filter(|key| wanted(key) != self.installed.get(key));
        changed.map(|key| (key.clone(), wanted(key).cloned())).collect()
    }

    fn changed_chains(&self) -> Vec<(String, Option<Vec<Rule>>)> {
        if self.dirty_chains.is_empty() {
            return Vec::new();
        }
        // A chain belongs to one service port, so at most one fragment has it.
        let wanted: HashMap<&String, &Vec<Rule>> = self.fragments.values().flat_map(|f| &f.chains).collect();
        let changed =
            self.dirty_chains.iter().filter(|name| wanted.get(name).copied() != self.installed_chains.get(*name));
        changed.map(|name| (name.clone(), wanted.get(name).map(|rules| (*rules).clone()))).collect()
    }

    fn changed_sets(&self) -> Vec<(String, Option<Set>)> {
        if self.dirty_sets.is_empty() {
            return Vec::new();
        }
        let wanted: HashMap<&String, &Set> = self.fragments.values().flat_map(|f| &f.sets).collect();
        let changed =
            self.dirty_sets.iter().filter(|name| wanted.contains_key(name) != self.installed_sets.contains(*name));
        changed.map(|name| (name.clone(), wanted.get(name).map(|set| (*set).clone()))).collect()
    }

    fn change_chains(
        &mut self,
        chains: &[(String, Option<Vec<Rule>>)],
        changes: &[(Key, Option<Value>)],
        out: &mut Transaction,
    ) {
        let made = chains.iter().filter_map(|(name, rules)| Some((name, rules.as_ref()?)));
        for (name, _) in made.clone() {
            out.push(Change::AddChain(self.table(), name.clone(), None));
            out.push(Change::FlushChain(self.table(), name.clone()));
        }
        for (name, rules) in made {
            out.extend(rules.iter().map(|rule| Change::AddRule(self.table(), name.clone(), rule.clone())));
        }
        let needed = changes.iter().filter_map(|(_, value)| match value {
            Some(Value::Shared(shared)) => Some(*shared),
            _ => None,
        });
        let needed: BTreeSet<Shared> = needed.flat_map(|shared| shared.needs().into_iter().chain([shared])).collect();
        // Sorted, which puts `Cluster` chains before those that lead to them.
        for shared in needed.into_iter().filter(|shared| !self.shared.contains(shared)).collect::<Vec<_>>() {
            out.push(Change::AddChain(self.table(), shared.name(), None));
            let rules = shared.rules(&self.options).into_iter();
            out.extend(rules.map(|rule| Change::AddRule(self.table(), shared.name(), rule)));
            self.pending.shared.push(shared);
        }
    }

    fn change_elements(&self, changes: &[(Key, Option<Value>)], out: &mut Transaction) {
        let mut removed: BTreeMap<Map, Vec<Element>> = BTreeMap::new();
        let mut added: BTreeMap<Map, Vec<Element>> = BTreeMap::new();
        for (key, value) in changes {
            let (map, parts) = key;
            if self.installed.contains_key(key) {
                removed.entry(*map).or_default().push(Element::of(parts.as_slice()));
            }
            if let Some(value) = value {
                added.entry(*map).or_default().push(value.element(parts));
            }
        }
        let set = |map: Map| base::definition(map, self.options.family);
        out.extend(removed.into_iter().map(|(map, all)| Change::DeleteElements(self.table(), set(map), all)));
        out.extend(added.into_iter().map(|(map, all)| Change::AddElements(self.table(), set(map), all)));
    }

    fn remove(
        &mut self,
        chains: &[(String, Option<Vec<Rule>>)],
        sets: &[(String, Option<Set>)],
        now: Instant,
        out: &mut Transaction,
    ) {
        let gone = chains.iter().filter(|(_, rules)| rules.is_none()).map(|(name, _)| name.clone());
        for name in gone.collect::<Vec<_>>() {
            out.push(Change::FlushChain(self.table(), name.clone()));
            self.pending.stale.push(name);
        }
        let unused = sets.iter().filter(|(_, set)| set.is_none());
        out.extend(unused.map(|(name, _)| Change::DeleteSet(self.table(), name.clone())));
        let again = |name: &String| chains.iter().any(|(other, _)| other == name);
        let due: Vec<String> = self
            .stale
            .iter()
            .filter(|(name, since)| now.duration_since(**since) >= STALE_AFTER && !again(name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            out.push(Change::DeleteChain(self.table(), name.clone()));
            self.pending.deleted.push(name);
        }
    }

    fn table(&self) -> tables::Table {
        table(self.options.family)
    }
}
