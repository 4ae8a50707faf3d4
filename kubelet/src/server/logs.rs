//! `/containerLogs/{namespace}/{pod}/{container}`.

use super::refuse;
use crate::{
    logs::{follow::Follower, read::Options},
    node_agent::Agent,
    pod,
    pod_worker::Handle,
};
use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodStatus;
use serde::Deserialize;
use std::{io, sync::Arc};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
}

#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    follow: Option<String>,
    previous: Option<String>,
    timestamps: Option<String>,
    tail_lines: Option<i64>,
    since_seconds: Option<i64>,
    since_time: Option<String>,
    limit_bytes: Option<i64>,
    stream: Option<String>,
}

fn yes(value: &Option<String>) -> bool {
    value.as_deref().is_some_and(|v| matches!(v, "" | "1" | "true" | "t" | "T" | "TRUE" | "True"))
}

async fn container_logs(
    State(agent): State<Arc<Agent>>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    let Some(found) = agent.find(&namespace, &name) else { return refuse(StatusCode::NOT_FOUND, "pod does not exist") };
    if pod::find(&found, &container).is_none() {
        return refuse(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {name:?}"));
    }
    let uid = pod::uid(&found).to_owned();
    let status = agent.pods.lock().get(&uid).map(Handle::status).unwrap_or_default();
    let id = match chosen(&name, &status, &container, yes(&asked.previous)) {
        Ok(id) => id,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, message),
    };
    let path = match agent.runtime.container_status(&id).await {
        Ok(status) => status.log_path,
        Err(error) => {
            tracing::debug!(%error, "container of a log is gone");
            return refuse(
                StatusCode::BAD_REQUEST,
                format!("unable to retrieve container logs for {}://{id}", agent.runtime_name),
            );
        }
    };
    let since = match (&asked.since_time, asked.since_seconds) {
        (Some(time), _) => time.parse::<Timestamp>().ok(),
        (None, Some(seconds)) => agent.clock.now().checked_sub(SignedDuration::from_secs(seconds)).ok(),
        (None, None) => None,
    };
    let options = Options {
        follow: yes(&asked.follow),
        tail_lines: asked.tail_lines,
        since,
        timestamps: yes(&asked.timestamps),
        limit_bytes: asked.limit_bytes,
        stderr: match asked.stream.as_deref() {
            Some("Stdout") => Some(false),
            Some("Stderr") => Some(true),
            _ => None,
        },
    };
    let (out, receiver) = mpsc::channel::<io::Result<Bytes>>(64);
    let (watcher, cancel) = (agent.log_watcher.clone(), agent.streams.token());
    let running = move || runs(&agent, &uid, &container, &id);
    let follower = Follower { watcher, running, cancel, out: out.clone() };
    let sending = async move {
        if let Err(error) = follower.send(path.clone().into(), options).await {
            tracing::warn!(path, %error, "cannot read a container's log");
            let message = format!("failed to try resolving symlinks in path {path:?}: {error}\n");
            let _ = out.send(Ok(Bytes::from(message))).await;
        }
    };
    // The answer's body drives the reading, and ends it when the client is gone.
    let nothing = stream::once(sending).filter_map(|()| std::future::ready(None));
    let body = Body::from_stream(stream::select(ReceiverStream::new(receiver), nothing));
    ([(header::CONTENT_TYPE, "text/plain")], body).into_response()
}

fn runs(agent: &Agent, uid: &str, container: &str, id: &str) -> bool {
    let status = agent.pods.lock().get(uid).map(Handle::status).unwrap_or_default();
    let mut all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .chain(&status.ephemeral_container_statuses)
        .flatten();
    all.any(|c| {
        c.name == container
            && c.container_id.as_deref().is_some_and(|c| c.ends_with(id))
            && c.state.as_ref().is_some_and(|s| s.running.is_some())
    })
}

/// The id of the container whose log is meant. Upstream: kubelet_pods.go, validateContainerLogStatus.
fn chosen(pod: &str, status: &PodStatus, container: &str, previous: bool) -> Result<String, String> {
    let mut all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .chain(&status.ephemeral_container_statuses)
        .flatten();
    let Some(found) = all.find(|c| c.name == container) else {
        return Err(format!("container {container:?} in pod {pod:?} is not available"));
    };
    let state = found.state.clone().unwrap_or_default();
    let last = found.last_state.as_ref().and_then(|s| s.terminated.as_ref()).and_then(|t| t.container_id.clone());
    let bare = |id: String| id.split_once("://").map_or(id.clone(), |(_, id)| id.to_owned());
    if previous {
        return last
            .map(bare)
            .ok_or_else(|| format!("previous terminated container {container:?} in pod {pod:?} not found"));
    }
    if state.running.is_some() {
        return found
            .container_id
            .clone()
            .map(bare)
            .ok_or_else(|| format!("container {container:?} in pod {pod:?} is not available"));
    }
    if let Some(terminated) = &state.terminated {
        return terminated
            .container_id
            .clone()
            .or(last)
            .map(bare)
            .ok_or_else(|| format!("container {container:?} in pod {pod:?} is terminated"));
    }
    if let Some(last) = last {
        return Ok(bare(last));
    }
    let waiting = state.waiting.and_then(|w| w.reason).unwrap_or_default();
    Err(match waiting.as_str() {
        "ErrImagePull" => format!("container {container:?} in pod {pod:?} is waiting to start: image can't be pulled"),
        "ImagePullBackOff" => {
            format!("container {container:?} in pod {pod:?} is waiting to start: trying and failing to pull image")
        }
        "" => format!("container {container:?} in pod {pod:?} is waiting to start - no logs yet"),
        reason => format!("container {container:?} in pod {pod:?} is waiting to start: {reason}"),
    })
}
