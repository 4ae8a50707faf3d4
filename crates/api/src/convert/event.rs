//! Event: one store, two groups that name its fields differently.

use serde_json::{Map, Value};

use super::rename;

/// Fields of core/v1, and what events.k8s.io/v1 calls them.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("source", "deprecatedSource"),
    ("message", "note"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn core_to_events(event: &mut Map<String, Value>) {
    NAMES.iter().for_each(|(core, events)| rename(event, core, events));
}

pub(super) fn events_to_core(event: &mut Map<String, Value>) {
    NAMES.iter().for_each(|(core, events)| rename(event, events, core));
}
