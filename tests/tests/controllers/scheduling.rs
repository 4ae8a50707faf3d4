//! Pods with claims for devices from their creation to their end: the claims are made, allocated with the pod's node, and
//! given back; and extended resources that are devices.

use scheduler::Config;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::world::World;

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const PODS: &str = "/api/v1/namespaces/default/pods";

struct Scheduled {
    world: World,
    _running: JoinHandle<anyhow::Result<()>>,
    _until: DropGuard,
}

/// A server with a node that has two devices of the class `gpus`, the controller of claims, and the scheduler.
async fn scheduled() -> anyhow::Result<Scheduled> {
    scheduled_with(&["resourceclaim-controller"]).await
}

/// The same with these controllers.
async fn scheduled_with(controllers: &[&str]) -> anyhow::Result<Scheduled> {
    let world = World::with(&[controllers, &["serviceaccount-controller"]].concat()).await?;
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    world.create("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await?;
    // A new node is not ready, and this one has nobody who would say that it is.
    world.patch("/api/v1/nodes/n", json!({"spec": {"taints": null}})).await?;
    let resources = json!({"cpu": "4", "memory": "8Gi", "pods": "100"});
    let status = json!({"allocatable": resources, "capacity": resources});
    world.patch("/api/v1/nodes/n/status", json!({"status": status})).await?;
    let selector =
        json!({"cel": {"expression": "device.driver == 'd.example.com' && !device.attributes['x.io'].broken"}});
    let class = json!({
        "metadata": {"name": "gpus"}, "spec": {"selectors": [selector], "extendedResourceName": "example.com/gpu"},
    });
    world.create("/apis/resource.k8s.io/v1/deviceclasses", class).await?;
    let device = |name: &str, broken: bool| json!({"name": name, "attributes": {"x.io/broken": {"bool": broken}}});
    let slice = json!({
        "metadata": {"name": "s"},
        "spec": {
            "driver": "d.example.com", "nodeName": "n",
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
            "devices": [device("gpu-0", true), device("gpu-1", false), device("gpu-2", false)],
        },
    });
    world.create("/apis/resource.k8s.io/v1/resourceslices", slice).await?;
    let requests = json!([{"name": "r", "exactly": {"deviceClassName": "gpus"}}]);
    let template = json!({"metadata": {"name": "t"}, "spec": {"spec": {"devices": {"requests": requests}}}});
    world.create("/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates", template).await?;
    let client = world.cluster.caller("system:kube-scheduler", &["system:authenticated"]).kube();
    let until = CancellationToken::new();
    let running = tokio::spawn(scheduler::run(Config::default(), client, until.clone()));
    Ok(Scheduled { world, _running: running, _until: until.drop_guard() })
}

fn pod(name: &str, resources: Value, claims: Value) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": false, "resourceClaims": claims,
            "containers": [{"name": "c", "image": "i", "resources": resources}],
        },
    })
}

fn of_template() -> Value {
    json!([{"name": "gpu", "resourceClaimTemplateName": "t"}])
}

fn is_bound(pod: &Value) -> bool {
    pod["spec"]["nodeName"] == "n"
}

/// What the scheduler says of a pod that has no node.
fn refusal(pod: &Value) -> Option<String> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|c| c["type"] == "PodScheduled" && c["status"] == "False")?;
    condition["message"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_get_the_devices_that_others_give_back() -> anyhow::Result<()> {
    let s = scheduled().await?;
    let world = &s.world;
    let mut given = vec![];
    for name in ["first", "second"] {
        let made = world.create(PODS, pod(name, json!({}), of_template())).await?;
        let path = format!("{PODS}/{name}");
        let bound = world.until(&path, is_bound).await?;
        let claim = bound["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_str().unwrap_or_default();
        let claim = world.get(&format!("{CLAIMS}/{claim}")).await?;
        let status = &claim["status"];
        assert_eq!(status["reservedFor"][0]["uid"], made["metadata"]["uid"], "{claim}");
        assert_eq!(claim["metadata"]["finalizers"], json!(["resource.kubernetes.io/delete-protection"]));
        assert!(status["allocation"]["allocationTimestamp"].is_string(), "{claim}");
        given.push(status["allocation"]["devices"]["results"][0]["device"].clone());
    }
    assert_eq!(given, ["gpu-1", "gpu-2"]);

    world.create(PODS, pod("third", json!({}), of_template())).await?;
    let third = format!("{PODS}/third");
    let refused = world.until(&third, |pod| refusal(pod).is_some()).await?;
    let why = "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    assert_eq!(refusal(&refused).as_deref(), Some(why));
    world.patch(&format!("{PODS}/first/status"), json!({"status": {"phase": "Succeeded"}})).await?;
    world.until(&third, is_bound).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_claim_binds_its_pods_to_its_node() -> anyhow::Result<()> {
    let s = scheduled().await?;
    let world = &s.world;
    let claims = json!([{"name": "gpu", "resourceClaimName": "shared"}]);
    world.create(PODS, pod("first", json!({}), claims.clone())).await?;
    let requests = json!([{"name": "r", "exactly": {"deviceClassName": "gpus", "allocationMode": "All"}}]);
    let claim = json!({"metadata": {"name": "shared"}, "spec": {"devices": {"requests": requests}}});
    world.create(CLAIMS, claim).await?;
    world.until(&format!("{PODS}/first"), is_bound).await?;
    world.create(PODS, pod("second", json!({}), claims)).await?;
    world.until(&format!("{PODS}/second"), is_bound).await?;
    let claim = world.get(&format!("{CLAIMS}/shared")).await?;
    let consumers = claim["status"]["reservedFor"].as_array().map(Vec::len);
    let devices = claim["status"]["allocation"]["devices"]["results"].as_array().map(Vec::len);
    assert_eq!((consumers, devices), (Some(2), Some(2)), "{claim}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extended_resources_are_devices_where_a_class_says_so() -> anyhow::Result<()> {
    let s = scheduled().await?;
    let world = &s.world;
    let resources = json!({"requests": {"example.com/gpu": "2"}, "limits": {"example.com/gpu": "2"}});
    world.create(PODS, pod("p", resources, json!(null))).await?;
    let path = format!("{PODS}/p");
    let bound = world.until(&path, is_bound).await?;
    let told = &bound["status"]["extendedResourceClaimStatus"];
    let mapping =
        json!({"containerName": "c", "resourceName": "example.com/gpu", "requestName": "container-0-request-0"});
    assert_eq!(told["requestMappings"], json!([mapping]));
    let name = told["resourceClaimName"].as_str().unwrap_or_default().to_owned();
    let claim = world.get(&format!("{CLAIMS}/{name}")).await?;
    assert_eq!(claim["status"]["allocation"]["devices"]["results"].as_array().map(Vec::len), Some(2), "{claim}");
    world.patch(&format!("{path}/status"), json!({"status": {"phase": "Failed"}})).await?;
    world.gone(&format!("{CLAIMS}/{name}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_no_node_takes_is_told_of_pod_and_workload() -> anyhow::Result<()> {
    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
    let Scheduled { world, .. } = &scheduled_with(&["deployment-controller", "replicaset-controller"]).await?;
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {
        "containers": [{"name": "c", "image": "i"}], "nodeSelector": {"disk": "gold"}, "automountServiceAccountToken": false}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template,
        "progressDeadlineSeconds": 1, "minReadySeconds": 0});
    world.create(DEPLOYMENTS, json!({"metadata": {"name": "web"}, "spec": spec})).await?;
    let pod = world.any(PODS, "", |pod| refusal(pod).is_some()).await?;
    let why = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    assert!(refusal(&pod).is_some_and(|said| said.starts_with(why)), "{:?}", refusal(&pod));
    let condition = |web: &Value, kind: &str, reason: &str| {
        let mut conditions = web["status"]["conditions"].as_array().into_iter().flatten();
        let found = conditions.find(|c| c["type"] == kind && c["status"] == "False" && c["reason"] == reason);
        found.map(|condition| condition["message"].as_str().unwrap_or_default().to_owned())
    };
    let late = |web: &Value| condition(web, "Progressing", "ProgressDeadlineExceeded").is_some();
    let web = world.until(&format!("{DEPLOYMENTS}/web"), late).await?;
    let set = pod["metadata"]["ownerReferences"][0]["name"].as_str().unwrap_or_default();
    let timed_out = format!("ReplicaSet \"{set}\" has timed out progressing.");
    assert_eq!(condition(&web, "Progressing", "ProgressDeadlineExceeded"), Some(timed_out));
    let few = condition(&web, "Available", "MinimumReplicasUnavailable");
    assert_eq!(few.as_deref(), Some("Deployment does not have minimum availability."));
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let events = "/api/v1/namespaces/default/events";
    let told = world.any(events, &format!("reason%3DFailedScheduling,involvedObject.name%3D{name}"), |_| true).await?;
    assert!(
        told["type"] == "Warning" && told["message"].as_str().is_some_and(|said| said.starts_with(why)),
        "{told:#}"
    );
    // A node that takes it ends the matter.
    world.patch("/api/v1/nodes/n", json!({"metadata": {"labels": {"disk": "gold"}}})).await?;
    world.until(&format!("{PODS}/{name}"), is_bound).await?;
    Ok(())
}
