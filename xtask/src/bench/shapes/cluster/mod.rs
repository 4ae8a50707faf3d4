//! Shapes of whole clusters: API server, controller manager and scheduler beside nodes without machines; each on a cluster of its
//! own that has nothing else to do.

mod autoscalers;
mod memory;
mod policies;
mod schedule;
mod services;
mod workloads;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::bench::launch::Launcher;
use crate::bench::report::Report;
use crate::bench::{Flags, objects};

/// Where everything is made.
const NAMESPACE: &str = "bench";

/// The shapes by name, in the order in which they run.
pub(crate) const NAMES: &[&str] = &[
    "deployment",
    "schedule",
    "job",
    "daemonset",
    "statefulsets",
    "autoscalers",
    "manager-memory",
    "services",
    "policies",
];

/// Those of them that change rules of packets, and run only where they are named.
pub(crate) const OF_PACKETS: &[&str] = &["services", "policies"];

/// Every shape that is wanted.
pub(crate) async fn run(launcher: &Launcher, flags: &Flags, report: &mut Report) -> anyhow::Result<()> {
    let sizes = &flags.cluster;
    for name in NAMES.iter().filter(|name| flags.wants(name)) {
        match *name {
            "deployment" => workloads::deployment(launcher, sizes, report).await?,
            "schedule" => {
                schedule::waiting(launcher, sizes, schedule::Pods::Plain, report).await?;
                schedule::waiting(launcher, sizes, schedule::Pods::Constrained, report).await?;
            }
            "job" => workloads::job(launcher, sizes, report).await?,
            "daemonset" => workloads::daemon_set(launcher, sizes, report).await?,
            "statefulsets" => workloads::stateful_sets(launcher, sizes, report).await?,
            name if OF_PACKETS.contains(&name) && flags.only.is_empty() => {}
            "services" => services::services(launcher, sizes, report).await?,
            "policies" => policies::policies(launcher, sizes, report).await?,
            "autoscalers" => autoscalers::autoscalers(launcher, sizes, report).await?,
            _ => memory::owned_pods(launcher, sizes, report).await?,
        }
    }
    Ok(())
}

/// The sizes of a cluster and of what is made in it.
#[derive(Debug, clap::Args)]
pub(crate) struct Sizes {
    /// Nodes of a cluster
    #[arg(long, default_value_t = 5_000)]
    nodes: usize,
    /// Replicas of the Deployment
    #[arg(long, default_value_t = 10_000)]
    replicas: usize,
    /// Pods that wait for the scheduler
    #[arg(long, default_value_t = 20_000)]
    waiting: usize,
    /// Those that wait and have constraints: each wants a node of its own
    #[arg(long, default_value_t = 4_000)]
    constrained: usize,
    /// Completions of the Job
    #[arg(long, default_value_t = 10_000)]
    completions: usize,
    /// How many of them at once
    #[arg(long, default_value_t = 500)]
    parallelism: usize,
    /// StatefulSets of three
    #[arg(long, default_value_t = 1_000)]
    stateful_sets: usize,
    /// HorizontalPodAutoscalers
    #[arg(long, default_value_t = 1_000)]
    autoscalers: usize,
    /// For how long their costs are counted
    #[arg(long, default_value_t = 60)]
    autoscaler_seconds: u64,
    /// Services of the proxy
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// Network policies
    #[arg(long, default_value_t = 100)]
    policies: usize,
    /// Pods that they are about
    #[arg(long, default_value_t = 1_000)]
    policy_pods: usize,
    /// Pods that the controller manager has in memory
    #[arg(long, default_value_t = 50_000)]
    owned_pods: usize,
}

/// The collection of a resource of `apps/v1`, or another group's version.
fn collection(group_version: &str, resource: &str) -> String {
    format!("/apis/{group_version}/namespaces/{NAMESPACE}/{resource}")
}

/// A workload of this many pods; what else its spec says is added.
fn workload(kind: &str, name: &str, more: Value) -> Value {
    let mut workload = json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": objects::pod_template(name)},
    });
    if let (Some(spec), Value::Object(more)) = (workload["spec"].as_object_mut(), more) {
        spec.extend(more);
    }
    workload
}

fn body(object: &Value) -> Bytes {
    object.to_string().into()
}
