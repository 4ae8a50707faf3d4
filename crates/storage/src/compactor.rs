//! Forgets history that is one interval old, at every interval, as upstream's apiserver does (storage/etcd3/compact.go).
//!
//! On a store that several API servers share, upstream's and Ferry's alike, one of them does it: they agree by a
//! compare-and-swap on a key that upstream named. Who loses takes the winner's revision and tries again an interval later.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{Error, Expect, Outcome, Result, Revision, Storage};

/// Outside of any prefix, as upstream has it.
const KEY: &str = "compact_rev_key";

/// Compacts every `interval` (upstream: five minutes) what is older than that, until cancelled. Failures are logged and tried
/// again at the next interval. A zero interval does nothing.
pub async fn compact_every(interval: Duration, store: Arc<dyn Storage>, cancel: CancellationToken) {
    if interval.is_zero() {
        return;
    }
    let mut compactor = Compactor::default();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        match compactor.step(&*store).await {
            Ok(()) => {}
            Err(Error::Closed) => return,
            Err(error) => tracing::warn!(%error, "compacting the store failed"),
        }
    }
}

/// What is remembered from one interval to the next.
#[derive(Debug, Default)]
struct Compactor {
    /// The shared key's revision when it was last seen; 0 if it was not there.
    seen: Revision,
    /// The store's revision at the last interval: what is compacted at this one.
    before: Revision,
}

impl Compactor {
    async fn step(&mut self, store: &dyn Storage) -> Result<()> {
        let to = self.before;
        if store.is_shared() {
            let expect = if self.seen == 0 { Expect::Absent } else { Expect::ModRevision(self.seen) };
            match store.put(KEY, Bytes::from(to.to_string()), expect, None).await? {
                Outcome::Done { revision } => (self.seen, self.before) = (revision, revision),
                Outcome::Conflict { current, revision } => {
                    (self.seen, self.before) = (current.map_or(0, |kv| kv.mod_revision), revision);
                    return Ok(());
                }
            }
        } else {
            self.before = store.revision().await?;
        }
        if to == 0 { Ok(()) } else { store.compact(to).await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EmbeddedStore, RangeOptions};

    #[tokio::test]
    async fn history_is_kept_for_one_interval() {
        let store = EmbeddedStore::in_memory();
        let write = async |key: &str| drop(store.put(key, Bytes::new(), Expect::Absent, None).await.unwrap());
        let at = async |revision| {
            store
                .range("/", RangeOptions { revision: Some(revision), ..RangeOptions::default() })
                .await
                .map(|r| r.count)
        };
        let mut compactor = Compactor::default();
        write("/a").await;
        compactor.step(&store).await.unwrap(); // sees 2
        write("/b").await;
        assert_eq!(at(1).await, Ok(0));
        compactor.step(&store).await.unwrap(); // compacts 2, sees 3
        assert_eq!(at(1).await, Err(Error::Compacted { floor: 2 }));
        assert_eq!(at(2).await, Ok(1));
        compactor.step(&store).await.unwrap();
        assert_eq!(at(2).await, Err(Error::Compacted { floor: 3 }));
        assert_eq!(at(3).await, Ok(2));
    }
}
