//! Patch: an update whose new object is the stored one with a JSON, merge or strategic merge patch applied. The
//! patched object is decoded and defaulted like a body, so that a patch can do nothing that an update cannot.

use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use machinery::status::StatusError;
use model::options::Write;
use model::resource::Resource;
use model::types::Types;
use negotiation::Body;
use serde_json::Value;
use writes::strategy::Kind;
use writes::update;

use super::{Call, apply, respond};
use crate::update::uid_kept;

/// A patch, parsed once, applied as often as the write is tried.
pub enum Patch {
    /// RFC 6902.
    Json(machinery::patch::json::Patch),
    /// RFC 7396.
    Merge(Value),
    /// Upstream's own, by the kind's merge keys.
    Strategic(Value),
}

const ACCEPTED: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", APPLY];

/// Without a strategic merge, which takes a type to know merge keys.
const ACCEPTED_CUSTOM: &[&str] = &["application/json-patch+json", "application/merge-patch+json", APPLY];

/// Server-side apply, which is `apply.rs`.
pub(super) const APPLY: &str = "application/apply-patch+yaml";

/// Whether the row's objects take that sort of patch.
pub(super) fn accepted(call: &Call, row: &Resource) -> Result<(), StatusError> {
    if row.types.custom().is_some() && !ACCEPTED_CUSTOM.contains(&media_type(call)) {
        return Err(StatusError::unsupported_media_type(ACCEPTED_CUSTOM));
    }
    Ok(())
}

/// The media type of a patch.
pub(super) fn media_type(call: &Call) -> &str {
    let content = call.parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    content.split(';').next().unwrap_or_default().trim()
}

impl Patch {
    /// From a request's content type and body.
    pub fn parse(call: &Call, bytes: &[u8]) -> Result<Self, StatusError> {
        let document = || {
            let fault = |e| StatusError::bad_request(format!("error decoding patch: {e}"));
            machinery::json::from_slice(bytes).map(|document| document.value).map_err(fault)
        };
        let object = || match document()? {
            patch @ Value::Object(_) => Ok(patch),
            other => {
                let kind = machinery::go::json_kind(&other);
                let why = format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
                Err(StatusError::bad_request(format!("error decoding patch: {why}")))
            }
        };
        match media_type(call) {
            "application/json-patch+json" => Ok(Self::Json(machinery::patch::json::Patch::decode(document()?)?)),
            "application/merge-patch+json" => Ok(Self::Merge(object()?)),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(object()?)),
            // The words of upstream's router, which refuses before its handler lists what it takes.
            _ => Err(StatusError {
                message: "415: Unsupported Media Type".to_owned(),
                details: Some(Box::default()),
                ..StatusError::unsupported_media_type(ACCEPTED)
            }),
        }
    }

    /// The patched object, before it is decoded.
    pub fn apply(&self, old: &Value, types: &Types) -> Result<Value, StatusError> {
        match self {
            Self::Json(patch) => Ok(patch.apply(old)?),
            Self::Merge(patch) => machinery::patch::merge::apply(old.clone(), patch.clone()),
            Self::Strategic(patch) => match types.built_in() {
                Some(schema) => {
                    Ok(machinery::patch::strategic::apply(old.clone(), patch.clone(), &api::patch::TypeSchema(schema))?)
                }
                None => Err(StatusError::unsupported_media_type(ACCEPTED)),
            },
        }
    }
}

pub(super) async fn handle(mut call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    if media_type(&call) == APPLY {
        return apply::handle(call, row).await;
    }
    accepted(&call, row)?;
    let accept = call.accept(&row.kind())?;
    let options = Write::parse_patch(&call.info.query, &call.parts.headers, false)?;
    let bytes = call.bytes().await?;
    let patch = Patch::parse(&call, &bytes)?;
    let kind = row.kind();
    let name = call.info.name.clone();
    let updated = {
        let cx = call.write_context(row, options.dry_run);
        let (mut told, patch) = (Vec::new(), &patch);
        let updated = update::update(&cx, &name, &options, &mut |old| {
            let patched = patch.apply(old, &row.types)?;
            let decoded = negotiation::value(patched, &kind, &row.types, options.field_validation)?;
            let mut object = decoded.object;
            row.types.default(&kind, &mut object);
            call.warnings.extend(decoded.warnings);
            told = respond::write_warnings(&cx, &object, Some(old));
            if machinery::meta::name(&object) != machinery::meta::name(old) {
                return Err(StatusError::bad_request("the name of the object cannot be changed by a patch"));
            }
            uid_kept(row, &name, &object, old)?;
            Ok(object)
        })
        .await?;
        call.warnings.extend(told);
        updated
    };
    respond::entry(&call, row, StatusCode::OK, &updated.entry, &accept).await
}
