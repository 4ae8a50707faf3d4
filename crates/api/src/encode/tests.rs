//! JSON in the schema's order, with the zeros that upstream writes.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::schema;

fn check(api_version: &str, kind: &str, value: Value, expected: Expect) {
    let ty = schema::of_object(api_version, kind).unwrap();
    expected.assert_eq(&String::from_utf8(super::to_vec(&value, ty)).unwrap());
}

#[test]
fn order_and_zero_values_are_upstreams() {
    check(
        "apps/v1",
        "Deployment",
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "d", "name": "a", "generation": 0}, "spec": {"replicas": 0, "paused": false, "minReadySeconds": 0}, "nonesuch": 1}),
        expect![[
            r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"a","namespace":"d"},"spec":{"replicas":0,"selector":null,"template":{"metadata":{},"spec":{"containers":null}},"strategy":{}},"status":{}}"#
        ]],
    );
    check(
        "v1",
        "PodList",
        json!({"kind": "PodList", "apiVersion": "v1", "items": []}),
        expect![[r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}"#]],
    );
    check(
        "v1",
        "Pod",
        json!({"spec": {"containers": [{"name": "c", "env": []}], "volumes": [{"name": "v", "emptyDir": {}}]}, "status": {"containerStatuses": [{"name": "c", "state": {"running": {}}}]}}),
        expect![[
            r#"{"metadata":{},"spec":{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"c","resources":{}}]},"status":{"containerStatuses":[{"name":"c","state":{"running":{"startedAt":null}},"lastState":{},"ready":false,"restartCount":0,"image":"","imageID":""}]}}"#
        ]],
    );
}

/// Normalised, what a client sent is what is read back from the encoding of it, but for `null`s.
#[test]
fn a_normalised_object_is_what_its_encoding_says() {
    fn without_nulls(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()
            }
            Value::Array(items) => items.into_iter().map(without_nulls).collect(),
            value => value,
        }
    }
    for (version, kind, value) in [
        (
            "v1",
            "Pod",
            json!({"metadata": {"generation": 0}, "spec": {"containers": [{"name": "c", "image": ""}], "hostNetwork": false}}),
        ),
        (
            "apps/v1",
            "Deployment",
            json!({"spec": {"template": {"spec": {"volumes": [{"name": "v"}]}}, "minReadySeconds": 0}}),
        ),
        ("networking.k8s.io/v1", "Ingress", json!({"spec": {"rules": [{"http": {"paths": [{"backend": {}}]}}]}})),
        (
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"items": [{"title": ""}]}}}]}}),
        ),
    ] {
        let ty = schema::of_object(version, kind).unwrap();
        let mut normal = value.clone();
        super::normalise(&mut normal, ty);
        let read: Value = serde_json::from_slice(&super::to_vec(&value, ty)).unwrap();
        assert_eq!(without_nulls(normal), without_nulls(read), "{kind}");
    }
}

#[test]
fn texts_and_numbers_are_gos() {
    let mut out = Vec::new();
    super::write_untyped(
        &json!({"a": "<&>\u{2028}é\"\\\n\u{1}\u{8}", "b": [1e-7, 1e21, 1e20, 0.5, 1.0, -3, 1.5e300]}),
        &mut out,
    );
    expect![[
        r#"{"a":"\u003c\u0026\u003e\u2028é\"\\\n\u0001\b","b":[1e-7,1e+21,100000000000000000000,0.5,1,-3,1.5e+300]}"#
    ]]
    .assert_eq(&String::from_utf8(out).unwrap());
}
