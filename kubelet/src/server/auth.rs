//! Who asks, and whether they may: client certificates and tokens, then the API server's word.
//! Upstream: pkg/kubelet/server/auth.go.

use crate::config::Config;
use axum::{
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use client::delegated::{Asked, Delegated, Lasting, User, bearer, of_certificate, verb};
use kube::Client;

pub(super) struct Gate {
    delegated: Delegated,
    node: String,
    config: crate::config::KubeletConfiguration,
}

impl Gate {
    pub(super) fn new(client: Client, config: &Config) -> Self {
        let webhook = &config.file.authorization.webhook;
        let lasting = Lasting {
            token: config.file.authentication.webhook.cache_ttl.0,
            allowed: webhook.cache_authorized_ttl.0,
            denied: webhook.cache_unauthorized_ttl.0,
        };
        let delegated = Delegated::new(client, lasting);
        Self { delegated, node: config.node_name.clone(), config: config.file.clone() }
    }

    /// `None`: go on.
    pub(super) async fn refusal(&self, parts: &Parts) -> Option<Response> {
        let user = match self.user(parts).await {
            Ok(Some(user)) => user,
            Ok(None) => return Some((StatusCode::UNAUTHORIZED, "Unauthorized").into_response()),
            Err(error) => {
                tracing::error!(error, "unable to authenticate the request due to an error");
                return Some((StatusCode::UNAUTHORIZED, "Unauthorized").into_response());
            }
        };
        if self.config.authorization.mode == "AlwaysAllow" {
            return None;
        }
        let verb = verb(&parts.method);
        let subresources = subresources(parts.uri.path());
        for &subresource in &subresources {
            let name = self.node.clone();
            match self.delegated.allows(&user, Asked::Node { verb, subresource, name }).await {
                Ok(true) => return None,
                Ok(false) => {}
                Err(error) => {
                    let message = format!(
                        "Authorization error (user={}, verb={verb}, resource=nodes, subresource={subresource})",
                        user.name
                    );
                    tracing::error!(error, message);
                    return Some((StatusCode::INTERNAL_SERVER_ERROR, message).into_response());
                }
            }
        }
        let message = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])\n",
            user.name,
            subresources.join(" ")
        );
        Some((StatusCode::FORBIDDEN, message).into_response())
    }

    async fn user(&self, parts: &Parts) -> Result<Option<User>, String> {
        if let Some(user) = of_certificate(parts) {
            return Ok(Some(user));
        }
        if let Some(token) = bearer(parts).filter(|_| self.config.authentication.webhook.enabled) {
            return self.delegated.of_token(token).await;
        }
        Ok(self.config.authentication.anonymous.enabled.then(User::anonymous))
    }
}

/// The node's subresources of which one must be allowed.
fn subresources(path: &str) -> Vec<&'static str> {
    let under = |base: &str| path == base || path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
    let fine = [("/pods", "pods"), ("/healthz", "healthz"), ("/configz", "configz"), ("/runningpods", "pods")];
    let mut list: Vec<&'static str> = fine.iter().filter(|(base, _)| under(base)).map(|(_, name)| *name).collect();
    let coarse = [
        ("/stats", "stats"),
        ("/metrics", "metrics"),
        ("/logs", "log"),
        ("/checkpoint", "checkpoint"),
        ("/statusz", "statusz"),
        ("/flagz", "configz"),
    ];
    list.push(coarse.iter().find(|(base, _)| under(base)).map_or("proxy", |(_, name)| name));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_to_subresources() {
        for (path, expected) in [
            ("/pods", vec!["pods", "proxy"]),
            ("/runningpods/", vec!["pods", "proxy"]),
            ("/stats/summary", vec!["stats"]),
            ("/metrics/cadvisor", vec!["metrics"]),
            ("/containerLogs/a/b/c", vec!["proxy"]),
            ("/logsomething", vec!["proxy"]),
            ("/exec/a/b/c", vec!["proxy"]),
        ] {
            assert_eq!(subresources(path), expected, "{path}");
        }
    }
}
