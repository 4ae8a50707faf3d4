//! What relates several fields, or the items of a list, of the kinds of storage.

use std::collections::BTreeSet;

use api::internal;
use api::rules::{self, Here};
use api::schema;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use serde_json::Value;

use crate::core::node_labels;
use crate::core::volume::inline;
use crate::rules::drop_disabled;
use model::check::Faults;

const PARAMETERS_MAX: usize = 512;
const SIZE_MAX_BYTES: usize = 256 << 10;

fn size_bytes(map: &Value) -> usize {
    let of = |value: &Value| value.as_str().unwrap_or_default().len();
    map.as_object().into_iter().flatten().map(|(key, value)| key.len() + of(value)).sum()
}

/// What a class tells its driver.
pub(super) fn parameters(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let count = here.value.as_object().map_or(0, |map| map.len());
    if count > PARAMETERS_MAX {
        return errors.push(Error::too_long(&here.path(), PARAMETERS_MAX));
    }
    if here.value.get("").is_some() {
        errors.invalid(&here.path(), "", "field can not be empty.");
    }
    if size_bytes(here.value) > SIZE_MAX_BYTES {
        errors.push(Error::too_long(&here.path(), SIZE_MAX_BYTES));
    }
}

/// Terms of topology: keys once a term, values once a key, and no term twice.
pub(super) fn topologies(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let mut earlier: Vec<Vec<(&str, BTreeSet<&str>)>> = Vec::new();
    for (i, term) in here.value.as_array().into_iter().flatten().enumerate() {
        let at = here.path().index(i).child("matchLabelExpressions");
        let mut keys: Vec<(&str, BTreeSet<&str>)> = Vec::new();
        for (j, expression) in term.list("matchLabelExpressions").iter().enumerate() {
            let at = at.index(j);
            let mut values = BTreeSet::new();
            if expression.list("values").is_empty() {
                errors.required(&at.child("values"), "");
            }
            for (k, value) in expression.texts("values").enumerate() {
                if !values.insert(value) {
                    errors.duplicate(&at.child("values").index(k), value);
                }
            }
            let key = expression.text("key");
            errors.extend(meta::validate_label_name(key, &at.child("key")));
            match keys.iter_mut().find(|(other, _)| *other == key) {
                Some((_, before)) => {
                    errors.duplicate(&at.child("key"), key);
                    *before = values;
                }
                None => keys.push((key, values)),
            }
        }
        keys.sort();
        // An empty term is equal to the empty ones that upstream's list begins with.
        let same = if keys.is_empty() { here.value.as_array().map_or(0, Vec::len) } else { 0 };
        for _ in 0..same + earlier.iter().filter(|other| **other == keys).count() {
            errors.duplicate(&at, "");
        }
        earlier.push(keys);
    }
}

/// The nodes of a capacity. Values that were invalid may stay so.
pub(super) fn node_topology(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let nil = Path::nil();
    let lenient = here.old.is_some_and(|old| !meta::validate_label_selector(Some(old), false, &nil).is_empty());
    errors.extend(meta::validate_label_selector(Some(here.value), lenient, &here.path()));
}

/// The keys by which a driver tells nodes apart; upstream notes their faults at the driver.
pub(super) fn topology_keys(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let at = here.parent_path();
    let mut seen = BTreeSet::new();
    for key in here.value.as_array().into_iter().flatten().filter_map(Value::as_str) {
        if key.is_empty() {
            errors.required(&at, "");
        }
        if !seen.insert(key) {
            errors.duplicate(&at, key);
        }
        errors.each(&at, key, names::qualified_name(key));
    }
}

/// A driver's entry on a node changes in how many volumes it takes alone.
pub(super) fn drivers_stay(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let ty = schema::named("storage.v1", "CSINodeDriver").expect("the table has drivers");
    let drivers = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        driver.as_object_mut().map(|fields| fields.remove("allocatable"));
        driver
    };
    let new = drivers(Some(here.value));
    for before in drivers(here.old) {
        for driver in new.iter().filter(|driver| driver.text("name") == before.text("name")) {
            let driver = fixed(driver);
            if !rules::equal(ty, &driver, &fixed(&before)) {
                let shown = internal::show(&driver, ty);
                errors.push(Error::invalid(&here.path(), Value::Null, "field is immutable").printed(&shown));
            }
        }
    }
}

/// Upstream names the field otherwise than it is called.
const ATTACH_REQUIRED: &str = "attachedRequired";

pub(super) fn attach_required(here: &Here<'_, '_>, errors: &mut ErrorList) {
    if !here.value.has("attachRequired") {
        errors.required(&here.child(ATTACH_REQUIRED), "");
    }
}

pub(super) fn attach_required_stays(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let (new, old) = (here.value.sub("attachRequired"), here.old.sub("attachRequired"));
    errors.extend(meta::validate_immutable(new, old, &here.child(ATTACH_REQUIRED)));
}

pub(super) fn token_requests(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let mut audiences = BTreeSet::new();
    for (i, request) in here.value.as_array().into_iter().flatten().enumerate() {
        let at = here.path().index(i);
        let audience = request.text("audience");
        if !audiences.insert(audience) {
            errors.duplicate(&at.child("audience"), audience);
            continue;
        }
        let Some(seconds) = request.int("expirationSeconds") else { continue };
        let at = at.child("expirationSeconds");
        if seconds < 600 {
            errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > 1 << 32 {
            errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

pub(super) fn lifecycle_modes(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const MODES: [&str; 2] = ["Persistent", "Ephemeral"];
    for mode in here.value.as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !MODES.contains(&mode) {
            errors.unsupported(&here.path(), mode, &MODES);
        }
    }
}

pub(super) fn update_period(here: &Here<'_, '_>, errors: &mut ErrorList) {
    if let Some(seconds) = here.value.as_i64().filter(|seconds| *seconds < 10) {
        errors.invalid(&here.path(), seconds, "must be greater than or equal to 10 seconds");
    }
}

pub(super) fn tokens_in_secrets(here: &Here<'_, '_>, errors: &mut ErrorList) {
    if let Some(set) = here.value.flag("serviceAccountTokenInSecrets")
        && here.value.list("tokenRequests").is_empty()
    {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.invalid(&here.child("serviceAccountTokenInSecrets"), set, detail);
    }
}

/// What is attached: a volume by its name, or one that is described here.
pub(super) fn attachment_source(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (here.value.sub("inlineVolumeSpec"), here.value.sub("persistentVolumeName")) {
        (None, None) => errors.required(&here.path(), ONE),
        (Some(_), Some(_)) => errors.forbidden(&here.path(), ONE),
        (None, Some(_)) if here.value.text("persistentVolumeName").is_empty() => {
            errors.required(&here.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        (None, Some(_)) => {}
        (Some(_), None) => inline(&here.at("inlineVolumeSpec"), errors),
    }
}

pub(super) fn attached_volume_name(here: &Here<'_, '_>, errors: &mut ErrorList) {
    if let Some(name) = here.value["spec"].sub("source").sub("persistentVolumeName").and_then(Value::as_str) {
        errors.each(&Path::new("spec.source.persistentVolumeName"), name, names::dns1123_subdomain(name));
    }
}

pub(super) fn attachment_metadata(here: &Here<'_, '_>, errors: &mut ErrorList) {
    if size_bytes(here.value) > SIZE_MAX_BYTES {
        errors.push(Error::too_long(&here.path(), SIZE_MAX_BYTES));
    }
}

/// Upstream's message names the limit of the metadata.
pub(super) fn error_message(here: &Here<'_, '_>, errors: &mut ErrorList) {
    if here.value.as_str().unwrap_or_default().len() > 1024 {
        errors.push(Error::too_long(&here.path(), SIZE_MAX_BYTES));
    }
}

/// Labels of nodes that a class should name no more.
pub fn class_warnings(class: &Value, _: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    for (i, term) in class.list("allowedTopologies").iter().enumerate() {
        let at = Path::new("allowedTopologies").index(i).child("matchLabelExpressions");
        for (j, expression) in term.list("matchLabelExpressions").iter().enumerate() {
            let advice = node_labels::deprecated(expression.text("key"));
            out.extend(advice.map(|advice| format!("{}: {advice}", at.index(j).child("key"))));
        }
    }
    out
}

/// Labels of nodes that a capacity should name no more.
pub fn capacity_warnings(capacity: &Value, _: Option<&Value>) -> Vec<String> {
    node_labels::of_selector(capacity.sub("nodeTopology"), &Path::new("nodeTopology"))
}

/// Fields whose features are not enabled.
pub fn prepare_driver(driver: &mut Value, old: Option<&Value>) {
    drop_disabled(driver, old, "/spec/preventPodSchedulingIfMissing");
}

/// Tokens are better kept out of what a driver logs.
pub fn driver_warnings(driver: &Value, old: Option<&Value>) -> Vec<String> {
    const ADVICE: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to \
                          prevent possible logging of tokens in volume attributes";
    let requests = driver["spec"].list("tokenRequests");
    let changed = old.is_none_or(|old| old["spec"].list("tokenRequests") != requests);
    let advised = !requests.is_empty() && changed && !driver["spec"].has("serviceAccountTokenInSecrets");
    advised.then(|| ADVICE.to_owned()).into_iter().collect()
}
