//! A device of a slice: its attributes, what it is tainted with, which nodes reach it, and what binding it waits for.

use api::rules::Here;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use serde_json::Value;

use super::forms;
use super::slice::node_selector_at;
use model::check::Faults;

const ENTRIES_MAX: usize = 32;
const VALUES_MAX: usize = 48;
const VALUE_MAX_BYTES: usize = 64;
const CONDITIONS_MAX: usize = 4;

const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// How much is said of it.
pub(super) fn size(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let count = |field| here.value.object(field).map_or(0, serde_json::Map::len);
    let entries = count("attributes") + count("capacity");
    if entries > ENTRIES_MAX {
        let detail = format!("the total number of attributes and capacities must not exceed {ENTRIES_MAX}");
        errors.invalid(&here.path(), entries, detail);
    }
    let values = |attribute: &Value| LISTS.iter().map(|list| attribute.list(list).len()).sum::<usize>().max(1);
    let values: usize = here.value.entries("attributes").map(|(_, attribute)| values(attribute)).sum();
    if values > VALUES_MAX {
        let detail = format!("the total number of attribute values must not exceed {VALUES_MAX}");
        errors.invalid(&here.path(), values, detail);
    }
}

/// The names of attributes and of capacities.
pub(super) fn names(here: &Here<'_, '_>, errors: &mut ErrorList) {
    for name in here.value.as_object().into_iter().flat_map(|map| map.keys()) {
        errors.extend(forms::qualified_name(&here.path(), name));
    }
}

/// One value.
pub(super) fn attribute(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let value = here.value;
    let scalars = ["bool", "int", "string", "version"].iter().filter(|field| value.has(field)).count();
    if value.has("string") {
        string(value.text("string"), &here.child("string"), errors);
    }
    if value.has("version") {
        version(value.text("version"), &here.child("version"), errors);
    }
    for list in LISTS.iter().filter(|list| value.has(list)) {
        let at = here.child(list);
        if value.list(list).is_empty() {
            errors.invalid(&at, value.sub(list).cloned(), "must not be empty if specified");
        }
        for (i, item) in value.texts(list).enumerate() {
            match *list {
                "strings" => string(item, &at.index(i), errors),
                _ => version(item, &at.index(i), errors),
            }
        }
    }
    match scalars + LISTS.iter().filter(|list| value.has(list)).count() {
        0 => errors.invalid(&here.path(), "", "exactly one value must be specified"),
        1 => {}
        _ => errors.invalid(&here.path(), value.clone(), "exactly one value must be specified"),
    }
}

fn string(text: &str, at: &Path, errors: &mut ErrorList) {
    if text.len() > VALUE_MAX_BYTES {
        errors.push(Error::too_long(at, VALUE_MAX_BYTES));
    }
}

fn version(text: &str, at: &Path, errors: &mut ErrorList) {
    if !is_semantic_version(text) {
        errors.invalid(at, text, "must be a string compatible with semver.org spec 2.0.0");
    }
    string(text, at, errors);
}

fn is_semantic_version(text: &str) -> bool {
    let numeric = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let pre = |part: &str| word(part) && (numeric(part) || part.bytes().any(|b| !b.is_ascii_digit()));
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre_release) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    core.split('.').count() == 3
        && core.split('.').all(numeric)
        && pre_release.is_none_or(|parts| parts.split('.').all(pre))
        && build.is_none_or(|parts| parts.split('.').all(word))
}

/// Whether its taints are others than before: those that stay were examined once.
pub(super) fn taints_changed(here: &Here<'_, '_>) -> bool {
    let Some(old) = here.old_root() else { return true };
    let name = here.value.text("name");
    let before = old["spec"].list("devices").iter().find(|device| device.text("name") == name);
    before.is_none_or(|before| before.list("taints") != here.value.list("taints"))
}

pub(super) fn toleration(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let value = here.value.text("value");
    match here.value.text("operator") {
        "Exists" if !value.is_empty() => {
            errors.invalid(&here.child("value"), value, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => errors.each(&here.child("value"), value, names::label_value(value)),
        "" => errors.required(&here.child("operator"), ""),
        other => errors.unsupported(&here.child("operator"), other, &["Equal", "Exists"]),
    }
}

/// The nodes that reach it, where they differ by device.
pub(super) fn nodes(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
                       `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    const NONE: &str = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to \
                        true in the ResourceSlice spec";
    let device = here.value;
    if here.around("ResourceSliceSpec").and_then(|slice| slice.flag("perDeviceNodeSelection")) != Some(true) {
        if ["nodeName", "nodeSelector", "allNodes"].iter().any(|field| device.has(field)) {
            errors.invalid(&here.path(), Value::Null, NONE);
        }
        return;
    }
    let mut given = Vec::new();
    if device.has("nodeName") {
        match device.text("nodeName") {
            "" => errors.invalid(&here.child("nodeName"), "", "must not be empty"),
            name => {
                given.push("`nodeName`");
                errors.each(&here.child("nodeName"), name, names::dns1123_subdomain(name));
            }
        }
    }
    if let Some(selector) = device.sub("nodeSelector") {
        given.push("`nodeSelector`");
        node_selector_at(selector, &here.child("nodeSelector"), errors);
    }
    match device.flag("allNodes") {
        Some(true) => given.push("`allNodes`"),
        Some(false) => errors.invalid(&here.child("allNodes"), false, "must be either unset or set to true"),
        None => {}
    }
    match given.len() {
        0 => errors.required(&here.path(), ONE),
        1 => {}
        _ => errors.invalid(&here.path(), format!("{{{}}}", given.join(", ")), ONE),
    }
}

/// Conditions that must hold before a pod is bound, and those by which it never will be.
pub(super) fn binding_conditions(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let lists = ["bindingConditions", "bindingFailureConditions"];
    for list in lists {
        let at = here.child(list);
        let given = here.value.list(list);
        if given.len() > CONDITIONS_MAX {
            errors.push(Error::too_many(&at, given.len(), CONDITIONS_MAX));
            continue;
        }
        for (i, condition) in here.value.texts(list).enumerate() {
            errors.extend(meta::validate_label_name(condition, &at.index(i)));
        }
    }
    let [conditions, failures] = lists.map(|list| here.value.texts(list).collect::<Vec<_>>());
    for (list, given) in lists.into_iter().zip([&conditions, &failures]) {
        for (i, condition) in given.iter().enumerate() {
            let at = here.child(list).index(i);
            if given[..i].contains(condition) {
                errors.duplicate(&at, *condition);
            }
            if list == lists[1] && conditions.contains(condition) {
                errors.invalid(&at, *condition, "bindingFailureConditions must not overlap with bindingConditions");
            }
        }
    }
    let shown = |list| here.value.sub(list).cloned();
    match (conditions.is_empty(), failures.is_empty()) {
        (true, false) => {
            let detail = "bindingConditions are required to use bindingFailureConditions";
            errors.invalid(&here.child(lists[0]), shown(lists[0]), detail);
        }
        (false, true) => {
            let detail = "bindingFailureConditions are required to use bindingConditions";
            errors.invalid(&here.child(lists[1]), shown(lists[1]), detail);
        }
        _ => {}
    }
}
