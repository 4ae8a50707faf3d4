//! `dynamicresources/dynamicresources_test.go`: which claims let a pod be queued, which nodes can give or reach devices,
//! what is given up, which changes help.

mod written;

use std::sync::Arc;

use expect_test::expect;
use k8s_openapi::api::{
    core::v1::Pod as ApiPod,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
};
use serde_json::{Value, json};

use super::{World, check, node, pod, shown};
use crate::framework::{
    events::{Action, Change, Event, Hint, HintContext, pod_events},
    extension::Cycle,
};

fn from<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

/// A pod with a claim by name, and one that is made for it.
fn with_claims() -> ApiPod {
    let entries = json!([
        {"name": "a", "resourceClaimName": "shared"}, {"name": "b", "resourceClaimTemplateName": "t"},
    ]);
    pod("p", json!({"resourceClaims": entries}))
}

fn told(mut pod: ApiPod, name: &str) -> ApiPod {
    let statuses = json!([{"name": "b", "resourceClaimName": name}]);
    pod.status.as_mut().expect("a status").resource_claim_statuses = from(statuses);
    pod
}

/// One that asks for a device of the class `gpus`.
fn claim(name: &str, more: Value) -> ResourceClaim {
    let requests = json!([{"name": "r", "exactly": {
        "deviceClassName": "gpus", "allocationMode": "ExactCount", "count": 1,
    }}]);
    let mut claim = json!({
        "metadata": {"namespace": "default", "name": name, "uid": name, "resourceVersion": "1"},
        "spec": {"devices": {"requests": requests}},
    });
    for (key, value) in more.as_object().expect("fields") {
        let part = if key == "allocation" || key == "reservedFor" || key == "devices" { "status" } else { "metadata" };
        claim[part][key] = value.clone();
    }
    from(claim)
}

fn generated(more: Value) -> ResourceClaim {
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true});
    let mut fields = json!({"ownerReferences": [owner]});
    fields.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
    claim("p-b-x", fields)
}

/// An allocation of a device of a node.
fn given(device: &str, node: &str) -> Value {
    let name = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    json!({
        "devices": {"results": [{"request": "r", "driver": "d", "pool": node, "device": device}]},
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [name]}]},
    })
}

fn class() -> DeviceClass {
    from(json!({"metadata": {"name": "gpus"}, "spec": {"extendedResourceName": "example.com/gpu"}}))
}

/// The devices of a node, in a pool of its name.
fn slice(node: &str, devices: &[&str]) -> ResourceSlice {
    let devices: Vec<_> = devices.iter().map(|name| json!({"name": name})).collect();
    let pool = json!({"name": node, "generation": 1, "resourceSliceCount": 1});
    from(
        json!({"metadata": {"name": node}, "spec": {"driver": "d", "nodeName": node, "pool": pool, "devices": devices}}),
    )
}

/// Two nodes, one of which has a device of the class.
fn world() -> World {
    let world = World::new("DynamicResources", json!(null)).with(&[node("a", json!({})), node("b", json!({}))], &[]);
    world.plugin.attach(world.cache.snapshot());
    let devices = &world.cache.snapshot().devices;
    devices.show_class(class());
    devices.show_slice(&slice("a", &["gpu-0"]));
    world
}

fn with(claims: &[ResourceClaim]) -> World {
    let world = world();
    claims.iter().for_each(|claim| drop(world.cache.snapshot().devices.show_claim(claim.clone())));
    world
}

#[test]
fn a_pod_is_queued_when_all_its_claims_are_there() {
    let gate = |pod: &ApiPod, claims: &[ResourceClaim]| {
        let mut world = with(claims);
        let pod = world.cache.read_pod(pod);
        shown(&world.plugin.pre_enqueue().expect("it gates").pre_enqueue(&pod))
    };
    let shared = || claim("shared", json!({}));
    check(gate(&pod("p", json!({})), &[]), expect!["Success"]);
    check(
        gate(&with_claims(), &[]),
        expect![[r#"UnschedulableAndUnresolvable could not find resourceclaim "default/shared""#]],
    );
    check(
        gate(&with_claims(), &[shared()]),
        expect![[r#"UnschedulableAndUnresolvable pod "default/p": ResourceClaim not created yet"#]],
    );
    check(gate(&told(with_claims(), "p-b-x"), &[shared(), generated(json!({}))]), expect!["Success"]);
    check(
        gate(&told(with_claims(), "p-b-x"), &[shared(), claim("p-b-x", json!({}))]),
        expect![
            "UnschedulableAndUnresolvable ResourceClaim default/p-b-x was not created for Pod default/p (Pod is not owner)"
        ],
    );
    let leaving = claim("shared", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    check(
        gate(&with_claims(), &[leaving]),
        expect![[r#"UnschedulableAndUnresolvable resourceclaim "shared" is being deleted"#]],
    );
}

fn one_claim() -> ApiPod {
    pod("p", json!({"resourceClaims": [{"name": "a", "resourceClaimName": "shared"}]}))
}

#[test]
fn nodes_that_have_the_devices_pass() {
    let filter = |claims: &[ResourceClaim]| with(claims).filter(&one_claim());
    check(with(&[]).filter(&pod("p", json!({}))), expect!["PreFilter Skip"]);
    check(
        filter(&[claim("shared", json!({}))]),
        expect![[r#"
            a Success
            b UnschedulableAndUnresolvable cannot allocate all claims"#]],
    );
    let taken = claim("other", json!({"allocation": given("gpu-0", "a")}));
    check(
        filter(&[claim("shared", json!({})), taken]),
        expect![[r#"
            a UnschedulableAndUnresolvable cannot allocate all claims
            b UnschedulableAndUnresolvable cannot allocate all claims"#]],
    );
    check(
        filter(&[claim("shared", json!({"allocation": given("gpu-9", "b")}))]),
        expect![[r#"
            a UnschedulableAndUnresolvable resourceclaim not available on the node
            b Success"#]],
    );
    let world = with(&[claim("shared", json!({}))]);
    world.cache.snapshot().devices.forget_class("gpus");
    check(
        { world }.filter(&one_claim()),
        expect!["PreFilter UnschedulableAndUnresolvable request r: device class gpus does not exist"],
    );
    let world = with(&[claim("shared", json!({}))]);
    world.cache.snapshot().devices.take_off("shared", from(given("gpu-0", "a")));
    check(
        { world }.filter(&one_claim()),
        expect![
            "PreFilter UnschedulableAndUnresolvable resource claim default/shared is in the process of being allocated"
        ],
    );
}

#[test]
fn devices_that_do_not_get_ready_are_left() {
    let filter = |conditions: Value, since: &str| {
        let mut allocation = given("gpu-0", "a");
        allocation["allocationTimestamp"] = json!(since);
        let result = &mut allocation["devices"]["results"][0];
        result["bindingConditions"] = json!(["Ready"]);
        result["bindingFailureConditions"] = json!(["Broken"]);
        let device = json!({"driver": "d", "pool": "a", "device": "gpu-0", "conditions": conditions});
        with(&[claim("shared", json!({"allocation": allocation, "devices": [device]}))]).filter(&one_claim())
    };
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let nowhere = "UnschedulableAndUnresolvable resourceclaim not available on the node";
    let (not_yet, on_its_node) = (format!("a {nowhere}\nb {nowhere}"), format!("a Success\nb {nowhere}"));
    let (long_ago, to_come) = ("2020-01-01T00:00:00Z", "2200-01-01T00:00:00Z");
    assert_eq!(filter(json!([condition("Ready", "True")]), long_ago), on_its_node);
    assert_eq!(filter(json!([condition("Ready", "False")]), to_come), on_its_node);
    assert_eq!(filter(json!([]), to_come), on_its_node);
    assert_eq!(filter(json!([]), long_ago), not_yet);
    assert_eq!(filter(json!([condition("Ready", "True"), condition("Broken", "True")]), to_come), not_yet);
}

/// What is said after no node passed, and what is given up.
fn released(claims: &[ResourceClaim], pod: &ApiPod) -> String {
    let mut world = with(claims);
    let pod = world.cache.read_pod(pod);
    let snapshot = world.cache.snapshot();
    let mut cycle = Cycle::new(&pod, snapshot);
    let (status, _) = world.plugin.pre_filter().expect("it looks").pre_filter(&mut cycle);
    if status.is_success() {
        for place in &snapshot.order {
            world.plugin.filter().expect("it filters").filter(&cycle, snapshot.node(*place));
        }
    }
    let released = world.plugin.release().expect("it releases").release(&cycle);
    let claim = released.claim.map(|(claim, deletes)| format!(": {:?} {deletes}", claim.metadata.name.clone()));
    format!("{}{}", released.message, claim.unwrap_or_default())
}

#[test]
fn idle_devices_out_of_reach_are_given_up() {
    let elsewhere =
        |consumers: Value| claim("shared", json!({"allocation": given("gpu-0", "gone"), "reservedFor": consumers}));
    let consumer = |uid: &str| json!({"resource": "pods", "name": uid, "uid": uid});
    check(released(&[], &pod("p", json!({}))), expect!["no new claims to deallocate"]);
    check(released(&[], &one_claim()), expect!["no new claims to deallocate"]);
    check(released(&[claim("shared", json!({}))], &one_claim()), expect!["still not schedulable"]);
    check(
        released(&[elsewhere(json!([]))], &one_claim()),
        expect![[r#"deallocation of ResourceClaim completed: Some("shared") false"#]],
    );
    check(
        released(&[elsewhere(json!([consumer("p")]))], &one_claim()),
        expect![[r#"deallocation of ResourceClaim completed: Some("shared") false"#]],
    );
    check(released(&[elsewhere(json!([consumer("q")]))], &one_claim()), expect!["still not schedulable"]);
}

#[test]
fn a_node_with_a_better_alternative_is_preferred() {
    let alternative = |name: &str, class: &str| json!({"name": name, "deviceClassName": class, "allocationMode": "ExactCount", "count": 1});
    let mut list = claim("shared", json!({}));
    let requests = json!([{"name": "r", "firstAvailable": [alternative("x", "fast"), alternative("y", "gpus")]}]);
    list.spec.devices = from(json!({"requests": requests}));
    let mut world = with(&[list]);
    let devices = &world.cache.snapshot().devices;
    let fast = json!([{"cel": {"expression": "device.attributes['d'].fast"}}]);
    devices.show_class(from(json!({"metadata": {"name": "fast"}, "spec": {"selectors": fast}})));
    let device = |fast: bool| json!([{"name": "gpu", "attributes": {"fast": {"bool": fast}}}]);
    for (node, fast) in [("a", false), ("b", true)] {
        let mut slice = slice(node, &[]);
        slice.spec.devices = from(device(fast));
        devices.show_slice(&slice);
    }
    let pod = world.cache.read_pod(&one_claim());
    let snapshot = world.cache.snapshot();
    let mut cycle = Cycle::new(&pod, snapshot);
    let pre_filter = world.plugin.pre_filter().expect("it looks");
    assert!(pre_filter.pre_filter(&mut cycle).0.is_success());
    let (filter, score) = (world.plugin.filter().expect("it filters"), world.plugin.score().expect("it scores"));
    assert!(snapshot.order.iter().all(|place| filter.filter(&cycle, snapshot.node(*place)).is_success()));
    assert!(score.pre_score(&mut cycle, &snapshot.order).is_success());
    let mut scores: Vec<i64> = snapshot.order.iter().map(|place| score.score(&cycle, snapshot.node(*place))).collect();
    assert_eq!(scores, [7, 8]);
    score.normalize(&cycle, &snapshot.order, &mut scores);
    assert_eq!(scores, [87, 100]);
}

#[test]
fn changes_that_give_the_pod_what_it_waits_for_help() {
    let hint = |claims: &[ResourceClaim], old: Option<ResourceClaim>, new: ResourceClaim| {
        let mut world = with(claims);
        let pod = world.cache.read_pod(&one_claim());
        let action = if old.is_some() { Action::RESOURCE_CLAIM_UPDATE } else { Action::RESOURCE_CLAIM_ADD };
        let event = Event { action, change: Change::ResourceClaim { old: old.map(Arc::new), new: Arc::new(new) } };
        assert!(world.plugin.events().overlaps(action));
        world.plugin.hint(&pod, &event, &HintContext { snapshot: world.cache.snapshot() })
    };
    let mine = || claim("shared", json!({}));
    let other = || claim("other", json!({}));
    let allocated = || claim("shared", json!({"allocation": given("gpu-0", "a")}));
    let taken = || claim("other", json!({"allocation": given("gpu-0", "a")}));
    assert_eq!(hint(&[mine()], None, mine()), Hint::Queue);
    assert_eq!(hint(&[mine()], None, other()), Hint::Skip);
    assert_eq!(hint(&[], None, other()), Hint::Skip);
    assert_eq!(hint(&[mine()], Some(taken()), other()), Hint::Queue);
    assert_eq!(hint(&[mine()], Some(other()), taken()), Hint::Skip);
    assert_eq!(hint(&[allocated()], Some(mine()), allocated()), Hint::Queue);
    let protected = claim("shared", json!({"finalizers": ["f"]}));
    assert_eq!(hint(&[mine()], Some(mine()), protected), Hint::Skip);

    let mut world = with(&[claim("shared", json!({})), generated(json!({}))]);
    let [before, after] = [with_claims(), told(with_claims(), "p-b-x")].map(|pod| world.cache.read_pod(&pod));
    let events = pod_events(&before, &after);
    let context = HintContext { snapshot: world.cache.snapshot() };
    assert_eq!(events.iter().map(|event| event.action).collect::<Vec<_>>(), [Action::POD_UPDATE_GENERATED_CLAIM]);
    assert_eq!(world.plugin.hint(&before, &events[0], &context), Hint::Queue);
}
