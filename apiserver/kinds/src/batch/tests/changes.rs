//! What of a Job may change, and what its status may say.

use super::*;

fn update(base: &[(&str, Value)], places: &[(&str, Value)], expected: Expect) {
    let old = with(&job(), base);
    let new = with(&old, places);
    // What the new object is told of itself is told twice.
    let said = rules::said(JOB, &new, Some(&old));
    expected.assert_eq(&said);
}

#[test]
fn what_of_a_job_may_change() {
    let suspended = [("/spec/suspend", json!(true))];
    let image = ("/spec/template/spec/containers/0/image", json!("other"));
    update(
        &[],
        &[("/spec/parallelism", json!(3)), ("/spec/backoffLimit", json!(3)), ("/spec/suspend", json!(true))],
        expect![[""]],
    );
    update(
        &[],
        &[
            ("/spec/completions", json!(2)),
            ("/spec/managedBy", json!("example.com/x")),
            ("/spec/completionMode", json!("Indexed")),
        ],
        expect![[r#"
            spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism
            spec.completionMode: Invalid value: "Indexed": field is immutable
            spec.managedBy: Invalid value: "example.com/x": field is immutable
        "#]],
    );
    update(
        &[],
        &[(
            "/spec/podFailurePolicy",
            json!({"rules": [{"action": "Count", "onPodConditions": [{"type": "A", "status": "True"}]}]}),
        )],
        expect![[r#"
            spec.podFailurePolicy: Invalid value: {"Rules":[{"Action":"Count","OnExitCodes":null,"OnPodConditions":[{"Type":"A","Status":"True"}]}]}: field is immutable
        "#]],
    );
    update(
        &[],
        &[("/spec/completions", json!(2))],
        expect![[r#"
        spec.completions: Invalid value: 2: field is immutable
    "#]],
    );
    update(
        &[("/spec/completionMode", json!("Indexed"))],
        &[("/spec/completions", json!(2)), ("/spec/parallelism", json!(2))],
        expect![[""]],
    );
    update(
        &[("/spec/completionMode", json!("Indexed"))],
        &[("/spec/completions", json!(2))],
        expect![[r#"
        spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism
    "#]],
    );
    update(
        &suspended,
        &[
            ("/spec/template/spec/nodeSelector", json!({"a": "b"})),
            ("/spec/template/metadata/annotations", json!({"a": "b"})),
        ],
        expect![[""]],
    );
    update(
        &suspended,
        &[
            ("/spec/template/spec/affinity", json!({"nodeAffinity": {}})),
            ("/spec/template/spec/containers/0/resources", json!({"requests": {"cpu": "1"}})),
        ],
        expect![[""]],
    );
    let shown = |places: &[(&str, Value)], base: &[(&str, Value)]| {
        let old = with(&job(), base);
        let said = rules::said(JOB, &with(&old, places), Some(&old));
        said.split(": ").next().unwrap_or_default().to_owned()
    };
    assert_eq!(shown(std::slice::from_ref(&image), &suspended), "spec.template.spec");
    assert_eq!(shown(std::slice::from_ref(&image), &[]), "spec.template");
    assert_eq!(shown(&[("/spec/template/spec/nodeSelector", json!({"a": "b"}))], &[]), "spec.template");
    let started = [("/spec/suspend", json!(true)), ("/status", json!({"startTime": "2026-01-01T00:00:00Z"}))];
    assert_eq!(shown(&[("/spec/template/spec/nodeSelector", json!({"a": "b"}))], &started), "spec.template");
    let paused = [
        ("/spec/suspend", json!(true)),
        (
            "/status",
            json!({"startTime": "2026-01-01T00:00:00Z", "conditions": [{"type": "Suspended", "status": "True"}]}),
        ),
    ];
    assert_eq!(shown(&[("/spec/template/spec/nodeSelector", json!({"a": "b"}))], &paused), "");
}

fn status(base: &[(&str, Value)], places: &[(&str, Value)], expected: Expect) {
    let old = with(&job(), base);
    let mut said = said(&super::super::status::update(&with(&old, places), &old)).join("\n");
    said.push_str(if said.is_empty() { "" } else { "\n" });
    expected.assert_eq(&said);
}

fn conditions(types: &[&str]) -> Value {
    types.iter().map(|t| json!({"type": t, "status": "True"})).collect::<Vec<_>>().into()
}

const START: &str = "2026-01-01T00:00:00Z";
const END: &str = "2026-01-01T00:01:00Z";

#[test]
fn statuses() {
    status(&[], &[("/status", json!({"active": 1, "ready": 1, "startTime": START}))], expect![[""]]);
    status(
        &[],
        &[("/status", json!({"active": -1, "succeeded": -1, "failed": -1, "ready": -1, "terminating": -1}))],
        expect![[r#"
            status.active: Invalid value: -1: must be greater than or equal to 0
            status.succeeded: Invalid value: -1: must be greater than or equal to 0
            status.failed: Invalid value: -1: must be greater than or equal to 0
            status.ready: Invalid value: -1: must be greater than or equal to 0
            status.terminating: Invalid value: -1: must be greater than or equal to 0
            status.failed: Invalid value: -1: cannot decrease the failed counter
            status.succeeded: Invalid value: -1: cannot decrease the succeeded counter
        "#]],
    );
    status(
        &[],
        &[(
            "/status",
            json!({"active": 1, "ready": 2, "uncountedTerminatedPods": {"succeeded": ["a", "a", ""], "failed": ["a"]}}),
        )],
        expect![[r#"
            status.uncountedTerminatedPods.succeeded[1]: Duplicate value: "a"
            status.uncountedTerminatedPods.succeeded[2]: Invalid value: "": must not be empty
            status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"
            status.ready: Invalid value: 2: cannot set more ready pods than active
        "#]],
    );
    status(
        &[("/status", json!({"failed": 3, "succeeded": 2}))],
        &[("/status", json!({"failed": 2, "succeeded": 1}))],
        expect![[r#"
            status.failed: Invalid value: 2: cannot decrease the failed counter
            status.succeeded: Invalid value: 1: cannot decrease the succeeded counter
        "#]],
    );
    let indexed = ("/spec/completionMode", json!("Indexed"));
    status(
        &[indexed.clone(), ("/status", json!({"succeeded": 2}))],
        &[("/status", json!({"succeeded": 1}))],
        expect![[""]],
    );
    status(
        &[("/status", json!({"startTime": START}))],
        &[("/status", json!({"startTime": END}))],
        expect![[r#"
        status.startTime: Invalid value: "2026-01-01T00:01:00Z": field is immutable for unsuspended job once set
    "#]],
    );
    status(
        &[("/spec/suspend", json!(true)), ("/status", json!({"startTime": START}))],
        &[("/status", json!({}))],
        expect![[""]],
    );
    status(
        &[],
        &[("/status", json!({"completedIndexes": "0", "failedIndexes": "0"}))],
        expect![[r#"
        status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed completion mode
        status.failedIndexes: Invalid value: "0": cannot set non-null failedIndexes when backoffLimitPerIndex is null
        status.failedIndexes: Invalid value: "0": failedIndexes and completedIndexes overlap at index: 0
    "#]],
    );
    status(
        &[indexed, ("/spec/completions", json!(5)), ("/spec/backoffLimitPerIndex", json!(1))],
        &[("/status", json!({"completedIndexes": "1,0", "failedIndexes": "x,0-2"}))],
        expect![[r#"
            status.completedIndexes: Invalid value: "1,0": error parsing completedIndexes: non-increasing order, previous: 1, current: 0
            status.failedIndexes: Invalid value: "x,0-2": error parsing failedIndexes: cannot convert string to integer for index: "x"
            status.failedIndexes: Invalid value: "x,0-2": failedIndexes and completedIndexes overlap at index: 1
        "#]],
    );
}

#[test]
fn ends_of_a_job() {
    let complete = json!({"startTime": START, "completionTime": END, "conditions": conditions(&["SuccessCriteriaMet", "Complete"])});
    status(&[], &[("/status", complete.clone())], expect![[""]]);
    status(
        &[],
        &[("/status", json!({"startTime": START, "conditions": conditions(&["FailureTarget", "Failed"])}))],
        expect![[""]],
    );
    status(
        &[],
        &[(
            "/status",
            json!({"conditions": conditions(&["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"])}),
        )],
        expect![[r#"
            status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions
            status.conditions: Invalid value: cannot set Complete=True and FailureTarget=true conditions
            status.completionTime: Required value: completionTime is required for Complete jobs
            status.startTime: Required value: startTime is required for finished job
            status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and Failed=true conditions
            status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions
        "#]],
    );
    status(
        &[],
        &[("/status", json!({"completionTime": END, "conditions": conditions(&["Failed"])}))],
        expect![[r#"
        status.completionTime: Invalid value: "2026-01-01T00:01:00Z": cannot set completionTime when there is no Complete=True condition
        status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition
        status.startTime: Required value: startTime is required for finished job
    "#]],
    );
    status(
        &[],
        &[(
            "/status",
            with(
                &complete,
                &[
                    ("/completionTime", json!("2025-01-01T00:00:00Z")),
                    ("/active", json!(1)),
                    ("/terminating", json!(1)),
                    ("/uncountedTerminatedPods", json!({"failed": ["a"]})),
                ],
            ),
        )],
        expect![[r#"
            status.completionTime: Invalid value: "2025-01-01T00:00:00Z": must be equal to or after `startTime`
            status.active: Invalid value: 1: active>0 is invalid for finished job
            status.uncountedTerminatedPods: Invalid value: {"failed":["a"]}: must be empty for finished job
            status.terminating: Invalid value: 1: terminating>0 is invalid for finished job
        "#]],
    );
    status(
        &[("/status", complete.clone())],
        &[("/status", json!({}))],
        expect![[r#"
        status.conditions: Invalid value: cannot disable the terminal Complete=True condition
        status.startTime: Invalid value: null: field is immutable for unsuspended job once set
        status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition
    "#]],
    );
    status(
        &[("/status", complete.clone())],
        &[("/status/completionTime", json!(START))],
        expect![[r#"
        status.completionTime: Invalid value: "2026-01-01T00:00:00Z": field is immutable
    "#]],
    );
    let without = with(&complete, &[("/conditions", conditions(&["Complete"]))]);
    status(
        &[("/status", without.clone())],
        &[("/status/conditions", conditions(&["Complete", "SuccessCriteriaMet"]))],
        expect![[r#"
            status.conditions: Invalid value: cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions
        "#]],
    );
    // What was broken before and does not change is not told again.
    status(&[("/status", without)], &[("/status/failed", json!(1))], expect![[""]]);
}
