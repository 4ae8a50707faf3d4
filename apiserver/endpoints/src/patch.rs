//! Patch: an update whose new object is the stored one with a JSON, merge or strategic merge patch applied. The
//! patched object is decoded and defaulted like a body, so that a patch can do nothing that an update cannot.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use machinery::gvk::GroupVersionKind;
use machinery::json::Document;
use machinery::patch::{json, merge, strategic, text};
use machinery::status::StatusError;
use model::options::{FieldValidation, Write};
use model::resource::Resource;
use model::types::Types;
use negotiation::{Body, Decoded};
use serde_json::Value;
use writes::strategy::Kind;
use writes::update;

use super::{Call, apply, respond};
use crate::update::check_place;

/// A patch as it was sent. Only where there is an object it is read.
pub struct Patch {
    sort: Sort,
    bytes: Bytes,
}

enum Sort {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
    /// Upstream's own, by the kind's merge keys.
    Strategic,
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
    pub fn new(call: &Call, bytes: Bytes) -> Result<Self, StatusError> {
        let sort = match media_type(call) {
            "application/json-patch+json" => Sort::Json,
            "application/merge-patch+json" => Sort::Merge,
            "application/strategic-merge-patch+json" => Sort::Strategic,
            // The words of upstream's router, which refuses before its handler lists what it takes.
            _ => {
                return Err(StatusError {
                    message: "415: Unsupported Media Type".to_owned(),
                    details: Some(Box::default()),
                    ..StatusError::unsupported_media_type(ACCEPTED)
                });
            }
        };
        Ok(Self { sort, bytes })
    }

    /// The patched object, decoded as one of that kind.
    pub fn apply(
        &self,
        old: &Value,
        kind: &GroupVersionKind,
        types: &Types,
        validation: FieldValidation,
    ) -> Result<Decoded, StatusError> {
        let document = machinery::json::from_slice(&self.bytes);
        match self.sort {
            Sort::Json => patched_by_json(old, document, kind, types, validation),
            Sort::Merge => patched_by_merge(old, document, kind, types, validation),
            Sort::Strategic => patched_strategically(old, document, kind, types, validation),
        }
    }
}

fn patched_by_json(
    old: &Value,
    document: Result<Document, String>,
    kind: &GroupVersionKind,
    types: &Types,
    validation: FieldValidation,
) -> Result<Decoded, StatusError> {
    let mut strict = Vec::new();
    if validation != FieldValidation::Ignore {
        let read = document.as_ref().map_err(Clone::clone).and_then(json::Patch::strict);
        strict = read.map_err(undecodable)?;
    }
    let patch = json::Patch::decode(document.map_err(StatusError::bad_request)?.value)?;
    let patched = patch.apply(old)?;
    let text = || match patch.apply(old) {
        Ok(patched) => text::patched(&text_of(old, kind), &patched, &patch.opened()),
        Err(error) => error.to_string(),
    };
    negotiation::patched(patched, kind, types, validation, strict, &text)
}

fn patched_by_merge(
    old: &Value,
    document: Result<Document, String>,
    kind: &GroupVersionKind,
    types: &Types,
    validation: FieldValidation,
) -> Result<Decoded, StatusError> {
    let (patch, mut strict) = match (document, validation) {
        (Ok(document), _) => (document.value, document.duplicates),
        (Err(_), FieldValidation::Ignore) => return Err(StatusError::bad_request("Invalid JSON Patch")),
        (Err(why), _) => return Err(undecodable(why)),
    };
    match validation {
        FieldValidation::Ignore => strict.clear(),
        _ => object_or_null(&patch).map_err(undecodable)?,
    }
    let patched = merge::apply(old.clone(), patch.clone())?;
    let text = || match merge::apply(old.clone(), patch.clone()) {
        Ok(patched) => text::patched(&text_of(old, kind), &patched, &text::Opened::by_merge(&patch)),
        Err(error) => error.message,
    };
    negotiation::patched(patched, kind, types, validation, duplicates(strict), &text)
}

fn patched_strategically(
    old: &Value,
    document: Result<Document, String>,
    kind: &GroupVersionKind,
    types: &Types,
    validation: FieldValidation,
) -> Result<Decoded, StatusError> {
    let Some(schema) = types.built_in() else { return Err(StatusError::unsupported_media_type(ACCEPTED)) };
    let Document { value: patch, duplicates: twice } = document.map_err(StatusError::bad_request)?;
    object_or_null(&patch).map_err(StatusError::bad_request)?;
    let patched = strategic::apply(old.clone(), patch.clone(), &api::patch::TypeSchema(schema))?;
    let strict = if validation == FieldValidation::Ignore { Vec::new() } else { duplicates(twice) };
    negotiation::merged(patched, &patch, kind, types, validation, strict)
}

fn undecodable(why: String) -> StatusError {
    StatusError::bad_request(format!("error decoding patch: {why}"))
}

fn object_or_null(patch: &Value) -> Result<(), String> {
    if patch.is_object() || patch.is_null() {
        return Ok(());
    }
    let kind = machinery::go::json_kind(patch);
    Err(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

fn duplicates(paths: Vec<String>) -> Vec<String> {
    paths.into_iter().map(|path| format!("duplicate field {path:?}")).collect()
}

/// The JSON that a patch is applied to.
fn text_of(object: &Value, kind: &GroupVersionKind) -> String {
    String::from_utf8_lossy(&model::encoding::encode(object, kind)).into_owned()
}

pub(super) async fn handle(mut call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    if media_type(&call) == APPLY {
        return apply::handle(call, row).await;
    }
    accepted(&call, row)?;
    let accept = call.accept(&row.kind())?;
    let options = Write::parse_patch(&call.info.query, &call.parts.headers, false)?;
    let bytes = call.bytes().await?;
    let patch = Patch::new(&call, bytes)?;
    let kind = row.kind();
    let name = call.info.name.clone();
    let updated = {
        let cx = call.write_context(row, options.dry_run);
        let (mut told, patch) = (Vec::new(), &patch);
        let updated = update::update(&cx, &name, &options, &mut |old| {
            let decoded = patch.apply(old, &kind, &row.types, options.field_validation)?;
            let mut object = decoded.object;
            row.types.default(&kind, &mut object);
            call.warnings.extend(decoded.warnings);
            check_place(&cx, &name, &object)?;
            told = cx.resource.strategy.warnings(&cx, &object, Some(old));
            Ok(object)
        })
        .await?;
        call.warnings.extend(told);
        updated
    };
    respond::entry(&call, row, StatusCode::OK, &updated.entry, &accept).await
}
