//! The types that expressions see of objects, from the server's OpenAPI documents.
//!
//! Upstream: `k8s.io/apiserver/pkg/cel/common/schemas.go` and `openapi/resolver`. What has no type of its own (a quantity)
//! is not seen, what contains itself is seen empty.

use std::{collections::BTreeMap, sync::Arc};

use cel::types::{Object, Type, UNBOUNDED, escape};
use machinery::json::Fields;
use serde_json::Value;

const REFERENCE: &str = "#/components/schemas/";
const TEXT: Type = Type::String(UNBOUNDED);

/// The type of a kind's objects; none if the document does not have the kind.
pub(super) fn of_kind(document: &Value, group: &str, version: &str, kind: &str) -> Option<Type> {
    let schemas = document.pointer("/components/schemas")?.as_object()?;
    let is = |schema: &Value| {
        let kinds = schema.list("x-kubernetes-group-version-kind");
        kinds.iter().any(|k| k.text("group") == group && k.text("version") == version && k.text("kind") == kind)
    };
    let (name, schema) = schemas.iter().find(|(_, schema)| is(schema))?;
    let mut walk = Walk { schemas, within: vec![name.as_str()] };
    let Type::Object(object) = walk.declared(schema, kind)? else { return None };
    Some(Type::Object(with_metadata(&object)))
}

/// Every object has these, whatever its schema says.
fn with_metadata(object: &Object) -> Arc<Object> {
    let mut fields = object.fields.clone();
    for name in ["apiVersion", "kind"] {
        fields.entry(name.into()).or_insert(TEXT);
    }
    let names = |ty: &Type| matches!(ty, Type::Object(o) if o.fields.contains_key("name"));
    if !fields.get("metadata").is_some_and(names) {
        let named = ["name", "generateName"].map(|name| (name.to_owned(), TEXT));
        let name = format!("{}.metadata", object.name);
        fields.insert("metadata".into(), Type::Object(Arc::new(Object { name, fields: named.into() })));
    }
    Arc::new(Object { name: object.name.clone(), fields })
}

struct Walk<'d> {
    schemas: &'d serde_json::Map<String, Value>,
    /// The names of the schemas that are being looked at.
    within: Vec<&'d str>,
}

impl<'d> Walk<'d> {
    /// `path` names the type.
    fn declared(&mut self, schema: &'d Value, path: &str) -> Option<Type> {
        if let Some(name) = reference(schema) {
            if self.within.contains(&name) {
                return Some(object(path, BTreeMap::new()));
            }
            let referred = self.schemas.get(name)?;
            self.within.push(name);
            let found = self.declared(referred, path);
            self.within.pop();
            return found;
        }
        if schema.text("format") == "int-or-string" || schema.flag("x-kubernetes-int-or-string") == Some(true) {
            return Some(Type::ANY);
        }
        Some(match (schema.text("type"), schema.text("format")) {
            ("array", _) => Type::list(self.declared(schema.get("items")?, &format!("{path}.@idx"))?, UNBOUNDED),
            ("object", _) => match schema.get("additionalProperties").filter(|other| other.is_object()) {
                Some(other) => {
                    let value = self.declared(other, &format!("{path}.@elem"))?;
                    Type::Map(Arc::new(TEXT), Arc::new(value), UNBOUNDED)
                }
                None => {
                    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
                    let mut fields = BTreeMap::new();
                    for (name, property) in properties {
                        let field = self.declared(property, &format!("{path}.{name}"));
                        if let (Some(name), Some(field)) = (escape(name), field) {
                            fields.insert(name, field);
                        }
                    }
                    object(path, fields)
                }
            },
            ("string", "byte") => Type::Bytes(UNBOUNDED),
            ("string", "duration") => Type::Duration,
            ("string", "date" | "date-time") => Type::Timestamp,
            ("string", _) => TEXT,
            ("boolean", _) => Type::Bool,
            ("number", _) => Type::Double,
            ("integer", _) => Type::Int,
            _ => return None,
        })
    }
}

/// The schema that this one stands for; those with a description or a default wrap it.
fn reference(schema: &Value) -> Option<&str> {
    let wrapped = schema.list("allOf");
    let schema = if let [only] = wrapped { only } else { schema };
    schema.text("$ref").strip_prefix(REFERENCE)
}

fn object(name: &str, fields: BTreeMap<String, Type>) -> Type {
    Type::Object(Arc::new(Object { name: name.to_owned(), fields }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        let to = |name: &str| json!({"$ref": format!("{REFERENCE}{name}")});
        json!({"components": {"schemas": {
            "Widget": {
                "type": "object",
                "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Widget"}],
                "properties": {
                    "metadata": {"default": {}, "allOf": [to("Meta")]},
                    "count": {"type": "integer", "format": "int32"},
                    "port": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
                    "size": {"oneOf": [{"type": "string"}, {"type": "number"}]},
                    "sizes": {"type": "object", "additionalProperties": {"oneOf": []}},
                    "namespace": {"type": "string"},
                    "$bad": {"type": "string"},
                    "labels": {"type": "object", "additionalProperties": {"type": "string", "default": ""}},
                    "items": {"type": "array", "items": to("Widget")},
                    "raw": {"type": "object"},
                },
            },
            "Meta": {"type": "object", "properties": {
                "name": {"type": "string"}, "at": {"type": "string", "format": "date-time"},
            }},
            "Bare": {
                "type": "object", "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Bare"}],
            },
        }}})
    }

    fn shown(ty: &Type) -> String {
        match ty {
            Type::Object(object) => {
                let fields = object.fields.iter().map(|(name, field)| format!("{name}: {}", shown(field)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
            }
            Type::List(item, _) => format!("[{}]", shown(item)),
            other => other.to_string(),
        }
    }

    #[test]
    fn schemas_are_types() {
        let of = |kind: &str| of_kind(&document(), "g", "v1", kind).map(|ty| shown(&ty));
        let widget = "{__namespace__: string, apiVersion: string, count: int, items: [{}], kind: string, \
            labels: map(string, string), metadata: {at: timestamp, name: string}, port: dyn, raw: {}}";
        assert_eq!(of("Widget").as_deref(), Some(widget));
        let bare = "{apiVersion: string, kind: string, metadata: {generateName: string, name: string}}";
        assert_eq!(of("Bare").as_deref(), Some(bare));
        assert_eq!(of("Gadget"), None);
        assert_eq!(of_kind(&json!({}), "g", "v1", "Widget").map(|ty| shown(&ty)), None);
    }
}
