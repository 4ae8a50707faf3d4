//! The one thread that writes: it takes all that is waiting, decides each compare-and-swap against what is durable plus what
//! it has just decided, makes the lot durable with one sync, and only then shows it to readers, watchers and callers.
//!
//! A batch is one sync, so under load its size grows with the disk's latency by itself; there is no delay to tune.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use component::supervisor::{Thread, guarded, thread};
use tokio::sync::oneshot;

use super::Shared;
use super::checkpoint::{self, Checkpoint};
use super::decide::{Write, decide};
use super::log::{Log, checkpoint_name};
use super::queue::Operation;
use super::record::Record;
use super::segments::disk_error;
use crate::{Expect, KeyValue, Outcome, Result, Revision};

/// One batch takes up to so many operations, and no more once it has so many bytes.
const BATCH_OPERATIONS: usize = 1_024;
const BATCH_BYTES: usize = 4 << 20;
/// Revisions of history let go of under one hold of the lock.
const TRIM_STEP: usize = 1_024;
/// After a failed write of its own (an expiry) or a failed checkpoint, the writer waits this long.
const RETRY: Duration = Duration::from_secs(1);

/// A key that expires, if it is still at that revision then.
type Expiry = (Arc<str>, Revision);

pub(super) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    /// By unix seconds.
    expiries: BTreeMap<i64, Vec<Expiry>>,
    /// No checkpoint is tried again before the floor is above this: the last one to fail.
    failed_checkpoint: Revision,
    checkpointing: Option<Thread<()>>,
    stop_checkpoint: Arc<AtomicBool>,
    /// An expiry failed to be written: not again before `RETRY`.
    expiry_failed: bool,
}

/// A batch being decided.
#[derive(Default)]
struct Plan {
    records: Vec<Record>,
    /// Keys written in this batch, as they will be.
    pending: HashMap<Arc<str>, Option<KeyValue>>,
    replies: Vec<(oneshot::Sender<Result<Outcome>>, Outcome)>,
    compactions: Vec<oneshot::Sender<Result<()>>>,
    revision: Revision,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, log: Log) -> Self {
        let mut expiries: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for kv in shared.view.state.read().expiring() {
            expiries.entry(kv.lease).or_default().push((kv.key.clone(), kv.mod_revision));
        }
        let stop_checkpoint = Arc::new(AtomicBool::new(false));
        Self { shared, log, expiries, failed_checkpoint: 0, checkpointing: None, stop_checkpoint, expiry_failed: false }
    }

    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        // However this thread ends, nobody waits for it in vain.
        let _close = CloseOnDrop(shared.clone());
        while let Some(operations) = shared.queue.take(self.patience(), BATCH_OPERATIONS, BATCH_BYTES) {
            let mut plan = Plan { revision: shared.view.state.read().revision(), ..Plan::default() };
            for operation in operations {
                match operation {
                    Operation::CheckpointEnded(result) => self.checkpoint_ended(result),
                    other => self.decide(&mut plan, other),
                }
            }
            let expired = self.decide_expired(&mut plan);
            let failed = self.commit(plan).is_err();
            self.expiry_failed = failed && !expired.is_empty();
            if failed {
                for (time, expiry) in expired {
                    self.expiries.entry(time).or_default().push(expiry);
                }
            }
            self.keep_house();
        }
        self.stop_checkpoint.store(true, Ordering::Relaxed);
        if let Some(thread) = self.checkpointing.take() {
            drop(thread.join());
        }
    }

    /// How long there is nothing to do but for others' wishes.
    fn patience(&self) -> Option<Duration> {
        if self.expiry_failed {
            return Some(RETRY);
        }
        let (&next, _) = self.expiries.first_key_value()?;
        let seconds = next.saturating_sub(self.shared.options.clock.unix_seconds());
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    fn decide(&mut self, plan: &mut Plan, operation: Operation) {
        match operation {
            Operation::Put { key, value, expect, expiry, reply } => {
                let outcome = plan.write(&self.shared, key, expect, Write::Put(value, expiry));
                plan.replies.push((reply, outcome));
            }
            Operation::Delete { key, mod_revision, reply } => {
                let outcome = plan.write(&self.shared, key, Expect::ModRevision(mod_revision), Write::Delete);
                plan.replies.push((reply, outcome));
            }
            Operation::Compact { revision, reply } => {
                if revision > self.shared.view.state.read().floor() {
                    plan.records.push(Record::Compact { revision });
                }
                plan.compactions.push(reply);
            }
            Operation::CheckpointEnded(_) => {}
        }
    }

    /// Takes what has expired off the list and plans its deletion, unless it was written again meanwhile.
    fn decide_expired(&mut self, plan: &mut Plan) -> Vec<(i64, Expiry)> {
        let mut taken = Vec::new();
        if self.expiries.is_empty() {
            return taken;
        }
        let now = self.shared.options.clock.unix_seconds();
        while let Some(mut first) = self.expiries.first_entry().filter(|e| *e.key() <= now) {
            let (time, keys) = (*first.key(), first.get_mut());
            let some = keys.len().min(BATCH_OPERATIONS - taken.len());
            taken.extend(keys.drain(..some).map(|expiry| (time, expiry)));
            if !keys.is_empty() {
                break;
            }
            first.remove();
        }
        for (_, (key, mod_revision)) in &taken {
            drop(plan.write(&self.shared, key.clone(), Expect::ModRevision(*mod_revision), Write::Delete));
        }
        taken
    }

    /// Makes a plan durable and then visible, or tells everybody in it why not.
    fn commit(&mut self, plan: Plan) -> Result<()> {
        if let Err(error) = self.write(&plan) {
            tracing::warn!(%error, "a write to the store failed");
            plan.replies.into_iter().for_each(|(reply, _)| drop(reply.send(Err(error.clone()))));
            plan.compactions.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
            return Err(error);
        }
        let floor = self.shared.view.state.read().floor();
        for record in &plan.records {
            if let Record::Put(kv) = record
                && kv.lease != 0
            {
                self.expiries.entry(kv.lease).or_default().push((kv.key.clone(), kv.mod_revision));
            }
        }
        if !plan.records.is_empty() {
            let mut state = self.shared.view.state.write();
            for record in plan.records {
                state.apply(record).expect("decided against this very state");
            }
            state.enforce_limits();
            let floor_rose = state.floor() > floor;
            drop(state);
            if floor_rose {
                self.shared.view.watchers.wake_all();
            } else {
                self.shared.view.watchers.wake(plan.pending.keys().map(|k| &**k));
            }
        }
        plan.replies.into_iter().for_each(|(reply, outcome)| drop(reply.send(Ok(outcome))));
        plan.compactions.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
        Ok(())
    }

    fn write(&mut self, plan: &Plan) -> Result<()> {
        if plan.records.is_empty() {
            return Ok(());
        }
        let batch = self.log.begin();
        plan.records.iter().for_each(|r| r.encode(batch));
        self.log.commit(plan.revision).map_err(|e| disk_error("writing to the log", &e))
    }

    /// Lets go of history below the floor, and of the log once a checkpoint is worth it. Not while one is being written: it
    /// reads that history.
    fn keep_house(&mut self) {
        if self.checkpointing.is_some() {
            return;
        }
        while self.shared.view.state.write().trim(TRIM_STEP) {}
        let (floor, live_bytes) = {
            let state = self.shared.view.state.read();
            (state.floor(), state.live_bytes())
        };
        let worth_it = self.log.reclaimable_bytes(floor) >= 2 * live_bytes + self.shared.options.checkpoint_gain_bytes;
        if !worth_it || floor <= self.failed_checkpoint {
            return;
        }
        let (shared, stop) = (self.shared.clone(), self.stop_checkpoint.clone());
        let spawned = thread("store-checkpoint", move || {
            let write = || {
                let file = shared.disk.create(&format!("{}.tmp", checkpoint_name(floor)))?;
                let id = (shared.salt, floor.cast_unsigned());
                let written = checkpoint::write(&*file, &shared.view.state, floor, id, None, &stop)?;
                // The temporary name may have been another file's, of a checkpoint that failed: nobody may rename that one.
                shared.disk.sync_directory()?;
                Ok(written)
            };
            // A panic is one more way to fail: the writer waits for the answer.
            let result: std::io::Result<Checkpoint> =
                guarded("store-checkpoint", write).unwrap_or_else(|ended| Err(std::io::Error::other(ended)));
            // Refused only when the store is closed, and then it is not wanted.
            drop(shared.queue.push(Operation::CheckpointEnded(result)));
        });
        match spawned {
            Ok(thread) => {
                self.checkpointing = Some(thread);
                self.failed_checkpoint = floor; // until it has not
            }
            Err(error) => tracing::warn!(%error, "no thread for a checkpoint; the log stays as it is"),
        }
    }

    fn checkpoint_ended(&mut self, result: std::io::Result<Checkpoint>) {
        if let Some(thread) = self.checkpointing.take() {
            drop(thread.join());
        }
        match result.and_then(|checkpoint| self.log.adopt(checkpoint).map(|()| checkpoint)) {
            Ok(checkpoint) => {
                self.failed_checkpoint = 0;
                tracing::debug!(revision = checkpoint.revision, bytes = checkpoint.bytes, "checkpoint written");
            }
            Err(error) => tracing::warn!(%error, "no checkpoint was written; the log stays as it is"),
        }
    }
}

impl Plan {
    /// Decides a write against what is durable and what this batch has decided already.
    fn write(&mut self, shared: &Shared, key: Arc<str>, expect: Expect, write: Write) -> Outcome {
        let current = match self.pending.get(&key) {
            Some(pending) => pending.clone(),
            None => shared.view.state.read().get(&key).map(|kv| (**kv).clone()),
        };
        let record = match decide(key, current, expect, write, self.revision) {
            Ok(record) => record,
            Err(conflict) => return conflict,
        };
        self.revision += 1;
        match &record {
            Record::Put(kv) => drop(self.pending.insert(kv.key.clone(), Some(kv.clone()))),
            Record::Delete { key, .. } => drop(self.pending.insert(key.clone(), None)),
            _ => {}
        }
        self.records.push(record);
        Outcome::Done { revision: self.revision }
    }
}

struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.queue.close();
        self.0.view.close();
    }
}
