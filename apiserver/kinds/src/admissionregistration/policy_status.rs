//! The status of a ValidatingAdmissionPolicy: what its type checker found, and conditions.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::jsonpath;
use serde_json::Value;

use crate::conditions;
use model::check::Faults;

pub(super) fn validate(status: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("status");
    let warnings = status.sub("typeChecking").list("expressionWarnings");
    for (i, warning) in warnings.iter().enumerate() {
        let at = at.child("typeChecking").child("expressionWarnings").index(i);
        if warning.text("warning").is_empty() {
            errors.required(&at.child("warning"), "");
        }
        let (field, at) = (warning.text("fieldRef").trim(), at.child("fieldRef"));
        if field.is_empty() {
            errors.required(&at, "");
        } else if let Err(fault) = jsonpath::Template::parse(&format!("{{{field}}}")) {
            errors.invalid(&at, field, format!("invalid JSONPath: {fault}"));
        }
    }
    errors.extend(conditions::validate(status.list("conditions"), &at.child("conditions")));
    errors
}
