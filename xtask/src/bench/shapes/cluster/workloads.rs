//! Workloads, from their creation until all that they ask for is there.

use anyhow::Context;
use serde_json::{Value, json};

use super::{NAMESPACE, Sizes, body, collection, workload};
use crate::bench::cluster::{Cluster, PATIENCE};
use crate::bench::launch::{Launcher, Part};
use crate::bench::nodes::{Conduct, Setup};
use crate::bench::objects;
use crate::bench::report::{Report, count, seconds};

const PARTS: &[Part] = &[Part::Manager, Part::Scheduler];

async fn cluster<'l>(launcher: &'l Launcher, nodes: usize, conduct: Conduct) -> anyhow::Result<Cluster<'l>> {
    let setup = Setup { count: nodes, conduct, kubelets: false };
    let mut cluster = Cluster::start(launcher, setup, NAMESPACE).await?;
    cluster.settled(PARTS).await?;
    Ok(cluster)
}

/// One Deployment: until its last pod is bound, and until all run.
pub(super) async fn deployment(launcher: &Launcher, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let (nodes, replicas) = (sizes.nodes, sizes.replicas);
    let mut cluster = cluster(launcher, nodes, Conduct::Run).await?;
    let costs = cluster.begin();
    let deployment = workload("Deployment", "web", json!({"replicas": replicas}));
    cluster.create(&collection("apps/v1", "deployments"), 1, |_| body(&deployment)).await?;
    let progress = cluster.nodes.until(PATIENCE, |p| p.bound >= replicas && p.reported >= replicas).await?;
    let since = |at: Option<std::time::Instant>| at.map(|at| at.duration_since(costs.begin)).unwrap_or_default();
    let mut values =
        vec![seconds("all bound", since(progress.last_bound)), seconds("all running", since(progress.last_reported))];
    values.extend(cluster.costs(&costs));
    report.line(&launcher.name, &format!("Deployment of {replicas} pods on {nodes} nodes"), values);
    Ok(())
}

/// One Job whose pods end as soon as they are bound: until it is complete.
pub(super) async fn job(launcher: &Launcher, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let (completions, parallelism) = (sizes.completions, sizes.parallelism);
    let mut cluster = cluster(launcher, sizes.nodes, Conduct::Succeed).await?;
    let mut template = objects::pod_template("job");
    template["spec"]["restartPolicy"] = "Never".into();
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job", "namespace": NAMESPACE},
        "spec": {
            "completions": completions, "parallelism": parallelism, "completionMode": "Indexed", "template": template,
        },
    });
    let costs = cluster.begin();
    let jobs = collection("batch/v1", "jobs");
    cluster.create(&jobs, 1, |_| body(&job)).await?;
    let is_complete = |job: &Value| {
        let conditions = job["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Complete" && c["status"] == "True"))
    };
    let complete = cluster.until(&jobs, 1, is_complete).await?;
    let mut values = vec![seconds("complete", complete.duration_since(costs.begin))];
    values.extend(cluster.costs(&costs));
    let status = cluster.get(&format!("{jobs}/job")).await?["status"].take();
    let succeeded = status["succeeded"].as_u64().context("a complete Job without successes")?;
    values.push(count("succeeded", succeeded as usize));
    values.push(count("indexes", indexes(status["completedIndexes"].as_str().unwrap_or_default())));
    values.push(count("pods made", cluster.nodes.progress().bound));
    report.line(&launcher.name, &format!("Job of {completions} completions, {parallelism} at once"), values);
    Ok(())
}

/// How many indexes ranges like `0-4,6` name.
fn indexes(ranges: &str) -> usize {
    let number = |text: &str| text.parse::<usize>().unwrap_or_default();
    let size = |range: &str| match range.split_once('-') {
        Some((first, last)) => number(last) + 1 - number(first),
        None => 1,
    };
    ranges.split(',').filter(|range| !range.is_empty()).map(size).sum()
}

/// One DaemonSet: until it is available on every node.
pub(super) async fn daemon_set(launcher: &Launcher, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let nodes = sizes.nodes;
    let mut cluster = cluster(launcher, nodes, Conduct::Run).await?;
    let costs = cluster.begin();
    let (sets, set) = (collection("apps/v1", "daemonsets"), workload("DaemonSet", "agent", json!({})));
    cluster.create(&sets, 1, |_| body(&set)).await?;
    let available = cluster.until(&sets, 1, |set| set["status"]["numberAvailable"] == nodes).await?;
    let mut values = vec![seconds("all available", available.duration_since(costs.begin))];
    values.extend(cluster.costs(&costs));
    report.line(&launcher.name, &format!("DaemonSet on {nodes} nodes"), values);
    Ok(())
}

/// Many small StatefulSets whose pods need not wait for each other: until all are ready.
pub(super) async fn stateful_sets(launcher: &Launcher, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    const REPLICAS: usize = 3;
    let sets = sizes.stateful_sets;
    let mut cluster = cluster(launcher, sizes.nodes, Conduct::Run).await?;
    let costs = cluster.begin();
    let path = collection("apps/v1", "statefulsets");
    let set = |i| {
        let more = json!({"replicas": REPLICAS, "serviceName": "db", "podManagementPolicy": "Parallel"});
        body(&workload("StatefulSet", &format!("db-{i:05}"), more))
    };
    cluster.create(&path, sets, set).await?;
    let ready = cluster.until(&path, sets, |set| set["status"]["readyReplicas"] == REPLICAS).await?;
    let mut values = vec![seconds("all ready", ready.duration_since(costs.begin))];
    values.extend(cluster.costs(&costs));
    report.line(&launcher.name, &format!("{sets} StatefulSets of {REPLICAS}"), values);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::indexes;

    #[test]
    fn indexes_are_counted_by_ranges() {
        assert_eq!(["", "3", "0-9999", "0-4,6,8-9"].map(indexes), [0, 1, 10_000, 8]);
    }
}
