//! Jobs run their pods to the end and count each of them once. The tests are the kubelet: no pod runs anywhere, unless a
//! test says so.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::world::{Mishap, World};

const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const PODS: &str = "/api/v1/namespaces/default/pods";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const CONTROLLERS: &[&str] = &["job-controller", "serviceaccount-controller"];

async fn world() -> anyhow::Result<World> {
    let world = World::with(CONTROLLERS).await?;
    world.accounts().await?;
    Ok(world)
}

fn job(name: &str, spec: Value) -> Value {
    let template = json!({
        "spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never", "automountServiceAccountToken": false},
    });
    let mut job = json!({"metadata": {"name": name}, "spec": {"template": template}});
    spec.as_object().into_iter().flatten().for_each(|(field, value)| job["spec"][field] = value.clone());
    job
}

fn path(name: &str) -> String {
    format!("{JOBS}/{name}")
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The pods of a job, whether they still have its finalizer or not.
async fn pods(world: &World, job: &str) -> anyhow::Result<Vec<Value>> {
    let all = world.get(&format!("{PODS}?labelSelector=batch.kubernetes.io%2Fjob-name%3D{job}")).await?;
    Ok(all["items"].as_array().cloned().unwrap_or_default())
}

/// What a kubelet says of a pod that has ended.
async fn end(world: &World, pod: &str, phase: &str) -> anyhow::Result<()> {
    world.patch(&format!("{PODS}/{pod}/status"), json!({"status": {"phase": phase}})).await?;
    Ok(())
}

/// Waits until the status is as wanted.
async fn status(world: &World, job: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    Ok(world.until(&path(job), |job| wanted(&job["status"])).await?["status"].clone())
}

fn active(n: u32) -> impl Fn(&Value) -> bool {
    move |status| status["active"].as_u64().unwrap_or(0) == u64::from(n) && status["ready"].is_number()
}

/// Types and reasons of the conditions that are true, in their order.
fn conditions(status: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = status["conditions"].as_array().into_iter().flatten().filter(|c| c["status"] == "True");
    all.map(|c| (text(&c["type"]), text(&c["reason"]))).collect()
}

fn ended(status: &Value, kind: &str, reason: &str) -> bool {
    conditions(status).contains(&(kind.to_owned(), reason.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_run_to_their_end_and_are_counted() -> anyhow::Result<()> {
    let world = world().await?;
    let made = world.create(JOBS, job("sum", json!({"completions": 3, "parallelism": 2}))).await?;
    let now = status(&world, "sum", active(2)).await?;
    assert_eq!((&now["ready"], &now["terminating"]), (&json!(0), &json!(0)));
    assert!(now["startTime"].is_string());
    let first = pods(&world, "sum").await?;
    assert_eq!(first.len(), 2);
    for pod in &first {
        assert_eq!(pod["metadata"]["generateName"], "sum-");
        assert_eq!(pod["metadata"]["finalizers"], json!([FINALIZER]));
        assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], made["metadata"]["uid"]);
    }
    // One ends, another is deleted after its end: its finalizer keeps it until it is counted.
    world.lag(Some("/api/v1/pods"));
    end(&world, name(&first[0]), "Succeeded").await?;
    end(&world, name(&first[1]), "Succeeded").await?;
    world.delete(&format!("{PODS}/{}?gracePeriodSeconds=0", name(&first[1]))).await?;
    assert_eq!(pods(&world, "sum").await?.len(), 2);
    world.lag(None);
    status(&world, "sum", |s| s["succeeded"] == 2 && s["active"] == 1).await?;
    world.gone(&format!("{PODS}/{}", name(&first[1]))).await?;
    let third = pods(&world, "sum").await?.into_iter().find(|p| p["status"]["phase"] == "Pending");
    end(&world, name(&third.unwrap_or_default()), "Succeeded").await?;
    let done = status(&world, "sum", |s| ended(s, "Complete", "CompletionsReached")).await?;
    assert_eq!((&done["succeeded"], &done["failed"], &done["ready"]), (&json!(3), &Value::Null, &json!(0)));
    assert_eq!(conditions(&done)[0], ("SuccessCriteriaMet".into(), "CompletionsReached".into()));
    assert!(done["completionTime"].is_string() && done["active"].is_null());
    assert_eq!(done["uncountedTerminatedPods"], json!({}));
    assert!(pods(&world, "sum").await?.iter().all(|p| p["metadata"]["finalizers"].is_null()));
    for (reason, kind, message) in
        [("SuccessfulCreate", "Normal", "Created pod: sum-"), ("Completed", "Normal", "Job completed")]
    {
        let selector = format!("reason%3D{reason},involvedObject.name%3Dsum");
        let event = world.any(EVENTS, &selector, |_| true).await?;
        assert_eq!((&event["type"], &event["source"]["component"]), (&json!(kind), &json!("job-controller")));
        assert!(event["message"].as_str().is_some_and(|said| said.starts_with(message)), "{event}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_too_often_ends() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(JOBS, job("bad", json!({"completions": 3, "parallelism": 2, "backoffLimit": 0}))).await?;
    status(&world, "bad", active(2)).await?;
    let both = pods(&world, "bad").await?;
    end(&world, name(&both[0]), "Failed").await?;
    let done = status(&world, "bad", |s| ended(s, "Failed", "BackoffLimitExceeded")).await?;
    // The other one was deleted.
    assert_eq!((&done["failed"], &done["active"], &done["terminating"]), (&json!(2), &Value::Null, &json!(0)));
    assert_eq!(conditions(&done)[0], ("FailureTarget".into(), "BackoffLimitExceeded".into()));
    assert_eq!(pods(&world, "bad").await?.len(), 1);
    let selector = "reason%3DBackoffLimitExceeded,involvedObject.name%3Dbad";
    let event = world.any(EVENTS, selector, |_| true).await?;
    let message = "Job has reached the specified backoff limit";
    assert_eq!((&event["type"], &event["message"]), (&json!("Warning"), &json!(message)));

    world.create(JOBS, job("late", json!({"activeDeadlineSeconds": 1}))).await?;
    let done = status(&world, "late", |s| ended(s, "Failed", "DeadlineExceeded")).await?;
    assert_eq!((&done["failed"], conditions(&done).len()), (&json!(1), 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_index_succeeds_or_fails_for_itself() -> anyhow::Result<()> {
    let world = world().await?;
    let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 0});
    world.create(JOBS, job("grid", spec)).await?;
    status(&world, "grid", active(3)).await?;
    let all = pods(&world, "grid").await?;
    let index = |pod: &Value| pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].clone();
    for pod in &all {
        let index = index(pod).as_str().unwrap_or_default().to_owned();
        assert_eq!(pod["spec"]["hostname"], format!("grid-{index}"));
        assert_eq!(pod["metadata"]["generateName"], format!("grid-{index}-"));
        assert_eq!(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], index);
        assert_eq!(pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"], "0");
        end(&world, name(pod), if index == "1" { "Failed" } else { "Succeeded" }).await?;
    }
    let done = status(&world, "grid", |s| ended(s, "Failed", "FailedIndexes")).await?;
    assert_eq!((&done["completedIndexes"], &done["failedIndexes"]), (&json!("0,2"), &json!("1")));
    assert_eq!((&done["succeeded"], &done["failed"]), (&json!(2), &json!(1)));

    // A success that needs not all of them.
    let policy = json!({"rules": [{"succeededIndexes": "0"}]});
    let spec = json!({"completions": 4, "parallelism": 2, "completionMode": "Indexed", "successPolicy": policy});
    world.create(JOBS, job("lead", spec)).await?;
    status(&world, "lead", active(2)).await?;
    let all = pods(&world, "lead").await?;
    let leader = all.iter().find(|pod| index(pod) == "0");
    end(&world, leader.map(name).unwrap_or_default(), "Succeeded").await?;
    let done = status(&world, "lead", |s| ended(s, "Complete", "SuccessPolicy")).await?;
    assert_eq!((&done["completedIndexes"], &done["succeeded"]), (&json!("0"), &json!(1)));
    assert!(done["failed"].is_null());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_job_has_no_pods_and_resumes() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(JOBS, job("later", json!({"suspend": true, "parallelism": 2, "completions": 2}))).await?;
    let now = status(&world, "later", |s| ended(s, "Suspended", "JobSuspended")).await?;
    assert!(now["startTime"].is_null());
    assert!(pods(&world, "later").await?.is_empty());
    world.patch(&path("later"), json!({"spec": {"suspend": false}})).await?;
    let now = status(&world, "later", active(2)).await?;
    assert!(now["startTime"].is_string());
    assert_eq!(
        (&now["conditions"][0]["status"], &now["conditions"][0]["reason"]),
        (&json!("False"), &json!("JobResumed"))
    );
    world.patch(&path("later"), json!({"spec": {"suspend": true}})).await?;
    let now = status(&world, "later", |s| active(0)(s) && ended(s, "Suspended", "JobSuspended")).await?;
    assert!(now["startTime"].is_null() && now["failed"].is_null());
    assert!(pods(&world, "later").await?.is_empty(), "they went without being counted");
    for reason in ["Suspended", "Resumed", "SuccessfulDelete"] {
        world.any(EVENTS, &format!("reason%3D{reason},involvedObject.name%3Dlater"), |_| true).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_taken_up_and_let_go_with_the_finalizer() -> anyhow::Result<()> {
    let world = world().await?;
    let made = world.create(JOBS, job("own", json!({"parallelism": 2, "completions": 4}))).await?;
    status(&world, "own", active(2)).await?;
    let both = pods(&world, "own").await?;
    let pod = format!("{PODS}/{}", name(&both[0]));
    world.patch(&pod, json!({"metadata": {"ownerReferences": null}})).await?;
    let tracked = |pod: &Value| pod["metadata"]["finalizers"] == json!([FINALIZER]);
    let adopted = world.until(&pod, |pod| !pod["metadata"]["ownerReferences"].is_null() && tracked(pod)).await?;
    assert_eq!(adopted["metadata"]["ownerReferences"][0]["uid"], made["metadata"]["uid"]);
    world.patch(&pod, json!({"metadata": {"labels": null}})).await?;
    world.until(&pod, |pod| pod["metadata"]["ownerReferences"].is_null() && !tracked(pod)).await?;

    // It is replaced.
    let is_new = |pod: &Value| both.iter().all(|old| name(old) != name(pod));
    let new = world.any(PODS, &format!("metadata.name!%3D{}", name(&both[0])), is_new).await?;

    // Nobody counts the pods of a job that is gone.
    let left = [&both[1], &new];
    assert!(left.into_iter().all(tracked));
    world.delete(&format!("{}?propagationPolicy=Background", path("own"))).await?;
    for pod in left {
        world.until(&format!("{PODS}/{}", name(pod)), |pod| !tracked(pod)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_another_program_manages_is_left_alone() -> anyhow::Result<()> {
    let world = world().await?;
    world.create(JOBS, job("theirs", json!({"managedBy": "example.com/other"}))).await?;
    world.create(JOBS, job("ours", json!({"managedBy": "kubernetes.io/job-controller"}))).await?;
    // One worker takes them in the order in which they were made.
    status(&world, "ours", active(1)).await?;
    assert_eq!(world.get(&path("theirs")).await?["status"], json!({}));
    assert!(pods(&world, "theirs").await?.is_empty());
    Ok(())
}

/// The controller dies after each number of writes about a job whose three pods have ended, and another one, that knows
/// nothing, goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_pod_counts_once_wherever_the_controller_dies() -> anyhow::Result<()> {
    // The status, three finalizers, the status.
    const WRITES: usize = 5;
    for mode in ["NonIndexed", "Indexed"] {
        let mut world = world().await?;
        let jobs: Vec<String> = (0..=WRITES).map(|n| format!("j{n}")).collect();
        for name in &jobs {
            let spec = json!({"parallelism": 3, "completions": 3, "completionMode": mode, "backoffLimit": 9});
            world.create(JOBS, job(name, spec)).await?;
            status(&world, name, active(3)).await?;
        }
        let (died, written): (Arc<Notify>, Arc<Mutex<HashMap<usize, usize>>>) = Default::default();
        let (dying, count) = (died.clone(), written.clone());
        world.refuse(move |method, path| {
            let of = path.strip_prefix(PODS).or_else(|| path.strip_prefix(JOBS))?;
            let number: usize = of.strip_prefix("/j")?.get(..1)?.parse().ok()?;
            let mut count = count.lock();
            let written = count.entry(number).or_default();
            if *method == Method::GET || *written < number {
                *written += usize::from(*method != Method::GET);
                return None;
            }
            dying.notify_one();
            Some((500, "dead"))
        });
        for name in &jobs {
            for pod in pods(&world, name).await? {
                end(&world, self::name(&pod), "Succeeded").await?;
            }
        }
        // The last one has all its writes.
        status(&world, &jobs[WRITES], |s| ended(s, "Complete", "CompletionsReached")).await?;
        while (0..WRITES).any(|n| written.lock().get(&n).is_none_or(|written| *written < n)) {
            died.notified().await;
        }
        world.stop().await?;
        world.refuse_nothing();
        world.start(CONTROLLERS);
        for name in &jobs {
            let done = status(&world, name, |s| ended(s, "Complete", "CompletionsReached")).await?;
            let counts = (&done["succeeded"], &done["failed"], &done["uncountedTerminatedPods"]);
            assert_eq!(counts, (&json!(3), &Value::Null, &json!({})), "{mode} {name}");
            let pods = pods(&world, name).await?;
            assert_eq!(pods.len(), 3, "{name}: nothing ran twice");
            assert!(pods.iter().all(|p| p["metadata"]["finalizers"].is_null()));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_may_have_been_made_is_not_made_again() -> anyhow::Result<()> {
    let world = world().await?;
    world.lag(Some("/api/v1/pods"));
    world.meet(Mishap::LoseAnswerAfter(0));
    world.create(JOBS, job("once", json!({"completions": 1, "completionMode": "Indexed"}))).await?;
    // It asks the server what there is as long as it is not shown that.
    world
        .until_sent(2, |sent| sent.account == "job-controller" && sent.method == Method::GET && sent.path == PODS)
        .await?;
    assert_eq!(pods(&world, "once").await?.len(), 1);
    world.lag(None);
    status(&world, "once", active(1)).await?;
    assert_eq!(pods(&world, "once").await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_job_goes_when_its_time_is_over() -> anyhow::Result<()> {
    let world = World::with(&["ttl-after-finished-controller"]).await?;
    let now = time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339)?;
    let now = format!("{}Z", now.get(..19).unwrap_or_default());
    let finish = |at: &str| {
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": at});
        json!({"status": {"startTime": at, "conditions": [condition("FailureTarget"), condition("Failed")]}})
    };
    for (name, ttl, at) in
        [("stays", 3600, now.as_str()), ("never", -1, "2020-01-01T00:00:00Z"), ("goes", 1, now.as_str())]
    {
        let spec = if ttl < 0 { json!({}) } else { json!({"ttlSecondsAfterFinished": ttl}) };
        let mut job = job(name, spec);
        job["metadata"]["finalizers"] = json!(["example.com/keep"]);
        world.create(JOBS, job).await?;
        world.patch(&format!("{}/status", path(name)), finish(at)).await?;
    }
    let going = |job: &Value| !job["metadata"]["deletionTimestamp"].is_null();
    let gone = world.until(&path("goes"), going).await?;
    let finalizers = gone["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    assert!(finalizers.contains(&json!("foregroundDeletion")), "its pods go with it: {finalizers:?}");
    assert!(!going(&world.get(&path("stays")).await?) && !going(&world.get(&path("never")).await?));
    // A shorter life is noticed.
    world.patch(&path("stays"), json!({"spec": {"ttlSecondsAfterFinished": 0}})).await?;
    world.until(&path("stays"), going).await?;
    Ok(())
}
