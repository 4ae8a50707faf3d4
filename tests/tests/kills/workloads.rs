//! What is asked of the controllers while they are killed.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::Caller;

use super::world::{ask, create, revision, roll, until};

pub const NAMESPACE: &str = "work";
/// Completions of the indexed job, and of the other.
pub const COMPLETIONS: u32 = 2_000;
pub const MORE_COMPLETIONS: u32 = 300;
const PARALLEL: u32 = 200;
const MORE_PARALLEL: u32 = 75;
/// Replicas of the StatefulSet.
pub const REPLICAS: u32 = 20;
/// Replicas of the Deployment.
const COPIES: u32 = 10;
pub const MAX_UNAVAILABLE: usize = 3;
pub const MAX_SURGE: usize = 2;
/// Of everything together, on a machine that does something else too.
pub const LIMIT: Duration = Duration::from_secs(330);

/// Kind by kind, where what they own is, too.
pub const COLLECTIONS: [&str; 7] = [
    "/apis/batch/v1/namespaces/work/jobs",
    "/apis/apps/v1/namespaces/work/statefulsets",
    "/apis/apps/v1/namespaces/work/daemonsets",
    "/apis/apps/v1/namespaces/work/deployments",
    "/apis/apps/v1/namespaces/work/replicasets",
    "/apis/apps/v1/namespaces/work/controllerrevisions",
    "/api/v1/namespaces/work/pods",
];

/// Path of a workload.
pub fn path(plural: &str, name: &str) -> String {
    let group = if plural == "jobs" { "batch" } else { "apps" };
    format!("/apis/{group}/v1/namespaces/{NAMESPACE}/{plural}/{name}")
}

/// The workloads, as they were made.
pub struct Workloads {
    pub indexed: Value,
    pub plain: Value,
    pub stateful: Value,
    pub sparing: Value,
    pub surging: Value,
}

/// The workloads when all is done.
pub struct Done {
    pub indexed: Value,
    pub plain: Value,
    pub stateful: Value,
    pub sparing: Rolled,
    pub surging: Rolled,
    /// Its generation is that of its second template.
    pub deployment: Value,
}

/// A DaemonSet that has rolled.
pub struct Rolled {
    /// From when each node had a pod that served.
    pub from: i64,
    /// The revision of its pods before.
    pub old: String,
    pub set: Value,
}

pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

fn template(app: &str, job: bool) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 5});
    if job {
        spec["restartPolicy"] = "Never".into();
    }
    json!({"metadata": {"labels": {"app": app}}, "spec": spec})
}

fn workload(name: &str, spec: &Value) -> Value {
    let mut object = json!({"metadata": {"name": name}, "spec": spec});
    if object["spec"]["template"].is_null() {
        object["spec"]["template"] = template(name, false);
        object["spec"]["selector"] = json!({"matchLabels": {"app": name}});
    }
    object
}

/// A job of so many completions.
pub fn job(name: &str, completions: u32, parallelism: u32, mode: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"completions": completions, "parallelism": parallelism,
        "completionMode": mode, "template": template(name, true)}})
}

/// Makes the namespace, and waits until pods may be made in it.
pub async fn namespace(admin: &Caller) -> anyhow::Result<()> {
    create(admin, "/api/v1/namespaces", &json!({"metadata": {"name": NAMESPACE}})).await?;
    let account = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default");
    until(admin, &account, |account| !account.is_null()).await;
    Ok(())
}

impl Workloads {
    /// Makes the namespace and all of them.
    pub async fn create(admin: &Caller) -> anyhow::Result<Self> {
        namespace(admin).await?;
        let rolling = |limits: Value| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": limits}});
        let sparing = workload("sparing", &rolling(json!({"maxUnavailable": MAX_UNAVAILABLE})));
        let surging = workload("surging", &rolling(json!({"maxUnavailable": 0, "maxSurge": MAX_SURGE})));
        let made = Self {
            indexed: create(admin, COLLECTIONS[0], &job("indexed", COMPLETIONS, PARALLEL, "Indexed")).await?,
            plain: create(admin, COLLECTIONS[0], &job("plain", MORE_COMPLETIONS, MORE_PARALLEL, "NonIndexed")).await?,
            stateful: create(
                admin,
                COLLECTIONS[1],
                &workload("ordered", &json!({"replicas": REPLICAS, "serviceName": "ordered"})),
            )
            .await?,
            sparing: create(admin, COLLECTIONS[2], &sparing).await?,
            surging: create(admin, COLLECTIONS[2], &surging).await?,
        };
        create(admin, COLLECTIONS[3], &workload("web", &json!({"replicas": COPIES}))).await?;
        Ok(made)
    }
}

/// Rolls what rolls, and waits until all has come to its end. The StatefulSet gets its third template when so many of its
/// pods are of the second.
pub async fn run(admin: &Caller, nodes: u64, halfway: u64) -> anyhow::Result<Done> {
    let job = |name: &'static str| async move { anyhow::Ok(until(admin, &path("jobs", name), completed).await) };
    let (indexed, plain, stateful, sparing, surging, deployment) = tokio::try_join!(
        job("indexed"),
        job("plain"),
        stateful(admin, halfway),
        daemons(admin, "sparing", nodes),
        daemons(admin, "surging", nodes),
        deployment(admin),
    )?;
    Ok(Done { indexed, plain, stateful, sparing, surging, deployment })
}

pub fn completed(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|c| ["Complete", "Failed"].iter().any(|kind| c["type"] == *kind) && c["status"] == "True")
}

fn observed(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

async fn stateful(admin: &Caller, halfway: u64) -> anyhow::Result<Value> {
    let path = path("statefulsets", "ordered");
    until(admin, &path, |set| set["status"]["availableReplicas"] == REPLICAS).await;
    roll(admin, &path, "second").await?;
    let begun = |set: &Value| observed(set) && set["status"]["updatedReplicas"].as_u64().unwrap_or(0) >= halfway;
    until(admin, &path, begun).await;
    roll(admin, &path, "third").await?;
    let whole = |set: &Value| {
        let status = &set["status"];
        observed(set)
            && ["updatedReplicas", "availableReplicas", "currentReplicas"].iter().all(|of| status[of] == REPLICAS)
            && status["currentRevision"] == status["updateRevision"]
    };
    Ok(until(admin, &path, whole).await)
}

async fn daemons(admin: &Caller, name: &str, nodes: u64) -> anyhow::Result<Rolled> {
    let path = path("daemonsets", name);
    let whole = |set: &Value| {
        let all = ["desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable", "numberReady"];
        observed(set) && all.iter().all(|of| set["status"][of] == nodes)
    };
    let made = until(admin, &path, whole).await;
    let pods = ask(admin, &Method::GET, &format!("{}?limit=1&labelSelector=app%3D{name}", COLLECTIONS[6]), None).await;
    let old = pods.body["items"][0]["metadata"]["labels"]["controller-revision-hash"].as_str().unwrap_or_default();
    roll(admin, &path, "second").await?;
    let set = until(admin, &path, whole).await;
    Ok(Rolled { from: revision(&made), old: old.to_owned(), set })
}

async fn deployment(admin: &Caller) -> anyhow::Result<Value> {
    let path = path("deployments", "web");
    let whole = |web: &Value| {
        let all = ["replicas", "updatedReplicas", "availableReplicas"];
        observed(web) && all.iter().all(|of| web["status"][of] == COPIES)
    };
    until(admin, &path, whole).await;
    roll(admin, &path, "second").await?;
    Ok(until(admin, &path, whole).await)
}

/// Deletes all of them, waits until nothing that they owned is left, and then until their namespace is gone.
pub async fn delete(admin: &Caller) -> anyhow::Result<()> {
    for (plural, name, how) in [
        ("jobs", "indexed", "Background"),
        ("jobs", "plain", "Foreground"),
        ("statefulsets", "ordered", "Background"),
        ("daemonsets", "sparing", "Foreground"),
        ("daemonsets", "surging", "Background"),
        ("deployments", "web", "Foreground"),
    ] {
        let answer = ask(admin, &Method::DELETE, &path(plural, name), Some(&json!({"propagationPolicy": how}))).await;
        // 404: the answer to the first try was lost.
        anyhow::ensure!(matches!(answer.code, 200 | 202 | 404), "{name}: {}", answer.body);
    }
    for collection in COLLECTIONS {
        until(admin, &format!("{collection}?limit=1"), |list| {
            list["items"].as_array().is_some_and(|items| items.is_empty())
        })
        .await;
    }
    let namespace = format!("/api/v1/namespaces/{NAMESPACE}");
    ask(admin, &Method::DELETE, &namespace, None).await;
    until(admin, &namespace, Value::is_null).await;
    Ok(())
}
