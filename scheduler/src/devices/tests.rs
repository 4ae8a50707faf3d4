//! What counts as a claim, and as taken, while informers are behind; what extended resources ask for.

use std::collections::BTreeSet;

use k8s_openapi::api::resource::v1::{AllocationResult, DeviceClass, ResourceClaim};
use serde_json::{Value, json};

use super::{Devices, EXTENDED, extended, pod::PodClaims};

fn devices(names: &[&str]) -> AllocationResult {
    let results: Vec<Value> =
        names.iter().map(|name| json!({"request": "r", "driver": "d", "pool": "p", "device": name})).collect();
    serde_json::from_value(json!({"devices": {"results": results}})).unwrap()
}

fn claim(version: &str, allocation: Option<AllocationResult>) -> ResourceClaim {
    let meta = json!({"namespace": "ns", "name": "c", "uid": "u", "resourceVersion": version});
    let status = json!({"allocation": allocation});
    serde_json::from_value(json!({"metadata": meta, "spec": {}, "status": status})).unwrap()
}

fn latest(devices: &Devices) -> Option<String> {
    devices.claim("ns", "c").and_then(|claim| claim.metadata.resource_version.clone())
}

/// Whether a device is taken, as an allocation of it would find out.
fn is_taken(known: &Devices, device: &str) -> bool {
    let text = format!("{:?}", known.view().allocated);
    text.contains(&format!("device: {device:?}"))
}

#[test]
fn a_claim_that_was_written_counts_until_the_informer_shows_it() {
    let known = Devices::default();
    known.show_claim(claim("9", None));
    known.assume(claim("10", Some(devices(&["a"]))));
    assert_eq!((latest(&known).as_deref(), is_taken(&known, "a")), (Some("10"), true));
    // Older news.
    assert_eq!(known.show_claim(claim("9", None)).0.unwrap().metadata.resource_version.as_deref(), Some("9"));
    assert_eq!((latest(&known).as_deref(), is_taken(&known, "a")), (Some("10"), true));
    known.assume(claim("8", None));
    assert_eq!(latest(&known).as_deref(), Some("10"));
    known.show_claim(claim("11", None));
    assert_eq!((latest(&known).as_deref(), is_taken(&known, "a")), (Some("11"), false));
    known.show_claim(claim("12", Some(devices(&["b"]))));
    assert!(is_taken(&known, "b"));
    known.forget_claim("ns", "c");
    assert_eq!((latest(&known), is_taken(&known, "b")), (None, false));
}

#[test]
fn what_is_in_flight_is_taken_once_and_lands_once() {
    let known = Devices::default();
    known.take_off("u", devices(&["a"]));
    assert!(known.is_in_flight("u") && is_taken(&known, "a"));
    known.assume(claim("1", Some(devices(&["a"]))));
    known.land("u");
    known.land("u");
    assert!(!known.is_in_flight("u") && is_taken(&known, "a"));
    known.show_claim(claim("2", None));
    assert!(!is_taken(&known, "a"));
    known.take_off("v", devices(&["b"]));
    known.land("v");
    assert!(!is_taken(&known, "b"));
}

#[test]
fn the_claim_for_extended_resources_is_found_by_its_pod() {
    let known = Devices::default();
    let mut special = claim("1", None);
    special.metadata.annotations = Some([(EXTENDED.to_owned(), "true".to_owned())].into());
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pod", "controller": true}]);
    special.metadata.owner_references = serde_json::from_value(owner).unwrap();
    known.show_claim(special);
    assert!(known.extended_claim("pod").is_some() && known.extended_claim("other").is_none());
    known.forget_claim("ns", "c");
    assert!(known.extended_claim("pod").is_none());
}

fn class(name: &str, resource: Option<&str>, day: u32) -> DeviceClass {
    let meta = json!({"name": name, "creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")});
    serde_json::from_value(json!({"metadata": meta, "spec": {"extendedResourceName": resource}})).unwrap()
}

#[test]
fn of_two_classes_for_a_resource_the_younger_stands_for_it() {
    let known = Devices::default();
    let check = |resource: &str, want: Option<&str>| {
        let found = known.class_of(resource).and_then(|class| class.metadata.name.clone());
        assert_eq!(found.as_deref(), want, "{resource}");
    };
    known.show_class(class("b", Some("example.com/gpu"), 2));
    check("example.com/gpu", Some("b"));
    check("deviceclass.resource.kubernetes.io/b", Some("b"));
    known.show_class(class("c", Some("example.com/gpu"), 1));
    check("example.com/gpu", Some("b"));
    known.show_class(class("d", Some("example.com/gpu"), 3));
    check("example.com/gpu", Some("d"));
    known.show_class(class("a", Some("example.com/gpu"), 3));
    check("example.com/gpu", Some("a"));
    known.show_class(class("a", None, 3));
    check("example.com/gpu", Some("d"));
    known.forget_class("d");
    check("example.com/gpu", Some("b"));
    check("deviceclass.resource.kubernetes.io/d", None);
}

/// The requests that containers make for `example.com/gpu`, and what each has of them, in one line each.
fn asked(init: Value, containers: Value) -> Vec<String> {
    let container = |(name, gpus): (&String, &Value)| {
        let (count, sidecar) = (gpus.as_str().unwrap(), name.starts_with("sidecar"));
        json!({
            "name": name, "restartPolicy": sidecar.then_some("Always"),
            "resources": {"requests": {"cpu": "1", "example.com/gpu": count, "memory": "1Gi"}},
        })
    };
    let all = |of: &Value| of.as_object().unwrap().iter().map(container).collect::<Vec<_>>();
    let pod = json!({"spec": {"initContainers": all(&init), "containers": all(&containers)}});
    let claims = PodClaims::new(&serde_json::from_value(pod).unwrap()).unwrap();
    let resources = BTreeSet::from(["example.com/gpu".to_owned()]);
    let gpus = std::sync::Arc::new(class("gpus", None, 1));
    let (requests, mappings) = extended::requests(&claims.containers, &resources, |_| Some(gpus.clone()));
    let request = |r: &k8s_openapi::api::resource::v1::DeviceRequest| {
        let exactly = r.exactly.as_ref().unwrap();
        format!("{} {}x{}", r.name, exactly.count.unwrap(), exactly.device_class_name)
    };
    let mapping = |m: &k8s_openapi::api::core::v1::ContainerExtendedResourceRequest| {
        format!("{} has {}", m.container_name, m.request_name)
    };
    requests.iter().map(request).chain(mappings.iter().map(mapping)).collect()
}

#[test]
fn containers_that_end_early_use_what_the_others_have() {
    assert_eq!(
        asked(json!({}), json!({"a": "1", "b": "2"})),
        [
            "container-0-request-1 1xgpus",
            "container-1-request-1 2xgpus",
            "a has container-0-request-1",
            "b has container-1-request-1"
        ]
    );
    assert_eq!(
        asked(json!({"init": "1"}), json!({"a": "2"})),
        ["container-1-request-1 2xgpus", "a has container-1-request-1", "init has container-1-request-1"]
    );
    assert_eq!(
        asked(json!({"init-0": "3", "init-1": "4"}), json!({"a": "2"})),
        [
            "container-1-request-1 2xgpus",
            "container-2-request-1 2xgpus",
            "a has container-2-request-1",
            "init-0 has container-2-request-1",
            "init-0 has container-1-request-1",
            "init-1 has container-2-request-1",
            "init-1 has container-1-request-1",
        ]
    );
    // A sidecar that starts before is not the container's to use; one that starts after is.
    assert_eq!(
        asked(json!({"init": "1", "sidecar": "1"}), json!({})),
        ["container-1-request-1 1xgpus", "sidecar has container-1-request-1", "init has container-1-request-1"]
    );
    assert_eq!(asked(json!({}), json!({"a": "0"})), Vec::<String>::new());
    assert_eq!(asked(json!({}), json!({"a": "500m"})), Vec::<String>::new());
}

#[test]
fn a_pod_without_claims_and_such_resources_says_nothing() {
    let pod = |spec: Value| serde_json::from_value(json!({"spec": spec})).unwrap();
    let asks = |name: &str| pod(json!({"containers": [{"name": "c", "resources": {"requests": {name: "1"}}}]}));
    for name in ["cpu", "hugepages-2Mi", "kubernetes.io/x", "requests.example.com/x"] {
        assert_eq!(PodClaims::new(&asks(name)), None, "{name}");
    }
    for name in ["example.com/gpu", "deviceclass.resource.kubernetes.io/gpus"] {
        assert_eq!(PodClaims::new(&asks(name)).map(|claims| claims.containers.len()), Some(1), "{name}");
    }
}
