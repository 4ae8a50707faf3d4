//! Objects that the typed structs can't hold must not make an informer deaf.
//!
//! Go's decoder gives zero values for what is `null` or absent; the typed structs refuse some of it, such as a
//! condition without `lastTransitionTime`, which anybody who may write a status can make. Such an object is read again
//! with Go's zero in its place; one that still can't be read is skipped, by name, and the others go on. Only objects
//! that fail pay for this.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

/// What Go writes for a time that was never set.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// An object, or why it can't be read.
#[derive(Clone, Debug)]
pub(crate) enum Decoded<K> {
    Object(K),
    Unreadable(Unreadable),
}

/// What is known of an object that can't be read.
#[derive(Clone, Debug)]
pub(crate) struct Unreadable {
    pub(crate) name: String,
    pub(crate) resource_version: Option<String>,
    pub(crate) error: String,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Decoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        if let Ok(object) = serde_json::from_str(text.get()) {
            return Ok(Self::Object(object));
        }
        let mut value: Value = serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
        repair(&mut value);
        Ok(match K::deserialize(&value) {
            Ok(object) => Self::Object(object),
            Err(error) => {
                let text = |key: &str| value["metadata"][key].as_str().unwrap_or_default().to_owned();
                let name = format!("{}/{}", text("namespace"), text("name"));
                let resource_version = Some(text("resourceVersion")).filter(|version| !version.is_empty());
                Self::Unreadable(Unreadable { name, resource_version, error: error.to_string() })
            }
        })
    }
}

/// Gives every condition a time.
fn repair(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(repair),
        Value::Object(map) => {
            if let Some(Value::Array(conditions)) = map.get_mut("conditions") {
                for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
                    let time = condition.entry("lastTransitionTime").or_insert(Value::Null);
                    if time.is_null() {
                        *time = ZERO_TIME.into();
                    }
                }
            }
            map.values_mut().for_each(repair);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use kube::api::WatchEvent;

    fn event(object: &str) -> Decoded<Service> {
        match serde_json::from_str(&format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}")).unwrap() {
            WatchEvent::Modified(decoded) => decoded,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_condition_without_a_time_is_read_as_go_reads_it() {
        let text = r#"{"metadata":{"name":"a"},"status":{"conditions":[{"type":"T","status":"True",
            "lastTransitionTime":null,"reason":"R","message":""}]}}"#;
        let Decoded::Object(service) = event(text) else { panic!("not read") };
        assert_eq!(service.status.unwrap().conditions.unwrap()[0].last_transition_time.0.as_second(), -62_135_596_800);
    }

    #[test]
    fn what_can_not_be_read_is_told_by_name() {
        let text = r#"{"metadata":{"name":"a","namespace":"b","resourceVersion":"7"},"spec":{"ports":[{"port":"x"}]}}"#;
        let Decoded::Unreadable(unreadable) = event(text) else { panic!("read") };
        assert_eq!((unreadable.name.as_str(), unreadable.resource_version.as_deref()), ("b/a", Some("7")));
    }
}
