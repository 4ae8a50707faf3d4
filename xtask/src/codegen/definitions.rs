//! The API's published definitions: types, list types, merge keys, required fields, kinds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// Definitions by their full name (`io.k8s.api.core.v1.Pod`).
pub(super) type Definitions = BTreeMap<String, Value>;

pub(super) fn read(path: &Path) -> anyhow::Result<Definitions> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    let mut document: Value = serde_json::from_slice(&text).context("definitions")?;
    let definitions = document.get_mut("$defs").map(Value::take).context("no $defs")?;
    Ok(serde_json::from_value(definitions)?)
}

/// Types that the table has a letter for instead of a name.
pub(super) const SPECIAL: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "T"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "M"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", "D"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "F"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "J"),
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "Q"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "I"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "R"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "J"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", "SA"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", "SB"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray", "SS"),
];

/// What a property's schema says, in the table's letters; references keep their full names, in angle brackets.
pub(super) fn shape(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        let special = SPECIAL.iter().find(|(full, _)| *full == name);
        return special.map_or_else(|| format!("<{name}>"), |(_, letter)| (*letter).to_owned());
    }
    let has =
        |name: &str| schema["type"] == name || schema["type"].as_array().is_some_and(|t| t.iter().any(|t| t == name));
    let format = schema["format"].as_str().unwrap_or_default();
    match () {
        () if has("array") => format!("[]{}", shape(&schema["items"])),
        () if has("object") && schema.get("additionalProperties").is_some() => {
            format!("{{}}{}", shape(&schema["additionalProperties"]))
        }
        () if has("boolean") => "b".into(),
        () if has("number") => "d".into(),
        () if has("integer") => if format == "int32" { "i" } else { "l" }.into(),
        () if has("string") => if format == "byte" { "y" } else { "s" }.into(),
        () => "J".into(),
    }
}

/// The marks that apply and patches read.
pub(super) fn marks(schema: &Value) -> Vec<String> {
    let text = |key: &str| schema[key].as_str();
    let mut marks = Vec::new();
    if let Some(list) = text("x-kubernetes-list-type") {
        let keys: Vec<&str> =
            schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        marks.push(with_keys(&format!("list:{list}"), &keys.join(",")));
    }
    if let Some(map) = text("x-kubernetes-map-type") {
        marks.push(format!("map:{map}"));
    }
    if let Some(strategy) = text("x-kubernetes-patch-strategy") {
        marks.push(with_keys(&format!("patch:{strategy}"), text("x-kubernetes-patch-merge-key").unwrap_or_default()));
    }
    marks
}

/// The mark of a type of whose fields one is to be set: `union:discriminator(fields)`.
pub(super) fn union(definition: &Value) -> Option<String> {
    let union = definition["x-kubernetes-unions"].get(0)?;
    let fields: Vec<&str> = union["fields-to-discriminateBy"].as_object()?.keys().map(String::as_str).collect();
    Some(with_keys(&format!("union:{}", union["discriminator"].as_str().unwrap_or_default()), &fields.join(",")))
}

fn with_keys(mark: &str, keys: &str) -> String {
    if keys.is_empty() { mark.to_owned() } else { format!("{mark}({keys})") }
}
