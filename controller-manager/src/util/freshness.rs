//! Reading one's own writes: a reconciler that looks before the informers have shown what it wrote decides on the past.
//!
//! Upstream: `pkg/controller/util/consistency`. Each write is noted by its resourceVersion; an informer that has come that
//! far has shown it, or that it is gone again. A kind whose versions can't be compared is not waited for.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

use super::key::Key;

/// When an owner that waits for an informer is looked at again at the latest: a list may bring the version that it waits
/// for without a change.
pub(crate) const STALE_WAIT: Duration = Duration::from_secs(1);

/// What was written of objects of `N` kinds, by the key of the owner that it was written for.
pub(crate) struct Freshness<const N: usize>(Mutex<State<N>>);

struct State<const N: usize> {
    /// The highest version written of each kind.
    written: HashMap<Key, [u64; N]>,
    waiting: HashSet<Key>,
}

impl<const N: usize> Default for Freshness<N> {
    fn default() -> Self {
        Self(Mutex::new(State { written: HashMap::new(), waiting: HashSet::new() }))
    }
}

impl<const N: usize> Freshness<N> {
    /// An object was written, and this is what came back. `kind` is the number of its kind.
    pub(crate) fn note(&self, owner: &Key, kind: usize, object: &ObjectMeta) {
        let version = object.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
        let mut state = self.0.lock();
        let written = state.written.entry(owner.clone()).or_insert([0; N]);
        if let Some(highest) = written.get_mut(kind) {
            *highest = version.max(*highest);
        }
    }

    /// Whether the informers have shown all that was written; `seen` says how far they are. If not, the owner waits.
    pub(crate) fn is_fresh(&self, owner: &Key, seen: impl Fn() -> [u64; N]) -> bool {
        self.behind(owner, seen).is_none()
    }

    /// The same: the number of the first kind of which something that was written is not seen yet.
    pub(crate) fn behind(&self, owner: &Key, seen: impl Fn() -> [u64; N]) -> Option<usize> {
        // Asked under the lock: who comes that far after that finds the owner waiting.
        let mut state = self.0.lock();
        let behind = state.written.get(owner).and_then(|written| written.iter().zip(seen()).position(|(w, s)| *w > s));
        if behind.is_none() {
            state.written.remove(owner);
            state.waiting.remove(owner);
        } else {
            state.waiting.insert(owner.clone());
        }
        behind
    }

    /// Nothing is waited for any more: the owner is gone.
    pub(crate) fn forget(&self, owner: &Key) {
        let mut state = self.0.lock();
        state.written.remove(owner);
        state.waiting.remove(owner);
    }

    /// Those that wait, to be asked for again.
    pub(crate) fn waiting(&self) -> HashSet<Key> {
        std::mem::take(&mut self.0.lock().waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_waits_for_the_last_write_of_each_kind() {
        let (freshness, owner) = (Freshness::<2>::default(), Key::new("ns", "a"));
        let write = |kind, version: &str| {
            let meta = ObjectMeta { resource_version: Some(version.into()), ..Default::default() };
            freshness.note(&owner, kind, &meta);
        };
        assert!(freshness.is_fresh(&owner, || [0, 0]));
        write(0, "9");
        write(0, "10");
        write(1, "7");
        assert!(!freshness.is_fresh(&owner, || [9, 7]) && !freshness.is_fresh(&owner, || [10, 6]));
        assert!(freshness.is_fresh(&Key::new("ns", "b"), || [0, 0]));
        assert_eq!((freshness.waiting(), freshness.waiting()), ([owner.clone()].into(), [].into()));
        assert!(freshness.is_fresh(&owner, || [10, 7]));
        write(1, "not a number");
        assert!(freshness.is_fresh(&owner, || [0, 0]));
    }
}
