//! Who asks, and whether they may: client certificates and tokens, then the API server's word.
//! Upstream: pkg/kubelet/server/auth.go.

use crate::config::Config;
use axum::{
    http::{Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use component::serving::PeerCertificates;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// Answers that are remembered.
const CACHE_LIMIT: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct User {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

struct Cache<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K: std::hash::Hash + Eq, V: Clone> Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.lock().get(key).filter(|(_, until)| Instant::now() < *until).map(|(value, _)| value.clone())
    }

    fn put(&self, key: K, value: V, ttl: Duration) {
        let mut all = self.0.lock();
        if all.len() >= CACHE_LIMIT {
            let now = Instant::now();
            all.retain(|_, (_, until)| now < *until);
            if all.len() >= CACHE_LIMIT {
                all.clear();
            }
        }
        all.insert(key, (value, Instant::now() + ttl));
    }
}

pub(super) struct Gate {
    client: Client,
    node: String,
    config: crate::config::KubeletConfiguration,
    users: Cache<[u8; 32], User>,
    decisions: Cache<(User, &'static str, &'static str), bool>,
}

impl Gate {
    pub(super) fn new(client: Client, config: &Config) -> Self {
        let (users, decisions) = (Cache(Mutex::default()), Cache(Mutex::default()));
        Self { client, node: config.node_name.clone(), config: config.file.clone(), users, decisions }
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
        for subresource in &subresources {
            match self.allowed(&user, verb, subresource).await {
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
        if let Some(certificate) = parts.extensions.get::<PeerCertificates>().and_then(|p| p.0.first())
            && let Some(user) = of_certificate(certificate)
        {
            return Ok(Some(user));
        }
        let bearer = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.strip_prefix("Bearer "));
        if let Some(token) =
            bearer.map(str::trim).filter(|t| !t.is_empty() && self.config.authentication.webhook.enabled)
        {
            return self.review(token).await;
        }
        let anonymous = User {
            name: "system:anonymous".into(),
            uid: String::new(),
            groups: vec!["system:unauthenticated".into()],
            extra: BTreeMap::new(),
        };
        Ok(self.config.authentication.anonymous.enabled.then_some(anonymous))
    }

    async fn review(&self, token: &str) -> Result<Option<User>, String> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(user) = self.users.get(&key) {
            return Ok(Some(user));
        }
        let review =
            TokenReview { spec: TokenReviewSpec { token: token.to_owned(), audiences: None }, ..Default::default() };
        let answer = Api::<TokenReview>::all(self.client.clone())
            .create(&PostParams::default(), &review)
            .await
            .map_err(|e| e.to_string())?;
        let status = answer.status.unwrap_or_default();
        if status.authenticated != Some(true) {
            return Ok(None);
        }
        let info = status.user.unwrap_or_default();
        let user = User {
            name: info.username.unwrap_or_default(),
            uid: info.uid.unwrap_or_default(),
            groups: info.groups.unwrap_or_default(),
            extra: info.extra.unwrap_or_default(),
        };
        self.users.put(key, user.clone(), self.config.authentication.webhook.cache_ttl.0);
        Ok(Some(user))
    }

    async fn allowed(&self, user: &User, verb: &'static str, subresource: &'static str) -> Result<bool, String> {
        let key = (user.clone(), verb, subresource);
        if let Some(known) = self.decisions.get(&key) {
            return Ok(known);
        }
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            version: Some("v1".into()),
            resource: Some("nodes".into()),
            subresource: Some(subresource.to_owned()),
            name: Some(self.node.clone()),
            ..Default::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: Some(user.uid.clone()),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            resource_attributes: Some(attributes),
            ..Default::default()
        };
        let review = SubjectAccessReview { spec, ..Default::default() };
        let answer = Api::<SubjectAccessReview>::all(self.client.clone())
            .create(&PostParams::default(), &review)
            .await
            .map_err(|e| e.to_string())?;
        let allowed = answer.status.is_some_and(|s| s.allowed);
        let ttl = &self.config.authorization.webhook;
        self.decisions.put(
            key,
            allowed,
            if allowed { ttl.cache_authorized_ttl.0 } else { ttl.cache_unauthorized_ttl.0 },
        );
        Ok(allowed)
    }
}

fn of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    groups.push("system:authenticated".into());
    Some(User { name, uid: String::new(), groups, extra: BTreeMap::new() })
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
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
