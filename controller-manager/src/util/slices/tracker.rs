//! What this controller wrote last: an informer that has not caught up must not be decided on.
//!
//! Deciding on an old list would create the same slice twice. So each slice written is remembered with its generation,
//! and each deleted until the informer says so.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::Mutex;

use crate::util::key::{self, Key};

#[derive(Clone, PartialEq)]
enum Written {
    Generation(i64, Option<String>),
    Deleted,
}

/// By Service, then by the slice's UID.
#[derive(Default)]
pub(crate) struct Tracker(Mutex<HashMap<Key, HashMap<String, Written>>>);

fn generation(slice: &EndpointSlice) -> i64 {
    slice.metadata.generation.unwrap_or(0)
}

impl Tracker {
    pub(crate) fn wrote(&self, service: &Key, slice: &EndpointSlice) {
        let written = Written::Generation(generation(slice), slice.metadata.resource_version.clone());
        let uid = key::uid(&slice.metadata).to_owned();
        self.0.lock().entry(service.clone()).or_default().insert(uid, written);
    }

    pub(crate) fn deleted(&self, service: &Key, slice: &EndpointSlice) {
        let uid = key::uid(&slice.metadata).to_owned();
        self.0.lock().entry(service.clone()).or_default().insert(uid, Written::Deleted);
    }

    /// The informer says that a slice is gone; true if that was this controller's doing.
    pub(crate) fn gone(&self, service: &Key, uid: &str) -> bool {
        let removed = self.0.lock().get_mut(service).and_then(|slices| slices.remove(uid));
        removed == Some(Written::Deleted)
    }

    /// True if the slice is as this controller wrote it.
    pub(crate) fn is_own(&self, service: &Key, slice: &EndpointSlice) -> bool {
        let tracked = self.0.lock();
        match tracked.get(service).and_then(|slices| slices.get(key::uid(&slice.metadata))) {
            Some(Written::Generation(_, version)) => *version == slice.metadata.resource_version,
            _ => false,
        }
    }

    /// True if `slices`, all that the informer has of the Service, are behind what was written.
    pub(crate) fn is_stale(&self, service: &Key, slices: &[Arc<EndpointSlice>]) -> bool {
        let tracked = self.0.lock();
        let Some(tracked) = tracked.get(service) else { return false };
        let by_uid: HashMap<_, _> = slices.iter().map(|s| (key::uid(&s.metadata), s)).collect();
        tracked.iter().any(|(uid, written)| match (written, by_uid.get(uid.as_str())) {
            (Written::Generation(g, _), Some(slice)) => generation(slice) < *g,
            (Written::Generation(..), None) => true,
            (Written::Deleted, slice) => slice.is_some(),
        })
    }

    pub(crate) fn forget(&self, service: &Key) {
        self.0.lock().remove(service);
    }
}
