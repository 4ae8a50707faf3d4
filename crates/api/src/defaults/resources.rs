//! resource.k8s.io/v1, and amounts of resources everywhere.

use jiff::Timestamp;
use machinery::json::Fields;
use machinery::quantity::Quantity;
use serde_json::{Map, Value};

use super::{Row, empty, or, or_zero};

pub(super) const RULES: &[Row] = &[
    ("resource.v1", "ExactDeviceRequest", device_request),
    ("resource.v1", "DeviceSubRequest", device_request),
    ("resource.v1", "Device", device),
    ("resource.v1", "DeviceTaint", device_taint),
];

fn device_request(request: &mut Map<String, Value>) {
    or_zero(request, "allocationMode", "ExactCount");
    if request.text("allocationMode") == "ExactCount" && empty(request, "count") {
        request.insert("count".into(), 1.into());
    }
}

fn device(device: &mut Map<String, Value>) {
    if let Some(mappings) = device.get_mut("nodeAllocatableResourceMappings").and_then(Value::as_object_mut) {
        for mapping in mappings.values_mut().filter_map(Value::as_object_mut) {
            or(mapping, "allocationMultiplier", "1");
        }
    }
}

/// A stay that is tolerated for some time is counted from when the server was told of the taint.
fn device_taint(taint: &mut Map<String, Value>) {
    if empty(taint, "timeAdded") {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        taint.insert("timeAdded".into(), now.into());
    }
}

/// Amounts finer than a thousandth are rounded up, as upstream does to stay compatible with its first versions.
pub(super) fn round_up_to_milli(amount: &mut Value) {
    if let Value::String(text) = amount
        && (text.ends_with('n') || text.ends_with('u'))
        && let Ok(quantity) = text.parse::<Quantity>()
        && let Ok(rounded) = format!("{}m", quantity.milli_value()).parse::<Quantity>()
    {
        *text = rounded.canonical();
    }
}
