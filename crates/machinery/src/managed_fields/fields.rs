//! The fields that an object sets (`typed/tofieldset.go`): what an applied configuration owns.

use super::{MergeSchema, Relation, Set, element};
use serde_json::Value;
use std::collections::HashMap;

/// The fields of a valid object.
pub fn fields<'a, S: MergeSchema<'a>>(object: &Value, schema: S) -> Set {
    let mut out = Set::default();
    descend(object, schema, &mut out);
    out
}

// Adds what is below one place; says whether the place itself is one value.
fn descend<'a, S: MergeSchema<'a>>(value: &Value, schema: S, out: &mut Set) -> bool {
    match schema.relation() {
        Relation::Leaf => return true,
        Relation::Struct => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let field = schema.field(name);
                put(name, value, field, field.is_none(), out);
            }
        }
        Relation::Map(values) => {
            for (name, value) in value.as_object().into_iter().flatten() {
                put(name, value, Some(values), true, out);
            }
        }
        Relation::Deduced => return deduced(value, out),
        Relation::Set => list(value, element::value, |_, _| true, out),
        Relation::Keyed(items, keys) => {
            list(value, |item| element::key(item, items, keys), |item, out| descend(item, items, out), out)
        }
    }
    false
}

fn put<'a, S: MergeSchema<'a>>(name: &str, value: &Value, schema: Option<S>, always: bool, out: &mut Set) {
    let mut inner = Set::default();
    let leaf = match schema {
        Some(schema) => descend(value, schema, &mut inner),
        None => deduced(value, &mut inner),
    };
    let empty = value.is_null() || value.as_object().is_some_and(|m| m.is_empty());
    out.put(element::field(name), leaf || always || empty, inner);
}

fn deduced(value: &Value, out: &mut Set) -> bool {
    let Some(map) = value.as_object() else { return true };
    for (name, value) in map {
        let mut inner = Set::default();
        deduced(value, &mut inner);
        out.put(element::field(name), true, inner);
    }
    false
}

fn list(
    value: &Value,
    element: impl Fn(&Value) -> Result<String, String>,
    inside: impl Fn(&Value, &mut Set) -> bool,
    out: &mut Set,
) {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let mut seen: HashMap<String, u32> = HashMap::with_capacity(items.len());
    for item in items {
        if let Ok(element) = element(item) {
            *seen.entry(element).or_default() += 1;
        }
    }
    for item in items {
        let Ok(element) = element(item) else { continue };
        let mut inner = Set::default();
        // Elements of one key are owned as one.
        if seen.get(&element) == Some(&1) {
            inside(item, &mut inner);
        }
        out.put(element, true, inner);
    }
}
