//! Embedded resources: their TypeMeta and ObjectMeta are checked and pruned as the built-in types'
//! (`apiserver/schema/objectmeta`).

use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupVersion;
use machinery::{meta, names};
use serde_json::{Map, Value};

use super::parse::Schema;

/// Brings the metadata of embedded resources into form; gives the paths of fields that they do not know, sorted. With
/// `drop_invalid` what has the wrong type goes, as in what was stored before there were such checks.
pub(super) fn coerce(value: &mut Value, schema: &Schema, drop_invalid: bool) -> Result<Vec<String>, Error> {
    let mut unknown = Vec::new();
    walk(value, schema, drop_invalid, &Path::nil(), &mut unknown)?;
    unknown.sort();
    Ok(unknown)
}

fn walk(
    value: &mut Value,
    schema: &Schema,
    drop_invalid: bool,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    match value {
        Value::Object(map) => {
            if schema.embedded {
                type_meta(map, drop_invalid, path)?;
                metadata(map, drop_invalid, path, unknown)?;
            }
            for (name, inner) in map.iter_mut() {
                if let Some(field) = schema.properties.get(name) {
                    walk(inner, field, drop_invalid, &path.child(name), unknown)?;
                } else if let Some(other) = schema.other() {
                    walk(inner, other, drop_invalid, &path.key(name), unknown)?;
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = schema.item() {
                for (i, inner) in items.iter_mut().enumerate() {
                    walk(inner, item, drop_invalid, &path.index(i), unknown)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn type_meta(map: &mut Map<String, Value>, drop_invalid: bool, path: &Path) -> Result<(), Error> {
    for name in ["apiVersion", "kind"] {
        match map.get(name) {
            None | Some(Value::String(_)) => {}
            Some(_) if drop_invalid => {
                map.remove(name);
            }
            Some(other) => return Err(Error::invalid(&path.child(name), other.clone(), "must be a string")),
        }
    }
    Ok(())
}

fn metadata(
    map: &mut Map<String, Value>,
    drop_invalid: bool,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), Error> {
    let Some(given) = map.get("metadata") else { return Ok(()) };
    let at = path.child("metadata");
    let mut note = |strict: Vec<String>| {
        unknown.extend(strict.iter().filter_map(|s| unknown_field(s)).map(|name| format!("{at}.{name}")));
    };
    let decoded = match decode(given.clone()) {
        Ok(decoded) => {
            note(decoded.strict);
            decoded.value
        }
        Err(_) if drop_invalid => {
            let Some(fields) = given.as_object() else { return Ok(()) };
            let mut kept = Map::new();
            for (name, value) in fields {
                let one = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
                if let Ok(decoded) = decode(one) {
                    note(decoded.strict);
                    kept.extend(decoded.value.as_object().cloned().unwrap_or_default());
                }
            }
            Value::Object(kept)
        }
        Err(error) => return Err(Error::invalid(&at, given.clone(), error.to_string())),
    };
    map.insert("metadata".to_owned(), normal(&decoded));
    Ok(())
}

fn decode(value: Value) -> Result<api::decode::Decoded, api::decode::Error> {
    match value {
        Value::Null => api::decode::value(Value::Object(Map::new()), api::schema::object_meta()),
        value => api::decode::value(value, api::schema::object_meta()),
    }
}

// `unknown field "labels.x"`; fields given twice are not unknown.
fn unknown_field(strict: &str) -> Option<&str> {
    strict.strip_prefix("unknown field \"")?.strip_suffix('"')
}

// As Go would write it again: without empty fields, and without a zero creationTimestamp.
fn normal(decoded: &Value) -> Value {
    let bytes = api::encode::to_vec(decoded, api::schema::object_meta());
    let mut value: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| decoded.clone());
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
    value
}

/// Faults of embedded resources. The root's metadata are the registry's.
pub(super) fn validate(value: &Value, schema: &Schema, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    check(value, schema, path, &mut errors);
    errors
}

fn check(value: &Value, schema: &Schema, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Object(map) => {
            if schema.embedded {
                embedded(map, value, path, errors);
            }
            for (name, inner) in map {
                if let Some(field) = schema.properties.get(name) {
                    check(inner, field, &path.child(name), errors);
                } else if let Some(other) = schema.other() {
                    check(inner, other, &path.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = schema.item() {
                for (i, inner) in items.iter().enumerate() {
                    check(inner, item, &path.index(i), errors);
                }
            }
        }
        _ => {}
    }
}

/// Faults of one embedded resource.
pub(super) fn embedded(map: &Map<String, Value>, value: &Value, path: &Path, errors: &mut ErrorList) {
    let at = path.child("apiVersion");
    match map.get("apiVersion") {
        None => errors.push(Error::required(&at, "")),
        Some(Value::String(text)) if text.is_empty() => errors.push(Error::invalid(&at, "", "must not be empty")),
        Some(Value::String(text)) => {
            if let Err(fault) = GroupVersion::parse(text) {
                errors.push(Error::invalid(&at, text.as_str(), fault));
            }
        }
        Some(other) => errors.push(Error::invalid(&at, other.clone(), "must be a string")),
    }
    let at = path.child("kind");
    match map.get("kind") {
        None => errors.push(Error::required(&at, "")),
        Some(Value::String(text)) if text.is_empty() => errors.push(Error::invalid(&at, "", "must not be empty")),
        Some(Value::String(text)) => {
            let faults = names::dns1035_label(&text.to_lowercase());
            if !faults.is_empty() {
                let detail = format!("may have mixed case, but should otherwise match: {}", faults.join(","));
                errors.push(Error::invalid(&at, text.as_str(), detail));
            }
        }
        Some(other) => errors.push(Error::invalid(&at, other.clone(), "must be a string")),
    }
    let Some(given) = map.get("metadata") else { return };
    let at = path.child("metadata");
    match decode(given.clone()) {
        Err(error) => errors.push(Error::invalid(&at, given.clone(), error.to_string())),
        Ok(decoded) => {
            let mut object = Value::Object(Map::from_iter([("metadata".to_owned(), decoded.value)]));
            if meta::name(value).is_empty() {
                meta::set_name(&mut object, "fakename");
            }
            let namespaced = !meta::namespace(&object).is_empty();
            errors.extend(meta::validate_object_meta(&object, namespaced, names::name_is_path_segment, &at));
        }
    }
}
