//! What is decided about pods and their claims: upstream's cases.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate},
};
use serde_json::{Value, json};

use super::sync::*;
use crate::util::pod_claims::{consumers, entries};

/// A pod with an entry `acme-resource` that wants a claim of `my-template`; `status` is what is told of it.
fn pod(status: Value, more: &[(&str, Value)]) -> Pod {
    let mut pod = json!({
        "metadata": {"namespace": "ns", "name": "p", "uid": "u"},
        "spec": {"containers": [], "resourceClaims": [{"name": "acme-resource", "resourceClaimTemplateName": "my-template"}]},
        "status": {"resourceClaimStatuses": status},
    });
    for (pointer, value) in more {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[field] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn told(name: &str) -> Value {
    json!([{"name": "acme-resource", "resourceClaimName": name}])
}

const DELETED: (&str, &str) = ("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z");

/// A claim that is controlled by the pod of that UID.
fn claim(owner: &str, status: Value) -> Arc<ResourceClaim> {
    let owners = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true}]);
    let meta =
        json!({"namespace": "ns", "name": "c", "ownerReferences": owners, "annotations": {ENTRY: "acme-resource"}});
    Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": {}, "status": status})).unwrap())
}

fn allocated() -> Value {
    json!({"allocation": {}})
}

fn reserved_for(uids: &[&str]) -> Value {
    let consumers: Vec<_> = uids.iter().map(|uid| json!({"resource": "pods", "name": uid, "uid": uid})).collect();
    json!({"allocation": {}, "reservedFor": consumers})
}

#[test]
fn an_entry_gets_the_claim_that_there_is_or_a_new_one() {
    let check = |pod: Pod, known: Option<Arc<ResourceClaim>>, owned: Vec<Arc<ResourceClaim>>, want: Step<'_>| {
        let entry = &entries(&pod)[0];
        assert_eq!(step(&pod, entry, |_| known.clone(), || owned.clone()), Ok(want), "{pod:?}");
    };
    let mine = || claim("u", json!({}));
    let not_mine = || claim("another", json!({}));
    check(pod(json!([]), &[]), None, vec![], Step::Make("my-template"));
    check(pod(told("c"), &[]), Some(mine()), vec![], Step::Nothing);
    check(pod(told("c"), &[]), None, vec![], Step::Make("my-template"));
    check(pod(told("c"), &[]), Some(not_mine()), vec![], Step::Make("my-template"));
    check(pod(json!([]), &[]), None, vec![mine()], Step::Tell("c".into()));
    check(pod(json!([{"name": "acme-resource"}]), &[]), None, vec![], Step::Nothing);
    let by_name = json!([{"name": "acme-resource", "resourceClaimName": "shared"}]);
    check(pod(json!([]), &[("/spec/resourceClaims", by_name.clone())]), None, vec![], Step::Nothing);
    check(pod(json!([]), &[("/spec/resourceClaims", by_name)]), Some(not_mine()), vec![], Step::Nothing);
    // Of another entry, or of none.
    for annotations in [json!({ENTRY: "other"}), json!({})] {
        let mut other = (*mine()).clone();
        other.metadata.annotations = serde_json::from_value(annotations).unwrap();
        check(pod(json!([]), &[]), None, vec![Arc::new(other)], Step::Make("my-template"));
    }
    let unknown = pod(json!([]), &[("/spec/resourceClaims", json!([{"name": "new"}]))]);
    let why = "checking for claim before creating it: pod \"ns/p\", spec.resourceClaim \"new\": none of the supported fields are set";
    assert_eq!(step(&unknown, &entries(&unknown)[0], |_| None, Vec::new), Err(why.into()));
}

#[test]
fn a_pod_needs_work_while_a_claim_is_to_be_made_or_reserved() {
    let node = ("/spec/nodeName", json!("n"));
    let check = |pod: Pod, known: Option<Arc<ResourceClaim>>, want: bool| {
        assert_eq!(needs_work(&pod, |_| known.clone()), want, "{pod:?} {known:?}");
    };
    check(pod(json!([]), &[]), None, true);
    check(pod(json!([]), &[(DELETED.0, json!(DELETED.1))]), None, false);
    check(pod(told("c"), &[]), None, true);
    check(pod(told("c"), &[]), Some(claim("u", json!({}))), false);
    check(pod(told("c"), &[]), Some(claim("another", json!({}))), false);
    check(pod(json!([{"name": "acme-resource"}]), &[]), None, false);
    check(pod(told("c"), &[]), Some(claim("u", allocated())), false);
    check(pod(told("c"), std::slice::from_ref(&node)), Some(claim("u", allocated())), true);
    check(pod(told("c"), std::slice::from_ref(&node)), Some(claim("u", json!({}))), false);
    check(pod(told("c"), std::slice::from_ref(&node)), Some(claim("u", reserved_for(&["u"]))), false);
    check(pod(told("c"), &[node]), Some(claim("u", reserved_for(&["v"]))), true);
    let by_name = json!([{"name": "acme-resource", "resourceClaimName": "shared"}]);
    check(pod(json!([]), &[("/spec/resourceClaims", by_name)]), None, false);
}

#[test]
fn a_generated_claim_has_the_templates_labels_and_the_pod_as_owner() {
    let template = json!({"spec": {
        "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "k"}}]}},
    }});
    let template: ResourceClaimTemplate = serde_json::from_value(template).unwrap();
    let made = serde_json::to_value(generate(&pod(json!([]), &[]), "acme-resource", &template)).unwrap();
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true});
    assert_eq!(
        made["metadata"],
        json!({
            "generateName": "p-acme-resource-", "labels": {"a": "b"}, "ownerReferences": [owner],
            "annotations": {"c": "d", ENTRY: "acme-resource"},
        })
    );
    assert_eq!(made["spec"]["devices"]["requests"][0]["name"], "r");
}

#[test]
fn long_names_are_cut_by_the_same_part() {
    let check = |pod_name: &str, entry: &str, want: &str| {
        let pod = pod(json!([]), &[("/metadata/name", json!(pod_name))]);
        let template: ResourceClaimTemplate = serde_json::from_value(json!({"spec": {"spec": {}}})).unwrap();
        let made = generate(&pod, entry, &template);
        assert_eq!(made.metadata.generate_name.as_deref(), Some(want));
    };
    let (pod, entry) = ("p".repeat(27), "e".repeat(28));
    check(&pod, &entry, &format!("{pod}-{entry}-"));
    check(&"p".repeat(28), &"e".repeat(28), &format!("{}-{}", "p".repeat(27), "e".repeat(27)));
    check(&"p".repeat(100), &"e".repeat(12), &format!("{}-{}", "p".repeat(50), "e".repeat(6)));
}

#[test]
fn what_was_told_before_is_told_again() {
    let entries = json!([
        {"name": "a", "resourceClaimTemplateName": "t"}, {"name": "b", "resourceClaimTemplateName": "t"},
        {"name": "c", "resourceClaimTemplateName": "t"}, {"name": "d", "resourceClaimName": "shared"},
    ]);
    let before =
        json!([{"name": "a", "resourceClaimName": "p-a-1"}, {"name": "b", "resourceClaimName": "lost"}, {"name": "c"}]);
    let pod = pod(before, &[("/spec/resourceClaims", entries)]);
    let told = statuses(&pod, &[("b", "p-b-2".to_owned())]);
    let told: Vec<_> = told.iter().map(|s| (s.name.as_str(), s.resource_claim_name.as_deref())).collect();
    assert_eq!(told, [("a", Some("p-a-1")), ("b", Some("p-b-2"))]);
}

#[test]
fn a_reservation_ends_with_its_pod() {
    let consumer = |group: Option<&str>, resource: &str| ResourceClaimConsumerReference {
        api_group: group.map(str::to_owned),
        resource: resource.into(),
        name: "p".into(),
        uid: "u".into(),
    };
    let check = |of: &ResourceClaimConsumerReference, gone: bool, cached: Option<Pod>, want: Reserved| {
        assert_eq!(reserved(of, gone, cached.as_ref()), want, "{of:?} {gone} {cached:?}");
    };
    let of_pod = consumer(None, "pods");
    check(&of_pod, false, Some(pod(json!([]), &[])), Reserved::Still);
    check(&of_pod, false, None, Reserved::Unknown);
    check(&of_pod, true, None, Reserved::NoMore);
    check(&of_pod, false, Some(pod(json!([]), &[("/metadata/uid", json!("v"))])), Reserved::NoMore);
    check(&of_pod, false, Some(pod(json!([]), &[("/status/phase", json!("Succeeded"))])), Reserved::NoMore);
    check(&of_pod, false, Some(pod(json!([]), &[(DELETED.0, json!(DELETED.1))])), Reserved::NoMore);
    let leaving = [(DELETED.0, json!(DELETED.1)), ("/spec/nodeName", json!("n"))];
    check(&of_pod, false, Some(pod(json!([]), &leaving)), Reserved::Still);
    check(&consumer(Some("scheduling.k8s.io"), "podgroups"), true, None, Reserved::Still);
    check(&consumer(Some("foo.com"), "pods"), false, None, Reserved::Still);
    check(&consumer(None, "configmaps"), false, None, Reserved::Still);
}

#[test]
fn a_claim_is_deallocated_with_its_last_consumer() {
    let check = |finalizers: &[&str], deleted: bool, status: Value, left: usize, want: (Option<Value>, bool)| {
        let mut claim = (*claim("u", status.clone())).clone();
        claim.metadata.finalizers = Some(finalizers.iter().map(|f| (*f).to_owned()).collect());
        if deleted {
            claim.metadata.deletion_timestamp = serde_json::from_value(json!(DELETED.1)).unwrap();
        }
        let settled = settle(&claim, consumers(&claim)[..left].to_vec());
        let got = settled.status.map(|s| serde_json::to_value(s).unwrap());
        assert_eq!((got, settled.unprotect), want, "{finalizers:?} {deleted} {status} {left}");
    };
    let one = || reserved_for(&["u"]);
    check(&[FINALIZER], false, one(), 1, (None, false));
    check(&[FINALIZER, "mine"], false, one(), 0, (Some(json!({})), true));
    check(&[FINALIZER], false, reserved_for(&["u", "v"]), 1, (Some(one()), false));
    check(&[FINALIZER], true, one(), 0, (Some(json!({})), true));
    check(&[FINALIZER], true, allocated(), 0, (Some(json!({})), true));
    check(&[FINALIZER], true, json!({}), 0, (None, true));
    check(&[FINALIZER], false, allocated(), 0, (None, false));
    // Whoever allocated it otherwise deallocates it.
    check(&[], false, one(), 0, (Some(allocated()), false));
    check(&["mine"], true, allocated(), 0, (None, false));
}

#[test]
fn a_generated_claim_is_useless_to_a_pod_that_ended_or_was_replaced() {
    let check = |claim: &ResourceClaim, pod: Pod, want: bool| assert_eq!(is_useless(claim, &pod), want, "{pod:?}");
    let mine = claim("u", json!({}));
    check(&mine, pod(json!([]), &[]), false);
    check(&mine, pod(json!([]), &[("/status/phase", json!("Failed"))]), true);
    check(&mine, pod(json!([]), &[(DELETED.0, json!(DELETED.1))]), true);
    check(&mine, pod(json!([]), &[(DELETED.0, json!(DELETED.1)), ("/spec/nodeName", json!("n"))]), false);
    check(&claim("another", json!({})), pod(json!([]), &[]), true);
    assert_eq!(owning_pod(&mine).map(|o| o.uid.as_str()), Some("u"));
    let mut shared = (*mine).clone();
    shared.metadata.owner_references = None;
    assert_eq!(owning_pod(&shared), None);
}

#[test]
fn the_claim_of_extended_resources_counts() {
    let claim = json!({"resourceClaimName": "p-extended-resources-x", "requestMappings": []});
    let pod = pod(json!([]), &[("/spec/resourceClaims", json!([])), ("/status/extendedResourceClaimStatus", claim)]);
    assert!(has_claims(&pod) && !needs_work(&pod, |_| None));
    assert_eq!(claims_of(&pod).collect::<Vec<_>>(), ["p-extended-resources-x"]);
}
