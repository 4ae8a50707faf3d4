//! Resources and subresources that store nothing of their own: a body in, an answer out (reviews, tokens, bindings,
//! evictions). A new one is a type and a line in [`handler`].

use async_trait::async_trait;
use machinery::gvk::GroupResource;
use machinery::status::StatusError;
use model::request_info::RequestInfo;
use serde_json::Value;
use writes::strategy::WriteContext;

use crate::Server;

mod authentication;
mod authorization;
mod binding;
mod componentstatus;
mod eviction;

/// One such resource.
#[async_trait]
pub trait Virtual: Send + Sync {
    /// The answer to a request that passed admission. `body` is decoded and defaulted; null for reads. The answer
    /// carries its kind and apiVersion; that to a list has `items` that do.
    async fn serve(
        &self,
        server: &Server,
        cx: &WriteContext<'_>,
        info: &RequestInfo,
        body: Value,
    ) -> Result<Value, StatusError>;
}

/// The code behind a virtual resource or subresource.
pub fn handler(resource: &GroupResource, subresource: &str) -> Option<&'static dyn Virtual> {
    match (resource.group.as_str(), resource.resource.as_str(), subresource) {
        ("", "pods", "binding") | ("", "bindings", "") => Some(&binding::Binding),
        ("", "componentstatuses", "") => Some(&componentstatus::ComponentStatus),
        ("", "pods", "eviction") => Some(&eviction::Eviction),
        ("", "serviceaccounts", "token") => Some(&authentication::token_request::TokenRequest),
        ("authentication.k8s.io", "tokenreviews", "") => Some(&authentication::TokenReview),
        ("authentication.k8s.io", "selfsubjectreviews", "") => Some(&authentication::SelfSubjectReview),
        ("authorization.k8s.io", "subjectaccessreviews", "") => Some(&authorization::SubjectAccessReview),
        ("authorization.k8s.io", "localsubjectaccessreviews", "") => Some(&authorization::LocalSubjectAccessReview),
        ("authorization.k8s.io", "selfsubjectaccessreviews", "") => Some(&authorization::SelfSubjectAccessReview),
        ("authorization.k8s.io", "selfsubjectrulesreviews", "") => Some(&authorization::SelfSubjectRulesReview),
        _ => None,
    }
}
