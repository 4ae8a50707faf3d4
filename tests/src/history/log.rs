//! The log: what is known of every key's life, from all clients together, and what was known of the store's revision at
//! every moment.
//!
//! After a `kill -9` a delete may have happened that nobody saw. Such a change has a range of revisions instead of one,
//! and an answer is right if any revision of the range makes it so.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{Action, History, Item, Outcome, Revision, Seen, Tick};

/// A state of a key, from some revision in `earliest..=latest` on until the next span begins.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Span {
    pub earliest: Revision,
    pub latest: Revision,
    /// `None`: there is no such object.
    pub state: Option<Item>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Log {
    lives: BTreeMap<String, Vec<Span>>,
    /// Which key changed at a revision.
    changes: BTreeMap<Revision, String>,
    /// When a revision was known to exist, with the highest so far.
    proofs: Vec<(Tick, Revision)>,
    /// When a write was asked for, with the lowest revision of it and all later ones.
    asked: Vec<(Tick, Revision)>,
    /// Keys with a write of unknown outcome that nobody saw: it may have been overwritten before the next read.
    unseen: BTreeSet<String>,
    /// Revisions (after the first, up to the second) of which a watch of everything tells all.
    covered: Vec<(Revision, Revision)>,
}

enum Change {
    Put(Item),
    Delete { key: String, uid: String },
}

impl Log {
    /// Joins what was seen; contradictions go to `faults`.
    pub fn build(history: &History, faults: &mut Vec<String>) -> Self {
        let mut changes: BTreeMap<Revision, Change> = BTreeMap::new();
        let mut proofs = Vec::new();
        let mut put = |item: &Item, faults: &mut Vec<String>| match changes.get(&item.revision) {
            None => drop(changes.insert(item.revision, Change::Put(item.clone()))),
            Some(Change::Put(there)) if there == item => {}
            Some(_) => faults.push(format!("revision {} was shown as two things, one of them {item:?}", item.revision)),
        };
        for op in &history.ops {
            match &op.outcome {
                Outcome::Item(item) => {
                    put(item, faults);
                    proofs.push((op.ret, item.revision));
                }
                Outcome::Pages(pages) => {
                    for (revision, items) in pages {
                        items.iter().for_each(|item| put(item, faults));
                        proofs.push((op.ret, *revision));
                    }
                }
                _ => {}
            }
        }
        let frames = || history.watches.iter().flat_map(|w| w.frames.iter().map(move |(tick, seen)| (w, *tick, seen)));
        for (_, tick, seen) in frames() {
            match seen {
                Seen::Added(item) | Seen::Modified(item) => {
                    put(item, faults);
                    proofs.push((tick, item.revision));
                }
                Seen::Deleted(item) => proofs.push((tick, item.revision)),
                Seen::Bookmark { revision, .. } => proofs.push((tick, *revision)),
                Seen::Error { .. } => {}
            }
        }
        // To a selective watch, DELETED may mean that the object left the selection.
        for (watch, _, seen) in frames() {
            let Seen::Deleted(item) = seen else { continue };
            if watch.selection.color.is_some() {
                continue;
            }
            match changes.get(&item.revision) {
                None => {
                    let change = Change::Delete { key: item.key.clone(), uid: item.uid.clone() };
                    changes.insert(item.revision, change);
                }
                Some(Change::Delete { key, uid }) if *key == item.key && *uid == item.uid => {}
                Some(_) => {
                    faults.push(format!("revision {} was shown as a delete and as another thing", item.revision))
                }
            }
        }
        let covered = history.watches.iter().filter_map(super::watches::covered).collect();
        let mut log = Self { covered, ..Self::default() };
        for (revision, change) in changes {
            log.append(revision, change, faults);
        }
        log.unseen_deletes(history);
        log.known(proofs);
        log.origins(history, faults);
        log
    }

    fn append(&mut self, revision: Revision, change: Change, faults: &mut Vec<String>) {
        let key = match &change {
            Change::Put(item) => item.key.clone(),
            Change::Delete { key, .. } => key.clone(),
        };
        let covered = &self.covered;
        let life = self.lives.entry(key.clone()).or_default();
        let before = life.last().and_then(|span| span.state.clone());
        let state = match change {
            Change::Put(item) => {
                if before.as_ref().is_some_and(|b| b.uid != item.uid) {
                    let (earliest, latest) = (before.as_ref().map_or(1, |b| b.revision + 1), revision - 1);
                    if earliest > latest || covers(covered, earliest, latest) {
                        faults.push(format!("{before:?} was replaced by {item:?} without a delete"));
                    }
                    life.push(Span { earliest, latest, state: None });
                } else if before.is_none() && life.iter().flat_map(|s| &s.state).any(|i| i.uid == item.uid) {
                    faults.push(format!("{key} came back from the dead with its uid at {revision}"));
                }
                Some(item)
            }
            Change::Delete { uid, .. } => {
                if before.as_ref().is_some_and(|b| b.uid != uid) || (before.is_none() && !life.is_empty()) {
                    faults.push(format!(
                        "the delete of {key} ({uid}) at {revision} is not of what was there: {before:?}"
                    ));
                }
                None
            }
        };
        life.push(Span { earliest: revision, latest: revision, state });
        self.changes.insert(revision, key);
    }

    /// Deletes that were acknowledged or attempted and whose event nobody received.
    fn unseen_deletes(&mut self, history: &History) {
        for op in &history.ops {
            let Action::Delete { key, .. } = &op.action else { continue };
            if !matches!(op.outcome, Outcome::Deleted { .. } | Outcome::Unknown) {
                continue;
            }
            let Some(life) = self.lives.get_mut(key) else { continue };
            let Some(Item { revision, uid, .. }) = life.last().and_then(|s| s.state.clone()) else { continue };
            if matches!(&op.outcome, Outcome::Deleted { uid: told } if *told != uid) {
                continue;
            }
            life.push(Span { earliest: revision + 1, latest: Revision::MAX, state: None });
        }
    }

    fn known(&mut self, mut proofs: Vec<(Tick, Revision)>) {
        proofs.sort_unstable();
        let mut highest = 0;
        for (tick, revision) in proofs {
            highest = highest.max(revision);
            self.proofs.push((tick, highest));
        }
    }

    /// Joins what was written to who asked for it: each value comes from one request and is written once.
    fn origins(&mut self, history: &History, faults: &mut Vec<String>) {
        let mut asked = Vec::new();
        let writers: BTreeMap<&str, Tick> =
            history.ops.iter().filter_map(|op| Some((op.action.value()?, op.call))).collect();
        let mut written: BTreeMap<&str, Revision> = BTreeMap::new();
        for span in self.lives.values().flatten() {
            let Some(item) = &span.state else { continue };
            match writers.get(item.value.as_str()) {
                None => faults.push(format!("nobody wrote {item:?}")),
                Some(call) => asked.push((*call, item.revision)),
            }
            if let Some(other) = written.insert(&item.value, item.revision) {
                faults.push(format!("{} was written twice, at {other} and {}", item.value, item.revision));
            }
        }
        for op in &history.ops {
            if let (Action::Delete { key, .. }, Outcome::Deleted { uid }) = (&op.action, &op.outcome) {
                asked.extend(self.deletion(key, uid).map(|(revision, _)| (op.call, revision)));
            }
        }
        let lost = history.ops.iter().filter(|op| matches!(op.outcome, Outcome::Unknown));
        let unseen = lost.filter(|op| op.action.value().is_some_and(|value| !written.contains_key(value)));
        let unseen: BTreeSet<String> = unseen.filter_map(|op| op.action.key().map(str::to_owned)).collect();
        asked.sort_unstable();
        let mut lowest = Revision::MAX;
        for (_, revision) in asked.iter_mut().rev() {
            lowest = lowest.min(*revision);
            *revision = lowest;
        }
        self.asked = asked;
        self.unseen = unseen;
    }

    /// Whether the key may have had a state at a revision that nobody saw: one between a kill and the next known one.
    pub fn obscure(&self, key: &str, revision: Revision) -> bool {
        let life = self.lives.get(key).map_or(&[][..], Vec::as_slice);
        let known = life.iter().map(|span| span.earliest).take_while(|earliest| *earliest <= revision).last();
        self.unseen.contains(key) && !self.covers(known.unwrap_or_default() + 1, revision)
    }

    /// Whether something happened at a revision that nobody saw as a whole.
    pub fn untold(&self, revision: Revision) -> bool {
        !self.changes.contains_key(&revision) && !self.covers(revision, revision)
    }

    /// Whether a watch tells everything that happened at those revisions.
    pub fn covers(&self, first: Revision, last: Revision) -> bool {
        covers(&self.covered, first, last)
    }

    /// The highest revision that somebody knew before `tick`: what a consistent answer to a question asked then has.
    pub fn floor(&self, tick: Tick) -> Revision {
        let at = self.proofs.partition_point(|(when, _)| *when < tick);
        at.checked_sub(1).map_or(0, |at| self.proofs[at].1)
    }

    /// The lowest revision that was only asked for after `tick`: what no answer given then can have.
    pub fn ceiling(&self, tick: Tick) -> Revision {
        let at = self.asked.partition_point(|(when, _)| *when <= tick);
        self.asked.get(at).map_or(Revision::MAX, |(_, revision)| *revision)
    }

    /// Whether the key can have been in a state at some revision between `low` and `high` (exclusive).
    pub fn possible(&self, key: &str, low: Revision, high: Revision, state: impl Fn(Option<&Item>) -> bool) -> bool {
        let never = Span { earliest: 0, latest: 0, state: None };
        let life = self.lives.get(key).map_or(&[][..], Vec::as_slice);
        let spans = std::iter::once(&never).chain(life);
        let ends = life.iter().map(|span| span.latest).chain([Revision::MAX]);
        spans.zip(ends).any(|(span, end)| span.earliest < high && end > low && state(span.state.as_ref()))
    }

    /// All keys that anybody saw.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.lives.keys().map(String::as_str)
    }

    /// The changes at exactly known revisions after `from` up to `to`: revision, before, after.
    pub fn changes(
        &self,
        from: Revision,
        to: Revision,
    ) -> impl Iterator<Item = (Revision, Option<&Item>, Option<&Item>)> {
        self.changes.range((Bound::Excluded(from), Bound::Included(to.max(from)))).filter_map(|(revision, key)| {
            let (before, after) = self.around(key, *revision)?;
            Some((*revision, before, after))
        })
    }

    /// The key's state before and after the change at a revision.
    pub fn around(&self, key: &str, revision: Revision) -> Option<(Option<&Item>, Option<&Item>)> {
        let life = self.lives.get(key)?;
        let at = life.iter().position(|span| (span.earliest, span.latest) == (revision, revision))?;
        let before = at.checked_sub(1).and_then(|before| life[before].state.as_ref());
        Some((before, life[at].state.as_ref()))
    }

    /// The last revision that the object was seen at.
    pub fn last_seen(&self, key: &str, uid: &str) -> Option<Revision> {
        let items = self.lives.get(key)?.iter().filter_map(|span| span.state.as_ref());
        items.filter(|item| item.uid == uid).map(|item| item.revision).next_back()
    }

    /// The revision at which that very object was deleted, where it was seen.
    pub fn deletion(&self, key: &str, uid: &str) -> Option<(Revision, &Item)> {
        let life = self.lives.get(key)?;
        life.windows(2).find_map(|pair| match (&pair[0].state, &pair[1]) {
            (Some(item), Span { earliest, latest, state: None }) if item.uid == uid && earliest == latest => {
                Some((*latest, item))
            }
            _ => None,
        })
    }
}

fn covers(covered: &[(Revision, Revision)], first: Revision, last: Revision) -> bool {
    covered.iter().any(|(after, to)| *after < first && last <= *to)
}
