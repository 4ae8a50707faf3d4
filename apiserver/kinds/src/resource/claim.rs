//! What a claim asks for: requests, what they have in common, and how their devices are set up.

use api::rules::Here;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

use super::forms;
use model::check::Faults;

/// How large the parameters of a driver, or what it reports, may be.
pub(super) const RAW_MAX_BYTES: usize = 10 * 1024;

/// Exactly one device class, or a list of which the first that is there is taken.
pub(super) fn one_form(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    match (has_list(here), here.value.has("exactly")) {
        (false, false) => errors.required(&here.path(), ONE),
        (true, true) => {
            errors.invalid(&here.path(), Value::Null, format!("{ONE}, but multiple fields are set"));
        }
        _ => {}
    }
}

fn has_list(here: &Here<'_, '_>) -> bool {
    !here.value.list("firstAvailable").is_empty()
}

pub(super) fn is_list(here: &Here<'_, '_>) -> bool {
    has_list(here) && !here.value.has("exactly")
}

pub(super) fn is_exact(here: &Here<'_, '_>) -> bool {
    here.value.has("exactly") && !has_list(here)
}

/// How many devices.
pub(super) fn allocation_mode(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let count = here.value.int("count").unwrap_or(0);
    match here.value.text("allocationMode") {
        "All" if count != 0 => {
            errors.invalid(&here.child("count"), count, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count <= 0 => errors.invalid(&here.child("count"), count, "must be greater than zero"),
        "All" | "ExactCount" => {}
        other => errors.unsupported(&here.child("allocationMode"), other, &["All", "ExactCount"]),
    }
}

/// What the devices of some requests have in common, or must not.
pub(super) fn constraint(here: &Here<'_, '_>, errors: &mut ErrorList) {
    for field in ["matchAttribute", "distinctAttribute"] {
        if let Some(name) = here.value.sub(field).and_then(Value::as_str) {
            return errors.extend(forms::fully_qualified_name(&here.child(field), name));
        }
    }
    // The words are upstream's.
    let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
    errors.required(&here.path(), detail);
}

/// The name of a request of the claim, or of one and a request in its list.
pub(super) fn request_reference(here: &Here<'_, '_>, errors: &mut ErrorList) {
    const DETAIL: &str =
        "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let name = here.value.as_str().unwrap_or_default();
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 {
        return errors.invalid(&here.path(), name, DETAIL);
    }
    for part in &parts {
        errors.each(&here.path(), part, names::dns1123_label(part));
    }
    let claim = here.around("DeviceClaim").unwrap_or(&here.root()["spec"]["devices"]);
    let named = |list: &'_ [Value], name: &str| list.iter().any(|request| request.text("name") == name);
    // Of several requests of one name upstream knows the last.
    let request = claim.list("requests").iter().rfind(|request| request.text("name") == parts[0]);
    let known =
        request.is_some_and(|request| parts.get(1).is_none_or(|sub| named(request.list("firstAvailable"), sub)));
    if !known {
        errors.invalid(&here.path(), name, DETAIL);
    }
}

/// What a driver is told. Those of a class that did not change may be larger than new ones.
pub(super) fn parameters(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let config = |class: &Value| class["spec"].sub("config").cloned();
    let class = here.around("DeviceClassSpec").is_some();
    let stored = class && here.old_root().is_some_and(|old| config(old) == config(here.root()));
    raw(here.value, stored, &here.path(), errors);
}

/// An object of JSON that nobody but its driver reads.
pub(super) fn raw(value: &Value, any_size: bool, at: &Path, errors: &mut ErrorList) {
    if value.is_null() {
        errors.required(at, "");
    } else if !any_size && value.to_string().len() > RAW_MAX_BYTES {
        errors.push(Error::too_long(at, RAW_MAX_BYTES));
    } else if !value.is_object() {
        errors.invalid(at, "<value omitted>", "must be a valid JSON object");
    }
}
