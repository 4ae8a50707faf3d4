//! Resources and subresources that store nothing of their own: a body in, an answer out (reviews, tokens, bindings,
//! evictions). A new one is a type and a line in [`handler`].

use async_trait::async_trait;
use machinery::gvk::GroupResource;
use machinery::status::StatusError;
use serde_json::Value;

use super::strategy::WriteContext;
use crate::Server;
use crate::filters::request_info::RequestInfo;

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
        ("", "pods", "binding") | ("", "bindings", "") => Some(&super::core::pod::binding::Binding),
        ("", "componentstatuses", "") => Some(&super::core::componentstatus::ComponentStatus),
        ("", "pods", "eviction") => Some(&super::core::pod::eviction::Eviction),
        ("", "serviceaccounts", "token") => Some(&super::authentication::token_request::TokenRequest),
        ("authentication.k8s.io", "tokenreviews", "") => Some(&super::authentication::TokenReview),
        ("authentication.k8s.io", "selfsubjectreviews", "") => Some(&super::authentication::SelfSubjectReview),
        ("authorization.k8s.io", "subjectaccessreviews", "") => Some(&super::authorization::SubjectAccessReview),
        ("authorization.k8s.io", "localsubjectaccessreviews", "") => {
            Some(&super::authorization::LocalSubjectAccessReview)
        }
        ("authorization.k8s.io", "selfsubjectaccessreviews", "") => {
            Some(&super::authorization::SelfSubjectAccessReview)
        }
        ("authorization.k8s.io", "selfsubjectrulesreviews", "") => Some(&super::authorization::SelfSubjectRulesReview),
        _ => None,
    }
}
