//! Faults of what a volume is made of.

use super::*;

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
