//! What claims and volumes of the class `local` lead to.

use serde_json::{Value, json};
use volumes::annotations::{EXTERNAL_FINALIZER, SELECTED_NODE};

use super::{node::Kept, sync::*};

fn of<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn class() -> k8s_openapi::api::storage::v1::StorageClass {
    of(json!({"metadata": {"name": "local"}, "provisioner": PROVISIONER, "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer"}))
}

fn node() -> k8s_openapi::api::core::v1::Node {
    of(json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "host-1"}}}))
}

fn merged(mut base: Value, change: Value) -> Value {
    fn merge(base: &mut Value, change: Value) {
        match change {
            Value::Object(change) if base.is_object() => {
                change.into_iter().for_each(|(key, value)| merge(&mut base[key], value));
            }
            change => *base = change,
        }
    }
    merge(&mut base, change);
    base
}

/// A claim that the scheduler has found a node for.
fn waiting(change: Value) -> k8s_openapi::api::core::v1::PersistentVolumeClaim {
    let annotations = json!({SELECTED_NODE: "n1", "volume.kubernetes.io/storage-provisioner": PROVISIONER});
    of(merged(
        json!({
            "metadata": {"name": "c", "namespace": "ns", "uid": "u", "annotations": annotations},
            "spec": {"storageClassName": "local", "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Pending"},
        }),
        change,
    ))
}

/// The same claim, bound to its volume.
fn bound(change: Value) -> k8s_openapi::api::core::v1::PersistentVolumeClaim {
    let status = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
    let claim = waiting(json!({"spec": {"volumeName": "pvc-u"}, "status": status}));
    of(merged(serde_json::to_value(claim).unwrap(), change))
}

fn its_volume(limited: bool, change: Value) -> k8s_openapi::api::core::v1::PersistentVolume {
    let claim = waiting(json!({}));
    let ClaimAction::Provision { place, class } = claim_action(&claim) else { panic!("nothing to provision") };
    let made = volume(&claim, class, &place, &Kept { path: "/p/pvc-u".into(), limited });
    of(merged(serde_json::to_value(made).unwrap(), change))
}

fn claim_action(found: &k8s_openapi::api::core::v1::PersistentVolumeClaim) -> ClaimAction<'static> {
    claim(found, Some(Box::leak(Box::new(class()))), Some(&node()), None)
}

#[test]
fn a_claim_gets_a_volume_on_the_node_of_its_first_pod() {
    let claim = waiting(json!({"spec": {"volumeMode": "Block"}}));
    let ClaimAction::Provision { place, class } = claim_action(&claim) else { panic!("nothing to provision") };
    assert_eq!(
        place,
        Place { node: "n1".into(), hostname: "host-1".into(), volume: "pvc-u".into(), bytes: 1 << 30, block: true }
    );
    let made = volume(&claim, class, &place, &Kept { path: "/p/pvc-u".into(), limited: false });
    assert_eq!(
        serde_json::to_value(made).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {
                "name": "pvc-u", "finalizers": [EXTERNAL_FINALIZER],
                "annotations": {
                    "pv.kubernetes.io/provisioned-by": PROVISIONER, "ferry/node": "n1", LIMITED: "false"
                },
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "volumeMode": "Block",
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "c", "namespace": "ns", "uid": "u"
                },
                "local": {"path": "/p/pvc-u"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": ["host-1"]}]}]}},
                "persistentVolumeReclaimPolicy": "Delete", "storageClassName": "local",
            },
        })
    );
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let check = |change: Value, want: &str| match claim_action(&waiting(change.clone())) {
        ClaimAction::Refuse { message, again_elsewhere: false } => assert!(message.contains(want), "{message}"),
        other => panic!("{change}: {other:?}"),
    };
    check(json!({"spec": {"accessModes": ["ReadWriteMany"]}}), "access mode ReadWriteMany is not supported");
    check(json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}), "claim.Spec.Selector is not supported");
    check(json!({"spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "x"}}}), "data source");
    let claim_of = waiting(json!({}));
    let mut class = class();
    class.volume_binding_mode = Some("Immediate".into());
    let refused = claim(&claim_of, Some(&class), Some(&node()), None);
    assert!(matches!(&refused, ClaimAction::Refuse { message, .. } if message.contains("WaitForFirstConsumer")));
    class = self::class();
    class.parameters = Some([("path".to_owned(), "/x".to_owned())].into());
    let refused = claim(&claim_of, Some(&class), Some(&node()), None);
    assert!(matches!(&refused, ClaimAction::Refuse { message, .. } if message.contains("\"path\"")));
    class = self::class();
    let refused = claim(&claim_of, Some(&class), None, None);
    assert_eq!(refused, ClaimAction::Refuse { message: "node \"n1\" does not exist".into(), again_elsewhere: true });
}

#[test]
fn claims_of_others_and_claims_that_wait_are_left_alone() {
    let check = |change: Value| assert_eq!(claim_action(&waiting(change.clone())), ClaimAction::Nothing, "{change}");
    check(json!({"metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": "other"}}}));
    check(json!({"metadata": {"annotations": {SELECTED_NODE: ""}}}));
    check(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    check(json!({"spec": {"volumeName": "v"}}));
    let mut other = class();
    other.provisioner = "other".into();
    assert_eq!(claim(&waiting(json!({})), Some(&other), Some(&node()), None), ClaimAction::Nothing);
    assert_eq!(claim(&waiting(json!({})), None, Some(&node()), None), ClaimAction::Nothing);
}

#[test]
fn a_claim_that_asks_for_more_gets_it_and_never_less() {
    let action = |request: &str, in_status: &str, in_volume: &str| {
        let claim_of = bound(json!({
            "spec": {"resources": {"requests": {"storage": request}}}, "status": {"capacity": {"storage": in_status}},
        }));
        let volume = its_volume(true, json!({"spec": {"capacity": {"storage": in_volume}}}));
        match claim(&claim_of, Some(&class()), None, Some(&volume)) {
            ClaimAction::Grow { place, bytes } => {
                assert_eq!((place.node.as_str(), place.volume.as_str()), ("n1", "pvc-u"));
                Some((place.bytes, bytes))
            }
            ClaimAction::Nothing => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(action("1Gi", "1Gi", "1Gi"), None);
    assert_eq!(action("2Gi", "1Gi", "1Gi"), Some((2 << 30, "2Gi".into())));
    assert_eq!(action("2Gi", "1Gi", "2Gi"), Some((2 << 30, "2Gi".into())), "a growth that was cut off");
    assert_eq!(action("1Gi", "2Gi", "2Gi"), None);
    let others = its_volume(true, json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "other"}}}));
    let more = bound(json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}));
    assert_eq!(claim(&more, Some(&class()), None, Some(&others)), ClaimAction::Nothing);
    let not_its = its_volume(true, json!({"spec": {"claimRef": {"uid": "other"}}}));
    assert_eq!(claim(&more, Some(&class()), None, Some(&not_its)), ClaimAction::Nothing);
}

#[test]
fn a_claim_says_when_its_capacity_is_no_limit() {
    let resized = json!([{"type": "Resizing", "status": "True"}, {"type": "Own", "status": "True"}]);
    let types = |conditions: &[k8s_openapi::api::core::v1::PersistentVolumeClaimCondition]| {
        conditions.iter().map(|c| c.type_.clone()).collect::<Vec<_>>()
    };
    let plain = bound(json!({"status": {"conditions": resized}}));
    let ClaimAction::Mark(conditions) = claim(&plain, None, None, Some(&its_volume(false, json!({})))) else {
        panic!("not marked")
    };
    assert_eq!(types(&conditions), ["Resizing", "Own", UNLIMITED]);
    assert!(conditions[2].message.as_ref().unwrap().contains("node n1 has no project quotas"));
    let marked = bound(json!({"status": {"conditions": conditions}}));
    assert_eq!(claim(&marked, None, None, Some(&its_volume(false, json!({})))), ClaimAction::Nothing);
    let ClaimAction::Mark(conditions) = claim(&marked, None, None, Some(&its_volume(true, json!({})))) else {
        panic!("the mark stays")
    };
    assert_eq!(types(&conditions), ["Resizing", "Own"]);
    assert_eq!(claim(&plain, None, None, Some(&its_volume(true, json!({})))), ClaimAction::Nothing);
    let ClaimAction::Provision { place, .. } = claim_action(&waiting(json!({}))) else {
        panic!("nothing to provision")
    };
    assert_eq!(types(&conditions_after_growth(&marked, &place, true)), ["Own"]);
}

#[test]
fn a_volume_goes_with_its_data_when_nobody_wants_it() {
    let check = |change: Value, node_exists: bool, want: VolumeAction<'_>| {
        let volume = its_volume(true, change.clone());
        assert_eq!(volume_action(&volume, |node| node_exists && node == "n1"), want, "{change}");
    };
    let deleted = |phase: &str, policy: &str| {
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": phase},
            "spec": {"persistentVolumeReclaimPolicy": policy}})
    };
    check(json!({"status": {"phase": "Bound"}}), true, VolumeAction::Nothing);
    check(json!({"status": {"phase": "Released"}}), true, VolumeAction::Delete);
    check(
        json!({"status": {"phase": "Released"}, "spec": {"persistentVolumeReclaimPolicy": "Retain"}}),
        true,
        VolumeAction::Nothing,
    );
    check(deleted("Released", "Delete"), true, VolumeAction::LetGo { node: Some("n1") });
    check(deleted("Available", "Delete"), true, VolumeAction::LetGo { node: Some("n1") });
    check(deleted("Released", "Retain"), true, VolumeAction::LetGo { node: None });
    check(deleted("Released", "Delete"), false, VolumeAction::LetGo { node: None });
    check(deleted("Bound", "Delete"), true, VolumeAction::Nothing);
    let mut gone = deleted("Released", "Delete");
    gone["metadata"]["finalizers"] = json!(["other"]);
    check(gone, true, VolumeAction::Nothing);
}
