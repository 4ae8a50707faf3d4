//! PodDisruptionBudgets: how many of some pods must stay, or how many may go, not both. Follows
//! `pkg/apis/policy/validation`.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use model::check::Faults;
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

use super::apps::{int_or_percent, not_above_all};
use super::conditions;

/// PodDisruptionBudgets.
pub struct Budgets;

impl Strategy for Budgets {
    fn validate(&self, _: &WriteContext<'_>, budget: &Value) -> ErrorList {
        spec(&budget["spec"], false)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, budget: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            return status(&budget["status"]);
        }
        let selector = Path::new("spec").child("selector");
        // What an older server let pass may stay.
        let invalid = !meta::validate_label_selector(old["spec"].sub("selector"), false, &selector).is_empty();
        spec(&budget["spec"], invalid)
    }
}

fn spec(spec: &Value, allow_invalid_values: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        errors.invalid(&at, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
    }
    for field in ["minAvailable", "maxUnavailable"] {
        int_or_percent(spec.sub(field), &at.child(field), &mut errors);
        not_above_all(spec.sub(field), &at.child(field), &mut errors);
    }
    errors.extend(meta::validate_label_selector(spec.sub("selector"), allow_invalid_values, &at.child("selector")));
    if spec.has("unhealthyPodEvictionPolicy") {
        let policy = spec.text("unhealthyPodEvictionPolicy");
        if !matches!(policy, "AlwaysAllow" | "IfHealthyBudget") {
            let at = at.child("unhealthyPodEvictionPolicy");
            errors.unsupported(&at, policy, &["AlwaysAllow", "IfHealthyBudget"]);
        }
    }
    errors
}

fn status(status: &Value) -> ErrorList {
    let at = Path::new("status");
    let mut errors = conditions::validate(status.list("conditions"), &at.child("conditions"));
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        errors.nonnegative(&at.child(field), status.int(field).unwrap_or(0));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use model::check::said;

    #[test]
    fn budgets_say_how_many_stay_or_how_many_go() {
        let check = |given: Value, want: &[&str]| assert_eq!(said(&spec(&given, false)), want);
        check(json!({"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}), &[]);
        check(json!({"maxUnavailable": 0}), &[]);
        check(
            json!({"minAvailable": -1}),
            &["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"],
        );
        check(
            json!({"maxUnavailable": "101%"}),
            &[r#"spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#],
        );
        check(
            json!({"unhealthyPodEvictionPolicy": "Never"}),
            &[
                r#"spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget""#,
            ],
        );
        let both = said(&spec(&json!({"minAvailable": 1, "maxUnavailable": 1}), false));
        assert!(both[0].ends_with("minAvailable and maxUnavailable cannot be both set"), "{both:?}");
    }

    #[test]
    fn a_status_counts_nothing_below_zero() {
        assert_eq!(said(&status(&json!({"disruptionsAllowed": 1}))), [""; 0]);
        assert_eq!(
            said(&status(&json!({"currentHealthy": -1}))),
            ["status.currentHealthy: Invalid value: -1: must be greater than or equal to 0"]
        );
    }
}
