//! Faults of expressions of webhooks and policies, as faults of fields.

use machinery::field::{ErrorList, Path};

use model::check::Faults;

pub use expressions::*;

/// Notes what is wrong with an expression.
pub(super) fn check(expression: &str, sight: Sight<'_>, wanted: Wanted, at: &Path, errors: &mut ErrorList) {
    if let Err(fault) = compile(expression, sight, wanted) {
        errors.invalid(at, expression, fault);
    }
}
