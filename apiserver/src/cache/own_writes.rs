//! What this server writes to a shared store comes back in its watch, byte for byte. Others' values are made canonical by
//! decoding and encoding them; its own were, before they were written, and are recognised.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use storage::{Expect, KeyValue, Outcome, RangeOptions, RangeResult, Result, Revision, Storage, WatchStream};

/// So many values are remembered until they come back: more writes than are ever on their way.
const MOST: usize = 1_024;

/// The values that were written and did not come back yet.
#[derive(Default)]
pub struct Recent {
    hasher: RandomState,
    values: Mutex<Values>,
}

#[derive(Default)]
struct Values {
    by_hash: HashMap<u64, Bytes>,
    /// Oldest first; also of those that came back.
    order: VecDeque<u64>,
}

impl Recent {
    fn remember(&self, value: &Bytes) {
        let hash = self.hasher.hash_one(value);
        let mut values = self.values.lock();
        values.by_hash.insert(hash, value.clone());
        values.order.push_back(hash);
        if values.order.len() > MOST
            && let Some(oldest) = values.order.pop_front()
        {
            values.by_hash.remove(&oldest);
        }
    }

    /// The value as it was written, if it is one of ours; once.
    pub fn take(&self, value: &Bytes) -> Option<Bytes> {
        let hash = self.hasher.hash_one(value);
        let mut values = self.values.lock();
        if values.by_hash.get(&hash)? != value {
            return None;
        }
        values.by_hash.remove(&hash)
    }
}

/// A store whose writes are remembered.
pub struct OwnWrites {
    store: Arc<dyn Storage>,
    recent: Arc<Recent>,
}

impl OwnWrites {
    /// Over a store.
    pub fn new(store: Arc<dyn Storage>, recent: Arc<Recent>) -> Self {
        Self { store, recent }
    }
}

#[async_trait]
impl Storage for OwnWrites {
    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl_seconds: Option<u64>) -> Result<Outcome> {
        // Before: it can come back sooner than the answer.
        self.recent.remember(&value);
        self.store.put(key, value, expect, ttl_seconds).await
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        self.store.get(key).await
    }

    async fn range(&self, prefix: &str, options: RangeOptions) -> Result<RangeResult> {
        self.store.range(prefix, options).await
    }

    async fn delete(&self, key: &str, mod_revision: Revision) -> Result<Outcome> {
        self.store.delete(key, mod_revision).await
    }

    async fn revision(&self) -> Result<Revision> {
        self.store.revision().await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        self.store.watch(prefix, from).await
    }

    fn request_progress(&self, prefix: &str) {
        self.store.request_progress(prefix);
    }

    fn reports_progress(&self) -> bool {
        self.store.reports_progress()
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.store.compact(revision).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_is_recognised_once_when_it_comes_back_and_old_ones_are_forgotten() {
        let recent = Arc::new(Recent::default());
        let store = OwnWrites::new(Arc::new(storage::EmbeddedStore::in_memory()), recent.clone());
        let value = |n: usize| Bytes::from(format!("{{\"n\":{n}}}"));
        for n in 0..MOST + 1 {
            store.put(&format!("/registry/pods/{n}"), value(n), Expect::Absent, None).await.expect("written");
        }
        assert_eq!(recent.take(&value(MOST + 1)), None, "another's");
        assert_eq!(recent.take(&value(0)), None, "too long ago");
        assert_eq!(recent.take(&value(1)), Some(value(1)));
        assert_eq!(recent.take(&value(1)), None, "the next one of these bytes is somebody else's");
    }
}
