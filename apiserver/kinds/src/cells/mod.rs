//! What `kubectl get` shows of each kind: small functions, one a kind, that the catalogue's rows name with their columns
//! (`pkg/printers/internalversion/printers.go`).

use jiff::Timestamp;
use machinery::json::Fields;
use machinery::meta;
use machinery::time::human_duration;
use serde_json::{Map, Value};

pub(crate) mod cluster;
pub(crate) mod core;
pub(crate) mod pod;
pub(crate) mod workloads;

/// How long ago a time was.
fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(at) => human_duration(now.duration_since(at).as_secs()),
        Err(_) => "<unknown>".into(),
    }
}

fn age(object: &Value, now: Timestamp) -> Value {
    since(meta::creation_timestamp(object), now).into()
}

fn name(object: &Value) -> Value {
    meta::name(object).into()
}

/// The text at a path, or another where there is none.
fn text_or(object: &Value, path: &str, default: &str) -> Value {
    let found = object.at(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    found.unwrap_or(default).into()
}

/// The number at a path, or 0.
fn number(object: &Value, path: &str) -> i64 {
    object.at(path).and_then(Value::as_i64).unwrap_or_default()
}

fn flag(object: &Value, path: &str, default: bool) -> Value {
    object.at(path).and_then(Value::as_bool).unwrap_or(default).into()
}

fn list_at<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    object.at(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn count(object: &Value, path: &str) -> i64 {
    let found = object.at(path);
    let length =
        found.and_then(Value::as_array).map(Vec::len).or_else(|| found.and_then(Value::as_object).map(Map::len));
    length.unwrap_or_default() as i64
}

/// Texts of a list, joined by commas.
fn joined(object: &Value, path: &str) -> String {
    list_at(object, path).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// A map of labels as `a=b,c=d`.
fn labels(object: &Value, path: &str) -> Value {
    let pairs = object.at(path).and_then(Value::as_object).into_iter().flatten();
    let text = pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",");
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// A metav1.LabelSelector as a selector's text.
fn selector(object: &Value, path: &str, nothing: &str) -> Value {
    match machinery::selector::LabelSelector::from_value(object.at(path)) {
        Ok(selector) if selector.to_string().is_empty() => nothing.into(),
        Ok(selector) => selector.to_string().into(),
        Err(_) => "<error>".into(),
    }
}

/// Names and images of a template's containers.
fn containers(object: &Value, path: &str) -> [Value; 2] {
    let all = |field: &str| list_at(object, path).iter().map(|c| c.text(field)).collect::<Vec<_>>().join(",");
    [all("name").into(), all("image").into()]
}

/// At most `max` of a list, and how many more there are.
fn some_of(list: &[String], max: usize, total: usize) -> String {
    let shown = list[..list.len().min(max)].join(",");
    if total > max && list.len() >= max { format!("{shown} + {} more...", total - max) } else { shown }
}

fn deleting(object: &Value) -> bool {
    object.sub("metadata").has("deletionTimestamp")
}

/// The condition of a type.
fn condition<'a>(object: &'a Value, path: &str, kind: &str) -> Option<&'a Value> {
    list_at(object, path).iter().find(|c| c.text("type") == kind)
}
