//! The same of what is no workload: endpoints, volumes, claims for devices, namespaces, what is owned, nodes.

use anyhow::{Context, ensure};
use controller_manager::Config;
use serde_json::{Value, json};

use super::{CLAIMS, NODES, PODS, at_each_write, at_each_write_with, exactly, nodes};
use crate::world::World;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const DEVICE_CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const TEMPLATES: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";

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
