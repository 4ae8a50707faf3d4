//! Whether an applied configuration fits the schema (`typed/validate.go`): forms, unknown fields, duplicate elements.
//! Messages are upstream's.

use super::{Form, MergeSchema, Relation, element};
use crate::go;
use serde_json::Value;
use std::collections::HashSet;
use std::fmt::Write;

/// Nothing, or what is wrong, one line a fault.
pub fn check<'a, S: MergeSchema<'a>>(object: &Value, schema: S) -> Result<(), String> {
    let mut faults = Vec::new();
    descend(object, schema, &mut String::new(), &mut faults);
    match faults.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(many.iter().fold("errors:".to_owned(), |mut all, fault| {
            let _ = write!(all, "\n  {fault}");
            all
        })),
    }
}

fn descend<'a, S: MergeSchema<'a>>(value: &Value, schema: S, path: &mut String, faults: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    let shown = || format!("&{{{}}}", go::print(value));
    let wrong = match schema.form() {
        Form::Any => return,
        Form::Struct => match value.as_object() {
            Some(map) => {
                for (name, value) in map {
                    let Some(field) = schema.field(name) else {
                        fault(&format!("{path}.{name}"), "field not declared in schema", faults);
                        return;
                    };
                    below(&element::field(name), value, field, path, faults);
                }
                return;
            }
            None => format!("expected map, got {}", shown()),
        },
        Form::Map(values) => match value.as_object() {
            Some(map) => {
                return map.iter().for_each(|(name, value)| below(&element::field(name), value, values, path, faults));
            }
            None => format!("expected map, got {}", shown()),
        },
        Form::List(items) => match value.as_array() {
            Some(list) => return elements(list, items, schema, path, faults),
            None => format!("expected list, got {}", shown()),
        },
        Form::Number if !value.is_number() => {
            format!("expected numeric (int or float), got {}", go::type_name(value))
        }
        Form::Text if !value.is_string() => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", go::print(value))
        }
        Form::Truth if !value.is_boolean() => format!("expected boolean, got {}", shown()),
        Form::Scalar if value.is_object() || value.is_array() => format!("expected any scalar, got {}", shown()),
        _ => return,
    };
    fault(path, &wrong, faults);
}

fn elements<'a, S: MergeSchema<'a>>(list: &[Value], items: S, schema: S, path: &mut String, faults: &mut Vec<String>) {
    let relation = schema.relation();
    let mut seen = HashSet::with_capacity(list.len());
    for (at, item) in list.iter().enumerate() {
        let element = match relation {
            Relation::Set => element::value(item),
            Relation::Keyed(items, keys) => element::key(item, items, keys),
            _ => Ok(format!("i:{at}")),
        };
        match element {
            Err(why) => return fault(path, &format!("element {at}: {why}"), faults),
            Ok(element) => {
                if seen.contains(&element) {
                    let mut key = String::new();
                    element::show(&element, &mut key);
                    fault(path, &format!("duplicate entries for key {key}"), faults);
                }
                below(&element, item, items, path, faults);
                seen.insert(element);
            }
        }
    }
}

fn below<'a, S: MergeSchema<'a>>(element: &str, value: &Value, schema: S, path: &mut String, faults: &mut Vec<String>) {
    let length = path.len();
    element::show(element, path);
    descend(value, schema, path, faults);
    path.truncate(length);
}

fn fault(path: &str, why: &str, faults: &mut Vec<String>) {
    faults.push(if path.is_empty() { why.to_owned() } else { format!("{path}: {why}") });
}
