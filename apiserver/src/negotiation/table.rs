//! Tables: what `kubectl get` prints, made on the server. Columns are data ([`columns`]), cells are small functions a kind
//! (`pkg/printers/internalversion/printers.go`), and a resource gets both by one line.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::extensions;
use crate::registry::catalogue::Resource;

mod cluster;
mod columns;
mod core;
mod pod;
#[cfg(test)]
mod tests;
mod workloads;

/// The cells of one object, one for each column.
type Cells = fn(&Value, Timestamp) -> Vec<Value>;

/// A `meta.k8s.io/v1` Table of objects in the row's version. `include` is `None`, `Metadata` or `Object`: what each row
/// carries beside its cells. `metadata` is the list's.
pub fn render(row: &Resource, objects: &[Value], metadata: Value, include: &str, now: Timestamp) -> Value {
    if let Some(custom) = row.types.custom() {
        let row = |object: &Value| json!({"cells": extensions::columns::cells(&custom.columns, object, now), "object": carried(object, include)});
        return table(metadata, extensions::columns::definitions(&custom.columns), objects.iter().map(row).collect());
    }
    let (columns, cells) = columns::of(row);
    let shown = columns::shown_kind(row);
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let converted = (shown != row.kind()).then(|| api::convert::convert(object, &row.kind(), &shown));
            let seen = converted.as_ref().unwrap_or(object);
            let mut out = json!({"cells": cells(seen, now), "object": carried(object, include)});
            if let Some(condition) = pod::condition(row, seen) {
                out["conditions"] = json!([condition]);
            }
            out
        })
        .collect();
    table(metadata, columns::definitions(columns), rows)
}

fn table(metadata: Value, columns: Value, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn carried(object: &Value, include: &str) -> Value {
    match include {
        "None" => Value::Null,
        "Object" => object.clone(),
        _ => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}),
    }
}

/// Upstream's `duration.HumanDuration`: two units at most, the finer one only while it matters.
pub(crate) fn human_duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        s if s < -1 => "<invalid>".into(),
        s if s < 0 => "0s".into(),
        s if s < 120 => format!("{s}s"),
        s if s < 600 => pair(minutes, "m", s % 60, "s"),
        s if s < 10_800 => format!("{minutes}m"),
        s if s < 28_800 => pair(hours, "h", minutes % 60, "m"),
        s if s < 172_800 => format!("{hours}h"),
        s if s < 691_200 => pair(days, "d", hours % 24, "h"),
        s if s < 63_072_000 => format!("{days}d"),
        s if s < 252_288_000 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

fn pair(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}

/// How long ago a time was.
fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(at) => human_duration(now.duration_since(at).as_secs()),
        Err(_) => "<unknown>".into(),
    }
}

fn age(object: &Value, now: Timestamp) -> Value {
    since(text(object, "/metadata/creationTimestamp"), now).into()
}

fn name(object: &Value) -> Value {
    text(object, "/metadata/name").into()
}

/// The text at a JSON pointer, or none.
fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The text at a JSON pointer, or another where there is none.
fn text_or(object: &Value, path: &str, default: &str) -> Value {
    match text(object, path) {
        "" => default.into(),
        found => found.into(),
    }
}

/// The number at a JSON pointer, or 0.
fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

fn flag(object: &Value, path: &str, default: bool) -> Value {
    object.pointer(path).and_then(Value::as_bool).unwrap_or(default).into()
}

fn items<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    object.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn entries<'a>(object: &'a Value, path: &str) -> Option<&'a Map<String, Value>> {
    object.pointer(path).and_then(Value::as_object)
}

fn count(object: &Value, path: &str) -> i64 {
    let found = object.pointer(path);
    let length =
        found.and_then(Value::as_array).map(Vec::len).or_else(|| found.and_then(Value::as_object).map(Map::len));
    length.unwrap_or_default() as i64
}

/// Texts of a list, joined by commas.
fn joined(object: &Value, path: &str) -> String {
    items(object, path).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// A map of labels as `a=b,c=d`.
fn labels(object: &Value, path: &str) -> Value {
    let pairs = entries(object, path).into_iter().flatten();
    let text = pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",");
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// A metav1.LabelSelector as a selector's text.
fn selector(object: &Value, path: &str, nothing: &str) -> Value {
    match machinery::selector::LabelSelector::from_value(object.pointer(path)) {
        Ok(selector) if selector.to_string().is_empty() => nothing.into(),
        Ok(selector) => selector.to_string().into(),
        Err(_) => "<error>".into(),
    }
}

/// Names and images of a template's containers.
fn containers(object: &Value, path: &str) -> [Value; 2] {
    let all = |field: &str| {
        items(object, path).iter().map(|c| c[field].as_str().unwrap_or_default()).collect::<Vec<_>>().join(",")
    };
    [all("name").into(), all("image").into()]
}

/// At most `max` of a list, and how many more there are.
fn some_of(list: &[String], max: usize, total: usize) -> String {
    let shown = list[..list.len().min(max)].join(",");
    if total > max && list.len() >= max { format!("{shown} + {} more...", total - max) } else { shown }
}

fn deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|t| !t.is_null())
}

/// The condition of a type.
fn condition<'a>(object: &'a Value, path: &str, kind: &str) -> Option<&'a Value> {
    items(object, path).iter().find(|c| c["type"] == kind)
}
