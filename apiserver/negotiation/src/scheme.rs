//! What upstream's decoders know of kinds beside the one that an endpoint is for, which their messages show: the kinds of
//! the scheme that serves the endpoint, and the names of internal types.

use api::schema::Type;
use machinery::gvk::GroupVersionKind;

const EXTENSIONS: &str = "apiextensions.k8s.io";
const AGGREGATION: &str = "apiregistration.k8s.io";

/// The type of a kind in the scheme of an endpoint; why not, where the scheme has none.
pub(crate) fn known(kind: &GroupVersionKind, endpoint: &GroupVersionKind) -> Result<&'static Type, String> {
    let apart = |group: &str| matches!(group, EXTENSIONS | AGGREGATION);
    let foreign = (apart(&kind.group) || apart(&endpoint.group)) && kind.group != endpoint.group;
    api::schema::of(kind).filter(|_| !foreign).ok_or_else(|| {
        let scheme = match endpoint.group.as_str() {
            EXTENSIONS => "pkg/apiserver/apiserver.go:55",
            AGGREGATION => "pkg/apiserver/scheme/scheme.go:28",
            _ => "pkg/api/legacyscheme/scheme.go:30",
        };
        let version = crate::decode::api_version(kind);
        format!("no kind {:?} is registered for version {version:?} in scheme {scheme:?}", kind.kind.as_str())
    })
}

/// Whether two kinds are one in several versions.
pub(crate) fn converts(one: &GroupVersionKind, other: &GroupVersionKind) -> bool {
    one.kind == other.kind && package(&one.group) == package(&other.group)
}

/// The internal type of a kind: `core.ConfigMap`.
pub fn internal(kind: &GroupVersionKind) -> String {
    format!("{}.{}", package(&kind.group), kind.kind)
}

/// The package of a group's internal types: its first label, and for events the core's.
fn package(group: &str) -> &str {
    match group.split('.').next().unwrap_or_default() {
        "" | "events" => "core",
        "internal" => "apiserverinternal",
        label => label,
    }
}
