//! Quotas say what is used of what they limit, also where nobody asked them before, and give back what goes.

use http::Method;
use serde_json::{Value, json};

use crate::world::World;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CONTROLLERS: &[&str] = &["resourcequota-controller", "serviceaccount-controller"];

async fn world() -> anyhow::Result<World> {
    let world = World::with(CONTROLLERS).await?;
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    Ok(world)
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}],
        },
    })
}

/// Makes a quota and waits until everything that it limits is counted.
async fn quota(world: &World, name: &str, mut spec: Value, hard: Value) -> anyhow::Result<Value> {
    spec["hard"] = hard.clone();
    world.create(QUOTAS, json!({"metadata": {"name": name}, "spec": spec})).await?;
    let path = format!("{QUOTAS}/{name}");
    let counted = |now: &Value| {
        let names = |of: &Value| of.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>());
        now["status"]["hard"] == hard && names(&now["status"]["used"]) == names(&hard)
    };
    Ok(world.until(&path, counted).await?["status"]["used"].clone())
}

async fn used(world: &World, name: &str, want: Value) -> anyhow::Result<()> {
    world.until(&format!("{QUOTAS}/{name}"), |now| now["status"]["used"] == want).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_pods_used_is_free_when_they_end_and_when_they_go() -> anyhow::Result<()> {
    let world = world().await?;
    let hard = json!({"count/pods": "9", "pods": "2", "requests.cpu": "1"});
    let none = quota(&world, "q", json!({}), hard).await?;
    assert_eq!(none, json!({"count/pods": "0", "pods": "0", "requests.cpu": "0"}));
    for name in ["a", "b"] {
        world.create(PODS, pod(name, "300m")).await?;
    }
    used(&world, "q", json!({"count/pods": "2", "pods": "2", "requests.cpu": "600m"})).await?;
    let refused = world.admin.send(Method::POST, PODS, Some(&pod("c", "300m"))).await?;
    assert_eq!(refused.code, 403, "{}", refused.body);
    world.patch(&format!("{PODS}/a/status"), json!({"status": {"phase": "Succeeded"}})).await?;
    used(&world, "q", json!({"count/pods": "2", "pods": "1", "requests.cpu": "300m"})).await?;
    world.create(PODS, pod("c", "700m")).await?;
    world.delete(&format!("{PODS}/a?gracePeriodSeconds=0")).await?;
    used(&world, "q", json!({"count/pods": "2", "pods": "2", "requests.cpu": "1"})).await?;
    for name in ["b", "c"] {
        world.delete(&format!("{PODS}/{name}?gracePeriodSeconds=0")).await?;
    }
    used(&world, "q", json!({"count/pods": "0", "pods": "0", "requests.cpu": "0"})).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_counts_what_was_there_before_it() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.start(CONTROLLERS);
    world.until("/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
    let class = json!({"metadata": {"name": "high"}, "value": 7});
    world.create("/apis/scheduling.k8s.io/v1/priorityclasses", class).await?;
    let mut high = pod("high", "1");
    high["spec"]["priorityClassName"] = json!("high");
    let mut ends = pod("ends", "2");
    ends["spec"]["activeDeadlineSeconds"] = json!(600);
    let mut best = pod("best", "4");
    best["spec"]["containers"][0]["resources"] = json!({});
    let mut near = pod("near", "8");
    let term = json!({"topologyKey": "zone", "namespaces": ["other"]});
    near["spec"]["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    for pod in [high, ends, best, near] {
        world.create(PODS, pod).await?;
    }
    let classed = json!({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]});
    let table = [
        ("all", json!({}), "4", "11"),
        ("high", json!({"scopeSelector": {"matchExpressions": [classed]}}), "1", "1"),
        ("ends", json!({"scopes": ["Terminating"]}), "1", "2"),
        ("stays", json!({"scopes": ["NotTerminating"]}), "3", "9"),
        ("asks", json!({"scopes": ["NotBestEffort"]}), "3", "11"),
        ("near", json!({"scopes": ["CrossNamespacePodAffinity"]}), "1", "8"),
    ];
    for (name, spec, pods, cpu) in table {
        let got = quota(&world, name, spec, json!({"pods": "9", "requests.cpu": "99"})).await?;
        assert_eq!(got, json!({"pods": pods, "requests.cpu": cpu}), "{name}");
    }
    let got = quota(&world, "best", json!({"scopes": ["BestEffort"]}), json!({"pods": "9"})).await?;
    assert_eq!(got, json!({"pods": "1"}));
    // Less than what is there: it says so, and nothing more is let in.
    let got = quota(&world, "small", json!({}), json!({"pods": "2"})).await?;
    assert_eq!(got, json!({"pods": "4"}));
    let refused = world.admin.send(Method::POST, PODS, Some(&pod("more", "0"))).await?;
    let why = "exceeded quota: small, requested: pods=1, used: pods=4, limited: pods=2";
    assert!(
        refused.code == 403 && refused.body["message"].as_str().is_some_and(|m| m.ends_with(why)),
        "{}",
        refused.body
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_claims_and_numbers_are_counted() -> anyhow::Result<()> {
    let world = world().await?;
    let core = |plural: &str| format!("/api/v1/namespaces/default/{plural}");
    let ranges = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/24"]}});
    world.create("/apis/networking.k8s.io/v1/servicecidrs", ranges).await?;
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": ports}});
    world.create(&core("services"), service).await?;
    let claim = |name: &str, class: Value| {
        json!({"metadata": {"name": name}, "spec": {
            "storageClassName": class, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }})
    };
    world.create(&core("persistentvolumeclaims"), claim("a", json!("gold"))).await?;
    world.create(&core("persistentvolumeclaims"), claim("b", json!(""))).await?;
    for name in ["a", "b", "c"] {
        world.create(&core("secrets"), json!({"metadata": {"name": name}})).await?;
    }
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let set = json!({"metadata": {"name": "r"}, "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}});
    world.create("/apis/apps/v1/namespaces/default/replicasets", set).await?;
    let hard = json!({
        "services": "9", "services.loadbalancers": "9", "services.nodeports": "9", "count/services": "9",
        "persistentvolumeclaims": "9", "requests.storage": "9Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "9", "gold.storageclass.storage.k8s.io/requests.storage": "9Gi",
        "secrets": "9", "count/secrets": "9", "count/replicasets.apps": "9", "resourcequotas": "9",
    });
    let got = quota(&world, "q", json!({}), hard).await?;
    let mut want = json!({
        "services": "1", "services.loadbalancers": "1", "services.nodeports": "2", "count/services": "1",
        "persistentvolumeclaims": "2", "requests.storage": "2Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi",
        "secrets": "3", "count/secrets": "3", "count/replicasets.apps": "1", "resourcequotas": "1",
    });
    assert_eq!(got, want);
    world.patch(&format!("{}/s", core("services")), json!({"spec": {"type": "ClusterIP"}})).await?;
    world.delete(&format!("{}/a", core("secrets"))).await?;
    world.delete("/apis/apps/v1/namespaces/default/replicasets/r").await?;
    for (name, left) in [
        ("services.loadbalancers", "0"),
        ("services.nodeports", "0"),
        ("secrets", "2"),
        ("count/secrets", "2"),
        ("count/replicasets.apps", "0"),
    ] {
        want[name] = json!(left);
    }
    used(&world, "q", want).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_in_the_scope_of_a_class_counts_the_claims_of_that_class() -> anyhow::Result<()> {
    let world = world().await?;
    let claim = |name: &str, class: &str| {
        json!({"metadata": {"name": name}, "spec": {
            "volumeAttributesClassName": class, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }})
    };
    for (name, class) in [("a", "gold"), ("b", "silver")] {
        world.create("/api/v1/namespaces/default/persistentvolumeclaims", claim(name, class)).await?;
    }
    let gold = json!({"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["gold"]});
    let spec = json!({"scopeSelector": {"matchExpressions": [gold]}});
    let got = quota(&world, "q", spec, json!({"persistentvolumeclaims": "9", "requests.storage": "9Gi"})).await?;
    assert_eq!(got, json!({"persistentvolumeclaims": "1", "requests.storage": "1Gi"}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_are_counted() -> anyhow::Result<()> {
    let world = world().await?;
    let version = json!({
        "name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    });
    let names = json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"});
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    });
    world.define(definition).await?;
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget = |name: &str| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}});
    world.create(widgets, widget("a")).await?;
    let got = quota(&world, "q", json!({}), json!({"count/widgets.example.com": "2"})).await?;
    assert_eq!(got, json!({"count/widgets.example.com": "1"}));
    world.create(widgets, widget("b")).await?;
    used(&world, "q", json!({"count/widgets.example.com": "2"})).await?;
    assert_eq!(world.admin.send(Method::POST, widgets, Some(&widget("c"))).await?.code, 403);
    world.delete(&format!("{widgets}/a")).await?;
    used(&world, "q", json!({"count/widgets.example.com": "1"})).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_not_served_nothing_is_said() -> anyhow::Result<()> {
    let world = world().await?;
    let hard = json!({"count/widgets.example.com": "2", "pods": "1"});
    world.create(QUOTAS, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await?;
    used(&world, "q", json!({"pods": "0"})).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_follows_the_spec_and_is_put_right_in_time() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    world.start_with(CONTROLLERS, |config| {
        config.resource_quota_sync_period = std::time::Duration::from_millis(200);
    });
    quota(&world, "q", json!({}), json!({"cpu": "500m", "memory": "500Mi"})).await?;
    let path = format!("{QUOTAS}/q");
    let now = world.patch(&path, json!({"spec": {"hard": {"cpu": "1", "memory": "1Gi", "pods": "3"}}})).await?;
    let hard = now["spec"]["hard"].clone();
    world.until(&path, |now| now["status"]["hard"] == hard && now["status"]["used"]["pods"] == "0").await?;
    // What somebody else writes there stays until everything is counted again.
    let wrong = json!({"status": {"hard": {"cpu": "2"}, "used": {"pods": "7"}}});
    world.patch(&format!("{path}/status"), wrong).await?;
    world.until(&path, |now| now["status"]["hard"] == hard && now["status"]["used"]["pods"] == "0").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_are_counted_as_the_extended_resources_that_their_class_stands_for() -> anyhow::Result<()> {
    const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let world = world().await?;
    let class = json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}});
    world.create("/apis/resource.k8s.io/v1/deviceclasses", class).await?;
    let claim = |name: &str, count: i64, mut metadata: Value| {
        let exactly = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count});
        metadata["name"] = json!(name);
        json!({"metadata": metadata, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}})
    };
    world.create(CLAIMS, claim("a", 1, json!({}))).await?;
    let mut gpus = pod("p", "1");
    let asked = json!({"example.com/gpu": "2"});
    gpus["spec"]["containers"][0]["resources"] = json!({"requests": asked, "limits": asked});
    world.create(PODS, gpus).await?;
    let uid = world.until(&format!("{PODS}/p"), |_| true).await?["metadata"]["uid"].clone();
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true});
    let metadata = json!({
        "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"}, "ownerReferences": [owner],
    });
    world.create(CLAIMS, claim("of-p", 2, metadata)).await?;
    let hard = json!({
        "requests.example.com/gpu": "9", "requests.deviceclass.resource.kubernetes.io/gpu": "9",
        "gpu.deviceclass.resource.k8s.io/devices": "9",
    });
    quota(&world, "q", json!({}), hard).await?;
    let of = |extended: &str, classes: &str| {
        json!({
            "requests.example.com/gpu": extended, "requests.deviceclass.resource.kubernetes.io/gpu": classes,
            "gpu.deviceclass.resource.k8s.io/devices": classes,
        })
    };
    used(&world, "q", of("3", "3")).await?;
    world.delete(&format!("{CLAIMS}/a")).await?;
    used(&world, "q", of("2", "2")).await
}
