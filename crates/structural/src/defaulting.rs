//! Defaults of a structural schema (`apiserver/schema/defaulting/algorithm.go`).

use serde_json::Value;

use super::parse::Schema;

/// Fills in what is absent, and what is null where null is no value, and goes on inside of what it filled in.
pub(super) fn default(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => {
            for (name, field) in &schema.properties {
                let Some(default) = &field.default else { continue };
                if map.get(name).is_none_or(|v| v.is_null() && !field.nullable) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, inner) in map.iter_mut() {
                match (schema.properties.get(name), schema.other()) {
                    (Some(field), _) => default(inner, field),
                    (None, Some(other)) => element(inner, other),
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = schema.item() {
                items.iter_mut().for_each(|inner| element(inner, item));
            }
        }
        _ => {}
    }
}

fn element(inner: &mut Value, schema: &Schema) {
    if let (true, false, Some(value)) = (inner.is_null(), schema.nullable, &schema.default) {
        *inner = value.clone();
    }
    default(inner, schema);
}
