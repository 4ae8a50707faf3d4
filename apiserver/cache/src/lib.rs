//! The watch cache: for each resource its full state at a revision, and a window of the latest events.
//!
//! A list takes a snapshot (an O(1) clone of a persistent map) and encodes without a lock. A watcher is a cursor into
//! the window: it has no buffer of its own, so a slow one costs nothing and is told 410 when the window has moved past
//! it. An older state is today's with the window's events undone, which serves exact resourceVersions and continue
//! tokens. Everything is fed by one storage watch (`feed.rs`), which is why all caches share one applied revision.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use api::protobuf::Part;
use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

mod entry;
mod feed;
mod joining;
mod load;
mod past;
mod scan;
mod values;
mod versions;
mod waiting;
mod watcher;

use waiting::Waiting;

pub use entry::Entry;
pub use feed::{Feed, start};
pub use load::Canonicalise;
pub use past::Past;
pub use values::Values;
pub use versions::Slot;
pub use watcher::{Expired, Watcher, frame, metadata_frame, protobuf_frame};

/// Events younger than this stay in the window, up to [`WINDOW_MOST`].
const WINDOW_AGE: Duration = Duration::from_secs(75);
/// Events that stay whatever their age.
const WINDOW_LEAST: usize = 1_000;
/// The most events a window holds.
const WINDOW_MOST: usize = 100_000;
/// The latest events keep the frame that watchers share; a watcher that is further behind makes its own, so that a
/// window does not hold every object twice.
const FRAMES: usize = 256;

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

impl ChangeKind {
    /// The name in a watch event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One event of the window.
#[derive(Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The object after it; for `Deleted` the last object, at the revision of its deletion.
    pub entry: Arc<Entry>,
    /// The object before it.
    pub previous: Option<Arc<Entry>>,
    at: Instant,
    frames: Mutex<Frames>,
}

/// An event's frames, encoded.
#[derive(Debug, Default)]
struct Frames {
    json: Option<Bytes>,
    protobuf: Option<Bytes>,
    /// Not kept any more.
    past: bool,
}

impl Change {
    fn new(kind: ChangeKind, entry: Arc<Entry>, previous: Option<Arc<Entry>>, at: Instant) -> Self {
        Self { kind, entry, previous, at, frames: Mutex::default() }
    }

    /// The revision of the event.
    pub fn revision(&self) -> i64 {
        self.entry.revision
    }

    /// The event as a JSON watch frame, made once and shared by all watchers that are not far behind.
    pub fn frame(&self) -> Bytes {
        let json = self.shared(|frames| &mut frames.json, || Some(watcher::frame(self.kind, &self.entry)));
        json.expect("every entry is JSON")
    }

    /// The event as a protobuf watch frame, shared likewise; `None` for kinds without protobuf.
    pub fn protobuf_frame(&self) -> Option<Bytes> {
        let make = || watcher::protobuf_frame(self.kind, &self.entry, Part::Whole);
        self.shared(|frames| &mut frames.protobuf, make)
    }

    fn shared(
        &self,
        slot: fn(&mut Frames) -> &mut Option<Bytes>,
        make: impl FnOnce() -> Option<Bytes>,
    ) -> Option<Bytes> {
        let mut frames = self.frames.lock();
        if let Some(bytes) = slot(&mut frames) {
            return Some(bytes.clone());
        }
        let bytes = make()?;
        if !frames.past {
            *slot(&mut frames) = Some(bytes.clone());
        }
        Some(bytes)
    }
}

/// State at a revision.
pub type Objects = OrdMap<Arc<str>, Arc<Entry>>;

/// The keys whose values cannot be read, and since which revision.
///
/// Reading them, or a list that they are of, is an error: what is there must not look as if it were gone, or a garbage
/// collector would take away what belongs to it. Watches do not hear of them; the last object that could be read stays
/// for the server's own use.
pub type Unreadable = OrdMap<Arc<str>, i64>;

/// What a resource has in the store.
#[derive(Clone, Default)]
pub struct Contents {
    /// The objects.
    pub objects: Objects,
    /// The others.
    pub unreadable: Unreadable,
}

/// What is at a key after an event.
pub(crate) enum After {
    /// An object.
    Is(Entry),
    /// Nothing, since that revision.
    Gone(i64),
    /// Something that cannot be read.
    Unreadable(i64),
}

/// A consistent view of one resource.
#[derive(Clone)]
pub struct Snapshot {
    /// The revision that the view is exact at.
    pub revision: i64,
    /// The objects by key.
    pub objects: Objects,
    /// The keys that cannot be read.
    pub unreadable: Unreadable,
}

impl Snapshot {
    /// A key (in a namespace) of which a list cannot be made.
    pub fn unreadable(&self, namespace: Option<&str>) -> Option<&str> {
        let mut keys = self.unreadable.keys();
        keys.find(|key| namespace.is_none_or(|n| key.strip_prefix(n).is_some_and(|k| k.starts_with('/')))).map(|k| &**k)
    }

    /// The objects of a namespace (or all), from after `start` on, in key order.
    pub fn range<'a>(
        &'a self,
        namespace: Option<&'a str>,
        start: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        let prefix = namespace.map(|n| format!("{n}/")).unwrap_or_default();
        let from: Arc<str> = match start {
            Some(start) if start > prefix.as_str() => start.into(),
            _ => prefix.as_str().into(),
        };
        self.objects.range(from..).map(|(_, entry)| entry).take_while(move |entry| entry.key.starts_with(&prefix))
    }
}

struct State {
    objects: Objects,
    unreadable: Unreadable,
    window: VecDeque<Arc<Change>>,
    /// A watch from this revision on misses nothing.
    floor: i64,
    /// The revision of the last event applied here (or of the load).
    last: i64,
}

impl State {
    fn new(contents: Contents, revision: i64) -> Self {
        let Contents { objects, unreadable } = contents;
        Self { objects, unreadable, window: VecDeque::new(), floor: revision, last: revision }
    }
}

/// The cache of one resource.
pub struct WatchCache {
    state: RwLock<State>,
    /// The revision of the last event, for who need not lock for it.
    newest: AtomicI64,
    /// It is fed no more, or nobody is to watch it any more.
    closed: AtomicBool,
    waiting: Waiting,
    applied: watch::Receiver<i64>,
}

impl WatchCache {
    /// A cache that is exact at `revision`; `applied` is the feed's.
    pub fn new(contents: Contents, revision: i64, applied: watch::Receiver<i64>) -> Self {
        let state = State::new(contents, revision);
        let (newest, closed) = (AtomicI64::new(revision), AtomicBool::new(false));
        Self { state: RwLock::new(state), newest, closed, waiting: Waiting::default(), applied }
    }

    /// Says that nothing is fed to this cache any more: its resource is not served now, or another cache took its place.
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waiting.wake_all();
    }

    fn moved(&self, newest: i64) {
        self.newest.store(newest, Ordering::Release);
        self.waiting.wake_all();
    }

    /// Whether the cache is fed no more; its watches end then.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The object as it is now.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.state.read().objects.get(key).cloned()
    }

    /// Whether there is something of that key that cannot be read.
    pub fn is_unreadable(&self, key: &str) -> bool {
        self.state.read().unreadable.contains_key(key)
    }

    /// The revision of the last event of this resource.
    pub fn generation(&self) -> i64 {
        self.state.read().last
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state now. Its revision counts what other resources did in between, so that a watch from it starts late.
    pub fn snapshot(&self) -> Snapshot {
        // The feed publishes `applied` after the caches: read first, all events up to it are in the state.
        let applied = *self.applied.borrow();
        let state = self.state.read();
        Snapshot {
            revision: applied.max(state.last),
            objects: state.objects.clone(),
            unreadable: state.unreadable.clone(),
        }
    }

    /// The state at an earlier revision, where the window still reaches that far.
    pub fn snapshot_at(&self, revision: i64) -> Result<Snapshot, Expired> {
        let state = self.state.read();
        if revision < state.floor {
            return Err(Expired { asked: revision, floor: state.floor });
        }
        let mut objects = state.objects.clone();
        for change in state.window.iter().rev().take_while(|c| c.revision() > revision) {
            match &change.previous {
                Some(previous) => objects.insert(change.entry.key.clone(), previous.clone()),
                None => objects.remove(&change.entry.key),
            };
        }
        Ok(Snapshot { revision, objects, unreadable: state.unreadable.clone() })
    }

    /// A cursor after `revision`.
    pub fn watch(self: &Arc<Self>, revision: i64) -> Result<Watcher, Expired> {
        let floor = self.state.read().floor;
        if revision < floor {
            return Err(Expired { asked: revision, floor });
        }
        Ok(Watcher::new(self.clone(), revision))
    }

    /// Events after `cursor`, at most `limit`.
    pub fn after(&self, cursor: i64, limit: usize) -> Result<Vec<Arc<Change>>, Expired> {
        let state = self.state.read();
        if cursor < state.floor {
            return Err(Expired { asked: cursor, floor: state.floor });
        }
        let from = state.window.partition_point(|c| c.revision() <= cursor);
        Ok(state.window.range(from..).take(limit).cloned().collect())
    }

    /// Replaces everything: nothing before `revision` can be watched any more.
    fn reset(&self, contents: Contents, revision: i64) {
        *self.state.write() = State::new(contents, revision);
        self.moved(revision);
    }

    /// Applies a batch of events, in revision order, and wakes the watchers once.
    fn apply(&self, batch: impl IntoIterator<Item = (Arc<str>, After)>, now: Instant) {
        let mut state = self.state.write();
        let before = state.window.len();
        for (key, outcome) in batch {
            if let After::Unreadable(revision) = outcome {
                state.unreadable.insert(key, revision);
                continue;
            }
            state.unreadable.remove(&key);
            let change = match outcome {
                After::Is(entry) => {
                    let entry = Arc::new(entry);
                    let previous = state.objects.insert(key, entry.clone());
                    let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
                    Change::new(kind, entry, previous, now)
                }
                After::Unreadable(_) => continue,
                After::Gone(revision) => {
                    let Some(previous) = state.objects.remove(&key) else { continue };
                    Change::new(ChangeKind::Deleted, Arc::new(previous.at(revision)), Some(previous), now)
                }
            };
            state.last = change.revision();
            state.window.push_back(Arc::new(change));
        }
        let len = state.window.len();
        for past in state.window.range(before.saturating_sub(FRAMES)..len.saturating_sub(FRAMES)) {
            *past.frames.lock() = Frames { past: true, ..Frames::default() };
        }
        while state.window.len() > WINDOW_LEAST {
            let full = state.window.len() > WINDOW_MOST;
            match state.window.front() {
                Some(oldest) if full || now.duration_since(oldest.at) > WINDOW_AGE => state.floor = oldest.revision(),
                _ => break,
            }
            state.window.pop_front();
        }
        let last = state.last;
        drop(state);
        self.moved(last);
    }
}

#[cfg(test)]
mod feed_tests;
#[cfg(test)]
mod tests;
