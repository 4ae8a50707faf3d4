//! From JSON to a checked value of a known type: unknown fields pruned and reported, nulls dropped, times and quantities
//! in their canonical form, and type errors in the words of upstream's decoder (`sigs.k8s.io/json`).
//!
//! One pass builds the result directly from the bytes; nothing is parsed twice unless it is wrong.

use std::fmt;

use serde::de::DeserializeSeed;
use serde_json::Value;

use crate::schema::{Shape, Type};

mod scalar;
mod seed;
mod syntax;
#[cfg(test)]
mod tests;
mod unstructured;

pub use syntax::explain as syntax_error;
pub use unstructured::{patched, unstructured};

/// At most this many strict errors are kept, as upstream does.
const STRICT_LIMIT: usize = 100;

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object: known fields only, no nulls.
    pub value: Value,
    /// What strict field validation refuses, in order of occurrence and in upstream's words:
    /// `unknown field "spec.foo"`, `duplicate field "spec.x"`.
    pub strict: Vec<String>,
}

impl Decoded {
    /// The error of a strict decoder, where there is something to refuse.
    pub fn strict_error(&self) -> Option<String> {
        (!self.strict.is_empty()).then(|| format!("strict decoding error: {}", self.strict.join(", ")))
    }
}

/// Why bytes are not an object of the type. The text is upstream's inner message, without what the request handler puts
/// around it (see [`Error::of_request`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl Error {
    /// The message of the BadRequest that a client gets: `Deployment in version "v1" cannot be handled as a Deployment: …`.
    pub fn of_request(&self, kind: &str, version: &str, expected_kind: &str) -> String {
        format!("{kind} in version {version:?} cannot be handled as a {expected_kind}: {self}")
    }
}

/// Decodes bytes. They may be hostile: depth is limited, and memory is a small multiple of the input.
pub fn json(bytes: &[u8], ty: &'static Type) -> Result<Decoded, Error> {
    let cx = seed::Context::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let result = seed::Seed::object(ty, &cx).deserialize(&mut reader).and_then(|v| reader.end().map(|()| v));
    match result {
        Ok(value) if cx.error().is_none() => {
            Ok(Decoded { value: value.unwrap_or_else(|| Value::Object(Default::default())), strict: cx.into_strict() })
        }
        Ok(_) => Err(Error(cx.error().unwrap_or_default())),
        Err(error) => Err(Error(syntax::explain(bytes).or(cx.error()).unwrap_or_else(|| error.to_string()))),
    }
}

/// Decodes a value that was read before (from YAML, or made by a patch).
pub fn value(value: Value, ty: &'static Type) -> Result<Decoded, Error> {
    // What is stored is read as bytes again, with their limit.
    if is_deeper(&value, syntax::DEPTH_LIMIT) {
        return Err(Error("exceeded max depth".into()));
    }
    let cx = seed::Context::default();
    let result = seed::Seed::object(ty, &cx).deserialize(value);
    match (cx.error(), result) {
        (None, Ok(value)) => {
            Ok(Decoded { value: value.unwrap_or_else(|| Value::Object(Default::default())), strict: cx.into_strict() })
        }
        (Some(error), _) => Err(Error(error)),
        (None, Err(error)) => Err(Error(error.to_string())),
    }
}

fn is_deeper(value: &Value, limit: usize) -> bool {
    match value {
        Value::Object(map) => limit == 0 || map.values().any(|value| is_deeper(value, limit - 1)),
        Value::Array(items) => limit == 0 || items.iter().any(|value| is_deeper(value, limit - 1)),
        _ => false,
    }
}

/// Whether a shape's values are checked by content and not only by form.
pub(crate) fn is_scalar(shape: &Shape) -> bool {
    !matches!(
        shape,
        Shape::Object(_)
            | Shape::List(_)
            | Shape::Map(_)
            | Shape::Strings
            | Shape::Raw
            | Shape::FieldsV1
            | Shape::Json
            | Shape::SchemaOrArray
            | Shape::SchemaOrBool
            | Shape::SchemaOrStrings
    )
}
