//! JSON as upstream's API server writes it: struct order, `omitempty` where Go has it, zero values where Go writes them,
//! and Go's text form of strings and numbers, byte for byte.

use serde_json::{Map, Value};

use crate::schema::{Field, Shape, Type};

mod normal;
#[cfg(test)]
mod tests;
mod text;

pub use normal::normalise;
pub use text::{number as write_number, string as write_string, untyped as write_untyped};

/// Appends `value` as an object of type `ty`; fields that the type does not have are left out.
pub fn json(value: &Value, ty: &Type, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => object(map, ty, out),
        _ => object(&Map::new(), ty, out),
    }
}

/// [`json`], as a new vector.
pub fn to_vec(value: &Value, ty: &Type) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    json(value, ty, &mut out);
    out
}

fn object(map: &Map<String, Value>, ty: &Type, out: &mut Vec<u8>) {
    let mut open = b'{';
    let mut key = |name: &str, out: &mut Vec<u8>| {
        out.push(open);
        open = b',';
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
    };
    if ty.is_kind {
        for name in ["kind", "apiVersion"] {
            if let Some(Value::String(text)) = map.get(name).filter(|v| v.as_str() != Some("")) {
                key(name, out);
                text::string(text, out);
            }
        }
    }
    for (field, member) in ty.fields.iter().zip(ty.members(map)) {
        match member {
            Some(value) if !omitted(value, field) => {
                key(field.name, out);
                shaped(value, &field.shape, out);
            }
            _ if field.written_when_absent() => {
                key(field.name, out);
                zero(field, out);
            }
            _ => {}
        }
    }
    if open == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

/// Whether `omitempty` (or nil) leaves the value out; a field that is always written then gets its zero value.
pub(crate) fn omitted(value: &Value, field: &Field) -> bool {
    match value {
        Value::Null => true,
        _ if field.always || field.pointer => false,
        Value::Bool(b) => !b && !field.shape.is_struct(),
        Value::Number(n) => n.as_f64() == Some(0.0) && !field.shape.is_struct(),
        Value::String(s) => s.is_empty() && !field.shape.is_struct(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty() && matches!(field.shape, Shape::Map(_)),
    }
}

fn zero(field: &Field, out: &mut Vec<u8>) {
    if field.pointer {
        return out.extend_from_slice(b"null");
    }
    zero_of(&field.shape, out);
}

fn zero_of(shape: &Shape, out: &mut Vec<u8>) {
    let text: &[u8] = match shape {
        Shape::String(_) => b"\"\"",
        Shape::Int32(_) | Shape::Int64(_) | Shape::Double | Shape::IntOrString => b"0",
        Shape::Bool => b"false",
        Shape::Duration => b"\"0s\"",
        Shape::Quantity => b"\"0\"",
        Shape::Object(id) => return object(&Map::new(), id.get(), out),
        _ => b"null",
    };
    out.extend_from_slice(text);
}

pub(crate) fn shaped(value: &Value, shape: &Shape, out: &mut Vec<u8>) {
    match (shape, value) {
        (Shape::Object(_) | Shape::String(_) | Shape::Quantity, Value::Null) => zero_of(shape, out),
        (Shape::Object(id), Value::Object(map)) => object(map, id.get(), out),
        (Shape::List(item), Value::Array(items)) => list(items, item, out),
        (Shape::Map(item), Value::Object(map)) => {
            out.push(b'{');
            for (i, (name, value)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                text::string(name, out);
                out.push(b':');
                shaped(value, item, out);
            }
            out.push(b'}');
        }
        (Shape::SchemaOrArray, Value::Array(items)) => {
            let props = shape.object().expect("schema shapes have a type");
            list_with(items, out, |item, out| json(item, props, out));
        }
        (Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings, Value::Object(map)) => {
            object(map, shape.object().expect("schema shapes have a type"), out);
        }
        _ => text::untyped(value, out),
    }
}

fn list(items: &[Value], shape: &Shape, out: &mut Vec<u8>) {
    list_with(items, out, |item, out| shaped(item, shape, out));
}

pub(crate) fn list_with(items: &[Value], out: &mut Vec<u8>, mut write: impl FnMut(&Value, &mut Vec<u8>)) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}
