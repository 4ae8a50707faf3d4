//! Whether two values are the same to upstream (`Semantic.DeepEqual`): an empty list or map is as good as none, a zero
//! as good as an absent field where there is no pointer, `1000m` is `1`.

use machinery::quantity::Quantity;
use serde_json::Value;

use crate::schema::{Field, Shape, Type};

/// Whether two objects of a type say the same.
pub fn equal(ty: &'static Type, a: &Value, b: &Value) -> bool {
    let of = |value: &Value, name: &str| value.get(name).cloned().unwrap_or(Value::Null);
    let same = |field: &Field| {
        let (a, b) = (of(a, field.name), of(b, field.name));
        same_field(field, &a, &b)
    };
    ty.fields.iter().all(same)
}

/// Whether a field says the same in two objects; null where it is absent.
pub(super) fn same_field(field: &Field, a: &Value, b: &Value) -> bool {
    match (a.is_null(), b.is_null()) {
        (true, true) => true,
        (false, false) => same(&field.shape, a, b),
        _ => (!field.pointer || lists(&field.shape)) && zero(&field.shape, if a.is_null() { b } else { a }),
    }
}

fn same(shape: &Shape, a: &Value, b: &Value) -> bool {
    match (shape, a, b) {
        (Shape::Object(id), _, _) => equal(id.get(), a, b),
        (Shape::Quantity, _, _) => match (Quantity::from_value(a), Quantity::from_value(b)) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        },
        (Shape::List(item), Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(item, a, b))
        }
        (Shape::Map(item), Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(item, a, b)))
        }
        _ => a == b,
    }
}

fn lists(shape: &Shape) -> bool {
    matches!(shape, Shape::List(_) | Shape::Map(_) | Shape::Strings | Shape::Bytes)
}

/// Whether a value is what Go has where nothing was given.
fn zero(shape: &Shape, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(set) => !set,
        Value::Object(map) => match shape {
            Shape::Object(id) => equal(id.get(), value, &Value::Null),
            _ => map.is_empty(),
        },
    }
}
