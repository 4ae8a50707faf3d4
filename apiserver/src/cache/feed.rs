//! One storage watch feeds all caches.
//!
//! The alternative, a storage watch a resource, needs a progress notification for each before a consistent read may
//! trust its cache, and old etcd versions do not give those reliably. With one watch over everything, whatever raised
//! the store's revision is itself an event of that watch: the caches have caught up when it has been applied
//! (`docs/decisions/003`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use machinery::status::{Cause, StatusError};
use storage::{EventKind, RangeOptions, Storage, WatchItem};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Entry, Objects, WatchCache};
use crate::registry::catalogue::{Resource, Sort};

/// The root of all keys.
pub const ROOT: &str = "/registry/";
/// Keys read at once while loading.
const PAGE: usize = 5_000;
/// How long a consistent read waits for the caches before it says so.
const CATCH_UP: Duration = Duration::from_secs(3);

/// Makes a stored value canonical JSON of the storage version (defaults, field order); `None` where it already is.
pub type Canonicalise = Arc<dyn Fn(&Resource, &Bytes) -> Option<Bytes> + Send + Sync>;

struct Sink {
    row: Arc<Resource>,
    cache: Arc<WatchCache>,
}

/// The running feed.
#[derive(Clone)]
pub struct Feed {
    sinks: Arc<HashMap<String, Sink>>,
    applied: watch::Receiver<i64>,
    storage: Arc<dyn Storage>,
}

impl Feed {
    /// The cache of the row with that storage prefix.
    pub fn cache(&self, prefix: &str) -> Option<Arc<WatchCache>> {
        self.sinks.get(prefix).map(|s| s.cache.clone())
    }

    /// The revision up to which all caches are exact.
    pub fn applied(&self) -> i64 {
        *self.applied.borrow()
    }

    /// Waits until the caches have everything that was acknowledged before the call.
    pub async fn caught_up(&self) -> Result<(), StatusError> {
        let revision = self.storage.revision().await.map_err(crate::registry::store::unavailable)?;
        self.reached(revision).await
    }

    /// Waits until the caches have reached a revision.
    pub async fn reached(&self, revision: i64) -> Result<(), StatusError> {
        if self.applied() >= revision {
            return Ok(());
        }
        let mut applied = self.applied.clone();
        let waited = tokio::time::timeout(CATCH_UP, applied.wait_for(|at| *at >= revision)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(too_large(revision, self.applied())),
        }
    }
}

/// Upstream's error for a revision that is not there yet; clients know it by its cause.
fn too_large(asked: i64, current: i64) -> StatusError {
    let message = format!("Too large resource version: {asked}, current: {current}");
    let cause = Cause {
        kind: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    };
    StatusError::timeout(message, 1).with_cause(cause)
}

/// Loads all rows' objects and keeps the caches fed until cancelled.
pub async fn start(
    storage: Arc<dyn Storage>,
    rows: impl IntoIterator<Item = Arc<Resource>>,
    canonicalise: Canonicalise,
    cancel: CancellationToken,
) -> Result<Feed, storage::Error> {
    let mut rows_by_prefix = HashMap::new();
    for row in rows {
        if let Sort::Stored { prefix } = &row.sort {
            rows_by_prefix.entry(prefix.to_string()).or_insert(row.clone());
        }
    }
    let mut loaded = load(&*storage, &rows_by_prefix, &canonicalise).await?;
    let publish = watch::Sender::new(loaded.revision);
    let sinks: HashMap<String, Sink> = rows_by_prefix
        .into_iter()
        .map(|(prefix, row)| {
            let objects = loaded.objects.remove(&prefix).unwrap_or_default();
            let cache = Arc::new(WatchCache::new(objects, loaded.revision, publish.subscribe()));
            (prefix, Sink { row, cache })
        })
        .collect();
    let feed = Feed { sinks: Arc::new(sinks), applied: publish.subscribe(), storage };
    tokio::spawn(run(feed.clone(), publish, canonicalise, cancel));
    Ok(feed)
}

/// `services/specs/ns/name` -> (`services/specs`, `ns/name`): prefixes have one segment or two.
fn route<'k, V>(sinks: &HashMap<String, V>, key: &'k str) -> Option<(&'k str, &'k str)> {
    let (first, rest) = key.split_once('/')?;
    if sinks.contains_key(first) {
        return Some((first, rest));
    }
    let second = first.len() + 1 + rest.find('/')?;
    let prefix = &key[..second];
    sinks.contains_key(prefix).then(|| (prefix, &key[second + 1..]))
}

struct Loaded {
    revision: i64,
    objects: HashMap<String, Objects>,
}

async fn load(
    storage: &dyn Storage,
    rows: &HashMap<String, Arc<Resource>>,
    canonicalise: &Canonicalise,
) -> Result<Loaded, storage::Error> {
    let mut loaded = Loaded { revision: 0, objects: HashMap::new() };
    let mut start_after = None;
    loop {
        let revision = (loaded.revision > 0).then_some(loaded.revision);
        let options =
            RangeOptions { revision, limit: PAGE, start_after: start_after.take(), ..RangeOptions::default() };
        let page = storage.range(ROOT, options).await?;
        if loaded.revision == 0 {
            loaded.revision = page.revision;
        }
        for kv in &page.kvs {
            let Some((prefix, key)) = kv.key.strip_prefix(ROOT).and_then(|k| route(rows, k)) else { continue };
            if let Some(entry) = entry(&rows[prefix], key.into(), kv.mod_revision, &kv.value, canonicalise) {
                loaded.objects.entry(prefix.to_string()).or_default().insert(entry.key.clone(), Arc::new(entry));
            }
        }
        match page.kvs.last() {
            Some(last) if page.more => start_after = Some(last.key.to_string()),
            _ => return Ok(loaded),
        }
    }
}

fn entry(row: &Resource, key: Arc<str>, revision: i64, value: &Bytes, canonicalise: &Canonicalise) -> Option<Entry> {
    let body = canonicalise(row, value).unwrap_or_else(|| value.clone());
    match Entry::new(key.clone(), revision, body, &row.selectable) {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::error!(resource = %row.resource, %key, revision, %error, "a stored value cannot be served");
            None
        }
    }
}

async fn run(feed: Feed, publish: watch::Sender<i64>, canonicalise: Canonicalise, cancel: CancellationToken) {
    while !cancel.is_cancelled() {
        let outcome = tokio::select! {
            () = cancel.cancelled() => return,
            outcome = follow(&feed, &publish, &canonicalise) => outcome,
        };
        if let Err(storage::Error::Compacted { .. }) = outcome {
            tracing::warn!("the store was compacted past the caches: loading anew");
            if let Err(error) = reload(&feed, &publish, &canonicalise).await {
                tracing::warn!(%error, "loading failed");
            }
        } else if let Err(error) = outcome {
            tracing::warn!(%error, "the storage watch ended");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Applies events from where the caches are until the watch ends.
async fn follow(feed: &Feed, publish: &watch::Sender<i64>, canonicalise: &Canonicalise) -> Result<(), storage::Error> {
    let from = *publish.borrow() + 1;
    // All keys, not only those under the root: another user of an etcd (upstream's compactor, for one) raises its revision
    // too, and a consistent read would wait for an event that never comes.
    let mut items = feed.storage.watch("", from).await?;
    while let Some(item) = items.next().await {
        let reached = match item? {
            WatchItem::Progress(revision) => revision,
            WatchItem::Events(events) => {
                let now = Instant::now();
                let reached = events.last().map_or(0, |e| e.revision);
                let mut batches: HashMap<&str, Vec<_>> = HashMap::new();
                for event in &events {
                    let key: &str = &event.key;
                    let Some((prefix, key)) = key.strip_prefix(ROOT).and_then(|k| route(&feed.sinks, k)) else {
                        continue;
                    };
                    let key: Arc<str> = key.into();
                    let outcome = match event.kind {
                        EventKind::Delete => Err(event.revision),
                        EventKind::Put => match entry(
                            &feed.sinks[prefix].row,
                            key.clone(),
                            event.revision,
                            &event.value,
                            canonicalise,
                        ) {
                            Some(entry) => Ok(entry),
                            None => continue,
                        },
                    };
                    batches.entry(prefix).or_default().push((key, outcome));
                }
                for (prefix, batch) in batches {
                    feed.sinks[prefix].cache.apply(batch, now);
                }
                reached
            }
        };
        publish.send_if_modified(|at| {
            let newer = reached > *at;
            *at = (*at).max(reached);
            newer
        });
    }
    Ok(())
}

/// Replaces all caches' states; watchers from before are told 410.
async fn reload(feed: &Feed, publish: &watch::Sender<i64>, canonicalise: &Canonicalise) -> Result<(), storage::Error> {
    let rows = feed.sinks.iter().map(|(prefix, sink)| (prefix.clone(), sink.row.clone())).collect();
    let mut loaded = load(&*feed.storage, &rows, canonicalise).await?;
    for (prefix, sink) in feed.sinks.iter() {
        sink.cache.reset(loaded.objects.remove(prefix).unwrap_or_default(), loaded.revision);
    }
    publish.send_replace(loaded.revision);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_routed_by_one_segment_or_two() {
        let sinks: HashMap<String, ()> =
            ["pods", "services/specs", "apiregistration.k8s.io/apiservices"].map(|p| (p.to_string(), ())).into();
        for (key, expect) in [
            ("pods/ns/a", Some(("pods", "ns/a"))),
            ("services/specs/ns/a", Some(("services/specs", "ns/a"))),
            ("apiregistration.k8s.io/apiservices/v1.", Some(("apiregistration.k8s.io/apiservices", "v1."))),
            ("services/endpoints/ns/a", None),
            ("pods", None),
        ] {
            assert_eq!(route(&sinks, key), expect, "{key}");
        }
    }
}
