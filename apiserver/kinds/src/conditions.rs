//! Conditions in a status: each type once, with a state, the time since when it has it, and a reason that programs can
//! read. Follows ValidateConditions of `apimachinery/pkg/apis/meta/v1/validation` and SetStatusCondition of
//! `apimachinery/pkg/api/meta`.

use jiff::Timestamp;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::Faults;
use serde_json::{Value, json};

const MAX_REASON: usize = 1024;
const MAX_MESSAGE: usize = 32 * 1024;

/// The condition of a type.
pub fn find<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status.list("conditions").iter().find(|condition| condition.text("type") == kind)
}

/// Adds a condition, or replaces that of its type; the time stays where the state does.
pub fn set(status: &mut Value, mut condition: Value, now: Timestamp) {
    let since = find(status, condition.text("type"))
        .filter(|there| there.text("status") == condition.text("status"))
        .and_then(|there| there.sub("lastTransitionTime").cloned());
    condition["lastTransitionTime"] = since.unwrap_or_else(|| machinery::time::rfc3339(now).into());
    if !status.is_object() {
        *status = json!({});
    }
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|there| there["type"] == condition["type"]) {
        Some(there) => *there = condition,
        None => conditions.push(condition),
    }
}

/// Faults of a list of conditions.
pub fn validate(conditions: &[Value], at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, condition) in conditions.iter().enumerate() {
        let at = at.index(i);
        let kind = condition.text("type");
        if conditions[..i].iter().any(|earlier| earlier.text("type") == kind) {
            errors.duplicate(&at.child("type"), kind);
        }
        errors.extend(meta::validate_label_name(kind, &at.child("type")));
        let status = condition.text("status");
        if !matches!(status, "True" | "False" | "Unknown") {
            errors.unsupported(&at.child("status"), status, &["False", "True", "Unknown"]);
        }
        if let Some(generation) = condition.int("observedGeneration").filter(|g| *g < 0) {
            errors.invalid(&at.child("observedGeneration"), generation, "must be greater than or equal to zero");
        }
        if !condition.has("lastTransitionTime") {
            errors.required(&at.child("lastTransitionTime"), "");
        }
        let reason = condition.text("reason");
        if reason.is_empty() {
            errors.required(&at.child("reason"), "");
        } else {
            errors.each(&at.child("reason"), reason, reason_faults(reason));
            if reason.len() > MAX_REASON {
                errors.push(Error::too_long(&at.child("reason"), MAX_REASON));
            }
        }
        if condition.text("message").len() > MAX_MESSAGE {
            errors.push(Error::too_long(&at.child("message"), MAX_MESSAGE));
        }
    }
    errors
}

fn reason_faults(reason: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let inside = |c: char| word(c) || matches!(c, ',' | ':');
    if reason.starts_with(|c: char| c.is_ascii_alphabetic()) && reason.ends_with(word) && reason.chars().all(inside) {
        return Vec::new();
    }
    vec![names::regex_error(
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
        "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::check::said;

    #[test]
    fn conditions_have_a_type_a_state_a_time_and_a_reason() {
        let good = json!({"type": "Ready", "status": "True", "reason": "Is:So_1", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let at = Path::new("status").child("conditions");
        assert_eq!(said(&validate(std::slice::from_ref(&good), &at)), [""; 0]);
        let bad = json!({"type": "Ready", "status": "Perhaps", "observedGeneration": -1});
        assert_eq!(
            said(&validate(&[good.clone(), bad], &at)),
            [
                r#"status.conditions[1].type: Duplicate value: "Ready""#,
                r#"status.conditions[1].status: Unsupported value: "Perhaps": supported values: "False", "True", "Unknown""#,
                "status.conditions[1].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
                "status.conditions[1].lastTransitionTime: Required value",
                "status.conditions[1].reason: Required value",
            ]
        );
        for reason in ["1a", "a:", "a b", "_a"] {
            let mut condition = good.clone();
            condition["reason"] = json!(reason);
            let said = said(&validate(&[condition], &at));
            assert!(said[0].contains("a condition reason must start with alphabetic character"), "{reason}: {said:?}");
        }
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_state_does() {
        let (mut status, at) = (Value::Null, |second| Timestamp::from_second(second).expect("a time"));
        let condition = |state: &str, reason: &str| json!({"type": "Ready", "status": state, "reason": reason});
        let told = |status: &Value| {
            let ready = find(status, "Ready").expect("the condition");
            (
                ready.text("status").to_owned(),
                ready.text("reason").to_owned(),
                ready.text("lastTransitionTime").to_owned(),
            )
        };
        set(&mut status, condition("True", "A"), at(0));
        set(&mut status, condition("True", "B"), at(1));
        assert_eq!(told(&status), ("True".to_owned(), "B".to_owned(), "1970-01-01T00:00:00Z".to_owned()));
        set(&mut status, condition("False", "B"), at(2));
        assert_eq!(told(&status), ("False".to_owned(), "B".to_owned(), "1970-01-01T00:00:02Z".to_owned()));
        assert_eq!(status.list("conditions").len(), 1);
    }
}
