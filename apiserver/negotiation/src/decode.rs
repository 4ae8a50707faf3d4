//! Request bodies: read within limits, decoded by content type, checked against the kind of the endpoint. Messages
//! follow `apiserver/pkg/endpoints/handlers/rest.go` (transformDecodeError) and `create.go`.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::{GroupKind, GroupVersionKind};
use machinery::status::StatusError;
use model::options::FieldValidation;
use model::types::{Source, Types};
use serde_json::Value;

use crate::head::Head;
use crate::scheme;

/// The largest body of a write.
pub const LIMIT_BYTES: usize = 3 * 1024 * 1024;

/// Reads a body, up to [`LIMIT_BYTES`]: 413 beyond.
pub async fn body(body: Incoming) -> Result<Bytes, StatusError> {
    match Limited::new(body, LIMIT_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(StatusError::too_large(format!("limit is {LIMIT_BYTES}")))
        }
        Err(error) => Err(StatusError::bad_request(format!("unable to read the request body: {error}"))),
    }
}

/// A decoded body.
pub struct Decoded {
    /// The object, pruned of unknown fields, not yet defaulted, with the endpoint's kind and apiVersion.
    pub object: Value,
    /// What the client is to be warned of.
    pub warnings: Vec<String>,
}

/// Decodes a body of an endpoint of that kind, whose schema is `types`.
pub fn object(
    headers: &HeaderMap,
    bytes: &[u8],
    expected: &GroupVersionKind,
    types: &Types,
    validation: FieldValidation,
) -> Result<Decoded, StatusError> {
    let unrecognised = |why: String| unrecognised(expected, &why, bytes);
    let json;
    let (head, source, validation) = match content_type(headers)? {
        Media::Protobuf => {
            // It cannot have unknown fields.
            let envelope = api::protobuf::open(bytes).map_err(|e| unrecognised(e.0))?;
            let head = Head { api_version: envelope.api_version.into(), kind: envelope.kind.into() };
            (head, Source::Protobuf(envelope.raw), FieldValidation::Ignore)
        }
        Media::Json => (Head::of_json(bytes).map_err(unrecognised)?, Source::Json(bytes), validation),
        Media::Yaml => {
            let value = machinery::yaml::to_json(bytes).map_err(|error| {
                let why = error.strip_prefix("error converting YAML to JSON: ").unwrap_or(&error);
                unrecognised(why.to_owned())
            })?;
            let head = Head::of(&value).map_err(unrecognised)?;
            json = serde_json::to_vec(&value).expect("a JSON value is always encodable into memory");
            (head, Source::Json(&json), validation)
        }
    };
    if types.custom().is_some() && head.kind.is_empty() {
        let text = String::from_utf8_lossy(if let Source::Json(json) = source { json } else { bytes });
        return Err(unrecognised(format!("Object 'Kind' is missing in '{}'", text.trim_end())));
    }
    // Go reads nothing as an object without members.
    let source = if bytes.trim_ascii() == b"null" { Source::Json(b"{}") } else { source };
    let read = read(head, expected, types, source).map_err(|fault| match fault {
        Fault::Unrecognised(why) => unrecognised(why),
        Fault::Undecodable { kind, version, why } => undecodable(&kind, &version, expected, &why),
    })?;
    if (&read.kind.group, &read.kind.version) != (&expected.group, &expected.version) {
        let (given, expected) = (api_version(&read.kind), api_version(expected));
        return Err(StatusError::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({expected})"
        )));
    }
    custom_kind(&read, expected)?;
    let mut decoded = read.decoded;
    if validation == FieldValidation::Strict
        && let Some(strict) = decoded.strict_error()
    {
        return Err(undecodable(&read.kind.kind, &read.kind.version, expected, &strict));
    }
    let strict = std::mem::take(&mut decoded.strict);
    let warnings = if validation == FieldValidation::Warn { strict } else { Vec::new() };
    Ok(Decoded { object: named(decoded.value, expected), warnings })
}

/// An object as it was read, and the kind that it said to be.
pub(crate) struct Read {
    pub(crate) kind: GroupVersionKind,
    pub(crate) decoded: api::decode::Decoded,
}

/// Why what was sent, or what a patch made, is no object of the endpoint's kind.
pub(crate) enum Fault {
    /// It does not say what it is.
    Unrecognised(String),
    /// It is not what it says to be, or that is another kind.
    Undecodable { kind: String, version: String, why: String },
}

/// Reads an object by the kind that it says to be, or else by the endpoint's. Another version of the endpoint's kind is no
/// fault here.
pub(crate) fn read(
    mut head: Head,
    expected: &GroupVersionKind,
    types: &Types,
    source: Source<'_>,
) -> Result<Read, Fault> {
    if head.kind.is_empty() {
        head.kind = expected.kind.to_string();
    }
    if head.api_version.is_empty() && types.custom().is_none() {
        head.api_version = api_version(expected);
    }
    let kind = head.gvk().map_err(Fault::Unrecognised)?;
    let undecodable = |why| Fault::Undecodable { kind: kind.kind.to_string(), version: kind.version.to_string(), why };
    if kind == *expected || types.custom().is_some() {
        let decoded = types.decode(source).map_err(|error| undecodable(error.0))?;
        return Ok(Read { kind, decoded });
    }
    let given = scheme::known(&kind, expected).map_err(undecodable)?;
    let decoded = Types::BuiltIn(given).decode(source).map_err(|error| undecodable(error.0))?;
    if scheme::converts(&kind, expected) {
        return Ok(Read { kind, decoded });
    }
    Err(undecodable(format!(
        "converting ({}) to ({}): unknown conversion",
        given.go_name(),
        scheme::internal(expected)
    )))
}

/// An object of a custom resource may say to be of another kind until it is validated.
pub(crate) fn custom_kind(read: &Read, expected: &GroupVersionKind) -> Result<(), StatusError> {
    let mut errors = ErrorList::new();
    if read.kind.kind != expected.kind {
        let must = format!("must be {}", expected.kind);
        errors.push(Error::invalid(&Path::new("kind"), read.kind.kind.as_str(), must));
    }
    if (&read.kind.group, &read.kind.version) != (&expected.group, &expected.version) {
        let must = format!("must be {}", api_version(expected));
        errors.push(Error::invalid(&Path::new("apiVersion"), api_version(&read.kind), must));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupKind::new(read.kind.group.as_str(), read.kind.kind.as_str());
    Err(StatusError::invalid(&kind, machinery::meta::name(&read.decoded.value), errors))
}

/// The object with the endpoint's kind and version.
pub(crate) fn named(mut object: Value, expected: &GroupVersionKind) -> Value {
    object["apiVersion"] = api_version(expected).into();
    object["kind"] = expected.kind.as_str().into();
    object
}

fn undecodable(kind: &str, version: &str, expected: &GroupVersionKind, why: &str) -> StatusError {
    StatusError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {}: {why}", expected.kind))
}

enum Media {
    Json,
    Yaml,
    Protobuf,
}

fn content_type(headers: &HeaderMap) -> Result<Media, StatusError> {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    match value.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" => Ok(Media::Json),
        "application/yaml" => Ok(Media::Yaml),
        api::protobuf::MEDIA_TYPE => Ok(Media::Protobuf),
        _ => Err(StatusError::unsupported_media_type(&[
            "application/json",
            "application/yaml",
            api::protobuf::MEDIA_TYPE,
        ])),
    }
}

pub(crate) fn api_version(kind: &GroupVersionKind) -> String {
    if kind.group.is_empty() { kind.version.to_string() } else { format!("{}/{}", kind.group, kind.version) }
}

fn unrecognised(expected: &GroupVersionKind, why: &str, bytes: &[u8]) -> StatusError {
    const SHOWN_BYTES: usize = 30;
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let more = if bytes.len() > SHOWN_BYTES { " ..." } else { "" };
    let summary = match bytes.first() {
        None => "<empty>".to_string(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => format!("{}{more}", shown.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    };
    StatusError::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({summary})",
        expected.kind
    ))
}
