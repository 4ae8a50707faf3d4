//! Between bytes on the wire and JSON values: what the client sends is checked against the schema table, what it gets
//! is chosen by its Accept header. The resident encoding is copied from the cache; everything else is made here.

use std::cell::RefCell;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use machinery::gvk::GroupVersionKind;
use machinery::status::StatusError;
use serde_json::Value;

use crate::registry::catalogue::Resource;

mod accept;
mod decode;
pub mod table;

pub use accept::{Accept, Form};
pub use decode::{Decoded, LIMIT_BYTES, body, object, value};

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

/// Encodes an object in the field order of its kind; kinds without a schema (custom resources) in name order. The bytes
/// take exactly the memory that they need: stores and caches keep them.
pub fn encode(obj: &Value, kind: &GroupVersionKind) -> Bytes {
    SCRATCH.with_borrow_mut(|out| {
        out.clear();
        match api::schema::of(kind) {
            Some(schema) => api::encode::json(obj, schema, out),
            None => serde_json::to_writer(&mut *out, obj).expect("a JSON value is always encodable into memory"),
        }
        let bytes = Bytes::copy_from_slice(out);
        if out.capacity() > SCRATCH_KEPT_BYTES {
            *out = Vec::new();
        }
        bytes
    })
}

/// The object in another version of its kind; `None` where it is already in it.
pub fn convert(obj: &Value, from: &GroupVersionKind, to: &GroupVersionKind) -> Option<Value> {
    (from != to).then(|| api::convert::convert(obj, from, to))
}

/// A stored value as this server would have written it: decoded, defaulted, encoded. `None` where the bytes cannot be
/// decoded; they are then served as they are.
pub fn canonicalise(row: &Resource, stored: &Bytes) -> Option<Bytes> {
    let schema = api::schema::of(&row.storage_version)?;
    let decoded = api::decode::json(stored, schema).ok()?;
    let mut value = decoded.value;
    api::defaults::apply(&row.storage_version, &mut value);
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    Some(encode(&value, &row.storage_version))
}

/// A response with a JSON body that is already encoded.
pub fn json_response(code: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A value of a kind in the form the client accepts (YAML or JSON; Tables and partial metadata are `accept`'s).
pub fn value_response(code: StatusCode, value: &Value, kind: &GroupVersionKind, accept: &Accept) -> Response<Body> {
    let mut bytes = encode(value, kind).to_vec();
    bytes.push(b'\n');
    if accept.pretty
        && let Ok(pretty) = serde_json::from_slice::<Box<serde_json::value::RawValue>>(&bytes)
    {
        bytes = prettify(pretty.get());
    }
    if accept.yaml {
        let text = machinery::yaml::from_json(value);
        let mut response = json_response(code, text);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
        return response;
    }
    json_response(code, bytes)
}

/// JSON indented by two spaces, member order kept.
fn prettify(json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    let bytes = json.trim_end().as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        if in_string {
            out.push(*byte);
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(*byte);
                if !matches!(bytes.get(at + 1), Some(b'}' | b']')) {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            b'}' | b']' => {
                if !matches!(bytes[at - 1], b'{' | b'[') {
                    depth = depth.saturating_sub(1);
                    newline(&mut out, depth);
                }
                out.push(*byte);
            }
            b',' => {
                out.push(b',');
                newline(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b'"' => {
                in_string = true;
                out.push(b'"');
            }
            _ => out.push(*byte),
        }
    }
    out.push(b'\n');
    out
}

/// An error as the client sees it. A 401 says how to authenticate, a 429 or 503 when to come again.
pub fn status_response(error: &StatusError) -> Response<Body> {
    let mut bytes = encode(&error.to_value(), &GroupVersionKind::new("", "v1", "Status")).to_vec();
    bytes.push(b'\n');
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(code, bytes);
    if let Some(seconds) = error.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds `Warning: 299 - "text"` headers, each text cut to 256 bytes, at most 4 KiB in all, as upstream.
pub fn add_warnings(headers: &mut HeaderMap, warnings: &[String]) {
    let mut total = 0;
    for text in warnings {
        let clean: String = text.chars().filter(|c| !c.is_control()).take(256).collect();
        let quoted = clean.replace('\\', "\\\\").replace('"', "\\\"");
        total += quoted.len();
        if total > 4096 {
            return;
        }
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            headers.append(header::WARNING, value);
        }
    }
}
