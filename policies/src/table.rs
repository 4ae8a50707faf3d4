//! What the kernel has, what it should have, and the difference.
//!
//! What was said to the kernel counts as there once [`Table::applied`] is called; after a failure nothing is known, and the
//! table is made anew, in one transaction and under its other name. The old one goes in the next: for that moment both are
//! asked, and what either drops is dropped.
//!
//! A packet may be on its way through the rules while they change. So chains and sets that are new come in a transaction before
//! the one that leads to them, and what nothing leads to any more stays as it is for a moment: an empty chain would let pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use netfilter::tables::{self, Element, Rule, Version};
use netfilter::{Change, Transaction};

use crate::compile::base;
use crate::content::{Content, Dirty, Wanted};

/// The table's names, in both families.
pub const TABLES: [&str; 2] = ["ferry-policies", "ferry-policies-2"];

/// What nothing leads to any more is deleted after this long.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// A chain or a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Chain(String),
    Set(String),
}

/// The table of one family.
pub struct Table {
    version: Version,
    installed: Content,
    /// What is installed and not wanted, and since when.
    stale: BTreeMap<Part, Instant>,
    known: bool,
    /// Which of its names it has.
    is_second: bool,
    pending: Pending,
}

/// What the transactions under way do to what is installed.
#[derive(Default)]
struct Pending {
    full: Option<Content>,
    chains: BTreeMap<String, Vec<Rule>>,
    sets: BTreeSet<String>,
    elements: BTreeMap<String, BTreeSet<crate::content::Id>>,
    stale: BTreeSet<Part>,
    wanted_again: BTreeSet<Part>,
    deleted: BTreeSet<Part>,
}

impl Table {
    /// A table of which the kernel knows nothing yet.
    pub fn new(version: Version) -> Table {
        Table {
            version,
            installed: Content::default(),
            stale: BTreeMap::new(),
            known: false,
            is_second: false,
            pending: Pending::default(),
        }
    }

    /// Those that the kernel may have.
    pub fn names(version: Version) -> [tables::Table; 2] {
        TABLES.map(|name| tables::Table { version, name: name.to_owned() })
    }

    /// Its name.
    pub fn name(&self) -> tables::Table {
        let [first, second] = Self::names(self.version);
        if self.is_second { second } else { first }
    }

    /// Its family.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Changes nothing, and is refused where that table is not there.
    pub fn sign_of_life(table: &tables::Table) -> Transaction {
        let mut sign = Transaction::default();
        sign.push(Change::FlushChain(table.clone(), base::ALIVE.to_owned()));
        sign
    }

    /// When it is made anew, it takes the place of the one with its first name, if `is_there`, or else of the other.
    pub fn take_over(&mut self, is_there: bool) {
        self.is_second = is_there;
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
        self.stale.values().min().map(|since| *since + STALE_AFTER)
    }

    /// What makes the kernel's table what it should be: transactions, of which each leaves it whole; none if it is that
    /// already. To be followed by [`Table::applied`] or [`Table::resync`].
    pub fn transactions(&mut self, wanted: &mut Wanted, now: Instant) -> Vec<Transaction> {
        let dirty = wanted.take_dirty();
        self.pending = Pending::default();
        let all = if self.known { self.changed(wanted.content(), dirty, now) } else { self.full(wanted.content()) };
        all.into_iter().filter(|transaction| !transaction.is_empty()).collect()
    }

    /// The last transactions were applied.
    pub fn applied(&mut self, wanted: &Content, now: Instant) {
        let pending = std::mem::take(&mut self.pending);
        if let Some(full) = pending.full {
            self.installed = full;
            self.stale.clear();
            self.known = true;
            return;
        }
        self.installed.chains.extend(pending.chains);
        for name in pending.sets {
            self.installed.sets.extend(wanted.sets.get_key_value(&name).map(|(name, set)| (name.clone(), set.clone())));
        }
        for (set, ids) in pending.elements {
            let all = self.installed.elements.entry(set.clone()).or_default();
            for id in ids {
                match wanted.elements.get(&set).and_then(|elements| elements.get(&id)) {
                    Some(element) => drop(all.insert(id, element.clone())),
                    None => drop(all.remove(&id)),
                }
            }
        }
        self.stale.retain(|part, _| !pending.wanted_again.contains(part));
        for part in pending.stale {
            self.stale.entry(part).or_insert(now);
        }
        for part in pending.deleted {
            self.stale.remove(&part);
            match &part {
                Part::Chain(name) => drop(self.installed.chains.remove(name)),
                Part::Set(name) => {
                    self.installed.sets.remove(name);
                    self.installed.elements.remove(name);
                }
            }
        }
    }

    /// All of it, and then the tables that it takes the place of.
    fn full(&mut self, wanted: &Content) -> [Transaction; 2] {
        let name = self.name();
        let mut first = base::create(&name);
        first.extend(wanted.chains.keys().map(|chain| Change::AddCounter(name.clone(), chain.clone())));
        first.extend(wanted.sets.values().map(|set| Change::AddSet(name.clone(), set.clone())));
        first.extend(wanted.chains.keys().map(|chain| Change::AddChain(name.clone(), chain.clone(), None)));
        first.extend(wanted.chains.iter().flat_map(|(chain, rules)| filled(&name, chain, rules)));
        for (set, elements) in &wanted.elements {
            let all = elements.values().cloned().collect();
            first.extend(wanted.sets.get(set).map(|set| Change::AddElements(name.clone(), set.clone(), all)));
        }
        let mut then = Transaction::default();
        // They may not be there: that they are added makes sure that they are.
        let others = Self::names(self.version).into_iter().filter(|other| *other != name);
        then.extend(others.flat_map(|old| [Change::AddTable(old.clone()), Change::DeleteTable(old)]));
        self.pending.full = Some(wanted.clone());
        [first, then]
    }

    fn changed(&mut self, wanted: &Content, dirty: Dirty, now: Instant) -> [Transaction; 2] {
        let name = self.name();
        let [mut first, mut then] = [Transaction::default(), Transaction::default()];
        let touched: BTreeSet<&String> = dirty.sets.iter().chain(dirty.elements.keys()).collect();
        for set in touched {
            let ids = dirty.elements.get(set).filter(|_| !dirty.sets.contains(set));
            self.change_set(wanted, set, ids, &mut first, &mut then);
        }
        let (mut added, mut rules) = (Vec::new(), Vec::new());
        for chain in &dirty.chains {
            let part = Part::Chain(chain.clone());
            match (wanted.chains.get(chain), self.installed.chains.get(chain)) {
                (Some(now), None) => {
                    added.push(Change::AddCounter(name.clone(), chain.clone()));
                    added.push(Change::AddChain(name.clone(), chain.clone(), None));
                    rules.extend(filled(&name, chain, now));
                    self.pending.chains.insert(chain.clone(), now.clone());
                }
                (Some(now), Some(before)) => {
                    if now != before {
                        then.push(Change::FlushChain(name.clone(), chain.clone()));
                        then.extend(filled(&name, chain, now));
                        self.pending.chains.insert(chain.clone(), now.clone());
                    }
                    self.pending.wanted_again.insert(part);
                }
                (None, Some(_)) => drop(self.pending.stale.insert(part)),
                (None, None) => {}
            }
        }
        first.extend(added);
        first.extend(rules);
        self.clean_up(wanted, now, &mut then);
        [first, then]
    }

    /// `ids`: the elements that may be different, if not all.
    fn change_set(
        &mut self,
        wanted: &Content,
        set: &String,
        ids: Option<&BTreeSet<crate::content::Id>>,
        first: &mut Transaction,
        then: &mut Transaction,
    ) {
        let (name, part, none) = (self.name(), Part::Set(set.clone()), BTreeMap::new());
        let is_new = !self.installed.sets.contains_key(set);
        let Some(definition) = wanted.sets.get(set) else {
            if !is_new {
                self.pending.stale.insert(part);
            }
            return;
        };
        let now = wanted.elements.get(set).unwrap_or(&none);
        let before = self.installed.elements.get(set).unwrap_or(&none);
        let all: BTreeSet<_> = ids.map_or_else(|| now.keys().chain(before.keys()).cloned().collect(), Clone::clone);
        let different: BTreeSet<_> = all.into_iter().filter(|id| now.get(id) != before.get(id)).collect();
        let those =
            |of: &BTreeMap<_, Element>| different.iter().filter_map(|id| of.get(id)).cloned().collect::<Vec<_>>();
        let (gone, come) = (those(before), those(now));
        let out = if is_new { first } else { then };
        if is_new {
            out.push(Change::AddSet(name.clone(), definition.clone()));
            self.pending.sets.insert(set.clone());
        }
        if !gone.is_empty() {
            // By their keys alone.
            let gone = gone.into_iter().map(|element| Element { value: tables::Value::None, ..element }).collect();
            out.push(Change::DeleteElements(name.clone(), definition.clone(), gone));
        }
        if !come.is_empty() {
            out.push(Change::AddElements(name, definition.clone(), come));
        }
        self.pending.elements.insert(set.clone(), different);
        self.pending.wanted_again.insert(part);
    }

    fn clean_up(&mut self, wanted: &Content, now: Instant, out: &mut Transaction) {
        let name = self.name();
        let is_wanted = |part: &Part| match part {
            Part::Chain(name) => wanted.chains.contains_key(name),
            Part::Set(name) => wanted.sets.contains_key(name),
        };
        let due =
            self.stale.iter().filter(|(part, since)| now.duration_since(**since) >= STALE_AFTER && !is_wanted(part));
        let due: BTreeSet<Part> = due.map(|(part, _)| part.clone()).collect();
        let chains =
            || due.iter().filter_map(|part| if let Part::Chain(chain) = part { Some(chain.clone()) } else { None });
        // They may lead to each other.
        out.extend(chains().map(|chain| Change::FlushChain(name.clone(), chain)));
        for chain in chains() {
            out.push(Change::DeleteChain(name.clone(), chain.clone()));
            out.push(Change::DeleteCounter(name.clone(), chain));
        }
        for part in &due {
            if let Part::Set(set) = part {
                out.push(Change::DeleteSet(name.clone(), set.clone()));
            }
        }
        self.pending.deleted = due;
    }
}

fn filled<'r>(table: &'r tables::Table, chain: &'r str, rules: &'r [Rule]) -> impl Iterator<Item = Change> + 'r {
    rules.iter().map(move |rule| Change::AddRule(table.clone(), chain.to_owned(), rule.clone()))
}

#[cfg(test)]
mod tests;
