//! The documents beside those of groups' versions: each describes one path.

use api::schema;
use model::descriptions::Texts;
use serde_json::{Map, Value, json};
use writes::Rows;

use super::paths::group_name;
use super::schemas::Wanted;

/// Their names.
pub(crate) fn names(rows: &Rows) -> Vec<String> {
    let mut names: Vec<String> =
        [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"].map(String::from).into();
    names.extend(rows.iter().filter(|row| !row.group.is_empty()).map(|row| format!("apis/{}", row.group)));
    names.dedup();
    names
}

/// The operation of the one path, and the schemas it needs.
pub(crate) fn document(rows: &Rows, name: &str, texts: &Texts) -> Option<Value> {
    let mut wanted = Wanted::new("", "", texts);
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
            let group = name.strip_prefix("apis/").filter(|group| rows.iter().any(|row| row.group == *group))?;
            return Some(of_group(group, texts));
        }
    };
    let operation = operation(tag, id, description, media, answer);
    Some(super::whole(json!({format!("/{name}/"): {"get": operation}}), wanted))
}

/// What a group's own path answers.
pub(crate) fn of_group(group: &str, texts: &Texts) -> Value {
    let mut wanted = Wanted::new("", "", texts);
    let answer = wanted.refer_named("APIGroup");
    let (tag, id) = group_name(group);
    let operation = operation(&tag, format!("get{id}APIGroup"), "get information of a group", ALL, answer);
    super::whole(json!({format!("/apis/{group}/"): {"get": operation}}), wanted)
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
