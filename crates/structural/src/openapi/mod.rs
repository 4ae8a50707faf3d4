//! OpenAPI validation of a value (`kube-openapi/pkg/validation/validate`, and its errors as
//! `apiextensions-apiserver/pkg/apiserver/validation` tells them).
//!
//! Upstream counts matches to choose which alternative's errors to show, and drops messages that were said already; both
//! are followed, since users see them.

use machinery::field::{Error, ErrorList, Path};
use machinery::go;
use serde_json::{Map, Value};

use super::correlate::Correlated;
use super::parse::{Additional, Schema};
use fault::{Fault, Outcome, join};

mod alternatives;
mod enumeration;
mod fault;
mod format;
mod number;
mod types;

pub(super) use format::recognized;

/// Faults of a value. `path` is where it stands; with an old value, parts that did not change may stay as they are.
pub(super) fn validate(value: &Value, schema: &Schema, old: Option<&Value>, path: &Path) -> ErrorList {
    let correlated = old.map(|old| Correlated { new: value, old, schema });
    node(value, schema, "", correlated).faults.into_iter().map(|fault| fault.error(path)).collect::<Vec<Error>>()
}

/// One value against one node. Alternatives within are not correlated, as upstream.
fn node(value: &Value, schema: &Schema, path: &str, correlated: Option<Correlated<'_>>) -> Outcome {
    let mut out = Outcome::default();
    if value.is_null() {
        out.merge(types::check(value, schema, path));
        out.merge(enumeration::check(value, schema, path));
    } else {
        let format = format::effective(schema);
        if types::constrained(schema) || !format.is_empty() {
            out.applied(types::check(value, schema, path));
        }
        out.applied(alternatives::check(value, schema, path));
        match value {
            Value::String(text) => {
                out.applied(string(text, schema, path));
                if formats::is_known(format) {
                    out.applied(format::check(text, format, path));
                }
            }
            Value::Number(number) => out.applied(number::check(number, schema, path)),
            Value::Array(items) => out.applied(slice(items, schema, path, correlated)),
            _ => {}
        }
        out.applied(enumeration::check(value, schema, path));
        if let Value::Object(map) = value {
            out.applied(object(map, schema, path, correlated));
        }
        out.matches += 1;
    }
    if !out.faults.is_empty() && correlated.is_some_and(|c| c.unchanged()) {
        out.faults.clear();
    }
    out
}

fn string(text: &str, schema: &Schema, path: &str) -> Outcome {
    let length = || text.chars().count() as i64;
    if let Some(max) = schema.max_length.filter(|max| length() > *max) {
        return Outcome::of(Fault::too_long(path, max));
    }
    if let Some(min) = schema.min_length.filter(|min| length() < *min) {
        let message = format!("{path} in body should be at least {min} chars long");
        return Outcome::of(Fault::other(path, text, message));
    }
    let Some(pattern) = &schema.pattern else { return Outcome::default() };
    let written = match pattern.matches(text) {
        Ok(true) => return Outcome::default(),
        Ok(false) => pattern.text().to_owned(),
        Err(fault) => format!("{}, but pattern is invalid: {fault}", pattern.text()),
    };
    Outcome::of(Fault::other(path, text, format!("{path} in body should match '{written}'")))
}

fn slice(items: &[Value], schema: &Schema, path: &str, correlated: Option<Correlated<'_>>) -> Outcome {
    let mut out = Outcome::default();
    if let Some(item) = schema.item() {
        for (i, inner) in items.iter().enumerate() {
            out.merge(node(inner, item, &format!("{path}[{i}]"), correlated.and_then(|c| c.index(i))));
        }
    }
    let size = items.len() as i64;
    if let Some(min) = schema.min_items.filter(|min| size < *min) {
        out.add(Fault::other(path, size, format!("{path} in body should have at least {min} items")));
    }
    if let Some(max) = schema.max_items.filter(|max| size > *max) {
        out.add(Fault::too_many(path, size, max, format!("{path} in body should have at most {max} items")));
    }
    if schema.unique_items && items.iter().enumerate().any(|(i, item)| items[..i].contains(item)) {
        out.add(Fault::other(path, Value::Null, format!("{path} in body shouldn't contain duplicates")));
    }
    out.matches += 1;
    out
}

fn object(map: &Map<String, Value>, schema: &Schema, path: &str, correlated: Option<Correlated<'_>>) -> Outcome {
    let mut out = Outcome::default();
    let size = map.len() as i64;
    if let Some(min) = schema.min_properties.filter(|min| size < *min) {
        out.add(Fault::other(path, size, format!("{path} in body should have at least {min} properties")));
    }
    if let Some(max) = schema.max_properties.filter(|max| size > *max) {
        out.add(Fault::too_many(path, size, max, format!("{path} in body should have at most {max} properties")));
    }
    for (name, inner) in map.iter().filter(|(name, _)| !schema.properties.contains_key(*name)) {
        match &schema.additional {
            Some(Additional::Bool(false)) => {
                let message = format!("{path}.{name} in body is a forbidden property");
                out.add(Fault::other(path, name.as_str(), message));
            }
            Some(Additional::Schema(other)) => {
                out.merge(node(inner, other, &format!("{path}.{name}"), key(correlated, path, name)));
            }
            _ => {}
        }
    }
    for (name, field) in &schema.properties {
        if let Some(inner) = map.get(name) {
            out.merge(node(inner, field, &join(path, name), key(correlated, path, name)));
        }
    }
    for name in schema.required.iter().filter(|name| !map.contains_key(*name)) {
        out.add(Fault::required(&format!("{path}.{name}")));
    }
    out
}

// The version of an object is never unchanged: both are converted to the same one.
fn key<'a>(correlated: Option<Correlated<'a>>, path: &str, name: &str) -> Option<Correlated<'a>> {
    correlated.filter(|_| !(path.is_empty() && (name == "kind" || name == "apiVersion"))).and_then(|c| c.key(name))
}

fn integral(number: f64) -> bool {
    const LIMIT: f64 = 9_007_199_254_740_991.0;
    if !number.is_finite() || number.abs() > LIMIT {
        return false;
    }
    let rounded = number.round();
    number == rounded || (rounded != 0.0 && (number - rounded).abs() < 1e-9 * rounded.abs())
}

fn printed(number: f64) -> String {
    go::float(number)
}
