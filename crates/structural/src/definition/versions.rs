//! The spec: versions, subresources, columns, selectable fields.

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::{go, names};
use serde_json::Value;

use super::spec::{Parts, Spec, Validation, Version, has_status};
use super::{Options, conversion, field_path, names_of, openapi};
use crate::parse::Schema;

const MAX_SELECTABLE_FIELDS: usize = 8;

pub(super) fn spec(spec: &Spec<'_>, options: &Options, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    group_and_scope(spec, path, &mut errors);
    let structural = structural_is_required(spec, options, path, &mut errors);
    for (i, version) in spec.versions.iter().enumerate() {
        one(spec, version, options, structural, &path.child("versions").index(i), &mut errors);
    }
    let at = path.child("versions");
    let mut seen: Vec<&str> = Vec::new();
    if spec.versions.iter().any(|v| {
        seen.contains(&v.name) || {
            seen.push(v.name);
            false
        }
    }) {
        errors.push(of_all(spec, &at, "must contain unique version names"));
    }
    if spec.versions.iter().filter(|v| v.storage).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(of_all(spec, &at, detail));
    }
    if let Some(first) = spec.versions.first() {
        let faults = names::dns1035_label(first.name);
        if !first.name.is_empty() && !faults.is_empty() {
            errors.push(Error::invalid(&path.child("version"), first.name, faults.join(",")));
        }
    }
    let at = path.child("names");
    for name in ["plural", "singular", "kind", "listKind"].into_iter().filter(|name| spec.name(name).is_empty()) {
        errors.push(Error::required(&at.child(name), ""));
    }
    errors.extend(names_of::validate(&spec.raw["names"], &at));
    let first = spec.versions.first().map_or("", |v| v.name);
    let kept = options.unchanged.iter().any(|v| v == first);
    parts(&spec.common, spec.has_any_status(), options, (structural, kept), path, "validation", &mut errors);
    if !spec.common.selectable.is_empty() {
        match &spec.common.validation {
            None => errors.push(Error::invalid(
                &path.child("selectableFields"),
                "",
                "may only be set when validations.schema is included",
            )),
            Some(validation) => selectable(&spec.common, validation, options, "", path, &mut errors),
        }
    }
    errors.extend(conversion::validate(spec, options, &path.child("conversion")));
    errors
}

fn of_all(spec: &Spec<'_>, path: &Path, detail: &str) -> Error {
    let error = Error::invalid(path, Value::Null, format!("{}: {detail}", spec.printed_versions()));
    Error { bad_value: None, ..error }
}

fn group_and_scope(spec: &Spec<'_>, path: &Path, errors: &mut ErrorList) {
    let at = path.child("group");
    let faults = names::dns1123_subdomain(spec.group);
    if spec.group.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if !faults.is_empty() {
        errors.push(Error::invalid(&at, spec.group, faults.join(",")));
    } else if !spec.group.contains('.') {
        errors.push(Error::invalid(&at, spec.group, "should be a domain with at least one dot"));
    }
    one_of(spec.scope, &["Cluster", "Namespaced"], &path.child("scope"), errors);
}

/// A text that must be one of these.
pub(super) fn one_of(value: &str, accepted: &[&str], path: &Path, errors: &mut ErrorList) {
    if value.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !accepted.contains(&value) {
        errors.push(Error::not_supported(path, value, accepted));
    }
}

fn structural_is_required(spec: &Spec<'_>, options: &Options, path: &Path, errors: &mut ErrorList) -> bool {
    let mut required = options.structural || !spec.preserve_unknown;
    if !spec.has_common_schema() && (options.openapi_schema || !spec.preserve_unknown) {
        let detail = if options.openapi_schema { "" } else { "because otherwise all fields are pruned" };
        for (i, version) in spec.versions.iter().enumerate() {
            let there = version.own.validation.as_ref().is_some_and(|v| v.schema.is_some());
            if !there && (options.openapi_schema || version.served) {
                let at = path.child("versions").index(i).child("schema").child("openAPIV3Schema");
                errors.push(Error::required(&at, detail));
            }
        }
    }
    if spec.schemas().any(|s| s.any(&|s| s.default.is_some())) {
        required = true;
        if spec.preserve_unknown {
            let detail = "must be false in order to use defaults in the schema";
            errors.push(Error::invalid(&path.child("preserveUnknownFields"), true, detail));
        }
    }
    let extended = |s: &Schema| {
        s.embedded
            || s.preserve.is_some()
            || s.int_or_string
            || !s.map_keys.is_empty()
            || s.list_type.is_some()
            || !s.rules.is_empty()
    };
    required || spec.schemas().any(|s| s.any(&extended))
}

fn one(
    spec: &Spec<'_>,
    version: &Version<'_>,
    options: &Options,
    structural: bool,
    path: &Path,
    errors: &mut ErrorList,
) {
    let faults = names::dns1035_label(version.name);
    if !faults.is_empty() {
        errors.push(Error::invalid(&path.child("name"), version.name, faults.join(",")));
    }
    deprecation(version.raw, &path.child("deprecationWarning"), errors);
    let status = has_status(spec.subresources(version));
    let kept = options.unchanged.iter().any(|v| v == version.name);
    parts(&version.own, status, options, (structural, kept), path, "schema", errors);
    if !version.own.selectable.is_empty() {
        match &version.own.validation {
            Some(validation) if validation.schema.is_some() => {
                selectable(&version.own, validation, options, version.name, path, errors);
            }
            _ => errors.push(Error::invalid(
                &path.child("selectableFields"),
                "",
                "may only be set when `version.schema.openAPIV3Schema` is not included",
            )),
        }
    }
}

fn deprecation(version: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else { return };
    let mut say = |detail: String| errors.push(Error::invalid(path, warning, detail));
    if version.get("deprecated") != Some(&Value::Bool(true)) {
        return say("can only be set for deprecated versions".to_owned());
    }
    if warning.len() > 256 {
        say("must be <= 256 characters long".to_owned());
    }
    if warning.is_empty() {
        say("must not be an empty string".to_owned());
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, c)| !go::printable(*c)) {
        let words = "must only contain printable UTF-8 characters; non-printable character found at index";
        say(format!("{words} {at}"));
    }
}

fn parts(
    parts: &Parts<'_>,
    status: bool,
    options: &Options,
    (structural, unchanged): (bool, bool),
    path: &Path,
    validation: &str,
    errors: &mut ErrorList,
) {
    if let Some(Validation { schema: Some(schema), raw }) = &parts.validation {
        errors.extend(openapi::validate(schema, raw, status, options, structural, unchanged, &path.child(validation)));
    }
    if let Some(scale) = parts.subresources.and_then(|s| s.get("scale")).filter(|s| !s.is_null()) {
        scale_paths(scale, &path.child("subresources"), errors);
    }
    for (i, column) in parts.columns.iter().enumerate() {
        column_definition(column, &path.child("additionalPrinterColumns").index(i), errors);
    }
}

fn scale_paths(scale: &Value, path: &Path, errors: &mut ErrorList) {
    for (name, prefixes, words) in [
        ("specReplicasPath", &[".spec."][..], "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."], "should be a json path under .status"),
        ("labelSelectorPath", &[".spec.", ".status."], "should be a json path under either .spec or .status"),
    ] {
        let (at, value) = (path.child(format!("scale.{name}")), scale.text(name));
        match value {
            "" if name == "labelSelectorPath" => {}
            "" => errors.push(Error::required(&at, "")),
            _ if !value.starts_with('.') => errors.push(simple_path(value, &at)),
            _ if !prefixes.iter().any(|p| value.starts_with(p)) => errors.push(Error::invalid(&at, value, words)),
            _ => {}
        }
    }
}

fn simple_path(value: &str, path: &Path) -> Error {
    Error::invalid(path, value, "must be a simple json path starting with .")
}

fn column_definition(column: &Value, path: &Path, errors: &mut ErrorList) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    if column.text("name").is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    let (at, words) = (path.child("type"), format!("must be one of {}", TYPES.join(",")));
    match column.text("type") {
        "" => errors.push(Error::required(&at, words)),
        ty if !TYPES.contains(&ty) => errors.push(Error::invalid(&at, ty, words)),
        _ => {}
    }
    let format = column.text("format");
    if !format.is_empty() && !FORMATS.contains(&format) {
        let detail = format!("must be one of {}", FORMATS.join(","));
        errors.push(Error::invalid(&path.child("format"), format, detail));
    }
    let at = path.child("JSONPath");
    match column.text("jsonPath") {
        "" => errors.push(Error::required(&at, "")),
        value if !value.starts_with('.') => errors.push(simple_path(value, &at)),
        _ => {}
    }
}

fn selectable(
    parts: &Parts<'_>,
    validation: &Validation,
    options: &Options,
    version: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    let empty = Schema::default();
    let schema = validation.schema.as_ref().unwrap_or(&empty);
    let at = path.child("selectableFields");
    let mut seen: Vec<String> = Vec::new();
    for (i, field) in parts.selectable.iter().enumerate() {
        let at = at.index(i).child("jsonPath");
        let given = field.get("jsonPath").and_then(Value::as_str).unwrap_or_default();
        if given.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        let (found, schema) = match field_path::valid(given, schema, false) {
            Ok(found) => found,
            Err(fault) => {
                errors.push(Error::invalid(&at, given, format!("is an invalid path: {fault}")));
                continue;
            }
        };
        if found == "metadata" || found.starts_with("metadata.") || found.starts_with("metadata[") {
            errors.push(Error::invalid(&at, given, "must not point to fields in metadata"));
        }
        if !matches!(schema.ty.as_str(), "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(Error::invalid(&at, given, detail));
        }
        if seen.contains(&found) {
            errors.push(Error::duplicate(&at, given));
        } else {
            seen.push(found);
        }
    }
    if seen.len() > MAX_SELECTABLE_FIELDS && !options.many_selectable.iter().any(|v| v == version) {
        errors.push(Error::too_many(&at, seen.len(), MAX_SELECTABLE_FIELDS));
    }
}

/// Versions whose fields were too many before, and are the same.
pub(super) fn many_selectable(new: &Spec<'_>, old: &Spec<'_>) -> Vec<String> {
    let many = |new: &Parts<'_>, old: &Parts<'_>| {
        old.selectable.len() > MAX_SELECTABLE_FIELDS && new.selectable == old.selectable
    };
    let mut out = Vec::new();
    if many(&new.common, &old.common) {
        out.push(String::new());
    }
    for version in &new.versions {
        if old.versions.iter().any(|v| v.name == version.name && many(&version.own, &v.own)) {
            out.push(version.name.to_owned());
        }
    }
    out
}

/// Versions whose schemas are the same.
pub(super) fn unchanged(new: &Spec<'_>, old: &Spec<'_>) -> Vec<String> {
    let schema = |v: &Version<'_>| v.raw.get("schema").cloned().unwrap_or_default();
    let same = |v: &&Version<'_>| old.versions.iter().any(|o| o.name == v.name && schema(o) == schema(v));
    new.versions.iter().filter(same).map(|v| v.name.to_owned()).collect()
}
