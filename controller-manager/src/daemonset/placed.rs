//! Where the pods of DaemonSets are: who asks about one node looks at no other's pods.

use std::collections::{HashMap, HashSet};

use client::Change;
use controller::controller_of;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use crate::util::{key::Key, pods};

/// The pods by node: the pod's key, and its DaemonSet's.
#[derive(Default)]
pub(crate) struct Placed(Mutex<HashMap<String, HashMap<Key, Key>>>);

fn set_of(pod: &Pod) -> Option<Key> {
    let owner = controller_of(&pod.metadata).filter(|o| o.kind == "DaemonSet")?;
    Some(Key { name: owner.name.clone(), ..Key::of(&pod.metadata) })
}

impl Placed {
    pub(crate) fn note(&self, change: &Change<Pod>) {
        let (gone, there) = match change {
            Change::Added(pod) => (None, Some(pod)),
            Change::Updated { old, new } => (Some(old), Some(new)),
            Change::Deleted(pod) => (Some(pod), None),
        };
        let mut nodes = self.0.lock();
        if let Some(pod) = gone
            && let Some(on_node) = nodes.get_mut(pods::node_name(pod))
        {
            on_node.remove(&Key::of(&pod.metadata));
            if on_node.is_empty() {
                nodes.remove(pods::node_name(pod));
            }
        }
        if let Some(pod) = there.filter(|p| !pods::node_name(p).is_empty())
            && let Some(set) = set_of(pod)
        {
            nodes.entry(pods::node_name(pod).to_owned()).or_default().insert(Key::of(&pod.metadata), set);
        }
    }

    /// The sets that have pods on a node.
    pub(crate) fn sets_on(&self, node: &str) -> HashSet<Key> {
        self.0.lock().get(node).map(|on_node| on_node.values().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_found_on_the_node_that_they_are_on_now() {
        let pod = |node: &str, kind: &str| -> Arc<Pod> {
            let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": "d", "uid": "u", "controller": true});
            let meta = json!({"name": "p", "namespace": "ns", "ownerReferences": [owner]});
            Arc::new(
                serde_json::from_value(json!({"metadata": meta, "spec": {"containers": [], "nodeName": node}}))
                    .unwrap(),
            )
        };
        let placed = Placed::default();
        let check = |node: &str, n: usize| assert_eq!(placed.sets_on(node).len(), n, "{node}");
        placed.note(&Change::Added(pod("", "DaemonSet")));
        check("", 0);
        placed.note(&Change::Updated { old: pod("", "DaemonSet"), new: pod("n", "DaemonSet") });
        assert_eq!(placed.sets_on("n"), [Key::new("ns", "d")].into());
        placed.note(&Change::Updated { old: pod("n", "DaemonSet"), new: pod("n", "ReplicaSet") });
        check("n", 0);
        placed.note(&Change::Updated { old: pod("n", "ReplicaSet"), new: pod("n", "DaemonSet") });
        placed.note(&Change::Deleted(pod("n", "DaemonSet")));
        check("n", 0);
    }
}
