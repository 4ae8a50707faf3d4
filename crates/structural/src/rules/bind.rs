//! Data as expressions see it (`apiserver/pkg/cel/common/values.go`): by the schema's types, names escaped.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use cel::value::{Key, List, Order, Value};
use cel::{parse_duration, parse_timestamp};
use serde_json::Value as Json;

use crate::parse::Schema;
use cel::types::escape;

pub(super) fn value(json: &Json, schema: &Schema, resource: bool) -> Value {
    if schema.int_or_string {
        return plain(json);
    }
    match json {
        Json::Object(map) => {
            let mut out = BTreeMap::new();
            let mut put = |name: String, value: Value| drop(out.insert(Key::String(name.into()), value));
            // A null is no value: `has()` does not see it.
            for (name, inner) in map.iter().filter(|(_, inner)| !inner.is_null()) {
                if let Some(field) = schema.properties.get(name).filter(|_| !(resource && name == "metadata")) {
                    if let Some(name) = escape(name) {
                        put(name, value(inner, field, field.embedded));
                    }
                } else if let Some(other) = schema.other() {
                    put(name.clone(), value(inner, other, other.embedded));
                } else if resource && (name == "apiVersion" || name == "kind") {
                    put(name.clone(), plain(inner));
                } else if resource && name == "metadata" {
                    let shown = ["name", "generateName"]
                        .into_iter()
                        .filter_map(|f| Some((Key::String(f.into()), plain(inner.get(f)?))));
                    put(name.clone(), Value::Map(Arc::new(shown.collect())));
                }
            }
            Value::Map(Arc::new(out.into()))
        }
        Json::Array(items) => {
            let order = match schema.list_type.as_deref() {
                Some("set" | "map") => Order::Any,
                _ => Order::Sequence,
            };
            let empty = Schema::default();
            let item = schema.item().unwrap_or(&empty);
            let items = items.iter().map(|inner| value(inner, item, item.embedded)).collect();
            Value::List(Arc::new(List { items, order }))
        }
        Json::String(text) => match schema.format.as_str() {
            "byte" => match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(bytes) => Value::Bytes(bytes.into()),
                Err(_) => plain(json),
            },
            "duration" => parse_duration(text).unwrap_or_else(|| plain(json)),
            "date" => parse_timestamp(&format!("{text}T00:00:00Z")).unwrap_or_else(|| plain(json)),
            "date-time" => parse_timestamp(text).unwrap_or_else(|| plain(json)),
            _ => plain(json),
        },
        Json::Number(number) if schema.ty == "number" => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        Json::Number(number) if schema.ty == "integer" => match number.as_i64() {
            Some(i) => Value::Int(i),
            None => Value::Int(number.as_f64().unwrap_or_default() as i64),
        },
        other => plain(other),
    }
}

fn plain(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match n.as_i64() {
            Some(i) => Value::Int(i),
            None => Value::Double(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::list(items.iter().map(plain).collect()),
        Json::Object(map) => {
            Value::Map(Arc::new(map.iter().map(|(k, v)| (Key::String(k.as_str().into()), plain(v))).collect()))
        }
    }
}
