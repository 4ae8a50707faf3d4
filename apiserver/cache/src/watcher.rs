//! A watcher: a cursor into a cache's window. It waits for the cache to move, takes what is new, and is told when the
//! window has left it behind.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use api::protobuf::Part;
use bytes::Bytes;

use super::waiting::Place;
use super::{Change, ChangeKind, Entry, WatchCache};

/// A revision that the window does not reach back to: 410 to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({floor})")]
pub struct Expired {
    /// The revision asked for.
    pub asked: i64,
    /// The oldest that could be served.
    pub floor: i64,
}

/// Events taken from the window at once: bounds what one slow write holds on to.
const BATCH: usize = 256;

/// See the module.
pub struct Watcher {
    cache: Arc<WatchCache>,
    cursor: i64,
    place: Place,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.cache.waiting.leave(&self.place);
    }
}

impl Watcher {
    pub(super) fn new(cache: Arc<WatchCache>, cursor: i64) -> Self {
        let place = cache.waiting.enter();
        Self { cache, cursor, place }
    }

    /// The revision up to which events were taken.
    pub fn cursor(&self) -> i64 {
        self.cursor
    }

    /// The next events, at least one. `None` where no more will come: the resource is not served any more, or by another
    /// cache, or the server ends.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Vec<Arc<Change>>>, Expired>> {
        // What comes after the first look, and before the next move can wake this task, is seen by the second.
        for waits in [false, true] {
            if waits {
                self.place.wait(cx.waker());
            }
            // The last events came before the end.
            let closed = self.cache.is_closed();
            if self.cache.newest.load(Ordering::Acquire) > self.cursor {
                let batch = self.cache.after(self.cursor, BATCH)?;
                if let Some(last) = batch.last() {
                    self.cursor = last.revision();
                    return Poll::Ready(Ok(Some(batch)));
                }
            }
            if closed {
                return Poll::Ready(Ok(None));
            }
        }
        Poll::Pending
    }

    /// The next events, at least one; waits for them, also where no more will come. Cancel-safe.
    pub async fn next(&mut self) -> Result<Vec<Arc<Change>>, Expired> {
        match poll_fn(|cx| self.poll_next(cx)).await? {
            Some(batch) => Ok(batch),
            None => std::future::pending().await,
        }
    }

    /// A revision up to which this watcher has seen everything: what a bookmark may say. Only true while no event is
    /// waiting, which the check is for.
    pub fn bookmark(&mut self) -> Option<i64> {
        let applied = *self.cache.applied.borrow();
        match self.cache.after(self.cursor, 1) {
            Ok(waiting) if waiting.is_empty() && applied >= self.cursor => {
                self.cursor = applied;
                Some(applied)
            }
            _ => None,
        }
    }
}

/// A JSON watch frame.
pub fn frame(kind: ChangeKind, entry: &Entry) -> Bytes {
    let mut out = Vec::with_capacity(entry.size() + 40);
    begin_frame(kind, &mut out);
    entry.write(&mut out);
    out.extend_from_slice(b"}\n");
    out.into()
}

/// A JSON watch frame of an object's metadata in a version of `meta.k8s.io`; `None` where that can't be copied.
pub fn metadata_frame(kind: ChangeKind, entry: &Entry, version: &str) -> Option<Bytes> {
    let mut out = Vec::with_capacity(1024);
    begin_frame(kind, &mut out);
    if !entry.write_metadata(version, &mut out) {
        return None;
    }
    out.extend_from_slice(b"}\n");
    Some(out.into())
}

fn begin_frame(kind: ChangeKind, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\",\"object\":");
}

/// A protobuf watch frame of an object or its metadata; `None` for kinds without protobuf.
pub fn protobuf_frame(kind: ChangeKind, entry: &Entry, part: Part) -> Option<Bytes> {
    let mut out = Vec::new();
    entry.protobuf()?.write_frame(kind.as_str(), part, &mut out);
    Some(out.into())
}
