//! The watches that wait for a cache to change. A list of wakers and not a channel: each move wakes all of a thousand watchers, and a
//! channel's receivers would each register anew for the next one, under a lock that they share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use futures::task::AtomicWaker;
use parking_lot::Mutex;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: BTreeMap<u64, Arc<AtomicWaker>>,
}

/// A place in the list.
#[derive(Debug)]
pub(super) struct Place {
    key: u64,
    waker: Arc<AtomicWaker>,
}

impl Waiting {
    /// A place of one's own; to be given back.
    pub(super) fn enter(&self) -> Place {
        let waker = Arc::new(AtomicWaker::new());
        let mut places = self.0.lock();
        let key = places.next;
        places.next += 1;
        places.taken.insert(key, waker.clone());
        Place { key, waker }
    }

    pub(super) fn leave(&self, place: &Place) {
        self.0.lock().taken.remove(&place.key);
    }

    pub(super) fn wake_all(&self) {
        // Not under the lock: what a woken task does first may be to leave.
        let wakers: Vec<Waker> = self.0.lock().taken.values().filter_map(|waker| waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Place {
    /// The next move wakes that task.
    pub(super) fn wait(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}
