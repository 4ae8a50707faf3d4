//! ControllerRevisions: what a template was; never changes.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use model::check::Faults;
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

use super::nonnegative;

/// ControllerRevisions.
pub struct ControllerRevisions;

impl Strategy for ControllerRevisions {
    fn validate(&self, _: &WriteContext<'_>, revision: &Value) -> ErrorList {
        let mut errors = number(revision);
        let at = Path::new("data");
        match revision.sub("data") {
            None => errors.required(&at, "data is mandatory"),
            Some(data) if !data.is_object() => errors.required(&at, "data must be a valid JSON object"),
            Some(_) => {}
        }
        errors
    }

    fn validate_update(&self, _: &WriteContext<'_>, revision: &Value, old: &Value) -> ErrorList {
        let mut errors = number(revision);
        errors.extend(meta::validate_immutable(revision.sub("data"), old.sub("data"), &Path::new("data")));
        errors
    }
}

fn number(revision: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::nil();
    nonnegative(revision, &["revision"], &at, &mut errors);
    errors
}
