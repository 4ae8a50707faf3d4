//! `volumezone/volume_zone_test.go`.

use expect_test::{Expect, expect};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use serde_json::{Value, json};

use super::{ApiPod, World, change_of, check, node, pod};

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const OLD_REGION: &str = "failure-domain.beta.kubernetes.io/region";

fn using(claim: &str) -> ApiPod {
    pod("p", json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}))
}

fn volume(labels: &Value) -> Value {
    json!({"metadata": {"name": "pv", "labels": labels}})
}

fn claim(spec: Value) -> Value {
    json!({"metadata": {"name": "c", "namespace": "default"}, "spec": spec})
}

#[test]
fn a_node_of_a_zone_takes_pods_whose_volumes_are_there() {
    let on = |volume_labels: Value, node_labels: Value, expected: Expect| {
        let mut world = World::new("VolumeZone", json!(null))
            .with(&[node("a", json!({"labels": node_labels}))], &[])
            .having::<PersistentVolumeClaim>(&[claim(json!({"volumeName": "pv"}))])
            .having::<PersistentVolume>(&[volume(&volume_labels)]);
        check(world.filter(&using("c")), expected);
    };
    let admitted = || expect!["a Success"];
    let refused = || expect!["a UnschedulableAndUnresolvable node(s) had no available volume zone"];
    on(json!({OLD_ZONE: "w-a"}), json!({}), admitted());
    on(json!({OLD_ZONE: "w-a"}), json!({OLD_ZONE: "w-a", "useless": "none"}), admitted());
    on(json!({OLD_REGION: "w", "useless": "none"}), json!({OLD_REGION: "w"}), admitted());
    on(json!({OLD_REGION: "w"}), json!({OLD_REGION: "no_w"}), refused());
    on(json!({OLD_ZONE: "w-a"}), json!({OLD_ZONE: "no_w-a"}), refused());
    on(json!({ZONE: "w-a"}), json!({ZONE: "w-a"}), admitted());
    on(json!({REGION: "w"}), json!({REGION: "w"}), admitted());
    on(json!({REGION: "w"}), json!({REGION: "no_w"}), refused());
    on(json!({ZONE: "w-a", REGION: "w"}), json!({ZONE: "w-a"}), refused());
    on(json!({ZONE: "w-a"}), json!({OLD_ZONE: "w-a"}), refused());
    on(json!({OLD_ZONE: "w-a"}), json!({ZONE: "w-a"}), admitted());
    on(json!({OLD_ZONE: "w-a"}), json!({ZONE: "w-b"}), refused());
    // Several zones, of which the node's is one; a label that can't be read says nothing.
    on(json!({ZONE: "w-c__w-a"}), json!({ZONE: "w-a"}), admitted());
    on(json!({ZONE: "w-c__w-a"}), json!({ZONE: "w-b"}), refused());
    on(json!({ZONE: "w-c____w-a"}), json!({ZONE: "w-b"}), expect!["PreFilter Skip"]);
    on(json!({"useless": "none"}), json!({ZONE: "w-b"}), expect!["PreFilter Skip"]);
}

#[test]
fn what_is_wrong_with_a_claim_is_said_of_all_nodes() {
    let of = |spec: Value, expected: Expect| {
        let class = |name: &str, mode: Value| json!({"metadata": {"name": name}, "provisioner": "p", "volumeBindingMode": mode});
        let mut world = World::new("VolumeZone", json!(null))
            .with(&[node("a", json!({"labels": {ZONE: "w-a"}}))], &[])
            .having::<PersistentVolumeClaim>(&[claim(spec)])
            .having::<StorageClass>(&[
                class("now", json!("Immediate")),
                class("later", json!("WaitForFirstConsumer")),
                class("never", json!(null)),
            ]);
        check(world.filter(&using("c")), expected);
    };
    of(json!({"storageClassName": "later"}), expect!["PreFilter Skip"]);
    of(
        json!({"storageClassName": "now"}),
        expect!["PreFilter UnschedulableAndUnresolvable PersistentVolume had no name"],
    );
    of(
        json!({"storageClassName": "never"}),
        expect![[r#"PreFilter UnschedulableAndUnresolvable VolumeBindingMode not set for StorageClass "never""#]],
    );
    of(
        json!({"storageClassName": "gone"}),
        expect![[r#"PreFilter UnschedulableAndUnresolvable storageclass.storage.k8s.io "gone" not found"#]],
    );
    of(
        json!({}),
        expect!["PreFilter UnschedulableAndUnresolvable PersistentVolumeClaim had no pv name and storageClass name"],
    );
    of(
        json!({"volumeName": "gone"}),
        expect![[r#"PreFilter UnschedulableAndUnresolvable persistentvolume "gone" not found"#]],
    );
    let mut empty = World::new("VolumeZone", json!(null)).with(&[node("a", json!({}))], &[]);
    check(
        empty.filter(&using("c")),
        expect![[r#"PreFilter UnschedulableAndUnresolvable persistentvolumeclaim "c" not found"#]],
    );
    check(
        empty.filter(&using("")),
        expect!["PreFilter UnschedulableAndUnresolvable PersistentVolumeClaim had no name"],
    );
    check(empty.filter(&pod("p", json!({}))), expect!["PreFilter Skip"]);
}

#[test]
fn hints() {
    let named = |namespace: &str, name: &str| json!({"metadata": {"name": name, "namespace": namespace}});
    let class = |mode: &str| json!({"metadata": {"name": "s"}, "provisioner": "p", "volumeBindingMode": mode});
    let none = json!(null);
    World::new("VolumeZone", json!(null)).check_hints(
        &using("c"),
        vec![
            ("the claim comes", change_of::<PersistentVolumeClaim>(&none, &named("default", "c"))),
            ("the claim changes", change_of::<PersistentVolumeClaim>(&named("default", "c"), &named("default", "c"))),
            ("another claim comes", change_of::<PersistentVolumeClaim>(&none, &named("default", "d"))),
            ("a claim comes elsewhere", change_of::<PersistentVolumeClaim>(&none, &named("ns", "c"))),
            ("a class comes that waits", change_of::<StorageClass>(&none, &class("WaitForFirstConsumer"))),
            ("a class comes that does not wait", change_of::<StorageClass>(&none, &class("Immediate"))),
            ("a class changes", change_of::<StorageClass>(&class("Immediate"), &class("Immediate"))),
            ("a volume comes", change_of::<PersistentVolume>(&none, &volume(&json!({})))),
            (
                "a volume changes its zone",
                change_of::<PersistentVolume>(&volume(&json!({ZONE: "a"})), &volume(&json!({ZONE: "b"}))),
            ),
            (
                "a volume changes something else",
                change_of::<PersistentVolume>(&volume(&json!({ZONE: "a"})), &volume(&json!({ZONE: "a", "x": "y"}))),
            ),
        ],
        expect![[r#"
            Queue: the claim comes
            Queue: the claim changes
            Skip: another claim comes
            Skip: a claim comes elsewhere
            Queue: a class comes that waits
            Skip: a class comes that does not wait
            unregistered: a class changes
            Queue: a volume comes
            Queue: a volume changes its zone
            Skip: a volume changes something else"#]],
    );
}
