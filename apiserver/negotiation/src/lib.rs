//! Between bytes on the wire and JSON values: what the client sends is checked against the schema table, what it gets
//! is chosen by its Accept header. Resident encodings are copied from the cache; everything else is made here.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use machinery::gvk::GroupVersionKind;
use machinery::status::StatusError;
use model::encoding::{Encoding, encode, protobuf};
use serde_json::Value;

mod accept;
mod decode;
pub mod gzip;
mod head;
mod patched;
mod pretty;
mod scheme;
pub mod table;
mod upload;

pub use accept::{Accept, Asked, Form, Offer};
pub use decode::{Decoded, LIMIT_BYTES, body, object};
pub use head::no_object;
pub use patched::{merged, patched};
pub use pretty::Indenter;
pub use scheme::internal as internal_type;
pub use upload::Upload;

/// Every response body of the server.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
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
