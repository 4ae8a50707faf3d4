//! The plugins, one file each, and what they share.

use machinery::meta;
use machinery::status::StatusError;
use serde_json::Value;
use writes::admission::Request;

pub mod always_admit;
pub mod certificates;
pub mod claim_status;
pub mod default_classes;
pub mod default_toleration_seconds;
pub mod limit_ranger;
pub mod namespace_lifecycle;
pub mod node_restriction;
pub mod policy_params;
pub mod priority;
pub mod rbac_escalation;
pub mod resource_quota;
pub mod runtime_class;
pub mod service_account;
pub mod storage_protection;
pub mod taint_nodes_by_condition;
pub mod topology_labels;
pub mod volume_resize;

/// The 403 of a plugin: names the object as well as is known.
pub fn forbidden(request: &Request<'_>, obj: &Value, why: impl std::fmt::Display) -> StatusError {
    let candidates = [request.name, meta::name(obj), meta::generate_name(obj)];
    let name = candidates.into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown");
    StatusError::forbidden(&request.resource.group_resource(), name, why)
}

/// The list at `spec.<field>`, made if it is not there.
pub(crate) fn list<'v>(object: &'v mut Value, field: &str) -> &'v mut Vec<Value> {
    let list = &mut object[field];
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut().expect("made an array above")
}
