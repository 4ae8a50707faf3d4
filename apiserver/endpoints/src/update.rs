//! Update: decode and default the body, pass the steps of an update (`writes::update`) or, where a kind allows it and
//! nothing is there, of a create; answer with what is stored. Follows `endpoints/handlers/update.go`.

use http::{Response, StatusCode};
use machinery::meta;
use machinery::status::StatusError;
use model::options::Write;
use negotiation::Body;
use serde_json::Value;
use writes::create;
use writes::metadata;
use writes::strategy::{Kind, WriteContext};
use writes::update::{Updated, update};

use crate::{Call, respond};

pub(super) async fn handle(mut call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&row.kind())?;
    let options = Write::parse(&call.info.query, &call.parts.headers, "UpdateOptions")?;
    let bytes = call.bytes().await?;
    let decoded = negotiation::object(&call.parts.headers, &bytes, &row.kind(), &row.types, options.field_validation)?;
    call.warnings.extend(decoded.warnings);
    let mut object = decoded.object;
    row.types.default(&row.kind(), &mut object);
    let name = call.info.name.clone();
    let (updated, warnings) = {
        let cx = call.write_context(row, options.dry_run);
        check_place(&cx, &name, &object)?;
        let mut warnings = Vec::new();
        if let Some(told) = metadata::dedup_owners(&mut object) {
            warnings.push(told);
        }
        let mut told = Vec::new();
        let updated = if row.create_on_update && cx.subresource.is_none() {
            update_or_create(&cx, &name, &options, object, &mut told).await?
        } else {
            let mut change = |old: &Value| {
                told = cx.resource.strategy.warnings(&cx, &object, Some(old));
                Ok(object.clone())
            };
            update(&cx, &name, &options, &mut change).await?
        };
        warnings.extend(told);
        (updated, warnings)
    };
    call.warnings.extend(warnings);
    let code = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
    respond::entry(&call, row, code, &updated.entry, &accept).await
}

async fn update_or_create(
    cx: &WriteContext<'_>,
    name: &str,
    options: &Write,
    obj: Value,
    warnings: &mut Vec<String>,
) -> Result<Updated, StatusError> {
    loop {
        let mut change = |old: &Value| {
            *warnings = cx.resource.strategy.warnings(cx, &obj, Some(old));
            Ok(obj.clone())
        };
        match update(cx, name, options, &mut change).await {
            Err(error) if error.is_not_found() => {}
            outcome => return outcome,
        }
        if !matches!(meta::resource_version(&obj), "" | "0") {
            return Err(StatusError::not_found(&cx.resource.group_resource(), name));
        }
        *warnings = cx.resource.strategy.warnings(cx, &obj, None);
        match create::create(cx, obj.clone(), options).await {
            Err(error) if error.is_already_exists() => {}
            outcome => return outcome.map(|entry| Updated { entry, created: true }),
        }
    }
}

/// That an object is the one that the request's path names. Follows `endpoints/handlers/rest.go` (checkName).
pub(super) fn check_place(cx: &WriteContext<'_>, name: &str, obj: &Value) -> Result<(), StatusError> {
    if let Some(meta) = obj["metadata"].as_object() {
        metadata::check_namespace(meta, cx.namespace)?;
    }
    let given = meta::name(obj);
    if given.is_empty() {
        return Err(StatusError::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != name {
        return Err(StatusError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}
