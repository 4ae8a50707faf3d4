//! Killed between two writes: whatever is written in more than one step comes to the same end wherever the controllers die
//! and others begin, and wherever the answer to a write is lost and they live on. Each case is run once for each of its
//! writes.

use anyhow::{Context, ensure};
use controller_manager::Config;
use ferry_tests::hollow::{self, State};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{Mishap, World};

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const CRON_JOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const STATEFUL_SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const DEVICE_CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const TEMPLATES: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_has_its_endpoints_once() -> anyhow::Result<()> {
    let begin = async |world: &mut World| {
        nodes(world).await?;
        let spec = json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]});
        world.create(SERVICES, json!({"metadata": {"name": "web"}, "spec": spec})).await?;
        for name in ["a", "b"] {
            let spec = json!({"containers": [{"name": "c", "image": "i"}], "nodeName": "n",
                "automountServiceAccountToken": false});
            world.create(PODS, json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec})).await?;
            world.until(&format!("{PODS}/{name}"), |pod| pod["status"]["podIP"].is_string()).await?;
        }
        Ok(())
    };
    let settled = async |world: &World| {
        exactly(world, SLICES, 1, |slice| slice["endpoints"].as_array().is_some_and(|all| all.len() == 2)).await?;
        let both =
            |endpoints: &Value| endpoints["subsets"][0]["addresses"].as_array().is_some_and(|all| all.len() == 2);
        world.until(&format!("{ENDPOINTS}/web"), both).await.map(drop)
    };
    at_each_write(&["endpoints-controller", "endpointslice-controller"], begin, settled).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_are_mirrored_once() -> anyhow::Result<()> {
    let begin = async |world: &mut World| {
        let spec = json!({"clusterIP": "None", "ports": [{"port": 80}]});
        world.create(SERVICES, json!({"metadata": {"name": "web"}, "spec": spec})).await?;
        let addresses: Vec<Value> = (1..=3).map(|n| json!({"ip": format!("10.1.2.{n}")})).collect();
        let subsets = json!([{"addresses": addresses, "ports": [{"port": 80}]}]);
        world.create(ENDPOINTS, json!({"metadata": {"name": "web"}, "subsets": subsets})).await.map(drop)
    };
    let settled = async |world: &World| {
        exactly(world, SLICES, 1, |slice| slice["endpoints"].as_array().is_some_and(|all| all.len() == 3))
            .await
            .map(drop)
    };
    at_each_write(&["endpointslice-mirroring-controller"], begin, settled).await
}

fn volume(name: &str, policy: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"},
        "persistentVolumeReclaimPolicy": policy}})
}

async fn claim(world: &World, name: &str) -> anyhow::Result<()> {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""});
    world.create(CLAIMS, json!({"metadata": {"name": name}, "spec": spec})).await.map(drop)
}

const OF_VOLUMES: &[&str] = &["persistentvolume-binder-controller"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_claims_get_a_volume_each() -> anyhow::Result<()> {
    let begin = async |world: &mut World| {
        for name in ["v", "w"] {
            world.create(VOLUMES, volume(name, "Retain")).await?;
        }
        claim(world, "a").await?;
        claim(world, "b").await
    };
    let settled = async |world: &World| {
        let bound = |object: &Value| object["status"]["phase"] == "Bound";
        let claims = exactly(world, CLAIMS, 2, bound).await?;
        for volume in exactly(world, VOLUMES, 2, bound).await? {
            let of = claims.iter().find(|claim| claim["metadata"]["uid"] == volume["spec"]["claimRef"]["uid"]);
            let of = of.context("a volume of nobody")?;
            ensure!(of["spec"]["volumeName"] == volume["metadata"]["name"], "{of:#} {volume:#}");
        }
        Ok(())
    };
    at_each_write(OF_VOLUMES, begin, settled).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_is_given_back_is_offered_again() -> anyhow::Result<()> {
    let begin = async |world: &mut World| {
        world.create(VOLUMES, volume("v", "Recycle")).await?;
        claim(world, "a").await?;
        world.start(OF_VOLUMES);
        world.until(&format!("{CLAIMS}/a"), |claim| claim["status"]["phase"] == "Bound").await?;
        world.stop().await?;
        // The protection of claims does not run here.
        world.patch(&format!("{CLAIMS}/a"), json!({"metadata": {"finalizers": null}})).await?;
        world.delete(&format!("{CLAIMS}/a")).await.map(drop)
    };
    let settled = async |world: &World| {
        let free = |volume: &Value| volume["status"]["phase"] == "Available" && volume["spec"]["claimRef"].is_null();
        world.until(&format!("{VOLUMES}/v"), free).await?;
        exactly(world, PODS, 0, |_| true).await.map(drop)
    };
    let often = |config: &mut Config| config.pvclaimbinder_sync_period = std::time::Duration::from_secs(1);
    at_each_write_with(OF_VOLUMES, often, begin, settled).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_gets_one_claim_of_its_template() -> anyhow::Result<()> {
    let begin = async |world: &mut World| {
        let spec = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "k"}}]}});
        world.create(TEMPLATES, json!({"metadata": {"name": "t"}, "spec": {"spec": spec}})).await?;
        let spec = json!({
            "containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false,
            "resourceClaims": [{"name": "first", "resourceClaimTemplateName": "t"}, {"name": "second", "resourceClaimTemplateName": "t"}],
        });
        world.create(PODS, json!({"metadata": {"name": "p"}, "spec": spec})).await.map(drop)
    };
    let settled = async |world: &World| {
        let told = |pod: &Value| pod["status"]["resourceClaimStatuses"].as_array().is_some_and(|all| all.len() == 2);
        let pod = world.until(&format!("{PODS}/p"), told).await?;
        let claims = exactly(world, DEVICE_CLAIMS, 2, |_| true).await?;
        for status in pod["status"]["resourceClaimStatuses"].as_array().into_iter().flatten() {
            let named = claims.iter().any(|claim| claim["metadata"]["name"] == status["resourceClaimName"]);
            ensure!(named, "{status} names no claim");
        }
        Ok(())
    };
    at_each_write(&["resourceclaim-controller"], begin, settled).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_emptied_and_goes() -> anyhow::Result<()> {
    let begin = async |world: &mut World| {
        world.create("/api/v1/namespaces", json!({"metadata": {"name": "gone"}})).await?;
        world.create("/api/v1/namespaces/gone/serviceaccounts", json!({"metadata": {"name": "default"}})).await?;
        let spec = json!({"containers": [{"name": "c", "image": "i"}], "nodeName": "n", "automountServiceAccountToken": false});
        world.create("/api/v1/namespaces/gone/pods", json!({"metadata": {"name": "p"}, "spec": spec})).await?;
        world.create("/api/v1/namespaces/gone/configmaps", json!({"metadata": {"name": "m"}})).await?;
        world.delete("/api/v1/namespaces/gone").await.map(drop)
    };
    at_each_write(&["namespace-controller"], begin, async |world: &World| world.gone("/api/v1/namespaces/gone").await)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_owned_goes_with_its_owner_or_is_let_go() -> anyhow::Result<()> {
    let begin = async |world: &mut World| {
        for policy in ["Background", "Foreground", "Orphan"] {
            let name = policy.to_lowercase();
            let mut owner = world.create(MAPS, json!({"metadata": {"name": name}})).await?;
            for child in ["child", "grandchild"] {
                let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
                    "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true});
                let name = format!("{name}-{child}");
                owner = world.create(MAPS, json!({"metadata": {"name": name, "ownerReferences": [reference]}})).await?;
            }
            let how = json!({"propagationPolicy": policy});
            let path = format!("{MAPS}/{name}");
            let deleted = world.admin.send(http::Method::DELETE, &path, Some(&how)).await?;
            ensure!(deleted.code == 200, "{}", deleted.body);
        }
        Ok(())
    };
    let settled = async |world: &World| {
        for name in ["background", "foreground", "orphan"] {
            world.gone(&format!("{MAPS}/{name}")).await?;
        }
        for name in ["background-child", "background-grandchild", "foreground-child", "foreground-grandchild"] {
            world.gone(&format!("{MAPS}/{name}")).await?;
        }
        let free = |map: &Value| map["metadata"]["ownerReferences"].is_null();
        world.until(&format!("{MAPS}/orphan-child"), free).await?;
        let grandchild = world.get(&format!("{MAPS}/orphan-grandchild")).await?;
        ensure!(grandchild["metadata"]["ownerReferences"][0]["name"] == "orphan-child", "{grandchild:#}");
        Ok(())
    };
    at_each_write(&["garbage-collector-controller"], begin, settled).await
}

/// A pod on a node that was ready.
async fn a_pod_on_a_node(world: &World) -> anyhow::Result<()> {
    nodes(world).await?;
    let condition = json!({"type": "Ready", "status": "True", "reason": "KubeletReady"});
    world.patch(&format!("{NODES}/n/status"), json!({"status": {"conditions": [condition]}})).await?;
    let spec =
        json!({"containers": [{"name": "c", "image": "i"}], "nodeName": "n", "automountServiceAccountToken": false});
    world.create(PODS, json!({"metadata": {"name": "p"}, "spec": spec})).await?;
    world.until(&format!("{PODS}/p"), |pod| is_ready(pod) == Some("True".to_owned())).await.map(drop)
}

fn is_ready(object: &Value) -> Option<String> {
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    Some(conditions.find(|condition| condition["type"] == "Ready")?["status"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pods_of_a_silent_node_are_not_ready() -> anyhow::Result<()> {
    let begin = async |world: &mut World| a_pod_on_a_node(world).await;
    let settled = async |world: &World| {
        let lost = |node: &Value| {
            let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
            is_ready(node).as_deref() == Some("Unknown")
                && taints.any(|taint| taint["key"] == "node.kubernetes.io/unreachable")
        };
        world.until(&format!("{NODES}/n"), lost).await?;
        world.until(&format!("{PODS}/p"), |pod| is_ready(pod).as_deref() == Some("False")).await.map(drop)
    };
    let soon = |config: &mut Config| config.node_monitor_grace_period = std::time::Duration::from_secs(1);
    at_each_write_with(&["node-lifecycle-controller"], soon, begin, settled).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_leaves_a_tainted_node() -> anyhow::Result<()> {
    let begin = async |world: &mut World| {
        a_pod_on_a_node(world).await?;
        let taints = json!([{"key": "broken", "effect": "NoExecute"}]);
        world.patch(&format!("{NODES}/n"), json!({"spec": {"taints": taints}})).await.map(drop)
    };
    at_each_write(&["taint-eviction-controller"], begin, async |world: &World| world.gone(&format!("{PODS}/p")).await)
        .await
}
