//! What every kind's metadata must obey (`apimachinery/pkg/api/validation/objectmeta.go`, `apis/meta/v1/validation`).

use super::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN, options::validate_field_manager};
use crate::field::{Error, ErrorList, Path};
use crate::gvk::GroupVersionKind;
use crate::json::Fields;
use crate::names::{self, NameRule};
use crate::{go, meta};
use serde_json::{Map, Value};

/// 256 KiB of keys and values together.
pub const ANNOTATIONS_LIMIT_BYTES: usize = 256 << 10;

const IMMUTABLE: &str = "field is immutable";

/// A label's key.
pub fn validate_label_name(key: &str, path: &Path) -> ErrorList {
    names::qualified_name(key).into_iter().map(|m| Error::invalid(path, key, m)).collect()
}

/// Labels: keys and values.
pub fn validate_labels(labels: Option<&Map<String, Value>>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in labels.into_iter().flatten() {
        errors.extend(validate_label_name(key, path));
        let value = value.as_str().unwrap_or_default();
        errors.extend(names::label_value(value).into_iter().map(|m| Error::invalid(path, value, m)));
    }
    errors
}

/// Annotations: keys in any case, and the size of all.
pub fn validate_annotations(annotations: Option<&Map<String, Value>>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut size = 0;
    for (key, value) in annotations.into_iter().flatten() {
        let faults = names::qualified_name(&key.to_lowercase());
        errors.extend(faults.into_iter().map(|m| Error::invalid(path, key.as_str(), m)));
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > ANNOTATIONS_LIMIT_BYTES {
        errors.push(Error::too_long(path, ANNOTATIONS_LIMIT_BYTES));
    }
    errors
}

/// Owner references, at most one of them the controller.
pub fn validate_owner_references(object: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut first_controller: Option<String> = None;
    let all = object.at("/metadata/ownerReferences");
    for (i, r) in meta::owner_references(object).enumerate() {
        let gvk = GroupVersionKind::from_api_version(r.api_version, r.kind);
        if gvk.version.is_empty() {
            errors.push(Error::invalid(&path.child("apiVersion"), r.api_version, "version must not be empty"));
        }
        for (field, value) in [("kind", r.kind), ("name", r.name), ("uid", r.uid)] {
            if value.is_empty() {
                errors.push(Error::invalid(&path.child(field), value, "must not be empty"));
            }
        }
        if gvk.group.is_empty() && gvk.version == "v1" && gvk.kind == "Event" {
            let value = all.and_then(|l| l.get(i)).cloned();
            errors.push(Error::invalid(path, value, format!("{gvk} is disallowed from being an owner")));
        }
        if r.controller {
            let this = format!("{}/{}", r.kind, r.name);
            if let Some(first) = &first_controller {
                errors.push(Error::invalid(
                    path,
                    all.cloned(),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    ),
                ));
            } else {
                first_controller = Some(this);
            }
        }
    }
    errors
}

/// A finalizer's name.
pub fn validate_finalizer_name(name: &str, path: &Path) -> ErrorList {
    names::qualified_name(name).into_iter().map(|m| Error::invalid(path, name, m)).collect()
}

/// Finalizers, of which `orphan` and `foregroundDeletion` exclude each other.
pub fn validate_finalizers(object: &Value, path: &Path) -> ErrorList {
    let mut errors: ErrorList = meta::finalizers(object).flat_map(|f| validate_finalizer_name(f, path)).collect();
    if meta::has_finalizer(object, FINALIZER_ORPHAN) && meta::has_finalizer(object, FINALIZER_FOREGROUND) {
        errors.push(Error::invalid(
            path,
            object.at("/metadata/finalizers").cloned(),
            format!("finalizer {FINALIZER_ORPHAN} and {FINALIZER_FOREGROUND} cannot be both set"),
        ));
    }
    errors
}

/// Managed fields' own form.
pub fn validate_managed_fields(object: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, entry) in object.sub("metadata").list("managedFields").iter().enumerate() {
        let path = path.index(i);
        let operation = entry.text("operation");
        if operation != "Apply" && operation != "Update" {
            errors.push(Error::invalid(&path.child("operation"), operation, "must be `Apply` or `Update`"));
        }
        let kind = entry.text("fieldsType");
        if !kind.is_empty() && kind != "FieldsV1" {
            errors.push(Error::invalid(&path.child("fieldsType"), kind, "must be `FieldsV1`"));
        }
        errors.extend(validate_field_manager(entry.text("manager"), &path.child("manager")));
        if entry.text("subresource").len() > 256 {
            errors.push(Error::too_long(&path.child("subresource"), 256));
        }
    }
    errors
}

/// ValidateObjectMeta. The name is the one that the object will get, after generateName was used.
pub fn validate_object_meta(object: &Value, namespaced: bool, name_rule: NameRule, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let generate_name = meta::generate_name(object);
    if !generate_name.is_empty() {
        let at = path.child("generateName");
        errors.extend(name_rule(generate_name, true).into_iter().map(|m| Error::invalid(&at, generate_name, m)));
    }
    let name = meta::name(object);
    let at = path.child("name");
    if name.is_empty() {
        errors.push(Error::required(&at, "name or generateName is required"));
    } else {
        errors.extend(name_rule(name, false).into_iter().map(|m| Error::invalid(&at, name, m)));
    }
    let namespace = meta::namespace(object);
    let at = path.child("namespace");
    match (namespaced, namespace) {
        (true, "") => errors.push(Error::required(&at, "")),
        (true, _) => {
            errors.extend(names::dns1123_label(namespace).into_iter().map(|m| Error::invalid(&at, namespace, m)));
        }
        (false, "") => {}
        (false, _) => errors.push(Error::forbidden(&at, "not allowed on this type")),
    }
    let generation = meta::generation(object);
    if generation < 0 {
        errors.push(Error::invalid(&path.child("generation"), generation, "must be greater than or equal to 0"));
    }
    errors.extend(common(object, path));
    errors.extend(validate_finalizers(object, &path.child("finalizers")));
    errors.extend(validate_managed_fields(object, &path.child("managedFields")));
    errors
}

fn common(object: &Value, path: &Path) -> ErrorList {
    let mut errors = validate_labels(meta::labels(object), &path.child("labels"));
    errors.extend(validate_annotations(meta::annotations(object), &path.child("annotations")));
    errors.extend(validate_owner_references(object, &path.child("ownerReferences")));
    errors
}

/// A field that may not change.
pub fn validate_immutable(new: Option<&Value>, old: Option<&Value>, path: &Path) -> ErrorList {
    let empty = |v: Option<&Value>| match v {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(Value::Array(a)) => a.is_empty(),
        Some(Value::Object(o)) => o.is_empty(),
        _ => false,
    };
    if new == old || (empty(new) && empty(old)) {
        return ErrorList::new();
    }
    vec![Error::invalid(path, new.cloned(), IMMUTABLE)]
}

/// ValidateObjectMetaUpdate.
pub fn validate_object_meta_update(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if meta::metadata(old).is_some_and(|m| m.get("deletionTimestamp").is_some_and(|t| !t.is_null())) {
        let mut extra: Vec<&str> = meta::finalizers(new).filter(|f| !meta::has_finalizer(old, f)).collect();
        extra.sort_unstable();
        extra.dedup();
        if !extra.is_empty() {
            let found = go::quote_slice(extra);
            errors.push(Error::forbidden(
                &path.child("finalizers"),
                format!("no new finalizers can be added if the object is being deleted, found new finalizers {found}"),
            ));
        }
    }
    if meta::resource_version(new).is_empty() {
        errors.push(Error::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    if meta::generation(new) < meta::generation(old) {
        let at = path.child("generation");
        errors.push(Error::invalid(&at, meta::generation(new), "must not be decremented"));
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let of = |v: &Value| meta::metadata(v).and_then(|m| m.get(field)).cloned();
        let (mut new, mut old) = (of(new), of(old));
        // Upstream's strings are never null.
        if matches!(field, "name" | "namespace" | "uid") {
            new.get_or_insert_with(|| "".into());
            old.get_or_insert_with(|| "".into());
        }
        errors.extend(validate_immutable(new.as_ref(), old.as_ref(), &path.child(field)));
    }
    errors.extend(common(new, path));
    errors.extend(validate_managed_fields(new, &path.child("managedFields")));
    errors
}

/// A `metav1.LabelSelector` in a spec.
pub fn validate_label_selector(selector: Option<&Value>, allow_invalid_values: bool, path: &Path) -> ErrorList {
    let Some(selector) = selector.filter(|s| !s.is_null()) else { return ErrorList::new() };
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let mut errors = validate_labels(labels, &path.child("matchLabels"));
    for (i, e) in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values: Vec<&str> =
            e.get("values").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        match e.text("operator") {
            "In" | "NotIn" if values.is_empty() => errors
                .push(Error::required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'")),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(Error::forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        errors.extend(validate_label_name(e.text("key"), &path.child("key")));
        if !allow_invalid_values {
            for (j, value) in values.iter().enumerate() {
                let at = path.child("values").index(j);
                errors.extend(names::label_value(value).into_iter().map(|m| Error::invalid(&at, *value, m)));
            }
        }
    }
    errors
}
