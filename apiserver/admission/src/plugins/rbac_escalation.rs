//! Nobody gives away more rights than they have: checked when roles and bindings are written.
//!
//! Not one of upstream's plugins and not to be turned off: upstream does this in a wrapper around the storage of the
//! four kinds, between mutating admission and validation. The end of the mutating phase is the same place.

use std::sync::Arc;

use access::authz::rbac::{Rbac, Rule, escalation};
use access::authz::{Attributes, Authorizer};
use async_trait::async_trait;
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use model::user::MASTERS;
use serde_json::{Value, json};
use writes::admission::{Operation, Plugin, Request};

const GROUP: &str = "rbac.authorization.k8s.io";

/// See the module.
pub struct RbacEscalation {
    /// The rights that users hold.
    pub rbac: Arc<Rbac>,
    /// Who may `escalate` and `bind`.
    pub authorizer: Arc<dyn Authorizer>,
}

#[async_trait]
impl Plugin for RbacEscalation {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.resource.group == GROUP && request.subresource.is_none() && request.writes()
    }

    async fn admit(&self, request: &Request<'_>, obj: &mut Value) -> Result<(), StatusError> {
        if request.user.in_group(MASTERS) || request.old.is_some_and(|old| only_bookkeeping(obj, old)) {
            return Ok(());
        }
        match &*request.resource.resource {
            "roles" | "clusterroles" => self.role(request, obj),
            "rolebindings" | "clusterrolebindings" => self.binding(request, obj),
            _ => Ok(()),
        }
    }
}

impl RbacEscalation {
    fn allowed(&self, request: &Request<'_>, verb: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes {
            version: "*",
            namespace: request.namespace.unwrap_or_default(),
            name,
            ..Attributes::resource(request.user, verb, GROUP, resource)
        };
        self.authorizer.authorize(&attributes).allowed()
    }

    fn confirm(&self, request: &Request<'_>, wanted: &[Rule]) -> Result<(), String> {
        let held = self.rbac.rules_for(request.user, request.namespace.unwrap_or_default());
        escalation::confirm(request.user, &held, wanted)
    }

    fn role(&self, request: &Request<'_>, obj: &Value) -> Result<(), StatusError> {
        let named = if request.operation == Operation::Update { request.name } else { "" };
        if self.allowed(request, "escalate", &request.resource.resource, named) {
            return Ok(());
        }
        let refuse = |why: String| StatusError::forbidden(&request.resource.group_resource(), meta::name(obj), why);
        self.confirm(request, &Rule::read_all(obj)).map_err(refuse)?;
        let aggregates = |role: &Value| !role.sub("aggregationRule").list("clusterRoleSelectors").is_empty();
        if (aggregates(obj) || request.old.is_some_and(aggregates))
            && self.confirm(request, &Rule::everything()).is_err()
        {
            return Err(refuse("must have cluster-admin privileges to use the aggregationRule".into()));
        }
        Ok(())
    }

    fn binding(&self, request: &Request<'_>, obj: &Value) -> Result<(), StatusError> {
        let (kind, name) = (obj.sub("roleRef").text("kind"), obj.sub("roleRef").text("name"));
        let resource = match kind {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            // Validation will say so.
            _ => return Ok(()),
        };
        if self.allowed(request, "bind", resource, name) {
            return Ok(());
        }
        let group_resource = machinery::gvk::GroupResource::new(GROUP, resource.trim_end_matches('s'));
        let rules = self.rbac.role_rules(kind, name, request.namespace.unwrap_or_default());
        let rules = rules.map_err(|_| StatusError::not_found(&group_resource, name))?;
        let refuse = |why: String| StatusError::forbidden(&request.resource.group_resource(), meta::name(obj), why);
        self.confirm(request, &rules).map_err(refuse)
    }
}

/// Whether an update changes no more than what garbage collection writes.
fn only_bookkeeping(obj: &Value, old: &Value) -> bool {
    let plain = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["ownerReferences", "finalizers", "managedFields", "selfLink"] {
                metadata.remove(field);
            }
            // An update may leave it out, which is not a change.
            metadata.insert("resourceVersion".into(), json!(""));
        }
        object
    };
    plain(obj) == plain(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_collection_gives_nothing_away() {
        let role = |finalizers: Value, rules: Value| json!({"metadata": {"name": "r", "finalizers": finalizers}, "rules": rules});
        let old = role(json!(["a"]), json!([]));
        assert!(only_bookkeeping(&role(json!([]), json!([])), &old));
        assert!(!only_bookkeeping(&role(json!(["a"]), json!([{}])), &old));
    }
}
