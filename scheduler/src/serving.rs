//! What the scheduler's port serves besides health and metrics: why a pod got its node or none.

use std::sync::Arc;

use axum::{Json, Router, extract::Path, http::StatusCode, response::IntoResponse, routing::get};
use client::delegated::status;

use crate::why::Why;

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
