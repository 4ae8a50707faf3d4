//! Protobuf to an object.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number, Value, json};

use super::wire::{Wire, fields, packed};
use super::{Error, MAGIC, Node, Plan, open};
use crate::schema::{self, Field, Shape, Type};

/// Messages in messages; JSON schemas are the deepest that anybody sends.
const DEPTH: usize = 128;

fn fault(what: impl Into<String>) -> Error {
    Error(what.into())
}

/// The object in a message.
pub fn object(bytes: &[u8], ty: &'static Type, depth: usize) -> Result<Map<String, Value>, Error> {
    let mut map = Map::new();
    message(bytes, ty, Plan::of(ty), depth, &mut map)?;
    Ok(map)
}

fn message(
    bytes: &[u8],
    ty: &'static Type,
    plan: &Plan,
    depth: usize,
    map: &mut Map<String, Value>,
) -> Result<(), Error> {
    if depth > DEPTH {
        return Err(fault("exceeded max depth"));
    }
    for entry in fields(bytes) {
        let (number, wire) = entry?;
        match (plan.node(number), wire) {
            (None, _) => {}
            (Some(Node::Group(group)), Wire::Bytes(bytes)) => message(bytes, ty, group, depth + 1, map)?,
            (Some(Node::Group(_)), _) => return Err(fault("proto: wrong wireType for a message")),
            (Some(Node::Field(position)), wire) => set(&ty.fields[*position], wire, depth, map)?,
        }
    }
    Ok(())
}

fn set(field: &'static Field, wire: Wire<'_>, depth: usize, map: &mut Map<String, Value>) -> Result<(), Error> {
    match &field.shape {
        Shape::List(item) => {
            let list = map.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = list else { return Ok(()) };
            match (item, wire) {
                (Shape::Int32(_) | Shape::Int64(_), Wire::Bytes(bytes)) => {
                    for number in packed(bytes) {
                        list.push(value(item, Wire::Varint(number?), depth)?);
                    }
                }
                (item, wire) => list.push(value(item, wire, depth)?),
            }
        }
        Shape::Map(item) => {
            let (key, found) = entry(item, wire, depth)?;
            let entries = map.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(entries) = entries {
                entries.insert(key, found);
            }
        }
        shape => {
            let found = value(shape, wire, depth)?;
            if field.pointer || !is_zero(shape, &found) {
                map.insert(field.name.to_owned(), found);
            } else {
                map.remove(field.name);
            }
        }
    }
    Ok(())
}

/// Whether a field that is no pointer means "not set" by it.
fn is_zero(shape: &Shape, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::String(s) => s.is_empty() || matches!(shape, Shape::Quantity) && s == "0",
        Value::Number(n) => n.as_f64() == Some(0.0) && !matches!(shape, Shape::IntOrString),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

fn entry(item: &Shape, wire: Wire<'_>, depth: usize) -> Result<(String, Value), Error> {
    let Wire::Bytes(bytes) = wire else { return Err(fault("proto: wrong wireType for a map")) };
    let (mut key, mut found) = (String::new(), None);
    for field in fields(bytes) {
        match field? {
            (1, Wire::Bytes(bytes)) => key = text(bytes)?,
            (2, wire) => found = Some(value(item, wire, depth)?),
            _ => {}
        }
    }
    let found = match found {
        Some(found) => found,
        // An entry without a value has the zero one.
        None if matches!(item, Shape::Int32(_) | Shape::Int64(_) | Shape::Bool | Shape::Double) => {
            value(item, Wire::Varint(0), depth)?
        }
        None => value(item, Wire::Bytes(&[]), depth)?,
    };
    Ok((key, found))
}

fn text(bytes: &[u8]) -> Result<String, Error> {
    // Go takes any bytes for a string, and JSON shows what is not UTF-8 by a sign of its own.
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn value(shape: &Shape, wire: Wire<'_>, depth: usize) -> Result<Value, Error> {
    let found = match (shape, wire) {
        (Shape::String(_), Wire::Bytes(bytes)) => text(bytes)?.into(),
        (Shape::Int32(_), Wire::Varint(n)) => (n as i32).into(),
        (Shape::Int64(_), Wire::Varint(n)) => (n as i64).into(),
        (Shape::Bool, Wire::Varint(n)) => (n != 0).into(),
        (Shape::Double, Wire::Fixed64(bits)) => {
            Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number)
        }
        (Shape::Double, Wire::Varint(0)) => json!(0.0),
        (Shape::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (_, Wire::Bytes(bytes)) => structured(shape, bytes, depth + 1)?,
        _ => return Err(fault(format!("proto: wrong wireType for {}", shape.go_name()))),
    };
    Ok(found)
}

fn structured(shape: &Shape, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    Ok(match shape {
        Shape::Object(id) => object(bytes, id.get(), depth)?.into(),
        Shape::Time | Shape::MicroTime => time(bytes, matches!(shape, Shape::MicroTime))?,
        Shape::Duration => machinery::duration::text(number(bytes, 1)? as i64).into(),
        Shape::Quantity => match string(bytes, 1)? {
            text if text.is_empty() => "0".into(),
            text => text.into(),
        },
        Shape::IntOrString => match number(bytes, 1)? {
            0 => (number(bytes, 2)? as i32).into(),
            _ => string(bytes, 3)?.into(),
        },
        Shape::Raw | Shape::FieldsV1 | Shape::Json => raw(inner(bytes, 1)?, depth)?,
        Shape::Strings => {
            let items: Result<Vec<Value>, Error> = repeated(bytes, 1).map(|item| Ok(text(item?)?.into())).collect();
            items?.into()
        }
        Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => schema_or(shape, bytes, depth)?,
        other => return Err(fault(format!("proto: wrong wireType for {}", other.go_name()))),
    })
}

fn time(bytes: &[u8], micro: bool) -> Result<Value, Error> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (seconds, nanos) = (number(bytes, 1)? as i64, number(bytes, 2)? as i32);
    let at = Timestamp::new(seconds, nanos).map_err(|e| fault(e.to_string()))?;
    Ok(if micro { machinery::time::rfc3339_micro(at) } else { machinery::time::rfc3339(at) }.into())
}

fn repeated(bytes: &[u8], wanted: u64) -> impl Iterator<Item = Result<&[u8], Error>> {
    fields(bytes).filter_map(move |field| match field {
        Ok((number, Wire::Bytes(bytes))) if number == wanted => Some(Ok(bytes)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

fn inner(bytes: &[u8], wanted: u64) -> Result<&[u8], Error> {
    repeated(bytes, wanted).last().unwrap_or(Ok(&[]))
}

fn string(bytes: &[u8], wanted: u64) -> Result<String, Error> {
    text(inner(bytes, wanted)?)
}

fn number(bytes: &[u8], wanted: u64) -> Result<u64, Error> {
    let mut found = 0;
    for field in fields(bytes) {
        if let (number, Wire::Varint(value)) = field?
            && number == wanted
        {
            found = value;
        }
    }
    Ok(found)
}

/// An object of any kind: JSON, or protobuf in an envelope of its own.
fn raw(bytes: &[u8], depth: usize) -> Result<Value, Error> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if !bytes.starts_with(MAGIC) {
        return serde_json::from_slice(bytes).map_err(|e| fault(e.to_string()));
    }
    let envelope = open(bytes)?;
    let ty = schema::of_object(envelope.api_version, envelope.kind).ok_or_else(|| {
        fault(format!("no kind \"{}\" is registered for version \"{}\"", envelope.kind, envelope.api_version))
    })?;
    let mut map = object(envelope.raw, ty, depth)?;
    map.insert("apiVersion".into(), envelope.api_version.into());
    map.insert("kind".into(), envelope.kind.into());
    Ok(map.into())
}

fn schema_or(shape: &Shape, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let ty = shape.object().ok_or_else(|| fault("no schema type"))?;
    let schema = |number| -> Result<Option<Value>, Error> {
        match repeated(bytes, number).last() {
            Some(bytes) => Ok(Some(object(bytes?, ty, depth)?.into())),
            None => Ok(None),
        }
    };
    match shape {
        Shape::SchemaOrBool => match schema(2)? {
            Some(found) => Ok(found),
            None => Ok((number(bytes, 1)? != 0).into()),
        },
        Shape::SchemaOrStrings => match schema(1)? {
            Some(found) => Ok(found),
            None => repeated(bytes, 2).map(|item| text(item?).map(Value::String)).collect(),
        },
        _ => match schema(1)? {
            Some(found) => Ok(found),
            None => repeated(bytes, 2).map(|item| object(item?, ty, depth).map(Value::Object)).collect(),
        },
    }
}
