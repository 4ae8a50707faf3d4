//! Match conditions: expressions with a name that say whether a webhook or a policy is asked at all.

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use serde_json::Value;

use super::expressions::{self, Sight, Wanted};
use model::check::Faults;

const MOST: usize = 64;

/// The conditions of a webhook, or of a policy's spec.
pub(super) fn validate(holder: &Value, sight: Sight<'_>, at: &Path, errors: &mut ErrorList) {
    let (given, at) = (holder.list("matchConditions"), at.child("matchConditions"));
    if given.len() > MOST {
        errors.push(Error::too_many(&at, given.len(), MOST));
    }
    for (i, condition) in given.iter().enumerate() {
        let at = at.index(i);
        let (name, expression) = (condition.text("name"), condition.text("expression").trim());
        if expression.is_empty() {
            errors.required(&at.child("expression"), "");
        } else {
            expressions::check(expression, sight, Wanted::Bool, &at.child("expression"), errors);
        }
        if name.is_empty() {
            errors.required(&at.child("name"), "");
            continue;
        }
        errors.each(&at.child("name"), name, names::qualified_name(name));
        if given[..i].iter().any(|earlier| earlier.text("name") == name) {
            errors.duplicate(&at.child("name"), name);
        }
    }
}
