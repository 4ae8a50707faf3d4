//! Strategic merge patch: a merge patch that knows how a kind's lists are merged
//! (`apimachinery/pkg/util/strategicpatch`).
//!
//! Directives: `$patch: delete|replace|merge` in maps and list elements, `$setElementOrder/<list>`,
//! `$deleteFromPrimitiveList/<list>`, `$retainKeys`.

mod diff;
mod list;
mod merge;
mod schema;

pub use schema::{PatchField, PatchSchema};

use crate::gvk::GroupResource;
use crate::status::StatusError;
use serde_json::{Map, Value};

pub(crate) const PATCH: &str = "$patch";
pub(crate) const RETAIN_KEYS: &str = "$retainKeys";
pub(crate) const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList";
pub(crate) const SET_ELEMENT_ORDER: &str = "$setElementOrder";

/// Why a patch cannot be applied, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The patch has not the form of one.
    #[error("{0}")]
    BadPatch(&'static str),
    /// The patch asks for what there is not.
    #[error("{0}")]
    Unprocessable(&'static str),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Error {
    const PRIMITIVE_LIST: Error = Error::BadPatch("invalid patch format of primitive list");
    const RETAIN_KEYS: Error = Error::BadPatch("invalid patch format of retainKeys");
    const ELEMENT_ORDER: Error = Error::BadPatch("invalid patch format of setElementOrder list");
    const LIST_OF_LISTS: Error = Error::Unprocessable("lists of lists are not supported");

    fn bad_type(expected: &str, actual: &Value) -> Error {
        Error::Other(format!("expected a {expected}, but received a {}", crate::go::type_name(actual)))
    }

    fn no_merge_key(item: &Value, key: &str) -> Error {
        Error::Other(format!("map: {} does not contain declared merge key: {key}", crate::go::print(item)))
    }
}

impl From<Error> for StatusError {
    fn from(error: Error) -> Self {
        match error {
            Error::BadPatch(message) => StatusError::bad_request(message),
            Error::Unprocessable(message) => {
                StatusError::generic_server_response(422, "", &GroupResource::default(), "", message, 0)
            }
            // Upstream answers an error that is none of its own with 500 and the bare message.
            Error::Other(message) => {
                StatusError { code: 500, reason: "".into(), message, details: None, continue_token: String::new() }
            }
        }
    }
}

/// Applies a patch to an object.
pub fn apply(original: Value, patch: Value, schema: &dyn PatchSchema) -> Result<Value, Error> {
    let options = merge::Options { apply: true };
    let merged = merge::merge_map(object(original)?, object(patch)?, schema, options)?;
    Ok(Value::Object(merged))
}

/// The patch that makes `modified` of `original` (`CreateTwoWayMergePatch`).
pub fn two_way(original: &Value, modified: &Value, schema: &dyn PatchSchema) -> Result<Value, Error> {
    let options = diff::Options { set_element_order: true, ..diff::Options::default() };
    diff::diff_maps(borrow(original)?, borrow(modified)?, schema, options).map(Value::Object)
}

/// The patch of client-side apply (`CreateThreeWayMergePatch` with overwrite): brings `current` to `modified`, and removes
/// what `original` (the last applied) had and `modified` has no longer.
pub fn three_way(
    original: &Value,
    modified: &Value,
    current: &Value,
    schema: &dyn PatchSchema,
) -> Result<Value, Error> {
    let (original, modified, current) = (borrow(original)?, borrow(modified)?, borrow(current)?);
    let additions = diff::Options { ignore_deletions: true, set_element_order: true, ..diff::Options::default() };
    let delta = diff::diff_maps(current, modified, schema, additions)?;
    let removals =
        diff::Options { ignore_changes_and_additions: true, set_element_order: true, ..diff::Options::default() };
    let deletions = diff::diff_maps(original, modified, schema, removals)?;
    merge::merge_map(deletions, delta, schema, merge::Options { apply: false }).map(Value::Object)
}

/// A patch without the directives that applying it has followed.
pub fn without_directives(patch: &Value) -> Value {
    match patch {
        Value::Object(members) => {
            let directive = |name: &str| {
                matches!(name, PATCH | RETAIN_KEYS)
                    || [DELETE_FROM_PRIMITIVE_LIST, SET_ELEMENT_ORDER].iter().any(|start| name.starts_with(start))
            };
            let rest = members.iter().filter(|(name, _)| !directive(name));
            rest.map(|(name, value)| (name.clone(), without_directives(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_directives).collect(),
        other => other.clone(),
    }
}

fn object(value: Value) -> Result<Map<String, Value>, Error> {
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        other => Err(Error::Other(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            crate::go::json_kind(&other)
        ))),
    }
}

fn borrow(value: &Value) -> Result<&Map<String, Value>, Error> {
    value.as_object().ok_or(Error::BadPatch("invalid JSON document"))
}

#[cfg(test)]
mod tests;
