//! From a value that a strategic merge or an apply made to one of a known type, as upstream's converter does it
//! (`apimachinery/pkg/runtime/converter.go`): whole numbers may be written as fractions, what is unknown is told in name
//! order, and a value of another type is refused in the converter's words instead of the JSON decoder's.

use serde_json::{Map, Number, Value};

use super::{Decoded, Error, seed};
use crate::schema::{Shape, Type};

/// Reads a value of a type.
pub fn unstructured(value: Value, ty: &'static Type) -> Result<Decoded, Error> {
    let restored = object(value, ty).map_err(Error)?;
    let mut decoded = super::value(restored, ty)?;
    decoded.strict.sort_unstable();
    Ok(decoded)
}

/// Reads what a strategic merge patch made of an object that was read before: of that only what the patch names, as the rest
/// is as it was. Most patches are of a status, and most of an object is something else.
pub fn patched(mut value: Value, patch: &Value, ty: &'static Type) -> Result<Decoded, Error> {
    let (Value::Object(members), Value::Object(patch)) = (&mut value, patch) else { return unstructured(value, ty) };
    let named = take(members, patch, ty);
    let decoded = unstructured(named.into(), ty)?;
    if let Value::Object(named) = decoded.value {
        put(members, named);
    }
    Ok(Decoded { value, strict: decoded.strict })
}

/// Takes out what a patch names, down to where it names no fields of a type any more.
fn take(members: &mut Map<String, Value>, patch: &Map<String, Value>, ty: &'static Type) -> Map<String, Value> {
    // A directive may be about anything that is beside it.
    if patch.keys().any(|name| name.starts_with('$')) {
        return std::mem::take(members);
    }
    let mut taken = Map::new();
    for (name, patch) in patch {
        let Some(member) = members.get_mut(name) else { continue };
        let shape = ty.field(name).map(|field| field.shape);
        let part = match (shape, &mut *member, patch) {
            (Some(Shape::Object(id)), Value::Object(member), Value::Object(patch)) => {
                Value::Object(take(member, patch, id.get()))
            }
            _ => member.take(),
        };
        if member.is_null() {
            members.remove(name);
        }
        taken.insert(name.clone(), part);
    }
    taken
}

/// Puts back what was taken out.
fn put(members: &mut Map<String, Value>, taken: Map<String, Value>) {
    for (name, part) in taken {
        match (members.get_mut(&name), part) {
            (Some(Value::Object(member)), Value::Object(part)) => put(member, part),
            (_, part) => drop(members.insert(name, part)),
        }
    }
}

fn object(value: Value, ty: &'static Type) -> Result<Value, String> {
    let mut members = match value {
        Value::Null => return Ok(Value::Null),
        Value::Object(members) => members,
        other => return Err(format!("cannot restore struct from: {}", kind(&other))),
    };
    if ty.is_kind {
        for name in ["kind", "apiVersion"] {
            restore(&mut members, name, &Shape::String(""))?;
        }
    }
    for field in ty.fields {
        restore(&mut members, field.name, &field.shape)?;
    }
    Ok(members.into())
}

fn restore(members: &mut Map<String, Value>, name: &str, shape: &Shape) -> Result<(), String> {
    if let Some(member) = members.get_mut(name) {
        *member = of(member.take(), shape)?;
    }
    Ok(())
}

fn of(value: Value, shape: &Shape) -> Result<Value, String> {
    if value.is_null() {
        return Ok(value);
    }
    match shape {
        Shape::String(_) => match value {
            Value::String(_) => Ok(value),
            // Go converts an integer to a text of one character, which is not what is meant.
            Value::Number(number) if !number.is_f64() => Err(cannot_convert("int64", shape)),
            _ => Err("unrecognized type: string".into()),
        },
        Shape::Int32(_) => integer(value, shape, "int32", |number| i64::from(number as i32)),
        Shape::Int64(_) => integer(value, shape, "int64", |number| number),
        Shape::Bool if !value.is_boolean() => Err("unrecognized type: bool".into()),
        Shape::Double if !value.is_number() => Err("unrecognized type: float64".into()),
        Shape::Bytes => match value {
            Value::String(_) => custom(value, shape).map_err(|why| format!("error decoding from json: {why}")),
            other => Err(format!("cannot restore slice from {}", kind(&other))),
        },
        Shape::Object(id) => object(value, id.get()),
        Shape::List(item) => items(value, item),
        Shape::Strings => items(value, &Shape::String("")),
        Shape::Map(item) => match value {
            Value::Object(mut members) => {
                for member in members.values_mut() {
                    *member = of(member.take(), item)?;
                }
                Ok(members.into())
            }
            other => Err(format!("cannot restore map from {}", kind(&other))),
        },
        // The rest reads its own JSON.
        _ => custom(value, shape),
    }
}

fn items(value: Value, item: &Shape) -> Result<Value, String> {
    match value {
        Value::Array(items) => items.into_iter().map(|value| of(value, item)).collect(),
        other => Err(format!("cannot restore slice from {}", kind(&other))),
    }
}

/// A whole number, cut to the width of its type as Go's conversions are.
fn integer(value: Value, shape: &Shape, go_kind: &str, cut: fn(i64) -> i64) -> Result<Value, String> {
    let Value::Number(number) = value else { return Err(format!("unrecognized type: {go_kind}")) };
    match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => Ok(cut(whole).into()),
        (None, Some(float)) if float.fract() == 0.0 => Ok(cut(float as i64).into()),
        _ => Err(cannot_convert("float64", shape)),
    }
}

fn cannot_convert(from: &str, to: &Shape) -> String {
    format!("cannot convert {from} to {}", to.go_name())
}

/// A value of a type that has a decoder of its own.
fn custom(value: Value, shape: &Shape) -> Result<Value, String> {
    seed::check(&value, *shape)?;
    Ok(value)
}

/// `reflect.Kind` of a decoded value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if is_float(number) => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

fn is_float(number: &Number) -> bool {
    number.as_i64().is_none()
}
