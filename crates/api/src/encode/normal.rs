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
    for field in ty.fields {
        match map.get_mut(field.name) {
            Some(value) if !omitted(value, field) => shaped(value, &field.shape),
            Some(_) => {
                map.remove(field.name);
                add_zero(map, field);
            }
            None => add_zero(map, field),
        }
    }
}

fn add_zero(map: &mut Map<String, Value>, field: &Field) {
    if field.written_when_absent()
        && !field.pointer
        && let Some(zero) = zero(&field.shape)
    {
        map.insert(field.name.to_owned(), zero);
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
