//! Answers with an object: its resident bytes where the client takes those, and otherwise the slow way over a value
//! (YAML, a Table, metadata only).

use std::sync::Arc;

use api::protobuf::Part;
use cache::Entry;
use http::{Response, StatusCode};
use machinery::gvk::GroupVersionKind;
use machinery::status::StatusError;
use model::encoding::Encoding;
use model::resource::Resource;
use negotiation::{Accept, Body, Form};
use serde_json::{Value, json};
use writes::convert;

use super::Call;

/// An object, in the form the client accepts.
pub async fn entry(
    call: &Call,
    row: &Resource,
    code: StatusCode,
    entry: &Arc<Entry>,
    accept: &Accept,
) -> Result<Response<Body>, StatusError> {
    let registry = &call.server.registry;
    check_form(call, row, accept, false)?;
    let entry = convert::entry(registry, row, entry).await?;
    Ok(match Copied::of(accept).and_then(|copied| copied.body(&entry)) {
        Some(bytes) => negotiation::bytes_response(code, bytes, accept),
        None => value(call, row, code, entry.decode(), accept),
    })
}

/// The same of an object that is in no cache.
pub fn value(call: &Call, row: &Resource, code: StatusCode, object: Value, accept: &Accept) -> Response<Body> {
    let (answer, kind) = match accept.form {
        Form::Plain => (object, row.kind()),
        Form::Metadata | Form::MetadataList => (partial(&object, accept), meta_kind("PartialObjectMetadata", accept)),
        Form::Table => {
            let metadata = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
            (table(call, row, vec![object], metadata, accept), meta_kind("Table", accept))
        }
    };
    negotiation::value_response(code, &answer, &kind, accept)
}

/// What is answered by copying an entry's bytes; all else goes the slow way over a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// The JSON.
    Json,
    /// The protobuf, or its metadata.
    Protobuf(Part),
}

impl Copied {
    /// By what the client accepts.
    pub fn of(accept: &Accept) -> Option<Self> {
        match (accept.encoding, accept.form) {
            (Encoding::Json, Form::Plain) => Some(Self::Json),
            (Encoding::Protobuf, Form::Plain) => Some(Self::Protobuf(Part::Whole)),
            (Encoding::Protobuf, Form::Metadata | Form::MetadataList) => Some(Self::Protobuf(Part::Metadata)),
            _ => None,
        }
    }

    /// An entry as a body; `None` where its kind has no protobuf.
    fn body(self, entry: &Entry) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        match self {
            Self::Json => {
                bytes.reserve(entry.size() + 1);
                entry.write(&mut bytes);
                bytes.push(b'\n');
            }
            Self::Protobuf(part) => entry.protobuf()?.write(part, &mut bytes),
        }
        Some(bytes)
    }
}

fn not_a(asked: &str, what: &str, row: &Resource, suffix: &str) -> StatusError {
    let kind = format!("*{}{suffix}", negotiation::internal_type(&row.kind()));
    let mut error = StatusError::not_acceptable(&[]);
    error.message = format!("you requested {asked}, but the requested object is {what} ({kind})");
    error
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
    let mut table = negotiation::table::render(row, &objects, metadata, included(call), call.now);
    table["apiVersion"] = format!("meta.k8s.io/{}", accept.form_version).into();
    table
}

/// What the rows of a Table are to carry.
pub fn included(call: &Call) -> &str {
    call.info.query.get("includeObject").unwrap_or("Metadata")
}

/// 406 and 400 for forms that cannot be made: of lists where there is one object (or the other way around), or of Tables
/// whose rows are to carry what is none of `None`, `Metadata`, `Object`.
pub fn check_form(call: &Call, row: &Resource, accept: &Accept, list: bool) -> Result<(), StatusError> {
    match accept.form {
        Form::Metadata if list => Err(not_a("PartialObjectMetadata", "a list", row, "List")),
        Form::MetadataList if !list => Err(not_a("PartialObjectMetadataList", "not a list", row, "")),
        Form::Table => match call.info.query.get("includeObject") {
            None | Some("None" | "Metadata" | "Object") => Ok(()),
            Some(other) => Err(StatusError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
                 'Object', 'None', or empty"
            ))),
        },
        _ => Ok(()),
    }
}

/// A kind of meta.k8s.io in the accepted version.
pub fn meta_kind(kind: &str, accept: &Accept) -> GroupVersionKind {
    GroupVersionKind::new("meta.k8s.io", accept.form_version, kind)
}
