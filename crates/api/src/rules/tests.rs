use expect_test::{Expect, expect};
use machinery::field::Path;
use machinery::names;
use serde_json::{Value, json};

use super::Fact::{
    AtMost, Between, Check, Each, Fixed, Form, Immutable, Is, Keys, MaxBytes, MaxItems, MinItems, Missing, OneOf,
    Opaque, Optional, Parsed, Positive, QuantityAtLeastZero, Unique,
};
use super::Step::{Code, Field, Only};
use super::{NOT_NEGATIVE, REQUIRED, Row, Rules, equal, of};
use crate::schema;

/// Rules of no kind in particular, so that each fact is there once.
const ROWS: &[Row] = &[
    of(
        "storage.v1",
        "StorageClass",
        &[
            Field("volumeBindingMode", &[REQUIRED, OneOf(&["Immediate", "WaitForFirstConsumer"])]),
            Field("provisioner", &[Missing("say which"), Form(names::qualified_name), MaxBytes(8)]),
            Field("parameters", &[MaxItems(2), Keys(&[Form(names::dns1123_label)])]),
            Field("mountOptions", &[Optional, MinItems(2), Each(&[REQUIRED, Unique])]),
        ],
    )
    .change(&[Field("provisioner", &[Immutable]), Field("parameters", &[Fixed("stays")])]),
    of(
        "core.v1",
        "TopologySelectorTerm",
        &[Code(|here, errors| {
            errors.push(machinery::field::Error::required(&here.path(), "from a type below, last"));
        })],
    ),
    of(
        "core.v1",
        "ServiceSpec",
        &[
            Field("ports", &[MinItems(1)]),
            Field("clusterIP", &[Optional, Parsed(names::ip)]),
            Field("healthCheckNodePort", &[Between(0, 10), AtMost(20)]),
        ],
    ),
    of("core.v1", "ServicePort", &[Field("name", &[Unique]), Field("port", &[Positive])])
        .change(&[Field("appProtocol", &[Immutable])]),
    of(
        "storage.v1",
        "CSINodeSpec",
        &[Field(
            "drivers",
            &[Is(&[Field("nodeID", &[REQUIRED]), Field("allocatable", &[Is(&[Field("count", &[NOT_NEGATIVE])])])])],
        )],
    ),
    of(
        "storage.v1",
        "CSIStorageCapacity",
        &[
            Field("capacity", &[QuantityAtLeastZero]),
            Field(
                "storageClassName",
                &[Check(|here, errors| {
                    errors
                        .extend(here.value.is_null().then(|| machinery::field::Error::required(&here.path(), "code")));
                })],
            ),
        ],
    ),
    of("core.v1", "PersistentVolumeClaimSpec", &[Only, Field("dataSource", &[Opaque])]),
    of("core.v1", "TypedLocalObjectReference", &[Field("kind", &[REQUIRED])]),
];

fn said(kind: (&str, &str, &str), new: &Value, old: Option<&Value>) -> String {
    let rules = Rules::new(&[ROWS]);
    let ty = schema::kind(kind.0, kind.1, kind.2).unwrap();
    let errors = match old {
        Some(old) => rules.change(ty, new, old),
        None => rules.object(ty, new, None),
    };
    errors.iter().map(|e| format!("{e}\n")).collect()
}

fn check(kind: (&str, &str, &str), new: Value, expected: Expect) {
    expected.assert_eq(&said(kind, &new, None));
}

#[test]
fn facts_are_evaluated_in_the_row_s_order_then_the_parts() {
    check(
        ("storage.k8s.io", "v1", "StorageClass"),
        json!({"parameters": {"A": "", "b": ""}, "mountOptions": ["", "x", "x"], "allowedTopologies": [{}]}),
        expect![[r#"
            volumeBindingMode: Required value
            provisioner: Required value: say which
            provisioner: Invalid value: "": name part must be non-empty
            provisioner: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            parameters: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            mountOptions[0]: Required value
            mountOptions[2]: Duplicate value: "x"
            allowedTopologies[0]: Required value: from a type below, last
        "#]],
    );
}

#[test]
fn what_ends_a_field_ends_that_field_alone() {
    check(
        ("storage.k8s.io", "v1", "StorageClass"),
        json!({"provisioner": "a.much/too-long", "volumeBindingMode": "x", "parameters": {"A": "", "B": "", "C": ""}}),
        expect![[r#"
            volumeBindingMode: Unsupported value: "x": supported values: "Immediate", "WaitForFirstConsumer"
            provisioner: Too long: may not be more than 8 bytes
            parameters: Too many: 3: must have at most 2 items
        "#]],
    );
}

#[test]
fn a_struct_is_there_though_nothing_was_given() {
    check(
        ("", "v1", "Service"),
        json!({}),
        expect![[r#"
        spec.ports: Too few: 0: must have at least 1 item
    "#]],
    );
    check(
        ("", "v1", "Service"),
        json!({"spec": {"clusterIP": "x", "healthCheckNodePort": 30, "ports": [{"name": "a", "port": 1}, {"name": "a"}, {"port": 2}, {"port": 2}]}}),
        expect![[r#"
            spec.ports[1].name: Duplicate value: "a"
            spec.ports[1].port: Invalid value: 0: must be greater than zero
            spec.ports[3].name: Duplicate value: ""
            spec.clusterIP: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.healthCheckNodePort: Invalid value: 30: must be between 0 and 10, inclusive
            spec.healthCheckNodePort: Invalid value: 30: must be less than or equal to 20
        "#]],
    );
}

#[test]
fn rules_of_a_place_stand_in_for_those_of_the_type() {
    check(
        ("storage.k8s.io", "v1", "CSINode"),
        json!({"spec": {"drivers": [{"nodeID": ""}, {"nodeID": "n", "allocatable": {"count": -1}}]}}),
        expect![[r#"
            spec.drivers[0].nodeID: Required value
            spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0
        "#]],
    );
}

#[test]
fn pointers_that_are_absent_have_no_value() {
    check(
        ("storage.k8s.io", "v1", "CSIStorageCapacity"),
        json!({"capacity": "-1"}),
        expect![[r#"
        capacity: Invalid value: "-1": must be greater than or equal to 0
        storageClassName: Required value: code
    "#]],
    );
    check(("storage.k8s.io", "v1", "CSIStorageCapacity"), json!({"storageClassName": "x"}), expect![[""]]);
}

#[test]
fn what_a_row_closes_is_not_walked() {
    check(
        ("", "v1", "PersistentVolumeClaim"),
        json!({"spec": {"dataSource": {"name": "a"}, "selector": {}}}),
        expect![[""]],
    );
}

#[test]
fn changes() {
    let kind = ("storage.k8s.io", "v1", "StorageClass");
    let old = json!({"provisioner": "p", "parameters": {}});
    let check = |new: Value, expected: Expect| expected.assert_eq(&said(kind, &new, Some(&old)));
    check(json!({"provisioner": "p", "volumeBindingMode": "x"}), expect![[""]]);
    check(
        json!({"parameters": {"a": "b"}}),
        expect![[r#"
        provisioner: Invalid value: "": field is immutable
        parameters: Forbidden: stays
    "#]],
    );
}

#[test]
fn items_with_keys_are_told_apart_by_them() {
    let port = |number: i64, protocol: &str| json!({"port": number, "protocol": "TCP", "appProtocol": protocol});
    let service = |ports: Vec<Value>| json!({"spec": {"ports": ports}});
    let (old, new) =
        (service(vec![port(1, "a"), port(2, "b")]), service(vec![port(2, "b"), port(1, "c"), port(3, "d")]));
    expect![[r#"
        spec.ports[1].appProtocol: Invalid value: "c": field is immutable
    "#]]
    .assert_eq(&said(("", "v1", "Service"), &new, Some(&old)));
}

#[test]
fn a_part_has_its_path() {
    let rules = Rules::new(&[&ROWS[..1]]);
    let ty = schema::kind("storage.k8s.io", "v1", "StorageClass").unwrap();
    let at = Path::new("spec").child("classes").index(1);
    let errors = rules.part(ty, &json!({"provisioner": "p"}), None, &at);
    assert_eq!(errors[0].to_string(), "spec.classes[1].volumeBindingMode: Required value");
    let errors = rules.part_change(ty, &json!({}), &json!({"provisioner": "p"}), &at);
    assert_eq!(errors[0].to_string(), r#"spec.classes[1].provisioner: Invalid value: "": field is immutable"#);
}

#[test]
fn equal_as_upstream_has_it() {
    let ty = schema::named("core.v1", "PersistentVolumeClaimSpec").unwrap();
    for (a, b, want) in [
        (json!({}), json!({"accessModes": [], "volumeName": "", "resources": {"limits": {}}}), true),
        (json!({}), json!({"volumeMode": ""}), false),
        (json!({}), json!({"selector": {}}), false),
        (json!({"resources": {"requests": {"a": "1"}}}), json!({"resources": {"requests": {"a": "1000m"}}}), true),
        (json!({"accessModes": ["a", "b"]}), json!({"accessModes": ["b", "a"]}), false),
    ] {
        assert_eq!(equal(ty, &a, &b), want, "{a} {b}");
        assert_eq!(equal(ty, &b, &a), want, "{b} {a}");
    }
}
