//! NamespaceLifecycle: nothing is created in a namespace that is not there or is going, and the system's namespaces
//! stay. Follows `admission/plugin/namespace/lifecycle`.

use async_trait::async_trait;
use machinery::gvk::GroupResource;
use machinery::json::Fields;
use machinery::status::{Cause, StatusError};
use model::resources::NAMESPACES;
use serde_json::Value;
use writes::admission::{Operation, Plugin, Request};

use super::forbidden;

/// See the module.
pub struct NamespaceLifecycle;

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn handles(&self, request: &Request<'_>) -> bool {
        if request.is("", "namespaces") {
            return request.operation == Operation::Delete;
        }
        // Updates are let through while the namespace exists, which the object to update shows.
        request.namespace.is_some()
            && request.creates()
            && !request.is("authorization.k8s.io", "localsubjectaccessreviews")
    }

    async fn admit(&self, request: &Request<'_>, obj: &mut Value) -> Result<(), StatusError> {
        let Some(namespace) = request.namespace.filter(|_| !request.is("", "namespaces")) else {
            return deletable(&NAMESPACES, request.name);
        };
        let seen = request.registry.get(&NAMESPACES, None, namespace);
        let seen = match seen {
            Some(found) => Some(found),
            None => request.registry.get_consistent(&NAMESPACES, None, namespace).await?,
        };
        let Some(found) = seen else { return Err(StatusError::not_found(&NAMESPACES, namespace)) };
        if found.sub("status").text("phase") != "Terminating" {
            return Ok(());
        }
        Err(terminating(request, obj, namespace))
    }
}

fn deletable(resource: &GroupResource, name: &str) -> Result<(), StatusError> {
    if IMMORTAL.contains(&name) {
        return Err(StatusError::forbidden(resource, name, "this namespace may not be deleted"));
    }
    Ok(())
}

fn terminating(request: &Request<'_>, obj: &Value, namespace: &str) -> StatusError {
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    forbidden(request, obj, why).with_cause(Cause {
        kind: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    })
}
