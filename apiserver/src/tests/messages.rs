//! What clients are told of patches and bodies that make no object of the kind, in upstream's words and with its codes.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Client, MAPS};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A client, and the path of an object that it has made.
async fn with_map() -> (Client, String) {
    let mut client = Client::new().await;
    let map = json!({ "metadata": { "name": "a" }, "data": { "z": "<", "k": "v" } });
    let (code, _) = client.json(Method::POST, MAPS, map).await;
    assert_eq!(code, StatusCode::CREATED);
    (client, format!("{MAPS}/a"))
}

fn told(status: &Value) -> (u64, &str) {
    (status["code"].as_u64().unwrap_or(200), status["message"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_patch_that_makes_no_object_of_the_kind_is_invalid_with_its_whole_result() {
    let (mut client, path) = with_map().await;
    let start = r#" "" is invalid: patch: Invalid value: "{\"apiVersion\":\"v1\",\"data\":"#;
    let values = r#"{\"k\":\"v\",\"q\":7,\"z\":\"\\u003c\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\",\"namespace\":\"default\",\"uid\":"#;
    let end = r#"}": json: cannot unmarshal number into Go struct field ConfigMap.data of type string"#;
    let add = json!([{ "op": "add", "path": "/data/q", "value": 7 }]);
    for (content, patch) in [(MERGE, json!({ "data": { "q": 7 } })), (PATCH, add)] {
        let (code, status) = client.send(Method::PATCH, &path, content, patch).await;
        let (_, message) = told(&status);
        assert_eq!((code, &status["reason"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid")));
        assert!(message.starts_with(&format!("{start}{values}")) && message.ends_with(end), "{message}");
        let causes = status["details"]["causes"].as_array().expect("causes");
        assert_eq!(
            (causes.len(), &causes[0]["field"], causes[0]["reason"].clone()),
            (1, &json!("patch"), json!("FieldValueInvalid"))
        );
    }
}

#[tokio::test]
async fn merges_tell_what_they_make_in_words_of_their_own() {
    let (mut client, path) = with_map().await;
    for (content, patch, expect) in [
        (
            STRATEGIC,
            json!({ "data": { "q": 7 } }),
            (422, r#" "" is invalid: patch: Invalid value: "map[data:map[q:7]]": cannot convert int64 to string"#),
        ),
        (
            STRATEGIC,
            json!({ "data": { "q": true } }),
            (422, r#" "" is invalid: patch: Invalid value: "map[data:map[q:true]]": unrecognized type: string"#),
        ),
        (
            STRATEGIC,
            json!({ "data": "x" }),
            (422, r#" "" is invalid: patch: Invalid value: "map[data:x]": cannot restore map from string"#),
        ),
        (
            STRATEGIC,
            json!({ "metadata": ["x"] }),
            (422, r#" "" is invalid: patch: Invalid value: "map[metadata:[x]]": cannot restore struct from: slice"#),
        ),
        (
            STRATEGIC,
            json!({ "metadata": { "finalizers": "x" } }),
            (
                422,
                r#" "" is invalid: patch: Invalid value: "map[metadata:map[finalizers:x]]": cannot restore slice from string"#,
            ),
        ),
        (
            STRATEGIC,
            json!({ "binaryData": { "a": "!!" } }),
            (
                422,
                r#" "" is invalid: patch: Invalid value: "map[binaryData:map[a:!!]]": error decoding from json: illegal base64 data at input byte 0"#,
            ),
        ),
        (STRATEGIC, json!([]), (400, "json: cannot unmarshal array into Go value of type map[string]interface {}")),
        (STRATEGIC, json!({ "kind": "Pod", "apiVersion": "v2" }), (200, "")),
        (
            MERGE,
            json!(["x"]),
            (400, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ),
        (
            MERGE,
            json!({ "metadata": { "name": "b" } }),
            (400, "the name of the object (b) does not match the name on the URL (a)"),
        ),
        (
            MERGE,
            json!({ "metadata": { "name": null } }),
            (400, "the name of the object (a based on URL) was undeterminable: name must be provided"),
        ),
        (
            MERGE,
            json!({ "metadata": { "namespace": "b" } }),
            (400, "the namespace of the provided object does not match the namespace sent on the request"),
        ),
        (
            MERGE,
            json!({ "metadata": { "resourceVersion": "x" } }),
            (500, r#"strconv.ParseUint: parsing "x": invalid syntax"#),
        ),
        (
            MERGE,
            json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }),
            (
                422,
                r#"ConfigMap "a" is invalid: metadata.deletionTimestamp: Invalid value: "2026-01-01T00:00:00Z": field is immutable"#,
            ),
        ),
        (
            PATCH,
            json!({}),
            (400, "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        ),
        (
            PATCH,
            json!([{ "op": 7 }]),
            (
                400,
                "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
            ),
        ),
        (PATCH, json!([null]), (422, "the server rejected our request due to an error in our request")),
    ] {
        let (_, status) = client.send(Method::PATCH, &path, content, patch.clone()).await;
        assert_eq!(told(&status), expect, "{content} {patch}");
    }
}

#[tokio::test]
async fn what_is_no_json_is_told_of_an_object_that_is_there_only() {
    let (mut client, path) = with_map().await;
    for (content, query, patch, message) in [
        (STRATEGIC, "", "nope", "invalid character 'o' in literal null (expecting 'u')"),
        (MERGE, "", "nope", "error decoding patch: invalid character 'o' in literal null (expecting 'u')"),
        (MERGE, "?fieldValidation=Ignore", "nope", "Invalid JSON Patch"),
        (MERGE, "", "null", "Invalid JSON Patch"),
        (PATCH, "", "", "error decoding patch: unexpected end of JSON input"),
        (PATCH, "?fieldValidation=Ignore", "", "unexpected end of JSON input"),
    ] {
        let (_, status, _) = client.raw(Method::PATCH, &format!("{path}{query}"), content, patch).await;
        assert_eq!(told(&status), (400, message), "{content} {patch}");
        let (_, status, _) = client.raw(Method::PATCH, &format!("{MAPS}/none{query}"), content, patch).await;
        assert_eq!(told(&status), (404, "configmaps \"none\" not found"));
    }
}

#[tokio::test]
async fn faults_of_a_patch_itself_are_warned_of_or_refused() {
    let (mut client, path) = with_map().await;
    let twice = r#"{"data":{"q":"1","q":"2"}}"#;
    let unknown = r#"[{"op":"add","path":"/data/q","value":"1","x":1}]"#;
    for (content, patch, told_of) in [
        (MERGE, twice, r#"duplicate field \"data.q\""#),
        (STRATEGIC, twice, r#"duplicate field \"data.q\""#),
        (PATCH, unknown, r#"json patch unknown field \"[0].x\""#),
    ] {
        let (code, _, warnings) = client.raw(Method::PATCH, &path, content, patch).await;
        assert_eq!((code, warnings), (StatusCode::OK, vec![format!("299 - \"{told_of}\"")]), "{content}");
        let strict = &format!("{path}?fieldValidation=Strict");
        let (code, status, _) = client.raw(Method::PATCH, strict, content, patch).await;
        let end = format!("\": strict decoding error: {}", told_of.replace('\\', ""));
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{status}");
        assert!(told(&status).1.ends_with(&end), "{status}");
    }
}

#[tokio::test]
async fn objects_of_other_kinds_are_told_by_the_names_of_internal_types() {
    let (mut client, path) = with_map().await;
    let of = |kind: &str, version: &str| json!({ "kind": kind, "apiVersion": version, "metadata": { "name": "a" } });
    let start = "cannot be handled as a ConfigMap:";
    let scheme = r#"in scheme "pkg/api/legacyscheme/scheme.go:30""#;
    for (object, message) in [
        (
            of("Pod", "v1"),
            format!(r#"Pod in version "v1" {start} converting (v1.Pod) to (core.ConfigMap): unknown conversion"#),
        ),
        (
            of("Nope", "v1"),
            format!(r#"Nope in version "v1" {start} no kind "Nope" is registered for version "v1" {scheme}"#),
        ),
        (
            of("ConfigMap", "apps/v1"),
            format!(r#"ConfigMap in version "v1" {start} no kind "ConfigMap" is registered for version "apps/v1" {scheme}"#),
        ),
        (
            json!({ "kind": "Pod", "apiVersion": "v1", "spec": 7 }),
            format!(
                r#"Pod in version "v1" {start} json: cannot unmarshal number into Go struct field Pod.spec of type v1.PodSpec"#
            ),
        ),
        (
            json!({ "kind": 7 }),
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: \
             json: cannot unmarshal number into Go struct field .kind of type string ({\"kind\":7})"
                .to_owned(),
        ),
        (
            json!({ "apiVersion": "a/b/c" }),
            "the object provided is unrecognized (must be of type ConfigMap): unexpected GroupVersion string: a/b/c \
             ({\"apiVersion\":\"a/b/c\"})"
                .to_owned(),
        ),
    ] {
        for (method, path) in [(Method::POST, MAPS), (Method::PUT, path.as_str())] {
            let (_, status) = client.json(method, path, object.clone()).await;
            assert_eq!(told(&status), (400, message.as_str()), "{object}");
        }
    }
    let (_, status) = client.json(Method::POST, MAPS, json!([])).await;
    let expect = r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5d)"#;
    assert_eq!(told(&status), (400, expect));
    let (_, status, _) = client.raw(Method::POST, MAPS, YAML, "kind: Pod\napiVersion: v1\n").await;
    let expect = format!(r#"Pod in version "v1" {start} converting (v1.Pod) to (core.ConfigMap): unknown conversion"#);
    assert_eq!(told(&status), (400, expect.as_str()));
    let (_, status) = client.json(Method::PUT, &path, json!({ "metadata": {} })).await;
    let expect = "the name of the object (a based on URL) was undeterminable: name must be provided";
    assert_eq!(told(&status), (400, expect));
}

#[tokio::test]
async fn an_apply_is_converted_like_a_merge_and_says_of_which_object() {
    let (mut client, path) = with_map().await;
    let path = &format!("{path}?fieldManager=m&force=true");
    for (config, expect) in [
        (
            json!({ "metadata": { "name": "a" }, "binaryData": { "a": "!!" } }),
            (
                500,
                "failed to convert new object (/a; /v1, Kind=ConfigMap) to proper version: unable to convert unstructured \
                 object to /v1, Kind=ConfigMap: error decoding from json: illegal base64 data at input byte 0",
            ),
        ),
        (
            json!({ "metadata": { "creationTimestamp": 5 } }),
            (
                500,
                "failed to convert new object (/; /v1, Kind=ConfigMap) to proper version: unable to convert unstructured \
                 object to /v1, Kind=ConfigMap: json: cannot unmarshal number into Go value of type string",
            ),
        ),
        (
            json!({ "metadata": { "namespace": "b" } }),
            (400, "the namespace of the provided object does not match the namespace sent on the request"),
        ),
        (json!({ "apiVersion": "a/b/c" }), (400, "invalid object type: /, Kind=")),
    ] {
        let mut whole = json!({ "apiVersion": "v1", "kind": "ConfigMap" });
        whole.as_object_mut().expect("an object").extend(config.as_object().expect("an object").clone());
        let (_, status) = client.send(Method::PATCH, path, APPLY, whole).await;
        assert_eq!(told(&status), expect, "{config}");
    }
}

#[tokio::test]
async fn a_version_of_an_object_to_be_created_is_looked_at_last() {
    let mut client = Client::new().await;
    let of = |name: Value, version: &str| json!({ "metadata": { "name": name, "resourceVersion": version } });
    let (_, status) = client.json(Method::POST, MAPS, of(json!("a"), "7")).await;
    assert_eq!(told(&status), (400, "resourceVersion should not be set on objects to be created"));
    let (_, status) = client.json(Method::POST, MAPS, of(Value::Null, "7")).await;
    let expect = r#"ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required"#;
    assert_eq!(told(&status), (422, expect));
    let (code, _) = client.send(Method::POST, MAPS, JSON, of(json!("a"), "x")).await;
    assert_eq!(code, StatusCode::CREATED);
}
