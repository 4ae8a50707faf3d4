//! `/openapi/v2`: everything in one Swagger document, for clients that do not know v3. The same schemas and paths, in the
//! older words.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::registry::catalogue::Resource;

/// The document, as JSON.
pub fn document(rows: &[Arc<Resource>]) -> Vec<u8> {
    let mut groups: Vec<(&str, &str)> = rows.iter().map(|r| (r.group.as_ref(), r.version.as_ref())).collect();
    groups.sort_unstable();
    groups.dedup();
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for (group, version) in groups {
        let Some(mut document) = super::value(rows, group, version) else { continue };
        if let Value::Object(schemas) = document["components"]["schemas"].take() {
            for (name, schema) in schemas {
                merge(&mut definitions, name, definition(schema));
            }
        }
        if let Value::Object(found) = document["paths"].take() {
            paths.extend(found.into_iter().map(|(path, item)| (path, path_item(item))));
        }
    }
    super::bytes(&json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2"},
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey",
        }},
        "security": [{"BearerToken": []}],
    }))
}

/// A type that several groups have (DeleteOptions) is registered under all of them.
fn merge(definitions: &mut Map<String, Value>, name: String, new: Value) {
    const KINDS: &str = "x-kubernetes-group-version-kind";
    match definitions.get_mut(&name).and_then(|old| old.get_mut(KINDS)).and_then(Value::as_array_mut) {
        Some(kinds) => {
            for kind in new[KINDS].as_array().into_iter().flatten() {
                if !kinds.contains(kind) {
                    kinds.push(kind.clone());
                }
            }
        }
        None => {
            definitions.insert(name, new);
        }
    }
}

/// v2 has no `oneOf`, keeps texts beside references, and has no zero defaults.
fn definition(value: Value) -> Value {
    match value {
        Value::Object(mut map) => {
            if let Some(Value::Array(choices)) = map.remove("oneOf") {
                let integer = choices.iter().any(|c| c["type"] == "integer");
                map.insert("type".into(), "string".into());
                if integer {
                    map.insert("format".into(), "int-or-string".into());
                }
            }
            if let Some(Value::Array(mut all)) = map.remove("allOf")
                && let Some(Value::Object(first)) = all.pop()
            {
                map.extend(first);
            }
            map.remove("default");
            if let Some(Value::String(target)) = map.get_mut("$ref") {
                *target = target.replace("#/components/schemas/", "#/definitions/");
            }
            let keep = |(key, value): (String, Value)| match key.as_str() {
                // Names of fields, not words of the schema.
                "properties" => match value {
                    Value::Object(fields) => (key, fields.into_iter().map(|(k, v)| (k, definition(v))).collect()),
                    other => (key, other),
                },
                "items" | "additionalProperties" => (key, definition(value)),
                _ => (key, value),
            };
            map.into_iter().map(keep).collect()
        }
        other => other,
    }
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    item.into_iter()
        .map(|(key, value)| match key.as_str() {
            "parameters" => (key, value.as_array().into_iter().flatten().cloned().map(parameter).collect()),
            _ => (key, operation(value)),
        })
        .collect()
}

fn parameter(mut parameter: Value) -> Value {
    let schema = parameter["schema"].take();
    if let (Value::Object(parameter), Value::Object(schema)) = (&mut parameter, schema) {
        parameter.remove("schema");
        parameter.extend(schema);
    }
    parameter
}

fn operation(mut operation: Value) -> Value {
    let types =
        |content: &Value| content.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect::<Vec<String>>();
    let schema =
        |content: &Value| content.as_object().and_then(|c| c.values().next()).map(|c| definition(c["schema"].clone()));
    let mut parameters: Vec<Value> =
        operation["parameters"].as_array().into_iter().flatten().cloned().map(parameter).collect();
    let body = operation.as_object_mut().and_then(|o| o.remove("requestBody"));
    if let Some(body) = &body {
        let mut entry = json!({"name": "body", "in": "body", "schema": schema(&body["content"])});
        if body["required"] == true {
            entry["required"] = true.into();
        }
        parameters.push(entry);
    }
    let consumes = body.as_ref().map_or_else(|| vec!["*/*".to_owned()], |b| types(&b["content"]));
    let mut produces = Vec::new();
    if let Some(responses) = operation["responses"].as_object_mut() {
        for response in responses.values_mut().filter_map(Value::as_object_mut) {
            if let Some(content) = response.remove("content") {
                produces = types(&content);
                if let Some(schema) = schema(&content) {
                    response.insert("schema".into(), schema);
                }
            }
        }
    }
    if let Some(map) = operation.as_object_mut() {
        map.insert("consumes".into(), consumes.into());
        map.insert("produces".into(), produces.into());
        map.insert("schemes".into(), json!(["https"]));
        if parameters.is_empty() {
            map.remove("parameters");
        } else {
            map.insert("parameters".into(), parameters.into());
        }
    }
    operation
}
