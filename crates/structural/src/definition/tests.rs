//! Definitions, good and bad, in upstream's words.

use serde_json::{Value, json};

use super::*;

fn definition(version: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "versions": [version],
        },
        "status": {"storedVersions": ["v1"]},
    })
}

fn with_schema(schema: Value) -> Value {
    definition(json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}))
}

fn said(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn check(definition: &Value, want: &[&str]) {
    assert_eq!(said(&validate_definition(definition, None)), want);
}

fn schema(schema: Value, want: &[&str]) {
    check(&with_schema(schema), want);
}

fn spec(schema: Value, want: &[&str]) {
    check(&with_schema(json!({"type": "object", "properties": {"spec": schema}})), want);
}

#[test]
fn good_ones_are_taken() {
    schema(json!({"type": "object"}), &[]);
    schema(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}), &[]);
    spec(
        json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "string", "default": "x", "maxLength": 5, "pattern": "^[a-z]+$"},
            "b": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "."},
            "c": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "l"],
                "items": {"type": "object", "required": ["k"], "properties": {
                    "k": {"type": "string"}, "l": {"type": "string", "default": "TCP"}}}},
            "d": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        }}),
        &[],
    );
}

#[test]
fn names_and_versions() {
    let mut bad = with_schema(json!({"type": "object"}));
    bad["metadata"]["name"] = "bars.example.com".into();
    check(&bad, &["metadata.name: Invalid value: \"bars.example.com\": must be spec.names.plural+\".\"+spec.group"]);

    let mut bad = with_schema(json!({"type": "object"}));
    bad["spec"]["scope"] = "World".into();
    bad["spec"]["names"]["listKind"] = "Foo".into();
    check(
        &bad,
        &[
            "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
            "spec.names.listKind: Invalid value: \"Foo\": kind and listKind may not be the same",
        ],
    );

    let mut bad = with_schema(json!({"type": "object"}));
    bad["spec"]["versions"][0]["storage"] = false.into();
    check(
        &bad,
        &[
            "spec.versions: Invalid value: [{\"Name\":\"v1\",\"Served\":true,\"Storage\":false,\"Deprecated\":false,\"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}]: must have exactly one version marked as storage version",
        ],
    );

    check(
        &definition(json!({"name": "v1", "served": true, "storage": true})),
        &["spec.versions[0].schema.openAPIV3Schema: Required value"],
    );
}

#[test]
fn structural_rules() {
    schema(
        json!({"type": "array"}),
        &[
            "spec.validation.openAPIV3Schema.items: Required value: must be specified",
            "spec.validation.openAPIV3Schema.type: Invalid value: \"array\": must be object at the root",
        ],
    );
    spec(
        json!({}),
        &[
            "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        ],
    );
    schema(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"properties": {"a": {"type": "string"}, "b": {}}}]}),
        &[
            "spec.validation.openAPIV3Schema.anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
            "spec.validation.openAPIV3Schema.properties[b]: Required value: because it is defined in spec.validation.openAPIV3Schema.anyOf[0].properties[b]",
        ],
    );
    spec(
        json!({"type": "string", "pattern": "("}),
        &[
            "spec.validation.openAPIV3Schema.properties[spec].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`",
        ],
    );
    schema(
        json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
        &[
            "spec.validation.openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ],
    );
    spec(
        json!({"type": "fancy"}),
        &[
            "spec.validation.openAPIV3Schema.properties[spec].type: Unsupported value: \"fancy\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ],
    );
    spec(
        json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}}),
        &[
            "spec.validation.openAPIV3Schema.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ],
    );
    spec(
        json!({"type": "object", "$ref": "#/x"}),
        &["spec.validation.openAPIV3Schema.properties[spec].$ref: Forbidden: $ref is not supported"],
    );
}

#[test]
fn lists_and_defaults() {
    let at = "spec.validation.openAPIV3Schema.properties[spec]";
    spec(
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "z"],
        "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
        &[
            &format!(
                "{at}.x-kubernetes-list-map-keys: Invalid value: [\"k\",\"z\"]: entries must all be names of item properties"
            ),
            &format!(
                "{at}.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            ),
        ],
    );
    spec(
        json!({"type": "string", "x-kubernetes-list-type": "set"}),
        &[&format!("{at}.type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified")],
    );
    spec(
        json!({"type": "integer", "default": "x"}),
        &[&format!(
            "{at}.default: Invalid value: \"string\": {at}.default in body must be of type integer: \"string\""
        )
        .replace(&format!("{at}.default in body"), " in body")],
    );
    spec(
        json!({"type": "object", "default": {"a": 1, "b": 2}, "properties": {"a": {"type": "integer"}}}),
        &[&format!("{at}.default: Invalid value: {{\"a\":1,\"b\":2}}: must not have unknown fields")],
    );
    schema(
        json!({"type": "object", "properties": {"kind": {"type": "string", "default": "x"}}}),
        &["spec.validation.openAPIV3Schema.properties[kind].default: Forbidden: must not be set in top-level kind"],
    );
}

#[test]
fn subresources_columns_fields() {
    check(
        &definition(
            json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"a": {"type": "string"}, "o": {"type": "object"}}}}}},
            "subresources": {"scale": {"specReplicasPath": "spec.x", "statusReplicasPath": ".spec.x"}},
            "additionalPrinterColumns": [{"name": "", "type": "text", "jsonPath": "x"}],
            "selectableFields": [{"jsonPath": ".spec.a"}, {"jsonPath": ".spec.a"}, {"jsonPath": ".spec.z"}, {"jsonPath": ".spec.o"}]}),
        ),
        &[
            "spec.subresources.scale.specReplicasPath: Invalid value: \"spec.x\": must be a simple json path starting with .",
            "spec.subresources.scale.statusReplicasPath: Invalid value: \".spec.x\": should be a json path under .status",
            "spec.additionalPrinterColumns[0].name: Required value",
            "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
            "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"x\": must be a simple json path starting with .",
            "spec.selectableFields[1].jsonPath: Duplicate value: \".spec.a\"",
            "spec.selectableFields[2].jsonPath: Invalid value: \".spec.z\": is an invalid path: does not refer to a valid field",
            "spec.selectableFields[3].jsonPath: Invalid value: \".spec.o\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
        ],
    );
}

#[test]
fn conversion_and_approval() {
    let mut bad = with_schema(json!({"type": "object"}));
    bad["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {"url": "http://u@h/p?q#f", "service": null}, "conversionReviewVersions": ["v7"]}});
    check(
        &bad,
        &[
            "spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            "spec.conversion.webhookClientConfig.url: Invalid value: \"u\": user information is not permitted in the URL",
            "spec.conversion.webhookClientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL",
            "spec.conversion.webhookClientConfig.url: Invalid value: \"q\": query parameters are not permitted in the URL",
            "spec.conversion.conversionReviewVersions: Invalid value: [\"v7\"]: must include at least one of v1, v1beta1",
        ],
    );

    let mut protected = with_schema(json!({"type": "object"}));
    protected["metadata"]["name"] = "foos.x.k8s.io".into();
    protected["spec"]["group"] = "x.k8s.io".into();
    check(
        &protected,
        &[
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        ],
    );
    protected["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "https://github.com/x"});
    check(&protected, &[]);
    protected["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, experimental"});
    check(&protected, &[]);
}

#[test]
fn updates() {
    let mut old = with_schema(json!({"type": "object"}));
    old["metadata"]["resourceVersion"] = "1".into();
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let mut new = old.clone();
    new["spec"]["scope"] = "Cluster".into();
    new["spec"]["names"]["kind"] = "Bar".into();
    assert_eq!(
        said(&validate_definition(&new, Some(&old))),
        [
            "spec.scope: Invalid value: \"Cluster\": field is immutable",
            "spec.names.kind: Invalid value: \"Bar\": field is immutable",
        ]
    );
    let mut new = old.clone();
    new["status"]["storedVersions"] = json!(["v0", "v1"]);
    assert_eq!(
        said(&validate_definition(&new, Some(&old))),
        [
            "status.storedVersions[0]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v0 and removes v0 from status.storedVersions",
        ]
    );
    // What is there already is no fault of the update.
    let old =
        with_schema(json!({"type": "object", "properties": {"a": {"type": "array", "x-kubernetes-list-type": "set",
        "items": {"type": "object"}}}}));
    assert_eq!(validate_definition(&old, None).len(), 1);
    let mut new = old.clone();
    new["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(said(&validate_definition(&new, Some(&old))), [""; 0]);
}

#[test]
fn formats_that_mean_nothing_are_told() {
    let new = with_schema(json!({"type": "object", "properties": {
        "a": {"type": "string", "format": "fancy"}, "b": {"type": "string", "format": "date"}}}));
    assert_eq!(definition_warnings(&new, None), ["unrecognized format \"fancy\""]);
    assert_eq!(definition_warnings(&new, Some(&new)), [""; 0]);
}
