//! What makes a schema structural (`apiserver/schema/validation.go`): every value has a type that is said once, outside of
//! alternatives, which only constrain.

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use serde_json::Value;

use super::completeness;
use crate::parse::Schema;
use crate::{SHALLOW, depth, roomy, unsupported};

/// Where a node stands.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Faults, sorted as upstream sorts them.
pub(super) fn validate(schema: &Schema, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    invariants(schema, Level::Root, path, &mut errors);
    completeness::validate(schema, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

pub(super) fn is_structural(schema: &Schema) -> bool {
    unsupported(schema).is_none() && validate(schema, &Path::nil()).is_empty()
}

fn invariants(s: &Schema, level: Level, path: &Path, errors: &mut ErrorList) {
    if s.ty == "array" && s.item().is_none() {
        errors.push(Error::required(&path.child("items"), "must be specified"));
    }
    if let Some(item) = s.item() {
        invariants(item, Level::Item, &path.child("items"), errors);
    }
    for (name, field) in &s.properties {
        invariants(field, Level::Field, &path.child("properties").key(name), errors);
    }
    if s.additional.is_some() && level == Level::Root {
        errors.push(Error::forbidden(&path.child("additionalProperties"), "must not be used at the root"));
    }
    if let Some(other) = s.other() {
        invariants(other, Level::Field, &path.child("additionalProperties"), errors);
    }
    for (there, name) in
        [(s.preserves(), "x-kubernetes-preserve-unknown-fields"), (s.embedded, "x-kubernetes-embedded-resource")]
    {
        if s.int_or_string && there {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(Error::invalid(&path.child(name), true, detail));
        }
    }
    let first = s.all_of.first().is_some_and(is_int_or_string);
    value(s, is_int_or_string(s), first, path, errors);
    types(s, level, path, errors);
    metadata(s, level, path, errors);
    if s.embedded && !s.preserves() && s.properties.is_empty() {
        let detail =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(Error::required(&path.child("properties"), detail));
    }
}

fn types(s: &Schema, level: Level, path: &Path, errors: &mut ErrorList) {
    let at = path.child("type");
    if s.embedded && s.ty != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if s.ty.is_empty() {
            Error::required(&at, detail)
        } else {
            Error::invalid(&at, s.ty.as_str(), detail)
        });
    } else if s.ty.is_empty() && !s.int_or_string && !s.preserves() {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(Error::required(&at, detail));
    }
    if s.embedded && s.additional.is_some() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(Error::forbidden(&path.child("additionalProperties"), detail));
    }
    if level == Level::Root && !s.ty.is_empty() && s.ty != "object" {
        errors.push(Error::invalid(&at, s.ty.as_str(), "must be object at the root"));
    }
}

fn metadata(s: &Schema, level: Level, path: &Path, errors: &mut ErrorList) {
    let checked = level == Level::Root || s.embedded;
    for name in ["kind", "apiVersion"] {
        if let Some(field) = s.properties.get(name).filter(|f| checked && f.ty != "string") {
            let at = path.child("properties").key(name).child("type");
            errors.push(Error::invalid(&at, field.ty.as_str(), "must be string"));
        }
    }
    let Some(field) = s.properties.get("metadata") else { return };
    let at = path.child("properties").key("metadata");
    if checked && field.ty != "object" {
        errors.push(Error::invalid(&at.child("type"), field.ty.as_str(), "must be object"));
    }
    if level == Level::Root {
        let mut rest = Schema { ty: String::new(), default: None, ..field.clone() };
        if rest.properties.keys().all(|name| name == "name" || name == "generateName") {
            rest.properties.clear();
        }
        if rest != Schema::default() {
            let detail =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(Error::forbidden(&at, detail));
        }
    }
}

// `anyOf: [{type: integer}, {type: string}]`, and nothing else in them.
fn is_int_or_string(s: &Schema) -> bool {
    let only = |s: &Schema, ty: &str| *s == Schema { ty: ty.to_owned(), ..Schema::default() };
    matches!(s.any_of.as_slice(), [a, b] if only(a, "integer") && only(b, "string"))
}

fn value(s: &Schema, skip_any: bool, skip_first_any: bool, path: &Path, errors: &mut ErrorList) {
    if !skip_any {
        for (i, inner) in s.any_of.iter().enumerate() {
            nested(inner, false, &path.child("anyOf").index(i), errors);
        }
    }
    for (i, inner) in s.all_of.iter().enumerate() {
        nested(inner, skip_first_any && i == 0, &path.child("allOf").index(i), errors);
    }
    for (i, inner) in s.one_of.iter().enumerate() {
        nested(inner, false, &path.child("oneOf").index(i), errors);
    }
    if let Some(not) = &s.not {
        nested(not, false, &path.child("not"), errors);
    }
    if let Some(pattern) = &s.pattern
        && let Err(fault) = pattern.regex()
    {
        let detail = format!("must be a valid regular expression, but isn't: {fault}");
        errors.push(Error::invalid(&path.child("pattern"), pattern.text(), detail));
    }
}

fn nested(s: &Schema, skip_any: bool, path: &Path, errors: &mut ErrorList) {
    value(s, skip_any, false, path, errors);
    if let Some(item) = s.item() {
        nested(item, false, &path.child("items"), errors);
    }
    for (name, field) in &s.properties {
        nested(field, false, &path.child("properties").key(name), errors);
    }
    for (wrong, name, must) in [
        (!s.ty.is_empty(), "type", "empty"),
        (
            !matches!(s.additional, None | Some(crate::parse::Additional::Bool(false))),
            "additionalProperties",
            "undefined",
        ),
        (s.default.is_some(), "default", "undefined"),
        (!s.title.is_empty(), "title", "empty"),
        (!s.description.is_empty(), "description", "empty"),
        (s.nullable, "nullable", "false"),
        (s.preserves(), "x-kubernetes-preserve-unknown-fields", "false"),
        (s.embedded, "x-kubernetes-embedded-resource", "false"),
        (s.int_or_string, "x-kubernetes-int-or-string", "false"),
        (!s.map_keys.is_empty(), "x-kubernetes-list-map-keys", "empty"),
        (s.list_type.is_some(), "x-kubernetes-list-type", "undefined"),
        (s.map_type.is_some(), "x-kubernetes-map-type", "undefined"),
        (!s.rules.is_empty(), "x-kubernetes-validations", "empty"),
    ] {
        if wrong {
            errors.push(Error::forbidden(&path.child(name), format!("must be {must} to be structural")));
        }
    }
    if s.properties.contains_key("metadata") {
        let at = path.child("properties").key("metadata");
        errors.push(Error::forbidden(&at, "must not be specified in a nested context"));
    }
}

/// What keeps a definition's schemas from being structural; of schemas that can't even be read, which and why.
///
/// # Errors
/// The version whose schema can't be read, and why.
pub fn definition_faults(definition: &Value) -> Result<ErrorList, String> {
    let mut errors = ErrorList::new();
    let spec = &definition["spec"];
    if spec["preserveUnknownFields"] == true {
        errors.push(Error::invalid(&Path::new("spec").child("preserveUnknownFields"), true, "must be false"));
    }
    for (at, version) in spec["versions"].as_array().into_iter().flatten().enumerate() {
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema.is_null() {
            continue;
        }
        roomy(depth(schema) > SHALLOW, || {
            let read = Schema::of(schema);
            if let Some(fault) = unsupported(&read) {
                let name = version.text("name");
                return Err(format!("failed to check validation schema for version {name}: {fault}"));
            }
            let path = Path::new("spec").child("versions").index(at).child("schema").child("openAPIV3Schema");
            errors.extend(validate(&read, &path));
            Ok(())
        })?;
    }
    Ok(errors)
}
