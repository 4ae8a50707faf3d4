//! An object to protobuf, in upstream's order and with the zero values that upstream writes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::wire::{write_bytes, write_nested as nested, write_number, write_tag};
use super::{Node, Plan};
use crate::encode::{omitted, write_untyped};
use crate::schema::{Field, MAX_FIELDS, Shape, Type};

/// Appends an object's message; of none, that of the zero value.
pub fn object(value: Option<&Value>, ty: &'static Type, out: &mut Vec<u8>) {
    let members = value.and_then(Value::as_object).map_or([None; MAX_FIELDS], |map| ty.members(map));
    message(ty, &members, Plan::of(ty), out);
}

fn message(ty: &Type, members: &[Option<&Value>; MAX_FIELDS], plan: &Plan, out: &mut Vec<u8>) {
    for (number, node) in &plan.nodes {
        match node {
            Node::Group(group) => nested(*number, out, |out| message(ty, members, group, out)),
            Node::Field(position) => {
                let field = &ty.fields[*position];
                // What JSON leaves out is none here either.
                set(*number, field, members[*position].filter(|value| !omitted(value, field)), out);
            }
        }
    }
}

fn set(number: u16, field: &Field, value: Option<&Value>, out: &mut Vec<u8>) {
    match (&field.shape, value) {
        (Shape::List(item), Some(Value::Array(list))) => {
            list.iter().for_each(|item_value| write(number, item, Some(item_value), out))
        }
        (Shape::Map(item), Some(Value::Object(map))) => {
            for (key, found) in map {
                nested(number, out, |out| {
                    write_bytes(1, key.as_bytes(), out);
                    write(2, item, Some(found), out);
                });
            }
        }
        (Shape::List(_) | Shape::Map(_), _) => {}
        (Shape::Bytes | Shape::Strings, None) => {}
        (_, None) if field.pointer => {}
        (shape, value) => write(number, shape, value, out),
    }
}

/// One value with its number.
fn write(number: u16, shape: &Shape, value: Option<&Value>, out: &mut Vec<u8>) {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    let integer = value.and_then(Value::as_i64).unwrap_or_default();
    match shape {
        Shape::String(_) => write_bytes(number, text.as_bytes(), out),
        Shape::Int32(_) | Shape::Int64(_) => write_number(number, integer as u64, out),
        Shape::Bool => write_number(number, u64::from(value.and_then(Value::as_bool).unwrap_or_default()), out),
        Shape::Double => {
            write_tag(number, 1, out);
            out.extend_from_slice(&value.and_then(Value::as_f64).unwrap_or_default().to_bits().to_le_bytes());
        }
        Shape::Bytes => write_bytes(number, &STANDARD.decode(text).unwrap_or_default(), out),
        shape => nested(number, out, |out| structured(shape, value, out)),
    }
}

fn structured(shape: &Shape, value: Option<&Value>, out: &mut Vec<u8>) {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    match shape {
        Shape::Object(id) => object(value, id.get(), out),
        Shape::Time | Shape::MicroTime => {
            if let Ok(at) = text.parse::<Timestamp>() {
                let nanos = if matches!(shape, Shape::MicroTime) { at.subsec_nanosecond() / 1_000 * 1_000 } else { 0 };
                write_number(1, at.as_second() as u64, out);
                write_number(2, nanos as u64, out);
            }
        }
        Shape::Duration => write_number(1, machinery::duration::parse(text).unwrap_or_default() as u64, out),
        Shape::Quantity => match value {
            Some(Value::Number(n)) => write_bytes(1, n.to_string().as_bytes(), out),
            _ => write_bytes(1, if text.is_empty() { "0" } else { text }.as_bytes(), out),
        },
        Shape::IntOrString => {
            let is_text = value.is_some_and(Value::is_string);
            write_number(1, u64::from(is_text), out);
            write_number(2, value.and_then(Value::as_i64).unwrap_or_default() as u64, out);
            write_bytes(3, text.as_bytes(), out);
        }
        Shape::Raw | Shape::FieldsV1 | Shape::Json => {
            if let Some(value) = value {
                let mut json = Vec::new();
                write_untyped(value, &mut json);
                write_bytes(1, &json, out);
            }
        }
        Shape::Strings => {
            let items = value.and_then(Value::as_array).into_iter().flatten();
            items.for_each(|item| write_bytes(1, item.as_str().unwrap_or_default().as_bytes(), out));
        }
        Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => schema_or(shape, value, out),
        _ => {}
    }
}

fn schema_or(shape: &Shape, value: Option<&Value>, out: &mut Vec<u8>) {
    let Some(ty) = shape.object() else { return };
    let schema = value.filter(|v| v.is_object());
    let items = value.and_then(Value::as_array).into_iter().flatten();
    match shape {
        Shape::SchemaOrBool => {
            // A schema allows, and says so.
            let allows = schema.is_some() || value.and_then(Value::as_bool).unwrap_or_default();
            write_number(1, u64::from(allows), out);
            schema.into_iter().for_each(|s| nested(2, out, |out| object(Some(s), ty, out)));
        }
        Shape::SchemaOrStrings => {
            schema.into_iter().for_each(|s| nested(1, out, |out| object(Some(s), ty, out)));
            items.for_each(|item| write_bytes(2, item.as_str().unwrap_or_default().as_bytes(), out));
        }
        _ => {
            schema.into_iter().for_each(|s| nested(1, out, |out| object(Some(s), ty, out)));
            items.for_each(|item| nested(2, out, |out| object(Some(item), ty, out)));
        }
    }
}
