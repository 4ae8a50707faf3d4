//! The smallest strategic merge patch from one pod status to another.
//!
//! Only what changed is written: conditions of other writers, and fields this kubelet has never heard of, stay as they are.
//! Upstream: pkg/util/pod/pod.go, PatchPodStatus.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// Lists of the status that the API merges by a key.
const MERGED: &[(&str, &str)] =
    &[("conditions", "type"), ("podIPs", "ip"), ("hostIPs", "ip"), ("resourceClaimStatuses", "name")];

/// `None` if nothing changed.
pub(crate) fn status_patch(uid: &str, old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let (old, new) = (to_map(old), to_map(new));
    let mut status = Map::new();
    for (key, value) in &new {
        if old.get(key) == Some(value) {
            continue;
        }
        match MERGED.iter().find(|(name, _)| name == key) {
            Some((name, by)) => merged(name, by, old.get(key).unwrap_or(&Value::Null), value, &mut status),
            None => drop(status.insert(key.clone(), value.clone())),
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        status.insert(key.clone(), Value::Null);
    }
    (!status.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": status}))
}

fn to_map(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn merged(name: &str, by: &str, old: &Value, new: &Value, status: &mut Map<String, Value>) {
    let empty = Vec::new();
    let (old, new) = (old.as_array().unwrap_or(&empty), new.as_array().unwrap_or(&empty));
    let find = |list: &[Value], key: &Value| list.iter().find(|item| &item[by] == key).cloned();
    let mut changes = Vec::new();
    for item in new {
        match find(old, &item[by]) {
            Some(same) if same == *item => {}
            Some(before) => {
                let mut change = item.clone();
                for field in
                    before.as_object().into_iter().flat_map(Map::keys).filter(|f| item.get(f.as_str()).is_none())
                {
                    change[field] = Value::Null;
                }
                changes.push(change);
            }
            None => changes.push(item.clone()),
        }
    }
    for item in old.iter().filter(|item| find(new, &item[by]).is_none()) {
        changes.push(json!({by: item[by].clone(), "$patch": "delete"}));
    }
    let order: Vec<Value> = new.iter().map(|item| json!({by: item[by].clone()})).collect();
    status.insert(format!("$setElementOrder/{name}"), Value::Array(order));
    status.insert(name.to_owned(), Value::Array(changes));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: Value, new: Value, expected: Value) {
        let status = |v: Value| serde_json::from_value::<PodStatus>(v).expect("a status");
        let patch = status_patch("u", &status(old), &status(new)).map_or(Value::Null, |mut p| p["status"].take());
        assert_eq!(patch, expected);
    }

    #[test]
    fn only_what_changed() {
        check(json!({"phase": "Running"}), json!({"phase": "Running"}), Value::Null);
        check(
            json!({"phase": "Pending", "reason": "x"}),
            json!({"phase": "Running"}),
            json!({"phase": "Running", "reason": null}),
        );
        check(
            json!({"conditions": [{"type": "Ready", "status": "False", "reason": "r"}, {"type": "Other", "status": "True"}]}),
            json!({"conditions": [{"type": "Other", "status": "True"}, {"type": "Ready", "status": "True"}]}),
            json!({"$setElementOrder/conditions": [{"type": "Other"}, {"type": "Ready"}], "conditions": [{"type": "Ready", "status": "True", "reason": null}]}),
        );
        check(
            json!({"podIPs": [{"ip": "10.0.0.1"}]}),
            json!({"podIPs": [{"ip": "10.0.0.2"}]}),
            json!({"$setElementOrder/podIPs": [{"ip": "10.0.0.2"}], "podIPs": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.1", "$patch": "delete"}]}),
        );
    }
}
