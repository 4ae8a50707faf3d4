//! Caches that come and go while the feed runs.
//!
//! A new cache is read from the store at the revision that the feed has applied, beside the feed and not in its way.
//! Events of its keys that pass meanwhile are kept, and applied on top when the reading is done: none is lost, none comes
//! twice. Only then is the cache among the others. Everything here is called by the follower between two items of the
//! storage watch, so nothing needs a lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use component::supervisor::detached;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use model::resource::{Resource, Sort};
use storage::Event;
use tokio::sync::oneshot;

use super::WatchCache;
use super::feed::{AGAIN, Command, Feed, Sink, outcome};
use super::load::{Canonicalise, Loaded, ROOT, load};

/// Events kept for a cache that is being read; beyond that it is read again, from later on.
const WAITING_MOST: usize = 100_000;

/// A cache that is being read.
struct Pending {
    row: Arc<Resource>,
    /// Events since the revision at which it is read.
    waiting: Vec<Event>,
    done: Vec<oneshot::Sender<()>>,
    /// Which reading counts.
    attempt: u64,
}

/// One reading's end.
pub(super) struct Read {
    prefix: String,
    attempt: u64,
    outcome: Result<Loaded, storage::Error>,
}

/// See the module.
pub(super) struct Joining {
    feed: Feed,
    canonicalise: Canonicalise,
    pending: HashMap<String, Pending>,
    reads: FuturesUnordered<BoxFuture<'static, Read>>,
    attempts: u64,
}

impl Joining {
    pub(super) fn new(feed: Feed, canonicalise: Canonicalise) -> Self {
        Self { feed, canonicalise, pending: HashMap::new(), reads: FuturesUnordered::new(), attempts: 0 }
    }

    /// Whether that prefix is being read.
    pub(super) fn has(&self, prefix: &str) -> bool {
        self.pending.contains_key(prefix)
    }

    /// Does what was asked; `applied` is the revision that the caches have reached.
    pub(super) fn command(&mut self, command: Command, applied: i64) {
        match command {
            Command::Join(row, done) => {
                let Sort::Stored { prefix } = &row.sort else { return };
                let prefix = prefix.to_string();
                let before = self.pending.remove(&prefix);
                let mut waiters = before.map(|pending| pending.done).unwrap_or_default();
                waiters.push(done);
                self.pending.insert(prefix.clone(), Pending { row, waiting: Vec::new(), done: waiters, attempt: 0 });
                self.read(&prefix, applied);
            }
            Command::Leave(prefix, done) => {
                self.pending.remove(&prefix);
                if let Some(sink) = self.replace(&prefix, None) {
                    sink.cache.close();
                }
                let _ = done.send(());
            }
        }
    }

    /// Begins to read a pending cache at the revision that is applied.
    fn read(&mut self, prefix: &str, applied: i64) {
        let Some(pending) = self.pending.get_mut(prefix) else { return };
        self.attempts += 1;
        pending.attempt = self.attempts;
        pending.waiting.clear();
        let (prefix, attempt) = (prefix.to_string(), self.attempts);
        let rows = HashMap::from([(prefix.clone(), pending.row.clone())]);
        let (storage, canonicalise) = (self.feed.storage.clone(), self.canonicalise.clone());
        let root = format!("{ROOT}{prefix}/");
        let reading = detached("read of a cache", async move {
            loop {
                match load(&*storage, &root, Some(applied), &rows, &canonicalise).await {
                    Err(error @ storage::Error::Unavailable(_)) => {
                        tracing::warn!(%error, root, "loading failed, trying again");
                        tokio::time::sleep(AGAIN).await;
                    }
                    outcome => return outcome,
                }
            }
        });
        let reading = reading.abort_on_drop();
        self.reads.push(Box::pin(async move {
            let outcome = match reading.await {
                Ok(outcome) => outcome,
                // It is read again, but not at once.
                Err(ended) => {
                    tokio::time::sleep(AGAIN).await;
                    Err(storage::Error::Unavailable(ended.to_string()))
                }
            };
            Read { prefix, attempt, outcome }
        }));
    }

    /// The next reading that ends; none while nothing is read. Cancel-safe.
    pub(super) async fn loaded(&mut self) -> Option<Read> {
        self.reads.next().await
    }

    /// Puts a cache that was read among the others.
    pub(super) fn take(&mut self, read: Read, applied: i64) {
        let Read { prefix, attempt, outcome: read } = read;
        let current = self.pending.get(&prefix).is_some_and(|pending| pending.attempt == attempt);
        if !current {
            return;
        }
        let mut loaded = match read {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(%error, %prefix, "loading failed, trying again from later on");
                return self.read(&prefix, applied);
            }
        };
        let Some(pending) = self.pending.remove(&prefix) else { return };
        let contents = loaded.contents.remove(&prefix).unwrap_or_default();
        let cache = Arc::new(WatchCache::new(contents, loaded.revision, self.feed.applied_receiver()));
        let root = format!("{ROOT}{prefix}/");
        let batch = pending.waiting.iter().filter_map(|event| {
            let key = event.key.strip_prefix(&root)?;
            Some(outcome(&pending.row, key.into(), event, &self.canonicalise))
        });
        cache.apply(batch, Instant::now());
        if let Some(before) = self.replace(&prefix, Some(Arc::new(Sink { row: pending.row, cache: cache.clone() }))) {
            before.cache.close();
        }
        if self.feed.is_closed() {
            cache.close();
        }
        for done in pending.done {
            let _ = done.send(());
        }
    }

    /// Keeps an event for a cache that is being read.
    pub(super) fn note(&mut self, prefix: &str, event: &Event) {
        let Some(pending) = self.pending.get_mut(prefix) else { return };
        pending.waiting.push(event.clone());
        if pending.waiting.len() > WAITING_MOST {
            // Read again from here on: the events of the batch after this one are kept as the others were.
            self.read(prefix, event.revision);
        }
    }

    /// Reads everything pending again: the feed has jumped to another revision.
    pub(super) fn again(&mut self, applied: i64) {
        let prefixes: Vec<String> = self.pending.keys().cloned().collect();
        for prefix in prefixes {
            self.read(&prefix, applied);
        }
    }

    fn replace(&self, prefix: &str, sink: Option<Arc<Sink>>) -> Option<Arc<Sink>> {
        let mut sinks = (**self.feed.sinks.load()).clone();
        let before = match sink {
            Some(sink) => sinks.insert(prefix.to_string(), sink),
            None => sinks.remove(prefix),
        };
        self.feed.sinks.store(Arc::new(sinks));
        before
    }
}
