//! The embedded engine: one process, an append-only log on a [`Disk`], and everything current in memory.
//!
//! The log alone is on disk, because every reader of a store like this one wants current values, and those fit in memory
//! many times over; so there is nothing for a tree on disk to do but cost (docs/decisions/001-embedded-store.md). A write is
//! acknowledged, and seen by readers and watchers, when the batch it is in is synced. Values are held once: what was put is
//! what gets, ranges and events return.
//!
//! `record` is bytes, `segments` and `log` are files, `state` is memory, `view` is what is seen of it, `decide` is what a write
//! does, `writer` is the one thread, `watch` the readers of history. The replicated store (`crates/raft`) puts another log in the
//! place of the writer, and uses the rest.

pub mod checkpoint;
pub(crate) mod decide;
mod import;
mod log;
mod queue;
mod reader;
pub(crate) mod record;
mod replay;
pub(crate) mod segments;
pub(crate) mod state;
pub(crate) mod view;
pub(crate) mod watch;
mod writer;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use component::supervisor::{self, Ended, Thread};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch as latest};

use crate::clock::{Clock, SystemClock};
use crate::disk::{Disk, NullDisk, RealDisk};
use crate::{Error, Expect, KeyValue, Outcome, RangeOptions, RangeResult, Result, Revision, Storage, WatchStream};
use decide::expiry;
pub use import::import_directory;
use log::Log;
use queue::{Operation, Queue};
use segments::disk_error;
use state::{HistoryLimits, State};
use view::View;

/// Longer keys are refused.
pub const KEY_LIMIT_BYTES: usize = 4_096;
/// In a directory that a replicated store has taken over: this engine must not begin an empty store there.
const REPLICATED: &str = "raft-identity";

/// The embedded engine's settings. The defaults are for a cluster's store.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// What time it is, for times to live.
    pub clock: Arc<dyn Clock>,
    /// Larger values are refused with `TooLarge`. At most 32 MiB.
    pub value_limit_bytes: usize,
    /// When values that are no longer current take more than this, the oldest history is compacted early.
    pub history_limit_bytes: usize,
    /// When history has more changes than this, the oldest is compacted early.
    pub history_limit_changes: usize,
    /// A log file is closed and the next begun at this length.
    pub segment_limit_bytes: u64,
    /// The log is rewritten when that frees twice the size of the live data and this.
    pub checkpoint_gain_bytes: u64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            value_limit_bytes: 8 << 20,
            history_limit_bytes: 64 << 20,
            history_limit_changes: 200_000,
            segment_limit_bytes: 16 << 20,
            checkpoint_gain_bytes: 8 << 20,
        }
    }
}

impl EmbeddedOptions {
    /// What history may hold.
    pub fn history_limits(&self) -> HistoryLimits {
        HistoryLimits { bytes: self.history_limit_bytes, changes: self.history_limit_changes }
    }
}

impl fmt::Debug for EmbeddedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedOptions")
            .field("history_limit_bytes", &self.history_limit_bytes)
            .finish_non_exhaustive()
    }
}

/// What the store's methods, its writer and its watches share.
struct Shared {
    disk: Arc<dyn Disk>,
    options: EmbeddedOptions,
    salt: u64,
    view: Arc<View>,
    queue: Queue,
    /// Why the writer can't go on.
    failure: latest::Sender<Option<Ended>>,
}

/// A store in this process. Dropping it closes it.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    writer: Mutex<Option<Thread<()>>>,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("revision", &self.shared.view.state.read().revision())
            .finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens the store on a disk, replaying what is there: about a second per GB of log on two cores. Fails with `Corrupt` rather than
    /// losing anything that was acknowledged.
    pub fn open(disk: Arc<dyn Disk>, options: EmbeddedOptions) -> Result<Self> {
        let salt = RandomState::new().hash_one(0);
        let (state, log) = read(&disk, &options, salt)?;
        let shared = Arc::new(Shared {
            disk,
            options,
            salt,
            view: Arc::new(View::new(state)),
            queue: Queue::default(),
            failure: latest::Sender::new(None),
        });
        let (writer, failed) = (writer::Writer::new(shared.clone(), log), shared.clone());
        let thread = supervisor::thread("store-writer", move || {
            if let Err(ended) = supervisor::guarded("store-writer", || writer.run()) {
                failed.failure.send_replace(Some(ended));
            }
        });
        let thread = thread.map_err(|e| Error::Unavailable(format!("starting the store's thread: {e}")))?;
        Ok(Self { shared, writer: Mutex::new(Some(thread)) })
    }

    /// Opens the store in a directory, made if missing, with the default settings. One process at a time.
    pub fn open_directory(directory: &Path) -> Result<Self> {
        let disk =
            RealDisk::open(directory).map_err(|e| disk_error(&format!("opening {}", directory.display()), &e))?;
        Self::open(Arc::new(disk), EmbeddedOptions::default())
    }

    /// A store that keeps nothing beyond its life, for tests.
    pub fn in_memory() -> Self {
        let options = EmbeddedOptions { segment_limit_bytes: u64::MAX, ..EmbeddedOptions::default() };
        Self::open(Arc::new(NullDisk), options).expect("nothing to read and nothing that fails")
    }

    /// Ends the store: waits for the write that is under way (at most one sync), fails those that wait, ends the watches.
    pub fn close(&self) {
        self.shared.queue.close();
        self.shared.view.close();
        if let Some(thread) = self.writer.lock().take() {
            drop(thread.join());
        }
    }

    /// Makes the store look at its clock now: for tests that move one.
    pub fn wake(&self) {
        self.shared.queue.wake();
    }

    async fn submit<T>(&self, operation: Operation, reply: oneshot::Receiver<Result<T>>) -> Result<T> {
        self.shared.queue.push(operation)?;
        reply.await.unwrap_or(Err(Error::Closed))
    }

    fn open_for_reading(&self) -> Result<()> {
        self.shared.view.open()
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Storage for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        self.open_for_reading()?;
        let state = self.shared.view.state.read();
        Ok((state.get(key).map(|kv| (**kv).clone()), state.revision()))
    }

    async fn range(&self, prefix: &str, options: RangeOptions) -> Result<RangeResult> {
        self.open_for_reading()?;
        self.shared.view.state.read().range(prefix, &options)
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl_seconds: Option<u64>) -> Result<Outcome> {
        if key.len() > KEY_LIMIT_BYTES {
            return Err(Error::TooLarge(format!("key of {} bytes; the limit is {KEY_LIMIT_BYTES}", key.len())));
        }
        let limit = self.shared.options.value_limit_bytes.min(32 << 20);
        if value.len() > limit {
            return Err(Error::TooLarge(format!("value of {} bytes; the limit is {limit}", value.len())));
        }
        let expiry = ttl_seconds.map_or(0, |ttl| expiry(self.shared.options.clock.unix_seconds(), ttl));
        let (reply, answer) = oneshot::channel();
        self.submit(Operation::Put { key: key.into(), value, expect, expiry, reply }, answer).await
    }

    async fn delete(&self, key: &str, mod_revision: Revision) -> Result<Outcome> {
        let (reply, answer) = oneshot::channel();
        self.submit(Operation::Delete { key: key.into(), mod_revision, reply }, answer).await
    }

    async fn revision(&self) -> Result<Revision> {
        self.open_for_reading()?;
        Ok(self.shared.view.state.read().revision())
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        self.open_for_reading()?;
        watch::open(&self.shared.view, prefix, from)
    }

    fn request_progress(&self, prefix: &str) {
        self.shared.view.watchers.request_progress(prefix);
    }

    fn reports_progress(&self) -> bool {
        true
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn failed(&self) -> Ended {
        let mut failure = self.shared.failure.subscribe();
        match failure.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone()) {
            Some(ended) => ended,
            // The sender lives as long as the store.
            None => std::future::pending().await,
        }
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let current = self.revision().await?;
        if revision > current {
            return Err(Error::FutureRevision { current });
        }
        let (reply, answer) = oneshot::channel();
        self.submit(Operation::Compact { revision, reply }, answer).await
    }
}

/// What a log says, and the log.
fn read(disk: &Arc<dyn Disk>, options: &EmbeddedOptions, salt: u64) -> Result<(State, Log)> {
    let names = disk.list().map_err(|e| disk_error("opening the store", &e))?;
    if names.iter().any(|name| name == REPLICATED) {
        let what = "this directory holds a member of a replicated store; start it with --cluster-listen";
        return Err(Error::Corrupt(what.to_owned()));
    }
    let mut state = State::new(options.history_limits());
    let log = Log::open(disk.clone(), options.segment_limit_bytes, salt, &mut state)?;
    Ok((state, log))
}

/// The state that this engine keeps on a disk, read once, for a replicated store to begin with; `None` if it keeps none.
pub fn adopt(disk: &Arc<dyn Disk>, options: &EmbeddedOptions) -> Result<Option<State>> {
    let names = disk.list().map_err(|e| disk_error("opening the store", &e))?;
    if !names.iter().any(|name| log::is_own(name)) {
        return Ok(None);
    }
    read(disk, options, RandomState::new().hash_one(0)).map(|(state, _)| Some(state))
}

/// Removes what this engine keeps on a disk: its store has been taken over.
pub fn remove(disk: &dyn Disk) -> std::io::Result<()> {
    for name in disk.list()?.iter().filter(|name| log::is_own(name)) {
        disk.remove(name)?;
    }
    disk.sync_directory()
}

#[cfg(test)]
mod tests;
