//! What the server offers: `/api`, `/apis`, a group, a version, and all of it at once (aggregated discovery).
//!
//! Everything is derived from the catalogue's rows when it is asked for. Clients ask rarely and cache by ETag, so that
//! nothing is kept between requests, and resources that come and go need no invalidation.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kinds::catalogue::GROUPS;
use machinery::gvk::version_order;
use model::resource::{Resource, Sort, Subresource};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};
use writes::strategy::Kind;

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

/// What `rows` offer at a discovery path (`/api`, `/apis`, `/api/v1`, `/apis/apps`, `/apis/apps/v1`), in the form that
/// the `Accept` header asks for. `None`: there is no such path. `address` is the server's `host:port`, for old clients.
pub fn document(rows: &[Kind], path: &str, accept: &str, address: &str) -> Option<Document> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    if let (["api"] | ["apis"], Some(form)) = (parts.as_slice(), aggregated::Form::accepted(accept)) {
        return Some(aggregated::document(rows, parts[0] == "api", form));
    }
    let (kind, value) = match parts.as_slice() {
        ["api"] => ("APIVersions", versions(address)),
        ["apis"] => ("APIGroupList", groups(rows)),
        ["apis", group] => ("APIGroup", with_version(group_value(rows, group)?)),
        ["api", "v1"] => ("APIResourceList", resources(rows, "", "v1")?),
        ["apis", group, version] if !group.is_empty() => {
            ("APIResourceList", with_version(resources(rows, group, version)?))
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

/// Names of the groups, in the order in which `/apis` lists them: the built-in ones, then custom ones by name.
fn group_names(rows: &[Kind]) -> Vec<&str> {
    let mut names: Vec<&str> = rows.iter().map(|r| r.group.as_ref()).collect();
    let rank = |name: &str| GROUPS.iter().position(|g| *g == name).unwrap_or(GROUPS.len());
    names.sort_by_key(|name| (rank(name), *name));
    names.dedup();
    names
}

/// Versions of a group, the preferred one first.
fn group_versions<'a>(rows: &'a [Kind], group: &str) -> Vec<&'a str> {
    let mut versions: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|r| r.group == group) {
        if !versions.contains(&row.version.as_ref()) {
            versions.push(&row.version);
        }
    }
    // Built-in rows are in order already; versions of custom kinds of one group come from several definitions.
    if !GROUPS.contains(&group) {
        versions.sort_by(|a, b| version_order(b).cmp(&version_order(a)).then(a.cmp(b)));
    }
    versions
}

fn groups(rows: &[Kind]) -> Value {
    let groups: Vec<Value> =
        group_names(rows).into_iter().filter(|g| !g.is_empty()).filter_map(|g| group_value(rows, g)).collect();
    let groups: Vec<Value> = groups.into_iter().map(without_kind).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn without_kind(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.remove("kind");
    }
    value
}

fn group_value(rows: &[Kind], group: &str) -> Option<Value> {
    let version = |v: &str| json!({"groupVersion": format!("{group}/{v}"), "version": v});
    let versions: Vec<Value> = group_versions(rows, group).into_iter().map(version).collect();
    let preferred = versions.first().filter(|_| !group.is_empty())?.clone();
    Some(json!({"kind": "APIGroup", "name": group, "versions": versions, "preferredVersion": preferred}))
}

fn sorted<'a>(rows: &'a [Kind], group: &str, version: &str) -> Vec<&'a Resource> {
    let mut found: Vec<&Resource> =
        rows.iter().map(|kind| &*kind.row).filter(|r| r.group == group && r.version == version).collect();
    found.sort_by(|a, b| a.resource.cmp(&b.resource));
    found
}

fn sorted_parts(row: &Resource) -> Vec<&Subresource> {
    let mut parts: Vec<&Subresource> = row.subresources.iter().collect();
    // Upstream's installer sorts them, and its discovery of custom resources does not.
    if row.types.custom().is_none() {
        parts.sort_by(|a, b| a.name.cmp(&b.name));
    }
    parts
}

fn resources(rows: &[Kind], group: &str, version: &str) -> Option<Value> {
    let found = sorted(rows, group, version);
    if found.is_empty() {
        return None;
    }
    let mut list = Vec::new();
    for row in found {
        list.push(json!({
            "name": row.resource, "singularName": row.singular, "namespaced": row.namespaced, "kind": row.kind,
            "verbs": verbs(row.advertised()), "shortNames": row.short_names, "categories": row.categories,
            "storageVersionHash": storage_version_hash(row),
        }));
        for part in sorted_parts(row) {
            let own = part.kind.group == row.group && part.kind.version == row.version;
            let (group, version) = if own { ("", "") } else { (part.kind.group.as_str(), part.kind.version.as_str()) };
            list.push(json!({
                "name": format!("{}/{}", row.resource, part.name), "singularName": "", "namespaced": row.namespaced,
                "group": group, "version": version, "kind": part.kind.kind, "verbs": verbs(part.verbs),
            }));
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": list}))
}

fn verbs(verbs: &[model::resource::Verb]) -> Vec<&'static str> {
    verbs.iter().map(|v| v.as_str()).collect()
}

/// Changes when a resource is stored in another version (`discovery.StorageVersionHash`).
fn storage_version_hash(row: &Resource) -> String {
    if row.sort == Sort::Virtual {
        return String::new();
    }
    let stored = &row.storage_version;
    let version = row.stored_version.as_deref().unwrap_or(&stored.version);
    let hash = Sha256::digest(format!("{}/{version}/{}", stored.group, stored.kind));
    STANDARD.encode(&hash[..8])
}

fn etag(body: &[u8]) -> String {
    let hex: String = Sha512::digest(body).iter().map(|b| format!("{b:02X}")).collect();
    format!("\"{hex}\"")
}
