//! What a pass does and says, by table.

use super::*;

/// A pass over a job that has not been looked at yet.
fn check(spec: Value, pods: &str, want: &str) {
    let outcome = pass(&job(spec.clone(), json!({})), pods_of(pods), true, Failures::default());
    assert_eq!(outcome.line(), want, "{spec} {pods}");
}

const COMPLETE: &str = "SuccessCriteriaMet/CompletionsReached, Complete/CompletionsReached";

#[test]
fn the_number_of_pods() {
    let endless = json!({"completions": null});
    for (spec, pods, want) in [
        (json!({}), "", "create 2, active 2"),
        (endless.clone(), "", "create 2, active 2"),
        (json!({}), "Pending Pending", "active 2"),
        (json!({"parallelism": 3}), "Running+ Running+ Running", "active 3, ready 2"),
        (endless.clone(), "Running Running", "active 2"),
        (json!({}), "Running Succeeded", "create 1, release 1, active 2, succeeded 1"),
        (endless.clone(), "Running", "create 1, active 2"),
        (json!({}), "Running Running Running", "remove 1, active 2, terminating 1"),
        (json!({}), "Running+ Running+ Running+", "remove 1, active 2, ready 2, terminating 1"),
        (json!({}), "Running Running+ Running+", "remove 1, active 2, ready 2, terminating 1"),
        (json!({}), "Running Succeeded Failed", "create 1, release 2, active 2, succeeded 1, failed 1"),
        (json!({}), "Running Failed", "create 1, release 1, active 2, failed 1"),
        (json!({}), &*"Running ".repeat(10), "remove 8, active 2, terminating 8"),
        (
            json!({"parallelism": 3, "completions": 4}),
            "Running Running Running Succeeded Succeeded",
            "remove 1, release 2, active 2, terminating 1, succeeded 2",
        ),
        (json!({}), "Running Running Succeeded Succeeded", "release 2, active 2, succeeded 2"),
        (json!({"parallelism": 0}), "Running", "remove 1, terminating 1"),
        (json!({"parallelism": 1000, "completions": 2000}), "", "create 500, active 500"),
        (json!({"parallelism": 1}), &*"Running ".repeat(600), "remove 500, active 100, terminating 500"),
        // What was counted before, or is not to be counted, counts no more.
        (json!({}), "Succeeded~ Failed~ Running", "create 1, active 2"),
        (json!({"completions": 0}), "", COMPLETE),
    ] {
        check(spec, pods, want);
    }
}

#[test]
fn the_end_by_completions() {
    for (spec, pods, want) in [
        (json!({}), &*"Succeeded ".repeat(5), format!("release 5, succeeded 5, {COMPLETE}")),
        (json!({"completions": null}), "Running Succeeded", "release 1, active 1, succeeded 1".into()),
        (json!({"completions": null}), "Succeeded Succeeded", format!("release 2, succeeded 2, {COMPLETE}")),
        (json!({"completions": null}), "Succeeded Failed", format!("release 2, succeeded 1, failed 1, {COMPLETE}")),
        // It is over when none is terminating any more.
        (
            json!({"completions": 1}),
            "Succeeded Running!",
            "release 2, terminating 1, succeeded 1, failed 1, SuccessCriteriaMet/CompletionsReached".into(),
        ),
    ] {
        check(spec, pods, &want);
    }
    let outcome =
        pass(&job(json!({"completions": 1}), json!({})), pods_of("Succeeded Succeeded"), true, Failures::default());
    let said: Vec<&str> = outcome.said.iter().map(|Said(_, reason, _)| reason.as_str()).collect();
    assert_eq!(said, ["TooManySucceededPods", "Completed"]);
    assert_eq!(outcome.last.completion_time.unwrap().0, now());
    // The first step is written before any pod goes, the last after all have gone.
    let kinds = |status: &JobStatus| status.conditions.iter().flatten().map(|c| c.type_.clone()).collect::<Vec<_>>();
    assert_eq!(kinds(&outcome.first), ["SuccessCriteriaMet"]);
    assert_eq!(outcome.first.uncounted_terminated_pods.unwrap().succeeded.unwrap(), ["u0", "u1"]);
}

#[test]
fn the_end_by_failures() {
    let reason = "BackoffLimitExceeded";
    let failed = format!("FailureTarget/{reason}, Failed/{reason}");
    for (spec, pods, want) in [
        (json!({"backoffLimit": 0}), "Failed", format!("end 0, release 1, failed 1, {failed}")),
        (json!({"backoffLimit": 1}), "Failed", "create 2, release 1, active 2, failed 1".into()),
        // Whatever runs counts as failed; the last step waits until it has gone.
        (
            json!({"backoffLimit": 0}),
            "Running+ Running+ Failed",
            format!("end 2, release 3, terminating 2, failed 3, FailureTarget/{reason}"),
        ),
        (
            json!({"backoffLimit": 0, "completions": 3, "completionMode": "Indexed"}),
            "0:Succeeded 1:Failed 2:Running",
            format!("end 1, release 3, terminating 1, succeeded 1, failed 2, completed 0, FailureTarget/{reason}"),
        ),
    ] {
        check(spec, pods, &want);
    }
    let outcome = pass(&job(json!({"backoffLimit": 0}), json!({})), pods_of("Failed"), true, Failures::default());
    let message = "Job has reached the specified backoff limit".to_owned();
    assert_eq!(outcome.said, [Said("Warning", reason.into(), message)]);
}

#[test]
fn restarts_of_containers_count() {
    let restarting = |limit: i32, restarts: [i32; 2], phase: &str| {
        let template = json!({"spec": {"containers": [], "restartPolicy": "OnFailure"}});
        let job = job(json!({"backoffLimit": limit, "template": template}), json!({}));
        let mut pods = pods_of(phase);
        let status = Arc::make_mut(&mut pods[0]).status.as_mut().unwrap();
        let container = |n: i32| {
            serde_json::from_value(json!({"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": n}))
        };
        status.container_statuses = Some(vec![container(restarts[0]).unwrap()]);
        status.init_container_statuses = Some(vec![container(restarts[1]).unwrap()]);
        let end = matches!(pass(&job, pods, true, Failures::default()).plan, Plan::End(_));
        end
    };
    assert_eq!([restarting(0, [0, 0], "Running"), restarting(0, [1, 0], "Running")], [false, true]);
    assert_eq!([restarting(3, [1, 1], "Running"), restarting(3, [1, 2], "Pending")], [false, true]);
    assert!(!restarting(3, [3, 3], "Succeeded"));
}

#[test]
fn a_job_waits_with_successors_of_failed_pods() {
    let after = |pods: &str, spec: Value, count: i32, seconds: i64| {
        let last = (count > 0).then(|| before(seconds).parse().unwrap());
        pass(&job(spec, json!({})), pods_of(pods), true, Failures { count, last }).line()
    };
    assert_eq!(after("", json!({}), 1, 3), "later 7s");
    assert_eq!(after("", json!({}), 1, 11), "create 2, active 2");
    assert_eq!(after("Running", json!({}), 2, 3), "later 17s, active 1");
    assert_eq!(after("Failed@4", json!({}), 1, 30), "later 16s, release 1, failed 1");
    assert_eq!(after("Running Failed@4", json!({}), 0, 0), "later 6s, release 1, active 1, failed 1");
    assert_eq!(after("Succeeded@2 Failed@4", json!({}), 3, 30), "create 2, release 2, active 2, succeeded 1, failed 1");
}

#[test]
fn what_a_terminating_pod_is() {
    let failed_only = |spec: Value| {
        let mut spec = spec;
        spec["podReplacementPolicy"] = json!("Failed");
        spec
    };
    for (spec, pods, want) in [
        (
            json!({"parallelism": 1, "completions": 1}),
            "Running Failed Running!",
            "release 2, active 1, terminating 1, failed 2",
        ),
        (
            failed_only(json!({"parallelism": 1, "completions": null})),
            "Running Failed Running!",
            "release 1, active 1, terminating 1, failed 1",
        ),
        (
            failed_only(json!({"parallelism": 1, "completions": 1})),
            "Running Running Running! Running! Running! Running!",
            "remove 1, active 1, terminating 5",
        ),
        (failed_only(json!({"parallelism": 1})), "Running!", "terminating 1"),
        (failed_only(json!({"parallelism": 1})), "Failed!", "create 1, release 1, active 1, failed 1"),
        (json!({"parallelism": 1}), "Running!", "create 1, release 1, active 1, terminating 1, failed 1"),
        (json!({"parallelism": 1}), "Succeeded!", "create 1, release 1, active 1, succeeded 1"),
        // As with a failure policy, which replaces failed pods only.
        (
            json!({"parallelism": 1, "completions": 1, "podFailurePolicy": {"rules": []}}),
            "Running Running Running! Running! Running! Running!",
            "remove 1, active 1, terminating 5",
        ),
    ] {
        check(spec, pods, want);
    }
}

#[test]
fn indexes() {
    for (parallelism, completions, more, pods, want) in [
        (2, 5, "", "", "create 2 [0 1], active 2"),
        (2, 5, "Failed", "Running!", "create 1 [0], active 1, terminating 1"),
        (2, 5, "Failed", "0:Running!", "create 1 [1], active 1, terminating 1"),
        (2, 5, "", "Running!", "create 2 [0 1], release 1, active 2, terminating 1"),
        (
            2,
            3,
            "",
            "0:Succeeded 1:Failed 1:Succeeded 2:Succeeded",
            &*format!("release 4, succeeded 3, failed 1, completed 0-2, {COMPLETE}"),
        ),
        (
            2,
            3,
            "",
            "0:Succeeded 1:Succeeded 1:Succeeded",
            "create 1 [2], release 3, active 1, succeeded 2, completed 0,1",
        ),
        (
            8,
            20,
            "",
            "0:Running 2:Succeeded 3:Pending 4:Succeeded 5:Succeeded 7:Succeeded 8:Succeeded 9:Succeeded",
            "create 6 [1 6 10 11 12 13], release 6, active 8, succeeded 6, completed 2,4,5,7-9",
        ),
        (3, 4, "", "0:Failed 1:Pending 2:Failed", "create 2 [0 2], release 2, active 3, failed 2"),
        (
            2,
            5,
            "",
            "Running Succeeded Failed x:Running x:Succeeded x:Failed x:Pending 0:Succeeded 1:Running 2:Running",
            "remove 3, release 5, active 2, terminating 3, succeeded 1, completed 0",
        ),
        (
            5,
            5,
            "",
            "Succeeded Failed x:Running 0:Succeeded 1:Running 2:Running 2:Pending",
            "remove 2, release 3, active 2, terminating 2, succeeded 1, completed 0",
        ),
        (
            2,
            5,
            "",
            "0:Succeeded 5:Running 6:Succeeded 7:Pending 8:Failed",
            "remove 2, release 3, terminating 2, succeeded 1, completed 0",
        ),
    ] {
        let mut spec = json!({"parallelism": parallelism, "completions": completions, "completionMode": "Indexed"});
        if !more.is_empty() {
            spec["podReplacementPolicy"] = json!(more);
        }
        check(spec, pods, want);
    }
}

#[test]
fn the_one_of_an_index_that_is_furthest_stays() {
    let spec = json!({"parallelism": 6, "completions": 6, "completionMode": "Indexed"});
    let pods = pods_of("5:Pending 0:Running 3:Pending 0:Running@60 3:Running 0:Pending 6:Running 6:Pending");
    let outcome = pass(&job(spec, json!({})), pods, true, Failures::default());
    let Plan::Remove(gone) = outcome.plan else { panic!("nothing is removed") };
    let gone: Vec<&str> = gone.iter().map(|p| key::name(&p.metadata)).collect();
    assert_eq!(gone, ["p5", "p3", "p2", "p6", "p7"]);
}

#[test]
fn a_limit_for_each_index() {
    let spec = |more: Value| {
        let mut spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed",
            "backoffLimit": i32::MAX, "backoffLimitPerIndex": 1});
        more.as_object().unwrap().iter().for_each(|(name, value)| spec[name] = value.clone());
        spec
    };
    let rule = json!([{"action": "FailIndex", "onPodConditions": [{"type": "Ready", "status": "False"}]}]);
    for (more, pods, want) in [
        // The failed pod stays until its successor is there, which counts on.
        (json!({}), "0:Failed", "create 3 [0 1 2], active 3, failed indexes ''"),
        (json!({}), "0:Failed 0:Running#1 1:Running 2:Running", "release 1, active 3, failed 1, failed indexes ''"),
        (json!({}), "0:Failed@3", "create 2 [1 2], active 2, failed indexes ''"),
        (json!({}), "0:Failed@3 1:Running 2:Running", "later 7s, active 2, failed indexes ''"),
        (json!({}), "0:Failed#1 1:Running 2:Running", "release 1, active 2, failed 1, failed indexes '0'"),
        (
            json!({}),
            "0:Failed#1 1:Succeeded 2:Succeeded",
            "end 0, release 3, succeeded 2, failed 1, completed 1,2, failed indexes '0', \
             FailureTarget/FailedIndexes, Failed/FailedIndexes",
        ),
        (
            json!({"maxFailedIndexes": 0}),
            "0:Failed#1 1:Running 2:Succeeded",
            "end 1, release 3, terminating 1, succeeded 1, failed 2, completed 2, failed indexes '0', \
             FailureTarget/MaxFailedIndexesExceeded",
        ),
        (
            json!({"maxFailedIndexes": 1}),
            "0:Failed#1 1:Running 2:Running",
            "release 1, active 2, failed 1, failed indexes '0'",
        ),
        (
            json!({"podFailurePolicy": {"rules": rule}}),
            "0:Failed 1:Running 2:Running",
            "release 1, active 2, failed 1, failed indexes '0'",
        ),
    ] {
        check(spec(more), pods, want);
    }
}

#[test]
fn policies_of_failure_and_success() {
    let on_ready = |action: &str| json!({"rules": [{"action": action, "onPodConditions": [{"type": "Ready", "status": "False"}]}]});
    let policy = |action: &str| json!({"podFailurePolicy": on_ready(action), "backoffLimit": 0});
    check(policy("Ignore"), "Failed Running+", "create 1, release 1, active 2, ready 1");
    check(
        policy("Count"),
        "Failed",
        "end 0, release 1, failed 1, FailureTarget/BackoffLimitExceeded, Failed/BackoffLimitExceeded",
    );
    let failed = "end 1, release 2, terminating 1, failed 2, FailureTarget/PodFailurePolicy";
    check(policy("FailJob"), "Failed Running+", failed);
    let outcome = pass(&job(policy("FailJob"), json!({})), pods_of("Failed"), true, Failures::default());
    let message = "Pod n/p0 has condition Ready matching FailJob rule at index 0".to_owned();
    assert_eq!(outcome.said, [Said("Warning", "PodFailurePolicy".into(), message)]);

    let succeeds = |rules: Value| json!({"completionMode": "Indexed", "successPolicy": {"rules": rules}});
    let met = "SuccessCriteriaMet/SuccessPolicy";
    // What still runs is deleted, and does not count as failed.
    check(
        succeeds(json!([{"succeededIndexes": "1"}])),
        "0:Running 1:Succeeded",
        &format!("end 1, release 2, terminating 1, succeeded 1, completed 1, {met}"),
    );
    check(
        succeeds(json!([{"succeededCount": 2}])),
        "0:Succeeded 1:Succeeded",
        &format!("end 0, release 2, succeeded 2, completed 0,1, {met}, Complete/SuccessPolicy"),
    );
    check(
        succeeds(json!([{"succeededCount": 3}])),
        "0:Succeeded 1:Succeeded",
        "create 2 [2 3], release 2, active 2, succeeded 2, completed 0,1",
    );
}

#[test]
fn what_was_decided_stands() {
    let decided = |kind: &str, reason: &str, pods: &str| {
        let conditions = json!([{"type": kind, "status": "True", "reason": reason, "message": "because"}]);
        let status = json!({"conditions": conditions, "startTime": before(9)});
        let outcome = pass(&job(json!({"backoffLimit": 0}), status), pods_of(pods), true, Failures::default());
        let message = outcome.last.conditions.iter().flatten().last().unwrap().message.clone();
        (outcome.line(), message)
    };
    let (line, message) = decided("FailureTarget", "DeadlineExceeded", "Succeeded");
    assert_eq!(line, "end 0, release 1, succeeded 1, FailureTarget/DeadlineExceeded, Failed/DeadlineExceeded");
    assert_eq!(message.as_deref(), Some("because"));
    let (line, _) = decided("SuccessCriteriaMet", "SuccessPolicy", "Failed Failed");
    assert_eq!(line, "end 0, release 2, failed 2, SuccessCriteriaMet/SuccessPolicy, Complete/SuccessPolicy");
    let (line, _) = decided("FailureTarget", "FailedIndexes", "Running!");
    assert_eq!(line, "end 0, release 1, terminating 1, failed 1, FailureTarget/FailedIndexes");
}

#[test]
fn suspension() {
    let said = |outcome: &Outcome| outcome.said.iter().map(|Said(_, reason, _)| reason.clone()).collect::<Vec<_>>();
    let suspended =
        json!([{"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}]);
    let started = json!({"startTime": before(60)});

    let spec = json!({"suspend": true});
    let outcome = pass(&job(spec.clone(), started.clone()), pods_of("Running+ Running"), true, Failures::default());
    assert_eq!(outcome.line(), "remove 2, terminating 2, Suspended/JobSuspended");
    assert_eq!((said(&outcome), outcome.last.start_time.is_some()), (vec!["Suspended".into()], false));

    let outcome = pass(&job(spec.clone(), json!({"conditions": suspended})), vec![], true, Failures::default());
    assert_eq!((outcome.line(), said(&outcome)), ("Suspended/JobSuspended".into(), vec![]));
    assert!(outcome.last.start_time.is_none());

    // Not before what was asked for before is seen.
    let outcome = pass(&job(spec, started), pods_of("Running Running Running"), false, Failures::default());
    assert_eq!(outcome.line(), "wait, active 3");

    let outcome =
        pass(&job(json!({"suspend": false}), json!({"conditions": suspended})), vec![], true, Failures::default());
    assert_eq!(outcome.line(), "create 2, active 2, not Suspended/JobResumed");
    assert_eq!((said(&outcome), outcome.last.start_time.unwrap().0), (vec!["Resumed".into()], now()));
}

#[test]
fn a_deadline() {
    let with = |seconds: i64, suspend: bool, since: i64| {
        let spec = json!({"activeDeadlineSeconds": seconds, "suspend": suspend});
        let outcome = pass(
            &job(spec, json!({"startTime": before(since)})),
            pods_of("Running Running"),
            true,
            Failures::default(),
        );
        (outcome.line(), outcome.check_in)
    };
    assert_eq!(with(10, false, 4), ("active 2".into(), Some(6)));
    let over = "end 2, release 2, terminating 2, failed 2, FailureTarget/DeadlineExceeded";
    assert_eq!(with(10, false, 10), (over.into(), None));
    assert_eq!(with(10, true, 60), ("remove 2, terminating 2, Suspended/JobSuspended".into(), None));
}

#[test]
fn a_job_that_is_being_deleted_lets_its_pods_go() {
    let check = |spec: Value, pods: &str, want: &str| {
        let mut job = job(spec, json!({}));
        job.metadata.deletion_timestamp = serde_json::from_value(json!(before(1))).unwrap();
        assert_eq!(pass(&job, pods_of(pods), true, Failures::default()).line(), want);
    };
    check(json!({}), "Pending Running Succeeded", "wait, release 3, active 2, succeeded 1");
    check(json!({"suspend": true}), "Running Running", "wait, release 2, active 2");
    let reason = "BackoffLimitExceeded";
    check(
        json!({"backoffLimit": 0}),
        "Failed",
        &format!("end 0, release 1, failed 1, FailureTarget/{reason}, Failed/{reason}"),
    );
}

#[test]
fn nothing_is_decided_as_long_as_pods_are_not_seen() {
    let outcome = pass(&job(json!({"backoffLimit": 0}), json!({})), pods_of("Failed"), false, Failures::default());
    assert_eq!(outcome.line(), "end 0, release 1, failed 1");
    let outcome = pass(&job(json!({}), json!({})), vec![], false, Failures::default());
    assert_eq!(outcome.line(), "wait");
}
