//! When pods leave tainted devices: upstream's cases.

use std::sync::Arc;

use client::Change;
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{ResourceClaim, ResourceSlice},
};
use serde_json::{Value, json};

use super::{pools::Pools, sync};
use crate::util::key::Key;

/// The time of the taints, and so many seconds after it.
fn at(seconds: i64) -> String {
    format!("2026-01-01T00:{:02}:{:02}Z", seconds / 60, seconds % 60)
}

fn taint(key: &str, effect: &str, added: i64) -> Value {
    json!({"key": key, "effect": effect, "timeAdded": at(added)})
}

fn tolerated(key: &str, effect: &str, seconds: Option<i64>) -> Value {
    json!({"key": key, "operator": "Exists", "effect": effect, "tolerationSeconds": seconds})
}

/// A slice of the pool `p` with a device for each list of taints: `d0`, `d1`, ...
fn slice(name: &str, generation: i64, taints: &[Value]) -> Arc<ResourceSlice> {
    let devices: Vec<_> =
        taints.iter().enumerate().map(|(i, taints)| json!({"name": format!("d{i}"), "taints": taints})).collect();
    let pool = json!({"name": "p", "generation": generation, "resourceSliceCount": 1});
    let slice = json!({"metadata": {"name": name}, "spec": {"driver": "d", "pool": pool, "devices": devices}});
    Arc::new(serde_json::from_value(slice).unwrap())
}

/// A claim of the pod with the UID `u`, reserved for the pods with those UIDs, with devices and their tolerations.
fn claim(reserved: &[&str], devices: &[(&str, Value)]) -> Arc<ResourceClaim> {
    let results: Vec<_> = devices
        .iter()
        .map(|(device, tolerations)| {
            json!({"request": "r", "driver": "d", "pool": "p", "device": device, "tolerations": tolerations})
        })
        .collect();
    let consumers: Vec<_> = reserved.iter().map(|uid| json!({"resource": "pods", "name": "pod", "uid": uid})).collect();
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "pod", "uid": "u", "controller": true});
    let claim = json!({
        "metadata": {"namespace": "ns", "name": "c", "ownerReferences": [owner]}, "spec": {},
        "status": {"allocation": {"devices": {"results": results}}, "reservedFor": consumers},
    });
    Arc::new(serde_json::from_value(claim).unwrap())
}

/// A pod on a node; `told` is the claim that was made for it.
fn pod(uid: &str, told: Option<&str>, node: &str) -> Pod {
    let statuses = told.map(|name| json!([{"name": "a", "resourceClaimName": name}]));
    let entries = json!([{"name": "a", "resourceClaimTemplateName": "t"}]);
    let pod = json!({
        "metadata": {"namespace": "ns", "name": "pod", "uid": uid},
        "spec": {"containers": [], "nodeName": node, "resourceClaims": entries},
        "status": {"resourceClaimStatuses": statuses},
    });
    serde_json::from_value(pod).unwrap()
}

fn leaves(pod: &Pod, slices: &[Arc<ResourceSlice>], claims: &[Arc<ResourceClaim>]) -> Option<String> {
    let mut pools = Pools::default();
    slices.iter().for_each(|slice| drop(pools.slice_changed(&Change::Added(slice.clone()))));
    let claim = |name: &str| claims.iter().find(|c| c.metadata.name.as_deref() == Some(name)).cloned();
    sync::of_pod(pod, claim, |device| pools.taints(device)).map(|at| at.to_string())
}

#[test]
fn a_pod_leaves_when_its_shortest_stay_ends() {
    let no_execute = |added| taint("k", "NoExecute", added);
    let check = |taints: Value, tolerations: Value, want: Option<i64>| {
        let got = leaves(
            &pod("u", Some("c"), "n"),
            &[slice("s", 1, std::slice::from_ref(&taints))],
            &[claim(&["u"], &[("d0", tolerations.clone())])],
        );
        assert_eq!(got, want.map(at), "{taints} {tolerations}");
    };
    check(json!([]), json!(null), None);
    check(json!([taint("k", "NoSchedule", 0), taint("k", "None", 0), taint("k", "Other", 0)]), json!(null), None);
    check(json!([no_execute(10)]), json!(null), Some(10));
    check(json!([no_execute(10), no_execute(5)]), json!([]), Some(5));
    check(json!([no_execute(10)]), json!([tolerated("k", "NoExecute", None)]), None);
    check(json!([no_execute(10)]), json!([tolerated("k", "NoExecute", Some(60))]), Some(70));
    check(json!([no_execute(10)]), json!([tolerated("k", "NoExecute", Some(-1))]), Some(10));
    check(
        json!([no_execute(10)]),
        json!([tolerated("k", "NoExecute", Some(60)), tolerated("", "NoExecute", Some(30))]),
        Some(40),
    );
    check(
        json!([no_execute(10)]),
        json!([tolerated("k", "NoExecute", Some(60)), tolerated("k", "NoExecute", None)]),
        None,
    );
    check(json!([no_execute(10)]), json!([tolerated("other", "NoExecute", None)]), Some(10));
    // Of all effects, and of another.
    check(json!([no_execute(10)]), json!([{"key": "k", "operator": "Exists"}]), Some(10));
    check(json!([no_execute(10)]), json!([tolerated("k", "NoSchedule", None)]), Some(10));
    check(
        json!([no_execute(10), taint("other", "NoExecute", 20)]),
        json!([tolerated("k", "NoExecute", None)]),
        Some(20),
    );
    check(json!([{"key": "k", "effect": "NoExecute"}]), json!(null), None);
}

#[test]
fn only_what_the_pod_has_counts() {
    let tainted = json!([taint("k", "NoExecute", 10)]);
    let slices = [slice("s", 1, &[json!([]), tainted.clone()])];
    let check = |pod: Pod, claims: &[Arc<ResourceClaim>], want: bool| {
        assert_eq!(leaves(&pod, &slices, claims).is_some(), want, "{pod:?} {claims:?}");
    };
    let bad = || claim(&["u"], &[("d0", json!(null)), ("d1", json!(null))]);
    check(pod("u", Some("c"), "n"), &[bad()], true);
    check(pod("u", Some("c"), "n"), &[claim(&["u"], &[("d0", json!(null))])], false);
    check(pod("u", Some("c"), "n"), &[claim(&["u"], &[("d7", json!(null))])], false);
    check(pod("u", Some("c"), ""), &[bad()], false);
    check(pod("u", None, "n"), &[bad()], false);
    check(pod("u", Some("c"), "n"), &[], false);
    check(pod("u", Some("c"), "n"), &[claim(&["v"], &[("d1", json!(null))])], false);
    check(pod("v", Some("c"), "n"), &[claim(&["v"], &[("d1", json!(null))])], false);
    let mut free = (*bad()).clone();
    free.status = None;
    check(pod("u", Some("c"), "n"), &[Arc::new(free)], false);
}

#[test]
fn old_slices_say_nothing() {
    let tainted = json!([taint("k", "NoExecute", 10)]);
    let check = |slices: &[Arc<ResourceSlice>], want: bool| {
        let got = leaves(&pod("u", Some("c"), "n"), slices, &[claim(&["u"], &[("d0", json!(null))])]);
        assert_eq!(got.is_some(), want, "{slices:?}");
    };
    check(&[slice("old", 1, std::slice::from_ref(&tainted)), slice("new", 2, &[json!([])])], false);
    check(&[slice("old", 1, &[json!([])]), slice("new", 2, std::slice::from_ref(&tainted))], true);
}

#[test]
fn a_change_of_taints_concerns_the_claims_of_the_pool() {
    let mut pools = Pools::default();
    let claims = claim(&["u"], &[("d0", json!(null))]);
    let (bare, tainted) = (slice("s", 1, &[json!([])]), slice("s", 1, &[json!([taint("k", "NoExecute", 10)])]));
    let key = vec![Key::new("ns", "c")];
    assert!(pools.slice_changed(&Change::Added(bare.clone())).is_empty());
    pools.claim_changed(&Change::Added(claims.clone()));
    let to =
        |old: &Arc<ResourceSlice>, new: &Arc<ResourceSlice>| Change::Updated { old: old.clone(), new: new.clone() };
    assert_eq!(pools.slice_changed(&to(&bare, &tainted)), key);
    assert!(pools.slice_changed(&to(&tainted, &tainted)).is_empty());
    assert!(pools.slice_changed(&Change::Added(slice("other", 1, &[json!([taint("k", "None", 10)])]))).is_empty());
    // A newer generation takes the place of all.
    assert_eq!(pools.slice_changed(&Change::Added(slice("new", 2, &[json!([])]))), key);
    assert_eq!(pools.slice_changed(&Change::Deleted(slice("new", 2, &[json!([])]))), key);
    pools.claim_changed(&Change::Deleted(claims));
    assert!(pools.slice_changed(&Change::Deleted(tainted)).is_empty());
}
