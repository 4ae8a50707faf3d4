//! The catalogue: the rows of the built-in resources, the data from which everything else is derived. Groups in the order in which
//! `/apis` lists them, resources of a group by name.
//!
//! To add a resource: its line here, in its group, and its rules in `<group>/<kind>`.

use machinery::gvk::GroupVersionKind;
use machinery::managed_fields::Resets;
use model::resource::{Resource, Verb};
use writes::strategy::Kind;

/// Kinds, each given as one or as a row without rules.
macro_rules! kinds {
    ($($kind:expr),* $(,)?) => { vec![$(Kind::from($kind)),*] };
}

mod cluster;
mod core;
mod workloads;

/// The groups in upstream's order (`pkg/controlplane/instance.go`'s storage providers and the aggregator's priorities).
pub const GROUPS: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

const CREATE: &[Verb] = &[Verb::Create];
const READ_WRITE: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];
const PROXY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
const STREAM: &[Verb] = &[Verb::Create, Verb::Get];

/// What a write to `status` of most newer kinds leaves as it is.
const SPEC_AND_METADATA: Resets = Resets(&[&["metadata"], &["spec"]]);

/// Every built-in resource.
pub fn rows() -> Vec<Kind> {
    let mut rows = [core::rows(), workloads::rows(), cluster::rows()].concat();
    rows.sort_by_key(|r| GROUPS.iter().position(|g| r.group == *g));
    rows
}

/// Stored under its own name in `/registry`, as nearly all resources are.
fn stored(group: &'static str, version: &'static str, resource: &'static str, kind: &'static str) -> Resource {
    Resource::stored(group, version, resource, kind, resource)
}

fn core_kind(kind: &'static str) -> GroupVersionKind {
    GroupVersionKind::new("", "v1", kind)
}

/// A `scale` subresource.
fn scaled(resource: Resource) -> Resource {
    resource.sub("scale", GroupVersionKind::new("autoscaling", "v1", "Scale"), READ_WRITE)
}

/// For kinds whose names upstream does not check beyond what a path can carry.
fn any_name(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}
