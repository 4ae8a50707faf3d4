//! States that the caches have forgotten: read from the store, as far back as it is compacted.

use std::sync::Arc;

use storage::RangeOptions;

use super::load::{PAGE, ROOT, entry};
use super::{Entry, Feed};

/// A part of such a state.
pub struct Past {
    /// The objects, in key order.
    pub entries: Vec<Arc<Entry>>,
    /// The last key that was read, where any was.
    pub last: Option<String>,
    /// Whether there are keys after it.
    pub more: bool,
    /// How many keys there are from the first one read on.
    pub count: u64,
}

/// A prefix that nothing is stored under.
const NOTHING: &str = "/registry/-/";

impl Feed {
    /// Whether the store still has the state at a revision: an error where it was compacted.
    pub async fn kept(&self, revision: i64) -> Result<(), storage::Error> {
        let options = RangeOptions { revision: Some(revision), limit: 1, ..RangeOptions::default() };
        self.storage.range(NOTHING, options).await.map(drop)
    }

    /// Reads objects at a revision from the store: those of a row's prefix (in a namespace), after a key, about `most`.
    pub async fn past(
        &self,
        prefix: &str,
        namespace: Option<&str>,
        revision: i64,
        after: Option<&str>,
        most: usize,
    ) -> Result<Past, storage::Error> {
        let root = format!("{ROOT}{prefix}/");
        let within = namespace.map_or_else(|| root.clone(), |namespace| format!("{root}{namespace}/"));
        let options = RangeOptions {
            revision: Some(revision),
            limit: most.min(PAGE),
            start_after: after.map(|key| format!("{root}{key}")),
            ..RangeOptions::default()
        };
        let page = self.storage.range(&within, options).await?;
        let key = |kv: &storage::KeyValue| kv.key.strip_prefix(&root).unwrap_or_default().to_owned();
        let sinks = self.sinks.load();
        let entries = page.kvs.iter().filter_map(|kv| {
            let row = &sinks.get(prefix)?.row;
            let entry = entry(row, key(kv).into(), kv.mod_revision, &kv.value, &self.canonicalise);
            Some(entry.map(Arc::new).ok_or_else(|| storage::Error::Corrupt(kv.key.to_string())))
        });
        Ok(Past {
            entries: entries.collect::<Result<_, _>>()?,
            last: page.kvs.last().map(key),
            more: page.more,
            count: u64::try_from(page.count).unwrap_or_default(),
        })
    }
}
