//! The state that entries make: the engine's, with its history and watches, on every member.
//!
//! It is in memory; on disk are a snapshot (the engine's checkpoint, with a head) and the log behind it. A snapshot is of the
//! last entry at or below the history's floor, not of the newest: so history survives a restart, and a member that joins has it.

mod facts;
mod openraft;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ::openraft::EntryPayload;
use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use storage::disk::Disk;
use storage::engine::{HistoryLimits, Record, State, View, Write, decide};
use storage::{Expect, Outcome, Revision};
use tokio::sync::watch;

pub use self::openraft::Machine;
pub use facts::{Configuration, Facts, Head};
pub use snapshot::{SnapshotData, found};

use crate::command::{Answer, Answers, Operation};
use crate::types::{Entry, LogId, StoredMembership};

/// Revisions of history let go of under one hold of the lock.
const TRIM_STEP: usize = 1_024;

/// This member's copy of everything.
pub struct Replica {
    /// The keys, their history, and who watches.
    pub view: Arc<View>,
    disk: Arc<dyn Disk>,
    limits: HistoryLimits,
    salt: u64,
    inner: Mutex<Inner>,
    applied: watch::Sender<u64>,
    /// The newest of the configurations' members, for who asks often.
    members: ArcSwap<StoredMembership>,
    /// Held by who writes a snapshot of the state, or replaces it by another's.
    snapshots: tokio::sync::Mutex<()>,
    stop_snapshot: AtomicBool,
}

#[derive(Default)]
struct Inner {
    last: Option<LogId>,
    /// What held since which entry, oldest first, never empty.
    configurations: VecDeque<(Option<LogId>, Arc<Configuration>)>,
    /// Which revision there was after which entry: the first is the last one at or below the floor.
    marks: VecDeque<Mark>,
    /// Keys that expire, by unix seconds.
    expiries: BTreeMap<i64, Vec<Expiry>>,
    snapshot: Option<snapshot::Kept>,
    /// A snapshot is being written at this revision: nothing above it may be let go of.
    writing: Option<Revision>,
}

/// A place in the log and in history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// After this entry
    pub log_id: LogId,
    /// the revision was this one.
    pub revision: Revision,
}

/// A key that expires, if it is still at that revision then.
pub type Expiry = (Arc<str>, Revision);

impl Replica {
    /// Reads the snapshot that there is.
    pub fn open(disk: Arc<dyn Disk>, limits: HistoryLimits) -> storage::Result<Self> {
        let replica = Self {
            view: Arc::new(View::new(State::new(limits))),
            disk,
            limits,
            salt: RandomState::new().hash_one(0),
            inner: Mutex::default(),
            applied: watch::Sender::new(0),
            members: ArcSwap::default(),
            snapshots: tokio::sync::Mutex::default(),
            stop_snapshot: AtomicBool::new(false),
        };
        replica.inner.lock().configurations.push_back((None, Arc::default()));
        replica.restore()?;
        Ok(replica)
    }

    /// The last entry that was applied.
    pub fn last(&self) -> Option<LogId> {
        self.inner.lock().last
    }

    /// What holds now.
    pub fn configuration(&self) -> Arc<Configuration> {
        self.inner.lock().configuration().clone()
    }

    /// Who the members are.
    pub fn members(&self) -> Arc<StoredMembership> {
        self.members.load_full()
    }

    /// Tells how many entries are applied: the next one's index.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Applies one entry.
    pub fn apply(&self, entry: Entry) -> Result<Answers, String> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let mut answers = Vec::new();
        let mut configuration = None;
        let mut touched: Vec<Arc<str>> = Vec::new();
        let mut state = self.view.state.write();
        let floor = state.floor();
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                let stored = StoredMembership::new(Some(entry.log_id), membership);
                configuration = Some(Configuration { membership: stored, facts: inner.configuration().facts.clone() });
            }
            EntryPayload::Normal(command) => {
                answers.reserve(command.0.len());
                for operation in command.0.iter() {
                    answers.push(match operation {
                        Operation::Put { key, value, expect, expiry } => {
                            let write = Write::Put(value.clone(), *expiry);
                            let outcome = perform(&mut state, key, *expect, write, &mut touched)?;
                            if let (Outcome::Done { revision }, true) = (&outcome, *expiry != 0) {
                                inner.expiries.entry(*expiry).or_default().push((key.clone(), *revision));
                            }
                            Answer::Write(outcome)
                        }
                        Operation::Delete { key, mod_revision } => {
                            let expect = Expect::ModRevision(*mod_revision);
                            Answer::Write(perform(&mut state, key, expect, Write::Delete, &mut touched)?)
                        }
                        Operation::Compact { revision } if *revision > state.revision() => {
                            Answer::Future(state.revision())
                        }
                        Operation::Compact { revision } => {
                            state.apply(Record::Compact { revision: *revision })?;
                            Answer::Compacted
                        }
                        Operation::Enrol { token } => {
                            let next = configuration.get_or_insert_with(|| (**inner.configuration()).clone());
                            Answer::Enrolled(next.facts.enrol(*token))
                        }
                        Operation::Forget { node } => {
                            let next = configuration.get_or_insert_with(|| (**inner.configuration()).clone());
                            next.facts.forget(*node);
                            Answer::Forgotten
                        }
                    });
                }
            }
        }
        state.enforce_limits();
        let (revision, floor_rose) = (state.revision(), state.floor() > floor);
        let floor = state.floor();
        drop(state);
        inner.last = Some(entry.log_id);
        if let Some(configuration) = configuration {
            self.members.store(Arc::new(configuration.membership.clone()));
            inner.configurations.push_back((Some(entry.log_id), Arc::new(configuration)));
        }
        inner.marks.push_back(Mark { log_id: entry.log_id, revision });
        inner.forget_below(floor);
        if floor_rose {
            self.view.watchers.wake_all();
        } else if !touched.is_empty() {
            self.view.watchers.wake(touched.iter().map(|key| &**key));
        }
        self.applied.send_replace(entry.log_id.index + 1);
        Ok(answers)
    }

    /// Takes the keys off the list that have expired by this time and are still what they were.
    pub fn take_expired(&self, now: i64, limit: usize) -> Vec<(i64, Expiry)> {
        let mut inner = self.inner.lock();
        let mut taken = Vec::new();
        while taken.len() < limit {
            let Some(mut first) = inner.expiries.first_entry().filter(|entry| *entry.key() <= now) else { break };
            let (time, keys) = (*first.key(), first.get_mut());
            let some = keys.len().min(limit - taken.len());
            taken.extend(keys.drain(..some).map(|expiry| (time, expiry)));
            if keys.is_empty() {
                first.remove();
            }
        }
        let state = self.view.state.read();
        taken.retain(|(_, (key, revision))| state.get(key).is_some_and(|kv| kv.mod_revision == *revision));
        taken
    }

    /// Puts them back: they could not be deleted yet, or are another member's to delete.
    pub fn put_back(&self, expired: Vec<(i64, Expiry)>) {
        let mut inner = self.inner.lock();
        for (time, expiry) in expired {
            inner.expiries.entry(time).or_default().push(expiry);
        }
    }

    /// Lets go of history below the floor that no snapshot will need.
    pub fn trim(&self) {
        loop {
            let inner = self.inner.lock();
            let mark = inner.marks.front().map_or(0, |mark| mark.revision);
            let to = inner.writing.map_or(mark, |writing| writing.min(mark));
            // Under both locks: the mark must not move between.
            let more = self.view.state.write().trim_to(to, TRIM_STEP);
            drop(inner);
            if !more {
                return;
            }
        }
    }

    /// What a snapshot would be of now, if it would be of more than the one that there is; and the bytes of current keys.
    pub fn snapshot_worth(&self) -> Option<(Mark, u64)> {
        let inner = self.inner.lock();
        let mark = *inner.marks.front()?;
        let newer = inner.snapshot.as_ref().is_none_or(|kept| kept.meta.last_log_id < Some(mark.log_id));
        newer.then(|| (mark, self.view.state.read().live_bytes()))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

/// Decides a write, and does it.
fn perform(
    state: &mut State,
    key: &Arc<str>,
    expect: Expect,
    write: Write,
    touched: &mut Vec<Arc<str>>,
) -> Result<Outcome, String> {
    let current = state.get(key).map(|kv| (**kv).clone());
    match decide(key.clone(), current, expect, write, state.revision()) {
        Ok(record) => {
            state.apply(record)?;
            touched.push(key.clone());
            Ok(Outcome::Done { revision: state.revision() })
        }
        Err(conflict) => Ok(conflict),
    }
}

impl Inner {
    fn configuration(&self) -> &Arc<Configuration> {
        &self.configurations.back().expect("never empty").1
    }

    /// What held after an entry.
    fn configuration_at(&self, log_id: Option<LogId>) -> &Arc<Configuration> {
        let later = |since: &Option<LogId>| *since > log_id;
        let found = self.configurations.iter().rev().find(|(since, _)| !later(since));
        &found.or(self.configurations.front()).expect("never empty").1
    }

    /// Keeps no more marks and configurations than a snapshot at the floor or later needs.
    fn forget_below(&mut self, floor: Revision) {
        while self.marks.get(1).is_some_and(|mark| mark.revision <= floor) {
            self.marks.pop_front();
        }
        let Some(first) = self.marks.front().map(|mark| mark.log_id.index) else { return };
        while self.configurations.get(1).is_some_and(|(since, _)| since.is_some_and(|since| since.index <= first)) {
            self.configurations.pop_front();
        }
    }
}
