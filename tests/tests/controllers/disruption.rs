//! Disruption budgets say how many pods may be evicted, and evictions keep to that. The tests are the kubelet, and the
//! workloads' controllers.

use http::Method;
use serde_json::{Value, json};

use crate::world::World;

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

async fn world() -> anyhow::Result<World> {
    let world = World::with(&["disruption-controller", "serviceaccount-controller"]).await?;
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    Ok(world)
}

/// A pod that runs and is ready; `owner` is the object that controls it.
async fn pod(world: &World, name: &str, owner: Option<(&str, &Value)>) -> anyhow::Result<()> {
    let references: Vec<Value> = owner
        .iter()
        .map(|(api, owner)| {
            let (kind, meta) = (&owner["kind"], &owner["metadata"]);
            json!({"apiVersion": api, "kind": kind, "name": meta["name"], "uid": meta["uid"], "controller": true})
        })
        .collect();
    let pod = json!({
        "metadata": {"name": name, "labels": {"app": "web"}, "ownerReferences": references},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false},
    });
    world.create(PODS, pod).await?;
    ready(world, name, "True").await
}

async fn ready(world: &World, name: &str, status: &str) -> anyhow::Result<()> {
    let condition = json!({"type": "Ready", "status": status});
    let patch = json!({"status": {"phase": "Running", "conditions": [condition]}});
    world.patch(&format!("{PODS}/{name}/status"), patch).await?;
    Ok(())
}

async fn budget(world: &World, spec: Value) -> anyhow::Result<()> {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    world.create(BUDGETS, json!({"metadata": {"name": "b"}, "spec": spec})).await?;
    Ok(())
}

/// Waits until the budget says: healthy, desired, expected, allowed.
async fn says(world: &World, numbers: [i64; 4]) -> anyhow::Result<Value> {
    let wanted = |now: &Value| {
        let s = &now["status"];
        let got = ["currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"].map(|of| s[of].as_i64());
        let condition = &s["conditions"][0];
        let (value, reason) = if numbers[3] > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        got == numbers.map(Some)
            && s["observedGeneration"] == now["metadata"]["generation"]
            && condition["status"] == value
            && condition["reason"] == reason
    };
    world.until(&format!("{BUDGETS}/b"), wanted).await
}

async fn evict(world: &World, name: &str) -> anyhow::Result<u16> {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    Ok(world.admin.send(Method::POST, &format!("{PODS}/{name}/eviction"), Some(&eviction)).await?.code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_keep_to_the_budget_of_a_workload() -> anyhow::Result<()> {
    let world = world().await?;
    budget(&world, json!({"maxUnavailable": "34%"})).await?;
    says(&world, [0, 0, 0, 0]).await?;
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 3, "selector": {"matchLabels": labels}, "template": template});
    let set = world.create(SETS, json!({"metadata": {"name": "web"}, "spec": spec})).await?;
    for name in ["a", "b", "c"] {
        pod(&world, name, Some(("apps/v1", &set))).await?;
    }
    says(&world, [3, 1, 3, 2]).await?;
    ready(&world, "c", "False").await?;
    says(&world, [2, 1, 3, 1]).await?;
    assert_eq!(evict(&world, "a").await?, 201);
    says(&world, [1, 1, 3, 0]).await?;
    assert_eq!(evict(&world, "b").await?, 429);
    ready(&world, "c", "True").await?;
    says(&world, [2, 1, 3, 1]).await?;
    // Its owner wants more: the share is of more.
    world.patch(&format!("{SETS}/web"), json!({"spec": {"replicas": 10}})).await?;
    world.delete(&format!("{PODS}/a?gracePeriodSeconds=0")).await?;
    says(&world, [2, 6, 10, 0]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_workload_with_a_scale_has_a_size() -> anyhow::Result<()> {
    let world = world().await?;
    let definition = |plural: &str, kind: &str, subresources: Value| {
        let version = json!({
            "name": "v1", "served": true, "storage": true, "subresources": subresources,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        });
        let names =
            json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")});
        json!({
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
        })
    };
    let scale = json!({"scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}});
    world.define(definition("farms", "Farm", scale)).await?;
    world.define(definition("shacks", "Shack", json!({}))).await?;
    let make = |plural: &'static str, kind: &'static str| {
        let object =
            json!({"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": "x"}, "spec": {"replicas": 4}});
        let world = &world;
        async move { world.create(&format!("/apis/example.com/v1/namespaces/default/{plural}"), object).await }
    };
    let farm = make("farms", "Farm").await?;
    pod(&world, "a", Some(("example.com/v1", &farm))).await?;
    budget(&world, json!({"minAvailable": "25%"})).await?;
    says(&world, [1, 1, 4, 0]).await?;
    pod(&world, "b", Some(("example.com/v1", &farm))).await?;
    says(&world, [2, 1, 4, 1]).await?;
    // One without a scale: nothing can be said, and nothing is allowed.
    let shack = make("shacks", "Shack").await?;
    pod(&world, "c", Some(("example.com/v1", &shack))).await?;
    let why = "shacks.example.com does not implement the scale subresource";
    let failed = |now: &Value| {
        let condition = &now["status"]["conditions"][0];
        now["status"]["disruptionsAllowed"] == 0 && condition["reason"] == "SyncFailed" && condition["message"] == why
    };
    world.until(&format!("{BUDGETS}/b"), failed).await?;
    let told = |event: &Value| {
        event["message"] == format!("Failed to calculate the number of expected pods: {why}")
            && event["reason"] == "CalculateExpectedPodCountFailed"
            && event["source"]["component"] == "controllermanager"
    };
    world.any("/api/v1/namespaces/default/events", "involvedObject.kind%3DPodDisruptionBudget", told).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_nobody_have_no_share() -> anyhow::Result<()> {
    let world = world().await?;
    pod(&world, "a", None).await?;
    budget(&world, json!({"maxUnavailable": 1})).await?;
    says(&world, [1, 0, 0, 0]).await?;
    let told = |event: &Value| {
        let message = event["message"].as_str().unwrap_or_default();
        event["reason"] == "UnmanagedPods"
            && message.contains("(selector: &LabelSelector{MatchLabels:map[string]string{app: web,},")
    };
    world.any("/api/v1/namespaces/default/events", "involvedObject.kind%3DPodDisruptionBudget", told).await?;
    world.patch(&format!("{BUDGETS}/b"), json!({"spec": {"maxUnavailable": null, "minAvailable": 0}})).await?;
    says(&world, [1, 0, 1, 1]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disruption_that_never_came_is_taken_back() -> anyhow::Result<()> {
    let world = world().await?;
    pod(&world, "a", None).await?;
    let path = format!("{PODS}/a");
    let target = |now: &Value| {
        let conditions = now["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|c| c["type"] == "DisruptionTarget").unwrap_or_default()
    };
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "evicted",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    world.patch(&format!("{path}/status"), json!({"status": {"conditions": [condition]}})).await?;
    let now = world.until(&path, |now| target(now)["status"] == "False").await?;
    let condition = target(&now);
    assert_eq!((&condition["reason"], &condition["message"]), (&Value::Null, &Value::Null));
    assert_ne!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
    Ok(())
}
