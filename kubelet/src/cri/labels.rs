//! The labels and annotations by which a kubelet finds its pods again in the runtime; upstream's, so that either takes over
//! the other's containers. Upstream: pkg/kubelet/kuberuntime/labels.go.

use crate::pod;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::HashMap;

pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";

pub(crate) const HASH: &str = "io.kubernetes.container.hash";
pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub(crate) const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub(crate) const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
const PORTS: &str = "io.kubernetes.container.ports";
const DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";
pub(crate) const TERMINATION_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// A sandbox carries the pod's own labels too.
pub(crate) fn sandbox(pod: &Pod) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.extend(identity(pod));
    labels
}

pub(crate) fn container(pod: &Pod, container: &Container) -> HashMap<String, String> {
    identity(pod).into_iter().chain([(CONTAINER_NAME.to_owned(), container.name.clone())]).collect()
}

fn identity(pod: &Pod) -> [(String, String); 3] {
    [
        (POD_NAME.to_owned(), pod::name(pod).to_owned()),
        (POD_NAMESPACE.to_owned(), pod::namespace(pod).to_owned()),
        (POD_UID.to_owned(), pod::uid(pod).to_owned()),
    ]
}

/// What must outlive the kubelet's own memory: a pod deleted from the API while the kubelet was down is ended by these.
pub(crate) fn annotations(pod: &Pod, container: &Container, restart_count: u32) -> HashMap<String, String> {
    let mut set = HashMap::from([
        (HASH.to_owned(), hash(container)),
        (RESTART_COUNT.to_owned(), restart_count.to_string()),
        (TERMINATION_MESSAGE_PATH.to_owned(), container.termination_message_path.clone().unwrap_or_default()),
        (TERMINATION_MESSAGE_POLICY.to_owned(), container.termination_message_policy.clone().unwrap_or_default()),
    ]);
    if let Some(seconds) = pod.metadata.deletion_grace_period_seconds {
        set.insert(DELETION_GRACE.to_owned(), seconds.to_string());
    }
    if let Some(seconds) = pod::spec(pod).termination_grace_period_seconds {
        set.insert(TERMINATION_GRACE.to_owned(), seconds.to_string());
    }
    if let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) {
        set.insert(PRE_STOP.to_owned(), serde_json::to_string(hook).unwrap_or_default());
    }
    if let Some(ports) = container.ports.as_ref().filter(|p| !p.is_empty()) {
        set.insert(PORTS.to_owned(), serde_json::to_string(ports).unwrap_or_default());
    }
    set
}

/// Changes when a running container must be replaced: of all that a pod's spec lets change, its name and image alone.
///
/// Upstream's value (32-bit FNV-1a over Go's printed form of a JSON text), so that containers started by an upstream kubelet are
/// taken over and not restarted. Upstream: pkg/kubelet/container/helpers.go, HashContainer.
pub(crate) fn hash(container: &Container) -> String {
    let picked = serde_json::json!({"image": container.image.as_deref().unwrap_or_default(), "name": container.name});
    let bytes: Vec<String> = picked.to_string().bytes().map(|byte| byte.to_string()).collect();
    let printed = format!("([]uint8)[{}]", bytes.join(" "));
    let hash = printed.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_upstreams() {
        let container =
            Container { name: "test_container".into(), image: Some("foo/image:v1".into()), ..Default::default() };
        assert_eq!(hash(&container), "8e45cbd0");
    }
}
