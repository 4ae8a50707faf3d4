//! The trait and its data: what the API server codes against. Small on purpose: no unconditional write (every write is a
//! compare-and-swap, so that a forgotten precondition is not expressible), no multi-key transaction, no lease handles
//! (a write may carry a time to live, and engines share or keep leases as they like).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use component::supervisor::Ended;
use futures::Stream;
use futures::stream::BoxStream;

use crate::Result;

/// A point in the store's single history. 0 is before everything; each write gets the next one.
pub type Revision = i64;

/// One key at one revision.
///
/// Cloning is cheap: key and value are shared. The embedded engine hands out the very allocation that was put, in gets,
/// ranges and events alike, so a cache above it holds no second copy.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The whole key, for example `/registry/pods/default/web`.
    pub key: Arc<str>,
    /// The stored bytes.
    pub value: Bytes,
    /// The revision of the last write to the key: the object's resourceVersion.
    pub mod_revision: Revision,
    /// The revision that created the key.
    pub create_revision: Revision,
    /// Writes to the key since it was created, beginning with 1.
    pub version: i64,
    /// Not 0 if the key has a time to live. Engine specific beyond that.
    pub lease: i64,
}

impl fmt::Debug for KeyValue {
    // Values can be secrets: only their length is ever shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}@{} ({} bytes, created {}, v{})",
            self.key,
            self.mod_revision,
            self.value.len(),
            self.create_revision,
            self.version
        )
    }
}

/// How to read a range. The default reads everything at the current revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeOptions {
    /// Read the state at this revision instead of the current one. Fails with `Compacted` below the floor and with
    /// `FutureRevision` above the current one.
    pub revision: Option<Revision>,
    /// At most so many keys; 0 is no limit.
    pub limit: usize,
    /// Only keys strictly greater than this one: the last key of the page before. It is a whole key, prefix included.
    pub start_after: Option<String>,
    /// Only `count`, no keys.
    pub count_only: bool,
    /// Keys with empty values.
    pub keys_only: bool,
}

/// The answer to a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeResult {
    /// The revision the answer is true at: the one asked for, else the store's current one.
    pub revision: Revision,
    /// The keys in order.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut keys off.
    pub more: bool,
    /// How many keys there are from `start_after` on, also those the limit cut off.
    pub count: i64,
}

/// What must be true of a key for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key exists and was last written at this revision.
    ModRevision(Revision),
}

/// How a write ended (other than in an error).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Written, durably, at this revision. (What was there before is what the expectation named.)
    Done {
        /// The revision of this write, for a delete too.
        revision: Revision,
    },
    /// The expectation did not hold; nothing was written.
    Conflict {
        /// The key as it is; `None` if it does not exist.
        current: Option<KeyValue>,
        /// The store's revision at which this was seen.
        revision: Revision,
    },
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Created or changed.
    Put,
    /// Deleted, by a caller or by its time to live.
    Delete,
}

/// One change.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// The key that changed.
    pub key: Arc<str>,
    /// What happened.
    pub kind: EventKind,
    /// The new value of a put; empty for a delete.
    pub value: Bytes,
    /// The key as it was; `None` for a creation. On etcd it can also be missing when it has been compacted meanwhile.
    pub previous: Option<KeyValue>,
    /// The revision of the change.
    pub revision: Revision,
    /// The revision that created the key (for a delete: the key deleted, 0 if unknown). `create_revision == revision` is a creation.
    pub create_revision: Revision,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {}@{} ({} bytes, was {:?})",
            self.kind,
            self.key,
            self.revision,
            self.value.len(),
            self.previous
        )
    }
}

/// What a watch yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// Changes in order of their revisions, never empty. All of one revision are in one item.
    Events(Vec<Event>),
    /// Everything under the prefix up to and including this revision has been delivered.
    Progress(Revision),
}

/// A watch. It yields until it is dropped or has yielded an error, which is its last item: `Compacted` when the reader fell
/// behind the compaction floor (read a range and begin again), `Closed` when the store is.
pub struct WatchStream(BoxStream<'static, Result<WatchItem>>);

impl WatchStream {
    /// Wraps an engine's stream.
    pub fn new(stream: impl Stream<Item = Result<WatchItem>> + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }
}

impl Stream for WatchStream {
    type Item = Result<WatchItem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchStream")
    }
}

/// A store with etcd's promises: linearizable reads and writes, one revision for all keys, durable once acknowledged.
///
/// Every method may be called from any number of tasks at once. Dropping a write's future does not undo the write.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The key as it is now (linearizable), and the store's revision.
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)>;

    /// All keys that begin with `prefix`, in order, all at one revision.
    async fn range(&self, prefix: &str, options: RangeOptions) -> Result<RangeResult>;

    /// Writes a value if the key is as expected. With `ttl_seconds` the key is deleted after that time, as an ordinary delete
    /// event; a later put without one takes the time to live away.
    ///
    /// Pass a `Bytes` that owns just the value, not a slice of a larger buffer: the embedded engine keeps it.
    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl_seconds: Option<u64>) -> Result<Outcome>;

    /// Deletes a key if it was last written at `mod_revision`.
    async fn delete(&self, key: &str, mod_revision: Revision) -> Result<Outcome>;

    /// The store's current revision, linearizable: no write acknowledged before the call is above it. Cheap: concurrent callers
    /// share one request to etcd.
    async fn revision(&self) -> Result<Revision>;

    /// The changes under `prefix` from revision `from` on (so, after a range at R: R + 1). Fails with `Compacted`, here or as the
    /// stream's last item, if history does not reach back so far. A lost connection is made again without an item being lost or
    /// doubled. `from` may lie in the future; nothing below it is delivered.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream>;

    /// Asks the open watches on exactly this prefix to yield a `Progress` that is not below the store's revision at the time of
    /// this call. Does nothing where `reports_progress` is false.
    fn request_progress(&self, prefix: &str);

    /// Whether `request_progress` can be relied on. Not on etcd before 3.4.31 and 3.5.13, where a progress answer can overtake
    /// events: consistent reads must go to the store there.
    fn reports_progress(&self) -> bool;

    /// Whether other processes may use the same store.
    fn is_shared(&self) -> bool;

    /// Waits until the store is lost to this process for good, and says why: no write is taken any more and only a new start
    /// helps. Never returns on a store that heals by itself.
    async fn failed(&self) -> Ended;

    /// Forgets history up to `revision`: ranges below it and watches from it or below fail with `Compacted` afterwards. Current
    /// values are not touched. Compacting what has been compacted does nothing.
    async fn compact(&self, revision: Revision) -> Result<()>;
}
