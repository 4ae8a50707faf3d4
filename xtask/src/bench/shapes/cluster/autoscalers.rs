//! Autoscalers that have nothing to change: what it costs to look, every 15 seconds.

use std::time::Duration;

use serde_json::{Value, json};

use super::{NAMESPACE, Sizes, body, collection, workload};
use crate::bench::cluster::{Cluster, PATIENCE};
use crate::bench::launch::{Launcher, Part};
use crate::bench::nodes::{Conduct, Setup};
use crate::bench::report::{Report, count, percent};

/// Pods of one node, which is asked what they use.
const PER_NODE: usize = 100;
/// Turns that are over before costs are counted: the first ones write statuses.
const WARM_UP: Duration = Duration::from_secs(45);

/// CPU of the controller manager with autoscalers, beyond what it uses with the same pods and without.
pub(super) async fn autoscalers(launcher: &Launcher, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let (many, time) = (sizes.autoscalers, Duration::from_secs(sizes.autoscaler_seconds));
    let setup = Setup { count: many.div_ceil(PER_NODE), conduct: Conduct::Run, kubelets: true };
    let mut cluster = Cluster::start(launcher, setup, NAMESPACE).await?;
    cluster.settled(&[Part::Manager, Part::Scheduler]).await?;
    let name = |i: usize| format!("web-{i:05}");
    let deployments = collection("apps/v1", "deployments");
    cluster.create(&deployments, many, |i| body(&workload("Deployment", &name(i), json!({"replicas": 1})))).await?;
    cluster.nodes.until(PATIENCE, |p| p.reported >= many).await?;
    cluster.until(&deployments, many, |d| d["status"]["availableReplicas"] == 1).await?;
    cluster.settle().await?;

    let manager = cluster.process("controller manager")?;
    let over = async |time: Duration| {
        let before = manager.cpu();
        tokio::time::sleep(time).await;
        manager.cpu().saturating_sub(before).as_secs_f64() / time.as_secs_f64() * 100.0
    };
    let idle = over(time).await;

    let path = collection("autoscaling/v2", "horizontalpodautoscalers");
    cluster.create(&path, many, |i| body(&autoscaler(&name(i)))).await?;
    cluster.until(&path, many, computes).await?;
    tokio::time::sleep(WARM_UP).await;
    let costs = cluster.begin();
    let busy = over(time).await;
    let mut values = vec![percent("manager beyond idle", busy - idle), percent("manager idle", idle)];
    values.extend(cluster.costs(&costs));
    // Those that could not have computed are told, for they cost less.
    let list = cluster.get(&path).await?;
    let compute = list["items"].as_array().map_or(0, |all| all.iter().filter(|a| computes(a)).count());
    values.push(count("autoscalers that compute", compute));
    report.line(&launcher.name, &format!("{many} HorizontalPodAutoscalers"), values);
    Ok(())
}

/// Of a workload that uses half of what it asks for, as is wanted.
fn autoscaler(name: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1, "maxReplicas": 10,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
            }}],
        },
    })
}

/// It knows what its pods use.
fn computes(autoscaler: &Value) -> bool {
    let status = &autoscaler["status"];
    let active = |c: &Value| c["type"] == "ScalingActive" && c["status"] == "True";
    status["conditions"].as_array().is_some_and(|all| all.iter().any(active))
        && status["currentMetrics"][0]["resource"]["current"]["averageUtilization"].is_u64()
}
