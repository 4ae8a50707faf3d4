//! The decisions about CronJobs, in the cases of upstream's `TestControllerV2SyncCronJob` and its siblings.

use std::{collections::HashSet, sync::Arc, time::Duration};

use k8s_openapi::{
    api::batch::v1::{CronJob, Job},
    jiff::{SignedDuration, Timestamp, tz::TimeZone},
};
use serde_json::{Value, json};

use super::sync::*;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

/// Seconds after ten o'clock, on a Thursday.
fn at(seconds: i64) -> Timestamp {
    "2016-05-19T10:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn text(seconds: i64) -> String {
    machinery::time::rfc3339(at(seconds))
}

/// Made at half past nine, due at each hour.
fn cron(spec: Value, status: Value) -> CronJob {
    let mut whole = json!({"schedule": "0 * * * ?", "concurrencyPolicy": "Allow", "jobTemplate": {
        "metadata": {"labels": {"a": "b"}, "annotations": {"x": "y"}},
        "spec": {"template": {}, "parallelism": 3},
    }});
    for (name, value) in spec.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let meta = json!({"name": "c", "namespace": "n", "uid": "u", "creationTimestamp": text(-1800)});
    serde_json::from_value(json!({"metadata": meta, "spec": whole, "status": status})).unwrap()
}

fn reference(name: &str) -> Value {
    json!({"kind": "Job", "namespace": "n", "name": name, "uid": format!("uid-{name}")})
}

/// A job that runs, or has ended: with the condition, having begun and ended at those seconds.
fn job(name: &str, end: Option<(&str, i64, i64)>) -> Arc<Job> {
    let meta = json!({"name": name, "namespace": "n", "uid": format!("uid-{name}")});
    let status = end.map_or(json!({}), |(kind, start, end)| {
        let completed = (kind == "Complete").then(|| text(end));
        json!({"startTime": text(start), "completionTime": completed, "conditions": [{"type": kind, "status": "True"}]})
    });
    Arc::new(serde_json::from_value(json!({"metadata": meta, "status": status})).unwrap())
}

fn decide(cron: &CronJob, jobs: &[Arc<Job>], missing: &[&str], now: i64) -> Decision {
    let missing: HashSet<String> = missing.iter().map(|name| format!("uid-{name}")).collect();
    sync(&Observed { cron, jobs, missing, now: at(now), local: TimeZone::UTC })
}

fn reasons(decision: &Decision) -> Vec<&str> {
    decision.said.iter().map(|Said(_, reason, _)| *reason).collect()
}

#[test]
fn a_job_starts_when_it_is_due() {
    let none: &[&str] = &[];
    let wait = |seconds: i64| Some(Duration::from_secs(seconds as u64) + Duration::from_millis(100));
    for (spec, status, now, start, said, look_in) in [
        // Not due yet, due, done.
        (json!({}), json!({}), -60, None, none, wait(60)),
        (json!({}), json!({}), 0, Some(0), none, wait(HOUR)),
        (json!({}), json!({}), 60, Some(0), none, wait(59 * MINUTE)),
        (json!({}), json!({"lastScheduleTime": text(0)}), 60, None, none, wait(59 * MINUTE)),
        (json!({}), json!({"lastScheduleTime": text(0)}), HOUR, Some(HOUR), none, wait(HOUR)),
        (json!({"suspend": true}), json!({}), 60, None, none, None),
        // Of several missed ones the newest.
        (json!({}), json!({"lastScheduleTime": text(0)}), 5 * HOUR + 1, Some(5 * HOUR), none, wait(HOUR - 1)),
        (
            json!({}),
            json!({"lastScheduleTime": text(0)}),
            101 * HOUR,
            Some(101 * HOUR),
            &["TooManyMissedTimes"],
            wait(HOUR),
        ),
        (json!({}), json!({"lastScheduleTime": text(0)}), 100 * HOUR, Some(100 * HOUR), none, wait(HOUR)),
        // What is too late is not started.
        (json!({"startingDeadlineSeconds": 10}), json!({}), 9, Some(0), none, wait(HOUR - 9)),
        (json!({"startingDeadlineSeconds": 10}), json!({}), 10, None, none, wait(HOUR - 10)),
        (json!({"startingDeadlineSeconds": 9000}), json!({}), 11, Some(0), none, wait(HOUR - 11)),
        // What can't be read is told, and not looked at again.
        (json!({"schedule": "x * * * *"}), json!({}), 60, None, &["UnparseableSchedule"], None),
        (json!({"schedule": "59 23 31 2 *"}), json!({}), 60, None, &["InvalidSchedule"], None),
        (json!({"timeZone": "Mars/Base"}), json!({}), 60, None, &["UnknownTimeZone"], None),
        (json!({"schedule": "TZ=UTC 0 * * * ?"}), json!({}), 60, Some(0), &["UnsupportedSchedule"], wait(59 * MINUTE)),
        (
            json!({"schedule": "30 15 * * *", "timeZone": "Asia/Kolkata"}),
            json!({}),
            60,
            Some(0),
            none,
            wait(24 * HOUR - 60),
        ),
    ] {
        let decision = decide(&cron(spec.clone(), status), &[], &[], now);
        assert_eq!(decision.start, start.map(at), "{spec} {now}");
        assert_eq!((reasons(&decision), decision.look_in), (said.to_vec(), look_in), "{spec} {now}");
        assert!(!decision.changed && !decision.replace);
    }
}

#[test]
fn what_is_told_is_in_upstreams_words() {
    for (spec, now, want) in [
        (
            json!({"schedule": "x * * * *"}),
            60,
            "unparseable schedule: \"x * * * *\" : failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            json!({"schedule": "59 23 31 2 *"}),
            60,
            "invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second",
        ),
        (json!({"timeZone": "Mars/Base"}), 60, "invalid timeZone: \"Mars/Base\": unknown time zone Mars/Base"),
        (
            json!({"schedule": "TZ=UTC 0 * * * ?"}),
            60,
            "CRON_TZ or TZ used in schedule \"TZ=UTC 0 * * * ?\" is not officially supported, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
        ),
    ] {
        let decision = decide(&cron(spec, json!({})), &[], &[], now);
        assert_eq!(decision.said[0].2, want);
    }
}

#[test]
fn one_that_runs_forbids_or_is_replaced() {
    let due = |policy: &str, active: Value| {
        let status = json!({"active": active, "lastScheduleTime": text(0)});
        let jobs = [job("c-1", None)];
        decide(&cron(json!({"concurrencyPolicy": policy}), status), &jobs, &[], HOUR)
    };
    let running = || json!([reference("c-1")]);
    let decision = due("Allow", running());
    assert_eq!((decision.start, decision.replace), (Some(at(HOUR)), false));
    let decision = due("Forbid", running());
    assert_eq!((decision.start, reasons(&decision)), (None, vec!["JobAlreadyActive"]));
    let message = "Not starting job because prior execution is running and concurrency policy is Forbid".to_owned();
    assert_eq!(decision.said, [Said("Normal", "JobAlreadyActive", message)]);
    assert_eq!(decision.look_in, Some(Duration::from_millis(3_600_100)));
    let decision = due("Replace", running());
    assert_eq!((decision.start, decision.replace), (Some(at(HOUR)), true));
    let decision = due("Replace", json!([]));
    assert_eq!((decision.start, decision.replace), (Some(at(HOUR)), false));
    // The job of this time is there, though its start is not said.
    let name = format!("c-{}", at(HOUR).as_second() / 60);
    let decision = due("Allow", json!([reference(&name)]));
    assert_eq!(decision.start, None);
}

#[test]
fn ended_and_missing_jobs_leave_the_active_ones() {
    let status = json!({"active": [reference("ok"), reference("bad"), reference("gone"), reference("late"), reference("on")],
        "lastScheduleTime": text(0)});
    let jobs = [job("ok", Some(("Complete", 0, 50))), job("bad", Some(("Failed", 0, 55))), job("on", None)];
    let decision = decide(&cron(json!({}), status), &jobs, &["gone"], 60);
    let said: Vec<&str> = decision.said.iter().map(|said| said.2.as_str()).collect();
    assert_eq!(
        said,
        [
            "Saw completed job: ok, condition: Complete",
            "Saw completed job: bad, condition: Failed",
            "Active job went missing: gone",
        ]
    );
    let left: Vec<&str> = decision.status.active.iter().flatten().filter_map(|r| r.name.as_deref()).collect();
    assert_eq!((left, decision.changed), (vec!["late", "on"], true));
    assert_eq!(decision.status.last_successful_time.map(|t| t.0), Some(at(50)));
}

#[test]
fn the_last_success_only_moves_on() {
    let after = |known: Option<i64>, jobs: &[Arc<Job>]| {
        let status = json!({"lastSuccessfulTime": known.map(text), "lastScheduleTime": text(0)});
        let decision = decide(&cron(json!({}), status), jobs, &[], 60);
        (decision.status.last_successful_time.map(|t| t.0), decision.changed)
    };
    let jobs =
        [job("a", Some(("Complete", 0, 20))), job("b", Some(("Complete", 0, 40))), job("c", Some(("Failed", 0, 50)))];
    assert_eq!(after(None, &jobs), (Some(at(40)), true));
    assert_eq!(after(Some(30), &jobs), (Some(at(40)), true));
    assert_eq!(after(Some(40), &jobs), (Some(at(40)), false));
    assert_eq!(after(Some(45), &jobs), (Some(at(45)), false));
}

#[test]
fn a_job_that_nobody_started_is_told() {
    let decision = decide(&cron(json!({"suspend": true}), json!({})), &[job("stray", None)], &[], 0);
    let message = "Saw a job that the controller did not create or forgot: stray".to_owned();
    assert_eq!((decision.said, decision.changed), (vec![Said("Warning", "UnexpectedJob", message)], false));
}

#[test]
fn a_cron_job_that_is_being_deleted_starts_nothing() {
    let mut deleted = cron(json!({}), json!({"active": [reference("ok")]}));
    deleted.metadata.deletion_timestamp = serde_json::from_value(json!(text(0))).unwrap();
    let decision = decide(&deleted, &[job("ok", Some(("Complete", 0, 50)))], &[], HOUR);
    assert_eq!((decision.start, decision.changed, decision.look_in), (None, true, None));
}

#[test]
fn history_keeps_the_newest() {
    let jobs = [
        job("c", Some(("Complete", 30, 31))),
        job("a", Some(("Complete", 10, 11))),
        job("bad-1", Some(("Failed", 5, 6))),
        job("b", Some(("Complete", 10, 12))),
        job("bad-2", Some(("Failed", 7, 8))),
        job("on", None),
    ];
    let gone = |good: Value, bad: Value| {
        let cron = cron(json!({"successfulJobsHistoryLimit": good, "failedJobsHistoryLimit": bad}), json!({}));
        let gone = beyond_history(&cron, &jobs);
        gone.iter().map(|j| j.metadata.name.clone().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(gone(json!(3), json!(1)), "bad-1");
    assert_eq!(gone(json!(1), json!(2)), "a b");
    assert_eq!(gone(json!(0), json!(0)), "a b c bad-1 bad-2");
    assert_eq!(gone(Value::Null, Value::Null), "");
}

#[test]
fn a_job_is_made_of_the_template_and_its_time() {
    let made = |zone: Value| {
        let job = new_job(&cron(json!({"timeZone": zone}), json!({})), at(90));
        serde_json::to_value(job).unwrap()
    };
    let job = made(Value::Null);
    assert_eq!(job["metadata"]["name"], format!("c-{}", at(60).as_second() / 60));
    assert_eq!(job["metadata"]["labels"], json!({"a": "b"}));
    let annotation = |time: &str| json!({"x": "y", "batch.kubernetes.io/cronjob-scheduled-timestamp": time});
    assert_eq!(job["metadata"]["annotations"], annotation("2016-05-19T10:01:30Z"));
    let owner = &job["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"], &owner["controller"]), (&json!("CronJob"), &json!("u"), &json!(true)));
    assert_eq!(job["spec"]["parallelism"], 3);
    assert_eq!(made(json!("Asia/Kolkata"))["metadata"]["annotations"], annotation("2016-05-19T15:31:30+05:30"));
    assert_eq!(made(json!("America/New_York"))["metadata"]["annotations"], annotation("2016-05-19T06:01:30-04:00"));
}

#[test]
fn what_the_status_may_be_behind_with() {
    let cron = cron(json!({}), json!({"active": [reference("a"), reference("b")]}));
    let jobs = [job("a", None), job("new", None), job("done", Some(("Failed", 0, 1)))];
    let names: Vec<&str> = unknown(&cron, &jobs).filter_map(|j| j.metadata.name.as_deref()).collect();
    assert_eq!(names, ["new"]);
    let names: Vec<&str> = unseen(&cron, &jobs).filter_map(|r| r.name.as_deref()).collect();
    assert_eq!(names, ["b"]);
}
