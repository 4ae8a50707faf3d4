//! Request bodies: read within limits, decoded by content type, checked against the kind of the endpoint. Messages
//! follow `apiserver/pkg/endpoints/handlers/rest.go` (transformDecodeError) and `create.go`.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use machinery::gvk::GroupVersionKind;
use machinery::status::StatusError;
use model::options::FieldValidation;
use model::types::{Source, Types};
use serde_json::Value;

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
    let json;
    let bytes = match content_type(headers)? {
        Media::Protobuf => return protobuf(bytes, expected, types),
        Media::Json => bytes,
        Media::Yaml => {
            let value = machinery::yaml::to_json(bytes).map_err(|error| {
                let why = error.strip_prefix("error converting YAML to JSON: ").unwrap_or(&error);
                unrecognised(expected, why, bytes)
            })?;
            json = serde_json::to_vec(&value).expect("a JSON value is always encodable into memory");
            &json
        }
    };
    checked(bytes, expected, types, validation)
}

/// Decodes an object in protobuf.
fn protobuf(bytes: &[u8], expected: &GroupVersionKind, types: &Types) -> Result<Decoded, StatusError> {
    let envelope = api::protobuf::open(bytes).map_err(|e| unrecognised(expected, &e.0, bytes))?;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_string());
    let head = Head { api_version: text(envelope.api_version), kind: text(envelope.kind) };
    finish(head, expected, types, FieldValidation::Ignore, Source::Protobuf(envelope.raw))
}

/// Checks a value that was made here (a patched object) as [`object`] does a body.
pub fn value(
    value: Value,
    expected: &GroupVersionKind,
    types: &Types,
    validation: FieldValidation,
) -> Result<Decoded, StatusError> {
    let text = |key: &str| value[key].as_str().map(str::to_string);
    let head = Head { api_version: text("apiVersion"), kind: text("kind") };
    finish(head, expected, types, validation, Source::Value(value))
}

fn checked(
    bytes: &[u8],
    expected: &GroupVersionKind,
    types: &Types,
    validation: FieldValidation,
) -> Result<Decoded, StatusError> {
    // Go reads nothing as an object without members.
    let bytes = if bytes.trim_ascii() == b"null" { b"{}" } else { bytes };
    let head: Head = serde_json::from_slice(bytes).map_err(|error| {
        let why = match machinery::json::from_slice(bytes) {
            Err(why) => why,
            Ok(document) if !document.value.is_object() => no_object(&document.value),
            Ok(_) => error.to_string(),
        };
        unrecognised(expected, &format!("couldn't get version/kind; json parse error: {why}"), bytes)
    })?;
    finish(head, expected, types, validation, Source::Json(bytes))
}

fn finish(
    head: Head,
    expected: &GroupVersionKind,
    types: &Types,
    validation: FieldValidation,
    source: Source<'_>,
) -> Result<Decoded, StatusError> {
    let expected_version = api_version(expected);
    let version = head.api_version.filter(|v| !v.is_empty()).unwrap_or_else(|| expected_version.clone());
    let kind = head.kind.filter(|k| !k.is_empty()).unwrap_or_else(|| expected.kind.to_string());
    if version != expected_version {
        return Err(StatusError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected_version})"
        )));
    }
    let fault = |why: &str| {
        let version = version.rsplit('/').next().unwrap_or_default();
        StatusError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {}: {why}",
            expected.kind
        ))
    };
    if kind != expected.kind {
        return Err(fault(&format!("converting (v1.{kind}) to (v1.{}): unknown conversion", expected.kind)));
    }
    let mut decoded = types.decode(source).map_err(|why| fault(&why.0))?;
    if validation == FieldValidation::Strict
        && let Some(strict) = decoded.strict_error()
    {
        return Err(fault(&strict));
    }
    let strict = std::mem::take(&mut decoded.strict);
    decoded.value["apiVersion"] = expected_version.into();
    decoded.value["kind"] = kind.into();
    let warnings = if validation == FieldValidation::Warn { strict } else { Vec::new() };
    Ok(Decoded { object: decoded.value, warnings })
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
}

/// What Go says of a value that was to be an object.
pub fn no_object(value: &Value) -> String {
    let go = machinery::go::json_kind(value);
    format!(
        r#"json: cannot unmarshal {go} into Go value of type struct {{ APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }}"#
    )
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

fn api_version(kind: &GroupVersionKind) -> String {
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
