//! Names of kinds and resources: group, version, kind, resource; printed as upstream prints them.

use std::fmt;

use crate::json::Fields;

/// A group and a version: `v1`, `apps/v1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersion {
    /// Empty for the core group.
    pub group: String,
    /// As in `v1beta1`.
    pub version: String,
}

/// A kind of a group, any version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKind {
    /// Empty for the core group.
    pub group: String,
    /// As in `Deployment`.
    pub kind: String,
}

/// A kind of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// Empty for the core group.
    pub group: String,
    /// As in `v1beta1`.
    pub version: String,
    /// As in `Deployment`.
    pub kind: String,
}

/// A resource of a group, any version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource {
    /// Empty for the core group.
    pub group: String,
    /// As in `deployments`, with a subresource `deployments/status`.
    pub resource: String,
}

/// A resource of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionResource {
    /// Empty for the core group.
    pub group: String,
    /// As in `v1beta1`.
    pub version: String,
    /// As in `deployments`.
    pub resource: String,
}

impl GroupVersion {
    /// From its parts.
    pub fn new(group: impl Into<String>, version: impl Into<String>) -> Self {
        GroupVersion { group: group.into(), version: version.into() }
    }

    /// Parses an `apiVersion`. The error has upstream's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text == "/" {
            return Ok(GroupVersion::default());
        }
        match text.matches('/').count() {
            0 => Ok(GroupVersion::new("", text)),
            1 => {
                let (group, version) = text.split_once('/').expect("one slash was counted");
                Ok(GroupVersion::new(group, version))
            }
            _ => Err(format!("unexpected GroupVersion string: {text}")),
        }
    }

    /// The kind of that name in this version.
    pub fn with_kind(&self, kind: impl Into<String>) -> GroupVersionKind {
        GroupVersionKind { group: self.group.clone(), version: self.version.clone(), kind: kind.into() }
    }

    /// The resource of that name in this version.
    pub fn with_resource(&self, resource: impl Into<String>) -> GroupVersionResource {
        GroupVersionResource { group: self.group.clone(), version: self.version.clone(), resource: resource.into() }
    }
}

impl GroupVersionKind {
    /// From its parts.
    pub fn new(group: impl Into<String>, version: impl Into<String>, kind: impl Into<String>) -> Self {
        GroupVersionKind { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// From an object's `apiVersion` and `kind`; an apiVersion that cannot be parsed gives an empty version.
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        GroupVersion::parse(api_version).unwrap_or_default().with_kind(kind)
    }

    /// Of an object.
    pub fn of(object: &serde_json::Value) -> Self {
        Self::from_api_version(object.text("apiVersion"), object.text("kind"))
    }

    /// Without the version.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.group.clone(), kind: self.kind.clone() }
    }

    /// Without the kind.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion { group: self.group.clone(), version: self.version.clone() }
    }

    /// As written in an object.
    pub fn api_version(&self) -> String {
        self.group_version().to_string()
    }
}

impl GroupKind {
    /// From its parts.
    pub fn new(group: impl Into<String>, kind: impl Into<String>) -> Self {
        GroupKind { group: group.into(), kind: kind.into() }
    }
}

impl GroupResource {
    /// From its parts.
    pub fn new(group: impl Into<String>, resource: impl Into<String>) -> Self {
        GroupResource { group: group.into(), resource: resource.into() }
    }

    /// Neither group nor resource.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty() && self.resource.is_empty()
    }
}

impl GroupVersionResource {
    /// From its parts.
    pub fn new(group: impl Into<String>, version: impl Into<String>, resource: impl Into<String>) -> Self {
        GroupVersionResource { group: group.into(), version: version.into(), resource: resource.into() }
    }

    /// Without the version.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.resource.clone() }
    }

    /// Without the resource.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion { group: self.group.clone(), version: self.version.clone() }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.version) } else { write!(f, "{}/{}", self.group, self.version) }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.kind) } else { write!(f, "{}.{}", self.kind, self.group) }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.resource) } else { write!(f, "{}.{}", self.resource, self.group) }
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

impl fmt::Display for GroupVersionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Resource={}", self.group, self.version, self.resource)
    }
}

/// Kubernetes' order of versions: stable before beta before alpha, higher numbers first, other names last.
pub fn version_order(version: &str) -> (u8, u64, u64) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let major = rest[..digits].parse().ok()?;
        let stage = &rest[digits..];
        if stage.is_empty() {
            return Some((3, major, 0));
        }
        let (rank, minor) = match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
            (Some(minor), _) => (2, minor),
            (_, Some(minor)) => (1, minor),
            _ => return None,
        };
        Some((rank, major, minor.parse().ok()?))
    };
    parse().unwrap_or((0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        let gv = GroupVersion::parse("apps/v1").expect("valid");
        assert_eq!(gv.to_string(), "apps/v1");
        assert_eq!(gv.with_kind("Deployment").to_string(), "apps/v1, Kind=Deployment");
        assert_eq!(gv.with_kind("Deployment").group_kind().to_string(), "Deployment.apps");
        assert_eq!(gv.with_resource("deployments").to_string(), "apps/v1, Resource=deployments");
        assert_eq!(gv.with_resource("deployments").group_resource().to_string(), "deployments.apps");
        assert_eq!(GroupVersion::parse("v1").expect("valid").with_kind("Pod").to_string(), "/v1, Kind=Pod");
        assert_eq!(GroupVersion::parse("").expect("valid"), GroupVersion::default());
        assert_eq!(GroupVersion::parse("a/b/c").unwrap_err(), "unexpected GroupVersion string: a/b/c");
    }
}
