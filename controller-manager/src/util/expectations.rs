//! Expectations: what a controller has asked for and its informer has not shown yet.
//!
//! An informer lags behind the API. A controller that created three pods and looks again at once sees none and would
//! create three more. So it notes what it expects, acts again only when that was seen, and gives up waiting after five
//! minutes in case an observation was missed.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

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
    /// True if everything expected was seen, or nothing was expected, or it was too long ago.
    pub(crate) fn satisfied(&self, key: &Key) -> bool {
        self.0
            .lock()
            .get(key)
            .is_none_or(|e| (e.creations <= 0 && e.deletions.is_empty()) || e.since.elapsed() > EXPIRES)
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
        let (e, key) = (Expectations::default(), Key::new("ns", "a"));
        assert!(e.satisfied(&key));
        e.expect_creations(&key, 2);
        e.creation_observed(&key);
        assert!(!e.satisfied(&key));
        e.creation_observed(&key);
        assert!(e.satisfied(&key));
        e.expect_deletions(&key, ["u1".to_owned(), "u2".to_owned()]);
        e.deletion_observed(&key, "u1");
        e.deletion_observed(&key, "u1");
        assert!(!e.satisfied(&key), "the same deletion twice counts once");
        tokio::time::advance(EXPIRES + Duration::from_secs(1)).await;
        assert!(e.satisfied(&key));
    }
}
