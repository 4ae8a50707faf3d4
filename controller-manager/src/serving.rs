//! The manager's own server: health for everybody, metrics for those whom the API server lets read them.
//!
//! Upstream: `cmd/kube-controller-manager/app/controllermanager.go` and `k8s.io/apiserver/pkg/server/options`: who
//! presents neither certificate nor token is anonymous; without a kubeconfig to ask with, nobody may.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::Context as _;
use client::delegated::{Ask, Lifetimes, Reviews, User, bearer, of_certificate, verb};
use component::{Supervisor, serving, tls};
use http::{Response, StatusCode, header, request::Parts};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde_json::json;

use crate::{COMPONENT, metrics, options::Options};

/// Serves until `tasks` end.
///
/// # Errors
/// The address is taken, or a file can't be used.
pub(crate) async fn serve(options: &Options, tasks: &Supervisor) -> anyhow::Result<()> {
    let pair = options.tls_cert_file.as_deref().zip(options.tls_private_key_file.as_deref());
    let resolver = tls::resolver(pair, COMPONENT)?;
    let asking = |kubeconfig: &Option<std::path::PathBuf>| {
        let kubeconfig = kubeconfig.as_ref();
        kubeconfig.map(|file| client::from_kubeconfig(file, &client::user_agent(COMPONENT, COMPONENT))).transpose()
    };
    let authentication = asking(&options.authentication_kubeconfig)?;
    let authorization = asking(&options.authorization_kubeconfig)?;
    let client_ca = client_ca(options.client_ca_file.as_deref(), authentication.as_ref()).await?;
    let config = Arc::new(tls::server_config(resolver, client_ca.as_deref())?);
    let address = SocketAddr::new(options.bind_address, options.secure_port);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to create listener on {address}"))?;
    let lifetimes = Lifetimes {
        token: options.authentication_token_webhook_cache_ttl,
        allowed: options.authorization_webhook_cache_authorized_ttl,
        denied: options.authorization_webhook_cache_unauthorized_ttl,
    };
    let gate = Arc::new(Gate::new(authentication, authorization, lifetimes));
    let server = serving::Server::default().tls(config).metrics(metrics::write);
    let server = server.authorized(move |parts| {
        let gate = gate.clone();
        async move { gate.refusal(&parts).await }
    });
    tasks.vital("serving", move |own| server.serve(listener, own));
    Ok(())
}

/// What client certificates are verified against: a file, or what the cluster says.
async fn client_ca(file: Option<&Path>, cluster: Option<&Client>) -> anyhow::Result<Option<Vec<u8>>> {
    if let Some(file) = file {
        return std::fs::read(file).map(Some).with_context(|| file.display().to_string());
    }
    let Some(cluster) = cluster else { return Ok(None) };
    let api: Api<ConfigMap> = Api::namespaced(cluster.clone(), "kube-system");
    match api.get("extension-apiserver-authentication").await {
        Ok(map) => Ok(map.data.and_then(|mut data| data.remove("client-ca-file")).map(String::into_bytes)),
        Err(error) => {
            let error = client::message(&error);
            tracing::warn!(error, "no client certificates are known: the cluster does not say who signs them");
            Ok(None)
        }
    }
}

struct Gate {
    authentication: Option<Reviews>,
    authorization: Option<Reviews>,
}

impl Gate {
    fn new(authentication: Option<Client>, authorization: Option<Client>, lifetimes: Lifetimes) -> Self {
        let [authentication, authorization] =
            [authentication, authorization].map(|client| client.map(|client| Reviews::new(client, lifetimes)));
        Self { authentication, authorization }
    }

    /// None: go on.
    async fn refusal(&self, parts: &Parts) -> Option<Response<axum::body::Body>> {
        let user = match self.user(parts).await {
            Ok(Some(user)) => user,
            Ok(None) => return Some(status(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")),
            Err(error) => {
                tracing::error!(error, "unable to authenticate the request");
                return Some(status(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized"));
            }
        };
        let (verb, path) = (verb(&parts.method), parts.uri.path().to_owned());
        let message = format!("forbidden: User {:?} cannot {verb} path {path:?}", user.name);
        let allowed = match &self.authorization {
            Some(reviews) => reviews.allowed(&user, Ask::Path { verb, path }).await,
            None => Ok(false),
        };
        match allowed {
            Ok(true) => None,
            Ok(false) => Some(status(StatusCode::FORBIDDEN, "Forbidden", &message)),
            Err(error) => {
                tracing::error!(error, "unable to authorize the request");
                Some(status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "Internal Server Error"))
            }
        }
    }

    async fn user(&self, parts: &Parts) -> Result<Option<User>, String> {
        match (of_certificate(parts), bearer(parts), &self.authentication) {
            (Some(user), ..) => Ok(Some(user)),
            (None, Some(token), Some(reviews)) => reviews.of_token(token).await,
            _ => Ok(Some(User::anonymous())),
        }
    }
}

/// An answer as the API server words it.
fn status(code: StatusCode, reason: &str, message: &str) -> Response<axum::body::Body> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    let mut response = Response::new(axum::body::Body::from(body.to_string()));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use kube::client::Body;

    use super::*;

    /// An API server that knows one token, whose user may read metrics.
    fn api_server(asked: Arc<AtomicU32>) -> Client {
        let service = tower::service_fn(move |request: http::Request<Body>| {
            asked.fetch_add(1, Ordering::Relaxed);
            async move {
                let bytes = request.into_body().collect_bytes().await?;
                let mut review: serde_json::Value = serde_json::from_slice(&bytes).map_err(kube::Error::SerdeError)?;
                review["status"] = match review["spec"]["token"].as_str() {
                    Some("good") => json!({"authenticated": true, "user": {"username": "prometheus"}}),
                    Some(_) => json!({"authenticated": false}),
                    None => {
                        let ask = &review["spec"]["nonResourceAttributes"];
                        let may = review["spec"]["user"] == "prometheus"
                            && *ask == json!({"path": "/metrics", "verb": "get"});
                        json!({"allowed": may})
                    }
                };
                Ok::<_, kube::Error>(Response::new(Body::from(review.to_string().into_bytes())))
            }
        });
        Client::new(service, "default")
    }

    async fn code(gate: &Gate, token: Option<&str>, path: &str) -> u16 {
        let mut request = http::Request::get(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        gate.refusal(&parts).await.map_or(200, |refusal| refusal.status().as_u16())
    }

    #[tokio::test]
    async fn metrics_are_for_those_whom_the_api_server_lets_read_them() {
        let asked = Arc::new(AtomicU32::new(0));
        let server = || Some(api_server(asked.clone()));
        let long = Duration::from_secs(3600);
        let lifetimes = Lifetimes { token: long, allowed: long, denied: long };
        let gate = Gate::new(server(), server(), lifetimes);
        for _ in 0..2 {
            assert_eq!(code(&gate, Some("good"), "/metrics").await, 200);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2, "the answers are remembered");
        assert_eq!(code(&gate, Some("good"), "/configz").await, 403);
        assert_eq!(code(&gate, Some("bad"), "/metrics").await, 401);
        assert_eq!(code(&gate, None, "/metrics").await, 403);
        assert_eq!(code(&Gate::new(server(), None, lifetimes), Some("good"), "/metrics").await, 403);
        assert_eq!(code(&Gate::new(None, server(), lifetimes), Some("good"), "/metrics").await, 403, "anonymous");
    }
}
