//! One storage watch feeds all caches.
//!
//! The alternative, a storage watch a resource, needs a progress notification for each before a consistent read may
//! trust its cache, and old etcd versions do not give those reliably. With one watch over everything, whatever raised
//! the store's revision is itself an event of that watch: the caches have caught up when it has been applied
//! (`docs/decisions/003`). Caches come and go with the definitions of custom resources (`joining.rs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use component::supervisor::Supervisor;
use futures::StreamExt;
use machinery::status::{Cause, StatusError};
use model::resource::{Resource, Sort};
use storage::{Event, EventKind, Storage, WatchItem};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::joining::Joining;
use super::load::{Canonicalise, ROOT, entry, load, route};
use super::{After, WatchCache};

/// How long a consistent read waits for the caches before it says so.
const CATCH_UP: Duration = Duration::from_secs(3);
/// How long to wait before a storage watch that ended is begun again.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

/// A cache, and the row in whose storage version it is kept.
pub(super) struct Sink {
    pub row: Arc<Resource>,
    pub cache: Arc<WatchCache>,
}

/// The caches by storage prefix. Only the follower changes which there are.
pub(super) type Sinks = HashMap<String, Arc<Sink>>;

/// What is asked of the follower.
pub(super) enum Command {
    /// Keep a cache of that row's prefix from now on, in place of the one there is.
    Join(Arc<Resource>, oneshot::Sender<()>),
    /// Keep none any more.
    Leave(String, oneshot::Sender<()>),
}

/// The running feed.
#[derive(Clone)]
pub struct Feed {
    pub(super) sinks: Arc<ArcSwap<Sinks>>,
    applied: watch::Receiver<i64>,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) canonicalise: Canonicalise,
    commands: mpsc::UnboundedSender<Command>,
    closed: Arc<AtomicBool>,
}

impl Feed {
    /// The cache of the row with that storage prefix.
    pub fn cache(&self, prefix: &str) -> Option<Arc<WatchCache>> {
        self.sinks.load().get(prefix).map(|s| s.cache.clone())
    }

    /// Keeps a cache of a row's storage prefix, also when there is one already (of the row before it was changed): then
    /// the new one takes its place and the watches of the old one end. Returns when the cache is there; it has then every
    /// event up to [`applied`](Self::applied). No other cache waits for it.
    pub async fn join(&self, row: Arc<Resource>) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::Join(row, done)).is_ok() {
            let _ = wait.await;
        }
    }

    /// Ends a cache and its watches.
    pub async fn leave(&self, prefix: &str) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::Leave(prefix.to_string(), done)).is_ok() {
            let _ = wait.await;
        }
    }

    /// Ends all watches, and those that begin from now on: the server ends. Caches stay and are fed.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.sinks.load().values().for_each(|sink| sink.cache.close());
    }

    /// Whether [`close`](Self::close) was called.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// The revision up to which all caches are exact.
    pub fn applied(&self) -> i64 {
        *self.applied.borrow()
    }

    /// Waits until the caches have everything that was acknowledged before the call.
    pub async fn caught_up(&self) -> Result<(), StatusError> {
        let revision = self.storage.revision().await.map_err(model::store::unavailable)?;
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

    /// What caches made now are told of the applied revision by.
    pub(super) fn applied_receiver(&self) -> watch::Receiver<i64> {
        self.applied.clone()
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

/// Loads all rows' objects and keeps the caches fed, in a task of `tasks` whose failure ends them all: caches that are not
/// fed would answer what was.
pub async fn start(
    storage: Arc<dyn Storage>,
    rows: impl IntoIterator<Item = Arc<Resource>>,
    canonicalise: Canonicalise,
    tasks: &Supervisor,
    cancel: CancellationToken,
) -> Result<Feed, storage::Error> {
    let mut rows_by_prefix = HashMap::new();
    for row in rows {
        if let Sort::Stored { prefix } = &row.sort {
            rows_by_prefix.entry(prefix.to_string()).or_insert(row.clone());
        }
    }
    let mut loaded = load(&*storage, ROOT, None, &rows_by_prefix, &canonicalise).await?;
    let publish = watch::Sender::new(loaded.revision);
    let sinks: Sinks = rows_by_prefix
        .into_iter()
        .map(|(prefix, row)| {
            let contents = loaded.contents.remove(&prefix).unwrap_or_default();
            let cache = Arc::new(WatchCache::new(contents, loaded.revision, publish.subscribe()));
            (prefix, Arc::new(Sink { row, cache }))
        })
        .collect();
    let (commands, inbox) = mpsc::unbounded_channel();
    let sinks = Arc::new(ArcSwap::from_pointee(sinks));
    let (applied, closed) = (publish.subscribe(), Arc::default());
    let feed = Feed { sinks, applied, storage, canonicalise: canonicalise.clone(), commands, closed };
    let joining = Joining::new(feed.clone(), canonicalise.clone());
    let follower = Follower { feed: feed.clone(), publish, canonicalise, inbox, joining };
    tasks.vital("watch cache feed", move |_| follower.run(cancel));
    Ok(feed)
}

/// The one task that changes caches.
struct Follower {
    feed: Feed,
    publish: watch::Sender<i64>,
    canonicalise: Canonicalise,
    inbox: mpsc::UnboundedReceiver<Command>,
    joining: Joining,
}

impl Follower {
    async fn run(mut self, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            let outcome = tokio::select! {
                () = cancel.cancelled() => return,
                outcome = self.follow() => outcome,
            };
            if let Err(storage::Error::Compacted { .. }) = outcome {
                tracing::warn!("the store was compacted past the caches: loading anew");
                if let Err(error) = self.reload().await {
                    tracing::warn!(%error, "loading failed");
                }
            } else if let Err(error) = outcome {
                tracing::warn!(%error, "the storage watch ended");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Applies events from where the caches are until the watch ends.
    async fn follow(&mut self) -> Result<(), storage::Error> {
        let from = *self.publish.borrow() + 1;
        // All keys, not only those under the root: another user of an etcd (upstream's compactor, for one) raises its
        // revision too, and a consistent read would wait for an event that never comes.
        let mut items = self.feed.storage.watch("", from).await?;
        loop {
            // A cache comes or goes between two items of the watch: at a revision that all caches have reached.
            let item = tokio::select! {
                item = items.next() => item,
                Some(command) = self.inbox.recv() => {
                    self.joining.command(command, *self.publish.borrow());
                    continue;
                }
                Some(loaded) = self.joining.loaded() => {
                    self.joining.take(loaded, *self.publish.borrow());
                    continue;
                }
            };
            let Some(item) = item else { return Ok(()) };
            let reached = match item? {
                WatchItem::Progress(revision) => revision,
                WatchItem::Events(events) => self.apply(&events),
            };
            self.publish.send_if_modified(|at| {
                let newer = reached > *at;
                *at = (*at).max(reached);
                newer
            });
        }
    }

    /// Applies events to the caches; the revision that is reached by them.
    fn apply(&mut self, events: &[Event]) -> i64 {
        let now = Instant::now();
        let sinks = self.feed.sinks.load_full();
        let mut batches: HashMap<&str, Vec<_>> = HashMap::new();
        for event in events {
            let known = |prefix: &str| sinks.contains_key(prefix) || self.joining.has(prefix);
            let Some((prefix, key)) = event.key.strip_prefix(ROOT).and_then(|k| route(known, k)) else { continue };
            self.joining.note(prefix, event);
            let Some(sink) = sinks.get(prefix) else { continue };
            batches.entry(prefix).or_default().push(outcome(&sink.row, key.into(), event, &self.canonicalise));
        }
        for (prefix, batch) in batches {
            sinks[prefix].cache.apply(batch, now);
        }
        events.last().map_or(0, |e| e.revision)
    }

    /// Replaces all caches' states; watchers from before are told 410.
    async fn reload(&mut self) -> Result<(), storage::Error> {
        let sinks = self.feed.sinks.load_full();
        let rows = sinks.iter().map(|(prefix, sink)| (prefix.clone(), sink.row.clone())).collect();
        let mut loaded = load(&*self.feed.storage, ROOT, None, &rows, &self.canonicalise).await?;
        for (prefix, sink) in sinks.iter() {
            sink.cache.reset(loaded.contents.remove(prefix).unwrap_or_default(), loaded.revision);
        }
        self.publish.send_replace(loaded.revision);
        self.joining.again(loaded.revision);
        Ok(())
    }
}

/// What an event does to the cache of a row.
pub(super) fn outcome(row: &Resource, key: Arc<str>, event: &Event, canonicalise: &Canonicalise) -> (Arc<str>, After) {
    let after = match event.kind {
        EventKind::Delete => After::Gone(event.revision),
        EventKind::Put => match entry(row, key.clone(), event.revision, &event.value, canonicalise) {
            Some(entry) => After::Is(entry),
            None => After::Unreadable(event.revision),
        },
    };
    (key, after)
}
