//! The faults of upstream's `pkg/apis/storage/validation/validation_test.go`, kind by kind.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{capacity_warnings, class_warnings, driver_warnings};
use crate::rules::{said, with};

type Kind = (&'static str, &'static str, &'static str);

fn check(kind: Kind, base: &Value, places: &[(&str, Value)], expected: Expect) {
    expected.assert_eq(&said(kind, &with(base, places), None));
}

fn update(kind: Kind, base: &Value, places: &[(&str, Value)], expected: Expect) {
    expected.assert_eq(&said(kind, &with(base, places), Some(base)));
}

const CLASS: Kind = ("storage.k8s.io", "v1", "StorageClass");

fn class() -> Value {
    json!({"provisioner": "kubernetes.io/foo-provisioner", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})
}

#[test]
fn storage_classes() {
    let class = class();
    check(CLASS, &class, &[], expect![[""]]);
    check(CLASS, &class, &[("/provisioner", json!("Kubernetes.IO/Foo")), ("/reclaimPolicy", json!(""))], expect![[""]]);
    check(
        CLASS,
        &class,
        &[("/parameters", json!({"kubernetes.io/foo-parameter": "free/form/string", "bad@": ""}))],
        expect![[""]],
    );
    check(
        CLASS,
        &class,
        &[("/provisioner", json!(""))],
        expect![[r#"
        provisioner: Required value
    "#]],
    );
    check(
        CLASS,
        &class,
        &[("/provisioner", json!("kubernetes.io/../abc"))],
        expect![[r#"
        provisioner: Invalid value: "kubernetes.io/../abc": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
    "#]],
    );
    check(
        CLASS,
        &class,
        &[("/parameters", json!({"": "value"}))],
        expect![[r#"
        parameters: Invalid value: "": field can not be empty.
    "#]],
    );
    let many: serde_json::Map<String, Value> = (0..513).map(|i| (i.to_string(), json!(""))).collect();
    check(
        CLASS,
        &class,
        &[("/parameters", many.into())],
        expect![[r#"
        parameters: Too long: may not be more than 512 bytes
    "#]],
    );
    check(
        CLASS,
        &class,
        &[("/parameters", json!({"a": "x".repeat(256 << 10)}))],
        expect![[r#"
        parameters: Too long: may not be more than 262144 bytes
    "#]],
    );
    check(
        CLASS,
        &class,
        &[("/reclaimPolicy", json!("Recycle")), ("/volumeBindingMode", json!("foo"))],
        expect![[r#"
        reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"
        volumeBindingMode: Unsupported value: "foo": supported values: "Immediate", "WaitForFirstConsumer"
    "#]],
    );
    check(
        CLASS,
        &class,
        &[("/volumeBindingMode", Value::Null)],
        expect![[r#"
        volumeBindingMode: Required value
    "#]],
    );
}

#[test]
fn topologies_of_a_class() {
    let terms = |terms: Value| [("/allowedTopologies", terms)];
    let term = |expressions: Value| json!({"matchLabelExpressions": expressions});
    let zone = json!({"key": "kubernetes.io/hostname", "values": ["node1", "node2"]});
    let class = class();
    check(CLASS, &class, &terms(json!([term(json!([zone]))])), expect![[""]]);
    check(
        CLASS,
        &class,
        &terms(json!([{}])),
        expect![[r#"
        allowedTopologies[0].matchLabelExpressions: Duplicate value: ""
    "#]],
    );
    check(
        CLASS,
        &class,
        &terms(json!([term(json!([{"key": "kubernetes.io/hostname"}]))])),
        expect![[r#"
        allowedTopologies[0].matchLabelExpressions[0].values: Required value
    "#]],
    );
    check(
        CLASS,
        &class,
        &terms(json!([term(json!([{"key": "invalid key!", "values": ["a", "a"]}, zone, zone]))])),
        expect![[r#"
        allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "a"
        allowedTopologies[0].matchLabelExpressions[0].key: Invalid value: "invalid key!": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        allowedTopologies[0].matchLabelExpressions[2].key: Duplicate value: "kubernetes.io/hostname"
    "#]],
    );
    let swapped = json!({"key": "kubernetes.io/hostname", "values": ["node2", "node1"]});
    check(
        CLASS,
        &class,
        &terms(json!([term(json!([zone])), term(json!([swapped]))])),
        expect![[r#"
        allowedTopologies[1].matchLabelExpressions: Duplicate value: ""
    "#]],
    );
}

#[test]
fn storage_classes_hardly_change() {
    let class = class();
    update(CLASS, &class, &[("/allowVolumeExpansion", json!(true)), ("/mountOptions", json!(["ro"]))], expect![[""]]);
    update(
        CLASS,
        &class,
        &[
            ("/provisioner", json!("kubernetes.io/bar")),
            ("/parameters", json!({"foo": "bar"})),
            ("/reclaimPolicy", json!("Retain")),
            ("/volumeBindingMode", json!("WaitForFirstConsumer")),
        ],
        expect![[r#"
            parameters: Invalid value: {"foo":"bar"}: field is immutable
            provisioner: Invalid value: "kubernetes.io/bar": field is immutable
            reclaimPolicy: Invalid value: "Retain": field is immutable
            volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable
        "#]],
    );
}

#[test]
fn labels_on_their_way_out() {
    let topologies = json!([{"matchLabelExpressions": [{"key": "beta.kubernetes.io/arch"}, {"key": "zone"}]}]);
    let class = with(&class(), &[("/allowedTopologies", topologies)]);
    assert_eq!(
        class_warnings(&class, None),
        [
            r#"allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use "kubernetes.io/arch" instead"#
        ]
    );
    let topology = json!({"matchLabels": {"beta.kubernetes.io/os": "linux"},
        "matchExpressions": [{"key": "beta.kubernetes.io/arch", "operator": "Exists"}]});
    assert_eq!(
        capacity_warnings(&json!({"nodeTopology": topology}), None),
        [
            r#"nodeTopology.matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use "kubernetes.io/arch" instead"#,
            r#"nodeTopology.matchLabels.beta.kubernetes.io/os: deprecated since v1.14; use "kubernetes.io/os" instead"#,
        ]
    );
}

const ATTRIBUTES: Kind = ("storage.k8s.io", "v1", "VolumeAttributesClass");

#[test]
fn volume_attributes_classes() {
    let class = json!({"driverName": "kubernetes.io/foo", "parameters": {"a": "b"}});
    check(ATTRIBUTES, &class, &[], expect![[""]]);
    check(
        ATTRIBUTES,
        &class,
        &[("/driverName", json!("")), ("/parameters", Value::Null)],
        expect![[r#"
        driverName: Required value
        parameters: Required value: must contain at least one key/value pair
    "#]],
    );
    check(
        ATTRIBUTES,
        &class,
        &[("/parameters", json!({"": "x".repeat(256 << 10), "b": ""}))],
        expect![[r#"
        parameters: Invalid value: "": field can not be empty.
        parameters: Too long: may not be more than 262144 bytes
    "#]],
    );
    update(
        ATTRIBUTES,
        &class,
        &[("/driverName", json!("other")), ("/parameters", json!({"a": "c"}))],
        expect![[r#"
            driverName: Forbidden: updates to driverName are forbidden.
            parameters: Forbidden: updates to parameters are forbidden.
        "#]],
    );
}

const CAPACITY: Kind = ("storage.k8s.io", "v1", "CSIStorageCapacity");

#[test]
fn storage_capacities() {
    let capacity = json!({"storageClassName": "bar"});
    check(CAPACITY, &capacity, &[("/capacity", json!("1Gi")), ("/nodeTopology", json!({}))], expect![[""]]);
    check(
        CAPACITY,
        &capacity,
        &[
            ("/storageClassName", json!("-invalid-")),
            ("/capacity", json!("-11")),
            (
                "/nodeTopology",
                json!({"matchLabels": {"foo": "a b"}, "matchExpressions": [{"key": "foo", "operator": "In", "values": ["-1"]}]}),
            ),
        ],
        expect![[r#"
            nodeTopology.matchLabels: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            nodeTopology.matchExpressions[0].values[0]: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            storageClassName: Invalid value: "-invalid-": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            capacity: Invalid value: "-11": must be greater than or equal to 0
        "#]],
    );
    check(
        CAPACITY,
        &json!({}),
        &[],
        expect![[r#"
        storageClassName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    "#]],
    );
    update(CAPACITY, &capacity, &[("/capacity", json!("1")), ("/maximumVolumeSize", json!("1"))], expect![[""]]);
    update(
        CAPACITY,
        &capacity,
        &[("/storageClassName", json!("other")), ("/nodeTopology", json!({"matchLabels": {"a": "b"}}))],
        expect![[r#"
            nodeTopology: Invalid value: {"matchLabels":{"a":"b"}}: field is immutable
            storageClassName: Invalid value: "other": field is immutable
        "#]],
    );
    let invalid = json!({"matchExpressions": [{"key": "foo", "operator": "In", "values": ["-1"]}]});
    update(CAPACITY, &with(&capacity, &[("/nodeTopology", invalid)]), &[("/capacity", json!("1"))], expect![[""]]);
}

const DRIVER: Kind = ("storage.k8s.io", "v1", "CSIDriver");

fn driver() -> Value {
    json!({"spec": {"attachRequired": true, "podInfoOnMount": true, "storageCapacity": true, "seLinuxMount": true}})
}

#[test]
fn drivers() {
    let driver = driver();
    check(
        DRIVER,
        &driver,
        &[
            ("/spec/fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
            ("/spec/volumeLifecycleModes", json!(["Ephemeral", "Persistent", "Ephemeral"])),
            ("/spec/tokenRequests", json!([{"audience": "gcp"}, {"audience": "", "expirationSeconds": 3600}])),
            ("/spec/serviceAccountTokenInSecrets", json!(true)),
            ("/spec/nodeAllocatableUpdatePeriodSeconds", json!(10)),
        ],
        expect![[""]],
    );
    check(
        DRIVER,
        &json!({}),
        &[],
        expect![[r#"
        spec.attachedRequired: Required value
        spec.podInfoOnMount: Required value
        spec.storageCapacity: Required value
        spec.seLinuxMount: Required value
    "#]],
    );
    check(
        DRIVER,
        &driver,
        &[
            ("/spec/fsGroupPolicy", json!("foo")),
            ("/spec/volumeLifecycleModes", json!(["no-such-mode", "Persistent"])),
            (
                "/spec/tokenRequests",
                json!([{"audience": "gcp", "expirationSeconds": 599}, {"audience": "gcp"}, {"audience": "aws", "expirationSeconds": 4294967297i64}]),
            ),
            ("/spec/nodeAllocatableUpdatePeriodSeconds", json!(9)),
        ],
        expect![[r#"
            spec.fsGroupPolicy: Unsupported value: "foo": supported values: "File", "None", "ReadWriteOnceWithFSType"
            spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes
            spec.tokenRequests[1].audience: Duplicate value: "gcp"
            spec.tokenRequests[2].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds
            spec.volumeLifecycleModes: Unsupported value: "no-such-mode": supported values: "Persistent", "Ephemeral"
            spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds
        "#]],
    );
    check(
        DRIVER,
        &driver,
        &[("/spec/serviceAccountTokenInSecrets", json!(false))],
        expect![[r#"
        spec.serviceAccountTokenInSecrets: Invalid value: false: serviceAccountTokenInSecrets is set but no tokenRequests are specified
    "#]],
    );
    update(
        DRIVER,
        &driver,
        &[
            ("/spec/podInfoOnMount", json!(false)),
            ("/spec/storageCapacity", json!(false)),
            ("/spec/fsGroupPolicy", json!("File")),
        ],
        expect![[""]],
    );
    update(
        DRIVER,
        &driver,
        &[("/spec/attachRequired", json!(false)), ("/spec/volumeLifecycleModes", json!(["Ephemeral"]))],
        expect![[r#"
            spec.attachedRequired: Invalid value: false: field is immutable
            spec.volumeLifecycleModes: Invalid value: ["Ephemeral"]: field is immutable
        "#]],
    );
}

#[test]
fn tokens_of_a_driver_are_better_in_secrets() {
    let requests = with(&driver(), &[("/spec/tokenRequests", json!([{"audience": "gcp"}]))]);
    assert_eq!(driver_warnings(&requests, None).len(), 1);
    assert_eq!(driver_warnings(&requests, Some(&requests)), [""; 0]);
    assert_eq!(driver_warnings(&requests, Some(&driver())).len(), 1);
    assert_eq!(
        driver_warnings(&with(&requests, &[("/spec/serviceAccountTokenInSecrets", json!(false))]), None),
        [""; 0]
    );
}

const NODE: Kind = ("storage.k8s.io", "v1", "CSINode");

#[test]
fn nodes() {
    let node = json!({"spec": {"drivers": [
        {"name": "io.kubernetes.storage.csi.driver", "nodeID": "nodeA", "topologyKeys": ["company.com/zone1", "company.com/zone2"]},
        {"name": "Other.Driver", "nodeID": "nodeB", "allocatable": {"count": 0}}]}});
    check(NODE, &node, &[], expect![[""]]);
    check(NODE, &json!({}), &[], expect![[""]]);
    check(
        NODE,
        &node,
        &[
            ("/spec/drivers/0/nodeID", json!("x".repeat(257))),
            (
                "/spec/drivers/1",
                json!({"name": "io.kubernetes.storage.csi.driver", "allocatable": {"count": -1}, "topologyKeys": ["a", "", "a"]}),
            ),
        ],
        expect![[r#"
            spec.drivers[0].nodeID: Invalid value: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": must be 256 characters or less
            spec.drivers[1].nodeID: Required value
            spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0
            spec.drivers[1].name: Duplicate value: "io.kubernetes.storage.csi.driver"
            spec.drivers[1]: Required value
            spec.drivers[1]: Invalid value: "": name part must be non-empty
            spec.drivers[1]: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.drivers[1]: Duplicate value: "a"
        "#]],
    );
    check(
        NODE,
        &node,
        &[("/spec/drivers/0/name", json!("")), ("/spec/drivers/1/name", json!("no_good"))],
        expect![[r#"
            spec.drivers[0].name: Required value
            spec.drivers[1].name: Invalid value: "no_good": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        "#]],
    );
    update(NODE, &node, &[("/spec/drivers/1/allocatable", json!({"count": 2}))], expect![[""]]);
    update(NODE, &node, &[("/spec/drivers", json!([]))], expect![[""]]);
    update(
        NODE,
        &node,
        &[("/spec/drivers/0/nodeID", json!("nodeB")), ("/spec/drivers/1/topologyKeys", json!(["a"]))],
        expect![[r#"
            spec.drivers: Invalid value: {"Name":"io.kubernetes.storage.csi.driver","NodeID":"nodeB","TopologyKeys":["company.com/zone1","company.com/zone2"],"Allocatable":null}: field is immutable
            spec.drivers: Invalid value: {"Name":"Other.Driver","NodeID":"nodeB","TopologyKeys":["a"],"Allocatable":null}: field is immutable
        "#]],
    );
}

const ATTACHMENT: Kind = ("storage.k8s.io", "v1", "VolumeAttachment");

#[test]
fn attachments() {
    let attachment =
        json!({"spec": {"attacher": "myattacher", "source": {"persistentVolumeName": "foo"}, "nodeName": "mynode"}});
    check(ATTACHMENT, &attachment, &[], expect![[""]]);
    check(
        ATTACHMENT,
        &json!({}),
        &[],
        expect![[r#"
        spec.attacher: Required value
        spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName
        spec.nodeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    "#]],
    );
    check(
        ATTACHMENT,
        &attachment,
        &[
            ("/spec/attacher", json!("invalid_!@#$%^&*()")),
            ("/spec/source/persistentVolumeName", json!("")),
            (
                "/status",
                json!({"attachmentMetadata": {"k": "x".repeat(256 << 10)}, "attachError": {"message": "x".repeat(1025)}, "detachError": {"errorCode": -1}}),
            ),
        ],
        expect![[r#"
            spec.attacher: Invalid value: "invalid_!@#$%^&*()": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName
            status.attachmentMetadata: Too long: may not be more than 262144 bytes
            status.attachError.message: Too long: may not be more than 262144 bytes
            status.detachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.source.persistentVolumeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        "#]],
    );
    let inline = json!({"accessModes": ["ReadWriteOnce"], "csi": {"driver": "com.test.foo", "volumeHandle": "foobar"}});
    check(ATTACHMENT, &attachment, &[("/spec/source", json!({"inlineVolumeSpec": inline}))], expect![[""]]);
    check(
        ATTACHMENT,
        &attachment,
        &[("/spec/source/inlineVolumeSpec", inline.clone())],
        expect![[r#"
        spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName
    "#]],
    );
    update(ATTACHMENT, &attachment, &[("/status", json!({"attached": true}))], expect![[""]]);
    update(
        ATTACHMENT,
        &attachment,
        &[("/spec/nodeName", json!("other"))],
        expect![[r#"
            spec: Invalid value: {"Attacher":"myattacher","Source":{"PersistentVolumeName":"foo","InlineVolumeSpec":null},"NodeName":"other"}: field is immutable
        "#]],
    );
}

#[test]
fn volumes_described_in_an_attachment() {
    let spec = |spec: Value| json!({"spec": {"attacher": "a", "source": {"inlineVolumeSpec": spec}, "nodeName": "n"}});
    check(
        ATTACHMENT,
        &spec(json!({})),
        &[],
        expect![[r#"
        spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes
        spec.source.inlineVolumeSpec.accessModes: Required value
        spec.source.inlineVolumeSpec: Required value: must specify a volume type
    "#]],
    );
    check(
        ATTACHMENT,
        &spec(json!({
            "accessModes": ["ReadWriteOnce"], "csi": {"driver": "com.test.foo", "volumeHandle": "foobar"}, "claimRef": {}, "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Delete", "nodeAffinity": {}, "storageClassName": "c", "volumeMode": "Block"
        })),
        &[],
        expect![[r#"
            spec.source.inlineVolumeSpec.claimRef: Forbidden: may not be specified in the context of inline volumes
            spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes
            spec.source.inlineVolumeSpec.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes
            spec.source.inlineVolumeSpec.nodeAffinity: Forbidden: may not be specified in the context of inline volumes
            spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes
            spec.source.inlineVolumeSpec.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes
        "#]],
    );
}
