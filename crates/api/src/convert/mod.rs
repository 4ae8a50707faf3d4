//! Conversion between the versions of a built-in kind.
//!
//! Only kinds of one store with several shapes are here: HorizontalPodAutoscaler (v1 and v2), Event (core and
//! events.k8s.io), CustomResourceDefinition (v1, and v1beta1 in upstream's stores). Pure functions on values; an object of the target version comes out with defaults applied by neither.

use machinery::gvk::GroupVersionKind;
use serde_json::{Map, Value};

mod autoscaler;
mod definition;
mod event;
#[cfg(test)]
mod tests;

const DEFINITIONS: &str = "apiextensions.k8s.io";

type Convert = fn(&mut Map<String, Value>);

/// Whether an object has to be converted, and can be.
pub fn needed(from: &GroupVersionKind, to: &GroupVersionKind) -> bool {
    between(from, to).is_some()
}

/// The object as one of `to`. Between kinds that no conversion is known for, the object is returned as it is.
pub fn convert(object: &Value, from: &GroupVersionKind, to: &GroupVersionKind) -> Value {
    let mut converted = object.clone();
    if let (Some(convert), Value::Object(map)) = (between(from, to), &mut converted) {
        convert(map);
        let api_version = if to.group.is_empty() { to.version.clone() } else { format!("{}/{}", to.group, to.version) };
        map.insert("apiVersion".into(), Value::String(api_version));
        map.insert("kind".into(), Value::String(to.kind.clone()));
    }
    converted
}

fn between(from: &GroupVersionKind, to: &GroupVersionKind) -> Option<Convert> {
    let key = |gvk: &GroupVersionKind| (gvk.group.clone(), gvk.version.clone());
    let (a, b) = (key(from), key(to));
    let is = |x: &(String, String), group: &str, version: &str| x.0 == group && x.1 == version;
    match (from.kind.as_str(), to.kind.as_str()) {
        ("HorizontalPodAutoscaler", "HorizontalPodAutoscaler") if a.0 == "autoscaling" && b.0 == "autoscaling" => {
            match (a.1.as_str(), b.1.as_str()) {
                ("v1", "v2") => Some(autoscaler::v1_to_v2),
                ("v2", "v1") => Some(autoscaler::v2_to_v1),
                _ => None,
            }
        }
        ("CustomResourceDefinition", "CustomResourceDefinition") if a.0 == DEFINITIONS && b.0 == DEFINITIONS => {
            match (a.1.as_str(), b.1.as_str()) {
                ("v1beta1", "v1") => Some(definition::v1beta1_to_v1),
                ("v1", "v1beta1") => Some(definition::v1_to_v1beta1),
                _ => None,
            }
        }
        ("Event", "Event") if is(&a, "", "v1") && is(&b, "events.k8s.io", "v1") => Some(event::core_to_events),
        ("Event", "Event") if is(&a, "events.k8s.io", "v1") && is(&b, "", "v1") => Some(event::events_to_core),
        _ => None,
    }
}

fn rename(map: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.insert(to.to_owned(), value);
    }
}
