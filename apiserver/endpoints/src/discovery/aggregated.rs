//! Aggregated discovery: all groups, versions and resources in one document, by content negotiation on `/api` and `/apis`.

use model::resource::Resource;
use serde_json::{Map, Value, json};
use writes::strategy::Kind;

use super::{Document, encode, etag, group_names, group_versions, sorted, sorted_parts, verbs};

/// Which form of aggregated discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    V2,
    V2Beta1,
}

impl Form {
    /// The first form that an `Accept` header names before it names plain JSON.
    pub(super) fn accepted(accept: &str) -> Option<Form> {
        for clause in accept.split(',') {
            let mut parts = clause.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let parameters: Map<String, Value> =
                parts.filter_map(|p| p.split_once('=')).map(|(k, v)| (k.to_owned(), Value::from(v))).collect();
            let is = |name: &str, value: &str| parameters.get(name).is_some_and(|v| v == value);
            if media_type != "application/json" {
                if matches!(media_type, "*/*" | "application/*") {
                    return None;
                }
                continue;
            }
            if is("g", "apidiscovery.k8s.io") && is("as", "APIGroupDiscoveryList") {
                match parameters.get("v").and_then(Value::as_str) {
                    Some("v2") => return Some(Form::V2),
                    Some("v2beta1") => return Some(Form::V2Beta1),
                    _ => {}
                }
            } else if !parameters.contains_key("as") {
                return None;
            }
        }
        None
    }
}

pub(super) fn document(rows: &[Kind], core: bool, form: Form) -> Document {
    let (api_version, content_type) = match form {
        Form::V2 => ("apidiscovery.k8s.io/v2", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
        Form::V2Beta1 => {
            ("apidiscovery.k8s.io/v2beta1", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList")
        }
    };
    let items: Vec<Value> =
        group_names(rows).into_iter().filter(|g| g.is_empty() == core).map(|g| group(rows, g)).collect();
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items});
    let body = encode("APIGroupDiscoveryList", &list);
    Document { etag: Some(etag(&body)), body, content_type }
}

fn group(rows: &[Kind], group: &str) -> Value {
    let version = |version: &str| {
        let resources: Vec<Value> = sorted(rows, group, version).into_iter().map(resource).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let versions: Vec<Value> = group_versions(rows, group).into_iter().map(version).collect();
    json!({"metadata": {"name": group}, "versions": versions})
}

fn resource(row: &Resource) -> Value {
    let parts: Vec<Value> = sorted_parts(row)
        .into_iter()
        .map(|part| {
            let own = part.kind.group == row.group && part.kind.version == row.version;
            let kind = if own && row.types.custom().is_none() {
                json!({"group": "", "version": "", "kind": part.kind.kind})
            } else {
                json!({"group": part.kind.group, "version": part.kind.version, "kind": part.kind.kind})
            };
            json!({"subresource": part.name, "responseKind": kind, "verbs": verbs(part.verbs)})
        })
        .collect();
    // Of its own kinds upstream does not say the group and version here, of custom ones it does.
    let (group, version) = if row.types.custom().is_some() { (&*row.group, &*row.version) } else { ("", "") };
    json!({
        "resource": row.resource,
        "responseKind": {"group": group, "version": version, "kind": row.kind},
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": verbs(row.advertised()),
        "shortNames": row.short_names,
        "categories": row.categories,
        "subresources": parts,
    })
}
