//! An object as it comes back from its own encoding: with the zero values that upstream always writes, without those that
//! it leaves out. Upstream compares structs, to which a zero value and none are one; here it is what makes a client's
//! object comparable with the stored one, whatever encoding it came in. Lists, maps and pointers that would be written as
//! `null` stay absent: to a reader of values that is the same.

use serde_json::{Map, Value};

use super::omitted;
use crate::schema::{Field, Shape, Type};

/// See the module.
pub fn normalise(value: &mut Value, ty: &Type) {
    if let Value::Object(map) = value {
        object(map, ty);
    }
}

fn object(map: &mut Map<String, Value>, ty: &Type) {
    let mut left_out: Vec<&'static str> = Vec::new();
    for (name, value) in map.iter_mut() {
        match ty.field(name) {
            Some(field) if omitted(value, field) || is_nothing(value, field) => left_out.push(field.name),
            Some(field) => shaped(value, &field.shape),
            None => {}
        }
    }
    for name in left_out {
        map.remove(name);
    }
    for field in ty.always().filter(|field| !field.pointer) {
        if !map.contains_key(field.name)
            && let Some(zero) = zero(&field.shape)
        {
            map.insert(field.name.to_owned(), zero);
        }
    }
}

/// An empty list or map, which upstream's store gives back as none: protobuf has no other.
fn is_nothing(value: &Value, field: &Field) -> bool {
    match value {
        Value::Array(items) => items.is_empty() && matches!(field.shape, Shape::List(_) | Shape::Strings),
        Value::Object(members) => members.is_empty() && matches!(field.shape, Shape::Map(_)),
        _ => false,
    }
}

fn zero(shape: &Shape) -> Option<Value> {
    Some(match shape {
        Shape::String(_) => "".into(),
        Shape::Int32(_) | Shape::Int64(_) | Shape::Double | Shape::IntOrString => 0.into(),
        Shape::Bool => false.into(),
        Shape::Duration => "0s".into(),
        Shape::Quantity => "0".into(),
        Shape::Object(id) => {
            let mut map = Map::new();
            object(&mut map, id.get());
            map.into()
        }
        _ => return None,
    })
}

fn shaped(value: &mut Value, shape: &Shape) {
    match (shape, value) {
        (Shape::List(item), Value::Array(items)) => items.iter_mut().for_each(|value| shaped(value, item)),
        (Shape::Map(item), Value::Object(map)) => map.values_mut().for_each(|value| shaped(value, item)),
        (Shape::SchemaOrArray, Value::Array(items)) => {
            if let Some(ty) = shape.object() {
                items.iter_mut().for_each(|item| normalise(item, ty));
            }
        }
        (Shape::Object(_) | Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings, value) => {
            if let Some(ty) = shape.object() {
                normalise(value, ty);
            }
        }
        _ => {}
    }
}
