//! The scheduler's own port: health for everybody; metrics, its configuration, and why a pod got its node or none for those
//! whom the API server lets ask.
//!
//! Upstream: `cmd/kube-scheduler/app/server.go`, with `/debug/why` beside it.

use std::sync::Arc;

use axum::{Json, Router, extract::Path, http::StatusCode, response::IntoResponse, routing::get};
use client::delegated::{Port, configz, status};
use component::{Supervisor, serving::Server};
use serde_json::{Value, json};

use crate::{Config, plugins::CATALOGUE, why::Why};

/// The port that upstream has for it.
pub const PORT: u16 = 10259;

/// Serves what a scheduler with that configuration says of itself, as a task of `tasks`.
///
/// # Errors
/// The address can't be had.
pub async fn serve(port: Port, config: &Config, tasks: &Supervisor) -> anyhow::Result<()> {
    let metrics = config.metrics.clone();
    let server = Server::default()
        .metrics(move |out| metrics.write(out))
        .guarded(routes(config.why.clone()))
        .guarded(configz("componentconfig", effective(config)));
    port.serve(server, tasks).await.map(drop)
}

/// The configuration as upstream's `/configz` shows it, with the defaults of what was not said.
fn effective(config: &Config) -> Value {
    let settings = config.settings();
    let mut shown = json!(config);
    for (field, value) in [
        ("apiVersion", json!("kubescheduler.config.k8s.io/v1")),
        ("kind", json!("KubeSchedulerConfiguration")),
        ("podInitialBackoffSeconds", json!(settings.initial_backoff.as_secs())),
        ("podMaxBackoffSeconds", json!(settings.max_backoff.as_secs())),
        ("percentageOfNodesToScore", json!(config.percentage_of_nodes_to_score.unwrap_or_default())),
    ] {
        shown[field] = value;
    }
    if config.profiles.is_empty() {
        let plugins = CATALOGUE.iter().map(|(name, weight, _)| json!({"name": name, "weight": weight}));
        let enabled: Value = plugins.collect();
        shown["profiles"] =
            json!([{"schedulerName": "default-scheduler", "plugins": {"multiPoint": {"enabled": enabled}}}]);
    }
    without_nulls(&mut shown);
    shown
}

/// What was not said is not shown.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// `/debug/why/<namespace>/<pod>` for one pod, `/debug/why` for which pods there are.
pub fn routes(why: Arc<Why>) -> Router {
    let all = why.clone();
    let one = move |Path((namespace, pod)): Path<(String, String)>| {
        let found = why.of(&namespace, &pod);
        async move {
            found.map_or_else(
                || {
                    let message = format!("no decision on pod {namespace}/{pod} is known");
                    status(StatusCode::NOT_FOUND, "NotFound", &message)
                },
                |told| Json(told).into_response(),
            )
        }
    };
    Router::new()
        .route("/debug/why", get(move || async move { Json(all.all()) }))
        .route("/debug/why/{namespace}/{pod}", get(one))
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn the_configuration_shows_what_was_given_and_upstreams_defaults() {
        let shown = effective(&Config::default());
        assert_eq!(shown["kind"], "KubeSchedulerConfiguration");
        assert_eq!((&shown["podInitialBackoffSeconds"], &shown["podMaxBackoffSeconds"]), (&json!(1), &json!(10)));
        assert_eq!(shown["leaderElection"]["leaseDuration"], "15s");
        assert_eq!(
            shown["profiles"][0]["plugins"]["multiPoint"]["enabled"][1],
            json!({"name": "PrioritySort", "weight": 0})
        );
        assert_eq!(shown.get("parallelism"), None);
        let given: Config = serde_json::from_value(json!({
            "podMaxBackoffSeconds": 7, "profiles": [{"schedulerName": "mine"}],
            "extenders": [{"urlPrefix": "https://x", "tlsConfig": {"keyData": "secret", "caData": "public"}}],
        }))
        .expect("a configuration");
        let shown = effective(&given);
        assert_eq!(
            (&shown["podMaxBackoffSeconds"], &shown["profiles"][0]["schedulerName"]),
            (&json!(7), &json!("mine"))
        );
        let tls = &shown["extenders"][0]["tlsConfig"];
        assert_eq!((tls.get("keyData"), &tls["caData"]), (None, &json!("public")));
    }

    #[tokio::test]
    async fn a_pod_nobody_decided_on_is_not_found() {
        let routes = routes(Arc::default());
        let request = Request::get("/debug/why/default/p").body(Body::empty()).expect("a request");
        let answer = routes.clone().oneshot(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let request = Request::get("/debug/why").body(Body::empty()).expect("a request");
        assert_eq!(routes.oneshot(request).await.expect("an answer").status(), StatusCode::OK);
    }
}
