//! Between bytes on the wire and JSON values: what the client sends is checked against the schema table, what it gets
//! is chosen by its Accept header. Resident encodings are copied from the cache; everything else is made here.

use std::cell::RefCell;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use machinery::gvk::GroupVersionKind;
use machinery::status::StatusError;
use serde_json::Value;

use crate::registry::catalogue::Resource;

mod accept;
mod decode;
pub mod gzip;
mod pretty;
pub mod table;
mod upload;
mod warnings;

pub use accept::{Accept, Asked, Encoding, Form, Offer};
pub use decode::{Decoded, LIMIT_BYTES, body, no_object, object, value};
pub use pretty::Indenter;
pub use upload::Upload;
pub use warnings::Warnings;

/// Every response body of the server.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

thread_local! {
    /// Where objects are encoded before their size is known.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A scratch buffer that grew beyond this is given back.
const SCRATCH_KEPT_BYTES: usize = 256 * 1024;

/// Encodes an object in the field order of its kind; custom resources, which the table does not have, in name order. The
/// bytes take exactly the memory that they need: stores and caches keep them.
pub fn encode(obj: &Value, kind: &GroupVersionKind) -> Bytes {
    SCRATCH.with_borrow_mut(|out| {
        out.clear();
        match api::schema::of(kind) {
            Some(schema) => api::encode::json(obj, schema, out),
            None => api::encode::write_untyped(obj, out),
        }
        let bytes = Bytes::copy_from_slice(out);
        if out.capacity() > SCRATCH_KEPT_BYTES {
            *out = Vec::new();
        }
        bytes
    })
}

/// Makes a client's object comparable with a stored one: see [`api::encode::normalise`].
pub fn normalise(obj: &mut Value, kind: &GroupVersionKind) {
    if let Some(schema) = api::schema::of(kind) {
        api::encode::normalise(obj, schema);
    }
}

/// The object in another version of its built-in kind; `None` where it is already in it.
pub fn convert(obj: &Value, from: &GroupVersionKind, to: &GroupVersionKind) -> Option<Value> {
    if from == to {
        return None;
    }
    Some(api::convert::convert(obj, from, to))
}

/// A stored value as the cache has it: decoded, defaulted, encoded; or why the bytes are no object of that row.
pub fn canonicalise(row: &Resource, stored: &Bytes) -> Result<Bytes, String> {
    let mut value = match row.types.custom() {
        Some(custom) => {
            let mut value: Value = serde_json::from_slice(stored).map_err(|e| e.to_string())?;
            if !value.is_object() {
                return Err("not an object".to_owned());
            }
            custom.stored(&mut value);
            value["kind"] = row.kind.as_ref().into();
            value
        }
        None => {
            let mut value = api::stored::read(stored, &row.storage_version).map_err(|e| e.to_string())?;
            api::defaults::apply(&row.storage_version, &mut value);
            value
        }
    };
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    Ok(encode(&value, &row.storage_version))
}

/// A response with a JSON body that is already encoded.
pub fn json_response(code: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    response(code, "application/json", bytes.into())
}

fn response(code: StatusCode, content: &'static str, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

/// A response of bytes that are encoded as the client accepts; JSON is indented and all is compressed where that is asked
/// for (and worth it).
pub fn bytes_response(code: StatusCode, mut bytes: Vec<u8>, accept: &Accept) -> Response<Body> {
    if accept.is_indented() {
        bytes = pretty::indent(&bytes);
    }
    let content = accept.encoding.media_type();
    if !(accept.gzip && bytes.len() > gzip::THRESHOLD_BYTES) {
        return response(code, content, bytes.into());
    }
    let mut response = response(code, content, gzip::whole(&bytes));
    gzip::mark(response.headers_mut());
    response
}

/// A value of a kind in the encoding the client accepts (Tables and partial metadata are kinds of their own).
pub fn value_response(code: StatusCode, value: &Value, kind: &GroupVersionKind, accept: &Accept) -> Response<Body> {
    bytes_response(code, encode_as(value, kind, accept), accept)
}

/// A whole body of one value.
fn encode_as(value: &Value, kind: &GroupVersionKind, accept: &Accept) -> Vec<u8> {
    if accept.encoding == Encoding::Protobuf {
        return protobuf(value, kind);
    }
    let mut bytes = encode(value, kind).to_vec();
    if accept.encoding == Encoding::Yaml {
        // What upstream writes of a field it writes in every encoding.
        return machinery::yaml::from_json(&serde_json::from_slice(&bytes).unwrap_or_default()).into_bytes();
    }
    bytes.push(b'\n');
    bytes
}

/// An object in protobuf, in its envelope. Kinds without protobuf are never asked for it, see [`Offer`].
pub fn protobuf(value: &Value, kind: &GroupVersionKind) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    if let Some(schema) = api::schema::of(kind) {
        api::protobuf::encode(value, schema, &mut out);
    }
    out
}

/// An error as the client sees it, in an encoding it accepts. A 401 says how to authenticate, a 429 or 503 when to come
/// again.
pub fn status_response(error: &StatusError, asked: &Asked) -> Response<Body> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (status, kind) = (error.to_value(), GroupVersionKind::new("", "v1", "Status"));
    let mut response = match asked.for_error() {
        Some(accept) => value_response(code, &status, &kind, &accept),
        None => json_response(code, pretty::indent(&encode(&status, &kind))),
    };
    if let Some(seconds) = error.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
