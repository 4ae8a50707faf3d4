//! Users: who is asking, as authentication found it and as authorization, admission and strategies see it.

use std::collections::BTreeMap;

/// The group of every authenticated caller.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of callers without credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user name of callers without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group that RBAC cannot refuse.
pub const MASTERS: &str = "system:masters";
/// The group of kubelets.
pub const NODES: &str = "system:nodes";
/// The key in `extra` that tells one credential from another.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// An authenticated caller, shaped as TokenReview's `status.user`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The name, for example `system:node:a` or `system:serviceaccount:default:web`.
    pub name: String,
    /// The uid, often empty.
    pub uid: String,
    /// Groups, without order.
    pub groups: Vec<String>,
    /// Further facts, for example `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// The caller without credentials.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// Whether the caller is in that group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node whose kubelet this is: a `system:node:` name in the group of kubelets. May be empty.
    pub fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix("system:node:")?;
        self.in_group(NODES).then_some(name)
    }
}
