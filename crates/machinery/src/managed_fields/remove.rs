//! Taking fields out of an object (`typed/remove.go`).

use super::{MergeSchema, Relation, Set, element};
use serde_json::{Map, Value};

/// The object without these fields. What becomes empty because of it stays, empty.
pub fn remove<'a, S: MergeSchema<'a>>(object: &Value, fields: &Set, schema: S) -> Value {
    if fields.is_empty() {
        return object.clone();
    }
    descend(object, fields, Some(schema)).unwrap_or_default()
}

fn descend<'a, S: MergeSchema<'a>>(value: &Value, fields: &Set, schema: Option<S>) -> Option<Value> {
    match (schema.map(S::relation), value) {
        (Some(Relation::Leaf), Value::Object(_) | Value::Array(_)) => None,
        (Some(Relation::Set), Value::Array(items)) => list(items, fields, element::value, None::<S>),
        (Some(Relation::Keyed(schema, keys)), Value::Array(items)) => {
            list(items, fields, |item| element::key(item, schema, keys), Some(schema))
        }
        (Some(Relation::Struct), Value::Object(map)) => {
            self::map(map, fields, |name| schema.and_then(|schema| schema.field(name)))
        }
        (Some(Relation::Map(values)), Value::Object(map)) => self::map(map, fields, |_| Some(values)),
        (_, Value::Object(map)) => self::map(map, fields, |_| None::<S>),
        (_, Value::Array(_) | Value::Null) => None,
        (_, scalar) => Some(scalar.clone()),
    }
}

fn map<'a, S: MergeSchema<'a>>(
    map: &Map<String, Value>,
    fields: &Set,
    schema: impl Fn(&str) -> Option<S>,
) -> Option<Value> {
    let (mut out, mut touched) = (Map::new(), false);
    for (name, value) in map {
        match fields.get(&element::field(name)) {
            Some((true, _)) => {}
            Some((false, below)) => {
                touched = true;
                out.insert(name.clone(), kept(value, descend(value, below, schema(name))));
            }
            None => drop(out.insert(name.clone(), value.clone())),
        }
    }
    (touched || !out.is_empty()).then_some(Value::Object(out))
}

fn list<'a, S: MergeSchema<'a>>(
    items: &[Value],
    fields: &Set,
    element: impl Fn(&Value) -> Result<String, String>,
    schema: Option<S>,
) -> Option<Value> {
    let (mut out, mut touched) = (Vec::with_capacity(items.len()), false);
    for item in items {
        let found = element(item).ok().and_then(|element| fields.get(&element));
        match found {
            Some((true, _)) => {}
            Some((false, below)) => {
                touched = true;
                out.push(kept(item, descend(item, below, schema)));
            }
            None => out.push(item.clone()),
        }
    }
    (touched || !out.is_empty()).then_some(Value::Array(out))
}

fn kept(before: &Value, after: Option<Value>) -> Value {
    after.unwrap_or_else(|| match before {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    })
}
