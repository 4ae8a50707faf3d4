//! The store in memory: every key's current value, and the versions and changes that history still needs.
//!
//! Pure: it applies what is already durable and answers reads; it knows no disk, no time and no thread. A `BTreeMap` under a
//! read-write lock, because that measured better than a persistent map: lists of 50,000 keys hold the lock for 2 ms, writers
//! for microseconds, and old revisions are kept as versions anyway.
//!
//! Each write has a revision of its own, so the changes since the floor are a queue whose place *is* the revision.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::record::{RECORD_OVERHEAD_BYTES, Record};
use crate::{Error, Event, EventKind, KeyValue, RangeOptions, RangeResult, Result, Revision};

/// What history may hold beyond current values before the oldest of it is let go of early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Bytes of values that are no longer current.
    pub bytes: usize,
    /// Changes.
    pub changes: usize,
}

/// See the module.
pub struct State {
    revision: Revision,
    /// Ranges below it are refused.
    floor: Revision,
    /// History is gone up to here; behind the floor only while a checkpoint still reads there.
    trimmed: Revision,
    keys: BTreeMap<Arc<str>, Versions>,
    /// The change of revision `trimmed + 1 + i`.
    changes: VecDeque<Change>,
    limits: HistoryLimits,
    live_bytes: u64,
    history_bytes: usize,
}

/// What one revision did.
enum Change {
    Put { now: Arc<KeyValue>, previous: Option<Arc<KeyValue>> },
    Delete { previous: Arc<KeyValue> },
}

struct Versions {
    latest: Version,
    /// Oldest first. Most keys have none.
    older: Vec<Version>,
}

#[derive(Clone)]
enum Version {
    Live(Arc<KeyValue>),
    Gone(Revision),
}

impl Version {
    fn revision(&self) -> Revision {
        match self {
            Self::Live(kv) => kv.mod_revision,
            Self::Gone(revision) => *revision,
        }
    }

    fn live(&self) -> Option<&Arc<KeyValue>> {
        match self {
            Self::Live(kv) => Some(kv),
            Self::Gone(_) => None,
        }
    }
}

impl Versions {
    fn at(&self, revision: Revision) -> Option<&Arc<KeyValue>> {
        if self.latest.revision() <= revision {
            return self.latest.live();
        }
        self.older.iter().rev().find(|v| v.revision() <= revision)?.live()
    }
}

fn size(kv: &KeyValue) -> usize {
    kv.key.len() + kv.value.len() + RECORD_OVERHEAD_BYTES
}

impl Change {
    fn key(&self) -> &Arc<str> {
        match self {
            Self::Put { now, .. } => &now.key,
            Self::Delete { previous } => &previous.key,
        }
    }

    fn event(&self, revision: Revision) -> Event {
        match self {
            Self::Put { now, previous } => Event {
                key: now.key.clone(),
                kind: EventKind::Put,
                value: now.value.clone(),
                previous: previous.as_deref().cloned(),
                revision,
                create_revision: now.create_revision,
            },
            Self::Delete { previous } => Event {
                key: previous.key.clone(),
                kind: EventKind::Delete,
                value: bytes::Bytes::new(),
                previous: Some((**previous).clone()),
                revision,
                create_revision: previous.create_revision,
            },
        }
    }
}

impl State {
    /// An empty store.
    pub fn new(limits: HistoryLimits) -> Self {
        Self {
            revision: 1, // as in etcd, where an empty store is at 1: 0 means "any" to the API's clients
            floor: 0,
            trimmed: 1,
            keys: BTreeMap::new(),
            changes: VecDeque::new(),
            limits,
            live_bytes: 0,
            history_bytes: 0,
        }
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Ranges below it are refused.
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// About what a checkpoint of the current state would take.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// A key as it is.
    pub fn get(&self, key: &str) -> Option<&Arc<KeyValue>> {
        self.keys.get(key)?.latest.live()
    }

    /// The keys under a prefix; see `Storage::range`.
    pub fn range(&self, prefix: &str, options: &RangeOptions) -> Result<RangeResult> {
        let revision = options.revision.unwrap_or(self.revision);
        if revision > self.revision {
            return Err(Error::FutureRevision { current: self.revision });
        }
        if revision < self.floor {
            return Err(Error::Compacted { floor: self.floor });
        }
        let start = match options.start_after.as_deref() {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let (mut kvs, mut count) = (Vec::new(), 0usize);
        let keys = self.keys.range::<str, _>((start, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        for kv in keys.filter_map(|(_, versions)| versions.at(revision)) {
            count += 1;
            if !options.count_only && kvs.len() < limit {
                let mut kv = (**kv).clone();
                if options.keys_only {
                    kv.value = bytes::Bytes::new();
                }
                kvs.push(kv);
            }
        }
        let more = !options.count_only && count > kvs.len();
        Ok(RangeResult { revision, kvs, more, count: i64::try_from(count).unwrap_or(i64::MAX) })
    }

    /// Up to `limit` keys after `after` as they were at `revision`, which must not be below what is trimmed: how a
    /// checkpoint is read in pieces while writes go on.
    pub fn page(&self, after: Option<&str>, revision: Revision, limit: usize) -> Vec<Arc<KeyValue>> {
        debug_assert!(revision >= self.trimmed);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.keys.range::<str, _>((start, Bound::Unbounded));
        keys.filter_map(|(_, versions)| versions.at(revision)).take(limit).cloned().collect()
    }

    /// The keys that have an expiry.
    pub fn expiring(&self) -> impl Iterator<Item = &Arc<KeyValue>> {
        self.keys.values().filter_map(|v| v.latest.live()).filter(|kv| kv.lease != 0)
    }

    /// Events under a prefix from revision `from` on, up to `limit` of them, and the revision up to which they are complete.
    pub fn events(&self, prefix: &str, from: Revision, limit: usize) -> Result<(Vec<Event>, Revision)> {
        if from <= self.floor {
            return Err(Error::Compacted { floor: self.floor });
        }
        let mut events = Vec::new();
        let skip = usize::try_from(from - self.trimmed - 1).unwrap_or(0);
        for (i, change) in self.changes.iter().enumerate().skip(skip) {
            if change.key().starts_with(prefix) {
                let revision = self.trimmed + 1 + i as Revision;
                events.push(change.event(revision));
                if events.len() == limit {
                    return Ok((events, revision));
                }
            }
        }
        Ok((events, self.revision))
    }

    /// Applies what is durable. An error means that the record can't follow what came before it.
    pub fn apply(&mut self, record: Record) -> std::result::Result<(), String> {
        match record {
            Record::Put(kv) => self.put(kv),
            Record::Delete { key, revision } => self.delete(&key, revision),
            Record::Compact { revision } => {
                self.floor = self.floor.max(revision.min(self.revision));
                Ok(())
            }
            Record::Checkpoint { .. } | Record::Head { .. } => Err("a part of a checkpoint outside of one".to_owned()),
        }
    }

    /// Applies a record of the log when opening: as `apply`, and history is kept within its limits all along.
    pub fn replay(&mut self, record: Record) -> std::result::Result<(), String> {
        self.apply(record)?;
        self.enforce_limits();
        self.trim(usize::MAX);
        Ok(())
    }

    /// Takes a key from a checkpoint, where keys come in their order and not in that of revisions.
    pub fn load(&mut self, kv: KeyValue) {
        self.live_bytes += size(&kv) as u64;
        let kv = Arc::new(kv);
        self.keys.insert(kv.key.clone(), Versions { latest: Version::Live(kv), older: Vec::new() });
    }

    /// The checkpoint's keys were the state at this revision, and there is no history before it.
    pub fn loaded(&mut self, revision: Revision) {
        // At 1 nothing was ever written, and so nothing is forgotten.
        let floor = if revision == 1 { 0 } else { revision };
        (self.revision, self.floor, self.trimmed) = (revision, floor, revision);
    }

    fn put(&mut self, mut kv: KeyValue) -> std::result::Result<(), String> {
        self.follows(kv.mod_revision)?;
        self.live_bytes += size(&kv) as u64;
        self.revision = kv.mod_revision;
        let previous = match self.keys.get_mut(&*kv.key) {
            Some(versions) => {
                // One allocation for a key, however often it is written.
                if let Some(live) = versions.latest.live() {
                    kv.key = live.key.clone();
                }
                let now = Arc::new(kv);
                let old = std::mem::replace(&mut versions.latest, Version::Live(now.clone()));
                let previous = old.live().cloned();
                versions.older.push(old);
                self.changes.push_back(Change::Put { now, previous: previous.clone() });
                previous
            }
            None => {
                let now = Arc::new(kv);
                self.keys.insert(now.key.clone(), Versions { latest: Version::Live(now.clone()), older: Vec::new() });
                self.changes.push_back(Change::Put { now, previous: None });
                None
            }
        };
        if let Some(previous) = previous {
            self.live_bytes -= size(&previous) as u64;
            self.history_bytes += size(&previous);
        }
        Ok(())
    }

    fn delete(&mut self, key: &str, revision: Revision) -> std::result::Result<(), String> {
        self.follows(revision)?;
        let versions = self.keys.get_mut(key).filter(|v| v.latest.live().is_some());
        let versions = versions.ok_or_else(|| format!("delete of a key that is not there, at revision {revision}"))?;
        let old = std::mem::replace(&mut versions.latest, Version::Gone(revision));
        let previous = old.live().cloned().expect("looked for a live one above");
        versions.older.push(old);
        self.revision = revision;
        self.live_bytes -= size(&previous) as u64;
        self.history_bytes += size(&previous);
        self.changes.push_back(Change::Delete { previous });
        Ok(())
    }

    fn follows(&self, revision: Revision) -> std::result::Result<(), String> {
        if revision == self.revision + 1 {
            return Ok(());
        }
        Err(format!("revision {revision} follows revision {}", self.revision))
    }

    /// Raises the floor over what is beyond the limits. Returns whether it did.
    pub fn enforce_limits(&mut self) -> bool {
        let before = self.floor;
        let mut excess = self.history_bytes.saturating_sub(self.limits.bytes);
        if excess == 0 && self.changes.len() <= self.limits.changes {
            return false;
        }
        let mut floor = self.trimmed;
        for (i, change) in self.changes.iter().enumerate() {
            if excess == 0 && self.changes.len() - i <= self.limits.changes {
                break;
            }
            let freed = match change {
                Change::Put { previous, .. } => previous.as_deref().map_or(0, size),
                Change::Delete { previous } => size(previous),
            };
            excess = excess.saturating_sub(freed);
            floor = self.trimmed + 1 + i as Revision;
        }
        self.floor = self.floor.max(floor.min(self.revision));
        self.floor > before
    }

    /// Lets go of at most `limit` revisions of history up to the floor. Returns whether there is more to do.
    pub fn trim(&mut self, limit: usize) -> bool {
        self.trim_to(Revision::MAX, limit)
    }

    /// As `trim`, and of nothing above revision `last`: the state there can still be read with `page`.
    pub fn trim_to(&mut self, last: Revision, limit: usize) -> bool {
        let to = self.floor.min(last);
        for _ in 0..limit {
            if self.trimmed >= to {
                break;
            }
            let Some(change) = self.changes.pop_front() else { break };
            self.trimmed += 1;
            let key = change.key();
            let Some(versions) = self.keys.get_mut(&**key) else { continue };
            // Of the versions up to here only the last can still be seen, and a deletion not even that.
            let visible = versions.older.iter().take_while(|v| v.revision() <= self.trimmed).count();
            let latest_visible = versions.latest.revision() <= self.trimmed;
            let drop_count = if latest_visible { versions.older.len() } else { visible.saturating_sub(1) };
            for old in versions.older.drain(..drop_count) {
                self.history_bytes -= old.live().map_or(0, |kv| size(kv));
            }
            if versions.older.is_empty() {
                versions.older = Vec::new();
                if latest_visible && versions.latest.live().is_none() {
                    self.keys.remove(&**key);
                }
            }
        }
        if self.changes.capacity() > 1024 && self.changes.len() * 4 < self.changes.capacity() {
            self.changes.shrink_to(self.changes.len() * 2);
        }
        self.trimmed < to
    }
}
