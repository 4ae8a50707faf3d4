//! Objects that the typed structs can't hold must not make an informer deaf.
//!
//! Go's decoder gives zero values for what is `null` or absent; the typed structs refuse some of it, such as a
//! condition without `lastTransitionTime`, which anybody who may write a status can make. Such an object is read again
//! with Go's zero in its place; one that still can't be read is skipped, by name, and the others go on. Only objects
//! that fail pay for this.
//!
//! Nobody who watches wants `metadata.managedFields`, and reading them into their structs takes longer than reading all of a
//! pod's spec: they are cut out of the text.

use std::borrow::Cow;

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

impl<K: DeserializeOwned> Decoded<K> {
    /// The error is of a text that no JSON reader takes.
    pub(crate) fn read(text: &RawValue) -> serde_json::Result<Self> {
        if let Ok(object) = serde_json::from_str(&without_managed_fields(text.get())) {
            return Ok(Self::Object(object));
        }
        let mut value: Value = serde_json::from_str(text.get())?;
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

impl<'de, K: DeserializeOwned> Deserialize<'de> for Decoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&Box::<RawValue>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The text of an object without its `metadata.managedFields`; the same text where that is not as servers write it.
fn without_managed_fields(text: &str) -> Cow<'_, str> {
    let cut = || {
        let bytes = text.as_bytes();
        let (_, metadata) = member(bytes, 0, "metadata")?;
        let (begin, value) = member(bytes, metadata, "managedFields")?;
        let end = value_end(bytes, value)?;
        // With the comma behind it, or, of the last member, the one before.
        match (bytes.get(end)?, bytes[begin - 1]) {
            (b',', _) => Some((begin, end + 1)),
            (b'}', b',') => Some((begin - 1, end)),
            (b'}', b'{') => Some((begin, end)),
            _ => None,
        }
    };
    match cut() {
        Some((begin, end)) => Cow::Owned([&text[..begin], &text[end..]].concat()),
        None => Cow::Borrowed(text),
    }
}

/// Where a member of the object at `open` begins, and where its value does. Nothing where there is white space.
fn member(bytes: &[u8], open: usize, wanted: &str) -> Option<(usize, usize)> {
    let mut at = bytes.get(open).filter(|b| **b == b'{').map(|_| open + 1)?;
    loop {
        let key_end = string_end(bytes, at)?;
        let value = bytes.get(key_end).filter(|b| **b == b':').map(|_| key_end + 1)?;
        if &bytes[at + 1..key_end - 1] == wanted.as_bytes() {
            return Some((at, value));
        }
        let end = value_end(bytes, value)?;
        at = bytes.get(end).filter(|b| **b == b',').map(|_| end + 1)?;
    }
}

/// The end of the value that begins at `at`.
fn value_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match bytes.get(at)? {
            b'"' => at = string_end(bytes, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ => {
                at += bytes[at..]
                    .iter()
                    .position(|b| matches!(b, b',' | b'}' | b']' | b'{' | b'[' | b'"'))
                    .filter(|n| *n > 0)?
            }
        }
        if depth == 0 {
            return Some(at);
        }
        if bytes.get(at) == Some(&b',') {
            at += 1;
        }
    }
}

/// The end of the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = bytes.get(at).filter(|b| **b == b'"').map(|_| at + 1)?;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
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
    fn managed_fields_are_cut_out_and_nothing_else_is() {
        let fields =
            r#"[{"manager":"m","fieldsV1":{"f:spec":{"k:{\"port\":80}":{".":{}}}},"n":[1,-2.5e3,true,null,[],{}]}]"#;
        for (before, after) in [
            (
                format!(r#"{{"kind":"A","metadata":{{"name":"a","managedFields":{fields}}},"spec":{{}}}}"#),
                Some(r#"{"kind":"A","metadata":{"name":"a"},"spec":{}}"#),
            ),
            (
                format!(r#"{{"metadata":{{"managedFields":{fields},"name":"a"}}}}"#),
                Some(r#"{"metadata":{"name":"a"}}"#),
            ),
            (format!(r#"{{"metadata":{{"managedFields":{fields}}}}}"#), Some(r#"{"metadata":{}}"#)),
            (
                format!(
                    r#"{{"metadata":{{"annotations":{{"a":"\\","managedFields":"\"}}"}},"managedFields":{fields}}}}}"#
                ),
                Some(r#"{"metadata":{"annotations":{"a":"\\","managedFields":"\"}"}}}"#),
            ),
            (format!(r#"{{"metadata":{{"name":"a"}},"spec":{{"metadata":{{"managedFields":{fields}}}}}}}"#), None),
            (format!(r#"{{"metadata": {{"managedFields":{fields}}}}}"#), None),
            (r#"{"metadata":null}"#.to_owned(), None),
            (r#"{"metadata":{"managedFields":["#.to_owned(), None),
        ] {
            assert_eq!(without_managed_fields(&before), after.unwrap_or(&before), "{before}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_told_by_name() {
        let text = r#"{"metadata":{"name":"a","namespace":"b","resourceVersion":"7"},"spec":{"ports":[{"port":"x"}]}}"#;
        let Decoded::Unreadable(unreadable) = event(text) else { panic!("read") };
        assert_eq!((unreadable.name.as_str(), unreadable.resource_version.as_deref()), ("b/a", Some("7")));
    }
}
