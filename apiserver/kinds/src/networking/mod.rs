//! The kinds of networking.k8s.io: Ingress, IngressClass, NetworkPolicy, and the addresses and ranges of Services. Follows
//! `pkg/apis/networking/validation` and the strategies in `pkg/registry/networking`.

pub mod ingress;
pub mod ingress_class;
pub mod ip_address;
pub mod network_policy;
pub mod service_cidr;

use machinery::field::{ErrorList, Path};
use machinery::names;
use serde_json::Value;

use machinery::json::Fields;
use model::check::Faults;

/// A reference by group, kind and name: the group may be left out, kind and name fit into a path.
fn typed_reference(reference: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(group) = reference.sub("apiGroup").and_then(Value::as_str) {
        errors.each(&at.child("apiGroup"), group, names::dns1123_subdomain(group));
    }
    for field in ["kind", "name"] {
        path_segment(reference.text(field), &at.child(field), errors);
    }
}

/// A text that is needed and fits into a path.
fn path_segment(text: &str, at: &Path, errors: &mut ErrorList) {
    if text.is_empty() {
        errors.required(at, "");
    } else {
        errors.each(at, text, names::path_segment(text));
    }
}
