//! A slice of a pool: which nodes reach its devices, and what about it stays.

use api::rules::Here;
use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

use crate::core::pod::validation::scheduling;
use model::check::Faults;

pub(super) fn generation(here: &Here<'_, '_>, errors: &mut ErrorList) {
    if let Some(generation) = here.value.as_i64().filter(|generation| *generation < 0) {
        errors.invalid(&here.path(), generation, "must be greater than or equal to zero");
    }
}

/// Of an update: the pool, the driver and the node.
pub(super) fn stays(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let Some(old) = here.old else { return };
    let (pool, before) = (here.value.sub("pool").text("name"), old.sub("pool").text("name"));
    if pool != before {
        errors.invalid(&here.child("pool").child("name"), pool, "field is immutable");
    }
    let driver = here.value.text("driver");
    if driver != old.text("driver") {
        errors.invalid(&here.child("driver"), driver, "field is immutable");
    }
    if here.value.sub("nodeName") != old.sub("nodeName") {
        errors.invalid(&here.child("nodeName"), here.value.sub("nodeName").cloned(), "field is immutable");
    }
}

/// The nodes that reach the devices, in one of four ways.
pub(super) fn nodes(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let slice = here.value;
    let mut given = Vec::new();
    if slice.has("nodeName") {
        match slice.text("nodeName") {
            "" => {
                errors.invalid(&here.child("nodeName"), "", "must be either unset or set to a non-empty string");
            }
            name => {
                given.push("`nodeName`");
                errors.each(&here.child("nodeName"), name, names::dns1123_subdomain(name));
            }
        }
    }
    if let Some(selector) = slice.sub("nodeSelector") {
        given.push("`nodeSelector`");
        let at = here.child("nodeSelector");
        node_selector_at(selector, &at, errors);
        if selector.list("nodeSelectorTerms").len() != 1 {
            let terms = selector.sub("nodeSelectorTerms").cloned();
            errors.invalid(&at.child("nodeSelectorTerms"), terms, "must have exactly one node selector term");
        }
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match slice.flag(field) {
            Some(true) => given.push(shown),
            Some(false) => errors.invalid(&here.child(field), false, "must be either unset or set to true"),
            None => {}
        }
    }
    match given.len() {
        0 => errors.required(&here.path(), ONE),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", given.join(", "));
            errors.invalid(&here.path(), shown, format!("{ONE}, but multiple fields are set"));
        }
    }
}

pub(super) fn node_selector(here: &Here<'_, '_>, errors: &mut ErrorList) {
    node_selector_at(here.value, &here.path(), errors);
}

pub(super) fn node_selector_at(selector: &Value, at: &Path, errors: &mut ErrorList) {
    scheduling::node_selector(selector, false, at, errors);
}

pub(super) fn counters_or_devices(here: &Here<'_, '_>, errors: &mut ErrorList) {
    if here.value.has("sharedCounters") && here.value.has("devices") {
        errors.invalid(&here.path(), "", "only one of `sharedCounters` or `devices` is allowed");
    }
}

/// Whether its devices are of the larger sort, of which fewer fit into a slice.
pub(super) fn is_advanced(here: &Here<'_, '_>) -> bool {
    let lists = |device: &Value| {
        let has_list = |attribute: &Value| ["bools", "ints", "strings", "versions"].iter().any(|l| attribute.has(l));
        device.entries("attributes").any(|(_, attribute)| has_list(attribute))
    };
    let large = |device: &Value| {
        !device.list("taints").is_empty() || !device.list("consumesCounters").is_empty() || lists(device)
    };
    here.value.list("devices").iter().any(large)
}
