//! May they: one question, one answer, and a reason. Modes are asked in order (Node, RBAC); the first that allows or
//! denies decides, and where none does the answer is no.

use crate::filters::authn::UserInfo;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Who.
    pub user: &'a UserInfo,
    /// `get`, `list`, `watch`, `create`, ..., for resources; the lower-case HTTP method otherwise.
    pub verb: &'a str,
    /// API group of the resource.
    pub group: &'a str,
    /// API version of the resource.
    pub version: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// Object name, or empty.
    pub name: &'a str,
    /// Whether a resource is asked for, or else a path.
    pub resource_request: bool,
    /// The path of a request that is for no resource.
    pub path: &'a str,
    /// The request's field selector, or empty (kubelets are bound to `spec.nodeName=<own>`).
    pub field_selector: &'a str,
    /// The request's label selector, or empty.
    pub label_selector: &'a str,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, because.
    Allow(String),
    /// No, whatever the others say.
    Deny(String),
    /// Not for this mode to say; the reason helps whoever is refused in the end.
    NoOpinion(String),
}

/// One authorization mode.
pub trait Authorizer: Send + Sync {
    /// Decides from memory: never waits for IO.
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;
}
