//! Quantities as whole numbers: what cgroups, statuses and limits count in.

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};
use machinery::quantity::Format;
use std::collections::BTreeMap;

/// A list of resources by name.
pub(crate) type List = BTreeMap<String, Quantity>;

/// In thousandths, rounded up; 0 if the text is no quantity (the API server refuses those).
pub(crate) fn milli(quantity: &Quantity) -> i64 {
    scaled(quantity, 1000)
}

/// In whole units, rounded up.
pub(crate) fn value(quantity: &Quantity) -> i64 {
    scaled(quantity, 1)
}

pub(crate) fn parse(text: &str) -> Option<machinery::quantity::Quantity> {
    text.parse().ok()
}

fn scaled(quantity: &Quantity, per_unit: i64) -> i64 {
    let Some(parsed) = parse(&quantity.0) else { return 0 };
    if per_unit == 1 { parsed.value() } else { parsed.milli_value() }
}

/// An amount of bytes as upstream prints it: `100Mi`.
pub(crate) fn bytes(value: i64) -> String {
    machinery::quantity::Quantity::new(value, Format::BinarySi).canonical()
}

fn of<'a>(list: &'a Option<List>, name: &str) -> Option<&'a Quantity> {
    list.as_ref()?.get(name)
}

pub(crate) fn request<'a>(resources: &'a Option<ResourceRequirements>, name: &str) -> Option<&'a Quantity> {
    of(&resources.as_ref()?.requests, name)
}

pub(crate) fn limit<'a>(resources: &'a Option<ResourceRequirements>, name: &str) -> Option<&'a Quantity> {
    of(&resources.as_ref()?.limits, name)
}
