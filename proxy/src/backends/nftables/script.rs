//! From fragments to transactions: what the kernel has, what it should have, and the difference.
//!
//! A service's change marks its elements as dirty; [`Table::script`] compares only those. What was said to the kernel
//! counts as there once [`Table::applied`] is called; after a failure nothing is known, and the next script makes the
//! whole table anew, in one transaction, so that packets never meet half of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::{Fragment, Map, Options, Shared, TABLE, Value, base, ip};

/// Kernels before 6.2 notice that a chain is no longer used a moment after the last element that led to it is gone.
const STALE_AFTER: Duration = Duration::from_secs(1);

type Key = (Map, String);

/// The table of one family.
pub struct Table {
    options: Options,
    fragments: HashMap<String, Fragment>,
    /// Who wants which element: two Services may claim one external address, and the first by name has it.
    claims: HashMap<Key, BTreeMap<String, Value>>,
    installed: HashMap<Key, Value>,
    installed_chains: HashMap<String, Vec<String>>,
    installed_sets: HashSet<String>,
    shared: HashSet<Shared>,
    dirty: BTreeSet<Key>,
    dirty_chains: BTreeSet<String>,
    dirty_sets: BTreeSet<String>,
    stale: BTreeMap<String, Instant>,
    known: bool,
    pending: Pending,
}

/// What a script that is under way does to what is installed.
#[derive(Default)]
struct Pending {
    full: bool,
    elements: Vec<(Key, Option<Value>)>,
    chains: Vec<(String, Option<Vec<String>>)>,
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

    /// Forgets what the kernel has: the next script makes the table anew.
    pub fn resync(&mut self) {
        self.known = false;
    }

    /// Whether the kernel has the table, as far as we know.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// When chains that are no longer used can be deleted, if there are any: another script is due then.
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

    /// The transaction that makes the kernel's table what it should be; `None` if it is that already. To be followed
    /// by [`Table::applied`] or [`Table::resync`].
    pub fn script(&mut self, now: Instant) -> Option<String> {
        let mut out = String::new();
        self.pending = Pending { full: !self.known, ..Pending::default() };
        if self.pending.full {
            out.push_str(&base::script(&self.options));
            self.installed.clear();
            self.installed_chains.clear();
            self.installed_sets.clear();
            self.shared.clear();
            self.stale.clear();
            self.dirty = self.claims.keys().cloned().collect();
            self.dirty_chains = self.fragments.values().flat_map(|fragment| fragment.chains.keys().cloned()).collect();
            self.dirty_sets = self.fragments.values().flat_map(|fragment| fragment.sets.keys().cloned()).collect();
        }
        let before = out.len();
        let changes = self.changed_elements();
        let chains = self.changed_chains();
        let sets = self.changed_sets();
        self.write_sets(&sets, &mut out);
        self.write_chains(&chains, &changes, &mut out);
        self.write_elements(&changes, &mut out);
        self.write_removals(&chains, &sets, now, &mut out);
        self.pending.elements = changes;
        self.pending.chains = chains;
        self.pending.sets = sets.into_iter().map(|(name, definition)| (name, definition.is_some())).collect();
        (self.pending.full || out.len() > before).then_some(out)
    }

    /// The last script was applied.
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

    fn changed_chains(&self) -> Vec<(String, Option<Vec<String>>)> {
        if self.dirty_chains.is_empty() {
            return Vec::new();
        }
        // A chain belongs to one service port, so at most one fragment has it.
        let wanted: HashMap<&String, &Vec<String>> = self.fragments.values().flat_map(|f| &f.chains).collect();
        let changed =
            self.dirty_chains.iter().filter(|name| wanted.get(name).copied() != self.installed_chains.get(*name));
        changed.map(|name| (name.clone(), wanted.get(name).map(|rules| (*rules).clone()))).collect()
    }

    fn changed_sets(&self) -> Vec<(String, Option<String>)> {
        if self.dirty_sets.is_empty() {
            return Vec::new();
        }
        let wanted: HashMap<&String, &String> = self.fragments.values().flat_map(|f| &f.sets).collect();
        let changed =
            self.dirty_sets.iter().filter(|name| wanted.contains_key(name) != self.installed_sets.contains(*name));
        changed.map(|name| (name.clone(), wanted.get(name).map(|text| (*text).clone()))).collect()
    }

    fn write_sets(&self, sets: &[(String, Option<String>)], out: &mut String) {
        for (name, definition) in sets.iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
            self.line(out, format_args!("add set {} {name} {{ {definition} }}", self.table()));
        }
    }

    fn write_chains(
        &mut self,
        chains: &[(String, Option<Vec<String>>)],
        changes: &[(Key, Option<Value>)],
        out: &mut String,
    ) {
        let written = chains.iter().filter_map(|(name, rules)| Some((name, rules.as_ref()?)));
        for (name, _) in written.clone() {
            self.line(out, format_args!("add chain {} {name}", self.table()));
            self.line(out, format_args!("flush chain {} {name}", self.table()));
        }
        for (name, rules) in written {
            for rule in rules {
                self.line(out, format_args!("add rule {} {name} {rule}", self.table()));
            }
        }
        let needed = changes.iter().filter_map(|(_, value)| match value {
            Some(Value::Shared(shared)) => Some(*shared),
            _ => None,
        });
        let needed: BTreeSet<Shared> = needed.flat_map(|shared| shared.needs().into_iter().chain([shared])).collect();
        // Sorted, which puts `Cluster` chains before those that lead to them.
        for shared in needed.into_iter().filter(|shared| !self.shared.contains(shared)).collect::<Vec<_>>() {
            self.line(out, format_args!("add chain {} {}", self.table(), shared.name()));
            for rule in shared.rules(&self.options) {
                self.line(out, format_args!("add rule {} {} {rule}", self.table(), shared.name()));
            }
            self.pending.shared.push(shared);
        }
    }

    fn write_elements(&self, changes: &[(Key, Option<Value>)], out: &mut String) {
        let mut removed: BTreeMap<Map, Vec<&str>> = BTreeMap::new();
        let mut added: BTreeMap<Map, Vec<String>> = BTreeMap::new();
        for (key, value) in changes {
            if self.installed.contains_key(key) {
                removed.entry(key.0).or_default().push(&key.1);
            }
            if let Some(value) = value {
                added.entry(key.0).or_default().push(element(&key.1, value));
            }
        }
        for (map, keys) in removed {
            self.line(out, format_args!("delete element {} {} {{ {} }}", self.table(), map.name(), keys.join(", ")));
        }
        for (map, elements) in added {
            self.line(out, format_args!("add element {} {} {{ {} }}", self.table(), map.name(), elements.join(", ")));
        }
    }

    fn write_removals(
        &mut self,
        chains: &[(String, Option<Vec<String>>)],
        sets: &[(String, Option<String>)],
        now: Instant,
        out: &mut String,
    ) {
        let gone = chains.iter().filter(|(_, rules)| rules.is_none()).map(|(name, _)| name.clone());
        for name in gone.collect::<Vec<_>>() {
            self.line(out, format_args!("flush chain {} {name}", self.table()));
            self.pending.stale.push(name);
        }
        for (name, _) in sets.iter().filter(|(_, definition)| definition.is_none()) {
            self.line(out, format_args!("delete set {} {name}", self.table()));
        }
        let again = |name: &String| chains.iter().any(|(other, _)| other == name);
        let due: Vec<String> = self
            .stale
            .iter()
            .filter(|(name, since)| now.duration_since(**since) >= STALE_AFTER && !again(name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.line(out, format_args!("delete chain {} {name}", self.table()));
            self.pending.deleted.push(name);
        }
    }

    fn table(&self) -> String {
        format!("{} {TABLE}", ip(self.options.family))
    }

    fn line(&self, out: &mut String, text: std::fmt::Arguments<'_>) {
        writeln!(out, "{text}").expect("a String takes it");
    }
}

fn element(key: &str, value: &Value) -> String {
    match value {
        Value::Present => key.to_owned(),
        Value::Drop => format!("{key} : drop"),
        Value::Reject => format!("{key} : goto reject-chain"),
        Value::Shared(shared) => format!("{key} : goto {}", shared.name()),
        Value::Chain(name) => format!("{key} : goto {name}"),
        Value::Endpoint(address) => format!("{key} : {} . {}", address.ip(), address.port()),
    }
}
