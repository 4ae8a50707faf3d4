//! Events under the kubelet's name.

use crate::pod;
use controller::Recorder;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};

#[derive(Clone)]
pub(crate) struct Events {
    recorder: Option<Recorder>,
    node: String,
}

impl Events {
    /// Without a recorder nothing is written (tests).
    pub(crate) fn new(recorder: Option<Recorder>, node: &str) -> Self {
        Self { recorder, node: node.to_owned() }
    }

    /// About a pod, or one of its containers.
    pub(crate) fn pod(&self, pod: &Pod, container: Option<&str>, kind: &str, reason: &str, message: &str) {
        if let Some(recorder) = &self.recorder {
            recorder.event(&pod::reference(pod, container), kind, reason, message);
        }
    }

    /// About the node. Upstream's events name the node in place of its uid.
    pub(crate) fn node(&self, kind: &str, reason: &str, message: &str) {
        let node = ObjectReference {
            kind: Some("Node".into()),
            name: Some(self.node.clone()),
            uid: Some(self.node.clone()),
            ..Default::default()
        };
        if let Some(recorder) = &self.recorder {
            recorder.event(&node, kind, reason, message);
        }
    }
}
