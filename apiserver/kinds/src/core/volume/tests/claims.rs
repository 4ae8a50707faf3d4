//! Faults of claims, of their changes and of their status.

use super::*;

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
