//! Readers of a typed pod, under upstream's names for things.

use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, PodSpec};
use std::{borrow::Cow, sync::LazyLock};

static EMPTY: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);

pub(crate) fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&EMPTY)
}
pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}
pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}
pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}
pub(crate) fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}
pub(crate) fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network.unwrap_or_default()
}
pub(crate) fn deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}
pub(crate) fn is_terminal(phase: &str) -> bool {
    matches!(phase, "Failed" | "Succeeded")
}

/// `name_namespace(uid)`, as upstream's messages write a pod.
pub(crate) fn format(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// Where the pod came from; an annotation tells static pods and their mirrors.
pub(crate) fn is_static(pod: &Pod) -> bool {
    annotation(pod, "kubernetes.io/config.source").is_some_and(|source| source != "api")
}
pub(crate) fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, "kubernetes.io/config.mirror").is_some()
}
/// A pod that the node cannot do without: static, mirrored or of a system priority. Upstream: pkg/kubelet/types,
/// IsCriticalPod.
pub(crate) fn is_critical(pod: &Pod) -> bool {
    const SYSTEM_CRITICAL: i32 = 2_000_000_000;
    is_static(pod) || is_mirror(pod) || spec(pod).priority.unwrap_or(0) >= SYSTEM_CRITICAL
}
pub(crate) fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// An init container that keeps running beside the others.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Init,
    Regular,
    Ephemeral,
}

/// An ephemeral container has a container's fields and one more.
pub(crate) fn ephemeral(pod: &Pod) -> Vec<Container> {
    let list = spec(pod).ephemeral_containers.as_deref().unwrap_or_default();
    list.iter().filter_map(|c| serde_json::from_value(serde_json::to_value(c).ok()?).ok()).collect()
}

pub(crate) fn find<'a>(pod: &'a Pod, name: &str) -> Option<(Kind, Cow<'a, Container>)> {
    let by_name = |list: &'a [Container]| list.iter().find(|c| c.name == name);
    if let Some(container) = by_name(&spec(pod).containers) {
        return Some((Kind::Regular, Cow::Borrowed(container)));
    }
    if let Some(container) = by_name(init_containers(pod)) {
        return Some((Kind::Init, Cow::Borrowed(container)));
    }
    ephemeral(pod).into_iter().find(|c| c.name == name).map(|c| (Kind::Ephemeral, Cow::Owned(c)))
}

/// Whether the container is to be started again after it ended with that code.
pub(crate) fn restarts(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        if let Some(codes) = &rule.exit_codes {
            let listed = codes.values.iter().flatten().any(|v| *v == exit_code);
            if (codes.operator == "In" && listed) || (codes.operator == "NotIn" && !listed) {
                return rule.action.starts_with("Restart");
            }
        }
    }
    let policy = container.restart_policy.as_deref().or(spec(pod).restart_policy.as_deref());
    match policy {
        Some("Never") => false,
        Some("OnFailure") => exit_code != 0,
        _ => true,
    }
}

/// What events about the pod, or one of its containers, refer to.
pub(crate) fn reference(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let field_path = container.map(|name| match find(pod, name).map(|f| f.0) {
        Some(Kind::Init) => format!("spec.initContainers{{{name}}}"),
        Some(Kind::Ephemeral) => format!("spec.ephemeralContainers{{{name}}}"),
        _ => format!("spec.containers{{{name}}}"),
    });
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}
