//! The readers: bytes in, the size of what was made of them out; 0 for an error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use api::schema;
use cel::Program;
use cel::types::{Object, Type};
use cel::value::{Key, Value as CelValue};
use endpoints::continue_token::Token;
use machinery::gvk::GroupVersionKind;
use machinery::patch::{json, merge, strategic};
use machinery::selector::{FieldSelector, LabelSelector};
use serde_json::{Value, json};
use structural::{Structural, validate_definition};
use testkit::filled;

fn size(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn pod() -> &'static schema::Type {
    schema::of_object("v1", "Pod").expect("the table has Pod")
}

fn pod_kind() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Pod")
}

/// What patches are applied to.
static LIVE: LazyLock<Value> = LazyLock::new(|| filled(&pod_kind()).expect("the table has Pod"));

pub fn read_json(bytes: &[u8]) -> usize {
    machinery::json::from_slice(bytes).map_or(0, |document| size(&document.value))
}

pub fn read_yaml(bytes: &[u8]) -> usize {
    machinery::yaml::to_json(bytes).map_or(0, |value| size(&value))
}

pub fn read_pod(bytes: &[u8]) -> usize {
    api::decode::json(bytes, pod()).map_or(0, |decoded| size(&decoded.value))
}

pub fn read_protobuf(bytes: &[u8]) -> usize {
    let Ok(envelope) = api::protobuf::open(bytes) else { return 0 };
    let Some(ty) = schema::of_object(envelope.api_version, envelope.kind) else { return 0 };
    api::protobuf::decode(envelope.raw, ty).map_or(0, |members| size(&Value::Object(members)))
}

pub fn read_stored(bytes: &[u8]) -> usize {
    let autoscaler = GroupVersionKind::new("autoscaling", "v2", "HorizontalPodAutoscaler");
    let read = [&pod_kind(), &autoscaler].map(|kind| api::stored::read(bytes, kind).map_or(0, |value| size(&value)));
    read[0].max(read[1])
}

pub fn read_json_patch(bytes: &[u8]) -> usize {
    let Ok(patch) = machinery::json::from_slice(bytes) else { return 0 };
    let document = json!({"a": {"b": [1, 2, 3]}, "metadata": {"labels": {"x": "y"}}});
    let Ok(patch) = json::Patch::decode(patch.value) else { return 0 };
    patch.apply(&document).map_or(0, |value| size(&value))
}

pub fn read_merge_patch(bytes: &[u8]) -> usize {
    let Ok(patch) = machinery::json::from_slice(bytes) else { return 0 };
    merge::apply(LIVE.clone(), patch.value).map_or(0, |value| size(&value))
}

pub fn read_strategic_patch(bytes: &[u8]) -> usize {
    let Ok(patch) = machinery::json::from_slice(bytes) else { return 0 };
    strategic::apply(LIVE.clone(), patch.value, &api::patch::TypeSchema(pod())).map_or(0, |value| size(&value))
}

pub fn read_applied(bytes: &[u8]) -> usize {
    let Ok(config) = machinery::json::from_slice(bytes) else { return 0 };
    let place = api::merge::root(pod());
    if machinery::managed_fields::check(&config.value, place).is_err() {
        return 0;
    }
    let fields = machinery::managed_fields::fields(&config.value, place);
    machinery::managed_fields::merge(&LIVE, &config.value, place).map_or(0, |v| size(&v) + size(&fields.to_value()))
}

pub fn read_selectors(bytes: &[u8]) -> usize {
    let labels = LabelSelector::parse(&text(bytes)).map_or(0, |selector| format!("{selector:?}").len());
    labels.max(FieldSelector::parse(&text(bytes)).map_or(0, |selector| selector.to_string().len()))
}

/// A definition of a custom resource with that schema of `spec`.
pub fn definition(schema: &Value) -> Value {
    let root = json!({"type": "object", "properties": {"spec": schema}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": root}});
    let names = json!({"plural": "xs", "singular": "x", "kind": "X", "listKind": "XList"});
    json!({"metadata": {"name": "xs.example.com"}, "status": {"storedVersions": ["v1"]}, "spec": {"group": "example.com",
        "scope": "Cluster", "names": names, "versions": [version], "conversion": {"strategy": "None"}}})
}

/// As columns and rules have them.
pub fn read_field_path(bytes: &[u8]) -> usize {
    let path = text(bytes);
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}, "b-c": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "true", "fieldPath": path}]});
    let template = machinery::jsonpath::Template::parse(&path).is_ok();
    usize::from(template | validate_definition(&definition(&schema), None).is_empty())
}

pub fn read_token(bytes: &[u8]) -> usize {
    Token::decode(&text(bytes)).map_or(0, |token| token.start.len())
}

pub fn read_expression(bytes: &[u8]) -> usize {
    let fields = [("x", Type::Int), ("s", Type::String(100)), ("list", Type::list(Type::Int, 10))];
    let fields: BTreeMap<String, Type> = fields.into_iter().map(|(name, ty)| (name.to_owned(), ty)).collect();
    let variable = ("self".to_owned(), Type::Object(Arc::new(Object { name: "object".to_owned(), fields })));
    let Ok(program) = Program::compile(&text(bytes), &[variable]) else { return 0 };
    let list = CelValue::list(vec![CelValue::Int(1), CelValue::Int(2)]);
    let entries = [("x", CelValue::Int(5)), ("s", "hello".into()), ("list", list)];
    let this = CelValue::Map(Arc::new(entries.into_iter().map(|(k, v)| (Key::String(k.into()), v)).collect()));
    let (_, cost) = program.run(vec![("self", this)]);
    usize::try_from(cost).unwrap_or(usize::MAX).max(1)
}

pub fn read_definition(bytes: &[u8]) -> usize {
    let Ok(document) = machinery::json::from_slice(bytes) else { return 0 };
    let faults = validate_definition(&definition(&document.value), None);
    usize::from(faults.is_empty() && Structural::of(&document.value, false).is_ok())
}

pub fn read_fields(bytes: &[u8]) -> usize {
    let Ok(document) = machinery::json::from_slice(bytes) else { return 0 };
    machinery::managed_fields::Set::from_value(&document.value).map_or(0, |set| size(&set.to_value()))
}

pub fn read_quantity(bytes: &[u8]) -> usize {
    machinery::quantity::Quantity::parse(&text(bytes)).map_or(0, |quantity| quantity.canonical().len())
}
