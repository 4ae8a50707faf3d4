//! OpenAPI: an index and a document for each group's version (v3), and one document of everything (v2).
//!
//! Derived from the catalogue, the schema table and the API's published texts when first asked for: all of it together is
//! seven megabytes. What was made is kept compressed (`served.rs`), for as long as the rows it was made from are served.

use std::collections::BTreeSet;

use model::descriptions::{self, Texts};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::sources::{GroupVersion, Input, Source, Sources};

mod connect;
mod custom;
pub(crate) mod endpoint;
mod enums;
mod gnostic;
pub(crate) mod groups;
pub(crate) mod metrics;
pub(crate) mod of_rows;
mod paths;
mod schemas;
mod served;
#[cfg(test)]
mod tests;
mod v2;

pub use served::{Documents, Served};

/// The names of all documents of v3, which are the paths they describe: `api/v1`, `apis/apps/v1`, `apis/apps`, `version`.
pub fn names(sources: &Sources) -> BTreeSet<String> {
    sources.iter().flat_map(Source::documents).collect()
}

/// `/openapi/v3`: where each document is, with a hash of what it is made from.
pub fn index(sources: &Sources) -> Vec<u8> {
    let place = |name: String| {
        let url = format!("/openapi/v3/{name}?hash={}", hash(sources, &name));
        (name, json!({"serverRelativeURL": url}))
    };
    bytes(&json!({"paths": names(sources).into_iter().map(place).collect::<Value>()}))
}

/// The hash of a document: of its inputs, so that the document need not be made to name it.
pub fn hash(sources: &Sources, name: &str) -> String {
    let mut digest = Sha512::new();
    digest.update(env!("FERRY_OPENAPI_SOURCES"));
    digest.update(descriptions::FINGERPRINT);
    digest.update(format!("{} {name}\n", model::VERSION));
    relevant(sources, name, |source, of| source.facts(of, &mut |text| digest.update(text)));
    digest.finalize().iter().map(|b| format!("{b:02X}")).collect()
}

/// What a document is made from.
fn inputs(sources: &Sources, name: &str) -> Vec<Input> {
    let mut inputs = Vec::new();
    relevant(sources, name, |source, of| inputs.extend(source.inputs(of)));
    inputs
}

/// Asks what a document is about: the source of one group's version, or all.
fn relevant(sources: &Sources, name: &str, mut ask: impl FnMut(&dyn Source, Option<GroupVersion<'_>>)) {
    match group_version(name) {
        Some(of) => {
            if let Some(source) = sources.owner(of) {
                ask(source, Some(of));
            }
        }
        None => sources.iter().for_each(|source| ask(source, None)),
    }
}

fn group_version(name: &str) -> Option<GroupVersion<'_>> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some(("", version)),
        ["apis", group, version] => Some((group, version)),
        _ => None,
    }
}

/// A document of v3 by its name, and whose it is; `None` where there is none.
fn document<'s>(sources: &'s Sources, name: &str, texts: &Texts) -> Option<(&'s dyn Source, Value)> {
    let of = |source: &'s dyn Source| Some((source, source.document(name, texts)?));
    match group_version(name) {
        Some(version) => sources.owner(version).and_then(of),
        None => sources.iter().find_map(of),
    }
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
