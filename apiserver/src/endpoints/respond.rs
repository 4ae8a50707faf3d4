//! Answers with an object: its resident bytes where the client takes those, and otherwise the slow way over a value
//! (another version, YAML, a Table, metadata only).

use http::{Response, StatusCode};
use machinery::gvk::GroupVersionKind;
use machinery::status::StatusError;
use serde_json::{Value, json};

use super::Call;
use crate::cache::Entry;
use crate::negotiation::{self, Accept, Body, Form};
use crate::registry::Registry;
use crate::registry::catalogue::Resource;
use crate::registry::strategy::WriteContext;

/// An object, in the form the client accepts.
pub fn entry(
    call: &Call,
    row: &Resource,
    code: StatusCode,
    entry: &Entry,
    accept: &Accept,
) -> Result<Response<Body>, StatusError> {
    let storing = call.server.registry.storing(row);
    let mut response = if accept.resident() && storing.storage_version == row.kind() {
        let mut bytes = entry.bytes();
        bytes.push(b'\n');
        negotiation::json_response(code, bytes)
    } else {
        let object = value(&call.server.registry, row, entry);
        let (answer, kind) = match accept.form {
            Form::Plain => (object, row.kind()),
            Form::Metadata => (partial(&object, accept), meta_kind("PartialObjectMetadata", accept)),
            Form::Table => {
                let metadata = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
                (table(call, row, vec![object], metadata, accept), meta_kind("Table", accept))
            }
        };
        negotiation::value_response(code, &answer, &kind, accept)
    };
    negotiation::add_warnings(response.headers_mut(), &call.warnings);
    Ok(response)
}

/// A cached object as a value in the row's version.
pub fn value(registry: &Registry, row: &Resource, entry: &Entry) -> Value {
    let object = entry.decode();
    negotiation::convert(&object, &registry.storing(row).storage_version, &row.kind()).unwrap_or(object)
}

/// `PartialObjectMetadata` of an object.
pub fn partial(object: &Value, accept: &Accept) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{}", accept.form_version),
        "metadata": object["metadata"],
    })
}

/// A Table of objects.
pub fn table(call: &Call, row: &Resource, objects: Vec<Value>, metadata: Value, accept: &Accept) -> Value {
    let include = call.info.query.get("includeObject").unwrap_or("Metadata");
    let mut table = negotiation::table::render(row, &objects, metadata, include, call.now);
    table["apiVersion"] = format!("meta.k8s.io/{}", accept.form_version).into();
    table
}

/// A kind of meta.k8s.io in the accepted version.
pub fn meta_kind(kind: &str, accept: &Accept) -> GroupVersionKind {
    GroupVersionKind::new("meta.k8s.io", accept.form_version, kind)
}

/// What a client is to be warned of for a write of this object.
pub fn write_warnings(cx: &WriteContext<'_>, obj: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = cx.resource.strategy.warnings(cx, obj, old);
    if !cx.resource.validated {
        warnings.push(format!("ferry does not validate {} yet as upstream does", cx.resource.group_resource()));
    }
    warnings
}
