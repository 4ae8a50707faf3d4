//! The faults of upstream's tests of volumes and claims (`pkg/apis/core/validation/validation_test.go`).

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::claim::{data_sources, status};
use super::volume::mount_options;
use crate::rules::{said, with};
use model::check::said as listed;

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
fn sources() {
    check_source(
        json!({"gcePersistentDisk": {"pdName": "", "partition": 256}}),
        expect![[r#"
        spec.persistentDisk.pdName: Required value
        spec.persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive
    "#]],
    );
    check_source(
        json!({"awsElasticBlockStore": {"volumeID": "", "partition": -1}}),
        expect![[r#"
        spec.awsElasticBlockStore.volumeID: Required value
        spec.awsElasticBlockStore.partition: Invalid value: -1: must be between 1 and 255, inclusive
    "#]],
    );
    check_source(
        json!({"nfs": {"server": "", "path": "x"}}),
        expect![[r#"
        spec.nfs.server: Required value
        spec.nfs.path: Invalid value: "x": must be an absolute path
    "#]],
    );
    check_source(
        json!({"nfs": {"server": "s", "path": ""}}),
        expect![[r#"
        spec.nfs.path: Required value
        spec.nfs.path: Invalid value: "": must be an absolute path
    "#]],
    );
    check_source(
        json!({"glusterfs": {"endpoints": "", "path": "", "endpointsNamespace": ""}}),
        expect![[r#"
        spec.glusterfs.endpoints: Required value
        spec.glusterfs.path: Required value
        spec.glusterfs.endpointsNamespace: Invalid value: "": if the endpointnamespace is set, it must be a valid namespace name
    "#]],
    );
    check_source(
        json!({"glusterfs": {"endpoints": "e", "path": "p", "endpointsNamespace": "my.ns"}}),
        expect![[r#"
        spec.glusterfs.endpointsNamespace: Invalid value: "my.ns": must not contain dots
    "#]],
    );
    check_source(
        json!({"flocker": {}}),
        expect![[r#"
        spec.flocker: Required value: one of datasetName and datasetUUID is required
    "#]],
    );
    check_source(
        json!({"flocker": {"datasetName": "a/b", "datasetUUID": "c"}}),
        expect![[r#"
        spec.flocker: Invalid value: "resource": datasetName and datasetUUID can not be specified simultaneously
        spec.flocker.datasetName: Invalid value: "a/b": must not contain '/'
    "#]],
    );
    check_source(
        json!({"rbd": {"monitors": [], "image": ""}}),
        expect![[r#"
        spec.rbd.monitors: Required value
        spec.rbd.image: Required value
    "#]],
    );
    check_source(
        json!({"quobyte": {"registry": "", "volume": ""}}),
        expect![[r#"
        spec.quobyte.registry: Required value: must be a host:port pair or multiple pairs separated by commas
        spec.quobyte.volume: Required value
    "#]],
    );
    check_source(
        json!({"quobyte": {"registry": "registry:7861", "volume": "v", "tenant": "x".repeat(65)}}),
        expect![[r#"
            spec.quobyte.tenant: Required value: must be a UUID and may not exceed a length of 64 characters
        "#]],
    );
    check_source(
        json!({"quobyte": {"registry": "registry7861,[::1]:5,a:b:c", "volume": "v"}}),
        expect![[r#"
        spec.quobyte.registry: Invalid value: "registry7861,[::1]:5,a:b:c": must be a host:port pair or multiple pairs separated by commas
        spec.quobyte.registry: Invalid value: "registry7861,[::1]:5,a:b:c": must be a host:port pair or multiple pairs separated by commas
    "#]],
    );
    check_source(json!({"quobyte": {"registry": "registry:7861,reg2:7861", "volume": "v"}}), expect![[""]]);
    check_source(
        json!({"cephfs": {"monitors": []}}),
        expect![[r#"
        spec.cephfs.monitors: Required value
    "#]],
    );
    check_source(
        json!({"cinder": {"volumeID": "", "secretRef": {}}}),
        expect![[r#"
        spec.cinder.volumeID: Required value
        spec.cinder.secretRef.name: Required value
        spec.cinder.secretRef.namespace: Required value
    "#]],
    );
    check_source(
        json!({"fc": {}}),
        expect![[r#"
        spec.fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both
    "#]],
    );
    check_source(
        json!({"fc": {"targetWWNs": ["wwn"], "wwids": ["some_wwid"], "lun": 256}}),
        expect![[r#"
        spec.fc.targetWWNs: Invalid value: ["wwn"]: targetWWNs and wwids can not be specified simultaneously
        spec.fc.lun: Invalid value: 256: must be between 0 and 255, inclusive
    "#]],
    );
    check_source(
        json!({"fc": {"targetWWNs": ["wwn"]}}),
        expect![[r#"
        spec.fc.lun: Required value: lun is required if targetWWNs is specified
    "#]],
    );
    check_source(json!({"fc": {"targetWWNs": ["wwn"], "lun": 1}}), expect![[""]]);
    check_source(
        json!({"flexVolume": {"driver": "", "options": {"flex.kubernetes.io/a": "x", "k8s.io/b": "y", "example.com/c": "z"}}}),
        expect![[r#"
            spec.flexVolume.driver: Required value
            spec.flexVolume.options[flex.kubernetes.io/a]: Invalid value: "flex.kubernetes.io/a": kubernetes.io and k8s.io namespaces are reserved
            spec.flexVolume.options[k8s.io/b]: Invalid value: "k8s.io/b": kubernetes.io and k8s.io namespaces are reserved
        "#]],
    );
    check_source(
        json!({"azureFile": {"secretName": "", "shareName": "", "secretNamespace": ""}}),
        expect![[r#"
        spec.azureFile.secretName: Required value
        spec.azureFile.shareName: Required value
        spec.azureFile.secretNamespace: Required value
    "#]],
    );
    check_source(
        json!({"vsphereVolume": {"volumePath": ""}}),
        expect![[r#"
        spec.vsphereVolume.volumePath: Required value
    "#]],
    );
    check_source(
        json!({"photonPersistentDisk": {"pdID": ""}}),
        expect![[r#"
        spec.photonPersistentDisk.pdID: Required value
    "#]],
    );
    check_source(
        json!({"portworxVolume": {"volumeID": ""}}),
        expect![[r#"
        spec.portworxVolume.volumeID: Required value
    "#]],
    );
    check_source(
        json!({"azureDisk": {"diskName": "", "diskURI": "", "cachingMode": "x", "kind": "y"}}),
        expect![[r#"
        spec.azureDisk.diskName: Required value
        spec.azureDisk.diskURI: Required value
        spec.azureDisk.cachingMode: Unsupported value: "x": supported values: "None", "ReadOnly", "ReadWrite"
        spec.azureDisk.kind: Unsupported value: "y": supported values: "Dedicated", "Managed", "Shared"
        spec.azureDisk.diskURI: Unsupported value: "": supported values: "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
    "#]],
    );
    check_source(
        json!({"azureDisk": {"diskName": "foo", "diskURI": "https://blob/vhds/bar.vhd", "kind": "Managed"}}),
        expect![[r#"
            spec.azureDisk.diskURI: Unsupported value: "https://blob/vhds/bar.vhd": supported values: "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
        "#]],
    );
    check_source(
        json!({"azureDisk": {"diskName": "foo", "diskURI": "/subscriptions/a", "kind": "Dedicated"}}),
        expect![[r#"
            spec.azureDisk.diskURI: Unsupported value: "/subscriptions/a": supported values: "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
        "#]],
    );
    check_source(
        json!({"scaleIO": {"gateway": "", "system": "", "volumeName": "", "secretRef": {}}}),
        expect![[r#"
        spec.scaleIO.gateway: Required value
        spec.scaleIO.system: Required value
        spec.scaleIO.volumeName: Required value
    "#]],
    );
    check_source(
        json!({"storageos": {"volumeName": "", "volumeNamespace": "-x-", "secretRef": {}}}),
        expect![[r#"
        spec.storageos.volumeName: Required value
        spec.storageos.volumeNamespace: Invalid value: "-x-": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        spec.storageos.secretRef.name: Required value
        spec.storageos.secretRef.namespace: Required value
    "#]],
    );
}

#[test]
fn iscsi() {
    let source = |places: &[(&str, Value)]| {
        let good = json!({"targetPortal": "127.0.0.1", "iqn": "iqn.2015-02.example.com:test", "lun": 1});
        sourced(json!({"iscsi": with(&good, places)}))
    };
    let check = |places: &[(&str, Value)], expected: Expect| expected.assert_eq(&said(VOLUME, &source(places), None));
    for iqn in ["iqn.2015-02.example.com:test", "eui.0123456789ABCDEF", "naa.62004567BA64678D0123456789ABCDEF"] {
        assert_eq!(said(VOLUME, &source(&[("/iqn", json!(iqn)), ("/initiatorName", json!(iqn))]), None), "", "{iqn}");
    }
    for iqn in ["iqn.2015-02.example.com", "iqn.201502.example.com:x", "eui.0123456789ABCDEFGHIJ", "naa.6200"] {
        let said = said(VOLUME, &source(&[("/iqn", json!(iqn))]), None);
        assert!(said.ends_with(": must be valid format\n"), "{iqn}: {said}");
    }
    check(
        &[("/targetPortal", json!("")), ("/iqn", json!("")), ("/lun", json!(256)), ("/chapAuthDiscovery", json!(true))],
        expect![[r#"
        spec.iscsi.targetPortal: Required value
        spec.iscsi.iqn: Required value
        spec.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive
        spec.iscsi.secretRef: Required value
    "#]],
    );
    check(
        &[("/chapAuthSession", json!(true)), ("/secretRef", json!({})), ("/iqn", json!("x"))],
        expect![[r#"
        spec.iscsi.iqn: Invalid value: "x": must be valid format
        spec.iscsi.secretRef.name: Required value
    "#]],
    );
    check(
        &[("/initiatorName", json!("2015-02.example.com:init")), ("/targetPortal", json!("x".repeat(61)))],
        expect![[r#"
        spec.iscsi.targetportal: Invalid value: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.
        spec.iscsi.initiatorname: Invalid value: "2015-02.example.com:init": must be valid format
    "#]],
    );
}

#[test]
fn container_storage_interface() {
    let source = |places: &[(&str, Value)]| {
        sourced(json!({"csi": with(&json!({"driver": "test-driver", "volumeHandle": "test-123"}), places)}))
    };
    let check = |places: &[(&str, Value)], expected: Expect| expected.assert_eq(&said(VOLUME, &source(places), None));
    check(&[("/driver", json!("io.Kubernetes.storage.CSI"))], expect![[""]]);
    check(
        &[("/driver", json!("")), ("/volumeHandle", json!(""))],
        expect![[r#"
        spec.csi.driver: Required value
        spec.csi.volumeHandle: Required value
    "#]],
    );
    check(
        &[("/driver", json!("x".repeat(64)))],
        expect![[r#"
        spec.csi.driver: Too long: may not be more than 63 bytes
    "#]],
    );
    check(
        &[("/driver", json!("-x"))],
        expect![[r#"
        spec.csi.driver: Invalid value: "-x": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    "#]],
    );
    check(
        &[
            ("/controllerPublishSecretRef", json!({"name": "foobar"})),
            ("/controllerExpandSecretRef", json!({"namespace": "default"})),
            ("/nodePublishSecretRef", json!({"name": "-a-", "namespace": "b.c"})),
            ("/nodeExpandSecretRef", json!({"name": "foobar", "namespace": "default"})),
        ],
        expect![[r#"
            spec.csi.controllerPublishSecretRef.namespace: Required value
            spec.csi.controllerExpandSecretRef.name: Required value
            spec.csi.nodePublishSecretRef.name: Invalid value: "-a-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.csi.nodePublishSecretRef.namespace: Invalid value: "b.c": must not contain dots
        "#]],
    );
    let classed = with(&source(&[]), &[("/spec/volumeAttributesClassName", json!("gold"))]);
    assert_eq!(said(VOLUME, &classed, None), "");
    update(
        VOLUME,
        &classed,
        &[("/spec/volumeAttributesClassName", Value::Null)],
        expect![[r#"
        spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden
    "#]],
    );
    update(
        VOLUME,
        &source(&[]),
        &[("/spec/csi/controllerExpandSecretRef", json!({"name": "a", "namespace": "b"}))],
        expect![[""]],
    );
    let secret = ("/controllerExpandSecretRef", json!({"name": "a", "namespace": "b"}));
    update(
        VOLUME,
        &source(&[secret]),
        &[("/spec/csi/controllerExpandSecretRef/name", json!("other"))],
        expect![[r#"
        spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation
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
        nodeAffinity: Invalid value: {"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"beta.kubernetes.io/arch","operator":"In","values":["a"]}]}]}}: field is immutable, except for updating from beta label to GA
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

fn claim() -> Value {
    json!({"metadata": {"name": "foo", "namespace": "ns"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "10G"}}, "volumeMode": "Filesystem"}, "status": {"phase": "Pending"}})
}

#[test]
fn claims() {
    let claim = claim();
    check(CLAIM, &claim, &[], expect![[""]]);
    check(
        CLAIM,
        &claim,
        &[("/spec/accessModes", Value::Null), ("/spec/resources", Value::Null)],
        expect![[r#"
            spec.accessModes: Required value: at least 1 access mode is required
            spec.resources[storage]: Required value
        "#]],
    );
    check(
        CLAIM,
        &claim,
        &[("/spec/accessModes", json!(["fakemode", "ReadWriteOncePod", "ReadOnlyMany"]))],
        expect![[r#"
            spec.accessModes: Unsupported value: "fakemode": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
            spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes
        "#]],
    );
    check(
        CLAIM,
        &claim,
        &[(
            "/spec/selector",
            json!({"matchExpressions": [{"key": "key2", "operator": "InvalidOp", "values": ["-x"]}]}),
        )],
        expect![[r#"
            spec.selector.matchExpressions[0].operator: Invalid value: "InvalidOp": not a valid selector operator
            spec.selector.matchExpressions[0].values[0]: Invalid value: "-x": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
        "#]],
    );
    check(
        CLAIM,
        &claim,
        &[
            ("/spec/resources/requests/storage", json!("-10G")),
            ("/spec/storageClassName", json!("-invalid-")),
            ("/spec/volumeMode", json!("fake")),
        ],
        expect![[r#"
            spec.resources[storage]: Invalid value: "-10G": must be greater than zero
            spec.storageClassName: Invalid value: "-invalid-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.volumeMode: Unsupported value: "fake": supported values: "Block", "Filesystem"
        "#]],
    );
    check(
        CLAIM,
        &claim,
        &[
            ("/spec/resources/requests/storage", json!("0G")),
            ("/spec/storageClassName", json!("")),
            ("/spec/volumeAttributesClassName", json!("")),
        ],
        expect![[r#"
            spec.resources[storage]: Invalid value: "0": must be greater than zero
        "#]],
    );
    check(
        CLAIM,
        &claim,
        &[("/spec/volumeAttributesClassName", json!("-x-"))],
        expect![[r#"
        spec.volumeAttributesClassName: Invalid value: "-x-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    "#]],
    );
}

#[test]
fn data_sources_of_a_claim() {
    let claim = claim();
    let source = |places: &[(&str, Value)]| {
        with(&json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}), places)
    };
    check(CLAIM, &claim, &[("/spec/dataSource", source(&[])), ("/spec/dataSourceRef", source(&[]))], expect![[""]]);
    check(CLAIM, &claim, &[("/spec/dataSource", json!({"kind": "PersistentVolumeClaim", "name": "x"}))], expect![[""]]);
    check(
        CLAIM,
        &claim,
        &[("/spec/dataSource", json!({"kind": "", "name": ""}))],
        expect![[r#"
        spec.dataSource.name: Required value
        spec.dataSource.kind: Required value
        spec.dataSource: Invalid value: "": must be 'PersistentVolumeClaim' when referencing the default apiGroup
    "#]],
    );
    check(
        CLAIM,
        &claim,
        &[("/spec/dataSourceRef", json!({"apiGroup": "example@group", "kind": "", "name": "", "namespace": "a.b"}))],
        expect![[r#"
            spec.dataSourceRef.name: Required value
            spec.dataSourceRef.kind: Required value
            spec.dataSourceRef.apiGroup: Invalid value: "example@group": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.dataSourceRef.namespace: Invalid value: "a.b": must not contain dots
        "#]],
    );
    check(
        CLAIM,
        &claim,
        &[("/spec/dataSource", source(&[])), ("/spec/dataSourceRef", source(&[("/name", json!("t"))]))],
        expect![[r#"
            spec: Invalid value: {}: must match dataSourceRef
        "#]],
    );
    check(
        CLAIM,
        &claim,
        &[("/spec/dataSource", source(&[])), ("/spec/dataSourceRef", source(&[("/namespace", json!("other"))]))],
        expect![[r#"
            spec: Invalid value: {}: may not be specified when dataSourceRef.namespace is specified
        "#]],
    );
    let odd = source(&[("/apiGroup", json!("example@group"))]);
    let lenient = with(&claim, &[("/spec/dataSource", odd.clone()), ("/spec/dataSourceRef", odd)]);
    update(CLAIM, &lenient, &[("/metadata/labels", json!({"a": "b"}))], expect![[""]]);
}

#[test]
fn older_and_newer_data_sources_say_the_same() {
    let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    let other = json!({"apiGroup": "example.com", "kind": "Populator", "name": "s"});
    let elsewhere = with(&snapshot, &[("/namespace", json!("ns"))]);
    for (spec, old, want) in [
        (json!({"dataSource": snapshot}), None, json!({"dataSource": snapshot, "dataSourceRef": snapshot})),
        (json!({"dataSourceRef": other}), None, json!({"dataSource": other, "dataSourceRef": other})),
        (json!({"dataSource": other}), None, json!({})),
        (
            json!({"dataSource": other}),
            Some(json!({"dataSource": other})),
            json!({"dataSource": other, "dataSourceRef": other}),
        ),
        (json!({"dataSourceRef": elsewhere}), None, json!({})),
        (
            json!({"dataSourceRef": elsewhere}),
            Some(json!({"dataSourceRef": elsewhere})),
            json!({"dataSourceRef": elsewhere}),
        ),
    ] {
        let mut made = spec.clone();
        data_sources(&mut made, old.as_ref());
        assert_eq!(made, want, "{spec} {old:?}");
    }
}

#[test]
fn what_of_a_claim_may_change() {
    let claim = claim();
    let bound = with(&claim, &[("/status/phase", json!("Bound")), ("/spec/volumeName", json!("v"))]);
    update(
        CLAIM,
        &claim,
        &[("/spec/volumeName", json!("v")), ("/spec/storageClassName", json!("gold"))],
        expect![[""]],
    );
    update(
        CLAIM,
        &bound,
        &[("/spec/volumeName", json!("w"))],
        expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
    "#]],
    );
    update(
        CLAIM,
        &bound,
        &[("/spec/resources/requests/storage", json!("15G")), ("/spec/volumeAttributesClassName", json!("gold"))],
        expect![[""]],
    );
    update(
        CLAIM,
        &claim,
        &[("/spec/resources/requests/storage", json!("15G"))],
        expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
    "#]],
    );
    update(
        CLAIM,
        &bound,
        &[("/spec/accessModes", json!(["ReadOnlyMany"])), ("/spec/volumeMode", json!("Block"))],
        expect![[r#"
            spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
            volumeMode: Invalid value: "Block": field is immutable
        "#]],
    );
    let failed = with(&bound, &[("/status/capacity", json!({"storage": "5G"}))]);
    update(CLAIM, &failed, &[("/spec/resources/requests/storage", json!("8G"))], expect![[""]]);
    update(
        CLAIM,
        &failed,
        &[("/spec/resources/requests/storage", json!("5G"))],
        expect![[r#"
        spec.resources.requests.storage: Forbidden: field can not be less than status.capacity
    "#]],
    );
    let classed = with(
        &bound,
        &[
            ("/spec/volumeAttributesClassName", json!("gold")),
            ("/status/currentVolumeAttributesClassName", json!("gold")),
        ],
    );
    update(CLAIM, &classed, &[("/spec/volumeAttributesClassName", json!("silver"))], expect![[""]]);
    update(
        CLAIM,
        &classed,
        &[("/spec/volumeAttributesClassName", Value::Null)],
        expect![[r#"
        spec.volumeAttributesClassName: Forbidden: update to nil is forbidden when status.currentVolumeAttributesClassName is not nil
    "#]],
    );
    update(
        CLAIM,
        &classed,
        &[("/spec/volumeAttributesClassName", json!(""))],
        expect![[r#"
        spec.volumeAttributesClassName: Forbidden: update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil
    "#]],
    );
}

#[test]
fn a_class_moves_from_its_annotation() {
    let annotation = |class: &str| ("/metadata/annotations", json!({"volume.beta.kubernetes.io/storage-class": class}));
    let noted = with(&claim(), &[annotation("fast")]);
    update(CLAIM, &noted, &[("/spec/storageClassName", json!("fast"))], expect![[""]]);
    update(
        CLAIM,
        &noted,
        &[("/spec/storageClassName", json!("fast")), ("/metadata/annotations", Value::Null)],
        expect![[""]],
    );
    update(
        CLAIM,
        &noted,
        &[("/spec/storageClassName", json!("slow"))],
        expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
    "#]],
    );
    update(
        CLAIM,
        &noted,
        &[annotation("slow")],
        expect![[r#"
        metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: "slow": field is immutable
    "#]],
    );
    let classed = with(&claim(), &[("/spec/storageClassName", json!("fast"))]);
    update(
        CLAIM,
        &classed,
        &[("/spec/storageClassName", json!("slow"))],
        expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
    "#]],
    );
    update(
        CLAIM,
        &classed,
        &[("/spec/storageClassName", Value::Null)],
        expect![[r#"
        spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
    "#]],
    );
}

#[test]
fn the_status_of_a_claim() {
    let check = |places: &[(&str, Value)], expected: Expect| {
        let claim = claim();
        let said: Vec<String> = listed(&status(&with(&claim, places), &claim));
        expected.assert_eq(&said.join("\n"));
    };
    check(
        &[(
            "/status",
            json!({"phase": "Bound", "capacity": {"storage": "10G"}, "allocatedResources": {"storage": "10G", "example.com/a": "1"},
        "allocatedResourceStatuses": {"storage": "ControllerResizeInProgress"}}),
        )],
        expect![[""]],
    );
    check(
        &[("/spec/accessModes", json!([])), ("/status/capacity", json!({"storage": "-10G"}))],
        expect![[r#"
        Spec.accessModes: Required value
        status.capacity[storage]: Invalid value: -10000000000: must be a valid resource quantity"#]],
    );
    check(
        &[(
            "/status/allocatedResourceStatuses",
            json!({"storage": "foo", "cpu": "NodeResizePending", "a b": "NodeResizePending"}),
        )],
        expect![[r#"
            status.allocatedResourceStatuses: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            status.allocatedResourceStatuses: Unsupported value: "cpu": supported values: "storage"
            status.allocatedResourceStatuses: Unsupported value: "storage": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending""#]],
    );
    check(
        &[("/status/allocatedResources", json!({"storage": "-10G", "cpu": "1"}))],
        expect![[r#"
        status.allocatedResources: Unsupported value: "cpu": supported values: "storage"
        status.allocatedResources[storage]: Invalid value: -10000000000: must be a valid resource quantity"#]],
    );
}
