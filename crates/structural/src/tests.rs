//! Objects against schemas, in upstream's words.

use machinery::field::ErrorList;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{OtherFaults, Structural};

fn structural(schema: Value) -> Structural {
    Structural::of(&schema, false).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn said(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn check(schema: Value, object: Value, old: Option<Value>, want: &[&str]) {
    let schema = structural(json!({"type": "object", "properties": {"spec": schema}}));
    let object = json!({"spec": object});
    let old = old.map(|old| json!({"spec": old}));
    assert_eq!(
        said(&schema.validate(&object, old.as_ref(), OtherFaults::default(), &mut Vec::new())),
        want,
        "{object}"
    );
}

#[test]
fn unknown_fields_go_and_are_told() {
    let schema = structural(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "a": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"y": {"type": "string"}}}},
            "any": {"type": "object", "additionalProperties": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "known": {"type": "object", "properties": {"z": {"type": "string"}}}}},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
                "spec": {"type": "object"}}},
        }},
    }}));
    let mut object = json!({
        "apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"}, "top": 1,
        "spec": {
            "a": "1", "b": "2", "metadata": 1,
            "list": [{"x": 1, "q": 2}],
            "map": {"k": {"y": "1", "q": 2}},
            "any": {"scalar": 1, "object": {"q": 1}},
            "free": {"what": {"ever": [1]}, "known": {"z": "1", "q": 2}},
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"q": 1}, "status": {}},
        },
    });
    let unknown = schema.prune(&mut object);
    assert_eq!(
        unknown,
        [
            "spec.any.object.q",
            "spec.b",
            "spec.free.known.q",
            "spec.list[0].q",
            "spec.map.k.q",
            "spec.metadata",
            "spec.pod.spec.q",
            "spec.pod.status",
            "top",
        ]
    );
    assert_eq!(
        object,
        json!({
            "apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"},
            "spec": {
                "a": "1",
                "list": [{"x": 1}],
                "map": {"k": {"y": "1"}},
                "any": {"scalar": 1, "object": {}},
                "free": {"what": {"ever": [1]}, "known": {"z": "1"}},
                "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {}},
            },
        })
    );
}

#[test]
fn defaults_fill_gaps_and_nulls() {
    let schema = structural(json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "A"},
        "nullable": {"type": "string", "nullable": true, "default": "A"},
        "null": {"type": "string"},
        "inner": {"type": "object", "default": {"unknown": 1}, "properties": {"b": {"type": "integer", "default": 3}}},
        "absent": {"type": "object", "properties": {"b": {"type": "integer", "default": 3}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"p": {"type": "string", "default": "x"}}}},
    }}));
    let mut object = json!({"a": null, "nullable": null, "null": null, "list": [{}, {"p": "UDP"}], "map": {"k": {}}});
    assert_eq!(schema.prune(&mut object), [""; 0]);
    schema.default(&mut object);
    assert_eq!(
        object,
        json!({
            "a": "A", "nullable": null, "inner": {"b": 3},
            "list": [{"p": "TCP"}, {"p": "UDP"}], "map": {"k": {"p": "x"}},
        })
    );
}

#[test]
fn embedded_metadata_are_coerced() {
    let schema = structural(json!({"type": "object", "properties": {"pod": {
        "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}));
    let mut object = json!({"pod": {"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "x", "foo": 1, "creationTimestamp": null, "labels": {"a": "b"}}, "bar": 1}});
    assert_eq!(schema.coerce(&mut object, false), Ok(vec!["pod.metadata.foo".to_owned()]));
    assert_eq!(
        object["pod"],
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}}, "bar": 1})
    );

    let mut wrong = json!({"pod": {"apiVersion": 1, "kind": "Pod", "metadata": {"name": "x", "labels": 1}}});
    let error = schema.coerce(&mut wrong.clone(), false).expect_err("apiVersion is no text");
    assert_eq!(error.to_string(), "pod.apiVersion: Invalid value: 1: must be a string");
    schema.coerce(&mut wrong, true).expect("what was stored is repaired");
    assert_eq!(wrong["pod"], json!({"kind": "Pod", "metadata": {"name": "x"}}));
}

#[test]
fn embedded_resources_are_validated() {
    let schema =
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    check(schema.clone(), json!({"apiVersion": "v1", "kind": "Pod"}), None, &[]);
    check(
        schema,
        json!({"kind": "a.b", "metadata": {"name": "..", "labels": {"#": "x"}}}),
        None,
        &[
            "spec.apiVersion: Required value",
            "spec.kind: Invalid value: \"a.b\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            "spec.metadata.name: Invalid value: \"..\": may not be '..'",
            "spec.metadata.labels: Invalid value: \"#\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    );
}

#[test]
fn openapi_in_upstreams_words() {
    let wrong = |ty: &str, value: Value, want: &str| check(json!({"type": ty}), value, None, &[want]);
    wrong("string", json!(1), "spec: Invalid value: \"integer\": spec in body must be of type string: \"integer\"");
    wrong("integer", json!("1"), "spec: Invalid value: \"string\": spec in body must be of type integer: \"string\"");
    wrong("object", json!([]), "spec: Invalid value: \"array\": spec in body must be of type object: \"array\"");
    wrong("boolean", json!(null), "spec: Invalid value: \"null\": spec in body must be of type boolean: \"null\"");
    let table: &[(Value, Value, &[&str])] = &[
        (json!({"type": "integer"}), json!(1.0), &[]),
        (
            json!({"type": "integer"}),
            json!(1.5),
            &[
                "spec: Invalid value: \"number\": spec in body must be of type integer: \"number\"",
                "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec",
            ],
        ),
        (json!({"type": "number"}), json!(1), &[]),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            &["spec: Unsupported value: \"c\": supported values: \"a\", \"b\""],
        ),
        (
            json!({"type": "integer", "minimum": 1, "maximum": 3}),
            json!(5),
            &["spec: Invalid value: 5: spec in body should be less than or equal to 3"],
        ),
        (
            json!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
            json!(1),
            &["spec: Invalid value: 1: spec in body should be greater than 1"],
        ),
        (
            json!({"type": "integer", "multipleOf": 2}),
            json!(3),
            &["spec: Invalid value: 3: spec in body should be a multiple of 2"],
        ),
        (json!({"type": "string", "maxLength": 2}), json!("abc"), &["spec: Too long: may not be more than 2 bytes"]),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            &["spec: Invalid value: \"a\": spec in body should be at least 2 chars long"],
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            &["spec: Invalid value: \"b\": spec in body should match '^a+$'"],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", 1]),
            &[
                "spec[1]: Invalid value: \"integer\": spec[1] in body must be of type string: \"integer\"",
                "spec: Too many: 2: must have at most 1 item",
            ],
        ),
        (
            json!({"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}}}),
            json!({}),
            &["spec.x: Required value"],
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("x"),
            &["spec: Invalid value: \"x\": spec in body must be of type date-time: \"x\""],
        ),
        (json!({"type": "string", "format": "fancy"}), json!("x"), &[]),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(4_294_967_296_i64),
            &["<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec"],
        ),
        (json!({"x-kubernetes-int-or-string": true}), json!("5%"), &[]),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            &["spec: Invalid value: \"boolean\": spec in body must be of type integer,string: \"boolean\""],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"a": "1", "b": "2"}),
            &[
                "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ],
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({}),
            &[
                "<nil>: Invalid value: \"\": \"spec\" must validate at least one schema (anyOf)",
                "spec.a: Required value",
            ],
        ),
        (
            json!({"type": "integer", "allOf": [{"minimum": 2}, {"maximum": 0}]}),
            json!(1),
            &[
                "spec: Invalid value: 1: spec in body should be greater than or equal to 2",
                "spec: Invalid value: 1: spec in body should be less than or equal to 0",
                "<nil>: Invalid value: \"\": \"spec\" must validate all the schemas (allOf). None validated",
            ],
        ),
        (
            json!({"type": "integer", "not": {"minimum": 2}}),
            json!(3),
            &["<nil>: Invalid value: \"\": \"spec\" must not validate the schema (not)"],
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
            json!(["a", "b", "a", "a"]),
            &["spec[2]: Duplicate value: \"a\""],
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "l"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "l": {"type": "integer"}}}}),
            json!([{"k": "a", "l": 1}, {"k": "a", "l": 2}, {"k": "a", "l": 1}]),
            &["spec[2]: Duplicate value: {\"k\":\"a\",\"l\":1}"],
        ),
    ];
    for (schema, object, want) in table {
        check(schema.clone(), object.clone(), None, want);
    }
}

#[test]
fn what_did_not_change_may_stay_faulty() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 1},
        "b": {"type": "string", "maxLength": 1},
        "atomic": {"type": "array", "items": {"type": "string", "maxLength": 1}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
            "type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}},
    }});
    let long = "Too long: may not be more than 1 byte";
    let check = |new: Value, old: Value, want: &[&str]| check(schema.clone(), new, Some(old), want);
    check(json!({"a": "long", "b": "x"}), json!({"a": "long"}), &[]);
    check(json!({"a": "longer"}), json!({"a": "long"}), &[&format!("spec.a: {long}")]);
    check(json!({"b": "long"}), json!({"a": "long"}), &[&format!("spec.b: {long}")]);
    check(json!({"atomic": ["long"], "a": "x"}), json!({"atomic": ["long"]}), &[]);
    check(json!({"atomic": ["long", "x"]}), json!({"atomic": ["long"]}), &[&format!("spec.atomic[0]: {long}")]);
    check(
        json!({"map": [{"k": "new", "v": "1"}, {"k": "a", "v": "long"}]}),
        json!({"map": [{"k": "a", "v": "long"}]}),
        &[],
    );
    check(
        json!({"map": [{"k": "b", "v": "long"}]}),
        json!({"map": [{"k": "a", "v": "long"}]}),
        &[&format!("spec.map[0].v: {long}")],
    );
}

#[test]
fn managed_fields_follow_the_schema() {
    use machinery::managed_fields::{Resets, Update, Versions, update};
    struct One<'a>(&'a Structural);
    impl<'a> Versions<'a> for One<'a> {
        type Schema = super::Place<'a>;
        fn schema(&self, version: &str) -> Option<super::Place<'a>> {
            (version == "g/v1").then(|| self.0.merge())
        }
        fn convert(&self, _: &Value, _: &str, _: &str) -> Option<Value> {
            None
        }
    }
    let schema = structural(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
            "items": {"type": "object", "properties": {
                "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"}}}},
        "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    }}}}));
    let mut object = json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}, "spec": {
        "set": ["x"], "ports": [{"port": 80, "name": "p"}], "atomic": {"k": "v"}, "map": {"k": "v"}}});
    let write = Update {
        manager: "m",
        api_version: "g/v1",
        subresource: "",
        now: jiff::Timestamp::UNIX_EPOCH,
        resets: Resets(&[]),
    };
    update(&Value::Null, &mut object, &One(&schema), &write);
    assert_eq!(
        object["metadata"]["managedFields"][0]["fieldsV1"],
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {
                ".": {},
                "f:set": {".": {}, "v:\"x\"": {}},
                "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}}},
                "f:atomic": {},
                "f:map": {".": {}, "f:k": {}},
            },
        })
    );
}

#[test]
fn an_applied_field_must_be_declared_or_kept() {
    use machinery::managed_fields::check;
    let kept = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "inner": {"type": "object", "properties": {"known": {"type": "string"}}}}});
    let schema = structural(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"a": {"type": "string"}}}, "kept": kept,
        "free": {"type": "object"}, "map": {"type": "object", "additionalProperties": {"type": "string"}}}}));
    for (object, expect) in [
        (json!({"spec": {"a": "x"}, "metadata": {"name": "n"}, "kind": "K", "apiVersion": "g/v1"}), None),
        (json!({"unknown": "x"}), Some(".unknown: field not declared in schema")),
        (json!({"spec": {"b": 1}}), Some(".spec.b: field not declared in schema")),
        (json!({"kept": {"b": 1, "inner": {"c": {"d": 1}}}}), None),
        (json!({"free": {"b": 1}, "map": {"k": "v"}}), None),
    ] {
        assert_eq!(check(&object, schema.merge()).err().as_deref(), expect, "{object}");
    }
    let all = Structural::of(&json!({"type": "object", "properties": {"a": {"type": "string"}}}), true);
    assert_eq!(check(&json!({"b": 1}), all.expect("structural").merge()), Ok(()));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        (-2.0_f64..2.0).prop_map(Value::from),
        "[abc]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[abc]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = (
        prop_oneof![Just("string"), Just("integer"), Just("number"), Just("boolean"), Just("")],
        any::<bool>(),
        proptest::option::of(any_json()),
        0_i64..3,
    )
        .prop_map(|(ty, nullable, default, n)| {
            let pattern = ["", "a+", "("][n as usize];
            json!({"type": ty, "nullable": nullable, "default": default, "maxLength": n, "minimum": n, "multipleOf": n,
                "enum": if n == 0 { json!([]) } else { json!(["a", n, null]) }, "pattern": pattern})
        });
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (
                proptest::collection::btree_map("[abc]", inner.clone(), 0..3),
                any::<bool>(),
                proptest::option::of(any_json())
            )
                .prop_map(
                    |(properties, preserve, default)| json!({"type": "object", "properties": properties,
                    "required": ["a"], "default": default,
                    "x-kubernetes-preserve-unknown-fields": if preserve { json!(true) } else { Value::Null }})
                ),
            inner.clone().prop_map(|v| json!({"type": "object", "additionalProperties": v})),
            (inner.clone(), prop_oneof![Just("set"), Just("map"), Just("atomic")])
                .prop_map(|(v, list)| json!({"type": "array",
                "items": v, "x-kubernetes-list-type": list, "x-kubernetes-list-map-keys": ["a"], "maxItems": 2})),
            inner.prop_map(
                |v| json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"a": v.clone()},
                "anyOf": [v.clone()], "not": v.clone(), "allOf": [v.clone()], "oneOf": [v.clone(), v]})
            ),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn anything_goes(schema in any_schema(), object in any_json(), old in any_json()) {
        let schema = Structural::of(&schema, false).expect("nothing unsupported");
        let mut once = object.clone();
        schema.prune(&mut once);
        let mut twice = once.clone();
        prop_assert_eq!(schema.prune(&mut twice), Vec::<String>::new());
        prop_assert_eq!(&once, &twice);
        schema.default(&mut twice);
        let mut defaulted = twice.clone();
        schema.default(&mut defaulted);
        prop_assert_eq!(&twice, &defaulted);
        let _ = schema.coerce(&mut twice, true);
        let _ = schema.validate(&twice, None, OtherFaults::default(), &mut Vec::new());
        let _ = schema.validate(&twice, Some(&old), OtherFaults::default(), &mut Vec::new());
        // An object is no fault of itself, but for what is never ratcheted: embedded metadata.
        let _ = schema.validate_status(&twice, &old, OtherFaults::default(), &mut Vec::new());
    }
}

#[test]
fn deep_and_large_schemas_are_survived() {
    let nested =
        |levels: usize, wrap: &dyn Fn(Value) -> Value| (0..levels).fold(json!({"type": "string"}), |s, _| wrap(s));
    let schemas = [
        nested(480, &|s| json!({"type": "object", "properties": {"a": s}})),
        nested(900, &|s| json!({"not": s})),
        nested(480, &|s| json!({"allOf": [s]})),
        nested(900, &|s| json!({"type": "array", "items": s})),
        json!({"type": "string", "enum": vec!["x"; 100_000]}),
        json!({"type": "string", "pattern": "(((a{1000}){1000}){1000}){1000}"}),
        json!({"type": "object", "x-kubernetes-validations": vec![json!({"rule": "self == self"}); 200]}),
    ];
    let object = (0..490).fold(json!("x"), |inner, _| json!({"a": inner}));
    for schema in schemas {
        let schema = json!({"type": "object", "properties": {"a": schema}});
        let definition = json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}});
        assert!(!super::validate_definition(&definition, None).is_empty());
        let structural = structural(schema);
        let mut object = object.clone();
        structural.prune(&mut object);
        structural.default(&mut object);
        let _ = structural.coerce(&mut object, false);
        let _ = structural.validate(&object, Some(&object), OtherFaults::default(), &mut Vec::new());
    }
}
