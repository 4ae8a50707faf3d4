//! Server-side apply: an update whose new object is the stored one with a configuration merged in, or a create where there
//! is none; each through the one path of its verb. Follows `endpoints/handlers/patch.go` (applyPatcher).

use access::authz;
use http::{Response, StatusCode};
use machinery::managed_fields::nothing;
use machinery::meta;
use machinery::status::StatusError;
use model::custom::conversion::Conversions;
use model::options::{FieldValidation, Write};
use model::types::Types;
use negotiation::Body;
use serde_json::{Map, Value};
use writes::strategy::{Kind, WriteContext};
use writes::update::{Updated, update};
use writes::{create, managed_fields};

use super::{Call, respond};
use crate::update::check_place;

/// A configuration, read once, applied as often as the write is tried.
pub(super) struct Configuration {
    value: Value,
    duplicate: Option<String>,
}

impl Configuration {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, StatusError> {
        let fault = |why: String| StatusError::bad_request(format!("error decoding YAML: {why}"));
        let (value, duplicate) = machinery::yaml::to_json_strict(bytes).map_err(fault)?;
        let value = match value {
            Value::Null => Value::Object(Map::new()),
            Value::Object(_) => value,
            other => {
                let kind = machinery::go::json_kind(&other);
                let why = format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
                return Err(fault(format!("error unmarshaling JSON: while decoding JSON: {why}")));
            }
        };
        Ok(Self { value, duplicate })
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// Keys given twice: refused, told, or passed over.
    pub(super) fn strict(&self, validation: FieldValidation) -> Result<Vec<String>, StatusError> {
        match (&self.duplicate, validation) {
            (Some(why), FieldValidation::Strict) => {
                let why = format!("error strict decoding YAML: error converting YAML to JSON: {why}");
                Err(StatusError::bad_request(why))
            }
            // One warning a line, without what they are about.
            (Some(why), FieldValidation::Warn) => Ok(why.lines().skip(1).map(|line| line.trim().to_owned()).collect()),
            _ => Ok(Vec::new()),
        }
    }
}

pub(super) async fn handle(mut call: Call, row: &Kind) -> Result<Response<Body>, StatusError> {
    let accept = call.accept(&row.kind())?;
    let options = Write::parse_patch(&call.info.query, &call.parts.headers, true)?;
    let config = Configuration::parse(&call.bytes().await?)?;
    let name = call.info.name.clone();
    let (updated, warnings) = {
        let cx = call.write_context(row, options.dry_run);
        let mut told = Vec::new();
        let conversions = Conversions::default();
        let updated = loop {
            // What an attempt lacked of other versions is here for the next one.
            if let Some(custom) = row.types.custom() {
                conversions.make(cx.registry, custom).await;
            }
            let change = &mut |old: &Value| {
                let object = applied(&cx, &name, old, &config, &options, &conversions)?;
                call.warnings.extend(config.strict(options.field_validation)?);
                told = cx.resource.strategy.warnings(&cx, &object, Some(old));
                Ok(object)
            };
            match update(&cx, &name, &options, change).await {
                Err(_) if conversions.lacking() => continue,
                Err(error) if error.is_not_found() && cx.subresource.is_none() => {}
                outcome => break outcome?,
            }
            let none = nothing(&row.api_version(), &row.kind);
            let mut object = match applied(&cx, &name, &none, &config, &options, &conversions) {
                Err(_) if conversions.lacking() => continue,
                outcome => outcome?,
            };
            // A version of what is not there is passed over, unlike in a POST.
            meta::remove(&mut object, "resourceVersion");
            call.warnings.extend(config.strict(options.field_validation)?);
            told = cx.resource.strategy.warnings(&cx, &object, None);
            may_create(&call)?;
            match create::create(&cx, object, &options).await {
                Err(error) if error.is_already_exists() => {}
                outcome => break Updated { entry: outcome?, created: true },
            }
        };
        (updated, told)
    };
    call.warnings.extend(warnings);
    let code = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
    respond::entry(&call, row, code, &updated.entry, &accept).await
}

/// The object after the apply, decoded and defaulted like a body.
fn applied(
    cx: &WriteContext<'_>,
    name: &str,
    live: &Value,
    config: &Configuration,
    options: &Write,
    conversions: &Conversions,
) -> Result<Value, StatusError> {
    let kind = cx.resource.kind();
    let merged = managed_fields::apply(cx, live, config.value(), options, conversions);
    if conversions.lacking() {
        return Err(StatusError::internal("another version is yet to be made"));
    }
    let merged = merged?;
    let unconverted = |why: &str| {
        let about = machinery::managed_fields::about(config.value());
        StatusError::unknown(format!(
            "failed to convert new object ({about}) to proper version: unable to convert unstructured object to {kind}: {why}"
        ))
    };
    let mut object = match &cx.resource.types {
        Types::Custom(custom) => custom.applied(merged).map_err(|error| StatusError::bad_request(error.0))?,
        Types::BuiltIn(schema) => {
            api::decode::unstructured(merged, schema).map_err(|error| unconverted(&error.0))?.value
        }
        Types::None => return Err(StatusError::no_such_resource()),
    };
    cx.resource.types.default(&kind, &mut object);
    if meta::uid(live).is_empty() && !meta::uid(&object).is_empty() {
        let uid = meta::uid(&object);
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(StatusError::conflict(&cx.resource.group_resource(), name, why));
    }
    check_place(cx, name, &object)?;
    Ok(object)
}

/// An apply that creates is allowed to who may create.
fn may_create(call: &Call) -> Result<(), StatusError> {
    let info = model::request_info::RequestInfo { verb: "create", ..call.info.clone() };
    authz::check(call.server.authorizer.as_ref(), call.user(), &info)
}
