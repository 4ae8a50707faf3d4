//! What a patch made, checked like a body. Upstream tells what is wrong with it as a fault of the patch, with the whole
//! result (`endpoints/handlers/patch.go`).

use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::{GroupKind, GroupVersionKind};
use machinery::patch::strategic::without_directives;
use machinery::status::StatusError;
use model::options::FieldValidation;
use model::types::{Source, Types};
use serde_json::{Value, json};

use crate::Decoded;
use crate::decode::{Fault, custom_kind, named, read};
use crate::head::Head;

/// Checks an object that a JSON or merge patch made. `strict` are faults of the patch itself that strict field validation
/// refuses; `text` is the result as the client is to see it.
pub fn patched(
    value: Value,
    expected: &GroupVersionKind,
    types: &Types,
    validation: FieldValidation,
    strict: Vec<String>,
    text: &dyn Fn() -> String,
) -> Result<Decoded, StatusError> {
    let fault = |why: String| invalid(&text(), &why);
    let head = Head::of(&value).map_err(fault)?;
    let custom = types.custom().is_some();
    if custom && head.kind.is_empty() {
        return Err(fault(format!("Object 'Kind' is missing in '{}'", text())));
    }
    if custom && head.api_version.is_empty() {
        return Err(StatusError::internal("Object 'apiVersion' is missing in 'object has no apiVersion field'"));
    }
    let mut decoded = if !custom && head.api_version.is_empty() {
        // Without a version upstream reads the internal type, which has no field of these names.
        let names = value.as_object().into_iter().flat_map(|members| members.keys());
        let unknown = names.filter(|name| !matches!(name.as_str(), "kind" | "apiVersion"));
        let unknown = unknown.map(|name| format!("unknown field {name:?}")).collect();
        api::decode::Decoded { value: json!({}), strict: unknown }
    } else {
        let read = read(head, expected, types, Source::Value(value)).map_err(|error| match error {
            Fault::Unrecognised(why) | Fault::Undecodable { why, .. } => fault(why),
        })?;
        if custom {
            custom_kind(&read, expected)?;
        }
        let mut decoded = read.decoded;
        if let Some(converted) = model::encoding::convert(&decoded.value, &read.kind, expected) {
            decoded.value = converted;
        }
        decoded
    };
    decoded.strict.splice(..0, strict);
    finish(decoded, expected, validation, fault)
}

/// Checks an object of a built-in kind that a strategic merge patch made. Upstream knows its kind without being told.
pub fn merged(
    value: Value,
    patch: &Value,
    expected: &GroupVersionKind,
    types: &Types,
    validation: FieldValidation,
    strict: Vec<String>,
) -> Result<Decoded, StatusError> {
    let fault = |why: String| invalid(&machinery::go::print(&without_directives(patch)), &why);
    let Some(schema) = types.built_in() else { return Err(StatusError::no_such_resource()) };
    let mut decoded = api::decode::patched(value, patch, schema).map_err(|error| fault(error.0))?;
    decoded.strict.splice(..0, strict);
    finish(decoded, expected, validation, fault)
}

fn finish(
    mut decoded: api::decode::Decoded,
    expected: &GroupVersionKind,
    validation: FieldValidation,
    fault: impl Fn(String) -> StatusError,
) -> Result<Decoded, StatusError> {
    if validation == FieldValidation::Strict
        && let Some(strict) = decoded.strict_error()
    {
        return Err(fault(strict));
    }
    let strict = std::mem::take(&mut decoded.strict);
    let warnings = if validation == FieldValidation::Warn { strict } else { Vec::new() };
    Ok(Decoded { object: named(decoded.value, expected), warnings })
}

fn invalid(shown: &str, why: &str) -> StatusError {
    let errors = ErrorList::from_iter([Error::invalid(&Path::new("patch"), shown, why)]);
    StatusError::invalid(&GroupKind::new("", ""), "", errors)
}
