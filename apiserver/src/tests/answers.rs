//! What clients are answered of custom resources, as far as published definitions showed that it was not what upstream's server
//! answers: defaults of what a write leaves out, nulls, warnings of refusals, versions that differ.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Client;
use super::custom_resources::established;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const PUMPS: &str = "/apis/example.com/v1/namespaces/default/pumps";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";

fn version(name: &str, storage: bool, properties: &Value) -> Value {
    json!({ "name": name, "served": true, "storage": storage, "subresources": { "status": {} },
        "schema": { "openAPIV3Schema": { "type": "object", "properties": properties } } })
}

fn definition(versions: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "pumps.example.com" },
        "spec": { "group": "example.com", "scope": "Namespaced", "names": { "plural": "pumps", "kind": "Pump" },
            "versions": versions },
    })
}

fn pump(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "example.com/v1", "kind": "Pump", "metadata": { "name": name }, "spec": spec })
}

#[tokio::test]
async fn an_answer_to_a_write_is_the_object_as_it_will_be_read() {
    let mut client = Client::new().await;
    let state = json!({ "type": "object", "default": { "state": "waiting" },
        "properties": { "state": { "type": "string" } } });
    let spec = json!({ "type": "object", "properties": { "size": { "type": "integer" } } });
    let properties = json!({ "spec": spec, "status": state });
    established(&mut client, definition(json!([version("v1", true, &properties)]))).await;
    let (code, dry) = client.json(Method::POST, &format!("{PUMPS}?dryRun=All"), pump("a", json!({}))).await;
    assert_eq!((code, &dry["status"]["state"]), (StatusCode::CREATED, &json!("waiting")));
    assert_eq!(dry["metadata"].get("resourceVersion"), None, "nothing was stored: {dry}");
    let (_, made) = client.json(Method::POST, PUMPS, pump("a", json!({}))).await;
    let (_, read) = client.json(Method::GET, &format!("{PUMPS}/a"), Value::Null).await;
    assert_eq!((&made["status"]["state"], &made), (&json!("waiting"), &read));
    let (code, refused) = client.json(Method::PUT, &format!("{PUMPS}/a"), pump("a", json!({}))).await;
    let message = "pumps.example.com \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update";
    assert_eq!((code, &refused["message"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(message)));
}

#[tokio::test]
async fn a_null_that_is_applied_is_a_fault_and_one_that_is_sent_is_nothing() {
    let mut client = Client::new().await;
    let spec = json!({ "type": "object", "properties": {
        "size": { "type": "integer" }, "kept": { "type": "string", "default": "d" } } });
    established(&mut client, definition(json!([version("v1", true, &json!({ "spec": spec }))]))).await;
    let path = format!("{PUMPS}/a?fieldManager=m");
    let (code, refused) = client.send(Method::PATCH, &path, APPLY, pump("a", json!({ "size": null }))).await;
    let fault = "spec.size: Invalid value: \"null\": spec.size in body must be of type integer: \"null\"";
    let message = refused["message"].as_str().expect("a message");
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert!(message.ends_with(fault), "{message}");
    let (code, made) = client.send(Method::PATCH, &path, APPLY, pump("a", json!({ "kept": null }))).await;
    assert_eq!((code, &made["spec"]), (StatusCode::CREATED, &json!({ "kept": "d" })), "{made}");
    let (code, made) = client.json(Method::POST, PUMPS, pump("b", json!({ "size": null }))).await;
    assert_eq!((code, &made["spec"]), (StatusCode::CREATED, &json!({ "kept": "d" })), "{made}");
}

#[tokio::test]
async fn owners_of_an_object_with_a_status_that_is_none_are_not_told() {
    let mut client = Client::new().await;
    let parts = json!({ "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
        "items": { "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } } } });
    let since = json!({ "type": "string", "format": "date-time" });
    let status = json!({ "type": "object", "properties": { "parts": parts, "since": since } });
    established(&mut client, definition(json!([version("v1", true, &json!({ "status": status }))]))).await;
    for (name, status, owned) in [
        ("a", json!({ "parts": [{ "id": "x" }, { "id": "x" }] }), true),
        ("b", json!({ "parts": [{}] }), false),
        ("c", json!({ "since": 1.5 }), true),
    ] {
        let mut object = pump(name, json!({}));
        object["status"] = status;
        object["metadata"]["labels"] = json!({ "x": "y" });
        let (code, made) = client.json(Method::POST, PUMPS, object).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
        assert_eq!(made["metadata"].get("managedFields").is_some(), owned, "{made}");
    }
    let (_, mut a) = client.json(Method::GET, &format!("{PUMPS}/a"), Value::Null).await;
    a["status"] = json!({ "parts": "none" });
    let (code, a) = client.json(Method::PUT, &format!("{PUMPS}/a"), a).await;
    assert_eq!((code, a["metadata"].get("managedFields")), (StatusCode::OK, None), "{a}");
}

#[tokio::test]
async fn refusals_carry_warnings_and_forgiven_rules_are_warned_of() {
    let mut client = Client::new().await;
    let spec = json!({ "type": "object", "properties": { "size": { "type": "integer" } } });
    let mut first = version("v1", true, &json!({ "spec": spec }));
    first["deprecated"] = json!(true);
    established(&mut client, definition(json!([first.clone()]))).await;
    let deprecated = "299 - \"example.com/v1 Pump is deprecated\"";
    let (code, _, told) = client.warned(Method::GET, &format!("{PUMPS}/none"), JSON, Value::Null).await;
    assert_eq!((code, told), (StatusCode::NOT_FOUND, vec![deprecated.to_owned()]));
    let mut wrong = pump("Not_A_Name", json!({ "size": 9, "more": 1 }));
    let (code, _, told) = client.warned(Method::POST, PUMPS, JSON, wrong.clone()).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(told, [deprecated, "299 - \"unknown field \\\"spec.more\\\"\""]);

    wrong["metadata"]["name"] = json!("a");
    client.json(Method::POST, PUMPS, wrong).await;
    let rules = json!([{ "rule": "self.size < 5", "message": "too large" }]);
    first["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = rules;
    let change = json!({ "spec": { "versions": [first] } });
    let path = format!("{DEFINITIONS}/pumps.example.com");
    let (code, changed) = client.send(Method::PATCH, &path, MERGE, change).await;
    assert_eq!(code, StatusCode::OK, "{changed}");
    // The new schema is served a moment later: until then nothing is forgiven, since nothing is wrong.
    for at in 0.. {
        let label = json!({ "metadata": { "labels": { "at": at.to_string() } } });
        let (code, _, told) = client.warned(Method::PATCH, &format!("{PUMPS}/a"), MERGE, label).await;
        assert_eq!(code, StatusCode::OK);
        if told.len() > 1 {
            assert_eq!(told, [deprecated, "299 - \"spec: Invalid value: too large\""]);
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn versions_that_differ_by_name_show_what_each_of_them_knows() {
    let mut client = Client::new().await;
    let text = json!({ "type": "string" });
    let of = |properties: Value| json!({ "spec": { "type": "object", "properties": properties } });
    let v1 = of(json!({ "both": { "type": "string", "default": "first" }, "one": text }));
    let v2 = of(json!({ "both": text, "two": { "type": "string", "default": "second" } }));
    established(&mut client, definition(json!([version("v1", true, &v1), version("v2", false, &v2)]))).await;
    let second = PUMPS.replace("/v1/", "/v2/");
    client.json(Method::POST, PUMPS, pump("a", json!({ "one": "x" }))).await;
    let (_, a) = client.json(Method::GET, &format!("{second}/a"), Value::Null).await;
    assert_eq!(a["spec"], json!({ "both": "first" }), "of another version nothing is made up");
    let mut b = pump("b", json!({ "two": "y" }));
    b["apiVersion"] = json!("example.com/v2");
    let (code, b) = client.json(Method::POST, &second, b).await;
    assert_eq!(
        (code, &b["spec"]),
        (StatusCode::CREATED, &json!({ "both": "first" })),
        "the stored version knows no two"
    );

    let change = json!({ "spec": { "versions": [version("v1", false, &v1), version("v2", true, &v2)] } });
    let (_, changed) = client.send(Method::PATCH, &format!("{DEFINITIONS}/pumps.example.com"), MERGE, change).await;
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    // Written again, it moves to the new version; the field that this one does not know is gone then.
    let before = a["metadata"]["resourceVersion"].clone();
    for _ in 0.. {
        let (code, again) = client.json(Method::PUT, &format!("{second}/a"), a.clone()).await;
        assert_eq!(code, StatusCode::OK, "{again}");
        if again["metadata"]["resourceVersion"] != before {
            break;
        }
        tokio::task::yield_now().await;
    }
    let (_, a) = client.json(Method::GET, &format!("{PUMPS}/a"), Value::Null).await;
    assert_eq!(a["spec"]["one"], Value::Null, "{a}");
}
