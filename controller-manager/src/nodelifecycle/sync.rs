//! The decisions: what an unheard node's conditions say, and which taints a node should have.

use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// A condition's type and status, and the taint that says so.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
/// What the kubelet reports and its silence makes unknown.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub(crate) use crate::util::nodes::{condition, is_ready};

/// Whether its kubelet ever said anything.
pub(crate) fn has_reported(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|c| c.reason.as_deref() != Some("NodeStatusNeverUpdated"))
}

/// What changes when the kubelet writes its status.
pub(crate) fn heartbeat(node: &Node) -> Option<Timestamp> {
    condition(node, "Ready")?.last_heartbeat_time.as_ref().map(|t| t.0)
}

/// Makes everything that the kubelet reports unknown; true if something changed.
pub(crate) fn mark_unknown(node: &mut Node, now: Timestamp) -> bool {
    let created = node.metadata.creation_timestamp.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    let mut changed = false;
    for kind in REPORTED {
        match conditions.iter_mut().find(|c| c.type_ == kind) {
            None => {
                changed = true;
                conditions.push(NodeCondition {
                    type_: kind.into(),
                    status: "Unknown".into(),
                    reason: Some("NodeStatusNeverUpdated".into()),
                    message: Some("Kubelet never posted node status.".into()),
                    last_heartbeat_time: created.clone(),
                    last_transition_time: Some(Time(now)),
                });
            }
            Some(c) if c.status != "Unknown" => {
                changed = true;
                c.status = "Unknown".into();
                c.reason = Some("NodeStatusUnknown".into());
                c.message = Some("Kubelet stopped posting node status.".into());
                c.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
    changed
}

/// Whether one of the taints is this controller's and has pods evicted.
pub(crate) fn evicts<'a>(taints: impl IntoIterator<Item = &'a Taint>) -> bool {
    taints.into_iter().any(|taint| taint.effect == "NoExecute" && (taint.key == NOT_READY || taint.key == UNREACHABLE))
}

/// What may be done about pods of unready nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Eviction {
    /// They are evicted in their time.
    Allowed,
    /// Too much of the zone is unready, or others of it were given up just now: no new taints.
    Held,
    /// Nothing at all is ready: more likely this end is cut off. Taints are taken back.
    Off,
}

/// Whether it would be given up: it is not ready, and its pods do not go yet.
pub(crate) fn wants_eviction(node: &Node) -> bool {
    let unready = condition(node, "Ready").is_some_and(|c| c.status != "True");
    unready && !evicts(node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()))
}

/// The taints as they should be, or nothing if they are.
pub(crate) fn taints(node: &Node, eviction: Eviction, now: Timestamp) -> Option<Vec<Taint>> {
    let current = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
    let status = |kind: &str| condition(node, kind).map(|c| c.status.as_str());
    let mut schedule: Vec<&str> =
        TAINTS.iter().filter(|(kind, value, _)| status(kind) == Some(value)).map(|(_, _, taint)| *taint).collect();
    if node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
        schedule.push(UNSCHEDULABLE);
    }
    let unready = match status("Ready") {
        Some("False") => Some(NOT_READY),
        Some("Unknown") => Some(UNREACHABLE),
        _ => None,
    };
    let had = |key: &str, effect: &str| current.iter().any(|t| t.key == key && t.effect == effect);
    let tainted = had(NOT_READY, "NoExecute") || had(UNREACHABLE, "NoExecute");
    let execute = match eviction {
        Eviction::Allowed => unready,
        // What is there changes its name with the condition; nothing new comes.
        Eviction::Held => unready.filter(|_| tainted),
        Eviction::Off => None,
    };
    let ours = |t: &Taint| match t.effect.as_str() {
        "NoSchedule" => t.key == UNSCHEDULABLE || TAINTS.iter().any(|(_, _, key)| *key == t.key),
        // A node without any condition is left alone: its kubelet registers with the taint.
        "NoExecute" => (t.key == NOT_READY || t.key == UNREACHABLE) && status("Ready").is_some(),
        _ => false,
    };
    let wants = |t: &Taint| match t.effect.as_str() {
        "NoSchedule" => schedule.contains(&t.key.as_str()),
        _ => execute == Some(t.key.as_str()),
    };
    let mut new: Vec<Taint> = current.iter().filter(|t| !ours(t) || wants(t)).cloned().collect();
    let execute = execute.into_iter().map(|k| (k, "NoExecute"));
    for (key, effect) in schedule.iter().map(|k| (*k, "NoSchedule")).chain(execute) {
        if !had(key, effect) {
            let time_added = Some(Time(now));
            new.push(Taint { key: key.into(), effect: effect.into(), time_added, value: None });
        }
    }
    (new != current).then_some(new)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, ready: Option<&str>, taints: Value) -> Node {
        let conditions: Vec<_> = ready.iter().map(|s| json!({"type": "Ready", "status": s})).collect();
        let node =
            json!({"metadata": {"name": name}, "spec": {"taints": taints}, "status": {"conditions": conditions}});
        serde_json::from_value(node).unwrap()
    }

    fn print(taints: Option<Vec<Taint>>) -> Option<String> {
        let short = |k: &str| k.trim_start_matches("node.kubernetes.io/").to_owned();
        taints.map(|t| t.iter().map(|t| format!("{}:{}", short(&t.key), t.effect)).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn taints_follow_the_conditions() {
        let unreachable =
            json!([{"key": UNREACHABLE, "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoExecute"}]);
        let own = json!([{"key": "mine", "effect": "NoExecute"}]);
        for (ready, taints_, eviction, want) in [
            (Some("True"), json!([]), Eviction::Allowed, None),
            (Some("True"), unreachable.clone(), Eviction::Allowed, Some("")),
            (Some("Unknown"), json!([]), Eviction::Allowed, Some("unreachable:NoSchedule unreachable:NoExecute")),
            (Some("Unknown"), unreachable.clone(), Eviction::Allowed, None),
            (Some("False"), unreachable.clone(), Eviction::Allowed, Some("not-ready:NoSchedule not-ready:NoExecute")),
            (Some("Unknown"), json!([]), Eviction::Held, Some("unreachable:NoSchedule")),
            (Some("Unknown"), unreachable.clone(), Eviction::Held, None),
            (Some("Unknown"), unreachable, Eviction::Off, Some("unreachable:NoSchedule")),
            (Some("False"), own, Eviction::Allowed, Some("mine:NoExecute not-ready:NoSchedule not-ready:NoExecute")),
            (None, json!([{"key": NOT_READY, "effect": "NoExecute"}]), Eviction::Allowed, None),
        ] {
            let got = print(taints(&node("n", ready, taints_.clone()), eviction, Timestamp::UNIX_EPOCH));
            assert_eq!(got.as_deref(), want, "{ready:?} {taints_} {eviction:?}");
        }
    }

    #[test]
    fn silence_makes_everything_unknown_once() {
        let mut n = node("n", Some("True"), json!([]));
        assert!(mark_unknown(&mut n, Timestamp::UNIX_EPOCH));
        assert_eq!(condition(&n, "Ready").unwrap().reason.as_deref(), Some("NodeStatusUnknown"));
        assert_eq!(condition(&n, "DiskPressure").unwrap().reason.as_deref(), Some("NodeStatusNeverUpdated"));
        assert!(!mark_unknown(&mut n, Timestamp::UNIX_EPOCH));
    }
}
