//! The metrics of an autoscaler: each has a type, the source that the type names and no other, and a target in a unit that
//! fits.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

use super::{Versions, reference};
use crate::core::pod::validation::resources::container_resource_name;
use model::check::Faults;

/// The types, as upstream sorts them.
const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

/// The fields of the sources with the types that name them, in the order in which upstream looks at them.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];

pub(super) fn validate(metrics: &[Value], min: Option<i64>, versions: Versions, at: &Path, errors: &mut ErrorList) {
    for (i, metric) in metrics.iter().enumerate() {
        one(metric, versions, &at.index(i), errors);
    }
    let from_zero = |metric: &Value| matches!(metric.text("type"), "Object" | "External");
    if min == Some(0) && !metrics.iter().any(from_zero) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(at, detail);
    }
}

fn one(metric: &Value, versions: Versions, at: &Path, errors: &mut ErrorList) {
    let kind = metric.text("type");
    if kind.is_empty() {
        errors.required(&at.child("type"), "must specify a metric source type");
    }
    if !TYPES.contains(&kind) {
        errors.unsupported(&at.child("type"), kind, &TYPES);
    }
    let mut present = SOURCES.iter().filter_map(|(field, _)| Some((*field, metric.sub(field)?)));
    let first = present.next();
    if let Some((field, source)) = first {
        self::source(field, source, versions, &at.child(field), errors);
    }
    let others: Vec<&str> = present.map(|(field, _)| field).collect();
    let wanted = SOURCES.iter().find(|(_, named)| *named == kind).map(|(field, _)| *field);
    match wanted {
        Some(field) if !metric.has(field) => {
            errors.required(&at.child(field), "must populate information for the given metric source");
        }
        Some(_) => {}
        None => errors.unsupported(&at.child("type"), kind, &TYPES),
    }
    if !others.is_empty() {
        let all = first.map(|(field, _)| field).into_iter().chain(others);
        for field in all.filter(|field| Some(*field) != wanted) {
            errors.forbidden(&at.child(field), "must populate the given metric source only");
        }
    }
}

fn source(field: &str, source: &Value, versions: Versions, at: &Path, errors: &mut ErrorList) {
    match field {
        "object" => {
            reference(source.sub("describedObject"), versions, &at.child("describedObject"), errors);
            identifier(source.sub("metric"), &at.child("metric"), errors);
        }
        "external" | "pods" => identifier(source.sub("metric"), &at.child("metric"), errors),
        _ => resource(field, source, at, errors),
    }
    let target = source.sub("target");
    let at = at.child("target");
    self::target(target, &at, errors);
    let given = |unit: &str| target.has(unit);
    let (average, utilization) = (at.child("averageValue"), at.child("averageUtilization"));
    match field {
        "object" if !given("value") && !given("averageValue") => {
            errors.required(&average, "must set either a target value or averageValue");
        }
        "external" if !given("value") && !given("averageValue") => {
            errors.required(&average, "must set either a target value for metric or a per-pod target");
        }
        "external" if given("value") && given("averageValue") => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(&at.child("value"), detail);
        }
        "pods" if !given("averageValue") => errors.required(&average, "must specify a positive target averageValue"),
        "resource" | "containerResource" if !given("averageUtilization") && !given("averageValue") => {
            errors.required(&utilization, "must set either a target raw value or a target utilization");
        }
        "resource" | "containerResource" if given("averageUtilization") && given("averageValue") => {
            errors.forbidden(&average, "may not set both a target raw value and a target utilization");
        }
        _ => {}
    }
}

fn resource(field: &str, source: &Value, at: &Path, errors: &mut ErrorList) {
    let name = source.text("name");
    if name.is_empty() {
        errors.required(&at.child("name"), "must specify a resource name");
    }
    if field == "resource" {
        return;
    }
    if !name.is_empty() {
        container_resource_name(name, &at.child("name"), errors);
    }
    let (container, at) = (source.text("container"), at.child("container"));
    if container.is_empty() {
        errors.required(&at, "must specify a container");
    } else {
        errors.each(&at, container, names::dns1123_label(container));
    }
}

fn target(target: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    let kind = target.text("type");
    if kind.is_empty() {
        errors.required(&at.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(&at.child("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        if let Some(amount) = target.quantity(field).filter(|amount| amount.sign() <= 0) {
            errors.invalid(&at.child(field), amount.to_string(), "must be positive");
        }
    }
    if let Some(percent) = target.int("averageUtilization").filter(|percent| *percent < 1) {
        errors.invalid(&at.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn identifier(metric: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    let (name, at) = (metric.text("name"), at.child("name"));
    if name.is_empty() {
        errors.required(&at, "must specify a metric name");
    } else {
        errors.each(&at, name, names::path_segment(name));
    }
}
