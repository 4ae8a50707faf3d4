//! The workqueue: client-go's semantics (`util/workqueue`), which controllers are written against.
//!
//! A key is in the queue once however often it is added; a key being worked on is not handed out again but marked, and
//! comes back when it is done; so no two workers hold one key, and no change is lost. Delays and rate limits live in
//! the same lock: a waiting worker sleeps until the earliest of them, and an idle queue costs nothing.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::watched::{self, Busy, Counts, Doing};

/// Retries of one key: 5 ms, doubling.
const RETRY_FIRST: Duration = Duration::from_millis(5);
/// Retries of one key: at most this apart.
const RETRY_MOST: Duration = Duration::from_secs(1000);
/// Retries of all keys together: this many at once, then one each [`BUCKET_INTERVAL`].
const BUCKET_BURST: u32 = 100;
const BUCKET_INTERVAL: Duration = Duration::from_millis(100);

/// How long a key waits after a failure.
#[derive(Clone, Copy)]
struct Retries {
    /// After the first one; it doubles with each.
    first: Duration,
    most: Duration,
    /// Whether all keys together have a limit, too.
    shared: bool,
}

struct Delayed<T> {
    at: Instant,
    order: u64,
    key: T,
}

impl<T> PartialEq for Delayed<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl<T> Eq for Delayed<T> {}
impl<T> PartialOrd for Delayed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Delayed<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

struct State<T> {
    ready: VecDeque<T>,
    /// Needs work, and since when: in `ready`, or in `processing` and to be done again.
    dirty: HashMap<T, Instant>,
    /// Is worked on, and since when.
    processing: HashMap<T, Instant>,
    delayed: BinaryHeap<Reverse<Delayed<T>>>,
    /// The earliest time each delayed key is due: a later request for the same key adds nothing.
    due: HashMap<T, Instant>,
    order: u64,
    failures: HashMap<T, u32>,
    retries: Retries,
    /// When the retry bucket is full again; before that, each interval missing is a token taken.
    bucket_full_at: Option<Instant>,
    counts: Arc<Counts>,
    shut_down: bool,
}

struct Inner<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

/// A deduplicating, delaying, rate-limiting queue of keys. Cheap to clone; clones are the same queue.
pub struct Queue<T>(Arc<Inner<T>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Hash + Eq + Clone> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Hash + Eq + Clone> Queue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::retrying(Retries { first: RETRY_FIRST, most: RETRY_MOST, shared: true })
    }

    /// An empty queue whose failing keys wait that long at first and at most, each for itself.
    pub fn with_retries(first: Duration, most: Duration) -> Self {
        Self::retrying(Retries { first, most, shared: false })
    }

    fn retrying(retries: Retries) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            processing: HashMap::new(),
            delayed: BinaryHeap::new(),
            due: HashMap::new(),
            order: 0,
            failures: HashMap::new(),
            retries,
            bucket_full_at: None,
            counts: Arc::default(),
            shut_down: false,
        };
        Self(Arc::new(Inner { state: Mutex::new(state), wake: Notify::new() }))
    }

    /// Wants `key` worked on.
    pub fn add(&self, key: T) {
        if self.0.state.lock().add(key) {
            self.0.wake.notify_one();
        }
    }

    /// Wants `key` worked on, but not before `delay` has passed.
    pub fn add_after(&self, key: T, delay: Duration) {
        let mut state = self.0.state.lock();
        state.counts.retries.add(1);
        if delay.is_zero() {
            state.add(key);
        } else {
            state.add_at(key, Instant::now() + delay);
        }
        drop(state);
        self.0.wake.notify_one();
    }

    /// Wants `key` worked on again after a failure: later with each failure of the key, and later when many fail.
    pub fn add_rate_limited(&self, key: T) {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        let retries = state.retries;
        let failures = state.failures.entry(key.clone()).or_insert(0);
        let own = retries.first.saturating_mul(1u32.checked_shl(*failures).unwrap_or(u32::MAX)).min(retries.most);
        *failures = failures.saturating_add(1).min(30);
        let shared = if retries.shared { state.take_token(now) } else { Duration::ZERO };
        state.counts.retries.add(1);
        state.add_at(key, now + own.max(shared));
        drop(state);
        self.0.wake.notify_one();
    }

    /// Forgets the failures of `key`.
    pub fn forget(&self, key: &T) {
        self.0.state.lock().failures.remove(key);
    }

    /// How often `key` failed since it was last forgotten.
    pub fn num_requeues(&self, key: &T) -> u32 {
        self.0.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// The next key, when there is one; none once the queue is shut down. Pair it with [`Queue::done`].
    pub async fn get(&self) -> Option<T> {
        loop {
            let woken = self.0.wake.notified();
            let next = {
                let mut state = self.0.state.lock();
                if state.shut_down {
                    return None;
                }
                state.ripen(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    let now = Instant::now();
                    if let Some(since) = state.dirty.remove(&key) {
                        state.counts.waited.observe((now - since).as_secs_f64());
                    }
                    state.processing.insert(key.clone(), now);
                    let more = !state.ready.is_empty();
                    drop(state);
                    if more {
                        self.0.wake.notify_one();
                    }
                    return Some(key);
                }
                state.delayed.peek().map(|d| d.0.at)
            };
            match next {
                None => woken.await,
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, woken).await;
                }
            }
        }
    }

    /// Says that the work on `key` is over; if it was added meanwhile, it comes again.
    pub fn done(&self, key: &T) {
        let mut state = self.0.state.lock();
        if let Some(since) = state.processing.remove(key) {
            state.counts.worked.observe(since.elapsed().as_secs_f64());
        }
        if state.dirty.contains_key(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.0.wake.notify_one();
        }
    }

    /// How many keys are ready to be worked on.
    pub fn len(&self) -> usize {
        self.0.state.lock().ready.len()
    }

    /// True if no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every `get`, now and later.
    pub fn shut_down(&self) {
        self.0.state.lock().shut_down = true;
        self.0.wake.notify_waiters();
        self.0.wake.notify_one();
    }
}

impl<T: Send + 'static> Queue<T> {
    /// From now on it counts under that name; what it has counted before comes along.
    pub(crate) fn named(&self, name: &str) {
        let inner: Arc<dyn Busy> = self.0.clone();
        let shared = watched::name(name, Arc::downgrade(&inner));
        let own = std::mem::replace(&mut self.0.state.lock().counts, shared.clone());
        if !Arc::ptr_eq(&own, &shared) {
            shared.adds.add(own.adds.get() as u64);
            shared.retries.add(own.retries.get() as u64);
        }
    }
}

impl<T: Send> Busy for Inner<T> {
    fn doing(&self) -> Doing {
        let state = self.state.lock();
        let working = || state.processing.values().map(Instant::elapsed);
        let depth = state.dirty.len();
        Doing { depth, unfinished: working().sum(), longest: working().max().unwrap_or_default() }
    }
}

impl<T: Hash + Eq + Clone> State<T> {
    fn add(&mut self, key: T) -> bool {
        if self.shut_down || self.dirty.contains_key(&key) {
            return false;
        }
        self.counts.adds.add(1);
        self.dirty.insert(key.clone(), Instant::now());
        if self.processing.contains_key(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn add_at(&mut self, key: T, at: Instant) {
        if self.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        self.due.insert(key.clone(), at);
        self.order += 1;
        self.delayed.push(Reverse(Delayed { at, order: self.order, key }));
    }

    fn ripen(&mut self, now: Instant) {
        while self.delayed.peek().is_some_and(|d| d.0.at <= now) {
            let Some(Reverse(d)) = self.delayed.pop() else { break };
            // An entry that an earlier one replaced is empty shell.
            if self.due.get(&d.key) == Some(&d.at) {
                self.due.remove(&d.key);
                self.add(d.key);
            }
        }
    }

    /// Takes a token of the shared bucket and says how long it has to be waited for.
    fn take_token(&mut self, now: Instant) -> Duration {
        let full = self.bucket_full_at.map_or(now, |t| t.max(now)) + BUCKET_INTERVAL;
        self.bucket_full_at = Some(full);
        (full - now).saturating_sub(BUCKET_INTERVAL * BUCKET_BURST)
    }
}

#[cfg(test)]
mod tests;
