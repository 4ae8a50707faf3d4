//! Which CustomResourceDefinitions are taken (`apis/apiextensions/validation/validation.go`), in upstream's words and order.
//!
//! What an update may keep although a creation may not have it, follows from the old definition: see [`Options`].

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use serde_json::Value;

use super::parse::Schema;
use super::{SHALLOW, depth, roomy};
use spec::Spec;

mod completeness;
mod conversion;
mod defaults;
mod field_path;
mod names_of;
mod openapi;
mod spec;
mod structural;
#[cfg(test)]
mod tests;
mod versions;
pub mod webhook;

pub(super) use field_path::valid as valid_field_path;
pub(super) use openapi::rule_fault;
pub use structural::definition_faults;

/// How strict to be.
#[allow(clippy::struct_excessive_bools)]
struct Options {
    recognized_review_version: bool,
    openapi_schema: bool,
    valid_types: bool,
    structural: bool,
    pruned_defaults: bool,
    atomic_sets: bool,
    map_keys: bool,
    invalid_ca_bundle: bool,
    immutable_names: bool,
    /// Whose selectable fields may stay too many; an empty name is the whole definition.
    many_selectable: Vec<String>,
    /// Versions whose schemas did not change: their rules may be more expensive than new ones.
    unchanged: Vec<String>,
}

impl Options {
    const CREATE: Self = Self {
        recognized_review_version: true,
        openapi_schema: true,
        valid_types: true,
        structural: true,
        pruned_defaults: true,
        atomic_sets: true,
        map_keys: true,
        invalid_ca_bundle: true,
        immutable_names: false,
        many_selectable: Vec::new(),
        unchanged: Vec::new(),
    };

    fn update(new: &Spec<'_>, old: &Spec<'_>, old_object: &Value) -> Self {
        let established = is_established(old_object);
        let schemas: Vec<&Schema> = old.schemas().collect();
        let any = |is: &dyn Fn(&Schema) -> bool| schemas.iter().any(|s| s.any(is));
        Self {
            recognized_review_version: conversion::recognized_or_none(old),
            openapi_schema: old.has_all_schemas(),
            valid_types: !any(&|s| !s.ty.is_empty() && !openapi::TYPES.contains(&s.ty.as_str())),
            structural: schemas.iter().all(|s| structural::is_structural(s)),
            pruned_defaults: !schemas.iter().any(|s| defaults::has_unpruned(s)),
            atomic_sets: !any(&openapi::is_non_atomic_set),
            map_keys: !any(&|s| !openapi::map_keys(s, &Path::nil()).is_empty()),
            invalid_ca_bundle: !established || conversion::has_invalid_ca_bundle(old),
            immutable_names: established,
            many_selectable: versions::many_selectable(new, old),
            unchanged: versions::unchanged(new, old),
        }
    }
}

/// Whether the definition is established: then names cannot change any more.
fn is_established(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == "Established" && c["status"] == "True")
}

/// Faults of a definition (defaulted), on creation or update.
pub fn validate_definition(new: &Value, old: Option<&Value>) -> ErrorList {
    roomy(is_deep(new) || old.is_some_and(is_deep), || validate(new, old))
}

fn is_deep(definition: &Value) -> bool {
    depth(&definition["spec"]) > SHALLOW
}

fn validate(new: &Value, old: Option<&Value>) -> ErrorList {
    let metadata = Path::new("metadata");
    let spec = Spec::of(new);
    let at = Path::new("spec");
    let mut errors;
    match old {
        None => {
            let required = format!("{}.{}", spec.name("plural"), spec.group);
            errors = object_meta(new, &required, &metadata);
            errors.extend(versions::spec(&spec, &Options::CREATE, &at));
        }
        Some(old) => {
            errors = meta::validate_object_meta_update(new, old, &metadata);
            let old_spec = Spec::of(old);
            let options = Options::update(&spec, &old_spec, old);
            errors.extend(versions::spec(&spec, &options, &at));
            errors.extend(immutable(&spec, &old_spec, options.immutable_names, &at));
        }
    }
    let status = Path::new("status");
    errors.extend(names_of::validate(&new["status"]["acceptedNames"], &status.child("acceptedNames")));
    errors.extend(stored_versions(new, &spec, &status.child("storedVersions")));
    errors.extend(api_approval(new, old, spec.group));
    errors.extend(preserve_unknown(new, old));
    errors
}

/// Faults of a definition whose status was written.
pub fn validate_definition_status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = meta::validate_object_meta_update(new, old, &Path::new("metadata"));
    let at = Path::new("status").child("acceptedNames");
    errors.extend(names_of::validate(&new["status"]["acceptedNames"], &at));
    errors
}

/// Formats that mean nothing, where they are new.
pub fn definition_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let formats = |definition: &Value| {
        roomy(is_deep(definition), || {
            let spec = Spec::of(definition);
            let mut found = Vec::new();
            spec.schemas().for_each(|schema| unrecognized(schema, &mut found));
            found
        })
    };
    let known = old.map(formats).unwrap_or_default();
    let new = formats(new).into_iter().filter(|format| !known.contains(format));
    new.map(|format| format!("unrecognized format {}", machinery::go::quote(&format))).collect()
}

fn unrecognized(schema: &Schema, found: &mut Vec<String>) {
    if !schema.format.is_empty() && !super::openapi::recognized(schema) {
        found.push(schema.format.clone());
    }
    schema.children().for_each(|child| unrecognized(child, found));
}

// The name must be made of the plural and the group.
fn object_meta(object: &Value, required: &str, path: &Path) -> ErrorList {
    let mut errors = meta::validate_object_meta(object, false, names::name_is_dns_subdomain, path);
    let name = meta::name(object);
    if !name.is_empty() && name != required {
        let fault = Error::invalid(&path.child("name"), name, "must be spec.names.plural+\".\"+spec.group");
        let after = errors.iter().rposition(|e| e.field == "metadata.name").map_or(0, |at| at + 1);
        errors.insert(after, fault);
    }
    errors
}

fn immutable(new: &Spec<'_>, old: &Spec<'_>, names_too: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut same = |new: &str, old: &str, at: Path| {
        if new != old {
            errors.push(Error::invalid(&at, new, "field is immutable"));
        }
    };
    let names = path.child("names");
    if names_too {
        same(new.scope, old.scope, path.child("scope"));
        same(new.name("kind"), old.name("kind"), names.child("kind"));
    }
    same(new.group, old.group, path.child("group"));
    same(new.name("plural"), old.name("plural"), names.child("plural"));
    errors
}

fn stored_versions(object: &Value, spec: &Spec<'_>, path: &Path) -> ErrorList {
    let stored: Vec<&str> = object["status"].texts("storedVersions").collect();
    if stored.is_empty() {
        let none = object.pointer("/status/storedVersions").cloned().unwrap_or_default();
        return vec![Error::invalid(path, none, "must have at least one stored version")];
    }
    let mut errors = ErrorList::new();
    for version in spec.versions.iter().filter(|v| v.storage && !stored.contains(&v.name)) {
        errors.push(Error::invalid(path, stored.clone(), format!("must have the storage version {}", version.name)));
    }
    for (i, name) in stored.iter().enumerate().filter(|(_, name)| spec.versions.iter().all(|v| v.name != **name)) {
        errors.push(Error::invalid(
            &path.index(i),
            *name,
            format!("missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"),
        ));
    }
    errors
}

const APPROVED: &str = "api-approved.kubernetes.io";

/// What the annotation says.
#[derive(PartialEq)]
enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

impl Approval {
    fn of(object: &Value) -> Self {
        match meta::annotation(object, APPROVED).unwrap_or_default() {
            "" => Approval::Missing,
            text if text.starts_with("unapproved") => Approval::Bypassed,
            text if webhook::has_scheme_and_host(text) => Approval::Approved,
            _ => Approval::Invalid,
        }
    }
}

fn api_approval(new: &Value, old: Option<&Value>, group: &str) -> ErrorList {
    let protected = |name: &str| group == name || group.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
    if !protected("k8s.io") && !protected("kubernetes.io") {
        return ErrorList::new();
    }
    let approval = Approval::of(new);
    if old.is_some_and(|old| Approval::of(old) == approval) {
        return ErrorList::new();
    }
    let at = Path::new("metadata").child("annotations").key(APPROVED);
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match approval {
        Approval::Approved | Approval::Bypassed => ErrorList::new(),
        Approval::Missing => {
            let detail = format!("protected groups must have approval annotation \"{APPROVED}\", {see}");
            vec![Error::required(&at, detail)]
        }
        Approval::Invalid => {
            let detail = format!(
                "protected groups must have approval annotation \"{APPROVED}\" with either a URL or a reason starting with \"unapproved\", {see}"
            );
            vec![Error::invalid(&at, meta::annotation(new, APPROVED).unwrap_or_default(), detail)]
        }
    }
}

fn preserve_unknown(new: &Value, old: Option<&Value>) -> ErrorList {
    let set = |object: &Value| object.pointer("/spec/preserveUnknownFields") == Some(&Value::Bool(true));
    if !set(new) || old.is_some_and(set) {
        return ErrorList::new();
    }
    let detail =
        "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    vec![Error::invalid(&Path::new("spec").child("preserveUnknownFields"), true, detail)]
}
