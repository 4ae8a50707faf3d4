//! Aggregated discovery: all groups, versions and resources in one document, by content negotiation on `/api` and `/apis`.

use machinery::gvk::GroupVersionKind;
use serde_json::{Map, Value, json};

use super::{Document, encode, etag};
use crate::sources::{Entry, Group, Part, Sources};

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

pub(super) fn document(sources: &Sources, core: bool, form: Form) -> Document {
    let (api_version, content_type) = match form {
        Form::V2 => ("apidiscovery.k8s.io/v2", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
        Form::V2Beta1 => {
            ("apidiscovery.k8s.io/v2beta1", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList")
        }
    };
    let groups = sources.groups();
    let items: Vec<Value> =
        groups.iter().filter(|group| group.name.is_empty() == core).map(|group| item(sources, group)).collect();
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items});
    let body = encode("APIGroupDiscoveryList", &list);
    Document { etag: Some(etag(&body)), body, content_type }
}

fn item(sources: &Sources, group: &Group) -> Value {
    let version = |version| {
        let entries = sources.resources(&group.name, version).unwrap_or_default();
        let resources: Vec<Value> = entries.iter().map(resource).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let versions: Vec<Value> = group.versions.iter().map(|v| version(v)).collect();
    json!({"metadata": {"name": group.name}, "versions": versions})
}

fn resource(entry: &Entry) -> Value {
    let part = |part: &Part| json!({"subresource": part.name, "responseKind": kind(&part.kind), "verbs": part.verbs});
    json!({
        "resource": entry.resource,
        "responseKind": kind(&entry.kind),
        "scope": if entry.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": entry.singular,
        "verbs": entry.verbs,
        "shortNames": entry.short_names,
        "categories": entry.categories,
        "subresources": entry.parts.iter().map(part).collect::<Vec<_>>(),
    })
}

fn kind(kind: &GroupVersionKind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}
