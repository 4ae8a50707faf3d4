//! What the controller manager holds: pods that belong to ReplicaSets of Deployments, and run.
//!
//! The generator makes all of them itself, before the controllers start, as they would have been made: making them by
//! controllers whose clients are throttled takes the better part of an hour.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::{NAMESPACE, Sizes, body, collection, workload};
use crate::bench::cluster::{Cluster, PATIENCE};
use crate::bench::launch::{Launcher, Part};
use crate::bench::nodes::{Conduct, Setup, node_name};
use crate::bench::objects;
use crate::bench::report::{Report, bytes, count};

/// In which time the manager packs what it has read while it began, and reads no more (`docs/decisions/010`).
const REST: Duration = Duration::from_secs(40);
/// Pods of one Deployment.
const REPLICAS: usize = 100;
/// As if made of the template; whatever it is, the ReplicaSet and its pods have the same.
const HASH: &str = "7c9d6f5b84";

/// Memory of the controller manager once it has seen all pods and has nothing left to do.
pub(super) async fn owned_pods(launcher: &Launcher, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let (nodes, pods) = (sizes.nodes, sizes.owned_pods.next_multiple_of(REPLICAS));
    let setup = Setup { count: nodes, conduct: Conduct::Run, kubelets: false };
    let mut cluster = Cluster::start(launcher, setup, NAMESPACE).await?;
    make(&cluster, pods / REPLICAS, nodes).await?;
    cluster.nodes.until(PATIENCE, |p| p.reported >= pods).await?;
    cluster.settle().await?;
    let costs = cluster.begin();
    cluster.part(Part::Manager).await?;
    // It has seen all pods when it has counted them.
    let deployments = collection("apps/v1", "deployments");
    cluster.until(&deployments, pods / REPLICAS, |d| d["status"]["availableReplicas"] == REPLICAS).await?;
    cluster.settle().await?;
    tokio::time::sleep(REST).await;
    let manager = cluster.process("controller manager")?;
    let mut values = vec![bytes("resident", manager.resident()), bytes("peak", manager.peak())];
    // Pods that the controllers added or took away would show that they don't take these for theirs.
    let now = cluster.get(&format!("{}?limit=1", objects::pods(NAMESPACE))).await?;
    let others = now["metadata"]["remainingItemCount"].as_u64().unwrap_or_default() as usize;
    values.push(count("pods", others + 1));
    values.extend(cluster.costs(&costs));
    report.line(&launcher.name, &format!("controller manager with {pods} pods on {nodes} nodes"), values);
    Ok(())
}

/// Deployments, a ReplicaSet of each, and its pods.
async fn make(cluster: &Cluster<'_>, deployments: usize, nodes: usize) -> anyhow::Result<()> {
    let path = collection("apps/v1", "deployments");
    cluster.create(&path, deployments, |i| body(&deployment(i))).await?;
    let owners = uids(cluster, &path).await?;
    let path = collection("apps/v1", "replicasets");
    cluster.create(&path, deployments, |i| body(&replica_set(i, &owners[i]))).await?;
    let owners = uids(cluster, &path).await?;
    let pod = |i: usize| body(&pod(i, &owners[i / REPLICAS], &node_name(i % nodes)));
    cluster.create(&objects::pods(NAMESPACE), deployments * REPLICAS, pod).await
}

/// In the order of names, which is that of numbers.
async fn uids(cluster: &Cluster<'_>, path: &str) -> anyhow::Result<Vec<String>> {
    let list = cluster.get(path).await?;
    let items = list["items"].as_array().context("a list without items")?;
    let uid = |item: &Value| item["metadata"]["uid"].as_str().map(str::to_owned).context("an object without uid");
    items.iter().map(uid).collect()
}

fn name(i: usize) -> String {
    format!("web-{i:05}")
}

/// Every other one has a second container.
fn deployment(i: usize) -> Value {
    let mut deployment = workload("Deployment", &name(i), json!({"replicas": REPLICAS}));
    if i % 2 == 1 {
        let containers = deployment["spec"]["template"]["spec"]["containers"].as_array_mut();
        let second = json!({
            "name": "proxy", "image": "registry.example/proxy:3.1.0",
            "args": ["--upstream=127.0.0.1:8080", "--log-level=info"],
            "ports": [{"name": "proxy", "containerPort": 9090}],
            "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        });
        containers.into_iter().for_each(|containers| containers.push(second.clone()));
    }
    deployment
}

fn replica_set(i: usize, owner: &str) -> Value {
    let mut set = deployment(i);
    set["kind"] = "ReplicaSet".into();
    set["metadata"] = json!({
        "name": format!("{}-{HASH}", name(i)), "namespace": NAMESPACE,
        "labels": {"app": name(i), "app.kubernetes.io/part-of": "bench", "pod-template-hash": HASH},
        "annotations": {
            "deployment.kubernetes.io/desired-replicas": REPLICAS.to_string(),
            // A rolling update may have a quarter more.
            "deployment.kubernetes.io/max-replicas": REPLICAS.div_ceil(4).saturating_add(REPLICAS).to_string(),
            "deployment.kubernetes.io/revision": "1",
        },
        "ownerReferences": [owned("apps/v1", "Deployment", &name(i), owner)],
    });
    set["spec"]["selector"]["matchLabels"]["pod-template-hash"] = HASH.into();
    set["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] = HASH.into();
    set
}

fn pod(i: usize, owner: &str, node: &str) -> Value {
    let set = i / REPLICAS;
    let set_name = format!("{}-{HASH}", name(set));
    let mut pod = replica_set(set, "")["spec"]["template"].take();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = format!("{set_name}-{:05}", i % REPLICAS).into();
    pod["metadata"]["generateName"] = format!("{set_name}-").into();
    pod["metadata"]["ownerReferences"] = json!([owned("apps/v1", "ReplicaSet", &set_name, owner)]);
    pod["spec"]["nodeName"] = node.into();
    pod
}

fn owned(version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": true,
    })
}
