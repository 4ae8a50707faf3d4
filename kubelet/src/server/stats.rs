//! `/stats/summary` and `/metrics`. Upstream: pkg/kubelet/server/stats.

use crate::{cri::labels, node::machine, node_agent::Agent, pod, qos};
use axum::{
    Json, Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use component::metrics::{CONTENT_TYPE, Text};
use jiff::Timestamp;
use proto::cri;
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

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

async fn metrics(State(agent): State<Arc<Agent>>) -> Response {
    let containers = agent.runtime.list_containers(None).await.unwrap_or_default();
    let count = |state| containers.iter().filter(|c| c.state() == state).count() as f64;
    let pods = agent.all_pods();
    let mut out = Text::default();
    let name = "kubelet_node_name";
    out.head(name, "[ALPHA] The node's name. The count is always 1.", "gauge");
    out.line(name, &["node"], &[&agent.config.node_name], 1.0);
    let name = "kubelet_running_containers";
    out.head(name, "[ALPHA] Number of containers currently running", "gauge");
    out.line(name, &["container_state"], &["running"], count(cri::ContainerState::ContainerRunning));
    out.line(name, &["container_state"], &["exited"], count(cri::ContainerState::ContainerExited));
    let name = "kubelet_running_pods";
    out.head(name, "[ALPHA] Number of pods that have a running pod sandbox", "gauge");
    out.line(name, &[], &[], pods.iter().filter(|p| pod::phase(p) == "Running").count() as f64);
    let name = "kubelet_desired_pods";
    out.head(
        name,
        "[ALPHA] The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.",
        "gauge",
    );
    out.line(name, &["static"], &[""], pods.len() as f64);
    agent.terminations.metrics(&mut out);
    text(out.finish() + &component::supervisor::metrics())
}

/// What containers use: each metric with the lines of all of them, of the time of their measurement.
fn containers(out: &mut Text, stats: &[cri::ContainerStats]) {
    let mut family = |name: &str, help: &str, kind: &str, measured: fn(&cri::ContainerStats) -> (f64, i64)| {
        out.head(name, help, kind);
        for stats in stats {
            let labels = stats.attributes.as_ref().map(|attributes| &attributes.labels);
            let label = |key: &str| labels.and_then(|labels| labels.get(key)).map_or("", String::as_str);
            let values = [label(labels::CONTAINER_NAME), label(labels::POD_NAMESPACE), label(labels::POD_NAME)];
            let (value, at_ns) = measured(stats);
            out.line_at(name, &["container", "namespace", "pod"], &values, value, at_ns / 1_000_000);
        }
    };
    let help = "[STABLE] Cumulative cpu time consumed by the container in core-seconds";
    family("container_cpu_usage_seconds_total", help, "counter", |stats| {
        let used = |cpu: &cri::CpuUsage| (value(&cpu.usage_core_nano_seconds) as f64 / 1e9, cpu.timestamp);
        stats.cpu.as_ref().map_or_else(Default::default, used)
    });
    let help = "[STABLE] Current working set of the container in bytes";
    family("container_memory_working_set_bytes", help, "gauge", |stats| {
        let used = |memory: &cri::MemoryUsage| (value(&memory.working_set_bytes) as f64, memory.timestamp);
        stats.memory.as_ref().map_or_else(Default::default, used)
    });
}

async fn resource(State(agent): State<Arc<Agent>>) -> Response {
    let mut out = Text::default();
    containers(&mut out, &agent.runtime.container_stats().await.unwrap_or_default());
    let name = "node_cpu_usage_seconds_total";
    out.head(name, "[STABLE] Cumulative cpu time consumed by the node in core-seconds", "counter");
    out.line(name, &[], &[], agent.cgroups.node_usage().cpu_ns as f64 / 1e9);
    let memory = agent.gauges.memory();
    let name = "node_memory_working_set_bytes";
    out.head(name, "[STABLE] Current working set of the node in bytes", "gauge");
    out.line(name, &[], &[], (memory.total - memory.available) as f64);
    text(out.finish())
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_the_lines_of_all_containers_together() {
        let stats = |name: &str, used: u64| cri::ContainerStats {
            attributes: Some(cri::ContainerAttributes {
                labels: [(labels::CONTAINER_NAME.to_owned(), name.to_owned())].into(),
                ..Default::default()
            }),
            cpu: Some(cri::CpuUsage {
                timestamp: 7_000_000,
                usage_core_nano_seconds: Some(cri::UInt64Value { value: used * 500_000_000 }),
                ..Default::default()
            }),
            memory: Some(cri::MemoryUsage {
                timestamp: 8_000_000,
                working_set_bytes: Some(cri::UInt64Value { value: used << 20 }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut out = Text::default();
        containers(&mut out, &[stats("a", 1), stats("b", 2)]);
        let expect = "\
# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container=\"a\",namespace=\"\",pod=\"\"} 0.5 7
container_cpu_usage_seconds_total{container=\"b\",namespace=\"\",pod=\"\"} 1 7
# HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container=\"a\",namespace=\"\",pod=\"\"} 1.048576e+06 8
container_memory_working_set_bytes{container=\"b\",namespace=\"\",pod=\"\"} 2.097152e+06 8
";
        assert_eq!(out.finish(), expect);
    }
}
