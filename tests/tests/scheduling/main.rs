//! The scheduler on a real server, under its own identity and role: pods whose claims wait for them. The tests are the
//! controller that binds claims, and the provisioner.

use std::time::Duration;

use anyhow::Context;
use http::Method;
use scheduler::Config;
use serde_json::{Value, json};
use testkit::{Answer, Caller, Cluster, Lines};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, on a machine that does something else too.
const LIMIT: Duration = Duration::from_secs(60);

const PODS: &str = "/api/v1/namespaces/default/pods";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";

/// Nodes `a` and `b`, a class whose volumes are made and one whose volumes are there, and a scheduler.
struct World {
    /// It lives as long as what it serves.
    _cluster: Cluster,
    admin: Caller,
    config: Config,
    cancel: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl World {
    async fn start() -> anyhow::Result<Self> {
        let cluster = Cluster::start().await?;
        let admin = cluster.admin();
        let own = cluster.caller("system:kube-scheduler", &["system:authenticated"]).kube();
        let (config, cancel) = (Config::default(), CancellationToken::new());
        let running = tokio::spawn(scheduler::run(config.clone(), own, cancel.clone()));
        let world = Self { _cluster: cluster, admin, config, cancel, running };
        let account = json!({"metadata": {"name": "default"}});
        world.create("/api/v1/namespaces/default/serviceaccounts", account).await?;
        for name in ["a", "b"] {
            let node = json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
                "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
            });
            world.create("/api/v1/nodes", node).await?;
            // The controllers would take the taint off that every new node has.
            world.patch(&format!("/api/v1/nodes/{name}"), json!({"spec": {"taints": null}})).await?;
        }
        for (name, provisioner) in [("made", "example.com/p"), ("local", "kubernetes.io/no-provisioner")] {
            let class = json!({"metadata": {"name": name}, "provisioner": provisioner,
                "volumeBindingMode": "WaitForFirstConsumer"});
            world.create("/apis/storage.k8s.io/v1/storageclasses", class).await?;
        }
        Ok(world)
    }

    async fn create(&self, collection: &str, object: Value) -> anyhow::Result<Value> {
        expect(201, self.admin.send(Method::POST, collection, Some(&object)).await?)
    }

    async fn patch(&self, path: &str, patch: Value) -> anyhow::Result<Value> {
        expect(200, self.admin.send_as(Method::PATCH, path, "application/merge-patch+json", Some(&patch)).await?)
    }

    async fn claim(&self, name: &str, class: &str) -> anyhow::Result<Value> {
        let spec = json!({"storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}});
        self.create(CLAIMS, json!({"metadata": {"name": name}, "spec": spec})).await
    }

    async fn volume(&self, name: &str, class: &str, node: &str) -> anyhow::Result<Value> {
        let expression = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
        let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}});
        let spec = json!({"storageClassName": class, "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "local": {"path": "/data"}, "nodeAffinity": affinity});
        self.create(VOLUMES, json!({"metadata": {"name": name}, "spec": spec})).await?;
        self.patch(&format!("{VOLUMES}/{name}/status"), json!({"status": {"phase": "Available"}})).await
    }

    async fn pod(&self, name: &str, claim: &str) -> anyhow::Result<()> {
        let spec = json!({
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}],
            "automountServiceAccountToken": false,
        });
        self.create(PODS, json!({"metadata": {"name": name}, "spec": spec})).await?;
        Ok(())
    }

    /// Binds a claim to a volume, as the controller does.
    async fn bind(&self, claim: &str, volume: &str) -> anyhow::Result<()> {
        let annotations = json!({"pv.kubernetes.io/bind-completed": "yes"});
        let patch = json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": volume}});
        self.patch(&format!("{CLAIMS}/{claim}"), patch).await?;
        self.patch(&format!("{CLAIMS}/{claim}/status"), json!({"status": {"phase": "Bound"}})).await?;
        Ok(())
    }

    /// Waits until the object is as wanted.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let (collection, name) = path.rsplit_once('/').context("a path of an object")?;
        let mut events: Lines =
            self.admin.open(&format!("{collection}?watch=1&fieldSelector=metadata.name%3D{name}")).await?;
        let mut last = Value::Null;
        let wait = async {
            loop {
                let event = events.next().await.context("the watch ended")?;
                if wanted(&event["object"]) {
                    return anyhow::Ok(event["object"].clone());
                }
                last = event;
            }
        };
        match tokio::time::timeout(LIMIT, wait).await {
            Ok(found) => found,
            Err(_) => anyhow::bail!("{path} is not as wanted after {LIMIT:?}: {last:#}"),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.running.abort();
    }
}

fn expect(code: u16, answer: Answer) -> anyhow::Result<Value> {
    anyhow::ensure!(answer.code == code, "{} instead of {code}: {}", answer.code, answer.body);
    Ok(answer.body)
}

fn message(pod: &Value) -> &str {
    pod["status"]["conditions"][0]["message"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_made_for_a_pod_where_it_will_run() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.pod("p", "c").await?;
    world
        .until(&format!("{PODS}/p"), |pod| {
            message(pod) == "0/2 nodes are available: persistentvolumeclaim \"c\" not found. not found"
        })
        .await?;
    world.claim("c", "made").await?;
    let chosen = |claim: &Value| !claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"].is_null();
    let claim = world.until(&format!("{CLAIMS}/c"), chosen).await?;
    let node = claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"].as_str().unwrap_or_default();
    let told = world.until(&format!("{PODS}/p"), |pod| pod["status"]["nominatedNodeName"] == node).await?;
    assert!(told["spec"]["nodeName"].is_null(), "it waits for its claim");
    world.volume("v", "made", node).await?;
    world.bind("c", "v").await?;
    world.until(&format!("{PODS}/p"), |pod| pod["spec"]["nodeName"] == node).await?;
    let why = world.config.why.of("default", "p").context("the decision is known")?;
    assert_eq!((&why["node"], &why["evaluatedNodes"]), (&json!(node), &json!(2)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_goes_where_the_volume_is() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.claim("c", "local").await?;
    world.pod("p", "c").await?;
    let refused = "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.";
    world.until(&format!("{PODS}/p"), |pod| message(pod).starts_with(refused)).await?;
    let why = world.config.why.of("default", "p").context("the decision is known")?;
    assert_eq!(why["nodes"][1]["plugin"], "VolumeBinding");
    world.volume("v", "local", "b").await?;
    let volume = world.until(&format!("{VOLUMES}/v"), |volume| volume["spec"]["claimRef"]["name"] == "c").await?;
    assert_eq!(volume["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"], "yes");
    world.bind("c", "v").await?;
    world.until(&format!("{PODS}/p"), |pod| pod["spec"]["nodeName"] == "b").await?;
    // Another pod of the claim has to go there, too.
    world.pod("q", "c").await?;
    world.until(&format!("{PODS}/q"), |pod| pod["spec"]["nodeName"] == "b").await?;
    Ok(())
}
