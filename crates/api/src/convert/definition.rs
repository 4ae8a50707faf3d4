//! CustomResourceDefinition: upstream's servers store it as v1beta1 still, which says once for all versions what they have
//! in common (`apiextensions/v1/conversion.go`). Served it is as v1 alone.

use serde_json::{Map, Value};

/// What v1beta1 has beside the versions when all of them agree, and what a version of v1 calls it.
const SHARED: &[(&str, &str)] = &[
    ("subresources", "subresources"),
    ("validation", "schema"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];
/// The one field of a column that is written in another way.
const PATHS: (&str, &str) = ("JSONPath", "jsonPath");

type Object = Map<String, Value>;

pub(super) fn v1beta1_to_v1(definition: &mut Object) {
    let Some(Value::Object(spec)) = definition.get_mut("spec") else { return };
    let version = spec.remove("version");
    let mut versions: Vec<Value> = match spec.remove("versions") {
        Some(Value::Array(versions)) if !versions.is_empty() => versions,
        _ => {
            version.into_iter().map(|name| serde_json::json!({"name": name, "served": true, "storage": true})).collect()
        }
    };
    for (shared, own) in SHARED {
        let Some(found) = spec.remove(*shared).filter(|v| !v.is_null()) else { continue };
        objects(&mut versions).for_each(|version| drop(version.insert((*own).into(), found.clone())));
    }
    objects(&mut versions).for_each(|version| rename_paths(version, PATHS.0, PATHS.1));
    if !versions.is_empty() {
        spec.insert("versions".into(), versions.into());
    }
    // v1 has the other default.
    spec.entry("preserveUnknownFields").or_insert(true.into());
    if let Some(Value::Object(conversion)) = spec.get_mut("conversion") {
        let client = conversion.remove("webhookClientConfig").filter(|v| !v.is_null());
        let reviews = conversion.remove("conversionReviewVersions").filter(|v| !v.is_null());
        if client.is_some() || reviews.is_some() {
            let mut webhook = Object::new();
            webhook.extend(client.map(|client| ("clientConfig".into(), client)));
            webhook.extend(reviews.map(|reviews| ("conversionReviewVersions".into(), reviews)));
            conversion.insert("webhook".into(), webhook.into());
        }
    }
}

pub(super) fn v1_to_v1beta1(definition: &mut Object) {
    let Some(Value::Object(spec)) = definition.get_mut("spec") else { return };
    // Left out it would mean the opposite.
    spec.entry("preserveUnknownFields").or_insert(false.into());
    if let Some(Value::Object(conversion)) = spec.get_mut("conversion")
        && let Some(Value::Object(mut webhook)) = conversion.remove("webhook")
    {
        conversion.extend(webhook.remove("clientConfig").map(|client| ("webhookClientConfig".into(), client)));
        conversion.extend(webhook.remove_entry("conversionReviewVersions"));
    }
    let Some(Value::Array(mut versions)) = spec.remove("versions") else { return };
    objects(&mut versions).for_each(|version| rename_paths(version, PATHS.1, PATHS.0));
    for (shared, own) in SHARED {
        let first = versions.first().and_then(|version| version.get(*own)).cloned();
        if versions.iter().any(|version| version.get(*own) != first.as_ref()) {
            continue;
        }
        objects(&mut versions).for_each(|version| drop(version.remove(*own)));
        spec.extend(first.map(|first| ((*shared).into(), first)));
    }
    let name = versions.first().and_then(|version| version.get("name")).cloned();
    spec.extend(name.map(|name| ("version".into(), name)));
    spec.insert("versions".into(), versions.into());
}

fn objects(values: &mut [Value]) -> impl Iterator<Item = &mut Object> {
    values.iter_mut().filter_map(Value::as_object_mut)
}

fn rename_paths(version: &mut Object, from: &str, to: &str) {
    if let Some(Value::Array(columns)) = version.get_mut("additionalPrinterColumns") {
        objects(columns).for_each(|column| super::rename(column, from, to));
    }
}
