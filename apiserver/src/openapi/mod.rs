//! OpenAPI: the index and each group's document (v3), and one document of everything (v2).
//!
//! Derived from the catalogue and the schema table when asked for, and dropped when sent: all of them together are seven
//! megabytes, which an idle server should not hold for clients that ask once and cache by hash.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::registry::catalogue::Resource;

mod paths;
mod schemas;
#[cfg(test)]
mod tests;
pub mod v2;

pub use v2::document as v2_document;

/// `/openapi/v3`: where each group's document is, with a hash of what it is made from.
pub fn index(rows: &[Arc<Resource>]) -> Vec<u8> {
    let mut groups: Vec<(&str, &str)> = rows.iter().map(|r| (r.group.as_ref(), r.version.as_ref())).collect();
    groups.sort_unstable();
    groups.dedup();
    let paths: Map<String, Value> = groups
        .into_iter()
        .map(|(group, version)| {
            let name = base(group, version);
            let name = name.trim_start_matches('/');
            let url = format!("/openapi/v3/{name}?hash={}", hash(rows, group, version));
            (name.to_owned(), json!({"serverRelativeURL": url}))
        })
        .collect();
    bytes(&json!({"paths": paths}))
}

/// The hash of a group's document: of its inputs, so that the document need not be made to name it.
pub fn hash(rows: &[Arc<Resource>], group: &str, version: &str) -> String {
    let mut digest = Sha512::new();
    digest.update(env!("CARGO_PKG_VERSION"));
    for row in rows.iter().filter(|r| r.group == group && r.version == version) {
        let parts: Vec<_> = row.subresources.iter().map(|p| (&p.name, &p.kind, p.verbs)).collect();
        digest
            .update(format!("{}/{}/{}/{}/{:?}/{parts:?}\n", row.group, row.version, row.resource, row.kind, row.verbs));
    }
    digest.finalize().iter().map(|b| format!("{b:02X}")).collect()
}

/// `/openapi/v3/api/v1`, `/openapi/v3/apis/apps/v1`; `None` where nothing is served in that version.
pub fn document(rows: &[Arc<Resource>], group: &str, version: &str) -> Option<Vec<u8>> {
    value(rows, group, version).map(|v| bytes(&v))
}

fn value(rows: &[Arc<Resource>], group: &str, version: &str) -> Option<Value> {
    let rows: Vec<&Resource> =
        rows.iter().map(Arc::as_ref).filter(|r| r.group == group && r.version == version).collect();
    if rows.is_empty() {
        return None;
    }
    let mut wanted = schemas::Wanted::new(group, version);
    let paths = paths::paths(&rows, group, version, &mut wanted);
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "1.36"},
        "paths": paths,
        "components": {
            "schemas": wanted.schemas(),
            "securitySchemes": {"BearerToken": {
                "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header",
            }},
        },
    }))
}

/// The text that describes a type, or a field of it. None has one until k8s-openapi is built with its `schemars` feature,
/// which carries them.
fn description(_name: &str, _field: Option<&str>) -> Option<String> {
    None
}

fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON value is always encodable into memory")
}
