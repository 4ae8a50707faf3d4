//! `type`, `nullable`, and what `format` says of types.

use serde_json::Value;

use super::fault::{Fault, Outcome};
use super::{format, integral};
use crate::parse::Schema;

/// The types that a node takes; none takes all.
pub(super) fn of(schema: &Schema) -> Vec<&str> {
    match (schema.int_or_string, schema.ty.as_str()) {
        (true, _) => vec!["integer", "string"],
        (false, "") => Vec::new(),
        (false, ty) => vec![ty],
    }
}

pub(super) fn constrained(schema: &Schema) -> bool {
    schema.int_or_string || !schema.ty.is_empty()
}

// The value's type, and the format that it has by itself.
fn given(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Number(n) if n.as_i64().is_some() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

pub(super) fn check(value: &Value, schema: &Schema, path: &str) -> Outcome {
    let types = of(schema);
    let has = |ty: &str| types.contains(&ty);
    let wanted = || types.join(",");
    let (ty, own_format) = given(value);
    if value.is_null() {
        if !types.is_empty() && !has("null") && !schema.nullable {
            return Outcome::of(Fault::wrong_type(path, &wanted(), ty));
        }
        return Outcome::passed();
    }
    let format = format::effective(schema);
    let whole = ty == "number" && has("integer") && value.as_f64().is_some_and(integral);
    let fits = has(ty) || whole || (ty == "integer" && has("number"));
    let text = value.is_string() || value.is_array();
    if !text && !format.is_empty() && !fits && own_format != format {
        return Outcome::of(Fault::wrong_type(path, format, own_format));
    }
    if text && !format.is_empty() && !has("number") && !has("integer") {
        return Outcome::passed();
    }
    if fits { Outcome::passed() } else { Outcome::of(Fault::wrong_type(path, &wanted(), ty)) }
}
