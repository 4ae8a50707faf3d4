//! Expectations: what a controller has asked for and its informer has not shown yet.
//!
//! An informer lags behind the API. A controller that created three pods and looks again at once sees none and would
//! create three more. So it notes what it expects, acts again only when that was seen, and gives up waiting after five
//! minutes in case an observation was missed.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use controller::Queue;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::key::Key;

const EXPIRES: Duration = Duration::from_secs(300);

struct Expected {
    creations: i64,
    /// UIDs, so that a deletion told twice (marked, then gone) counts once.
    deletions: HashSet<String>,
    since: Instant,
}

/// Expectations of one controller, by the key of what it controls.
#[derive(Default)]
pub(crate) struct Expectations(Mutex<HashMap<Key, Expected>>);

impl Expectations {
    /// True if everything expected was seen, or nothing was expected, or it was too long ago. If not, the key is in
    /// `queue` again when that is so: what was missed may be the last that happens.
    pub(crate) fn satisfied(&self, key: &Key, queue: &Queue<Key>) -> bool {
        let left = self.left(key);
        if let Some(left) = left {
            queue.add_after(key.clone(), left);
        }
        left.is_none()
    }

    /// How long something is still waited for.
    fn left(&self, key: &Key) -> Option<Duration> {
        let all = self.0.lock();
        let expected = all.get(key).filter(|e| e.creations > 0 || !e.deletions.is_empty())?;
        Some(EXPIRES.saturating_sub(expected.since.elapsed())).filter(|left| !left.is_zero())
    }

    pub(crate) fn expect_creations(&self, key: &Key, n: usize) {
        self.expect(key, n, []);
    }

    pub(crate) fn expect_deletions(&self, key: &Key, uids: impl IntoIterator<Item = String>) {
        self.expect(key, 0, uids);
    }

    /// What is about to be asked for, in place of what was expected before.
    pub(crate) fn expect(&self, key: &Key, creations: usize, deletions: impl IntoIterator<Item = String>) {
        let (creations, deletions) = (creations as i64, deletions.into_iter().collect());
        self.0.lock().insert(key.clone(), Expected { creations, deletions, since: Instant::now() });
    }

    /// One creation was seen, or failed, or was skipped.
    pub(crate) fn creation_observed(&self, key: &Key) {
        if let Some(e) = self.0.lock().get_mut(key) {
            e.creations -= 1;
        }
    }

    pub(crate) fn deletion_observed(&self, key: &Key, uid: &str) {
        if let Some(e) = self.0.lock().get_mut(key) {
            e.deletions.remove(uid);
        }
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_what_was_asked_but_not_for_ever() {
        let (e, key, queue) = (Expectations::default(), Key::new("ns", "a"), Queue::new());
        let satisfied = || e.satisfied(&key, &queue);
        assert!(satisfied());
        e.expect_creations(&key, 2);
        e.creation_observed(&key);
        assert!(!satisfied());
        e.creation_observed(&key);
        assert!(satisfied());
        e.expect_deletions(&key, ["u1".to_owned(), "u2".to_owned()]);
        e.deletion_observed(&key, "u1");
        e.deletion_observed(&key, "u1");
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(!satisfied(), "the same deletion twice counts once");
        // Nothing else happens, and the key comes when it is not waited for any more.
        let start = Instant::now();
        assert_eq!(queue.get().await.as_ref(), Some(&key));
        assert_eq!(start.elapsed(), EXPIRES - Duration::from_secs(100));
        assert!(satisfied());
    }
}
