//! What a claim was given, who uses it, and what drivers say of the devices.

use api::rules::{self, Here};
use api::schema;
use machinery::field::{Error, ErrorList};
use machinery::json::Fields;
use machinery::meta;
use serde_json::Value;

use super::claim::raw;
use crate::conditions;
use model::check::Faults;

const CONDITIONS_MAX: usize = 8;

/// By what a device is known, also a share of one.
pub(super) fn device_id(device: &Value) -> [&str; 4] {
    ["driver", "pool", "device", "shareID"].map(|field| device.text(field))
}

/// As upstream's JSON has it: the fields of the key are not public.
fn shown() -> Value {
    serde_json::json!({"Device": {}, "Driver": {}, "Pool": {}, "ShareID": {}})
}

/// Each device once.
pub(super) fn devices_once(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let devices = here.value.list("devices");
    for (i, device) in devices.iter().enumerate() {
        if devices[..i].iter().any(|earlier| device_id(earlier) == device_id(device)) {
            errors.duplicate(&here.child("devices").index(i), shown());
        }
    }
}

/// A device that the claim was given.
pub(super) fn is_allocated_device(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let results = here.root()["status"].sub("allocation").sub("devices").list("results");
    if !results.iter().any(|result| device_id(result) == device_id(here.value)) {
        errors.invalid(&here.path(), shown(), "must be an allocated device in the claim");
    }
}

/// Who uses it: nobody before there is something to use, and nobody new when it is to go.
pub(super) fn reservations(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let reserved = here.value.list("reservedFor");
    if reserved.is_empty() {
        return;
    }
    let at = here.child("reservedFor");
    if !here.value.has("allocation") {
        return errors.forbidden(&at, "may not be specified when `allocated` is not set");
    }
    let before = here.old.list("reservedFor");
    let ends = meta::metadata(here.root()).is_some_and(|m| m.get("deletionTimestamp").is_some_and(|t| !t.is_null()));
    if ends && reserved.iter().any(|consumer| !before.contains(consumer)) {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.forbidden(&at, detail);
    }
}

/// What it was given stays until it is given back.
pub(super) fn allocation_stays(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let Some(old) = here.old.filter(|old| old.has("allocation") && here.value.has("allocation")) else { return };
    let ty = schema::named("resource.v1", "ResourceClaimStatus").expect("the table has claims");
    errors.extend(rules::immutable(ty, "allocation", here.value, old, &here.child("allocation")));
}

pub(super) fn is_allocated_now(here: &Here<'_, '_>) -> bool {
    here.value.has("allocation") && !here.old.has("allocation")
}

pub(super) fn conditions(here: &Here<'_, '_>, errors: &mut ErrorList) {
    let list = here.value.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.len() > CONDITIONS_MAX {
        errors.push(Error::too_many(&here.path(), list.len(), CONDITIONS_MAX));
    }
    errors.extend(conditions::validate(list, &here.path()));
}

/// What the driver says beside that.
pub(super) fn data(here: &Here<'_, '_>, errors: &mut ErrorList) {
    raw(here.value, false, &here.path(), errors);
}
