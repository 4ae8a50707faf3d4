//! The OpenAPI documents as clients read them.

use std::sync::Arc;

use kinds::catalogue::rows;
use model::resource::Resource;
use writes::strategy::Kind;
use writes::{Changing, Rows};

use super::*;
use crate::sources::tests::built_in as all;
use crate::sources::{BuiltIn, Custom};

fn value(sources: &Sources, name: &str, texts: &Texts) -> Option<Value> {
    document(sources, name, texts).map(|(_, value)| value)
}

#[test]
fn the_index_names_every_document_with_a_hash() {
    let index: Value = serde_json::from_slice(&index(&all())).unwrap();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={}", hash(&all(), "apis/apps/v1")));
    let names: Vec<&String> = index["paths"].as_object().unwrap().keys().collect();
    for name in ["api", "api/v1", "apis", "apis/apps", "version", "openid/v1/jwks", ".well-known/openid-configuration"]
    {
        assert!(names.iter().any(|n| *n == name), "{name}");
    }
    assert_eq!(names.len(), 47);
    assert_ne!(hash(&all(), "apis/apps/v1"), hash(&all(), "apis/batch/v1"));
    let texts = Texts::unpack();
    assert!(names.iter().all(|n| value(&all(), n, &texts).is_some()));
    assert!(value(&all(), "apis/apps/v7", &texts).is_none());
    assert!(value(&all(), "apis/nonesuch", &texts).is_none());
}

#[test]
fn the_old_document_has_everything() {
    let document = v2::document(&all(), &Texts::unpack());
    assert_eq!(document["swagger"], "2.0");
    let spec = &document["definitions"]["io.k8s.api.core.v1.ServicePort"]["properties"];
    assert_eq!(spec["targetPort"]["$ref"], "#/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString");
    assert_eq!(spec["protocol"]["enum"], json!(["SCTP", "TCP", "UDP"]));
    let options = &document["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"];
    assert!(options["x-kubernetes-group-version-kind"].as_array().unwrap().len() > 15);
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]["parameters"];
    // kubectl before 1.27 looks for these two where they are used; the rest is named once.
    let named = |name: &str| patch.as_array().unwrap().iter().any(|p| p["name"] == name && p["type"] == "string");
    assert!(named("fieldValidation") && named("dryRun"));
    let body = patch.as_array().unwrap().iter().find_map(|p| p["$ref"].as_str()?.strip_prefix("#/parameters/body-"));
    assert_eq!(document["parameters"][format!("body-{}", body.unwrap())]["in"], "body");
}

#[test]
fn the_old_document_in_protobuf_has_every_definition_and_path() {
    let document = v2::document(&all(), &Texts::unpack());
    let bytes = gnostic::document(&document);
    let messages = fields(&bytes);
    let of = |number: u64| messages.iter().find(|(n, _)| *n == number).map(|(_, bytes)| fields(bytes)).unwrap();
    let count = |member: &str| document[member].as_object().unwrap().len();
    assert_eq!((of(8).len(), of(9).len(), of(10).len()), (count("paths"), count("definitions"), count("parameters")));
    assert!(of(8).iter().all(|(number, _)| *number == 2));
    let named = |entry: &[u8]| fields(entry).into_iter().map(|(_, b)| b.to_vec()).collect::<Vec<_>>();
    let pod = of(9).into_iter().map(|(_, e)| named(e)).find(|e| e[0] == b"io.k8s.api.core.v1.Pod").unwrap();
    let extension = fields(&pod[1]).into_iter().find(|(n, _)| *n == 31).map(|(_, e)| named(e)).unwrap();
    assert_eq!(extension[0], b"x-kubernetes-group-version-kind");
    assert_eq!(String::from_utf8_lossy(&extension[1][2..]), "- group: \"\"\n  kind: Pod\n  version: v1\n");
}

/// The length-delimited fields of a message, which are all that the outer ones have.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        if tag & 7 == 0 {
            varint(&mut bytes);
            continue;
        }
        let length = varint(&mut bytes) as usize;
        let (field, rest) = bytes.split_at(length);
        found.push((tag >> 3, field));
        bytes = rest;
    }
    found
}

#[tokio::test]
async fn a_document_is_made_again_when_its_rows_change() {
    let documents = Documents::default();
    let mut rows = rows();
    let sources = |rows: &[Kind]| {
        let source: Arc<dyn Source> = Arc::new(BuiltIn::new(Arc::new(Rows::new(rows.iter().cloned()))));
        Sources::new([source])
    };
    let first = documents.get(&sources(&rows), "apis/apps/v1", false).await.unwrap();
    let again = documents.get(&sources(&rows), "apis/apps/v1", false).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(first.hash, hash(&sources(&rows), "apis/apps/v1"));
    let at = rows.iter().position(|r| r.group == "apps").unwrap();
    let gone = rows.remove(at);
    let after = documents.get(&sources(&rows), "apis/apps/v1", false).await.unwrap();
    assert_ne!(first.hash, after.hash);
    let document: Value = serde_json::from_slice(&after.plain()).unwrap();
    let path = format!("/apis/apps/v1/{}", gone.resource);
    assert!(document["paths"].get(&path).is_none());
    assert!(documents.get(&sources(&rows), "apis/nonesuch/v1", false).await.is_none());
}

/// A definition's schema with one of everything that is published in its own way.
fn definition() -> Value {
    json!({
        "type": "object", "description": "A table.", "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object", "required": ["count", "name"],
                "x-kubernetes-validations": [{"rule": "self.count >= 0"}],
                "properties": {
                    "name": {"type": "string", "pattern": "^.+$"},
                    "count": {"type": "integer", "minimum": 0, "default": 1, "nullable": true},
                    "port": {"x-kubernetes-int-or-string": true},
                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                        "properties": {"a": {"type": "string"}}},
                    "embedded": {"type": "object", "x-kubernetes-embedded-resource": true},
                    "choice": {"type": "string", "enum": ["a", "b"], "anyOf": [{"pattern": "a"}, {"pattern": "b"}]},
                },
            },
            "status": {"type": "object", "properties": {"count": {"type": "integer"}}},
        },
    })
}

/// A custom row.
fn custom() -> Resource {
    let mut row = Resource::stored("example.com", "v1", "tables", "Table", "example.com/tables");
    row = row.part("status").select("spec.name");
    let structural = structural::Structural::of(&definition(), false).unwrap();
    row.types = model::types::Types::Custom(Arc::new(model::custom::Custom {
        api_version: row.api_version(),
        conversion: Arc::new(model::custom::conversion::Conversion::None),
        schema: Arc::new(structural),
        schemas: Arc::default(),
        scale: None,
        replicas: Arc::default(),
        columns: Vec::new(),
    }));
    row
}

/// The built-in rows and this custom one.
fn with(row: Resource) -> Sources {
    let custom = Changing::default();
    custom.store(Arc::new(Rows::new([row.into()])));
    let built_in: Arc<dyn Source> = Arc::new(BuiltIn::new(Arc::new(Rows::new(rows()))));
    Sources::new([built_in, Arc::new(Custom::new(custom))])
}

fn with_custom() -> Sources {
    with(custom())
}

#[test]
fn custom_kinds_are_published_in_v3() {
    let rows = with_custom();
    assert!(names(&rows).contains("apis/example.com/v1"));
    let document = value(&rows, "apis/example.com/v1", &Texts::unpack()).unwrap();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let within = "/apis/example.com/v1/namespaces/{namespace}/tables";
    let item = format!("{within}/{{name}}");
    let status = format!("{item}/status");
    assert_eq!(
        paths,
        [within, &item, &status, "/apis/example.com/v1/tables"].map(|p| p.to_owned()).iter().collect::<Vec<_>>()
    );
    let patch = &document["paths"][&item]["patch"];
    assert_eq!(patch["operationId"], "patchExampleComV1NamespacedTable");
    assert_eq!(patch["requestBody"]["content"].as_object().unwrap().len(), 3);
    let schema = &document["components"]["schemas"]["com.example.v1.Table"];
    assert_eq!(schema["x-kubernetes-selectable-fields"], json!([{"fieldPath": "spec.name"}]));
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Table");
    let reference = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    assert_eq!(schema["properties"]["metadata"]["allOf"][0]["$ref"], reference);
    let spec = &schema["properties"]["spec"];
    assert_eq!(spec["properties"]["port"]["anyOf"], json!([{"type": "integer"}, {"type": "string"}]));
    assert_eq!(spec["properties"]["embedded"]["required"], json!(["kind", "apiVersion"]));
    assert_eq!(spec["properties"]["count"]["default"], 1);
    let list = &document["components"]["schemas"]["com.example.v1.TableList"];
    assert_eq!(list["properties"]["items"]["items"]["$ref"], "#/components/schemas/com.example.v1.Table");
}

#[test]
fn custom_kinds_are_published_in_v2_as_far_as_it_can_say() {
    let document = v2::document(&with_custom(), &Texts::unpack());
    let schema = &document["definitions"]["com.example.v1.Table"];
    let metadata = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    assert_eq!(schema["properties"]["metadata"]["$ref"], metadata);
    let spec = &schema["properties"]["spec"];
    assert_eq!(spec["required"], json!(["name"]));
    let property = |name: &str| spec["properties"][name].clone();
    assert_eq!(property("count"), json!({"minimum": 0}));
    assert_eq!(property("port"), json!({"x-kubernetes-int-or-string": true}));
    assert_eq!(property("any"), json!({"x-kubernetes-preserve-unknown-fields": true}));
    assert_eq!(property("choice"), json!({"type": "string", "enum": ["a", "b"]}));
    assert!(document["paths"].get("/apis/example.com/v1/tables").is_some());
}

#[test]
fn the_hash_of_a_custom_groups_document_changes_with_its_schema() {
    let of = |row: Resource, name| hash(&with(row), name);
    let other = || Resource { types: model::types::Types::None, ..custom() };
    assert_ne!(of(custom(), "apis/example.com/v1"), of(other(), "apis/example.com/v1"));
    assert_eq!(of(custom(), "apis/apps/v1"), of(other(), "apis/apps/v1"));
}
