//! `/stats/summary` and `/metrics`. Upstream: pkg/kubelet/server/stats.

use crate::{cri::labels, node::machine, node_agent::Agent, pod, qos};
use axum::{
    Json, Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use proto::cri;
use serde_json::{Value, json};
use std::{collections::HashMap, fmt::Write, sync::Arc};

pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new()
        .route("/stats/summary", get(summary))
        .route("/metrics", get(metrics))
        .route("/metrics/resource", get(resource))
}

fn time(ns: i64) -> String {
    let at = Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_else(|_| Timestamp::now());
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn value(value: &Option<cri::UInt64Value>) -> u64 {
    value.as_ref().map_or(0, |v| v.value)
}

fn file_system(disk: machine::Disk, now: &str) -> Value {
    json!({"time": now, "availableBytes": disk.available, "capacityBytes": disk.capacity, "usedBytes": disk.capacity.saturating_sub(disk.available),
        "inodesFree": disk.inodes_free, "inodes": disk.inodes, "inodesUsed": disk.inodes.saturating_sub(disk.inodes_free)})
}

async fn summary(State(agent): State<Arc<Agent>>) -> Json<Value> {
    let now = time(agent.clock.now().as_nanosecond() as i64);
    let disk = agent.gauges.disk(&agent.config.root_dir).unwrap_or_default();
    let machine::Memory { total, available } = agent.gauges.memory();
    let usage = agent.cgroups.node_usage();
    let mut by_pod: HashMap<String, Vec<Value>> = HashMap::new();
    for stats in agent.runtime.container_stats().await.unwrap_or_default() {
        let attributes = stats.attributes.unwrap_or_default();
        let (Some(uid), Some(name)) =
            (attributes.labels.get(labels::POD_UID), attributes.labels.get(labels::CONTAINER_NAME))
        else {
            continue;
        };
        let (cpu, memory, layer) =
            (stats.cpu.unwrap_or_default(), stats.memory.unwrap_or_default(), stats.writable_layer.unwrap_or_default());
        by_pod.entry(uid.clone()).or_default().push(json!({
            "name": name, "startTime": now,
            "cpu": {"time": time(cpu.timestamp), "usageNanoCores": value(&cpu.usage_nano_cores), "usageCoreNanoSeconds": value(&cpu.usage_core_nano_seconds)},
            "memory": {"time": time(memory.timestamp), "workingSetBytes": value(&memory.working_set_bytes), "usageBytes": value(&memory.usage_bytes),
                "rssBytes": value(&memory.rss_bytes), "pageFaults": value(&memory.page_faults), "majorPageFaults": value(&memory.major_page_faults)},
            "rootfs": {"time": time(layer.timestamp), "usedBytes": value(&layer.used_bytes), "inodesUsed": value(&layer.inodes_used),
                "availableBytes": disk.available, "capacityBytes": disk.capacity},
        }));
    }
    let pods: Vec<Value> = agent.all_pods().into_iter().filter_map(|p| {
        let containers = by_pod.remove(pod::uid(&p))?;
        let used = agent.cgroups.usage(qos::class(&p), pod::uid(&p));
        Some(json!({
            "podRef": {"name": pod::name(&p), "namespace": pod::namespace(&p), "uid": pod::uid(&p)},
            "startTime": p.status.as_ref().and_then(|s| s.start_time.clone()),
            "containers": containers,
            "cpu": {"time": now, "usageCoreNanoSeconds": used.cpu_ns},
            "memory": {"time": now, "usageBytes": used.memory_bytes, "workingSetBytes": used.working_set_bytes, "rssBytes": used.rss_bytes},
        }))
    }).collect();
    Json(json!({
        "node": {
            "nodeName": agent.config.node_name, "startTime": agent.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "cpu": {"time": now, "usageCoreNanoSeconds": usage.cpu_ns},
            "memory": {"time": now, "availableBytes": available, "usageBytes": total - available, "workingSetBytes": total - available, "rssBytes": usage.rss_bytes},
            "fs": file_system(disk, &now), "runtime": {"imageFs": file_system(disk, &now)},
        },
        "pods": pods,
    }))
}

const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

async fn metrics(State(agent): State<Arc<Agent>>) -> Response {
    let containers = agent.runtime.list_containers(None).await.unwrap_or_default();
    let running = containers.iter().filter(|c| c.state() == cri::ContainerState::ContainerRunning).count();
    let exited = containers.iter().filter(|c| c.state() == cri::ContainerState::ContainerExited).count();
    let pods = agent.all_pods();
    let mut text = String::new();
    let _ = write!(
        text,
        "# HELP kubelet_node_name The node's name. The count is always 1.\n# TYPE kubelet_node_name gauge\nkubelet_node_name{{node=\"{}\"}} 1\n\
         # HELP kubelet_running_containers Number of containers currently running\n# TYPE kubelet_running_containers gauge\n\
         kubelet_running_containers{{container_state=\"running\"}} {running}\nkubelet_running_containers{{container_state=\"exited\"}} {exited}\n\
         # HELP kubelet_running_pods Number of pods that have a running pod sandbox\n# TYPE kubelet_running_pods gauge\nkubelet_running_pods {}\n\
         # HELP kubelet_desired_pods The number of pods the kubelet is being instructed to run\n# TYPE kubelet_desired_pods gauge\nkubelet_desired_pods{{static=\"\"}} {}\n",
        agent.config.node_name,
        pods.iter().filter(|p| pod::phase(p) == "Running").count(),
        pods.len(),
    );
    text.push_str(&agent.terminations.metrics());
    text.push_str(&component::supervisor::metrics());
    (TEXT, text).into_response()
}

async fn resource(State(agent): State<Arc<Agent>>) -> Response {
    let mut text = String::from(
        "# TYPE container_cpu_usage_seconds_total counter\n# TYPE container_memory_working_set_bytes gauge\n",
    );
    for stats in agent.runtime.container_stats().await.unwrap_or_default() {
        let attributes = stats.attributes.unwrap_or_default();
        let label = |key: &str| attributes.labels.get(key).cloned().unwrap_or_default();
        let names = format!(
            "container=\"{}\",namespace=\"{}\",pod=\"{}\"",
            label(labels::CONTAINER_NAME),
            label(labels::POD_NAMESPACE),
            label(labels::POD_NAME)
        );
        let (cpu, memory) = (stats.cpu.unwrap_or_default(), stats.memory.unwrap_or_default());
        let _ = writeln!(
            text,
            "container_cpu_usage_seconds_total{{{names}}} {} {}",
            value(&cpu.usage_core_nano_seconds) as f64 / 1e9,
            cpu.timestamp / 1_000_000
        );
        let _ = writeln!(
            text,
            "container_memory_working_set_bytes{{{names}}} {} {}",
            value(&memory.working_set_bytes),
            memory.timestamp / 1_000_000
        );
    }
    let usage = agent.cgroups.node_usage();
    let memory = agent.gauges.memory();
    let _ = writeln!(
        text,
        "# TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total {}",
        usage.cpu_ns as f64 / 1e9
    );
    let _ = writeln!(
        text,
        "# TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes {}",
        memory.total - memory.available
    );
    (TEXT, text).into_response()
}
