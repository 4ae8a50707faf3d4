//! Questions about pods that every workload controller asks.

pub(crate) mod disrupt;

use std::cmp::Ordering;

use client::Index;
use k8s_openapi::{
    api::core::v1::{ContainerState, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Neither finished nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

/// No container of it runs, or will: it is finished, or it is being deleted and the kubelet has none running.
pub(crate) fn is_terminated(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let statuses = status.map(|s| [&s.init_container_statuses, &s.container_statuses, &s.ephemeral_container_statuses]);
    let mut states = statuses.into_iter().flatten().flatten().flatten().map(|container| container.state.as_ref());
    let stopped = |state: Option<&ContainerState>| state.is_some_and(|s| s.terminated.is_some() || s.waiting.is_some());
    is_finished(pod) || (is_terminating(pod) && states.all(stopped))
}

pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

pub(crate) fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default()
}

/// Pods by the node that they are bound to; under the empty name those that wait.
pub(crate) const BY_NODE: Index<Pod> = Index::new("node", node_name);

/// Since when the pod is ready.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready").filter(|c| c.status == "True")?.last_transition_time.as_ref().map(|t| t.0)
}

/// Ready for at least `min_ready_seconds`.
pub(crate) fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod)
        && (min_ready_seconds == 0 || next_availability(pod, min_ready_seconds, now).is_some_and(|d| d.is_none()))
}

/// In how long a ready pod becomes available: `Some(None)` if it is already, nothing if it isn't ready.
pub(crate) fn next_availability(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Option<SignedDuration>> {
    availability(ready_since(pod)?, min_ready_seconds, now)
}

/// The same of a pod that is ready since then.
pub(crate) fn availability(since: Timestamp, min_ready_seconds: i32, now: Timestamp) -> Option<Option<SignedDuration>> {
    let left = since + SignedDuration::from_secs(i64::from(min_ready_seconds)) - now;
    let left = SignedDuration::try_from(left).ok()?;
    Some((left > SignedDuration::ZERO).then_some(left))
}

/// The order in which a workload controller deletes pods: the least valuable first
/// (upstream's `ActivePodsWithRanks`). `rank` is the number of related pods on the pod's node.
pub(crate) fn deletion_order(a: (&Pod, usize), b: (&Pod, usize), now: Timestamp) -> Ordering {
    let ((a, rank_a), (b, rank_b)) = (a, b);
    by_stage(a, b)
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| rank_b.cmp(&rank_a))
        .then_with(|| match (is_ready(a) && is_ready(b), ready_since(a), ready_since(b)) {
            (true, since_a, since_b) if since_a != since_b => by_age(a, since_a, b, since_b, now),
            _ => Ordering::Equal,
        })
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            let created = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t: &Time| t.0);
            match (created(a), created(b)) {
                (x, y) if x == y => Ordering::Equal,
                (x, y) => by_age(a, x, b, y, now),
            }
        })
}

/// The same without regard to nodes and costs, and ages as they are (upstream's `ActivePods`).
pub(crate) fn plain_deletion_order(a: &Pod, b: &Pod) -> Ordering {
    let created = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
    // The younger first; before it what has no age.
    let younger = |a: Option<Timestamp>, b: Option<Timestamp>| match (a, b) {
        (Some(a), Some(b)) => b.cmp(&a),
        (a, b) => a.is_some().cmp(&b.is_some()),
    };
    by_stage(a, b)
        .then_with(|| younger(ready_since(a), ready_since(b)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| younger(created(a), created(b)))
}

/// Without a node before with one, pending before running, not ready before ready.
fn by_stage(a: &Pod, b: &Pod) -> Ordering {
    let unassigned = |p: &Pod| node_name(p).is_empty();
    let phase_ordinal = |p: &Pod| match phase(p) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    unassigned(b)
        .cmp(&unassigned(a))
        .then_with(|| phase_ordinal(a).cmp(&phase_ordinal(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
}

/// The younger first, but ages are compared by their order of magnitude and equals by UID: so that a scale-down after
/// a roll does not always take the pods of the same zone.
fn by_age(a: &Pod, at: Option<Timestamp>, b: &Pod, bt: Option<Timestamp>, now: Timestamp) -> Ordering {
    let (Some(at), Some(bt)) = (at, bt) else { return at.is_some().cmp(&bt.is_some()) };
    let magnitude = |t: Timestamp| match (now.as_nanosecond() - t.as_nanosecond()) as f64 {
        ns if ns > 0.0 => ns.log2() as i64,
        _ => -1,
    };
    magnitude(at).cmp(&magnitude(bt)).then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotation =
        pod.metadata.annotations.as_ref().and_then(|a| a.get("controller.kubernetes.io/pod-deletion-cost"));
    // Only what upstream's validation calls an integer: no plus sign, no leading zeros.
    let valid = |v: &&String| !v.starts_with('+') && (*v == "0" || !v.trim_start_matches('-').starts_with('0'));
    annotation.filter(valid).and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Restarts of the container that restarted most, then of the sidecar that did.
fn restarts(pod: &Pod) -> (i32, i32) {
    let status = pod.status.as_ref();
    let regular = status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten();
    let init = status.and_then(|s| s.init_container_statuses.as_ref()).into_iter().flatten();
    let sidecars = pod.spec.as_ref().and_then(|s| s.init_containers.as_ref());
    let is_sidecar = |name: &str| {
        sidecars.is_some_and(|i| i.iter().any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always")))
    };
    (
        regular.map(|c| c.restart_count).max().unwrap_or(0),
        init.filter(|c| is_sidecar(&c.name)).map(|c| c.restart_count).max().unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, value: serde_json::Value) -> Pod {
        let mut pod: Pod = serde_json::from_value(value).unwrap();
        pod.metadata.uid = Some(uid.into());
        pod
    }

    fn ready(at: &str) -> serde_json::Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at}]})
    }

    #[test]
    fn the_least_valuable_pod_goes_first() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let on = |node: &str, status: serde_json::Value| json!({"spec": {"containers": [], "nodeName": node}, "status": status});
        let old = "2026-01-01T00:00:00Z";
        let in_order = [
            pod("unassigned", json!({"spec": {"containers": []}, "status": {"phase": "Pending"}})),
            pod("pending", on("n", json!({"phase": "Pending"}))),
            pod("not-ready", on("n", json!({"phase": "Running"}))),
            pod("young", on("n", ready("2026-01-01T11:59:59Z"))),
            pod("old", on("n", ready(old))),
        ];
        for (i, a) in in_order.iter().enumerate() {
            for (j, b) in in_order.iter().enumerate() {
                assert_eq!(deletion_order((a, 0), (b, 0), now), i.cmp(&j), "{i} {j}");
            }
        }
        let (a, b) = (&in_order[4], pod("z", on("n", ready(old))));
        assert_eq!(deletion_order((a, 1), (&b, 2), now), Ordering::Greater, "doubled up goes first");
        let mut cheap = b.clone();
        cheap.metadata.annotations =
            Some([("controller.kubernetes.io/pod-deletion-cost".to_owned(), "-5".to_owned())].into());
        assert_eq!(deletion_order((&cheap, 0), (a, 9), now), Ordering::Less, "cost goes before rank");
    }

    #[test]
    fn without_nodes_and_costs_the_youngest_goes_first() {
        let pod = |uid: &str, at: &str, ready: Option<&str>, restarts: i32| {
            let container = json!({"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": restarts});
            let status = match ready {
                Some(since) => json!({"phase": "Running", "containerStatuses": [container],
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}),
                None => json!({"phase": "Running"}),
            };
            let meta = json!({"uid": uid, "creationTimestamp": at});
            let spec = json!({"containers": [], "nodeName": "n"});
            serde_json::from_value::<Pod>(json!({"metadata": meta, "spec": spec, "status": status})).unwrap()
        };
        let (day, noon, late) = ("2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z", "2026-01-01T12:00:01Z");
        let in_order = [
            pod("z", day, None, 0),
            pod("y", day, Some(late), 0),
            pod("x", noon, Some(noon), 3),
            pod("w", late, Some(noon), 1),
            pod("v", noon, Some(noon), 1),
            pod("u", day, Some(day), 9),
        ];
        for (i, a) in in_order.iter().enumerate() {
            for (j, b) in in_order.iter().enumerate() {
                assert_eq!(plain_deletion_order(a, b), i.cmp(&j), "{i} {j}");
            }
        }
    }

    #[test]
    fn a_pod_is_available_after_min_ready_seconds() {
        let p = pod("a", json!({"status": ready("2026-01-01T12:00:00Z")}));
        let at = |s: &str| s.parse::<Timestamp>().unwrap();
        assert!(is_available(&p, 0, at("2026-01-01T12:00:00Z")));
        assert!(!is_available(&p, 10, at("2026-01-01T12:00:09Z")));
        assert!(is_available(&p, 10, at("2026-01-01T12:00:10Z")));
        assert_eq!(next_availability(&p, 10, at("2026-01-01T12:00:04Z")), Some(Some(SignedDuration::from_secs(6))));
        assert!(!is_available(&pod("b", json!({})), 0, at("2026-01-01T12:00:00Z")));
    }
}
