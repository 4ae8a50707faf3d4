//! `/stats/summary`, `/metrics/resource` and `/metrics`. Upstream: pkg/kubelet/server/stats, and of the second
//! pkg/kubelet/metrics/collectors/resource_metrics.go.

use super::refuse;
use crate::{
    node_agent::Agent,
    pod,
    stats::{self, Summary, Time},
};
use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use component::metrics::{CONTENT_TYPE, Text};
use proto::cri;
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new()
        .route("/stats/summary", get(summary).post(summary))
        .route("/metrics", get(metrics))
        .route("/metrics/resource", get(resource))
}

async fn summary(State(agent): State<Arc<Agent>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let only = query.split('&').filter_map(|pair| pair.strip_prefix("only_cpu_and_memory=")).collect::<Vec<_>>();
    let made = if only == ["true"] { stats::cpu_and_memory(&agent).await } else { stats::everything(&agent).await };
    match made {
        Ok(summary) => Json(summary).into_response(),
        Err(error) => {
            tracing::error!(%error, "no summary of what is used");
            let message = format!("Internal Error: failed to list pod stats: {error}");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    }
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

async fn resource(State(agent): State<Arc<Agent>>) -> Response {
    let mut out = Text::default();
    let summary = stats::cpu_and_memory(&agent).await;
    match &summary {
        Ok(summary) => measured(&mut out, summary),
        Err(error) => tracing::error!(%error, "no summary of what is used, for the metrics of resources"),
    }
    let name = "resource_scrape_error";
    let help = "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise";
    out.head(name, help, "gauge");
    out.line(name, &[], &[], f64::from(u8::from(summary.is_err())));
    text(out.finish())
}

/// A value and when it was measured, where it was.
type Measured = Option<(f64, Option<Time>)>;

/// A measurement: the values of its labels, itself, when it was made.
type Line = (Vec<String>, f64, Option<Time>);

/// Each metric with the lines of all whom it is about, in upstream's order of names.
fn measured(out: &mut Text, summary: &Summary) {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let containers = |figure: &dyn Fn(&stats::Container) -> Measured| -> Vec<Line> {
        let all = summary.pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));
        let line = |(pod, container): (&stats::Pod, &stats::Container)| {
            let labels = vec![container.name.clone(), pod.pod_ref.namespace.clone(), pod.pod_ref.name.clone()];
            figure(container).map(|(value, at)| (labels, value, at))
        };
        all.filter_map(line).collect()
    };
    let pods = |figure: &dyn Fn(&stats::Pod) -> Measured| -> Vec<Line> {
        let labels = |pod: &stats::Pod| vec![pod.pod_ref.namespace.clone(), pod.pod_ref.name.clone()];
        summary.pods.iter().filter_map(|pod| figure(pod).map(|(value, at)| (labels(pod), value, at))).collect()
    };
    let node =
        |figure: Measured| -> Vec<Line> { figure.into_iter().map(|(value, at)| (Vec::new(), value, at)).collect() };
    let cpu = |used: &stats::Used| used.cpu.map(|cpu| (seconds(cpu.usage_core_nano_seconds), Some(cpu.time)));
    let memory = |used: &stats::Used| used.memory.map(|memory| (memory.working_set_bytes as f64, Some(memory.time)));
    let swap = |used: &stats::Used| used.swap.map(|swap| (swap.swap_usage_bytes as f64, Some(swap.time)));
    let limit = |used: &stats::Used| {
        let swap = used.swap?;
        Some(((swap.swap_available_bytes? + swap.swap_usage_bytes) as f64, Some(swap.time)))
    };
    let started = |c: &stats::Container| (c.start_time.0 > 0).then(|| (seconds(c.start_time.0 as u64), None));
    const OF_CONTAINER: &[&str] = &["container", "namespace", "pod"];
    const OF_POD: &[&str] = &["namespace", "pod"];
    const ELSEWHERE: &str = ". Reported only on non-windows systems";
    let of_node = &summary.node.used;
    let mut family = |name: &str, help: String, kind: &str, labels: &[&str], lines: Vec<Line>| {
        if !lines.is_empty() {
            out.head(name, &help, kind);
        }
        for (values, value, at) in lines {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            match at {
                Some(at) => out.line_at(name, labels, &values, value, at.0 / 1_000_000),
                None => out.line(name, labels, &values, value),
            }
        }
    };
    let help = "[STABLE] Cumulative cpu time consumed by the container in core-seconds".into();
    family("container_cpu_usage_seconds_total", help, "counter", OF_CONTAINER, containers(&|c| cpu(&c.used)));
    let help = "[STABLE] Current working set of the container in bytes".into();
    family("container_memory_working_set_bytes", help, "gauge", OF_CONTAINER, containers(&|c| memory(&c.used)));
    let help = "[STABLE] Start time of the container since unix epoch in seconds".into();
    family("container_start_time_seconds", help, "gauge", OF_CONTAINER, containers(&started));
    let help = format!("[ALPHA] Current amount of the container swap limit in bytes{ELSEWHERE}");
    family("container_swap_limit_bytes", help, "gauge", OF_CONTAINER, containers(&|c| limit(&c.used)));
    let help = format!("[ALPHA] Current amount of the container swap usage in bytes{ELSEWHERE}");
    family("container_swap_usage_bytes", help, "gauge", OF_CONTAINER, containers(&|c| swap(&c.used)));
    let help = "[STABLE] Cumulative cpu time consumed by the node in core-seconds".into();
    family("node_cpu_usage_seconds_total", help, "counter", &[], node(cpu(of_node)));
    let help = "[STABLE] Current working set of the node in bytes".into();
    family("node_memory_working_set_bytes", help, "gauge", &[], node(memory(of_node)));
    let help = format!("[ALPHA] Current swap usage of the node in bytes{ELSEWHERE}");
    family("node_swap_usage_bytes", help, "gauge", &[], node(swap(of_node)));
    let help = "[STABLE] Cumulative cpu time consumed by the pod in core-seconds".into();
    family("pod_cpu_usage_seconds_total", help, "counter", OF_POD, pods(&|p| cpu(&p.used)));
    let help = "[STABLE] Current working set of the pod in bytes".into();
    family("pod_memory_working_set_bytes", help, "gauge", OF_POD, pods(&|p| memory(&p.used)));
    let help = format!("[ALPHA] Current amount of the pod swap usage in bytes{ELSEWHERE}");
    family("pod_swap_usage_bytes", help, "gauge", OF_POD, pods(&|p| swap(&p.used)));
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

#[cfg(test)]
mod tests;
