//! Lists that are sets or maps hold nothing twice (`apiserver/schema/listtype`).

use std::collections::HashMap;

use machinery::field::{Error, ErrorList, Path};
use serde_json::{Map, Value};

use super::parse::Schema;

/// Faults of all lists in an object.
pub(super) fn validate(value: &Value, schema: &Schema) -> ErrorList {
    let mut errors = ErrorList::new();
    check(value, schema, &Path::nil(), &mut errors);
    errors
}

fn check(value: &Value, schema: &Schema, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Object(map) => {
            if let Some(other) = schema.other() {
                map.iter().for_each(|(name, inner)| check(inner, other, &path.key(name), errors));
            }
            for (name, inner) in map {
                if let Some(field) = schema.properties.get(name) {
                    check(inner, field, &path.child(name), errors);
                }
            }
        }
        Value::Array(items) => {
            match schema.list_type.as_deref() {
                Some("set") => {
                    for i in repeated(items.iter()) {
                        errors.push(Error::duplicate(&path.index(i), items[i].clone()));
                    }
                }
                Some("map") => keyed(items, &schema.map_keys, path, errors),
                _ => {}
            }
            if let Some(item) = schema.item() {
                items.iter().enumerate().for_each(|(i, inner)| check(inner, item, &path.index(i), errors));
            }
        }
        _ => {}
    }
}

fn keyed(items: &[Value], keys: &[&str], path: &Path, errors: &mut ErrorList) {
    if let Some((i, item)) = items.iter().enumerate().find(|(_, item)| !item.is_null() && !item.is_object()) {
        let detail = "must be an object for an array of list-type map";
        errors.push(Error::invalid(&path.index(i), item.clone(), detail));
        return;
    }
    let of = |item: &Value| {
        let fields = keys.iter().filter_map(|key| item.get(key).map(|v| ((*key).to_owned(), v.clone())));
        Value::Object(fields.collect::<Map<_, _>>())
    };
    let keys: Vec<Value> = items.iter().map(of).collect();
    for i in repeated(keys.iter()) {
        errors.push(Error::duplicate(&path.index(i), keys[i].clone()));
    }
}

// The places of values that were there once before; a third occurrence is not told.
fn repeated<'a>(values: impl ExactSizeIterator<Item = &'a Value>) -> Vec<usize> {
    if values.len() <= 1 {
        return Vec::new();
    }
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(values.len());
    let mut out = Vec::new();
    for (i, value) in values.enumerate() {
        let times = seen.entry(value.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            out.push(i);
        }
    }
    out
}
