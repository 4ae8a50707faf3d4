//! Autoscalers give their targets the size that metrics ask for. The tests are the kubelets, and the metrics' server.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

const CONTROLLER: &str = "horizontal-pod-autoscaler-controller";
const PODS: &str = "/api/v1/namespaces/default/pods";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const HPAS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const METRICS: &str = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";

/// A server with these controllers; autoscalers have their turn ten times in a second.
async fn world(others: &[&str]) -> anyhow::Result<World> {
    let mut world = World::new().await?;
    let all: Vec<&str> = [CONTROLLER, "serviceaccount-controller"].iter().chain(others).copied().collect();
    world.start_with(&all, |config| {
        config.horizontal_pod_autoscaler.sync_period = Duration::from_millis(100);
        config.horizontal_pod_autoscaler.downscale_stabilization = Duration::ZERO;
    });
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    Ok(world)
}

fn deployment(name: &str, replicas: u32) -> Value {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m"}}});
    let template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [container], "automountServiceAccountToken": false},
    });
    let selector = json!({"matchLabels": {"app": name}});
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": selector, "template": template}})
}

fn hpa(name: &str, target: &str, spec: Value) -> Value {
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": target});
    let mut whole = json!({"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 10, "metrics": [metric]});
    whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    json!({"metadata": {"name": name}, "spec": whole})
}

/// Waits until there are as many pods, and says that they run and are ready for long.
async fn run(world: &World, number: usize) -> anyhow::Result<()> {
    world.until(WEB, |web| web["status"]["replicas"] == number).await?;
    for pod in world.list(PODS).await? {
        let path = format!("{PODS}/{}", pod["metadata"]["name"].as_str().unwrap_or_default());
        world.patch(&format!("{path}/status"), json!({"status": {"startTime": "2020-01-01T00:00:00Z"}})).await?;
        world.report(&path, "Running", Some("2020-01-01T00:00:00Z")).await?;
    }
    Ok(())
}

/// From now on every pod uses so much.
async fn use_cpu(world: &World, cpu: &str) -> anyhow::Result<()> {
    let metrics = |pod: &Value| {
        json!({
            "metadata": {"name": pod["metadata"]["name"], "namespace": "default", "labels": pod["metadata"]["labels"]},
            "timestamp": "2020-01-02T00:00:00Z", "window": "15s",
            "containers": [{"name": "c", "usage": {"cpu": cpu, "memory": "1Mi"}}],
        })
    };
    let items: Vec<Value> = world.list(PODS).await?.iter().map(metrics).collect();
    world.answer(METRICS, json!({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "items": items}));
    Ok(())
}

/// The reason and the message of a condition.
fn condition(hpa: &Value, kind: &str) -> (String, String) {
    let conditions = hpa["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = conditions.iter().find(|c| c["type"] == kind);
    found.map(|c| (text(&c["reason"]), text(&c["message"]))).unwrap_or_default()
}

async fn until_reason(world: &World, name: &str, kind: &str, reason: &str) -> anyhow::Result<String> {
    let hpa = world.until(&format!("{HPAS}/{name}"), |hpa| condition(hpa, kind).0 == reason).await?;
    Ok(condition(&hpa, kind).1)
}

async fn event(world: &World, reason: &str) -> anyhow::Result<Value> {
    world.any(EVENTS, &format!("reason%3D{reason}"), |_| true).await
}

#[tokio::test]
async fn a_deployment_grows_and_shrinks_with_what_its_pods_use() -> anyhow::Result<()> {
    let world = world(&["deployment-controller", "replicaset-controller"]).await?;
    world.create(DEPLOYMENTS, deployment("web", 2)).await?;
    run(&world, 2).await?;
    use_cpu(&world, "500m").await?;
    world.create(HPAS, hpa("web", "web", json!({}))).await?;
    // All that they request, of which it is to be half.
    world.until(WEB, |web| web["spec"]["replicas"] == 4).await?;
    let hpa = world.until(&format!("{HPAS}/web"), |hpa| hpa["status"]["desiredReplicas"] == 4).await?;
    assert!(hpa["status"]["lastScaleTime"].is_string(), "{hpa}");
    let current = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 100, "averageValue": "500m"}}});
    assert_eq!(hpa["status"]["currentMetrics"], json!([current]));
    let told = event(&world, "SuccessfulRescale").await?;
    let message = "New size: 4; reason: cpu resource utilization (percentage of request) above target";
    assert_eq!((&told["message"], &told["type"]), (&json!(message), &json!("Normal")));
    assert_eq!(told["source"]["component"], "horizontal-pod-autoscaler");

    run(&world, 4).await?;
    use_cpu(&world, "125m").await?;
    world.until(WEB, |web| web["spec"]["replicas"] == 2).await?;
    let message = until_reason(&world, "web", "ScalingActive", "ValidMetricFound").await?;
    let metric = "cpu resource utilization (percentage of request)";
    assert_eq!(message, format!("the HPA was able to successfully calculate a replica count from {metric}"));
    Ok(())
}

#[tokio::test]
async fn without_metrics_nothing_is_done_and_it_is_said_why() -> anyhow::Result<()> {
    let world = world(&["deployment-controller", "replicaset-controller"]).await?;
    world.refuse(|_, path| (path == METRICS).then_some((404, "the server could not find the requested resource")));
    world.create(DEPLOYMENTS, deployment("web", 2)).await?;
    run(&world, 2).await?;
    world.create(HPAS, hpa("web", "web", json!({}))).await?;
    let why = "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from \
               resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)";
    let message = until_reason(&world, "web", "ScalingActive", "FailedGetResourceMetric").await?;
    assert_eq!(message, format!("the HPA was unable to compute the replica count: {why}"));
    assert_eq!(event(&world, "FailedGetResourceMetric").await?["message"], why);
    let all = event(&world, "FailedComputeMetricsReplicas").await?;
    let summary =
        format!("invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {why}");
    assert_eq!(all["message"], summary);
    assert_eq!(world.get(WEB).await?["spec"]["replicas"], 2);

    // There is another target, which is not there.
    world.create(HPAS, hpa("lost", "none", json!({}))).await?;
    let message = until_reason(&world, "lost", "AbleToScale", "FailedGetScale").await?;
    let unable = "the HPA controller was unable to get the target's current scale: ";
    assert!(message.starts_with(unable) && message.contains("\"none\" not found"), "{message}");
    // And one of a kind that nobody serves.
    let target = json!({"apiVersion": "example.com/v1", "kind": "Thing", "name": "t"});
    world.create(HPAS, hpa("odd", "t", json!({"scaleTargetRef": target}))).await?;
    let message = until_reason(&world, "odd", "AbleToScale", "FailedGetScale").await?;
    assert_eq!(message, format!("{unable}no matches for kind \"Thing\" in group \"example.com\""));
    // And one that is there, of a kind that has no scale.
    let mut daemons = deployment("m", 1);
    daemons["spec"]["replicas"] = Value::Null;
    world.create("/apis/apps/v1/namespaces/default/daemonsets", daemons).await?;
    let target = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "m"});
    world.create(HPAS, hpa("still", "m", json!({"scaleTargetRef": target}))).await?;
    let message = until_reason(&world, "still", "AbleToScale", "FailedGetScale").await?;
    let why = "the server could not find the requested resource (get daemonsets m)";
    assert_eq!(message, format!("{unable}{why}"));
    let told = world.any(EVENTS, "reason%3DFailedGetScale,involvedObject.name%3Dstill", |_| true).await?;
    assert_eq!((&told["type"], &told["message"]), (&json!("Warning"), &json!(why)));
    Ok(())
}

#[tokio::test]
async fn two_autoscalers_of_the_same_pods_do_nothing() -> anyhow::Result<()> {
    let world = world(&["deployment-controller", "replicaset-controller"]).await?;
    world.create(DEPLOYMENTS, deployment("web", 2)).await?;
    run(&world, 2).await?;
    use_cpu(&world, "500m").await?;
    for name in ["a", "b"] {
        world.create(HPAS, hpa(name, "web", json!({"minReplicas": 2, "maxReplicas": 2}))).await?;
    }
    let message = until_reason(&world, "b", "ScalingActive", "AmbiguousSelector").await?;
    assert_eq!(message, "pods by selector app=web are controlled by multiple HPAs: [default/a default/b]");
    world.delete(&format!("{HPAS}/a")).await?;
    until_reason(&world, "b", "ScalingActive", "ValidMetricFound").await?;
    // One that is switched off is left alone.
    world.patch(WEB, json!({"spec": {"replicas": 0}})).await?;
    let message = until_reason(&world, "b", "ScalingActive", "ScalingDisabled").await?;
    assert_eq!(message, "scaling is disabled since the replica count of the target is zero");
    Ok(())
}

#[tokio::test]
async fn any_kind_with_a_scale_is_scaled() -> anyhow::Result<()> {
    let world = world(&[]).await?;
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}, "status": free,
    }}});
    let paths = json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema,
        "subresources": {"status": {}, "scale": paths}});
    let names = json!({"plural": "things", "kind": "Thing", "singular": "thing"});
    let spec = json!({"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]});
    world.define(json!({"metadata": {"name": "things.example.com"}, "spec": spec})).await?;
    let things = "/apis/example.com/v1/namespaces/default/things";
    let thing =
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"replicas": 5}});
    world.create(things, thing).await?;
    let target = json!({"apiVersion": "example.com/v1", "kind": "Thing", "name": "t"});
    world.create(HPAS, hpa("t", "t", json!({"scaleTargetRef": target, "maxReplicas": 3}))).await?;
    world.until(&format!("{things}/t"), |thing| thing["spec"]["replicas"] == 3).await?;
    let told = event(&world, "SuccessfulRescale").await?;
    assert_eq!(told["message"], "New size: 3; reason: Current number of replicas above Spec.MaxReplicas");
    // Nobody says which pods it has.
    let message = until_reason(&world, "t", "ScalingActive", "InvalidSelector").await?;
    assert_eq!(message, "the HPA target's scale is missing a selector");
    Ok(())
}
