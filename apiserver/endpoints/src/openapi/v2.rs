//! `/openapi/v2`: everything in one Swagger document, for clients that do not know v3. The same schemas and paths, in the
//! older words. Parameters that many paths have are named once, as upstream does
//! (`kube-openapi/pkg/builder/parameters.go`): a third of the size.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use machinery::json::Fields;
use model::descriptions::Texts;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::sources::Sources;

/// The document.
pub(super) fn document(sources: &Sources, texts: &Texts) -> Value {
    let (mut paths, mut definitions, mut shared) = (Map::new(), Map::new(), Shared::default());
    let mut add = |mut document: Value| {
        if let Value::Object(schemas) = document["components"]["schemas"].take() {
            for (name, schema) in schemas {
                merge(&mut definitions, name, definition(schema));
            }
        }
        if let Value::Object(found) = document["paths"].take() {
            paths.extend(found.into_iter().map(|(path, item)| (path, shared.path_item(item))));
        }
    };
    for name in super::names(sources) {
        if let Some((source, document)) = super::document(sources, &name, texts) {
            add(source.reduced(document));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "1.36"},
        "paths": paths,
        "definitions": definitions,
        "parameters": shared.0,
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey",
        }},
        "security": [{"BearerToken": []}],
    })
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

/// Parameters that are named once for all paths.
#[derive(Default)]
struct Shared(Map<String, Value>);

impl Shared {
    fn path_item(&mut self, item: Value) -> Value {
        let Value::Object(item) = item else { return item };
        item.into_iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("parameters", Value::Array(found)) => {
                    (key, found.into_iter().map(|p| self.share(parameter(p))).collect())
                }
                (_, value) => (key, self.operation(value)),
            })
            .collect()
    }

    /// A reference to the parameter, but for those whose texts name a kind, and those that kubectl before 1.27 looks for.
    fn share(&mut self, parameter: Value) -> Value {
        let name = parameter.text("name");
        let body = parameter["schema"]["$ref"].as_str().is_some_and(|r| !r.starts_with(GENERIC));
        if body || matches!(name, "name" | "fieldValidation" | "dryRun") {
            return parameter;
        }
        let hash = Sha256::digest(parameter.to_string());
        let name = format!("{name}-{}", URL_SAFE.encode(&hash[..6]));
        let reference = json!({"$ref": format!("#/parameters/{name}")});
        self.0.entry(name).or_insert(parameter);
        reference
    }

    fn operation(&mut self, mut operation: Value) -> Value {
        let mut parameters: Vec<Value> = match operation["parameters"].take() {
            Value::Array(found) => found.into_iter().map(parameter).collect(),
            _ => Vec::new(),
        };
        let mut consumes = None;
        if let Some(mut body) = operation.as_object_mut().and_then(|o| o.remove("requestBody")) {
            consumes = Some(types(&body["content"]));
            let mut entry = json!({"name": "body", "in": "body", "schema": schema(&mut body["content"])});
            if body["required"] == true {
                entry["required"] = true.into();
            }
            parameters.insert(0, entry);
        }
        let mut produces = Vec::new();
        for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(mut content) = response.as_object_mut().and_then(|r| r.remove("content")) {
                produces = types(&content);
                response["schema"] = schema(&mut content);
            }
        }
        let Value::Object(map) = &mut operation else { return operation };
        // Paths that are no resource's say what they answer only.
        let discovery = !map.contains_key("x-kubernetes-action");
        let consumes = consumes.unwrap_or_else(|| if discovery { produces.clone() } else { vec!["*/*".into()] });
        if !(discovery && produces.len() == 1) || produces == ["application/json"] && map["tags"][0] == "version" {
            map.insert("consumes".into(), consumes.into());
        }
        map.insert("produces".into(), produces.into());
        map.insert("schemes".into(), json!(["https"]));
        map.remove("parameters");
        if !parameters.is_empty() {
            map.insert("parameters".into(), parameters.into_iter().map(|p| self.share(p)).collect());
        }
        operation
    }
}

const GENERIC: &str = "#/definitions/io.k8s.apimachinery";

fn types(content: &Value) -> Vec<String> {
    content.as_object().into_iter().flatten().map(|(media, _)| media.clone()).collect()
}

/// The schema of the first media type: they are all alike.
fn schema(content: &mut Value) -> Value {
    let first = content.as_object_mut().and_then(|c| c.values_mut().next());
    definition(first.map(|c| c["schema"].take()).unwrap_or_default())
}

fn parameter(mut parameter: Value) -> Value {
    let schema = parameter["schema"].take();
    if let (Value::Object(parameter), Value::Object(schema)) = (&mut parameter, schema) {
        parameter.remove("schema");
        parameter.extend(schema);
    }
    parameter
}
