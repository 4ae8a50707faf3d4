//! Killed between two writes: whatever is written in more than one step comes to the same end wherever the controllers die
//! and others begin, and wherever the answer to a write is lost and they live on. Each case is run once for each of its
//! writes.

mod others;

use anyhow::{Context, ensure};
use controller_manager::Config;
use ferry_tests::hollow::{self, State};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{Mishap, World};

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const CRON_JOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const STATEFUL_SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

/// Controllers that meet a mishap at each of their writes. `begin` makes what they then find, `settled` waits until they are
/// done with it, and says what is wrong.
async fn at_each_write(
    controllers: &[&str],
    begin: impl AsyncFn(&mut World) -> anyhow::Result<()>,
    settled: impl AsyncFn(&World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    at_each_write_with(controllers, |_| {}, begin, settled).await
}

/// The same, configured.
async fn at_each_write_with(
    controllers: &[&str],
    config: fn(&mut Config),
    begin: impl AsyncFn(&mut World) -> anyhow::Result<()>,
    settled: impl AsyncFn(&World) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for mishap in [Mishap::DieAfter, Mishap::LoseAnswerAfter] {
        let mut writes = 0;
        let struck = async |writes| {
            let mut world = World::new().await?;
            world
                .create("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}}))
                .await?;
            let _pods = run_pods(&world);
            begin(&mut world).await?;
            let struck = world.meet(mishap(writes));
            let mut strikes = struck.clone();
            world.start_with(controllers, config);
            let dies = matches!(mishap(writes), Mishap::DieAfter(_));
            tokio::select! {
                outcome = settled(&world) => {
                    outcome?;
                    // A write that follows what was waited for is the next run's, if it was not met.
                    return Ok(*struck.borrow());
                }
                _ = strikes.wait_for(|struck| *struck), if dies => {}
            }
            world.stop().await?;
            world.meet_nothing();
            world.start_with(controllers, config);
            settled(&world).await?;
            anyhow::Ok(true)
        };
        while struck(writes).await.with_context(|| format!("{:?}", mishap(writes)))? {
            writes += 1;
        }
        ensure!(writes > 0, "they wrote nothing");
    }
    Ok(())
}

/// Runs all pods but gated ones: those that are to end do at once, others run and are ready.
fn run_pods(world: &World) -> JoinSet<anyhow::Result<()>> {
    let admin = world.admin.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut events = admin.open("/api/v1/pods?watch=1").await?;
        while let Some(event) = events.next().await {
            let pod = &event["object"];
            if event["type"] == "DELETED" {
                continue;
            }
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                hollow::let_go(&admin, pod).await?;
            } else if pod["status"]["startTime"].is_null() && pod["spec"]["schedulingGates"].is_null() {
                let ends = pod["spec"]["restartPolicy"] != "Always";
                hollow::tell(&admin, pod, if ends { State::Ended(0) } else { State::Running }).await?;
            }
        }
        Ok(())
    });
    task
}

fn workload(name: &str, spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "first"}], "automountServiceAccountToken": false},
        },
    }});
    for (field, value) in spec.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

fn second_image() -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "second"}]}}}})
}

/// The status is of the present generation, and has these numbers.
fn says(wanted: Value) -> impl Fn(&Value) -> bool {
    move |object| {
        let mut numbers = wanted.as_object().into_iter().flatten();
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
            && numbers.all(|(field, number)| object["status"][field] == *number)
    }
}

/// Waits until so many objects are there, all that the selector selects, and each is as wanted.
async fn exactly(
    world: &World,
    path: &str,
    count: usize,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<Vec<Value>> {
    let (collection, _) = path.split_once('?').unwrap_or((path, ""));
    let mut events = world.admin.open(&format!("{collection}?watch=1")).await?;
    let look = async {
        loop {
            let items = world.list(path).await?;
            if items.len() == count && items.iter().all(&wanted) {
                return Ok(items);
            }
            events.next().await.context("the watch ended")?;
        }
    };
    match tokio::time::timeout(std::time::Duration::from_secs(60), look).await {
        Ok(items) => items,
        Err(_) => anyhow::bail!("{count} were wanted of {path}: {:#?}", world.list(path).await?),
    }
}

fn image(name: &'static str) -> impl Fn(&Value) -> bool {
    move |pod| pod["spec"]["containers"][0]["image"] == name && pod["metadata"]["deletionTimestamp"].is_null()
}

const OF_DEPLOYMENTS: &[&str] = &["deployment-controller", "replicaset-controller"];

async fn a_deployment(world: &World) -> anyhow::Result<()> {
    let all = json!({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
    world.until(&format!("{DEPLOYMENTS}/web"), says(all)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_has_one_set_and_no_pod_too_many() -> anyhow::Result<()> {
    let begin =
        async |world: &mut World| world.create(DEPLOYMENTS, workload("web", json!({"replicas": 2}))).await.map(drop);
    let settled = async |world: &World| {
        a_deployment(world).await?;
        exactly(world, REPLICA_SETS, 1, |set| set["spec"]["replicas"] == 2).await?;
        exactly(world, PODS, 2, image("first")).await.map(drop)
    };
    at_each_write(OF_DEPLOYMENTS, begin, settled).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_to_its_end() -> anyhow::Result<()> {
    let begin = async |world: &mut World| {
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}});
        world.create(DEPLOYMENTS, workload("web", json!({"replicas": 2, "strategy": rolling}))).await?;
        world.start(OF_DEPLOYMENTS);
        a_deployment(world).await?;
        world.stop().await?;
        world.patch(&format!("{DEPLOYMENTS}/web"), second_image()).await.map(drop)
    };
    let settled = async |world: &World| {
        a_deployment(world).await?;
        let sets = exactly(world, REPLICA_SETS, 2, |set| {
            let second = set["spec"]["template"]["spec"]["containers"][0]["image"] == "second";
            set["spec"]["replicas"] == if second { 2 } else { 0 }
        });
        sets.await?;
        exactly(world, PODS, 2, image("second")).await.map(drop)
    };
    at_each_write(OF_DEPLOYMENTS, begin, settled).await
}

const OF_STATEFUL_SETS: &[&str] = &["statefulset-controller"];

fn a_stateful_set() -> Value {
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    workload(
        "db",
        json!({"replicas": 2, "serviceName": "db", "volumeClaimTemplates": [claim],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"}}),
    )
}

async fn stateful_done(world: &World, templates: usize) -> anyhow::Result<()> {
    let all = json!({"replicas": 2, "updatedReplicas": 2, "currentReplicas": 2, "availableReplicas": 2});
    let done =
        |set: &Value| says(all.clone())(set) && set["status"]["currentRevision"] == set["status"]["updateRevision"];
    let set = world.until(&format!("{STATEFUL_SETS}/db"), done).await?;
    let image = image(if templates == 1 { "first" } else { "second" });
    let of_last = |pod: &Value| {
        pod["metadata"]["labels"]["controller-revision-hash"] == set["status"]["updateRevision"] && image(pod)
    };
    exactly(world, PODS, 2, of_last).await?;
    exactly(world, CLAIMS, 2, |claim| claim["metadata"]["ownerReferences"][0]["name"] == "db").await?;
    let revisions =
        exactly(world, REVISIONS, templates, |r| r["metadata"]["ownerReferences"][0]["name"] == "db").await?;
    let mut numbers: Vec<_> = revisions.iter().filter_map(|r| r["revision"].as_u64()).collect();
    numbers.sort_unstable();
    ensure!(numbers == (1..=templates as u64).collect::<Vec<_>>(), "{numbers:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_has_its_pods_and_claims() -> anyhow::Result<()> {
    let begin = async |world: &mut World| world.create(STATEFUL_SETS, a_stateful_set()).await.map(drop);
    at_each_write(OF_STATEFUL_SETS, begin, async |world: &World| stateful_done(world, 1).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_rolls_to_its_end() -> anyhow::Result<()> {
    let begin = async |world: &mut World| {
        world.create(STATEFUL_SETS, a_stateful_set()).await?;
        world.start(OF_STATEFUL_SETS);
        stateful_done(world, 1).await?;
        world.stop().await?;
        world.patch(&format!("{STATEFUL_SETS}/db"), second_image()).await.map(drop)
    };
    at_each_write(OF_STATEFUL_SETS, begin, async |world: &World| stateful_done(world, 2).await).await
}

const OF_DAEMON_SETS: &[&str] = &["daemonset-controller"];

async fn daemons_done(world: &World, templates: usize) -> anyhow::Result<()> {
    let all = json!({"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2});
    world.until(&format!("{DAEMON_SETS}/d"), says(all)).await?;
    exactly(world, PODS, 2, image(if templates == 1 { "first" } else { "second" })).await?;
    exactly(world, REVISIONS, templates, |r| r["metadata"]["ownerReferences"][0]["name"] == "d").await.map(drop)
}

async fn nodes(world: &World) -> anyhow::Result<()> {
    for name in ["m", "n"] {
        world.create(NODES, json!({"metadata": {"name": name}})).await?;
        world.patch(&format!("{NODES}/{name}"), json!({"spec": {"taints": null}})).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_has_a_pod_a_node() -> anyhow::Result<()> {
    let begin = async |world: &mut World| {
        nodes(world).await?;
        world.create(DAEMON_SETS, workload("d", json!({}))).await.map(drop)
    };
    at_each_write(OF_DAEMON_SETS, begin, async |world: &World| daemons_done(world, 1).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_rolls_to_its_end() -> anyhow::Result<()> {
    for limits in [json!({"maxUnavailable": 1}), json!({"maxUnavailable": 0, "maxSurge": 1})] {
        let begin = async |world: &mut World| {
            nodes(world).await?;
            let strategy = json!({"type": "RollingUpdate", "rollingUpdate": limits});
            world.create(DAEMON_SETS, workload("d", json!({"updateStrategy": strategy}))).await?;
            world.start(OF_DAEMON_SETS);
            daemons_done(world, 1).await?;
            world.stop().await?;
            world.patch(&format!("{DAEMON_SETS}/d"), second_image()).await.map(drop)
        };
        at_each_write(OF_DAEMON_SETS, begin, async |world: &World| daemons_done(world, 2).await).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_nothing_twice() -> anyhow::Result<()> {
    for mode in ["Indexed", "NonIndexed"] {
        let begin = async |world: &mut World| {
            let template = json!({"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never",
                "automountServiceAccountToken": false}});
            let spec = json!({"completions": 2, "parallelism": 2, "completionMode": mode, "template": template});
            world.create(JOBS, json!({"metadata": {"name": "j"}, "spec": spec})).await.map(drop)
        };
        let settled = async |world: &World| {
            let ended = |job: &Value| job["status"]["completionTime"].is_string();
            let job = world.until(&format!("{JOBS}/j"), ended).await?;
            ensure!(job["status"]["succeeded"] == 2 && job["status"]["failed"].is_null(), "{}", job["status"]);
            let pods = exactly(world, PODS, 2, |pod| pod["metadata"]["finalizers"].is_null());
            pods.await.map(drop)
        };
        at_each_write(&["job-controller"], begin, settled).await.context(mode)?;
    }
    Ok(())
}

/// One has succeeded, the other runs; both are deleted by hand while nobody counts them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_counts_pods_that_are_deleted_by_hand() -> anyhow::Result<()> {
    for mode in ["Indexed", "NonIndexed"] {
        let begin = async |world: &mut World| {
            // These end when they are told to.
            let template = json!({"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never",
                "schedulingGates": [{"name": "x.io/by-hand"}], "automountServiceAccountToken": false}});
            let spec = json!({"completions": 2, "parallelism": 2, "completionMode": mode, "template": template});
            world.create(JOBS, json!({"metadata": {"name": "j"}, "spec": spec})).await?;
            world.start(&["job-controller"]);
            world.until(&format!("{JOBS}/j"), |job| job["status"]["active"] == 2).await?;
            world.stop().await?;
            let pods = exactly(world, PODS, 2, |_| true).await?;
            hollow::tell(&world.admin, &pods[0], State::Ended(0)).await?;
            for pod in &pods {
                let deleted = hollow::let_go(&world.admin, pod).await?;
                ensure!(deleted.code == 200, "{}", deleted.body);
            }
            Ok(())
        };
        let settled = async |world: &World| {
            let counted = |job: &Value| {
                let status = &job["status"];
                let uncounted = &status["uncountedTerminatedPods"];
                status["succeeded"] == 1 && status["failed"] == 1 && *uncounted == json!({})
            };
            world.until(&format!("{JOBS}/j"), counted).await?;
            // The successor of the one that was deleted comes later: the job backs off.
            let all = world.get(PODS).await?;
            let mut pods = all["items"].as_array().into_iter().flatten();
            ensure!(pods.all(|pod| pod["metadata"]["deletionTimestamp"].is_null()), "{all:#}");
            Ok(())
        };
        at_each_write(&["job-controller"], begin, settled).await.context(mode)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cron_job_starts_a_job_once() -> anyhow::Result<()> {
    for policy in ["Allow", "Forbid", "Replace"] {
        // One time is due: of a schedule that comes once a year, two minutes ago.
        let due = time::OffsetDateTime::now_utc() - time::Duration::minutes(2);
        let schedule = format!("{} {} {} {} *", due.minute(), due.hour(), due.day(), u8::from(due.month()));
        let hour_ago = due - time::Duration::hours(1);
        let last = hour_ago.replace_nanosecond(0)?.format(&time::format_description::well_known::Rfc3339)?;
        let begin = async |world: &mut World| {
            let template = json!({"spec": {"template": {"spec": {
                "containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}}});
            let spec = json!({"schedule": schedule, "timeZone": "Etc/UTC", "concurrencyPolicy": policy, "jobTemplate": template});
            let cron = world.create(CRON_JOBS, json!({"metadata": {"name": "c"}, "spec": spec})).await?;
            let mut active = json!([]);
            if policy == "Replace" {
                let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": cron["metadata"]["uid"],
                    "controller": true});
                let job = json!({"metadata": {"name": "before", "ownerReferences": [owner]}, "spec": template["spec"]});
                let job = world.create(JOBS, job).await?;
                active = json!([{"kind": "Job", "apiVersion": "batch/v1", "namespace": "default", "name": "before",
                    "uid": job["metadata"]["uid"]}]);
            }
            let status = json!({"status": {"lastScheduleTime": last, "active": active}});
            world.patch(&format!("{CRON_JOBS}/c/status"), status).await.map(drop)
        };
        let settled = async |world: &World| {
            let told = |cron: &Value| cron["status"]["lastScheduleTime"] != last.as_str();
            let cron = world.until(&format!("{CRON_JOBS}/c"), told).await?;
            let jobs = exactly(world, JOBS, 1, |job| job["metadata"]["name"] != "before").await?;
            let active = cron["status"]["active"].as_array().cloned().unwrap_or_default();
            ensure!(active.len() == 1 && active[0]["uid"] == jobs[0]["metadata"]["uid"], "{cron:#}");
            Ok(())
        };
        at_each_write(&["cronjob-controller"], begin, settled).await.context(policy)?;
    }
    Ok(())
}
