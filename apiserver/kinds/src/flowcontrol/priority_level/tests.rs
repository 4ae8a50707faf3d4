//! The faults of upstream's own tests of PriorityLevelConfiguration.

use serde_json::json;

use super::*;
use model::check::said;

fn check(name: &str, spec: Value, want: &[&str]) {
    let level = json!({"metadata": {"name": name}, "spec": spec});
    assert_eq!(said(&validate(&level)), want, "{level}");
}

fn limited(change: impl FnOnce(&mut Value)) -> Value {
    let mut limited = json!({
        "nominalConcurrencyShares": 100,
        "lendablePercent": 0,
        "limitResponse": {"type": "Queue", "queuing": {"queues": 512, "handSize": 4, "queueLengthLimit": 100}},
    });
    change(&mut limited);
    json!({"type": "Limited", "limited": limited})
}

const SPEC_OF_EXEMPT: &str = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value";

#[test]
fn exempt_is_exempt_and_nobody_else() {
    let exempt = |shares: i64, percent: i64| json!({"nominalConcurrencyShares": shares, "lendablePercent": percent});
    check("exempt", json!({"type": "Exempt", "exempt": exempt(0, 0)}), &[]);
    check("exempt", json!({"type": "Exempt", "exempt": exempt(10, 100)}), &[]);
    for percent in [101, -1] {
        check(
            "exempt",
            json!({"type": "Exempt", "exempt": exempt(-1, percent)}),
            &[
                "spec.exempt.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                &format!("spec.exempt.lendablePercent: Invalid value: {percent}: must be between 0 and 100, inclusive"),
            ],
        );
    }
    let only = "must be 'Exempt' if and only if `name` is 'exempt'";
    check(
        "exempt",
        json!({"type": "Limited", "exempt": exempt(0, 0)}),
        &[
            &format!(r#"spec.type: Invalid value: "Limited": {only}"#),
            "spec.exempt: Forbidden: must be nil if the type is Limited",
            "spec.limited: Required value: must not be empty when type is Limited",
            &format!(
                r#"spec: Invalid value: {{"Type":"Limited","Limited":null,"Exempt":{{"NominalConcurrencyShares":0,"LendablePercent":0}}}}: {SPEC_OF_EXEMPT}"#
            ),
        ],
    );
    let both = json!({"type": "Exempt", "exempt": exempt(0, 0), "limited": {"nominalConcurrencyShares": 30, "limitResponse": {}}});
    let said = said(&validate(&json!({"metadata": {"name": "exempt"}, "spec": both})));
    assert_eq!(said[0], "spec.limited: Forbidden: must be nil if the type is not Limited");
    assert!(said.len() == 2 && said[1].ends_with(SPEC_OF_EXEMPT), "{said:?}");
    check("other", json!({"type": "Exempt"}), &[&format!(r#"spec.type: Invalid value: "Exempt": {only}"#)]);
    check("other", json!({}), &[r#"spec.type: Unsupported value: "": supported values: "Exempt", "Limited""#]);
}

#[test]
fn limited_rejects_or_queues() {
    check("a", limited(|_| {}), &[]);
    check("a", limited(|l| l["limitResponse"] = json!({"type": "Reject"})), &[]);
    check("a", json!({"type": "Limited"}), &["spec.limited: Required value: must not be empty when type is Limited"]);
    check(
        "a",
        limited(|l| l["limitResponse"]["type"] = json!("Reject")),
        &["spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited"],
    );
    check(
        "a",
        limited(|l| l["limitResponse"] = json!({"type": "Queue"})),
        &[
            "spec.limited.limitResponse.queuing: Required value: must not be empty if limited.limitResponse.type is Limited",
        ],
    );
    check(
        "a",
        limited(|l| l["limitResponse"] = json!({})),
        &[r#"spec.limited.limitResponse.type: Unsupported value: "": supported values: "Queue", "Reject""#],
    );
    check(
        "a",
        limited(|l| l["nominalConcurrencyShares"] = json!(-1)),
        &["spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer"],
    );
    check("a", limited(|l| l["nominalConcurrencyShares"] = json!(0)), &[]);
    for percent in [-1, 101] {
        check(
            "a",
            limited(|l| l["lendablePercent"] = json!(percent)),
            &[&format!("spec.limited.lendablePercent: Invalid value: {percent}: must be between 0 and 100, inclusive")],
        );
    }
    check(
        "a",
        limited(|l| l["borrowingLimitPercent"] = json!(-1)),
        &["spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer"],
    );
}

#[test]
fn hands_fit_into_a_hash() {
    let queuing = |queues: i64, hand: i64, want: &[&str]| {
        let want: Vec<String> =
            want.iter().map(|fault| format!("spec.limited.limitResponse.queuing.{fault}")).collect();
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 100});
        check("a", limited(|l| l["limitResponse"]["queuing"] = queuing), &want);
    };
    queuing(10_000_000, 2, &[]);
    queuing(
        512,
        8,
        &[
            "handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60",
        ],
    );
    queuing(
        128,
        10,
        &[
            "handSize: Invalid value: 10: required entropy bits of deckSize 128 and handSize 10 should not be greater than 60",
        ],
    );
    queuing(
        i64::from(i32::MAX),
        3,
        &[
            "queues: Invalid value: 2147483647: must not be greater than 10000000",
            "handSize: Invalid value: 3: required entropy bits of deckSize 2147483647 and handSize 3 should not be greater than 60",
        ],
    );
    queuing(7, 8, &["handSize: Invalid value: 8: should not be greater than queues (7)"]);
    check(
        "a",
        limited(|l| l["limitResponse"]["queuing"] = json!({})),
        &[
            "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: 0: must be positive",
            "spec.limited.limitResponse.queuing.queues: Invalid value: 0: must be positive",
            "spec.limited.limitResponse.queuing.handSize: Invalid value: 0: must be positive",
        ],
    );
}

#[test]
fn what_every_cluster_has_stays() {
    let reject = |shares: i64| {
        let limited =
            json!({"nominalConcurrencyShares": shares, "limitResponse": {"type": "Reject"}, "lendablePercent": 0});
        json!({"type": "Limited", "limited": limited})
    };
    check("catch-all", reject(5), &[]);
    check(
        "catch-all",
        reject(6),
        &[
            r#"spec: Invalid value: {"Type":"Limited","Limited":{"NominalConcurrencyShares":6,"LimitResponse":{"Type":"Reject","Queuing":null},"LendablePercent":0,"BorrowingLimitPercent":null},"Exempt":null}: spec of 'catch-all' must equal the fixed value"#,
        ],
    );
    let annotated = json!({"metadata": {"name": "a", "annotations": {PRESERVE_ZERO: ""}}, "spec": limited(|_| {})});
    assert_eq!(
        said(&validate(&annotated)),
        [format!("metadata.annotations: Forbidden: annotation '{PRESERVE_ZERO}' is forbidden")]
    );
}
