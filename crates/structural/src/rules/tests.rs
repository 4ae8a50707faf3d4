//! Rules, defined and tried, in upstream's words.

use serde_json::{Value, json};

use crate::{OtherFaults, Structural, validate_definition};

fn with_spec(spec: Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec}})
}

fn defined(schema: Value) -> Vec<String> {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
        "status": {"storedVersions": ["v1"]},
    });
    validate_definition(&definition, None).iter().map(ToString::to_string).collect()
}

fn tried(spec: &Value, new: Value, old: Option<Value>) -> Vec<String> {
    let schema = Structural::of(&with_spec(spec.clone()), false).expect("structural");
    let object =
        |spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "n"}, "spec": spec});
    let old = old.map(object);
    let errors = schema.validate(&object(new), old.as_ref(), OtherFaults::default(), &mut Vec::new());
    errors.iter().map(ToString::to_string).collect()
}

/// The schema of upstream's conformance tests.
fn conformance() -> Value {
    json!({
        "type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.x + self.y > 0"},
            {"rule": "self.firstArray.isSorted() && self.secondArray.isSorted() && ((self.firstArray.sum() + self.secondArray.sum()) % 2 == 0)"},
            {"rule": "self.largeArray.all(x, self.largeArray.all(y, y == x))"},
        ],
        "properties": {
            "x": {"type": "integer"},
            "y": {"type": "integer"},
            "firstArray": {"type": "array", "maxItems": 1000, "items": {"type": "integer"}},
            "secondArray": {"type": "array", "maxItems": 1000, "items": {"type": "integer"}},
            "largeArray": {"type": "array", "maxItems": 725, "items": {"type": "integer"}},
        },
    })
}

#[test]
fn conformance_rules() {
    let schema = conformance();
    assert_eq!(defined(with_spec(schema.clone())), [""; 0]);
    let good = json!({"x": 1, "y": 0, "firstArray": [3, 4], "secondArray": [5, 10], "largeArray": [2, 2]});
    assert_eq!(tried(&schema, good, None), [""; 0]);
    assert_eq!(
        tried(&schema, json!({"x": 0, "y": 0}), None),
        [
            "spec: Invalid value: failed rule: self.x + self.y > 0",
            "spec: Invalid value: \"object\": no such key: firstArray evaluating rule: self.firstArray.isSorted() && self.secondArray.isSorted() && ((self.firstArray.sum() + self.secondArray.sum()) % 2 == 0)",
            "spec: Invalid value: \"object\": no such key: largeArray evaluating rule: self.largeArray.all(x, self.largeArray.all(y, y == x))",
        ]
    );
    let large = json!({"x": 1, "y": 0, "firstArray": [], "secondArray": [], "largeArray": vec![20; 725]});
    assert_eq!(
        tried(&schema, large, None),
        [
            "spec: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: self.largeArray.all(x, self.largeArray.all(y, y == x))",
        ]
    );
}

#[test]
fn rules_that_are_not_taken() {
    let rule = |rule: &str| {
        with_spec(
            json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}], "properties": {"x": {"type": "integer"}}}),
        )
    };
    let at = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]";
    let printed = |rule: &str| {
        let rest = r#""Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null"#;
        format!("{{\"Rule\":\"{rule}\",{rest}}}")
    };
    assert_eq!(
        defined(rule("self.z == 100")),
        [format!(
            "{at}.rule: Invalid value: {}: compilation failed: ERROR: <input>:1:5: undefined field 'z'\n | self.z == 100\n | ....^",
            printed("self.z == 100")
        )]
    );
    let syntax = defined(rule("self = 42"));
    assert!(syntax.len() == 1 && syntax[0].contains("Syntax error"), "{syntax:?}");
    assert_eq!(
        defined(rule("self.x")),
        [format!("{at}.rule: Invalid value: {}: cel expression must evaluate to a bool", printed("self.x"))]
    );
    assert_eq!(defined(rule(" ")), [format!("{at}.rule: Required value: rule is not specified")]);

    let expensive = with_spec(
        json!({"type": "object", "properties": {"x": {"type": "array", "items": {"type": "array",
        "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": "self.all(s, s == 'string constant')"}]}}}}),
    );
    let errors = defined(expensive);
    assert!(errors.iter().all(|e| e.contains("exceeds budget") || e.contains("exceeding cost limit")), "{errors:?}");
    assert!(errors[0].ends_with("(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"), "{errors:?}");

    // As the Gateway API's definitions have it.
    let keys = with_spec(json!({"type": "object", "maxProperties": 16, "additionalProperties": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.all(key, key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]{0,61}$'))"},
            {"rule": "self.all(key, key.split('/')[0].size() < 253)"}]}));
    assert_eq!(defined(keys), [""; 0], "keys of maps cost nothing by their length");

    let uncorrelated = with_spec(json!({"type": "array", "maxItems": 3, "items": {"type": "integer",
        "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}));
    assert_eq!(
        defined(uncorrelated),
        [
            "spec.validation.openAPIV3Schema.properties[spec].items.x-kubernetes-validations[0].rule: Invalid value: \"self >= oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema.properties[spec]"
        ]
    );
    let optional = with_spec(
        json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0", "optionalOldSelf": true}]}),
    );
    assert_eq!(
        defined(optional),
        [format!("{at}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule")]
    );
    let message = with_spec(
        json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0", "messageExpression": "self"}]}),
    );
    assert!(defined(message)[0].ends_with("messageExpression must evaluate to a string"));
}

#[test]
fn transitions() {
    let schema = json!({"type": "object", "properties": {
        "num": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > oldSelf"}]},
        "first": {"type": "string", "x-kubernetes-validations": [
            {"rule": "oldSelf.hasValue() || self == 'a'", "optionalOldSelf": true, "message": "must begin as a"}]},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "maxItems": 5,
            "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.v == oldSelf.v", "message": "v is immutable", "fieldPath": ".v"}]}},
    }});
    assert_eq!(defined(with_spec(schema.clone())), [""; 0]);
    assert_eq!(tried(&schema, json!({"num": 10}), None), [""; 0]);
    assert_eq!(
        tried(&schema, json!({"num": 9}), Some(json!({"num": 10}))),
        ["spec.num: Invalid value: 9: failed rule: self > oldSelf"]
    );
    assert_eq!(tried(&schema, json!({"first": "b"}), None), ["spec.first: Invalid value: \"b\": must begin as a"]);
    assert_eq!(tried(&schema, json!({"first": "b"}), Some(json!({"first": "a"}))), [""; 0]);
    assert_eq!(
        tried(
            &schema,
            json!({"list": [{"k": "new", "v": 1}, {"k": "a", "v": 2}]}),
            Some(json!({"list": [{"k": "a", "v": 1}]}))
        ),
        ["spec.list[1].v: Invalid value: v is immutable"]
    );
}

#[test]
fn messages_reasons_ratcheting_and_names() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "self < 5", "messageExpression": "'%d is too much'.format([self])", "reason": "FieldValueForbidden"}]},
        "my-name": {"type": "string"},
        "namespace": {"type": "string"},
        "percent": {"x-kubernetes-int-or-string": true},
        "memory": {"type": "string"},
        "map": {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "string", "maxLength": 10,
            "x-kubernetes-validations": [{"rule": "self.startsWith('v')"}]}},
    }, "x-kubernetes-validations": [
        {"rule": "!has(self.my__dash__name) || self.my__dash__name != self.__namespace__"},
        {"rule": "!has(self.percent) || (type(self.percent) == int ? self.percent < 100 : self.percent.endsWith('%'))"},
        {"rule": "!has(self.memory) || quantity(self.memory).isLessThan(quantity('1Gi'))", "message": "too large"},
    ]});
    assert_eq!(defined(with_spec(schema.clone())), [""; 0]);
    assert_eq!(tried(&schema, json!({"a": 7}), None), ["spec.a: Forbidden: 7 is too much"]);
    // What did not change is forgiven.
    assert_eq!(tried(&schema, json!({"a": 7, "memory": "1Mi"}), Some(json!({"a": 7}))), [""; 0]);
    assert_eq!(tried(&schema, json!({"my-name": "x", "namespace": "x"}), None).len(), 1);
    assert_eq!(tried(&schema, json!({"percent": 5}), None), [""; 0]);
    assert_eq!(tried(&schema, json!({"percent": "5"}), None).len(), 1);
    assert_eq!(tried(&schema, json!({"memory": "2Gi"}), None), ["spec: Invalid value: too large"]);
    assert_eq!(
        tried(&schema, json!({"map": {"k": "x"}}), None),
        ["spec.map[k]: Invalid value: \"x\": failed rule: self.startsWith('v')"]
    );
    // Rules are not tried on what has the wrong form.
    assert_eq!(
        tried(&schema, json!({"a": "x"}), None),
        [
            "spec.a: Invalid value: \"string\": spec.a in body must be of type integer: \"string\"",
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ]
    );
}

#[test]
fn metadata_of_resources_are_seen() {
    let schema = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name == 'n'"}], "properties": {}});
    let structural = Structural::of(&schema, false).expect("structural");
    let object = |name: &str| json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": name}});
    assert_eq!(structural.validate(&object("n"), None, OtherFaults::default(), &mut Vec::new()), Vec::new());
    assert_eq!(structural.validate(&object("m"), None, OtherFaults::default(), &mut Vec::new()).len(), 1);
}

#[test]
fn defaults_must_follow_rules() {
    let schema =
        with_spec(json!({"type": "integer", "default": 3, "x-kubernetes-validations": [{"rule": "self > 5"}]}));
    assert_eq!(
        defined(schema),
        ["spec.validation.openAPIV3Schema.properties[spec].default: Invalid value: 3: failed rule: self > 5"]
    );
}
