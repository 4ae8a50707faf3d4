//! The decisions: which pods are garbage, and why.

use std::{collections::HashSet, sync::Arc};

use client::Index;
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::util::pods;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Why {
    TooManyFinished,
    OutOfService,
    NodeGone,
    NeverScheduled,
}

impl Why {
    /// As metrics tell them apart.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::TooManyFinished => "terminated",
            Self::OutOfService => "out-of-service",
            Self::NodeGone => "orphaned",
            Self::NeverScheduled => "unscheduled",
        }
    }
}

pub(crate) fn out_of_service(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_ref()).into_iter().flatten();
    let ready = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = ready.into_iter().any(|c| c.type_ == "Ready" && c.status == "True");
    !ready && taints.into_iter().any(|t| t.key == "node.kubernetes.io/out-of-service")
}

/// Pods by whether they are finished or on their way out.
pub(crate) const ENDED: Index<Pod> = Index::new("ended", ended);
/// Where [`ENDED`] has those that are.
pub(crate) const HAS_ENDED: &str = "ended";

pub(crate) fn ended(pod: &Pod) -> &'static str {
    if pods::is_finished(pod) || pods::is_terminating(pod) { HAS_ENDED } else { "" }
}

/// Of most pods there is nothing more to ask.
pub(crate) fn may_be_garbage(pod: &Pod, known: impl Fn(&str) -> bool) -> bool {
    let node = pods::node_name(pod);
    ended(pod) == HAS_ENDED || (!node.is_empty() && !known(node))
}

/// The nodes that pods name and that are not known.
pub(crate) fn unknown_nodes(all: &[Arc<Pod>], known: impl Fn(&str) -> bool) -> Vec<String> {
    let mut names: Vec<_> = all.iter().map(|p| pods::node_name(p)).filter(|n| !n.is_empty() && !known(n)).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(str::to_owned).collect()
}

/// All garbage among those that may be, each pod once.
pub(crate) fn sync(
    all: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
    gone: &[String],
    threshold: usize,
) -> Vec<(Arc<Pod>, Why)> {
    let mut finished: Vec<_> = all.iter().filter(|p| pods::is_finished(p)).cloned().collect();
    let excess = if threshold == 0 { 0 } else { finished.len().saturating_sub(threshold) };
    let evicted = |p: &Pod| p.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("Evicted");
    let created = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
    finished.sort_by_cached_key(|p| (!evicted(p), created(p), p.metadata.name.clone()));
    finished.truncate(excess);
    let excess: HashSet<_> = finished.iter().map(Arc::as_ptr).collect();
    let why = |pod: &Arc<Pod>| {
        let on = pods::node_name(pod);
        if excess.contains(&Arc::as_ptr(pod)) {
            Some(Why::TooManyFinished)
        } else if gone.iter().any(|g| g == on) {
            Some(Why::NodeGone)
        } else if !pods::is_terminating(pod) {
            None
        } else if on.is_empty() {
            Some(Why::NeverScheduled)
        } else {
            node(on).filter(|n| out_of_service(n)).map(|_| Why::OutOfService)
        }
    };
    all.iter().filter_map(|p| why(p).map(|w| (p.clone(), w))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, phase: &str, deleting: bool) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name}, "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase},
        });
        if deleting {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn node(name: &str) -> Option<Arc<Node>> {
        let taints = json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]);
        let taints = if name == "out" { taints } else { json!([]) };
        let node = json!({"metadata": {"name": name}, "spec": {"taints": taints}});
        (name != "gone").then(|| Arc::new(serde_json::from_value(node).unwrap()))
    }

    #[test]
    fn garbage_is_found_and_the_rest_is_left() {
        let all = [
            pod("running", "n", "Running", false),
            pod("stopping", "n", "Running", true),
            pod("lost", "gone", "Running", false),
            pod("pending", "", "Pending", false),
            pod("cancelled", "", "Pending", true),
            pod("out", "out", "Running", true),
            pod("done-1", "n", "Succeeded", false),
            pod("done-2", "n", "Failed", false),
        ];
        let may: Vec<_> = all.iter().filter(|p| may_be_garbage(p, |n| node(n).is_some())).cloned().collect();
        assert!(!may.iter().any(|p| ["running", "pending"].contains(&p.metadata.name.as_deref().unwrap())));
        let names = |gone: &[String], threshold| {
            let found = sync(&may, node, gone, threshold);
            found.iter().map(|(p, w)| format!("{} {w:?}", p.metadata.name.as_deref().unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(names(&[], 0), ["cancelled NeverScheduled", "out OutOfService"]);
        assert_eq!(
            names(&["gone".into()], 1),
            ["lost NodeGone", "cancelled NeverScheduled", "out OutOfService", "done-1 TooManyFinished"]
        );
        assert_eq!(unknown_nodes(&all, |n| node(n).is_some()), ["gone"]);
    }
}
