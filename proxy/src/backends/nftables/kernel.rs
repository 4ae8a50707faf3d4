//! From fragments to transactions: what the kernel has, what it should have, and the difference.
//!
//! A service's change marks its elements as dirty; [`Table::transactions`] compares only those. What was said to the kernel
//! counts as there once [`Table::applied`] is called; after a failure nothing is known, and the whole table is made anew,
//! in one transaction and under its other name, so that packets never meet half of it. The old one goes in the next.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netfilter::tables::{self, Datum, Element, Rule, Set, Version};
use netfilter::{Change, TimedAddresses, Transaction};

use crate::model::Family;

use super::{Fragment, Map, Options, Shared, TABLES, Value, base, version};

/// What nothing leads to any more is deleted after this long. Kernels before 6.2 notice a moment late that a chain is no
/// longer used; and a packet on its way may have been led to an endpoint by what was there before the change.
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
    /// Chains that nothing leads to, and since when.
    stale: BTreeMap<String, Instant>,
    /// The same of elements with endpoints.
    lingering: BTreeMap<Key, Instant>,
    known: bool,
    /// Which of its names it has.
    is_second: bool,
    /// The tables that it takes the place of, and the clients in their sets.
    replaced: Vec<tables::Table>,
    resumed: TimedAddresses,
    pending: Pending,
}

/// What the transactions under way do to what is installed.
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
            lingering: BTreeMap::new(),
            known: false,
            is_second: false,
            replaced: Vec::new(),
            resumed: Vec::new(),
            pending: Pending::default(),
        }
    }

    /// Those that the kernel may have of a family.
    pub fn names(family: Family) -> [tables::Table; 2] {
        TABLES.map(|name| tables::Table { version: version(family), name: name.to_owned() })
    }

    /// Needs all rights, and leaves nothing.
    pub fn probe() -> Transaction {
        let table = tables::Table { version: Version::V4, name: "ferry-proxy-probe".to_owned() };
        let mut probe = Transaction::default();
        probe.extend([Change::AddTable(table.clone()), Change::DeleteTable(table)]);
        probe
    }

    /// Changes nothing, and is refused where the table is gone.
    pub fn sign_of_life(&self) -> Transaction {
        let mut sign = Transaction::default();
        sign.push(Change::FlushChain(self.name(), base::ALIVE.to_owned()));
        sign
    }

    fn name(&self) -> tables::Table {
        let [first, second] = Self::names(self.options.family);
        if self.is_second { second } else { first }
    }

    /// When it is made anew, it takes the place of these, and their clients of sessions stay with their endpoints.
    pub fn take_over(&mut self, found: Vec<(tables::Table, TimedAddresses)>) {
        let [first, _] = Self::names(self.options.family);
        self.is_second = found.iter().any(|(name, _)| *name == first);
        let (names, clients): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        self.resumed = clients.into_iter().flatten().collect();
        self.replaced = names.into_iter().filter(|name| *name != self.name()).collect();
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

    /// When what is no longer used can be deleted, if there is anything: another transaction is due then.
    pub fn next_cleanup(&self) -> Option<Instant> {
        self.stale.values().chain(self.lingering.values()).min().map(|since| *since + STALE_AFTER)
    }

    /// How many elements the kernel should have.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether there is nothing to proxy.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// What makes the kernel's table what it should be: transactions, of which each leaves it whole; none if it is that
    /// already. To be followed by [`Table::applied`] or [`Table::resync`].
    pub fn transactions(&mut self, now: Instant) -> Vec<Transaction> {
        let [mut first, mut then] = [Transaction::default(), Transaction::default()];
        self.pending = Pending { full: !self.known, ..Pending::default() };
        if self.pending.full {
            first = base::create(&self.name(), &self.options);
            self.installed.clear();
            self.installed_chains.clear();
            self.installed_sets.clear();
            self.shared.clear();
            self.stale.clear();
            self.lingering.clear();
            self.dirty = self.claims.keys().cloned().collect();
            self.dirty_chains = self.fragments.values().flat_map(|fragment| fragment.chains.keys().cloned()).collect();
            self.dirty_sets = self.fragments.values().flat_map(|fragment| fragment.sets.keys().cloned()).collect();
        }
        let changes = self.changed_elements(now);
        let chains = self.changed_chains();
        let sets = self.changed_sets();
        first.extend(sets.iter().filter_map(|(_, set)| Some(Change::AddSet(self.name(), set.clone()?))));
        self.change_chains(&chains, &changes, &mut first, &mut then);
        self.change_elements(&changes, &mut then);
        if self.pending.full {
            self.resume_sessions(&sets, &mut then);
        }
        self.remove(&chains, &sets, now, &mut then);
        self.pending.elements = changes;
        self.pending.chains = chains;
        self.pending.sets = sets.into_iter().map(|(name, set)| (name, set.is_some())).collect();
        if self.pending.full {
            first.append(then);
            then = Transaction::default();
            // They may be gone by then: that they are added makes sure that they are not.
            let gone = std::mem::take(&mut self.replaced).into_iter();
            then.extend(gone.flat_map(|old| [Change::AddTable(old.clone()), Change::DeleteTable(old)]));
        }
        [first, then].into_iter().filter(|transaction| !transaction.is_empty()).collect()
    }

    /// The last transactions were applied.
    pub fn applied(&mut self, now: Instant) {
        let pending = std::mem::take(&mut self.pending);
        self.known = true;
        for (key, value) in pending.elements {
            self.lingering.remove(&key);
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

    fn changed_elements(&mut self, now: Instant) -> Vec<(Key, Option<Value>)> {
        let wanted = |key: &Key| self.claims.get(key).and_then(|claim| claim.values().next());
        let changed = self.dirty.iter().filter(|key| wanted(key) != self.installed.get(key));
        let mut changes: Vec<_> = changed.map(|key| (key.clone(), wanted(key).cloned())).collect();
        let lingers = |(key, value): &mut (Key, Option<Value>)| matches!(key.0, Map::Endpoints(..)) && value.is_none();
        for (key, _) in changes.extract_if(.., lingers) {
            self.lingering.entry(key).or_insert(now);
        }
        self.lingering.retain(|key, _| !self.claims.contains_key(key));
        let due = self.lingering.iter().filter(|(_, since)| now.duration_since(**since) >= STALE_AFTER);
        changes.extend(due.map(|(key, _)| (key.clone(), None)));
        changes
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

    fn resume_sessions(&mut self, sets: &[(String, Option<Set>)], out: &mut Transaction) {
        for (name, clients) in std::mem::take(&mut self.resumed) {
            let Some(set) = sets.iter().find_map(|(of, set)| set.as_ref().filter(|_| *of == name)) else { continue };
            let timed = |(address, left): (IpAddr, Duration)| Element {
                expires: Some(left),
                ..Element::of([Datum::Address(address)])
            };
            let elements = clients.into_iter().map(timed).collect();
            out.push(Change::AddElements(self.name(), set.clone(), elements));
        }
    }

    /// Chains that are new come `first`: a packet that was on its way when they came would find them empty, if something
    /// led to them already.
    fn change_chains(
        &mut self,
        chains: &[(String, Option<Vec<Rule>>)],
        changes: &[(Key, Option<Value>)],
        first: &mut Transaction,
        then: &mut Transaction,
    ) {
        let made = || chains.iter().filter_map(|(name, rules)| Some((name, rules.as_ref()?)));
        for (out, are_there) in [(&mut *first, false), (then, true)] {
            let made = || made().filter(|(name, _)| self.installed_chains.contains_key(*name) == are_there);
            for (name, _) in made() {
                out.push(Change::AddChain(self.name(), name.clone(), None));
                out.push(Change::FlushChain(self.name(), name.clone()));
            }
            for (name, rules) in made() {
                out.extend(rules.iter().map(|rule| Change::AddRule(self.name(), name.clone(), rule.clone())));
            }
        }
        let needed = changes.iter().filter_map(|(_, value)| match value {
            Some(Value::Shared(shared)) => Some(*shared),
            _ => None,
        });
        let needed: BTreeSet<Shared> = needed.flat_map(|shared| shared.needs().into_iter().chain([shared])).collect();
        // Sorted, which puts `Cluster` chains before those that lead to them.
        for shared in needed.into_iter().filter(|shared| !self.shared.contains(shared)).collect::<Vec<_>>() {
            first.push(Change::AddChain(self.name(), shared.name(), None));
            let rules = shared.rules(&self.options).into_iter();
            first.extend(rules.map(|rule| Change::AddRule(self.name(), shared.name(), rule)));
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
        out.extend(removed.into_iter().map(|(map, all)| Change::DeleteElements(self.name(), set(map), all)));
        out.extend(added.into_iter().map(|(map, all)| Change::AddElements(self.name(), set(map), all)));
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
            out.push(Change::FlushChain(self.name(), name.clone()));
            self.pending.stale.push(name);
        }
        let unused = sets.iter().filter(|(_, set)| set.is_none());
        out.extend(unused.map(|(name, _)| Change::DeleteSet(self.name(), name.clone())));
        let again = |name: &String| chains.iter().any(|(other, _)| other == name);
        let due: Vec<String> = self
            .stale
            .iter()
            .filter(|(name, since)| now.duration_since(**since) >= STALE_AFTER && !again(name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            out.push(Change::DeleteChain(self.name(), name.clone()));
            self.pending.deleted.push(name);
        }
    }
}
