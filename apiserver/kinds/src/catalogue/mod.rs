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

/// The groups in upstream's order, each with what makes it: the least priority of the group
/// (`pkg/controlplane/apiserver/aggregator.go`, `cmd/kube-apiserver/app/aggregator.go`), which an APIService too has. The group
/// of APIServices comes before all that can be registered.
pub const GROUPS: &[(&str, i32)] = &[
    ("", 18_000),
    ("apiregistration.k8s.io", 20_001),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("admissionregistration.k8s.io", 16_700),
    ("apiextensions.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
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
    rows.sort_by_key(|r| GROUPS.iter().position(|(group, _)| r.group == *group));
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
