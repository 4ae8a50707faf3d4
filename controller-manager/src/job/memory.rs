//! What the controller remembers of each job between its passes, beside the expectations: nothing that a restart would
//! lose, but what the informers do not show yet.

use std::collections::{HashMap, HashSet};

use k8s_openapi::{api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use parking_lot::Mutex;

use super::backoff::Failures;
use crate::util::key::{self, Key};

#[derive(Default)]
struct Known {
    /// UIDs of pods whose finalizer was asked to be removed.
    removing: HashSet<String>,
    failures: Failures,
    /// UID of the job and the resourceVersion that its status was last written at.
    written: Option<(String, u64)>,
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

    /// The job was written, and is this now.
    pub(super) fn wrote(&self, job: &Key, now: &ObjectMeta) {
        if let Some(version) = version(now) {
            let written = Some((key::uid(now).to_owned(), version));
            self.0.lock().entry(job.clone()).or_default().written = written;
        }
    }

    /// The job is seen older than it was written: what is decided by it could be wrong.
    pub(super) fn is_stale(&self, key: &Key, job: &Job) -> bool {
        let known = self.0.lock();
        let written = known.get(key).and_then(|known| known.written.as_ref());
        written.is_some_and(|(uid, at)| {
            uid == key::uid(&job.metadata) && version(&job.metadata).is_some_and(|seen| seen < *at)
        })
    }

    pub(super) fn forget(&self, job: &Key) {
        self.0.lock().remove(job);
    }
}

fn version(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(uid: &str, version: &str) -> Job {
        serde_json::from_value(json!({"metadata": {"uid": uid, "resourceVersion": version}})).unwrap()
    }

    #[test]
    fn a_job_is_stale_until_it_is_seen_as_written() {
        let (memory, key) = (Memory::default(), Key::new("n", "j"));
        assert!(!memory.is_stale(&key, &job("a", "9")));
        memory.wrote(&key, &job("a", "10").metadata);
        assert!(memory.is_stale(&key, &job("a", "9")));
        assert!(!memory.is_stale(&key, &job("a", "10")) && !memory.is_stale(&key, &job("a", "11")));
        assert!(!memory.is_stale(&key, &job("b", "9")), "another job of that name");
        memory.forget(&key);
        assert!(!memory.is_stale(&key, &job("a", "9")));
    }

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
