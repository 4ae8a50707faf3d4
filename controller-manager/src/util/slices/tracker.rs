//! What this controller wrote last: an informer that has not caught up must not be decided on.
//!
//! Deciding on an old list would create the same slice twice. So each slice written is remembered with its generation,
//! and each deleted until the informer says so. The informer may be quicker than the answer to a write: what it says is
//! gone meanwhile is not waited for.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::Mutex;

use crate::util::key::{self, Key};

#[derive(Clone, PartialEq)]
enum Written {
    Generation(i64, Option<String>),
    Deleted,
}

/// The slices of a Service, by UID.
#[derive(Default)]
struct Slices {
    written: HashMap<String, Written>,
    /// While something is written: what went meanwhile.
    gone: Option<HashSet<String>>,
}

impl Slices {
    fn note(&mut self, slice: &EndpointSlice, written: Written) {
        let uid = key::uid(&slice.metadata);
        if !self.gone.as_ref().is_some_and(|gone| gone.contains(uid)) {
            self.written.insert(uid.to_owned(), written);
        }
    }
}

/// By Service.
#[derive(Default)]
pub(crate) struct Tracker(Mutex<HashMap<Key, Slices>>);

/// As long as this lives, slices of a Service are written.
pub(crate) struct Writing<'a> {
    tracker: &'a Tracker,
    service: &'a Key,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut services = self.tracker.0.lock();
        let Some(slices) = services.get_mut(self.service) else { return };
        slices.gone = None;
        if slices.written.is_empty() {
            services.remove(self.service);
        }
    }
}

fn generation(slice: &EndpointSlice) -> i64 {
    slice.metadata.generation.unwrap_or(0)
}

impl Tracker {
    /// Slices of a Service are about to be written, by one at a time.
    pub(crate) fn writing<'a>(&'a self, service: &'a Key) -> Writing<'a> {
        self.0.lock().entry(service.clone()).or_default().gone = Some(HashSet::new());
        Writing { tracker: self, service }
    }

    pub(crate) fn wrote(&self, service: &Key, slice: &EndpointSlice) {
        let written = Written::Generation(generation(slice), slice.metadata.resource_version.clone());
        self.0.lock().entry(service.clone()).or_default().note(slice, written);
    }

    pub(crate) fn deleted(&self, service: &Key, slice: &EndpointSlice) {
        self.0.lock().entry(service.clone()).or_default().note(slice, Written::Deleted);
    }

    /// The informer says that a slice is gone; true if that was this controller's doing.
    pub(crate) fn gone(&self, service: &Key, uid: &str) -> bool {
        let mut services = self.0.lock();
        let Some(slices) = services.get_mut(service) else { return false };
        if let Some(gone) = &mut slices.gone {
            gone.insert(uid.to_owned());
        }
        slices.written.remove(uid) == Some(Written::Deleted)
    }

    /// True if the slice is as this controller wrote it.
    pub(crate) fn is_own(&self, service: &Key, slice: &EndpointSlice) -> bool {
        let tracked = self.0.lock();
        match tracked.get(service).and_then(|slices| slices.written.get(key::uid(&slice.metadata))) {
            Some(Written::Generation(_, version)) => *version == slice.metadata.resource_version,
            _ => false,
        }
    }

    /// True if `slices`, all that the informer has of the Service, are behind what was written.
    pub(crate) fn is_stale(&self, service: &Key, slices: &[Arc<EndpointSlice>]) -> bool {
        let tracked = self.0.lock();
        let Some(tracked) = tracked.get(service) else { return false };
        let by_uid: HashMap<_, _> = slices.iter().map(|s| (key::uid(&s.metadata), s)).collect();
        tracked.written.iter().any(|(uid, written)| match (written, by_uid.get(uid.as_str())) {
            (Written::Generation(g, _), Some(slice)) => generation(slice) < *g,
            (Written::Generation(..), None) => true,
            (Written::Deleted, slice) => slice.is_some(),
        })
    }

    pub(crate) fn forget(&self, service: &Key) {
        self.0.lock().remove(service);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(uid: &str, generation: i64) -> Arc<EndpointSlice> {
        let meta =
            json!({"name": uid, "uid": uid, "generation": generation, "resourceVersion": generation.to_string()});
        let slice = json!({"metadata": meta, "addressType": "IPv4", "endpoints": []});
        Arc::new(serde_json::from_value(slice).unwrap())
    }

    #[test]
    fn what_was_written_is_waited_for() {
        let (tracker, service) = (Tracker::default(), Key::new("ns", "s"));
        drop(tracker.writing(&service));
        assert!(!tracker.is_stale(&service, &[]));
        tracker.wrote(&service, &slice("a", 2));
        assert!(tracker.is_stale(&service, &[]) && tracker.is_stale(&service, &[slice("a", 1)]));
        assert!(!tracker.is_stale(&service, &[slice("a", 2)]) && !tracker.is_stale(&service, &[slice("a", 3)]));
        assert!(tracker.is_own(&service, &slice("a", 2)) && !tracker.is_own(&service, &slice("a", 3)));
        tracker.deleted(&service, &slice("a", 2));
        assert!(tracker.is_stale(&service, &[slice("a", 2)]) && !tracker.is_stale(&service, &[]));
        assert!(tracker.gone(&service, "a") && !tracker.gone(&service, "a"));
    }

    #[test]
    fn what_went_before_its_write_was_answered_is_not_waited_for() {
        let (tracker, service) = (Tracker::default(), Key::new("ns", "s"));
        let writing = tracker.writing(&service);
        assert!(!tracker.gone(&service, "a"));
        tracker.wrote(&service, &slice("a", 2));
        tracker.deleted(&service, &slice("a", 2));
        tracker.wrote(&service, &slice("b", 1));
        drop(writing);
        assert!(tracker.is_stale(&service, &[]) && !tracker.is_stale(&service, &[slice("b", 1)]));
        // Later it is another matter.
        tracker.wrote(&service, &slice("a", 2));
        assert!(tracker.is_stale(&service, &[slice("b", 1)]));
    }
}
