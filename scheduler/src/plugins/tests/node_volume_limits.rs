//! `nodevolumelimits/csi_test.go`.

use expect_test::{Expect, expect};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSINode, StorageClass, VolumeAttachment},
};
use serde_json::{Value, json};

use super::{ApiPod, World, change_of, check, deleted, node, pod};

const EBS: &str = "ebs.csi.aws.com";

fn claims(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}})).collect()
}

fn wanting(volumes: Vec<Value>) -> ApiPod {
    pod("p", json!({"volumes": volumes}))
}

fn there(name: &str, volumes: Vec<Value>) -> ApiPod {
    pod(name, json!({"volumes": volumes, "nodeName": "a"}))
}

fn ephemeral() -> Vec<Value> {
    vec![json!({"name": "xyz", "ephemeral": {}})]
}

fn limit(driver: &str, count: Value) -> Value {
    json!({"name": driver, "nodeID": "a", "allocatable": {"count": count}})
}

fn csi_node(drivers: &[Value]) -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"drivers": drivers}})
}

/// A node with these limits, claims `ebs-N` and `gce-N` bound to volumes of those drivers, `tree-N` to volumes of the
/// former AWS plugin, `wait-N` to none yet, of a class with the driver, `lost` to one that is gone, and `bare` of no class.
fn world(drivers: &[Value]) -> World {
    let mut claims = vec![
        json!({"metadata": {"name": "lost", "namespace": "default"}, "spec": {"volumeName": "gone", "storageClassName": "ebs"}}),
        json!({"metadata": {"name": "bare", "namespace": "default"}, "spec": {}}),
    ];
    let mut volumes = Vec::new();
    for index in 0..5 {
        for (kind, source) in [
            ("ebs", json!({"csi": {"driver": EBS, "volumeHandle": format!("ebs-{index}")}})),
            ("gce", json!({"csi": {"driver": "pd.csi.storage.gke.io", "volumeHandle": format!("gce-{index}")}})),
            ("tree", json!({"awsElasticBlockStore": {"volumeID": format!("aws://zone/tree-{index}")}})),
            ("path", json!({"hostPath": {"path": "/x"}})),
        ] {
            let name = format!("{kind}-{index}");
            volumes.push(json!({"metadata": {"name": name}, "spec": source}));
            claims.push(json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"volumeName": name}}));
        }
        let meta = json!({"name": format!("wait-{index}"), "namespace": "default"});
        claims.push(json!({"metadata": meta, "spec": {"storageClassName": "ebs"}}));
    }
    let class = json!({"metadata": {"name": "ebs"}, "provisioner": EBS});
    let csi_nodes: Vec<Value> = if drivers.is_empty() { Vec::new() } else { vec![csi_node(drivers)] };
    World::new("NodeVolumeLimits", json!(null))
        .having::<PersistentVolumeClaim>(&claims)
        .having::<PersistentVolume>(&volumes)
        .having::<StorageClass>(&[class])
        .having::<CSINode>(&csi_nodes)
}

fn refused() -> Expect {
    expect!["a Unschedulable node(s) exceed max volume count"]
}

fn admitted() -> Expect {
    expect!["a Success"]
}

#[test]
fn volumes_of_a_driver_are_counted_once_each() {
    let on = |most: i64, others: &[&[&str]], wanted: &[&str], expected: Expect| {
        let pods: Vec<ApiPod> =
            others.iter().enumerate().map(|(index, names)| there(&index.to_string(), claims(names))).collect();
        let drivers = [limit(EBS, json!(most)), limit("pd.csi.storage.gke.io", json!(most))];
        check(world(&drivers).with(&[node("a", json!({}))], &pods).filter(&wanting(claims(wanted))), expected);
    };
    on(4, &[&["ebs-3"], &["ebs-1", "ebs-2"]], &["ebs-0"], admitted());
    on(2, &[&["ebs-3"], &["ebs-1", "ebs-2"]], &["ebs-0"], refused());
    on(2, &[&["wait-0"], &["ebs-1"]], &["ebs-0"], refused());
    on(4, &[&["wait-0"], &["wait-0"], &["ebs-1", "ebs-2"]], &["ebs-0"], admitted());
    on(2, &[&["lost"], &["ebs-1"]], &["ebs-0"], refused());
    on(2, &[&["ebs-3"], &["bare"]], &["ebs-0"], admitted());
    on(2, &[&["gce-1", "gce-2"], &["ebs-1", "ebs-2"]], &["ebs-0"], refused());
    on(2, &[&["ebs-1", "ebs-2"], &["ebs-3"]], &["gce-1", "gce-2"], admitted());
    on(2, &[&["ebs-1", "ebs-2"]], &["ebs-1"], admitted());
    on(2, &[&["tree-1", "tree-2"]], &["tree-0"], refused());
    on(2, &[&["tree-1", "tree-2"]], &["wait-0"], refused());
    on(2, &[&["ebs-1", "ebs-2"]], &["path-0"], admitted());
    on(2, &[&["ebs-1", "ebs-2"]], &["tree-0"], refused());
    on(0, &[], &["ebs-0"], refused());
    let no_limit = limit(EBS, json!(null));
    let others = [there("other", claims(&["ebs-1", "ebs-2", "ebs-3"]))];
    check(world(&[no_limit]).with(&[node("a", json!({}))], &others).filter(&wanting(claims(&["ebs-0"]))), admitted());
    check(world(&[]).with(&[node("a", json!({}))], &others).filter(&wanting(claims(&["ebs-0"]))), admitted());
}

#[test]
fn storage_named_in_pods_counts_where_a_driver_has_taken_over() {
    let inline = |id: &str| vec![json!({"name": "v", "awsElasticBlockStore": {"volumeID": id}})];
    let on = |most: i64, wanted: Vec<Value>, expected: Expect| {
        let others = [there("1", claims(&["ebs-1", "ebs-2"])), there("2", claims(&["tree-0"]))];
        let drivers = [limit(EBS, json!(most))];
        check(world(&drivers).with(&[node("a", json!({}))], &others).filter(&wanting(wanted)), expected);
    };
    on(3, inline("inline"), refused());
    on(3, inline("ebs-1"), admitted());
    on(3, inline("tree-0"), admitted());
    on(0, vec![json!({"name": "v", "azureFile": {"shareName": "s", "secretName": "s"}})], admitted());
    on(0, vec![json!({"name": "v", "configMap": {"name": "c"}})], expect!["PreFilter Skip"]);
}

#[test]
fn volumes_still_attached_count() {
    let attachment = |index: usize, volume: &str, attacher: &str| {
        json!({"metadata": {"name": format!("va-{index}")},
            "spec": {"attacher": attacher, "nodeName": "a", "source": {"persistentVolumeName": volume}}})
    };
    let on = |attached: &[Value], others: &[ApiPod], expected: Expect| {
        let mut world =
            world(&[limit(EBS, json!(2))]).with(&[node("a", json!({}))], others).having::<VolumeAttachment>(attached);
        check(world.filter(&wanting(claims(&["ebs-0"]))), expected);
    };
    on(&[attachment(0, "ebs-1", EBS), attachment(1, "ebs-2", EBS)], &[], refused());
    on(&[attachment(0, "ebs-1", EBS)], &[], admitted());
    on(&[attachment(0, "ebs-1", EBS)], &[there("other", claims(&["ebs-1"]))], admitted());
    on(&[attachment(0, "ebs-1", EBS), attachment(1, "gone", EBS)], &[], admitted());
    on(&[attachment(0, "ebs-1", EBS), attachment(1, "tree-1", EBS)], &[], admitted());
    on(&[attachment(0, "ebs-1", EBS), attachment(1, "ebs-2", "")], &[], admitted());
}

#[test]
fn a_claim_of_an_ephemeral_volume_is_the_pods_own() {
    let claim = |owner: Value| {
        json!({"metadata": {"name": "p-xyz", "namespace": "default", "ownerReferences": owner},
            "spec": {"storageClassName": "ebs"}})
    };
    let owner = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    let on = |most: i64, extra: &[Value], expected: Expect| {
        let mut world = world(&[limit(EBS, json!(most))])
            .with(&[node("a", json!({}))], &[there("other", claims(&["ebs-1"]))])
            .having::<PersistentVolumeClaim>(extra);
        check(world.filter(&wanting(ephemeral())), expected);
    };
    on(
        9,
        &[],
        expect![[
            r#"a UnschedulableAndUnresolvable looking up PVC default/p-xyz: persistentvolumeclaim "p-xyz" not found"#
        ]],
    );
    on(
        9,
        &[claim(json!([]))],
        expect!["a Error PVC default/p-xyz was not created for pod default/p (pod is not owner)"],
    );
    on(2, &[claim(owner.clone())], admitted());
    on(1, &[claim(owner)], refused());
}

#[test]
fn hints() {
    let named = |namespace: &str, name: &str| json!({"metadata": {"name": name, "namespace": namespace}});
    let attachment = json!({"metadata": {"name": "va"}, "spec": {"attacher": EBS, "nodeName": "a", "source": {}}});
    let none = json!(null);
    let (two, three) = (csi_node(&[limit(EBS, json!(2))]), csi_node(&[limit(EBS, json!(3))]));
    let mut both = claims(&["c"]);
    both.extend(ephemeral());
    let inline = vec![json!({"name": "v", "awsElasticBlockStore": {"volumeID": "x"}})];
    World::new("NodeVolumeLimits", json!(null)).check_hints(
        &wanting(both),
        vec![
            ("a pod with a claim goes", deleted(there("other", claims(&["d"])))),
            ("a pod with storage of a driver goes", deleted(there("other", inline.clone()))),
            ("a pod without volumes goes", deleted(there("other", Vec::new()))),
            ("a pod without a node goes", deleted(pod("other", json!({"volumes": claims(&["d"])})))),
            ("the claim comes", change_of::<PersistentVolumeClaim>(&none, &named("default", "c"))),
            ("the ephemeral claim comes", change_of::<PersistentVolumeClaim>(&none, &named("default", "p-xyz"))),
            ("another claim comes", change_of::<PersistentVolumeClaim>(&none, &named("default", "d"))),
            ("a claim comes elsewhere", change_of::<PersistentVolumeClaim>(&none, &named("ns", "c"))),
            ("an attachment goes", change_of::<VolumeAttachment>(&attachment, &none)),
            ("a node's drivers come", change_of::<CSINode>(&none, &two)),
            ("a limit is raised", change_of::<CSINode>(&two, &three)),
            ("a limit is lowered", change_of::<CSINode>(&three, &two)),
            ("a limit stays", change_of::<CSINode>(&two, &two)),
        ],
        expect![[r#"
            Queue: a pod with a claim goes
            Queue: a pod with storage of a driver goes
            Skip: a pod without volumes goes
            Skip: a pod without a node goes
            Queue: the claim comes
            Queue: the ephemeral claim comes
            Skip: another claim comes
            Skip: a claim comes elsewhere
            Queue: an attachment goes
            Queue: a node's drivers come
            Queue: a limit is raised
            Skip: a limit is lowered
            Skip: a limit stays"#]],
    );
    let of_another = json!({"metadata": {"name": "va"}, "spec": {"attacher": "other", "nodeName": "a", "source": {}}});
    World::new("NodeVolumeLimits", json!(null)).check_hints(
        &wanting(inline),
        vec![
            ("an attachment of the driver goes", change_of::<VolumeAttachment>(&attachment, &none)),
            ("an attachment of another goes", change_of::<VolumeAttachment>(&of_another, &none)),
        ],
        expect![[r#"
            Queue: an attachment of the driver goes
            Skip: an attachment of another goes"#]],
    );
}
