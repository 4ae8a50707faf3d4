//! What the server offers: `/api`, `/apis`, a group, a version, and all of it at once (aggregated discovery).
//!
//! Everything is derived from what the route sources say when it is asked for. Clients ask rarely and cache by ETag, so that
//! nothing is kept between requests, and resources that come and go need no invalidation.

use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::sources::{Group, Sources};

mod aggregated;
#[cfg(test)]
mod tests;

/// An answer to a discovery request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The body, in upstream's field order, ending with a line break.
    pub body: Vec<u8>,
    /// Its media type.
    pub content_type: &'static str,
    /// Changes when the body does; present for aggregated documents. With its quotes.
    pub etag: Option<String>,
}

/// What is offered at a discovery path (`/api`, `/apis`, `/api/v1`, `/apis/apps`, `/apis/apps/v1`), in the form that
/// the `Accept` header asks for. `None`: there is no such path. `address` is the server's `host:port`, for old clients.
pub fn document(sources: &Sources, path: &str, accept: &str, address: &str) -> Option<Document> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    if let (["api"] | ["apis"], Some(form)) = (parts.as_slice(), aggregated::Form::accepted(accept)) {
        return Some(aggregated::document(sources, parts[0] == "api", form));
    }
    let (kind, value) = match parts.as_slice() {
        ["api"] => ("APIVersions", versions(address)),
        ["apis"] => ("APIGroupList", groups(sources)),
        ["apis", group] => ("APIGroup", with_version(group_named(sources, group)?)),
        ["api", "v1"] => ("APIResourceList", resources(sources, "", "v1")?),
        ["apis", group, version] if !group.is_empty() => {
            ("APIResourceList", with_version(resources(sources, group, version)?))
        }
        _ => return None,
    };
    Some(Document { body: encode(kind, &value), content_type: "application/json", etag: None })
}

fn encode(kind: &str, value: &Value) -> Vec<u8> {
    let package = if kind == "APIGroupDiscoveryList" { "apidiscovery.v2" } else { "meta.v1" };
    let ty = api::schema::named(package, kind).expect("the schema table has the kinds of discovery, a test checks it");
    let mut body = api::encode::to_vec(value, ty);
    body.push(b'\n');
    body
}

/// Documents below `/apis` say which version their own kind is of; those of the core group never did.
fn with_version(mut value: Value) -> Value {
    value["apiVersion"] = "v1".into();
    value
}

fn versions(address: &str) -> Value {
    let addresses = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]);
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses})
}

fn groups(sources: &Sources) -> Value {
    let groups = sources.groups();
    let groups: Vec<Value> = groups.iter().filter_map(group_value).map(without_kind).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn without_kind(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.remove("kind");
    }
    value
}

fn group_named(sources: &Sources, name: &str) -> Option<Value> {
    group_value(sources.groups().iter().find(|group| group.name == name)?)
}

/// A group; `None` for the core group, which has no such document.
fn group_value(group: &Group) -> Option<Value> {
    let version = |v| json!({"groupVersion": format!("{}/{v}", group.name), "version": v});
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    let preferred = versions.first().filter(|_| !group.name.is_empty())?.clone();
    Some(json!({"kind": "APIGroup", "name": group.name, "versions": versions, "preferredVersion": preferred}))
}

fn resources(sources: &Sources, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for entry in sources.resources(group, version)? {
        list.push(json!({
            "name": entry.resource, "singularName": entry.singular, "namespaced": entry.namespaced,
            "kind": entry.kind.kind, "verbs": entry.verbs, "shortNames": entry.short_names,
            "categories": entry.categories, "storageVersionHash": entry.storage_version_hash,
        }));
        for part in entry.parts {
            let own = part.kind.group == group && part.kind.version == version;
            let (group, version) = if own { ("", "") } else { (part.kind.group.as_str(), part.kind.version.as_str()) };
            list.push(json!({
                "name": format!("{}/{}", entry.resource, part.name), "singularName": "", "namespaced": entry.namespaced,
                "group": group, "version": version, "kind": part.kind.kind, "verbs": part.verbs,
            }));
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": list}))
}

fn etag(body: &[u8]) -> String {
    let hex: String = Sha512::digest(body).iter().map(|b| format!("{b:02X}")).collect();
    format!("\"{hex}\"")
}
