//! The documents beside those of groups' versions: each describes one path.

use api::schema;
use serde_json::{Map, Value, json};
use writes::strategy::Kind;

use super::paths::group_name;
use super::schemas::Wanted;

/// Their names.
pub(super) fn names(rows: &[Kind]) -> Vec<String> {
    let mut names: Vec<String> =
        [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"].map(String::from).into();
    let built_in = rows.iter().filter(|r| !r.group.is_empty() && r.types.custom().is_none());
    names.extend(built_in.map(|r| format!("apis/{}", r.group)));
    names.sort_unstable();
    names.dedup();
    names
}

/// The operation of the one path, and the schemas it needs.
pub(super) fn document(rows: &[Kind], name: &str, mut wanted: Wanted) -> Option<Value> {
    let mut kind = |kind| schema::named("meta.v1", kind).map(|ty| wanted.refer(ty)).unwrap_or_default();
    let text = json!({"type": "string"});
    let (tag, id, description, media, answer) = match name {
        "api" => ("core", "getCoreAPIVersions".into(), "get available API versions", ALL, kind("APIVersions")),
        "apis" => ("apis", "getAPIVersions".into(), "get available API versions", ALL, kind("APIGroupList")),
        "version" => {
            let answer = wanted.refer_version();
            ("version", "getCodeVersion".into(), "get the version information for this server", JSON, answer)
        }
        ".well-known/openid-configuration" => {
            let id = "getServiceAccountIssuerOpenIDConfiguration".into();
            ("WellKnown", id, "get service account issuer OpenID configuration", JSON, text)
        }
        "openid/v1/jwks" => {
            let id = "getServiceAccountIssuerOpenIDKeyset".into();
            ("openid", id, "get service account issuer OpenID JSON Web Key Set", KEYS, text)
        }
        _ => {
            let group = name
                .strip_prefix("apis/")
                .filter(|g| rows.iter().any(|r| r.group == *g && r.types.custom().is_none()))?;
            let (tag, id) = group_name(group);
            let operation =
                operation(&tag, format!("get{id}APIGroup"), "get information of a group", ALL, kind("APIGroup"));
            return Some(super::whole(json!({format!("/{name}/"): {"get": operation}}), wanted));
        }
    };
    let operation = operation(tag, id, description, media, answer);
    Some(super::whole(json!({format!("/{name}/"): {"get": operation}}), wanted))
}

const ALL: &[&str] = &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];
const JSON: &[&str] = &["application/json"];
const KEYS: &[&str] = &["application/jwk-set+json"];

fn operation(tag: &str, id: String, description: &str, media: &[&str], answer: Value) -> Value {
    let content: Map<String, Value> = media.iter().map(|t| ((*t).to_owned(), json!({"schema": answer}))).collect();
    json!({
        "tags": [tag],
        "description": description,
        "operationId": id,
        "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
    })
}
