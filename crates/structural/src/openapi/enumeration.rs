//! `enum`. Go converts a number to the type of the listed value before it compares; so does this.

use machinery::go;
use serde_json::Value;

use super::fault::{Fault, Outcome};
use crate::parse::Schema;

pub(super) fn check(value: &Value, schema: &Schema, path: &str) -> Outcome {
    if schema.enumeration.is_empty() || schema.enumeration.iter().any(|listed| equal(value, listed)) {
        return Outcome::default();
    }
    let allowed = schema.enumeration.iter().map(|listed| match listed {
        Value::String(text) => text.clone(),
        other => go::json(other),
    });
    Outcome::of(Fault::enumeration(path, value.clone(), allowed.collect()))
}

fn equal(value: &Value, listed: &Value) -> bool {
    match (value, listed) {
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            (None, Some(b)) => a.as_f64().is_some_and(|a| a.trunc() == b as f64),
            _ => a.as_f64() == b.as_f64(),
        },
        // An integer becomes the character of that number.
        (Value::Number(a), Value::String(b)) => a.as_i64().is_some_and(|a| {
            let c = u32::try_from(a).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            b.chars().eq([c])
        }),
        (a, b) => a == b,
    }
}
