//! The faults of upstream's tests of volumes and claims (`pkg/apis/core/validation/validation_test.go`).

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::claim::{data_sources, status};
use super::persistent::mount_options;
use crate::rules::{said, with};
use model::check::said as listed;

mod claims;
mod sources;

type Kind = (&'static str, &'static str, &'static str);

const VOLUME: Kind = ("", "v1", "PersistentVolume");
const CLAIM: Kind = ("", "v1", "PersistentVolumeClaim");

fn check(kind: Kind, base: &Value, places: &[(&str, Value)], expected: Expect) {
    expected.assert_eq(&said(kind, &with(base, places), None));
}

fn update(kind: Kind, base: &Value, places: &[(&str, Value)], expected: Expect) {
    expected.assert_eq(&said(kind, &with(base, places), Some(base)));
}

fn volume() -> Value {
    json!({"metadata": {"name": "foo"}, "spec": {"capacity": {"storage": "10G"}, "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem", "hostPath": {"path": "/foo", "type": "Directory"}}})
}

/// A volume with that source in place of a path of the host.
fn sourced(source: Value) -> Value {
    let mut volume = volume();
    let spec = volume["spec"].as_object_mut().unwrap();
    spec.remove("hostPath");
    spec.extend(source.as_object().unwrap().clone());
    volume
}

fn check_source(source: Value, expected: Expect) {
    expected.assert_eq(&said(VOLUME, &sourced(source), None));
}

#[test]
fn volumes() {
    let volume = volume();
    check(VOLUME, &volume, &[], expect![[""]]);
    check(
        VOLUME,
        &volume,
        &[("/spec/capacity", json!({"storage": "10G", "devil": "666G"})), ("/spec/accessModes", json!([]))],
        expect![[r#"
        spec.accessModes: Required value
        spec.capacity: Unsupported value: {"devil":"666G","storage":"10G"}: supported values: "storage"
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/capacity", Value::Null)],
        expect![[r#"
        spec.capacity: Required value
        spec.capacity: Unsupported value: null: supported values: "storage"
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/capacity/storage", json!("-1")), ("/spec/accessModes", json!(["fakemode"]))],
        expect![[r#"
        spec.accessModes: Unsupported value: "fakemode": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
        spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity
        spec.capacity[storage]: Invalid value: "-1": must be greater than zero
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/capacity/storage", json!("0"))],
        expect![[r#"
        spec.capacity[storage]: Invalid value: "0": must be greater than zero
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/accessModes", json!(["ReadWriteOncePod", "ReadWriteMany", "fakemode"]))],
        expect![[r#"
        spec.accessModes: Unsupported value: "fakemode": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
        spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/accessModes", json!(["ReadWriteOncePod", "fakemode"]))],
        expect![[r#"
        spec.accessModes: Unsupported value: "fakemode": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[
            ("/spec/persistentVolumeReclaimPolicy", json!("fakeReclaimPolicy")),
            ("/spec/volumeMode", json!("fakeVolumeMode")),
        ],
        expect![[r#"
        spec.persistentVolumeReclaimPolicy: Unsupported value: "fakeReclaimPolicy": supported values: "Delete", "Recycle", "Retain"
        spec.volumeMode: Unsupported value: "fakeVolumeMode": supported values: "Block", "Filesystem"
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/storageClassName", json!("-invalid-"))],
        expect![[r#"
        spec.storageClassName: Invalid value: "-invalid-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/hostPath/path", json!("/")), ("/spec/persistentVolumeReclaimPolicy", json!("Recycle"))],
        expect![[r#"
        spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/hostPath/path", json!("/a/..")), ("/spec/persistentVolumeReclaimPolicy", json!("Recycle"))],
        expect![[r#"
        spec.hostPath.path: Invalid value: "/a/..": must not contain '..'
        spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/hostPath", json!({"path": "", "type": "x"}))],
        expect![[r#"
        spec.hostPath.path: Required value
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/hostPath/type", json!("x"))],
        expect![[r#"
        spec.hostPath.type: Unsupported value: "x": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/hostPath", Value::Null)],
        expect![[r#"
        spec: Required value: must specify a volume type
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/volumeAttributesClassName", json!(""))],
        expect![[r#"
        spec.volumeAttributesClassName: Required value: an empty string is disallowed
        spec.csi: Required value: has to be specified when using volumeAttributesClassName
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/volumeAttributesClassName", json!("-x-"))],
        expect![[r#"
        spec.volumeAttributesClassName: Invalid value: "-x-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        spec.csi: Required value: has to be specified when using volumeAttributesClassName
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[
            ("/spec/gcePersistentDisk", json!({"pdName": "foo"})),
            ("/spec/cephfs", json!({"monitors": ["a"]})),
            ("/spec/flexVolume", json!({"driver": "d"})),
        ],
        expect![[r#"
            spec.gcePersistentDisk: Forbidden: may not specify more than 1 volume type
            spec.cephFS: Forbidden: may not specify more than 1 volume type
        "#]],
    );
}

#[test]
fn nodes_of_a_volume() {
    let volume = volume();
    let term = |value: &str| json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "foo", "operator": "In", "values": [value]}]}]}});
    check(
        VOLUME,
        &volume,
        &[("/spec/nodeAffinity", term("-1"))],
        expect![[r#"
        spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/nodeAffinity", json!({}))],
        expect![[r#"
        spec.nodeAffinity.required: Required value: must specify required node constraints
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[("/spec/nodeAffinity", json!({"required": {}}))],
        expect![[r#"
        spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term
    "#]],
    );
    check(
        VOLUME,
        &volume,
        &[(
            "/spec/nodeAffinity",
            json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"operator": "In", "values": ["a"]}]}]}}),
        )],
        expect![[r#"
        spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: Invalid value: "": name part must be non-empty
        spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
    "#]],
    );
    // What an older server let pass may stay.
    update(
        VOLUME,
        &with(&volume, &[("/spec/nodeAffinity", term("-1"))]),
        &[("/spec/mountOptions", json!(["a"]))],
        expect![[""]],
    );
    check_source(
        json!({"local": {"path": "/foo"}}),
        expect![[r#"
        spec.nodeAffinity: Required value: Local volume requires node affinity
    "#]],
    );
    check_source(
        json!({"local": {"path": "/foo/.."}, "nodeAffinity": term("a")}),
        expect![[r#"
        spec.local.path: Invalid value: "/foo/..": must not contain '..'
    "#]],
    );
    check_source(
        json!({"local": {"path": ""}, "nodeAffinity": term("a")}),
        expect![[r#"
        spec.local.path: Required value
    "#]],
    );
}

#[test]
fn volumes_hardly_change() {
    let nodes = |key: &str| json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}]}});
    let volume = with(&volume(), &[("/spec/nodeAffinity", nodes("beta.kubernetes.io/os"))]);
    update(
        VOLUME,
        &volume,
        &[("/spec/capacity/storage", json!("20G")), ("/spec/nodeAffinity", nodes("kubernetes.io/os"))],
        expect![[""]],
    );
    update(
        VOLUME,
        &volume,
        &[("/spec/hostPath/path", json!("/other")), ("/spec/volumeMode", json!("Block"))],
        expect![[r#"
            spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation
            volumeMode: Invalid value: "Block": field is immutable
        "#]],
    );
    update(
        VOLUME,
        &volume,
        &[("/spec/nodeAffinity", nodes("beta.kubernetes.io/arch"))],
        expect![[r#"
            nodeAffinity: Invalid value: {"Required":{"NodeSelectorTerms":[{"MatchExpressions":[{"Key":"beta.kubernetes.io/arch","Operator":"In","Values":["a"]}],"MatchFields":null}]}}: field is immutable, except for updating from beta label to GA
        "#]],
    );
    update(
        VOLUME,
        &volume,
        &[("/spec/nodeAffinity", Value::Null)],
        expect![[r#"
        nodeAffinity: Invalid value: null: field is immutable, except for updating from beta label to GA
    "#]],
    );
}

#[test]
fn mount_options_in_an_annotation() {
    let annotation = ("/metadata/annotations", json!({"volume.beta.kubernetes.io/mount-options": "ro,nfsvers=3"}));
    assert_eq!(
        listed(&mount_options(&with(&volume(), std::slice::from_ref(&annotation)))),
        [
            "metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for this volume type"
        ]
    );
    let nfs = sourced(json!({"nfs": {"server": "s", "path": "/p"}}));
    assert_eq!(listed(&mount_options(&with(&nfs, &[annotation]))), [""; 0]);
}
