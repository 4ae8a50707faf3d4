//! CronJobs start jobs when they are due. That a start is due is arranged by the time of the last one.

use serde_json::{Value, json};

use crate::world::World;

const CRON_JOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const EVENTS: &str = "/api/v1/namespaces/default/events";

fn cron_job(name: &str, more: Value) -> Value {
    let template = json!({"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}});
    let mut cron = json!({"metadata": {"name": name}, "spec": {
        "schedule": "* * * * *", "suspend": true,
        "jobTemplate": {"metadata": {"labels": {"of": name}}, "spec": {"template": template}},
    }});
    more.as_object().into_iter().flatten().for_each(|(field, value)| cron["spec"][field] = value.clone());
    cron
}

fn path(name: &str) -> String {
    format!("{CRON_JOBS}/{name}")
}

/// Seconds ago.
fn ago(seconds: i64) -> anyhow::Result<String> {
    let at = time::OffsetDateTime::now_utc() - time::Duration::seconds(seconds);
    let text = at.format(&time::format_description::well_known::Rfc3339)?;
    Ok(format!("{}Z", text.get(..19).unwrap_or_default()))
}

/// Makes a start due: the last one was an hour ago.
async fn make_due(world: &World, name: &str, active: Value) -> anyhow::Result<()> {
    let status = json!({"status": {"lastScheduleTime": ago(3600)?, "active": active}});
    world.patch(&format!("{}/status", path(name)), status).await?;
    world.patch(&path(name), json!({"spec": {"suspend": false}})).await?;
    Ok(())
}

/// A job of the CronJob that it did not make itself; it has ended with that condition, if one is named.
async fn child(world: &World, cron: &Value, name: &str, end: Option<&str>) -> anyhow::Result<Value> {
    let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": cron["metadata"]["name"],
        "uid": cron["metadata"]["uid"], "controller": true});
    let spec = cron["spec"]["jobTemplate"]["spec"].clone();
    let job = json!({"metadata": {"name": name, "ownerReferences": [owner]}, "spec": spec});
    let job = world.create(JOBS, job).await?;
    if let Some(kind) = end {
        let at = ago(60)?;
        let first = if kind == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": at});
        let mut status = json!({"startTime": at, "conditions": [condition(first), condition(kind)]});
        if kind == "Complete" {
            status["completionTime"] = json!(at);
        }
        world.patch(&format!("{JOBS}/{name}/status"), json!({"status": status})).await?;
    }
    Ok(
        json!({"kind": "Job", "apiVersion": "batch/v1", "namespace": "default", "name": name, "uid": job["metadata"]["uid"]}),
    )
}

async fn event(world: &World, reason: &str, cron: &str) -> anyhow::Result<Value> {
    let event = world.any(EVENTS, &format!("reason%3D{reason},involvedObject.name%3D{cron}"), |_| true).await?;
    assert_eq!(event["source"]["component"], "cronjob-controller");
    Ok(event)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_started_when_it_is_due() -> anyhow::Result<()> {
    let world = World::with(&["cronjob-controller"]).await?;
    let cron = world.create(CRON_JOBS, cron_job("tick", json!({"timeZone": "Asia/Kolkata"}))).await?;
    make_due(&world, "tick", json!(null)).await?;
    let now = world.until(&path("tick"), |cron| cron["status"]["active"][0].is_object()).await?;
    let reference = &now["status"]["active"][0];
    let name = reference["name"].as_str().unwrap_or_default();
    let job = world.get(&format!("{JOBS}/{name}")).await?;
    assert_eq!(job["metadata"]["uid"], reference["uid"]);
    assert_eq!(job["metadata"]["ownerReferences"][0]["uid"], cron["metadata"]["uid"]);
    assert_eq!(job["metadata"]["labels"]["of"], "tick");
    let at = &job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"];
    let at =
        time::OffsetDateTime::parse(at.as_str().unwrap_or_default(), &time::format_description::well_known::Rfc3339)?;
    assert_eq!(at.offset().whole_minutes(), 330);
    assert_eq!(name, format!("tick-{}", at.unix_timestamp() / 60));
    let last = now["status"]["lastScheduleTime"].as_str().unwrap_or_default();
    assert_eq!(time::OffsetDateTime::parse(last, &time::format_description::well_known::Rfc3339)?, at);
    let said = event(&world, "SuccessfulCreate", "tick").await?;
    assert_eq!((&said["type"], &said["message"]), (&json!("Normal"), &json!(format!("Created job {name}"))));

    // One whose start was not said is not started twice.
    world
        .patch(&format!("{}/status", path("tick")), json!({"status": {"active": null, "lastScheduleTime": ago(3600)?}}))
        .await?;
    world.until(&path("tick"), |cron| cron["status"]["active"][0]["name"].is_string()).await?;
    // It is the same one, unless a minute has passed.
    let jobs = world.get(JOBS).await?["items"].as_array().cloned().unwrap_or_default();
    let names: std::collections::BTreeSet<_> = jobs.iter().map(|j| j["metadata"]["name"].to_string()).collect();
    assert_eq!(names.len(), jobs.len());

    // A job that is deleted is missed.
    world.delete(&format!("{JOBS}/{name}?propagationPolicy=Background")).await?;
    let said = event(&world, "MissingJob", "tick").await?;
    assert_eq!(said["message"], format!("Active job went missing: {name}"));
    let has = |cron: &Value| cron["status"]["active"].as_array().into_iter().flatten().any(|r| r["name"] == name);
    world.until(&path("tick"), |cron| !has(cron)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_runs_forbids_or_is_replaced() -> anyhow::Result<()> {
    let world = World::with(&["cronjob-controller"]).await?;
    let cron = world.create(CRON_JOBS, cron_job("one", json!({"concurrencyPolicy": "Forbid"}))).await?;
    let active = child(&world, &cron, "one-1", None).await?;
    make_due(&world, "one", json!([active])).await?;
    event(&world, "JobAlreadyActive", "one").await?;
    assert_eq!(world.get(JOBS).await?["items"].as_array().map(Vec::len), Some(1));

    let cron = world.create(CRON_JOBS, cron_job("new", json!({"concurrencyPolicy": "Replace"}))).await?;
    let active = child(&world, &cron, "new-1", None).await?;
    make_due(&world, "new", json!([active])).await?;
    world.gone(&format!("{JOBS}/new-1")).await?;
    let now = world
        .until(&path("new"), |cron| {
            let active = cron["status"]["active"].as_array();
            active.is_some_and(|active| active.len() == 1 && active[0]["name"] != "new-1")
        })
        .await?;
    assert_ne!(now["status"]["active"][0]["uid"], active["uid"]);
    assert_eq!(event(&world, "SuccessfulDelete", "new").await?["message"], "Deleted job new-1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_jobs_are_told_and_go_beyond_the_history() -> anyhow::Result<()> {
    let world = World::with(&["cronjob-controller"]).await?;
    let limits = json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0});
    let cron = world.create(CRON_JOBS, cron_job("old", limits)).await?;
    world.lag(Some("/apis/batch/v1/jobs"));
    let mut active = vec![];
    for (name, kind) in [("old-1", "Complete"), ("old-2", "Complete"), ("old-3", "Failed")] {
        active.push(child(&world, &cron, name, Some(kind)).await?);
    }
    world.patch(&format!("{}/status", path("old")), json!({"status": {"active": active}})).await?;
    world.lag(None);
    world.gone(&format!("{JOBS}/old-1")).await?;
    world.gone(&format!("{JOBS}/old-3")).await?;
    let now = world.until(&path("old"), |cron| cron["status"]["active"].is_null()).await?;
    assert!(now["status"]["lastSuccessfulTime"].is_string());
    world.get(&format!("{JOBS}/old-2")).await?;
    let saw = |event: &Value| event["message"] == "Saw completed job: old-2, condition: Complete";
    world.any(EVENTS, "reason%3DSawCompletedJob,involvedObject.name%3Dold", saw).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_started_is_told() -> anyhow::Result<()> {
    let world = World::with(&["cronjob-controller"]).await?;
    world.create(CRON_JOBS, cron_job("never", json!({"schedule": "0 0 31 2 *"}))).await?;
    make_due(&world, "never", json!(null)).await?;
    let said = event(&world, "InvalidSchedule", "never").await?;
    let why = "invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second";
    assert_eq!((&said["type"], &said["message"]), (&json!("Warning"), &json!(why)));

    let cron = world.create(CRON_JOBS, cron_job("many", json!({}))).await?;
    child(&world, &cron, "stray", None).await?;
    event(&world, "UnexpectedJob", "many").await?;
    let status = json!({"status": {"lastScheduleTime": ago(1000 * 60)?}});
    world.patch(&format!("{}/status", path("many")), status).await?;
    world.patch(&path("many"), json!({"spec": {"suspend": false}})).await?;
    let said = event(&world, "TooManyMissedTimes", "many").await?;
    let why = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
    assert_eq!(said["message"], why);
    // One is started nevertheless.
    event(&world, "SuccessfulCreate", "many").await?;
    Ok(())
}
