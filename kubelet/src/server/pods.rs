//! `/pods`, `/runningpods`, `/configz`: what this kubelet works on.

use super::refuse;
use crate::{cri::labels, node_agent::Agent};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new()
        .route("/pods", get(pods))
        .route("/runningpods/", get(running))
        .route("/runningpods", get(running))
        .route("/configz", get(configz))
}

async fn pods(State(agent): State<Arc<Agent>>) -> Json<Value> {
    let list: Vec<_> = agent
        .pods
        .lock()
        .values()
        .map(|handle| {
            let mut pod = (*handle.pod()).clone();
            pod.status = Some(handle.status());
            pod
        })
        .collect();
    Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list}))
}

/// From the runtime alone.
async fn running(State(agent): State<Arc<Agent>>) -> Response {
    let containers = match agent.runtime.list_containers(None).await {
        Ok(containers) => containers,
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let mut pods: BTreeMap<String, Value> = BTreeMap::new();
    for container in containers.into_iter().filter(|c| c.state() == proto::cri::ContainerState::ContainerRunning) {
        let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
        let entry = pods.entry(label(labels::POD_UID)).or_insert_with(|| {
            json!({"metadata": {"name": label(labels::POD_NAME), "namespace": label(labels::POD_NAMESPACE), "uid": label(labels::POD_UID)}, "spec": {"containers": []}, "status": {}})
        });
        if let Some(list) = entry["spec"]["containers"].as_array_mut() {
            list.push(json!({"name": label(labels::CONTAINER_NAME), "image": container.image_ref, "resources": {}}));
        }
    }
    let items: Vec<Value> = pods.into_values().collect();
    Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})).into_response()
}

async fn configz(State(agent): State<Arc<Agent>>) -> Json<Value> {
    Json(json!({"kubeletconfig": agent.config.file}))
}
