//! Mirrored EndpointSlices by table: what Endpoints make of them.

use serde_json::{Value, json};

use super::*;

fn endpoints(subsets: Value) -> Endpoints {
    let meta = json!({
        "name": "s", "namespace": "ns", "uid": "e1", "labels": {"a": "b"},
        "annotations": {"c": "d", "kubectl.kubernetes.io/last-applied-configuration": "x", "endpoints.kubernetes.io/last-change-trigger-time": "y"},
    });
    serde_json::from_value(json!({"metadata": meta, "subsets": subsets})).unwrap()
}

fn subset(ready: &[&str], unready: &[&str], port: i32) -> Value {
    let ips = |ips: &[&str]| ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>();
    json!({"addresses": ips(ready), "notReadyAddresses": ips(unready), "ports": [{"name": "http", "port": port, "protocol": "TCP"}]})
}

/// What the server would make of the slices in a plan.
fn stored(plan: &Plan) -> Vec<Arc<EndpointSlice>> {
    let named = plan.writes.create.iter().chain(&plan.writes.update).enumerate().map(|(i, s)| {
        let mut s = s.clone();
        s.metadata.name.get_or_insert(format!("s-{i}"));
        Arc::new(s)
    });
    named.collect()
}

fn print(slices: &[EndpointSlice]) -> Vec<String> {
    let line = |s: &EndpointSlice| {
        let ready = |e: &Endpoint| if e.conditions.as_ref().unwrap().ready == Some(true) { "" } else { "!" };
        let endpoints: Vec<_> =
            s.endpoints.iter().flatten().map(|e| format!("{}{}", ready(e), e.addresses[0])).collect();
        let ports: Vec<_> = s.ports.iter().flatten().filter_map(|p| p.port).map(|p| p.to_string()).collect();
        let name = s.metadata.name.as_deref().unwrap_or("new");
        format!("{name} {} {}: {}", s.address_type, ports.join(","), endpoints.join(" "))
    };
    slices.iter().map(line).collect()
}

fn check(subsets: Value, existing: &[Arc<EndpointSlice>], create: &[&str], update: &[&str], delete: &[&str]) -> Plan {
    let plan = sync(&endpoints(subsets.clone()), existing, 1000);
    let w = &plan.writes;
    assert_eq!(print(&w.create), create, "{subsets}");
    assert_eq!(print(&w.update), update, "{subsets}");
    assert_eq!(print(&w.delete), delete, "{subsets}");
    plan
}

#[test]
fn a_slice_is_the_image_of_a_subset() {
    let address = json!({"ip": "10.0.0.1", "hostname": "h", "nodeName": "n", "targetRef": {"kind": "Pod", "name": "p", "uid": "u"}});
    let plan = sync(&endpoints(json!([{"addresses": [address], "ports": [{"port": 80}]}])), &[], 1000);
    assert_eq!(
        serde_json::to_value(&plan.writes.create).unwrap(),
        json!([{
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "generateName": "s-", "namespace": "ns", "annotations": {"c": "d"},
                "labels": {
                    "a": "b", "kubernetes.io/service-name": "s",
                    "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
                },
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Endpoints", "name": "s", "uid": "e1", "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
            "endpoints": [{
                "addresses": ["10.0.0.1"], "conditions": {"ready": true}, "hostname": "h", "nodeName": "n",
                "targetRef": {"kind": "Pod", "name": "p", "uid": "u"},
            }],
        }])
    );
}

#[test]
fn families_and_ports_have_slices_of_their_own() {
    let two = json!([subset(&["10.0.0.1", "2001:db8::1"], &["10.0.0.2"], 80), subset(&["10.0.0.1"], &[], 81)]);
    let plan = check(
        two.clone(),
        &[],
        &["new IPv4 80: 10.0.0.1 !10.0.0.2", "new IPv4 81: 10.0.0.1", "new IPv6 80: 2001:db8::1"],
        &[],
        &[],
    );
    check(two, &stored(&plan), &[], &[], &[]);
    // Several subsets that are the same are one.
    check(
        json!([subset(&["10.0.0.1"], &[], 80), subset(&["10.0.0.2"], &[], 80)]),
        &[],
        &["new IPv4 80: 10.0.0.1 10.0.0.2"],
        &[],
        &[],
    );
    check(json!([{"addresses": [{"ip": "10.0.0.1"}]}]), &[], &["new IPv4 : 10.0.0.1"], &[], &[]);
    check(json!([]), &[], &[], &[], &[]);
}

#[test]
fn changes_are_made_in_place_and_slices_recycled() {
    let one = |ip: &str, port: i32| json!([subset(&[ip], &[], port)]);
    let existing = stored(&sync(&endpoints(one("10.0.0.1", 80)), &[], 1000));
    check(one("10.0.0.2", 80), &existing, &[], &["s-0 IPv4 80: 10.0.0.2"], &[]);
    check(one("10.0.0.1", 81), &existing, &[], &["s-0 IPv4 81: 10.0.0.1"], &[]);
    check(one("2001:db8::1", 80), &existing, &["new IPv6 80: 2001:db8::1"], &[], &["s-0 IPv4 80: 10.0.0.1"]);
    check(json!([]), &existing, &[], &[], &["s-0 IPv4 80: 10.0.0.1"]);
    // One too many goes.
    let mut twin = (*existing[0]).clone();
    twin.metadata.name = Some("twin".into());
    check(one("10.0.0.1", 80), &[existing[0].clone(), Arc::new(twin)], &[], &[], &["twin IPv4 80: 10.0.0.1"]);
}

#[test]
fn labels_annotations_and_owner_are_kept_right() {
    let subsets = json!([subset(&["10.0.0.1"], &[], 80)]);
    let check = |change: fn(&mut EndpointSlice), want: bool| {
        let mut slice = (*stored(&sync(&endpoints(subsets.clone()), &[], 1000))[0]).clone();
        change(&mut slice);
        let plan = sync(&endpoints(subsets.clone()), &[Arc::new(slice.clone())], 1000);
        assert_eq!(!plan.writes.update.is_empty(), want, "{slice:?}");
    };
    check(|_| {}, false);
    check(|s| drop(s.metadata.labels.as_mut().unwrap().remove("a")), true);
    check(|s| drop(s.metadata.labels.as_mut().unwrap().insert("more".into(), String::new())), true);
    check(|s| s.metadata.annotations = None, true);
    check(|s| s.metadata.owner_references.as_mut().unwrap()[0].uid = "before".into(), true);
    check(|s| s.endpoints.as_mut().unwrap()[0].conditions = None, true);
    check(|s| s.endpoints.as_mut().unwrap()[0].zone = Some("z".into()), true);
}

#[test]
fn what_is_no_address_and_what_is_too_much_is_left_out() {
    let plan = check(
        json!([subset(&["010.0.0.1", "nonsense", "::ffff:10.0.0.9"], &[], 80)]),
        &[],
        &["new IPv4 80: 10.0.0.1 10.0.0.9"],
        &[],
        &[],
    );
    assert_eq!((plan.invalid, plan.skipped), (1, 1));
    let many = endpoints(json!([subset(&["10.0.0.1", "10.0.0.2"], &["10.0.0.3", "nonsense"], 80)]));
    let plan = sync(&many, &[], 2);
    assert_eq!(print(&plan.writes.create), ["new IPv4 80: 10.0.0.1 10.0.0.2"]);
    assert_eq!((plan.invalid, plan.skipped), (0, 2));
}

#[test]
fn nothing_is_made_for_endpoints_that_go() {
    let mut going = endpoints(json!([subset(&["10.0.0.1"], &[], 80)]));
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(sync(&going, &[], 1000), Plan::default());
}
