//! What stands before a component's own server: who asks is told by a certificate or by the API server of a token; whether
//! they may, by the API server. Upstream: `k8s.io/apiserver/pkg/server/options`, delegated.

use std::sync::Arc;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use component::serving::{Authorized, Server};
use http::{StatusCode, request::Parts};
use serde_json::{Value, json};

use super::{Asked, Delegated, User, bearer, of_certificate, verb};

/// See the module.
pub struct Gate {
    authentication: Option<Delegated>,
    authorization: Option<Delegated>,
    always_allowed: Vec<String>,
}

impl Gate {
    /// Asks these whose a token is and who may; paths that are always allowed need neither.
    pub fn new(
        authentication: Option<Delegated>,
        authorization: Option<Delegated>,
        always_allowed: Vec<String>,
    ) -> Self {
        Self { authentication, authorization, always_allowed }
    }

    /// Stands before all that is guarded.
    pub fn guard(self, server: Server) -> Authorized {
        let gate = Arc::new(self);
        server.authorized(move |parts| {
            let gate = gate.clone();
            async move { gate.refusal(&parts).await }
        })
    }

    /// `None`: go on.
    async fn refusal(&self, parts: &Parts) -> Option<Response> {
        let path = parts.uri.path();
        let open = |allowed: &String| match allowed.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == allowed,
        };
        if self.always_allowed.iter().any(open) {
            return None;
        }
        let unauthorized = || status(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized");
        let user = match (of_certificate(parts), bearer(parts), &self.authentication) {
            (Some(user), ..) => user,
            (None, Some(token), Some(authentication)) => match authentication.of_token(token).await {
                Ok(Some(user)) => user,
                Ok(None) => return Some(unauthorized()),
                Err(error) => {
                    tracing::error!(error, "unable to authenticate the request due to an error");
                    return Some(unauthorized());
                }
            },
            _ => User::anonymous(),
        };
        let verb = verb(&parts.method);
        let allowed = match &self.authorization {
            None => Ok(false),
            Some(authorization) => authorization.allows(&user, Asked::Path { verb, path: path.to_owned() }).await,
        };
        match allowed {
            Ok(true) => None,
            Ok(false) => {
                let message = format!("forbidden: User {:?} cannot {verb} path {path:?}", user.name);
                Some(status(StatusCode::FORBIDDEN, "Forbidden", &message))
            }
            Err(error) => {
                tracing::error!(error, "unable to authorize the request due to an error");
                let message = "Internal Server Error: unable to ask the API server who may";
                Some(status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message))
            }
        }
    }
}

/// An answer as the API server words it.
pub fn status(code: StatusCode, reason: &str, message: &str) -> Response {
    let body: Value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    (code, Json(body)).into_response()
}

#[cfg(test)]
pub(super) mod tests {
    use expect_test::{Expect, expect};
    use http::Request;
    use kube::client::Body as KubeBody;

    use super::*;

    /// A server where the token `good` is `prom`'s, who may get `/metrics`.
    pub(in super::super) fn api_server() -> kube::Client {
        let service = tower::service_fn(|request: Request<KubeBody>| async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect_bytes().await?;
            let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
            let status = if path.ends_with("/tokenreviews") {
                json!({"authenticated": asked["spec"]["token"] == "good", "user": {"username": "prom"}})
            } else {
                let spec = &asked["spec"];
                json!({"allowed": spec["user"] == "prom"
                    && spec["nonResourceAttributes"] == json!({"path": "/metrics", "verb": "get"})})
            };
            let answer = json!({"metadata": {}, "spec": asked["spec"], "status": status});
            Ok::<_, kube::Error>(http::Response::new(KubeBody::from(answer.to_string().into_bytes())))
        });
        kube::Client::new(service, "default")
    }

    fn delegated() -> Delegated {
        Delegated::new(api_server(), super::super::Lasting::default())
    }

    #[tokio::test]
    async fn metrics_are_for_those_who_may_and_health_for_everybody() {
        let check = async |gate: &Gate, path: &str, token: &str, expected: Expect| {
            let mut request = Request::get(path);
            if !token.is_empty() {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let (parts, ()) = request.body(()).expect("a request").into_parts();
            let answer = match gate.refusal(&parts).await {
                None => "allowed".to_owned(),
                Some(refusal) => {
                    let code = refusal.status();
                    let body = axum::body::to_bytes(refusal.into_body(), 1 << 20).await.expect("a body");
                    let body: Value = serde_json::from_slice(&body).expect("JSON");
                    format!("{code} {}", body["message"])
                }
            };
            expected.assert_eq(&answer);
        };
        let always = || vec!["/healthz".to_owned(), "/open/*".to_owned()];
        let gate = Gate::new(Some(delegated()), Some(delegated()), always());
        check(&gate, "/metrics", "good", expect!["allowed"]).await;
        check(&gate, "/metrics", "bad", expect![[r#"401 Unauthorized "Unauthorized""#]]).await;
        check(
            &gate,
            "/metrics",
            "",
            expect![[r#"403 Forbidden "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"""#]],
        )
        .await;
        check(
            &gate,
            "/debug/why",
            "good",
            expect![[r#"403 Forbidden "forbidden: User \"prom\" cannot get path \"/debug/why\"""#]],
        )
        .await;
        check(&gate, "/healthz", "", expect!["allowed"]).await;
        check(&gate, "/open/x", "bad", expect!["allowed"]).await;
        let closed = Gate::new(None, None, always());
        check(
            &closed,
            "/metrics",
            "good",
            expect![[r#"403 Forbidden "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"""#]],
        )
        .await;
    }
}
