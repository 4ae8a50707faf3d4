//! `volumebinding/volume_binding_test.go` and `binder_test.go`, up to the binding itself (`core/tests/claims.rs`).

use expect_test::{Expect, expect};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass},
};
use serde_json::{Value, json};

use super::{ApiPod, World, added, change_of, check, node, pod};

fn wanting(claims: &[&str]) -> ApiPod {
    let volume = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    pod("p", json!({"volumes": claims.iter().map(volume).collect::<Vec<_>>()}))
}

fn claim(name: &str, class: &str, size: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "annotations": {}},
        "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
        "status": {"phase": "Pending"},
    })
}

fn bound(name: &str, volume: &str) -> Value {
    let mut claim = claim(name, "wait", "1Gi");
    claim["spec"]["volumeName"] = json!(volume);
    claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
    claim
}

fn volume(name: &str, class: &str, size: &str, nodes: &[&str]) -> Value {
    let expression = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": nodes});
    let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}});
    json!({
        "metadata": {"name": name},
        "spec": {
            "storageClassName": class,
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": size},
            "nodeAffinity": if nodes.is_empty() { json!(null) } else { affinity },
        },
        "status": {"phase": "Available"},
    })
}

/// Nodes `a`, `b` and `c`, of which `c` is in another zone, and classes: `now` binds at once, `wait` waits and makes no
/// volumes, `made` does, `near` only in zone `z`, `full` says how much there is.
fn world(claims: &[Value], volumes: &[Value]) -> World {
    let node = |name: &str, zone: &str| node(name, json!({"labels": {"kubernetes.io/hostname": name, "zone": zone}}));
    let class = |name: &str, provisioner: &str, more: Value| {
        let mut class = json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"});
        class.as_object_mut().expect("a class").extend(more.as_object().cloned().unwrap_or_default());
        class
    };
    let zone = json!([{"matchLabelExpressions": [{"key": "zone", "values": ["z"]}]}]);
    World::new("VolumeBinding", json!(null))
        .with(&[node("a", "z"), node("b", "z"), node("c", "other")], &[])
        .having::<PersistentVolumeClaim>(claims)
        .having::<PersistentVolume>(volumes)
        .having::<StorageClass>(&[
            class("now", "p", json!({"volumeBindingMode": "Immediate"})),
            class("wait", "kubernetes.io/no-provisioner", json!({})),
            class("made", "p", json!({})),
            class("near", "p", json!({"allowedTopologies": zone})),
            class("full", "driver", json!({})),
            class("unset", "p", json!({"volumeBindingMode": null})),
        ])
        .having::<CSIDriver>(&[json!({"metadata": {"name": "driver"}, "spec": {"storageCapacity": true}})])
}

#[test]
fn pods_that_can_be_placed_nowhere() {
    let of = |claims: &[Value], wanted: &[&str], expected: Expect| {
        check(world(claims, &[]).filter(&wanting(wanted)), expected)
    };
    of(&[], &[], expect!["PreFilter Skip"]);
    of(&[], &["c"], expect![[r#"PreFilter UnschedulableAndUnresolvable persistentvolumeclaim "c" not found"#]]);
    of(
        &[bound("c", "v")],
        &["c", "d"],
        expect![[r#"PreFilter UnschedulableAndUnresolvable persistentvolumeclaim "d" not found"#]],
    );
    let unbound = || expect!["PreFilter UnschedulableAndUnresolvable pod has unbound immediate PersistentVolumeClaims"];
    of(&[claim("c", "now", "1Gi")], &["c"], unbound());
    of(&[claim("c", "gone", "1Gi")], &["c"], unbound());
    of(&[claim("c", "", "1Gi")], &["c"], unbound());
    // Bound by half: by a user beforehand, or by the controller, which is not done.
    let mut half = claim("c", "wait", "1Gi");
    half["spec"]["volumeName"] = json!("v");
    of(&[half], &["c"], unbound());
    let mut lost = bound("c", "v");
    lost["status"]["phase"] = json!("Lost");
    of(
        &[lost],
        &["c"],
        expect![[
            r#"PreFilter UnschedulableAndUnresolvable persistentvolumeclaim "c" bound to non-existent persistentvolume "v""#
        ]],
    );
    let mut going = bound("c", "v");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    of(
        &[going],
        &["c"],
        expect![[r#"PreFilter UnschedulableAndUnresolvable persistentvolumeclaim "c" is being deleted"#]],
    );
    of(
        &[claim("c", "unset", "1Gi")],
        &["c"],
        expect![[r#"PreFilter Error VolumeBindingMode not set for StorageClass "unset""#]],
    );
}

#[test]
fn ephemeral_claims_are_waited_for_and_must_be_the_pods_own() {
    let of = |claims: &[Value], expected: Expect| {
        let pod = pod("p", json!({"volumes": [{"name": "v", "ephemeral": {}}]}));
        check(world(claims, &[]).filter(&pod), expected);
    };
    of(
        &[],
        expect![[
            r#"PreFilter UnschedulableAndUnresolvable waiting for ephemeral volume controller to create the persistentvolumeclaim "p-v""#
        ]],
    );
    let mut claim = claim("p-v", "made", "1Gi");
    of(
        std::slice::from_ref(&claim),
        expect![
            "PreFilter UnschedulableAndUnresolvable PVC default/p-v was not created for pod default/p (pod is not owner)"
        ],
    );
    claim["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    of(
        &[claim],
        expect![[r#"
            a Success
            b Success
            c Success"#]],
    );
}

#[test]
fn bound_claims_say_where_their_volumes_are() {
    let on_a = volume("v", "wait", "1Gi", &["a"]);
    check(
        world(&[bound("c", "v")], &[on_a]).filter(&wanting(&["c"])),
        expect![[r#"
            a Success
            b UnschedulableAndUnresolvable node(s) didn't match PersistentVolume's node affinity
            c UnschedulableAndUnresolvable node(s) didn't match PersistentVolume's node affinity"#]],
    );
    check(
        world(&[bound("c", "v")], &[volume("v", "wait", "1Gi", &[])]).filter(&wanting(&["c"])),
        expect![[r#"
            a Success
            b Success
            c Success"#]],
    );
    check(
        world(&[bound("c", "gone")], &[]).filter(&wanting(&["c"])),
        expect![[r#"
            a UnschedulableAndUnresolvable node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)
            b UnschedulableAndUnresolvable node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)
            c UnschedulableAndUnresolvable node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"#]],
    );
    // Bound and unbound at once.
    let mut taken = volume("v", "wait", "1Gi", &["a"]);
    taken["spec"]["claimRef"] = json!({"namespace": "default", "name": "c", "uid": "c"});
    check(
        world(&[bound("c", "v"), claim("d", "wait", "1Gi")], &[taken]).filter(&wanting(&["c", "d"])),
        expect![[r#"
            a UnschedulableAndUnresolvable node(s) didn't find available persistent volumes to bind
            b UnschedulableAndUnresolvable node(s) didn't match PersistentVolume's node affinity, node(s) didn't find available persistent volumes to bind
            c UnschedulableAndUnresolvable node(s) didn't match PersistentVolume's node affinity, node(s) didn't find available persistent volumes to bind"#]],
    );
}

/// Their drivers' labels count on nodes on which the drivers have taken over, those of Kubernetes on others.
#[test]
fn nodes_reach_volumes_of_former_plugins_as_the_driver_there_says() {
    let (ours, drivers) = ("topology.kubernetes.io/zone", "topology.ebs.csi.aws.com/zone");
    let csi_node = |name: &str, plugins: &str| {
        let annotations = json!({"storage.alpha.kubernetes.io/migrated-plugins": plugins});
        json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"drivers": []}})
    };
    let mut volume = volume("v", "wait", "1Gi", &["z"]);
    volume["spec"]["awsElasticBlockStore"] = json!({"volumeID": "x"});
    let requirement = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/key";
    *volume.pointer_mut(requirement).expect("a requirement") = json!(ours);
    let nodes = [
        node("driver", json!({"labels": {drivers: "z"}})),
        node("driver-elsewhere", json!({"labels": {drivers: "other", ours: "z"}})),
        node("former", json!({"labels": {ours: "z"}})),
        node("of-another-driver", json!({"labels": {drivers: "z"}})),
    ];
    let mut world = world(&[bound("c", "v")], &[volume]).with(&nodes, &[]).having::<CSINode>(&[
        csi_node("driver", "kubernetes.io/cinder,kubernetes.io/aws-ebs"),
        csi_node("driver-elsewhere", "kubernetes.io/aws-ebs"),
        csi_node("of-another-driver", "kubernetes.io/cinder"),
    ]);
    check(
        world.filter(&wanting(&["c"])),
        expect![[r#"
        a UnschedulableAndUnresolvable node(s) didn't match PersistentVolume's node affinity
        driver-elsewhere UnschedulableAndUnresolvable node(s) didn't match PersistentVolume's node affinity
        b UnschedulableAndUnresolvable node(s) didn't match PersistentVolume's node affinity
        former Success
        c UnschedulableAndUnresolvable node(s) didn't match PersistentVolume's node affinity
        driver Success
        of-another-driver UnschedulableAndUnresolvable node(s) didn't match PersistentVolume's node affinity"#]],
    );
}

#[test]
fn waiting_claims_find_volumes_or_have_them_made() {
    let on = |claims: &[Value], volumes: &[Value], wanted: &[&str], expected: Expect| {
        check(world(claims, volumes).filter(&wanting(wanted)), expected);
    };
    on(
        &[claim("c", "wait", "5Gi")],
        &[
            volume("small", "wait", "1Gi", &["b"]),
            volume("enough", "wait", "5Gi", &["a"]),
            volume("other", "made", "9Gi", &["c"]),
        ],
        &["c"],
        expect![[r#"
            a Success
            b UnschedulableAndUnresolvable node(s) didn't find available persistent volumes to bind
            c UnschedulableAndUnresolvable node(s) didn't find available persistent volumes to bind"#]],
    );
    // Two claims need two volumes; the smaller one takes the smaller volume.
    on(
        &[claim("large", "wait", "5Gi"), claim("small", "wait", "1Gi")],
        &[
            volume("a-small", "wait", "1Gi", &["a"]),
            volume("a-large", "wait", "5Gi", &["a"]),
            volume("b-large", "wait", "5Gi", &["b"]),
        ],
        &["large", "small"],
        expect![[r#"
            a Success
            b UnschedulableAndUnresolvable node(s) didn't find available persistent volumes to bind
            c UnschedulableAndUnresolvable node(s) didn't find available persistent volumes to bind"#]],
    );
    // One that is reserved for the claim is the only one.
    let mut reserved = volume("reserved", "wait", "5Gi", &["b"]);
    reserved["spec"]["claimRef"] = json!({"namespace": "default", "name": "c"});
    on(
        &[claim("c", "wait", "1Gi")],
        &[volume("free", "wait", "5Gi", &["a"]), reserved],
        &["c"],
        expect![[r#"
            a UnschedulableAndUnresolvable node(s) didn't find available persistent volumes to bind
            b Success
            c UnschedulableAndUnresolvable node(s) didn't find available persistent volumes to bind"#]],
    );
    on(
        &[claim("c", "made", "1Gi")],
        &[],
        &["c"],
        expect![[r#"
            a Success
            b Success
            c Success"#]],
    );
    on(
        &[claim("c", "near", "1Gi")],
        &[],
        &["c"],
        expect![[r#"
            a Success
            b Success
            c UnschedulableAndUnresolvable node(s) didn't find available persistent volumes to bind"#]],
    );
    let mut selected = claim("c", "made", "1Gi");
    selected["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = json!("b");
    on(
        &[selected],
        &[],
        &["c"],
        expect![[r#"
            a UnschedulableAndUnresolvable node(s) didn't find available persistent volumes to bind
            b Success
            c UnschedulableAndUnresolvable node(s) didn't find available persistent volumes to bind"#]],
    );
}

#[test]
fn volumes_are_made_where_there_is_room_for_them() {
    let capacity = |name: &str, class: &str, node: &str, fields: Value| {
        let mut capacity = json!({
            "metadata": {"name": name, "namespace": "default"},
            "storageClassName": class,
            "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": node}},
        });
        capacity.as_object_mut().expect("a capacity").extend(fields.as_object().cloned().unwrap_or_default());
        capacity
    };
    let on = |capacities: &[Value], size: &str, expected: Expect| {
        let mut world = world(&[claim("c", "full", size)], &[]).having::<CSIStorageCapacity>(capacities);
        check(world.filter(&wanting(&["c"])), expected);
    };
    on(
        &[
            capacity("a", "full", "a", json!({"capacity": "2Gi"})),
            capacity("b", "full", "b", json!({"capacity": "2Gi", "maximumVolumeSize": "1Gi"})),
            capacity("c", "other", "c", json!({"capacity": "2Gi"})),
        ],
        "2Gi",
        expect![[r#"
            a Success
            b UnschedulableAndUnresolvable node(s) did not have enough free storage
            c UnschedulableAndUnresolvable node(s) did not have enough free storage"#]],
    );
    on(
        &[
            capacity("a", "full", "a", json!({})),
            capacity("b", "full", "b", json!({"nodeTopology": null, "capacity": "2Gi"})),
            capacity("c", "full", "c", json!({"capacity": "1Gi"})),
        ],
        "2Gi",
        expect![[r#"
            a UnschedulableAndUnresolvable node(s) did not have enough free storage
            b UnschedulableAndUnresolvable node(s) did not have enough free storage
            c UnschedulableAndUnresolvable node(s) did not have enough free storage"#]],
    );
}

#[test]
fn hints() {
    let none = json!(null);
    let elsewhere = json!({"metadata": {"name": "c", "namespace": "ns"}});
    let class = |zone: &str| {
        let topologies = json!([{"matchLabelExpressions": [{"key": "zone", "values": [zone]}]}]);
        json!({"metadata": {"name": "s"}, "provisioner": "p", "allowedTopologies": topologies})
    };
    let csi_node = |plugins: &str, label: &str| {
        let annotations = json!({"storage.alpha.kubernetes.io/migrated-plugins": plugins});
        json!({"metadata": {"name": "a", "annotations": annotations, "labels": {"x": label}}, "spec": {"drivers": []}})
    };
    let driver = |name: &str, tells: bool| json!({"metadata": {"name": name}, "spec": {"storageCapacity": tells}});
    let capacity = |fields: Value| {
        let mut capacity = json!({"metadata": {"name": "x", "namespace": "default"}, "storageClassName": "s"});
        capacity.as_object_mut().expect("a capacity").extend(fields.as_object().cloned().unwrap_or_default());
        capacity
    };
    let size = |size: &str| capacity(json!({"capacity": size}));
    let inline = json!({"name": "i", "csi": {"driver": "own"}});
    let claims = json!({"name": "c", "persistentVolumeClaim": {"claimName": "c"}});
    World::new("VolumeBinding", json!(null)).check_hints(
        &pod("p", json!({"volumes": [claims, inline, {"name": "e", "ephemeral": {}}]})),
        vec![
            ("the claim comes", change_of::<PersistentVolumeClaim>(&none, &claim("c", "s", "1Gi"))),
            ("the claim changes", change_of::<PersistentVolumeClaim>(&claim("c", "s", "1Gi"), &bound("c", "v"))),
            ("the ephemeral claim comes", change_of::<PersistentVolumeClaim>(&none, &claim("p-e", "s", "1Gi"))),
            ("another claim comes", change_of::<PersistentVolumeClaim>(&none, &claim("d", "s", "1Gi"))),
            ("a claim comes elsewhere", change_of::<PersistentVolumeClaim>(&none, &elsewhere)),
            ("a volume comes", change_of::<PersistentVolume>(&none, &volume("v", "s", "1Gi", &[]))),
            ("a class comes", change_of::<StorageClass>(&none, &class("a"))),
            ("a class changes its topologies", change_of::<StorageClass>(&class("a"), &class("b"))),
            ("a class changes something else", change_of::<StorageClass>(&class("a"), &class("a"))),
            ("a node's drivers come", change_of::<CSINode>(&none, &csi_node("x", ""))),
            ("a node's plugins are migrated", change_of::<CSINode>(&csi_node("x", ""), &csi_node("x,y", ""))),
            ("a node's drivers change otherwise", change_of::<CSINode>(&csi_node("x", ""), &csi_node("x", "y"))),
            ("the driver comes", change_of::<CSIDriver>(&none, &driver("own", false))),
            (
                "the driver tells no capacity any more",
                change_of::<CSIDriver>(&driver("own", true), &driver("own", false)),
            ),
            ("the driver tells capacities now", change_of::<CSIDriver>(&driver("own", false), &driver("own", true))),
            ("another driver tells none any more", change_of::<CSIDriver>(&driver("x", true), &driver("x", false))),
            ("a capacity comes", change_of::<CSIStorageCapacity>(&none, &size("1Gi"))),
            ("a capacity rises", change_of::<CSIStorageCapacity>(&size("1Gi"), &size("2Gi"))),
            ("a capacity falls", change_of::<CSIStorageCapacity>(&size("2Gi"), &size("1Gi"))),
            ("a capacity is known now", change_of::<CSIStorageCapacity>(&capacity(json!({})), &size("1Gi"))),
            ("a capacity is unknown now", change_of::<CSIStorageCapacity>(&size("1Gi"), &capacity(json!({})))),
            ("a node comes", added(node("a", json!({})))),
        ],
        expect![[r#"
            Queue: the claim comes
            Queue: the claim changes
            Queue: the ephemeral claim comes
            Skip: another claim comes
            Skip: a claim comes elsewhere
            Queue: a volume comes
            Queue: a class comes
            Queue: a class changes its topologies
            Skip: a class changes something else
            Queue: a node's drivers come
            Queue: a node's plugins are migrated
            Skip: a node's drivers change otherwise
            unregistered: the driver comes
            Queue: the driver tells no capacity any more
            Skip: the driver tells capacities now
            Skip: another driver tells none any more
            Queue: a capacity comes
            Queue: a capacity rises
            Skip: a capacity falls
            Queue: a capacity is known now
            Skip: a capacity is unknown now
            Queue: a node comes"#]],
    );
}
