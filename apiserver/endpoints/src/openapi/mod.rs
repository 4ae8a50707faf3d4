//! OpenAPI: an index and a document for each group's version (v3), and one document of everything (v2).
//!
//! Derived from the catalogue, the schema table and the API's published texts when first asked for: all of it together is
//! seven megabytes. What was made is kept compressed (`served.rs`), for as long as the rows it was made from are served.

use model::descriptions::{self, Texts};
use model::resource::Resource;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};
use writes::strategy::Kind;

mod connect;
mod custom;
pub(crate) mod endpoint;
mod enums;
mod gnostic;
mod groups;
mod paths;
mod schemas;
mod served;
#[cfg(test)]
mod tests;
mod v2;

pub use served::{Documents, Served};

/// The names of all documents of v3, which are the paths they describe: `api/v1`, `apis/apps/v1`, `apis/apps`, `version`.
pub fn names(rows: &[Kind]) -> Vec<String> {
    let mut names = groups::names(rows);
    names.extend(rows.iter().map(|r| base(&r.group, &r.version).split_off(1)));
    names.sort_unstable();
    names.dedup();
    names
}

/// `/openapi/v3`: where each document is, with a hash of what it is made from.
pub fn index(rows: &[Kind]) -> Vec<u8> {
    let place = |name: String| {
        let url = format!("/openapi/v3/{name}?hash={}", hash(rows, &name));
        (name, json!({"serverRelativeURL": url}))
    };
    bytes(&json!({"paths": names(rows).into_iter().map(place).collect::<Value>()}))
}

/// The hash of a document: of its inputs, so that the document need not be made to name it.
pub fn hash(rows: &[Kind], name: &str) -> String {
    let mut digest = Sha512::new();
    digest.update(env!("FERRY_OPENAPI_SOURCES"));
    digest.update(descriptions::FINGERPRINT);
    digest.update(format!("{} {name}\n", model::VERSION));
    for row in relevant(rows, name) {
        if let Some(published) = custom::Published::of(row) {
            digest.update(format!("{} {:?} {:?}\n", published.list_kind, published.schema, published.fields));
        }
        let parts: Vec<_> = row.subresources.iter().map(|p| (&p.name, &p.kind, p.verbs)).collect();
        digest
            .update(format!("{}/{}/{}/{}/{:?}/{parts:?}\n", row.group, row.version, row.resource, row.kind, row.verbs));
    }
    digest.finalize().iter().map(|b| format!("{b:02X}")).collect()
}

/// The rows that a document is about: of one group's version, or all.
fn relevant<'a>(rows: &'a [Kind], name: &str) -> Vec<&'a Kind> {
    match group_version(name) {
        Some((group, version)) => rows.iter().filter(|r| r.group == group && r.version == version).collect(),
        None => rows.iter().collect(),
    }
}

fn group_version(name: &str) -> Option<(&str, &str)> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some(("", version)),
        ["apis", group, version] => Some((group, version)),
        _ => None,
    }
}

/// A document of v3 by its name; `None` where there is none.
fn value(rows: &[Kind], name: &str, texts: &Texts) -> Option<Value> {
    let Some((group, version)) = group_version(name) else {
        return groups::document(rows, name, schemas::Wanted::new("", "", texts));
    };
    let rows: Vec<&Resource> = relevant(rows, name).into_iter().map(|kind| &*kind.row).collect();
    if rows.is_empty() {
        return None;
    }
    let (paths, wanted) = paths::paths(&rows, group, version, schemas::Wanted::new(group, version, texts));
    let mut document = whole(paths, wanted);
    if rows.iter().all(|row| row.types.custom().is_some()) {
        document["info"] = json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"});
        document["components"].as_object_mut().map(|components| components.remove("securitySchemes"));
    }
    Some(document)
}

/// A document of these paths.
fn whole(paths: Value, wanted: schemas::Wanted) -> Value {
    let mut components = json!({"securitySchemes": {"BearerToken": {
        "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header",
    }}});
    let schemas = wanted.schemas();
    if schemas != json!({}) {
        components["schemas"] = schemas;
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "1.36"},
        "paths": paths,
        "components": components,
    })
}

fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON value is always encodable into memory")
}
