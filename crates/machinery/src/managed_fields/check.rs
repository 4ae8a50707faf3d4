//! Whether an applied configuration fits the schema (`typed/validate.go`): forms, unknown fields, duplicate elements.
//! Messages are upstream's.

use super::{Form, MergeSchema, Relation, element};
use crate::go;
use serde_json::Value;
use std::collections::HashSet;
use std::fmt::Write;

/// Nothing, or what is wrong, one line a fault.
pub fn check<'a, S: MergeSchema<'a>>(object: &Value, schema: S) -> Result<(), String> {
    match faults_of(object, schema, true).as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(many.iter().fold("errors:".to_owned(), |mut all, fault| {
            let _ = write!(all, "\n  {fault}");
            all
        })),
    }
}

/// Whether fields of an object can be told by the schema. Elements may repeat.
pub fn fits<'a, S: MergeSchema<'a>>(object: &Value, schema: S) -> bool {
    faults_of(object, schema, false).is_empty()
}

fn faults_of<'a, S: MergeSchema<'a>>(object: &Value, schema: S, once: bool) -> Vec<String> {
    let mut check = Check { once, path: String::new(), faults: Vec::new() };
    check.descend(object, schema);
    check.faults
}

/// A walk over an object.
struct Check {
    /// Whether elements must not repeat.
    once: bool,
    path: String,
    faults: Vec<String>,
}

impl Check {
    fn descend<'a, S: MergeSchema<'a>>(&mut self, value: &Value, schema: S) {
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
                            self.faults.push(format!("{}.{name}: field not declared in schema", self.path));
                            return;
                        };
                        self.below(&element::field(name), value, field);
                    }
                    return;
                }
                None => format!("expected map, got {}", shown()),
            },
            Form::Map(values) => match value.as_object() {
                Some(map) => {
                    return map.iter().for_each(|(name, value)| self.below(&element::field(name), value, values));
                }
                None => format!("expected map, got {}", shown()),
            },
            Form::List(items) => match value.as_array() {
                Some(list) => return self.elements(list, items, schema),
                None => format!("expected list, got {}", shown()),
            },
            Form::Number if !value.is_number() => {
                format!("expected numeric (int or float), got {}", go::type_name(value))
            }
            Form::Text if !value.is_string() => {
                format!("expected string, got &value.valueUnstructured{{Value:{}}}", go::syntax(value))
            }
            Form::Truth if !value.is_boolean() => format!("expected boolean, got {}", shown()),
            Form::Scalar if value.is_object() || value.is_array() => format!("expected any scalar, got {}", shown()),
            _ => return,
        };
        self.fault(&wrong);
    }

    fn elements<'a, S: MergeSchema<'a>>(&mut self, list: &[Value], items: S, schema: S) {
        let relation = schema.relation();
        let mut seen = HashSet::with_capacity(list.len());
        for (at, item) in list.iter().enumerate() {
            let element = match relation {
                Relation::Set => element::value(item),
                Relation::Keyed(items, keys) => element::key(item, items, keys),
                _ => Ok(format!("i:{at}")),
            };
            match element {
                Err(why) => return self.fault(&format!("element {at}: {why}")),
                Ok(element) => {
                    if self.once && seen.contains(&element) {
                        let mut key = String::new();
                        element::show(&element, &mut key);
                        self.fault(&format!("duplicate entries for key {key}"));
                    }
                    self.below(&element, item, items);
                    seen.insert(element);
                }
            }
        }
    }

    fn below<'a, S: MergeSchema<'a>>(&mut self, element: &str, value: &Value, schema: S) {
        let length = self.path.len();
        element::show(element, &mut self.path);
        self.descend(value, schema);
        self.path.truncate(length);
    }

    fn fault(&mut self, why: &str) {
        self.faults.push(if self.path.is_empty() { why.to_owned() } else { format!("{}: {why}", self.path) });
    }
}
