//! Custom resources: what their definitions say, published as upstream's
//! `apiextensions-apiserver/pkg/controller/openapi/builder` does. Their paths are fewer and their words slightly other
//! than those of built-in resources.

use model::resource::Resource;
use serde_json::{Map, Value, json};

use super::paths::{DELETE, LIST, PATCH, WRITE, Writer, article, capital};
use super::schemas::Wanted;

const GET: &[(&str, &str)] = &[("resourceVersion", "string")];
const MEDIA: &[&str] = &["application/json", "application/yaml"];
const PATCHES: &[&str] =
    &["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const API_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// What the definition of a custom resource says of one version.
pub(super) struct Published<'a> {
    /// The kind of lists.
    pub list_kind: &'a str,
    /// The schema of its objects; `None` where it has none.
    pub schema: Option<&'a Value>,
    /// The fields that selectors may name.
    pub fields: Vec<&'a str>,
}

impl<'a> Published<'a> {
    /// Of a row; `None` for built-in resources.
    pub(super) fn of(row: &'a Resource) -> Option<Self> {
        let schema = row.types.custom()?.schema.raw();
        let offered = |name: &&str| !row.withheld.iter().any(|withheld| withheld == name);
        Some(Self {
            list_kind: &row.list_kind,
            schema: schema.as_object().filter(|members| !members.is_empty()).map(|_| schema),
            fields: row.selectable.iter().map(|field| field.name.as_ref()).filter(offered).collect(),
        })
    }
}

/// One operation: method, action, text before the kind, id before the group, query, body and its media, answer, codes.
struct Op<'a> {
    method: &'static str,
    action: &'static str,
    text: String,
    id: String,
    query: &'static [(&'static str, &'static str)],
    body: Option<(&'a Value, &'static [&'static str])>,
    answer: &'a Value,
    codes: &'static [(&'static str, &'static str)],
}

const OK: &[(&str, &str)] = &[("200", "OK")];
const CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
const ACCEPTED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];
const ANY: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];

/// The name of a kind's schema: its group reversed, `com.example.v1.Kind`.
pub(super) fn name(row: &Resource, kind: &str) -> String {
    let group: Vec<&str> = row.group.split('.').rev().collect();
    format!("{}.{}.{kind}", group.join("."), row.version)
}

impl Writer<'_, '_> {
    pub(super) fn custom(&mut self, base: &str, row: &Resource, published: &Published) {
        let kind = self.wanted.refer_custom(row, published);
        let list = self.wanted.refer_custom_list(row, published);
        let (status, options) = (self.wanted.refer_named("Status"), self.wanted.refer_named("DeleteOptions"));
        let patch = self.wanted.refer_patch();
        let within = if row.namespaced { "/namespaces/{namespace}" } else { "" };
        let scope = if row.namespaced { "Namespaced" } else { "" };
        let collection = format!("{base}{within}/{}", row.resource);
        let item = format!("{collection}/{{name}}");
        let (id, of) = (self.id(), row.kind.to_string());
        let read_list = |suffix: &str, scope: &str| Op {
            method: "get",
            action: "list",
            text: format!("list objects of kind {of}"),
            id: format!("list{id}{scope}{of}{suffix}"),
            query: LIST,
            body: None,
            answer: &list,
            codes: OK,
        };
        if row.namespaced {
            let all = [read_list("ForAllNamespaces", "")];
            self.custom_path(&format!("{base}/{}", row.resource), row, &all, false, false);
        }
        let create = Op {
            method: "post",
            action: "post",
            text: format!("create {}", article(&of)),
            id: format!("create{id}{scope}{of}"),
            query: WRITE,
            body: Some((&kind, MEDIA)),
            answer: &kind,
            codes: ANY,
        };
        let clear = Op {
            method: "delete",
            action: "deletecollection",
            text: format!("delete collection of {of}"),
            id: format!("delete{id}Collection{scope}{of}"),
            query: LIST,
            body: None,
            answer: &status,
            codes: OK,
        };
        self.custom_path(&collection, row, &[read_list("", scope), create, clear], row.namespaced, false);
        let mut parts = vec![(String::new(), kind.clone())];
        for part in &row.subresources {
            let schema = if part.name == "scale" { self.wanted.refer_scale() } else { kind.clone() };
            parts.push((part.name.to_string(), schema));
        }
        for (part, schema) in &parts {
            let (of_part, suffix) = match part.as_str() {
                "" => (String::new(), String::new()),
                part => (format!("{part} of "), capital(part)),
            };
            let op = |method, action, verb: &str, word: &str, query, body, codes| Op {
                method,
                action,
                text: format!("{verb} {of_part}the specified {of}"),
                id: format!("{word}{id}{scope}{of}{suffix}"),
                query,
                body,
                answer: schema,
                codes,
            };
            let mut ops = vec![
                op("get", "get", "read", "read", GET, None, OK),
                op("put", "put", "replace", "replace", WRITE, Some((schema, MEDIA)), CREATED),
                op("patch", "patch", "partially update", "patch", PATCH, Some((&patch, PATCHES)), OK),
            ];
            if part.is_empty() {
                ops.push(Op {
                    method: "delete",
                    action: "delete",
                    text: format!("delete {}", article(&of)),
                    id: format!("delete{id}{scope}{of}"),
                    query: DELETE,
                    body: Some((&options, MEDIA)),
                    answer: &status,
                    codes: ACCEPTED,
                });
            }
            let path = if part.is_empty() { item.clone() } else { format!("{item}/{part}") };
            self.custom_path(&path, row, &ops, row.namespaced, true);
        }
    }

    fn custom_path(&mut self, path: &str, row: &Resource, ops: &[Op], namespaced: bool, named: bool) {
        let mut operations = Vec::new();
        for op in ops {
            let mut operation = self.operation(&row.kind(), &op.id, op.text.clone(), op.action, op.query);
            let content = |schema: &Value, media: &[&str]| -> Map<String, Value> {
                media.iter().map(|m| ((*m).to_owned(), json!({"schema": schema}))).collect()
            };
            if let Some((schema, media)) = op.body {
                operation["requestBody"] = json!({"content": content(schema, media)});
                if op.method != "delete" {
                    operation["requestBody"]["required"] = true.into();
                }
            }
            let answer = content(op.answer, MEDIA);
            let mut responses: Map<String, Value> = op
                .codes
                .iter()
                .map(|(code, text)| ((*code).to_owned(), json!({"description": text, "content": answer})))
                .collect();
            responses.insert("401".into(), json!({"description": "Unauthorized"}));
            operation["responses"] = responses.into();
            operations.push((op.method, operation));
        }
        self.path(path, operations, namespaced, named.then_some(row.kind.as_ref()));
    }
}

/// The schema of a custom kind as it is published in v3.
pub(super) fn schema(row: &Resource, published: &Published, wanted: &mut Wanted) -> Value {
    let mut schema = match published.schema {
        Some(schema) => {
            let mut schema = clean(schema);
            embed(&mut schema, wanted);
            let properties = members(&mut schema);
            for (field, text) in wanted.type_meta() {
                properties.insert(field, text);
            }
            properties.insert("metadata".into(), metadata(wanted, "ObjectMeta", METADATA));
            schema
        }
        None => json!({"type": "object"}),
    };
    finish(&mut schema, row, published, &row.kind);
    schema
}

/// The schema of its lists.
pub(super) fn list(row: &Resource, published: &Published, item: &Value, wanted: &mut Wanted) -> Value {
    let text = format!(
        "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
        row.resource
    );
    let of_list = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
    let mut properties: Map<String, Value> = wanted.type_meta().into_iter().collect();
    properties.insert("items".into(), json!({"description": text, "type": "array", "items": item}));
    properties.insert("metadata".into(), metadata(wanted, "ListMeta", of_list));
    let mut schema = json!({
        "description": format!("{} is a list of {}", published.list_kind, row.kind),
        "type": "object", "required": ["items"], "properties": properties,
    });
    finish(&mut schema, row, published, published.list_kind);
    schema
}

fn finish(schema: &mut Value, row: &Resource, published: &Published, kind: &str) {
    schema["x-kubernetes-group-version-kind"] = json!([{"group": row.group, "version": row.version, "kind": kind}]);
    if !published.fields.is_empty() {
        let fields: Vec<Value> = published.fields.iter().map(|path| json!({"fieldPath": path})).collect();
        schema["x-kubernetes-selectable-fields"] = fields.into();
    }
}

fn members(schema: &mut Value) -> &mut Map<String, Value> {
    let properties = &mut schema["properties"];
    if !properties.is_object() {
        *properties = json!({});
    }
    properties.as_object_mut().expect("made an object just now")
}

fn metadata(wanted: &mut Wanted, ty: &str, text: &str) -> Value {
    json!({"description": text, "allOf": [wanted.refer_named(ty)]})
}

/// A definition's schema without what is not published, with the choice that int-or-string stands for.
fn clean(schema: &Value) -> Value {
    let Value::Object(map) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in map {
        let value = match (key.as_str(), value) {
            ("$schema" | "$ref" | "id" | "example" | "externalDocs", _) => continue,
            ("properties", Value::Object(fields)) => fields.iter().map(|(k, v)| (k.clone(), clean(v))).collect(),
            ("items" | "additionalProperties" | "not", Value::Object(_)) => clean(value),
            ("allOf" | "anyOf" | "oneOf", Value::Array(all)) => all.iter().map(clean).collect(),
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    let chosen = |key: &str| out.contains_key(key);
    if out.get("x-kubernetes-int-or-string") == Some(&true.into()) && !chosen("anyOf") && !chosen("allOf") {
        out.insert("anyOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
    }
    out.into()
}

/// Gives embedded objects what every object has.
/// What embedded resources are required to have.
const EMBEDDED: [&str; 2] = ["kind", "apiVersion"];

fn embed(schema: &mut Value, wanted: &mut Wanted) {
    let Value::Object(map) = schema else { return };
    map.get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(Map::values_mut)
        .for_each(|s| embed(s, wanted));
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            embed(inner, wanted);
        }
    }
    if map.get("x-kubernetes-embedded-resource") != Some(&true.into()) {
        return;
    }
    let mut required = map.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    for field in EMBEDDED {
        if !required.iter().any(|r| r == field) {
            required.push(field.into());
        }
    }
    schema["required"] = required.into();
    let metadata = metadata(wanted, "ObjectMeta", METADATA);
    let properties = members(schema);
    properties.insert("apiVersion".into(), json!({"type": "string", "description": API_VERSION}));
    properties.insert("kind".into(), json!({"type": "string", "description": KIND}));
    properties.insert("metadata".into(), metadata);
}

/// What of a published schema v2 can say: no choices, nothing of a value that may be null or hold anything
/// (`apiextensions-apiserver/pkg/controller/openapi/v2`).
pub(super) fn v2(mut schema: Value) -> Value {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return json!({"type": "object", "x-kubernetes-group-version-kind": schema["x-kubernetes-group-version-kind"]});
    }
    reduce(&mut schema);
    schema
}

fn reduce(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    // A reference to metadata stands in an `allOf`, which definitions themselves lose.
    let refers = map.get("allOf").and_then(|all| all.get(0)).is_some_and(|first| first.get("$ref").is_some());
    if refers {
        return;
    }
    for key in ["allOf", "anyOf", "oneOf", "not"] {
        map.remove(key);
    }
    let nullable = |schema: Option<&Value>| schema.is_some_and(|s| s["nullable"] == true);
    if nullable(map.get("additionalProperties")) {
        map.remove("required");
    }
    if let (Some(Value::Object(fields)), Some(Value::Array(required))) = (map.get("properties"), map.get("required")) {
        let kept: Vec<Value> =
            required.iter().filter(|r| !nullable(r.as_str().and_then(|r| fields.get(r)))).cloned().collect();
        if kept.is_empty() {
            map.remove("required")
        } else {
            map.insert("required".into(), kept.into())
        };
    }
    let anything = map.get("x-kubernetes-preserve-unknown-fields") == Some(&true.into());
    let may_be_null = map.remove("nullable") == Some(true.into());
    if may_be_null || anything {
        map.remove("items");
        map.remove("properties");
    }
    // What an embedded resource always has is not said of one that may have anything.
    if anything
        && map.get("x-kubernetes-embedded-resource") == Some(&true.into())
        && let Some(Value::Array(required)) = map.get_mut("required")
    {
        let kept =
            required.len() - EMBEDDED.iter().rev().zip(required.iter().rev()).take_while(|(a, b)| *b == **a).count();
        required.truncate(kept);
        if kept == 0 {
            map.remove("required");
        }
    }
    let ty = map.get("type").and_then(Value::as_str).unwrap_or_default();
    let untyped = may_be_null || anything && ty == "object" || ty == "array" && !map.contains_key("items");
    if untyped {
        map.remove("type");
    }
    map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut).for_each(reduce);
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            reduce(inner);
        }
    }
}
