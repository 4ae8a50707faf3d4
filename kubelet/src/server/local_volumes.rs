//! `/localVolumes/{name}`: the volumes that this node keeps. The provisioner of the class `local` asks for them through the
//! API server; it needs to `update` and `delete` `nodes/proxy`.

use super::refuse;
use crate::{
    node_agent::Agent,
    volumes::local::{self, Wanted},
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::put,
};
use component::supervisor;
use serde::Serialize;
use std::{io, path, sync::Arc};

pub(super) fn routes() -> Router<Arc<Agent>> {
    Router::new().route("/localVolumes/{name}", put(keep).delete(remove))
}

async fn keep(State(agent): State<Arc<Agent>>, Path(name): Path<String>, Json(wanted): Json<Wanted>) -> Response {
    answer(agent, move |root| local::keep(root, &name, &wanted)).await
}

async fn remove(State(agent): State<Arc<Agent>>, Path(name): Path<String>) -> Response {
    answer(agent, move |root| local::remove(root, &name)).await
}

async fn answer<T: Serialize + Send + 'static>(
    agent: Arc<Agent>,
    work: impl FnOnce(&path::Path) -> io::Result<T> + Send + 'static,
) -> Response {
    let root = agent.config.root_dir.clone();
    match supervisor::blocking("local volume", move || work(&root)).await {
        Ok(Ok(done)) => Json(done).into_response(),
        Ok(Err(error)) => {
            let status = match error.kind() {
                io::ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
                io::ErrorKind::AlreadyExists => StatusCode::CONFLICT,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            refuse(status, error.to_string())
        }
        Err(ended) => refuse(StatusCode::INTERNAL_SERVER_ERROR, ended.to_string()),
    }
}
