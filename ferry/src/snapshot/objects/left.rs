//! What is left to others: objects that controllers make anew of what is brought back, and what describes a moment that is over.
//! Whoever asks for one of them by its name gets it.
//!
//! Other tools leave out what has any owner, and lose passwords that an operator made once; or bring back all, and have each
//! pod twice. Here it is the kind that decides: those of Kubernetes' own controllers.

use machinery::meta;
use serde_json::Value;

/// Owners and what their controllers make of them.
const MADE: &[(&str, &str)] = &[
    ("Deployment", "ReplicaSet"),
    ("CronJob", "Job"),
    ("StatefulSet", "ControllerRevision"),
    ("DaemonSet", "ControllerRevision"),
    ("Service", "EndpointSlice"),
    ("Endpoints", "EndpointSlice"),
    ("Pod", "PersistentVolumeClaim"),
    ("Pod", "ResourceClaim"),
];

/// Why an object is left to others, if it is. `named`: it was asked for by its name.
pub fn why(value: &Value, named: bool) -> Option<String> {
    if named {
        return None;
    }
    let kind = meta::kind(value);
    if meta::deletion_timestamp(value).is_some() && kind != "Namespace" {
        return Some("it was being deleted".into());
    }
    match kind {
        "Event" => return Some("events are of their time".into()),
        "Lease" => return Some("its holder takes it anew".into()),
        "CSIStorageCapacity" => return Some("it is measured anew".into()),
        _ => {}
    }
    if let Some(owner) = meta::controller_of(value) {
        let made = kind == "Pod" || MADE.contains(&(owner.kind, kind));
        if made {
            return Some(format!("its {} {} makes it anew", owner.kind, owner.name));
        }
    }
    if kind == "EndpointSlice"
        && meta::label(value, "endpointslice.kubernetes.io/managed-by").is_some_and(is_controller)
    {
        return Some("its Service makes it anew".into());
    }
    if kind == "Endpoints"
        && meta::label(value, "endpoints.kubernetes.io/managed-by").is_some_and(|by| by == "endpoint-controller")
    {
        return Some("its Service makes it anew".into());
    }
    finished(value).map(String::from)
}

fn is_controller(manager: &str) -> bool {
    manager.ends_with("-controller.k8s.io")
}

/// What has done its work would do it again: it is brought back without its status.
fn finished(value: &Value) -> Option<&'static str> {
    match meta::kind(value) {
        "Pod" if matches!(value["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) => Some("it had ended"),
        "Job" => {
            let conditions = value["status"]["conditions"].as_array()?;
            let ended = |condition: &Value| {
                condition["status"] == "True" && matches!(condition["type"].as_str(), Some("Complete" | "Failed"))
            };
            conditions.iter().any(ended).then_some("it had ended, and would run again")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(kind: &str, owner: &str) -> Value {
        let owner = json!({"apiVersion": "x/v1", "kind": owner, "name": "o", "uid": "u", "controller": true});
        json!({"apiVersion": "x/v1", "kind": kind, "metadata": {"name": "a", "ownerReferences": [owner]}})
    }

    #[test]
    fn what_controllers_make_is_theirs_and_what_operators_keep_is_not() {
        for (value, expect) in [
            (owned("Pod", "ReplicaSet"), Some("its ReplicaSet o makes it anew")),
            (owned("Pod", "Rollout"), Some("its Rollout o makes it anew")),
            (owned("ReplicaSet", "Deployment"), Some("its Deployment o makes it anew")),
            (owned("ReplicaSet", "Rollout"), None),
            (owned("Job", "CronJob"), Some("its CronJob o makes it anew")),
            (owned("Secret", "Database"), None),
            (owned("PersistentVolumeClaim", "StatefulSet"), None),
            (owned("PersistentVolumeClaim", "Pod"), Some("its Pod o makes it anew")),
            (json!({"kind": "Pod", "metadata": {"name": "a"}}), None),
            (json!({"kind": "Pod", "metadata": {"name": "a"}, "status": {"phase": "Succeeded"}}), Some("it had ended")),
            (
                json!({"kind": "Job", "metadata": {}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
                Some("it had ended, and would run again"),
            ),
            (json!({"kind": "Job", "metadata": {}, "status": {"active": 1}}), None),
            (json!({"kind": "Event", "metadata": {}}), Some("events are of their time")),
            (
                json!({"kind": "Secret", "metadata": {"deletionTimestamp": "2026-11-30T12:00:00Z"}}),
                Some("it was being deleted"),
            ),
        ] {
            assert_eq!(why(&value, false).as_deref(), expect, "{value}");
            assert_eq!(why(&value, true), None);
        }
    }
}
