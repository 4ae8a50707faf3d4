//! Questions about namespaces that whoever fills them asks.

use k8s_openapi::api::core::v1::Namespace;

/// Not on its way out.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    namespace.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Active") == "Active"
}

/// The result of a create in a namespace: that it is going, or that somebody was quicker, is no error.
pub(crate) fn unless_going<T>(created: kube::Result<T>) -> anyhow::Result<()> {
    match created {
        Ok(_) => Ok(()),
        Err(e) if client::is_already_exists(&e) || client::is_not_found(&e) => Ok(()),
        Err(e) if client::is_namespace_terminating(&e) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
