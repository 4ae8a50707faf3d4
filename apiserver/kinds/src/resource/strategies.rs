//! What the kinds of devices decide beside their rules.

use machinery::field::ErrorList;
use machinery::json::Fields;
use serde_json::Value;

use super::{admin, status};
use crate::rules;
use writes::strategy::{Strategy, WriteContext};

/// ResourceClaims.
pub struct Claims;
/// ResourceClaimTemplates.
pub struct Templates;

impl Strategy for Claims {
    fn prepare_for_update(&self, cx: &WriteContext<'_>, claim: &mut Value, old: &Value) {
        if cx.subresource == Some("status") {
            drop_of_deallocated(claim, old);
        }
    }

    fn validate(&self, cx: &WriteContext<'_>, claim: &Value) -> ErrorList {
        [admin::of_requests(cx, &claim["spec"]), rules::object(cx.resource, claim, None)].concat()
    }

    fn validate_update(&self, cx: &WriteContext<'_>, claim: &Value, old: &Value) -> ErrorList {
        match cx.subresource {
            Some("status") => {
                [admin::of_results(cx, claim, old), rules::field(cx.resource, "status", claim, Some(old))].concat()
            }
            Some(_) => ErrorList::new(),
            // As the spec does not change, nobody can mend it.
            None => rules::change(cx.resource, claim, old),
        }
    }
}

/// What is said of devices that the claim no longer has: upstream saves older clients from cleaning that up.
fn drop_of_deallocated(claim: &mut Value, old: &Value) {
    let given = |claim: &Value| -> Vec<[String; 4]> {
        let results = claim["status"].sub("allocation").sub("devices").list("results");
        results.iter().map(|result| status::device_id(result).map(str::to_owned)).collect()
    };
    let (now, before) = (given(claim), given(old));
    let Some(status) = claim.get_mut("status").and_then(Value::as_object_mut) else { return };
    let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) else { return };
    devices.retain(|device| {
        let id = status::device_id(device).map(str::to_owned);
        now.contains(&id) || !before.contains(&id)
    });
    if devices.is_empty() {
        status.remove("devices");
    }
}

impl Strategy for Templates {
    fn validate(&self, cx: &WriteContext<'_>, template: &Value) -> ErrorList {
        [admin::of_requests(cx, &template["spec"]["spec"]), rules::object(cx.resource, template, None)].concat()
    }

    fn validate_update(&self, cx: &WriteContext<'_>, template: &Value, old: &Value) -> ErrorList {
        [rules::object(cx.resource, template, Some(old)), rules::change(cx.resource, template, old)].concat()
    }
}

/// Fields of a slice whose features are not enabled, unless it had one such before.
pub fn prepare_slice(slice: &mut Value, old: Option<&Value>) {
    const MAPPINGS: &str = "nodeAllocatableResourceMappings";
    const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];
    let devices = |slice: &Value| slice["spec"].list("devices").to_vec();
    let old = old.map(devices).unwrap_or_default();
    let lists = |device: &Value| {
        device.entries("attributes").any(|(_, attribute)| LISTS.iter().any(|list| attribute.has(list)))
    };
    let (had_mappings, had_lists) = (old.iter().any(|device| device.has(MAPPINGS)), old.iter().any(lists));
    let devices = slice.pointer_mut("/spec/devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten().filter_map(Value::as_object_mut) {
        if !had_mappings {
            device.remove(MAPPINGS);
        }
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
        for attribute in attributes.into_iter().flat_map(|map| map.values_mut()).filter_map(Value::as_object_mut) {
            if !had_lists {
                attribute.retain(|field, _| !LISTS.contains(&field.as_str()));
            }
        }
    }
}

/// Drivers' names are better in lower case.
pub fn slice_warnings(slice: &Value, _: Option<&Value>) -> Vec<String> {
    let driver = slice["spec"].text("driver");
    let capitals = driver.chars().any(char::is_uppercase);
    let warning = || format!("spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters");
    capitals.then(warning).into_iter().collect()
}
