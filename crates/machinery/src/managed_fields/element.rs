//! Path elements in FieldsV1's writing (`f:name`, `k:{…}`, `v:…`, `i:…`): made from values, ordered and shown as
//! upstream does (`fieldpath/element.go`).

use super::MergeSchema;
use crate::go;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::fmt::Write;

/// `f:name`.
pub(super) fn field(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    out.push_str("f:");
    out.push_str(name);
    out
}

/// `k:{"name":"a"}` of an element of a keyed list; why it has none.
pub(super) fn key<'a, S: MergeSchema<'a>>(item: &Value, schema: S, keys: &[&str]) -> Result<String, String> {
    let Some(fields) = item.as_object() else {
        let what = if item.is_null() { "a null element" } else { "non-map elements" };
        return Err(format!("associative list with keys may not have {what}"));
    };
    let with_value = keys.iter().filter_map(|key| Some((*key, fields.get(*key).or_else(|| schema.key_default(key))?)));
    let mut found: Vec<(&str, &Value)> = with_value.collect();
    found.sort_by_key(|(key, _)| *key);
    if found.is_empty() {
        return Err(format!(
            "associative list with keys has an element that omits all key fields {} (and doesn't have default values for any key fields)",
            format_args!("[{}]", keys.iter().map(|key| go::quote(key)).collect::<Vec<_>>().join(" "))
        ));
    }
    let mut out = "k:".to_owned();
    for (i, (key, value)) in found.into_iter().enumerate() {
        out.push(if i == 0 { '{' } else { ',' });
        // Writing into memory cannot fail.
        let _ = write!(out, "{}:{value}", Value::from(key));
    }
    out.push('}');
    Ok(out)
}

/// `v:"a"` of an element of a set; why it has none.
pub(super) fn value(item: &Value) -> Result<String, String> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
        item => Ok(format!("v:{item}")),
    }
}

/// As in `.spec.containers[name="c"].image`.
pub(super) fn show(element: &str, out: &mut String) {
    let Some((kind, text)) = element.split_once(':') else { return };
    match kind {
        "f" => {
            out.push('.');
            out.push_str(text);
        }
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
            let parts: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={}", show_value(v))).collect();
            out.push_str(&format!("[{}]", parts.join(",")));
        }
        "v" => {
            let value = serde_json::from_str(text).unwrap_or_default();
            out.push_str(&format!("[={}]", show_value(&value)));
        }
        _ => out.push_str(&format!("[{text}]")),
    }
}

fn show_value(value: &Value) -> String {
    match value {
        Value::String(text) => go::quote(text),
        Value::Object(map) => map.iter().map(|(k, v)| format!("{k}={}", show_value(v))).collect(),
        Value::Array(items) => format!("[{}]", items.iter().map(show_value).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}

/// Names first, then keys, values, indexes; numbers in them by size, not by digits.
pub(super) fn order(a: &str, b: &str) -> Ordering {
    let rank = |e: &str| match e.as_bytes().first() {
        Some(b'f') => 0,
        Some(b'k') => 1,
        Some(b'v') => 2,
        _ => 3,
    };
    let parsed = |e: &str| serde_json::from_str::<Value>(e.get(2..).unwrap_or_default()).unwrap_or_default();
    rank(a).cmp(&rank(b)).then_with(|| match rank(a) {
        0 => a.cmp(b),
        _ => order_values(&parsed(a), &parsed(b)),
    })
}

fn order_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x.as_f64().partial_cmp(&y.as_f64()).unwrap_or(Ordering::Equal),
        (Value::Object(x), Value::Object(y)) => {
            for ((k, v), (l, w)) in x.iter().zip(y) {
                let order = k.cmp(l).then_with(|| order_values(v, w));
                if order.is_ne() {
                    return order;
                }
            }
            x.len().cmp(&y.len())
        }
        (Value::String(x), Value::String(y)) => x.cmp(y),
        (x, y) => x.to_string().cmp(&y.to_string()),
    }
}
