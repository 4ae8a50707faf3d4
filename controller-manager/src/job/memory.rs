//! What the controller remembers of each job between its passes, beside the expectations: nothing that a restart would
//! lose, but what the informers do not show yet.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

use super::backoff::Failures;
use crate::util::key::Key;

#[derive(Default)]
struct Known {
    /// UIDs of pods whose finalizer was asked to be removed.
    removing: HashSet<String>,
    failures: Failures,
}

/// Of all jobs.
#[derive(Default)]
pub(super) struct Memory(Mutex<HashMap<Key, Known>>);

impl Memory {
    /// The finalizers of these pods are being removed.
    pub(super) fn expect_released(&self, job: &Key, uids: impl IntoIterator<Item = String>) {
        self.0.lock().entry(job.clone()).or_default().removing.extend(uids);
    }

    /// The pod's finalizer is gone, or will not go.
    pub(super) fn released(&self, job: &Key, uid: &str) {
        if let Some(known) = self.0.lock().get_mut(job) {
            known.removing.remove(uid);
        }
    }

    pub(super) fn removing(&self, job: &Key) -> HashSet<String> {
        self.0.lock().get(job).map(|known| known.removing.clone()).unwrap_or_default()
    }

    pub(super) fn failures(&self, job: &Key) -> Failures {
        self.0.lock().get(job).map(|known| known.failures.clone()).unwrap_or_default()
    }

    pub(super) fn set_failures(&self, job: &Key, failures: Failures) {
        self.0.lock().entry(job.clone()).or_default().failures = failures;
    }

    pub(super) fn forget(&self, job: &Key) {
        self.0.lock().remove(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_being_released_until_that_is_seen() {
        let (memory, key) = (Memory::default(), Key::new("n", "j"));
        memory.released(&key, "a");
        memory.expect_released(&key, ["a".to_owned(), "b".to_owned()]);
        memory.expect_released(&key, ["c".to_owned()]);
        memory.released(&key, "a");
        assert_eq!(memory.removing(&key), ["b".to_owned(), "c".to_owned()].into());
        assert!(memory.removing(&Key::new("n", "k")).is_empty());
    }
}
