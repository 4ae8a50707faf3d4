//! `volumerestrictions/volume_restrictions_test.go`.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use super::{ApiPod, World, added, change_of, check, deleted, node, pod};

fn with(name: &str, volumes: Value) -> ApiPod {
    pod(name, json!({"volumes": volumes}))
}

fn there(name: &str, volumes: Value) -> ApiPod {
    pod(name, json!({"volumes": volumes, "nodeName": "a"}))
}

fn claim(name: &str) -> Value {
    json!([{"name": "v", "persistentVolumeClaim": {"claimName": name}}])
}

fn manifest(name: &str, mode: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"accessModes": [mode]}})
}

#[test]
fn disks_are_had_by_one_who_writes_or_by_many_who_read() {
    let disks = |volume: Value, other: Value, expected: Expect| {
        let mut world = World::new("VolumeRestrictions", json!(null))
            .with(&[node("a", json!({}))], &[there("other", json!([other]))]);
        check(world.filter(&with("p", json!([volume]))), expected);
    };
    let refused = || expect!["a Unschedulable node(s) had no available disk"];
    let admitted = || expect!["a Success"];
    let gce = |name: &str, reads: bool| json!({"name": "v", "gcePersistentDisk": {"pdName": name, "readOnly": reads}});
    disks(gce("foo", false), gce("foo", false), refused());
    disks(gce("foo", true), gce("foo", false), refused());
    disks(gce("foo", true), gce("foo", true), admitted());
    disks(gce("foo", false), gce("bar", false), admitted());
    let aws = |id: &str| json!({"name": "v", "awsElasticBlockStore": {"volumeID": id, "readOnly": true}});
    disks(aws("foo"), aws("foo"), refused());
    disks(aws("foo"), aws("bar"), admitted());
    let iscsi = |iqn: &str, reads: bool| json!({"name": "v", "iscsi": {"targetPortal": "127.0.0.1:3260", "lun": 0, "iqn": iqn, "readOnly": reads}});
    disks(
        iscsi("iqn.2016-12.server:storage.target-1", false),
        iscsi("iqn.2016-12.server:storage.target-1", false),
        refused(),
    );
    disks(
        iscsi("iqn.2016-12.server:storage.target-1", true),
        iscsi("iqn.2016-12.server:storage.target-1", true),
        admitted(),
    );
    disks(
        iscsi("iqn.2016-12.server:storage.target-1", false),
        iscsi("iqn.2017-12.server:storage.target-1", false),
        admitted(),
    );
    let rbd = |monitors: &[&str], image: &str, reads: bool| json!({"name": "v", "rbd": {"monitors": monitors, "pool": "foo", "image": image, "readOnly": reads}});
    disks(rbd(&["a", "b"], "bar", false), rbd(&["b", "c", "d"], "bar", false), refused());
    disks(rbd(&["a", "b"], "bar", false), rbd(&["c", "d"], "bar", false), admitted());
    disks(rbd(&["a", "b"], "bar", false), rbd(&["a", "b"], "baz", false), admitted());
    disks(rbd(&["a", "b"], "bar", true), rbd(&["a", "b"], "bar", true), admitted());
    disks(gce("foo", false), aws("foo"), admitted());
}

#[test]
fn a_claim_for_one_pod_has_one() {
    let world = || {
        World::new("VolumeRestrictions", json!(null)).having::<PersistentVolumeClaim>(&[
            manifest("alone", "ReadWriteOncePod"),
            manifest("shared", "ReadWriteMany"),
        ])
    };
    let nodes = [node("a", json!({})), node("b", json!({}))];
    check(world().with(&nodes, &[]).filter(&with("p", json!([]))), expect!["PreFilter Skip"]);
    check(world().with(&nodes, &[]).filter(&with("p", claim("alone"))), expect!["PreFilter Skip"]);
    check(
        world().with(&nodes, &[there("other", claim("shared"))]).filter(&with("p", claim("shared"))),
        expect!["PreFilter Skip"],
    );
    check(
        world().with(&nodes, &[]).filter(&with("p", claim("none"))),
        expect![[r#"PreFilter UnschedulableAndUnresolvable persistentvolumeclaim "none" not found"#]],
    );
    let other = there("other", claim("alone"));
    let refused = expect![[r#"
        a Unschedulable node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod
        b Unschedulable node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"#]];
    check(world().with(&nodes, std::slice::from_ref(&other)).filter(&with("p", claim("alone"))), refused);
    // Preemption tries without the other.
    check(
        world()
            .with(&nodes, std::slice::from_ref(&other))
            .filter_after(&with("p", claim("alone")), &[(false, other.clone())]),
        expect![[r#"
            a Success
            b Success"#]],
    );
    // A claim of that name in another namespace is another one.
    let elsewhere = pod("other", json!({"namespace": "ns", "volumes": claim("alone"), "nodeName": "a"}));
    check(world().with(&nodes, &[elsewhere]).filter(&with("p", claim("alone"))), expect!["PreFilter Skip"]);
}

#[test]
fn hints() {
    let gce = json!([{"name": "v", "gcePersistentDisk": {"pdName": "foo"}}]);
    let mut both = gce.as_array().cloned().unwrap_or_default();
    both.extend(claim("c").as_array().cloned().unwrap_or_default());
    let claim_of = |namespace: &str, name: &str| json!({"metadata": {"name": name, "namespace": namespace}});
    World::new("VolumeRestrictions", json!(null)).check_hints(
        &with("p", json!(both)),
        vec![
            ("a pod with the disk goes", deleted(there("other", gce))),
            ("a pod with the claim goes", deleted(there("other", claim("c")))),
            ("a pod with another claim goes", deleted(there("other", claim("d")))),
            (
                "a pod with the claim of another namespace goes",
                deleted(pod("other", json!({"namespace": "ns", "volumes": claim("c"), "nodeName": "a"}))),
            ),
            ("a pod without volumes goes", deleted(there("other", json!([])))),
            ("a pod comes", added(there("other", claim("c")))),
            ("the claim comes", change_of::<PersistentVolumeClaim>(&json!(null), &claim_of("default", "c"))),
            ("another claim comes", change_of::<PersistentVolumeClaim>(&json!(null), &claim_of("default", "d"))),
            ("a claim comes elsewhere", change_of::<PersistentVolumeClaim>(&json!(null), &claim_of("ns", "c"))),
            (
                "the claim changes",
                change_of::<PersistentVolumeClaim>(&claim_of("default", "c"), &claim_of("default", "c")),
            ),
            ("a node comes", added(node("a", json!({})))),
        ],
        expect![[r#"
            Queue: a pod with the disk goes
            Queue: a pod with the claim goes
            Skip: a pod with another claim goes
            Skip: a pod with the claim of another namespace goes
            Skip: a pod without volumes goes
            unregistered: a pod comes
            Queue: the claim comes
            Skip: another claim comes
            Skip: a claim comes elsewhere
            unregistered: the claim changes
            Queue: a node comes"#]],
    );
}
