//! Authorization: whether a user may do what a request asks, and why. Modes are asked in order (Node, RBAC); the first that allows or
//! denies decides, and where none does the answer is no.

use machinery::status::StatusError;
use model::request_info::RequestInfo;
use model::user::UserInfo;

pub mod forbidden;
pub mod node;
pub mod rbac;
pub mod union;

pub use forbidden::forbidden;

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

impl<'a> Attributes<'a> {
    /// A question of that user, of a resource, everything else empty.
    pub fn resource(user: &'a UserInfo, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Self { group, resource, resource_request: true, ..Self::path(user, verb, "") }
    }

    /// A question of that user, of a path that is no resource's.
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self {
            user,
            verb,
            group: "",
            version: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            resource_request: false,
            path,
            field_selector: "",
            label_selector: "",
        }
    }

    /// Whether the field selector asks for `field` to have exactly this value.
    pub fn selects(&self, field: &str, value: &str) -> bool {
        self.field_selector.split(',').filter(|term| !term.contains("!=")).any(|term| {
            let (key, wanted) = term.split_once("==").or_else(|| term.split_once('=')).unwrap_or((term, ""));
            key.trim() == field && wanted == value
        })
    }
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

impl Decision {
    /// Whether it is yes.
    pub fn allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        match self {
            Decision::Allow(reason) | Decision::Deny(reason) | Decision::NoOpinion(reason) => reason,
        }
    }
}

/// One authorization mode.
pub trait Authorizer: Send + Sync {
    /// Decides from memory: never waits for IO.
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// What a user may do in a namespace, for `kubectl auth can-i --list`.
    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> Rules {
        Rules::default()
    }
}

/// Rules of a user, where they can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<rbac::Rule>,
    /// Whether there may be more.
    pub incomplete: bool,
    /// What went wrong.
    pub errors: Vec<String>,
}

impl<'a> Attributes<'a> {
    /// What a request asks.
    pub fn of(user: &'a UserInfo, info: &'a RequestInfo) -> Self {
        Self {
            user,
            verb: info.verb,
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
            resource_request: info.is_resource,
            path: &info.path,
            field_selector: info.query.get("fieldSelector").unwrap_or_default(),
            label_selector: info.query.get("labelSelector").unwrap_or_default(),
        }
    }
}

/// Asks, and refuses (403, upstream's words) unless the answer is yes.
pub fn check(authorizer: &dyn Authorizer, user: &UserInfo, info: &RequestInfo) -> Result<(), StatusError> {
    let attributes = Attributes::of(user, info);
    match authorizer.authorize(&attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(why) | Decision::NoOpinion(why) => Err(forbidden(&attributes, &why)),
    }
}
