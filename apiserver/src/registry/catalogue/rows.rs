//! The rows of the built-in resources, in the order in which discovery lists them.

use machinery::gvk::GroupVersionKind;

use super::{Resource, Verb};

/// Every built-in resource.
pub fn rows() -> Vec<Resource> {
    vec![
        Resource::stored("", "v1", "configmaps", "ConfigMap", "configmaps").short(&["cm"]),
        Resource::stored("", "v1", "namespaces", "Namespace", "namespaces")
            .cluster()
            .short(&["ns"])
            .part("status")
            .sub("finalize", GroupVersionKind::new("", "v1", "Namespace"), &[Verb::Update])
            .select("status.phase"),
        Resource::stored("", "v1", "pods", "Pod", "pods")
            .short(&["po"])
            .categories(&["all"])
            .generation()
            .part("status")
            .sub("binding", GroupVersionKind::new("", "v1", "Binding"), &[Verb::Create])
            .select("spec.nodeName")
            .select("status.phase"),
        Resource::stored("apps", "v1", "deployments", "Deployment", "deployments")
            .short(&["deploy"])
            .categories(&["all"])
            .generation()
            .part("status")
            .sub("scale", GroupVersionKind::new("autoscaling", "v1", "Scale"), &[Verb::Get, Verb::Patch, Verb::Update]),
    ]
}
