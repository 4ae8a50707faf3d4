//! What of an object can be brought back, and how: without what the server gives (UID, revision, times), with owners by the UIDs
//! that they have now, and without what binds it to a machine or to a moment.

use std::collections::HashMap;

use machinery::meta;
use serde_json::{Map, Value};

/// Metadata that the server gives.
const GIVEN: &[&str] = &[
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
];
/// Finalizers of a deletion that was under way.
const DELETING: &[&str] = &["foregroundDeletion", "orphan"];
/// Annotations by which a claim is bound to its volume.
const BINDING: &[&str] = &[
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
];
/// What the controller of Jobs marks pods with, by the Job's UID.
const JOB_LABELS: &[&str] =
    &["controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"];
/// What controllers count in annotations.
const COUNTED: &[&str] = &["deployment.kubernetes.io/revision"];
/// Belongs to the UID of a service account.
const TOKEN: &str = "kubernetes.io/service-account-token";

/// An owner, as an object names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The UID that it had.
    pub uid: String,
}

/// What has become of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// It has this UID now.
    Is(String),
    /// It is not there.
    Gone,
}

/// The owners of an object.
pub fn owners(value: &Value) -> Vec<Reference> {
    let all = value["metadata"]["ownerReferences"].as_array();
    let text = |owner: &Value, name: &str| owner[name].as_str().unwrap_or_default().to_owned();
    let of = |owner: &Value| Reference {
        api_version: text(owner, "apiVersion"),
        kind: text(owner, "kind"),
        name: text(owner, "name"),
        uid: text(owner, "uid"),
    };
    all.into_iter().flatten().map(of).collect()
}

/// The object as it can be made, and what of it is not as it was. An owner that has gone is left out: otherwise the garbage
/// collector would take the object at once.
pub fn clean(value: &Value, owners: &HashMap<String, Owner>, has_status: bool) -> (Value, Vec<String>) {
    let (mut value, mut notes) = (value.clone(), Vec::new());
    if has_status {
        remove(&mut value, "status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        GIVEN.iter().for_each(|name| drop(metadata.remove(*name)));
        if let Some(Value::Array(references)) = metadata.get_mut("ownerReferences") {
            references.retain_mut(|reference| match owners.get(reference["uid"].as_str().unwrap_or_default()) {
                Some(Owner::Is(uid)) => {
                    reference["uid"] = uid.as_str().into();
                    true
                }
                Some(Owner::Gone) | None => {
                    let (kind, name) = (&reference["kind"], &reference["name"]);
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    notes.push(format!("its owner {} {} is not there: it has none now", text(kind), text(name)));
                    false
                }
            });
        }
        if let Some(Value::Array(finalizers)) = metadata.get_mut("finalizers") {
            finalizers.retain(|finalizer| !DELETING.iter().any(|deleting| finalizer == deleting));
        }
    }
    match meta::kind(&value) {
        "Pod" => ["nodeName", "ephemeralContainers"].iter().for_each(|name| remove(&mut value["spec"], name)),
        "Job" if value["spec"]["manualSelector"] != true => {
            remove(&mut value["spec"], "selector");
            let template = &mut value["spec"]["template"]["metadata"]["labels"];
            JOB_LABELS.iter().for_each(|label| remove(template, label));
            // The UIDs: the Job's own labels with its name may be anybody's.
            let labels = &mut value["metadata"]["labels"];
            JOB_LABELS[..2].iter().for_each(|label| remove(labels, label));
        }
        // By its name: a claim of that name is another one now.
        "PersistentVolume" if value["spec"]["claimRef"].is_object() => {
            ["uid", "resourceVersion"].iter().for_each(|name| remove(&mut value["spec"]["claimRef"], name));
        }
        "Secret" if value["type"] == TOKEN => {
            remove(&mut value["metadata"]["annotations"], "kubernetes.io/service-account.uid");
            remove(&mut value["data"], "token");
        }
        _ => {}
    }
    empty_metadata(&mut value);
    (value, notes)
}

/// Whose fields were whose, where that matters: server-side apply would otherwise find all of them another manager's. Those of
/// subresources are of what is not brought back.
pub fn managers(value: &Value) -> Option<Value> {
    let all = value["metadata"]["managedFields"].as_array()?;
    let own: Vec<Value> = all.iter().filter(|entry| entry.get("subresource").is_none()).cloned().collect();
    own.iter().any(|entry| entry["operation"] == "Apply").then_some(own.into())
}

/// A claim without its volume: it gets a new one.
pub fn unbind(claim: &mut Value) {
    remove(&mut claim["spec"], "volumeName");
    BINDING.iter().for_each(|name| remove(&mut claim["metadata"]["annotations"], name));
    empty_metadata(claim);
}

/// A claim that is to be bound to its own volume again.
pub fn rebind(claim: &mut Value) {
    remove(&mut claim["metadata"]["annotations"], BINDING[0]);
    empty_metadata(claim);
}

/// A Service with other addresses and ports, where the ones that it had are somebody else's; what was given up.
pub fn without_addresses(value: &Value) -> Option<(Value, &'static str)> {
    if meta::kind(value) != "Service" || value["spec"]["clusterIP"] == "None" {
        return None;
    }
    let mut value = value.clone();
    for name in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
        remove(&mut value["spec"], name);
    }
    for port in value["spec"]["ports"].as_array_mut().into_iter().flatten() {
        remove(port, "nodePort");
    }
    Some((value, "it has other addresses and node ports than it had"))
}

/// What replaces the object that is there: what was, with what belongs to this one's life.
pub fn onto(wanted: &Value, live: &Value, has_status: bool) -> Value {
    let mut value = wanted.clone();
    for name in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
        if let Some(now) = live["metadata"].get(name) {
            value["metadata"][name] = now.clone();
        }
    }
    let keep: &[&[&str]] = match meta::kind(&value) {
        "Service" => &[&["spec", "clusterIP"], &["spec", "clusterIPs"]],
        "PersistentVolumeClaim" => &[&["spec", "volumeName"]],
        "Pod" => &[&["spec", "nodeName"], &["spec", "ephemeralContainers"]],
        "Job" => &[&["spec", "selector"], &["spec", "template", "metadata", "labels"]],
        "Namespace" => &[&["spec"]],
        "Secret" if live["type"] == TOKEN => &[&["data"]],
        _ => &[],
    };
    keep.iter().for_each(|path| copy(path, live, &mut value));
    for name in COUNTED.iter().chain(BINDING) {
        copy(&["metadata", "annotations", name], live, &mut value);
    }
    if has_status && let Some(status) = live.get("status") {
        value["status"] = status.clone();
    }
    empty_metadata(&mut value);
    value
}

/// What is compared of an object.
pub fn comparable(value: &Value, has_status: bool) -> Value {
    let mut value = value.clone();
    if has_status {
        remove(&mut value, "status");
    }
    GIVEN.iter().for_each(|name| remove(&mut value["metadata"], name));
    empty_metadata(&mut value);
    value
}

fn copy(path: &[&str], from: &Value, to: &mut Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let source = path.iter().try_fold(from, |value, name| value.get(*name));
    let mut place = to;
    for parent in parents {
        if source.is_none() && place.get(*parent).is_none() {
            return;
        }
        place = &mut place[*parent];
    }
    match source {
        Some(source) => place[*last] = source.clone(),
        None => remove(place, last),
    }
}

fn remove(value: &mut Value, name: &str) {
    if let Some(members) = value.as_object_mut() {
        members.remove(name);
    }
}

/// Maps and lists of metadata that are empty are none.
fn empty_metadata(value: &mut Value) {
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let is_empty = |value: &Value| {
        value.is_null() || value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
    };
    metadata.retain(|_, value| !is_empty(value));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn owners_are_who_they_are_now_or_none() {
        let reference = |name: &str| json!({"apiVersion": "v1", "kind": "K", "name": name, "uid": name});
        let value = json!({"kind": "Secret", "metadata": {
            "name": "s", "uid": "u", "resourceVersion": "5", "managedFields": [{}], "finalizers": ["foregroundDeletion"],
            "ownerReferences": [reference("a"), reference("b")],
        }});
        let known = [("a".to_owned(), Owner::Is("now".into())), ("b".to_owned(), Owner::Gone)].into();
        let (made, notes) = clean(&value, &known, true);
        let owner = json!({"apiVersion": "v1", "kind": "K", "name": "a", "uid": "now"});
        assert_eq!(made, json!({"kind": "Secret", "metadata": {"name": "s", "ownerReferences": [owner]}}));
        assert_eq!(notes, ["its owner K b is not there: it has none now"]);
        assert_eq!(owners(&value)[1].uid, "b");
    }

    #[test]
    fn fields_are_whose_they_were_where_they_were_applied() {
        let entry = |operation: &str, more: Value| {
            let mut entry = json!({"manager": "m", "operation": operation});
            entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
            entry
        };
        let of = |entries: Value| managers(&json!({"metadata": {"managedFields": entries}}));
        assert_eq!(of(json!([entry("Update", json!({}))])), None);
        let status = entry("Update", json!({"subresource": "status"}));
        let applied = entry("Apply", json!({}));
        assert_eq!(of(json!([applied, status])), Some(json!([applied])));
    }

    #[test]
    fn what_belongs_to_a_machine_or_a_life_is_left_out() {
        let check = |value: Value, expect: Value| assert_eq!(clean(&value, &HashMap::new(), true).0, expect);
        check(
            json!({"kind": "Pod", "metadata": {}, "spec": {"nodeName": "n", "containers": []}, "status": {"phase": "Running"}}),
            json!({"kind": "Pod", "metadata": {}, "spec": {"containers": []}}),
        );
        let labels = json!({"app": "a", "controller-uid": "u", "batch.kubernetes.io/job-name": "j"});
        check(
            json!({"kind": "Job", "metadata": {"labels": {"controller-uid": "u", "job-name": "j"}}, "spec": {
                "selector": {}, "template": {"metadata": {"labels": labels}}}}),
            json!({"kind": "Job", "metadata": {"labels": {"job-name": "j"}}, "spec": {
                "template": {"metadata": {"labels": {"app": "a"}}}}}),
        );
        let uid = json!({"kubernetes.io/service-account.uid": "u"});
        check(
            json!({"kind": "Secret", "metadata": {"annotations": uid}, "type": TOKEN, "data": {"token": "x", "ca.crt": "c"}}),
            json!({"kind": "Secret", "metadata": {}, "type": TOKEN, "data": {"ca.crt": "c"}}),
        );
        let mut claim =
            json!({"metadata": {"annotations": {BINDING[0]: "yes", "own": "x"}}, "spec": {"volumeName": "v"}});
        unbind(&mut claim);
        assert_eq!(claim, json!({"metadata": {"annotations": {"own": "x"}}, "spec": {}}));
    }

    #[test]
    fn what_is_there_keeps_what_is_its_own() {
        let live = json!({"kind": "Service", "metadata": {"uid": "u", "resourceVersion": "9"},
            "spec": {"clusterIP": "10.0.0.9", "ports": [{"port": 80}]}, "status": {"a": 1}});
        let wanted = json!({"kind": "Service", "metadata": {"labels": {"a": "b"}},
            "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 81}]}});
        let onto = onto(&wanted, &live, true);
        assert_eq!(
            onto,
            json!({"kind": "Service", "metadata": {"uid": "u", "resourceVersion": "9", "labels": {"a": "b"}},
            "spec": {"clusterIP": "10.0.0.9", "ports": [{"port": 81}]}, "status": {"a": 1}})
        );
        let (other, _) = without_addresses(&wanted).unwrap();
        assert_eq!(other["spec"], json!({"ports": [{"port": 81}]}));
        assert!(without_addresses(&json!({"kind": "Service", "spec": {"clusterIP": "None"}})).is_none());
    }
}
