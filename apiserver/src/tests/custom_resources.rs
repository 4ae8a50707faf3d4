//! Custom resources through the whole request path: a definition comes, is served, changes and goes.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Client;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const MERGE: &str = "application/merge-patch+json";

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": { "plural": "widgets", "kind": "Widget", "shortNames": ["w"], "categories": ["all"] },
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true
                } },
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.count",
                        "statusReplicasPath": ".status.count",
                        "labelSelectorPath": ".status.selector",
                    },
                },
            }],
        },
    })
}

fn condition<'v>(definition: &'v Value, kind: &str) -> &'v str {
    let found = definition["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind);
    found.and_then(|c| c["status"].as_str()).unwrap_or_default()
}

/// Waits on a watch until a definition is as wanted (`None`: gone).
async fn until(client: &Client, name: &str, wanted: impl Fn(Option<&Value>) -> bool) {
    let path = format!("{DEFINITIONS}?watch=true&fieldSelector=metadata.name%3D{name}&resourceVersion=0");
    let mut watch = client.another().await.watch(&path).await;
    let (code, now) = client.another().await.json(Method::GET, &format!("{DEFINITIONS}/{name}"), Value::Null).await;
    if wanted((code == StatusCode::OK).then_some(&now)) {
        return;
    }
    loop {
        let event = watch.next().await.expect("a definition that never becomes as wanted");
        let object = (event["type"] != "DELETED").then_some(&event["object"]);
        if wanted(object) {
            return;
        }
    }
}

pub(super) async fn established(client: &mut Client, definition: Value) {
    let name = definition["metadata"]["name"].as_str().expect("a name").to_string();
    let (code, answer) = client.json(Method::POST, DEFINITIONS, definition).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    until(client, &name, |d| d.is_some_and(|d| condition(d, "Established") == "True")).await;
}

#[tokio::test]
async fn a_resource_comes_with_its_definition_and_goes_with_it() {
    let mut client = Client::new().await;
    let (code, _) = client.json(Method::GET, WIDGETS, Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    established(&mut client, definition()).await;

    let (_, stored) = client.json(Method::GET, &format!("{DEFINITIONS}/widgets.example.com"), Value::Null).await;
    let names = &stored["status"]["acceptedNames"];
    assert_eq!((&names["listKind"], &names["singular"]), (&json!("WidgetList"), &json!("widget")));
    assert_eq!(stored["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(stored["metadata"]["generation"], 1);
    let (_, list) = client.json(Method::GET, "/apis/example.com/v1", Value::Null).await;
    let parts: Vec<&Value> = list["resources"].as_array().expect("resources").iter().map(|r| &r["name"]).collect();
    assert_eq!(parts, ["widgets", "widgets/status", "widgets/scale"]);

    let widget = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "a" },
        "spec": { "count": 2, "z": null, "nested": { "b": 1, "a": [1.5] } }, "status": { "count": 9 },
    });
    let (code, created) = client.json(Method::POST, WIDGETS, widget).await;
    assert_eq!(code, StatusCode::CREATED, "{created}");
    assert_eq!(created["metadata"]["generation"], 1);
    assert!(created.get("status").is_none(), "a status is not created with the object: {created}");
    let (_, raw) = client.text(&format!("{WIDGETS}/a")).await;
    let start = r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"creationTimestamp":"#;
    assert!(raw.starts_with(start), "members are in name order: {raw}");
    assert!(raw.contains(r#""namespace":"default","resourceVersion":""#), "{raw}");

    let (_, list) = client.text(WIDGETS).await;
    assert!(list.starts_with(r#"{"apiVersion":"example.com/v1","items":[{"apiVersion":"example.com/v1","#), "{list}");
    assert!(list.contains(r#"],"kind":"WidgetList","metadata":{"continue":"","resourceVersion":""#), "{list}");

    // A definition that is deleted takes its objects with it; its watches end.
    let mut watch = client.another().await.watch(&format!("{WIDGETS}?watch=true")).await;
    assert_eq!(watch.next().await.expect("the object")["type"], "ADDED");
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let (code, marked) = client.json(Method::DELETE, &path, Value::Null).await;
    assert_eq!((code, condition(&marked, "Terminating")), (StatusCode::OK, "True"), "{marked}");
    assert_eq!(watch.next().await.expect("its end")["type"], "DELETED");
    assert!(watch.next().await.is_none(), "the watch ends");
    until(&client, "widgets.example.com", |d| d.is_none()).await;
    let (code, _) = client.json(Method::GET, WIDGETS, Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn status_and_scale_are_parts_of_their_own() {
    let mut client = Client::new().await;
    established(&mut client, definition()).await;
    let path = &format!("{WIDGETS}/a");
    client
        .json(
            Method::POST,
            WIDGETS,
            json!({ "apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": { "name": "a" }, "spec": { "count": 2 } }),
        )
        .await;

    let change = json!({ "metadata": { "labels": { "x": "1" } }, "spec": { "count": 5 },
        "status": { "count": 2, "selector": "a=b" } });
    let (code, updated) = client.send(Method::PATCH, &format!("{path}/status"), MERGE, change).await;
    assert_eq!(code, StatusCode::OK, "{updated}");
    assert_eq!(updated["status"], json!({ "count": 2, "selector": "a=b" }));
    assert_eq!((&updated["spec"]["count"], &updated["metadata"]["generation"]), (&json!(2), &json!(1)));
    assert!(updated["metadata"].get("labels").is_none(), "nor the labels: {updated}");

    let (code, scale) = client.json(Method::GET, &format!("{path}/scale"), Value::Null).await;
    assert_eq!(code, StatusCode::OK, "{scale}");
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({ "replicas": 2 }), &json!({ "replicas": 2, "selector": "a=b" }))
    );
    let (code, scale) =
        client.send(Method::PATCH, &format!("{path}/scale"), MERGE, json!({ "spec": { "replicas": 3 } })).await;
    assert_eq!((code, &scale["spec"]["replicas"]), (StatusCode::OK, &json!(3)), "{scale}");
    let (_, scaled) = client.json(Method::GET, path, Value::Null).await;
    assert_eq!((&scaled["spec"]["count"], &scaled["metadata"]["generation"]), (&json!(3), &json!(2)));
    let owners = scaled["metadata"]["managedFields"].as_array().expect("owners");
    let scaler = owners.iter().find(|entry| entry["subresource"] == "scale").expect("who scaled");
    assert_eq!(scaler["apiVersion"], "example.com/v1", "in the version of the object: {scaler}");
    assert_eq!(scaler["fieldsV1"], json!({ "f:spec": { "f:count": {} } }), "where it has its replicas");
    let config = json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "a" }, "spec": { "count": 7 } });
    let apply = "application/apply-patch+yaml";
    let (code, refused) = client.send(Method::PATCH, &format!("{path}?fieldManager=x"), apply, config).await;
    assert_eq!(code, StatusCode::CONFLICT, "{refused}");
    assert_eq!(refused["details"]["causes"][0]["field"], ".spec.count");
    let strategic = "application/strategic-merge-patch+json";
    let (code, _) = client.send(Method::PATCH, &format!("{path}/scale"), strategic, json!({})).await;
    assert_eq!(code, StatusCode::UNSUPPORTED_MEDIA_TYPE, "it takes a type to know merge keys");

    let (code, refused) = client.send(Method::PATCH, path, MERGE, json!({ "spec": { "count": -1 } })).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let message = refused["message"].as_str().expect("a message");
    assert!(message.ends_with("Invalid value: -1: should be a non-negative integer"), "{message}");
    let strategic = "application/strategic-merge-patch+json";
    let (code, refused) = client.send(Method::PATCH, path, strategic, json!({ "spec": {} })).await;
    assert_eq!(code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let message = "the body of the request was in an unknown format - accepted media types include: \
        application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    assert_eq!(refused["message"], message);
}

#[tokio::test]
async fn a_second_definition_of_the_same_kind_waits_for_the_name() {
    let mut client = Client::new().await;
    established(&mut client, definition()).await;
    let mut other = definition();
    other["metadata"]["name"] = json!("gadgets.example.com");
    other["spec"]["names"]["plural"] = json!("gadgets");
    let (code, _) = client.json(Method::POST, DEFINITIONS, other).await;
    assert_eq!(code, StatusCode::CREATED);
    until(&client, "gadgets.example.com", |d| d.is_some_and(|d| condition(d, "NamesAccepted") == "False")).await;
    let (code, _) = client.json(Method::GET, "/apis/example.com/v1/gadgets", Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    client.json(Method::DELETE, &format!("{DEFINITIONS}/widgets.example.com"), Value::Null).await;
    until(&client, "gadgets.example.com", |d| d.is_some_and(|d| condition(d, "Established") == "True")).await;
    let (code, _) = client.json(Method::GET, "/apis/example.com/v1/gadgets", Value::Null).await;
    assert_eq!(code, StatusCode::OK);
}

#[tokio::test]
async fn versions_share_their_objects() {
    let mut client = Client::new().await;
    let mut both = definition();
    let mut old = both["spec"]["versions"][0].clone();
    old["name"] = json!("v1beta1");
    old["storage"] = json!(false);
    old["deprecated"] = json!(true);
    both["spec"]["versions"].as_array_mut().expect("versions").push(old);
    established(&mut client, both).await;
    let beta = WIDGETS.replace("v1", "v1beta1");
    let (code, created) = client
        .json(
            Method::POST,
            &beta,
            json!({ "apiVersion": "example.com/v1beta1", "kind": "Widget",
            "metadata": { "name": "a" }, "spec": { "count": 1 } }),
        )
        .await;
    assert_eq!((code, &created["apiVersion"]), (StatusCode::CREATED, &json!("example.com/v1beta1")), "{created}");
    for (path, version) in [(WIDGETS, "example.com/v1"), (beta.as_str(), "example.com/v1beta1")] {
        let (_, got) = client.json(Method::GET, &format!("{path}/a"), Value::Null).await;
        assert_eq!((&got["apiVersion"], &got["spec"]["count"]), (&json!(version), &json!(1)));
        let (_, list) = client.json(Method::GET, path, Value::Null).await;
        assert_eq!((&list["apiVersion"], &list["items"][0]["apiVersion"]), (&json!(version), &json!(version)));
    }
    let (_, group) = client.json(Method::GET, "/apis/example.com", Value::Null).await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let (headers, _) = client.text(&format!("{beta}/a")).await;
    let warning = "299 - \"example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget\"";
    assert_eq!(headers.get("warning").and_then(|v| v.to_str().ok()), Some(warning));
}

#[tokio::test]
async fn objects_with_finalizers_hold_the_definition_and_nothing_new_is_made() {
    let mut client = Client::new().await;
    established(&mut client, definition()).await;
    let widget = |name: &str| {
        json!({ "apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": { "name": name, "finalizers": ["example.com/x"] } })
    };
    client.json(Method::POST, WIDGETS, widget("a")).await;
    client.json(Method::DELETE, &format!("{DEFINITIONS}/widgets.example.com"), Value::Null).await;
    let in_progress = |d: Option<&Value>| {
        d.is_some_and(|d| d["status"]["conditions"].to_string().contains("InstanceDeletionInProgress"))
    };
    until(&client, "widgets.example.com", in_progress).await;
    let (code, refused) = client.json(Method::POST, WIDGETS, widget("b")).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    let message =
        "widgets.example.com \"b\" is forbidden: create not allowed while custom resource definition is terminating";
    assert_eq!(refused["message"], message);
    let (_, list) = client.json(Method::GET, "/apis/example.com/v1", Value::Null).await;
    assert_eq!(list["resources"][0]["verbs"], json!(["delete", "deletecollection", "get", "list", "watch"]));
    let none = json!({ "metadata": { "finalizers": null } });
    let (code, last) = client.send(Method::PATCH, &format!("{WIDGETS}/a"), MERGE, none).await;
    assert_eq!(code, StatusCode::OK, "{last}");
    until(&client, "widgets.example.com", |d| d.is_none()).await;
}

#[tokio::test]
async fn objects_follow_the_schema_and_are_owned_by_it() {
    let mut client = Client::new().await;
    let mut strict = definition();
    strict["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({
        "type": "object",
        "properties": {
            "spec": { "type": "object", "required": ["size"], "properties": {
                "size": { "type": "integer", "maximum": 5 },
                "color": { "type": "string", "default": "red" },
                "parts": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": { "type": "object", "required": ["name"], "properties": {
                        "name": { "type": "string" }, "n": { "type": "integer" }
                    } },
                },
                "count": { "type": "integer" },
            } },
            "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        },
    });
    strict["spec"]["versions"][0]["selectableFields"] = json!([{ "jsonPath": ".spec.color" }]);
    strict["spec"]["versions"][0]["additionalPrinterColumns"] =
        json!([{ "name": "Size", "type": "integer", "jsonPath": ".spec.size" }]);
    established(&mut client, strict).await;

    let widget = |name: &str, spec: Value| {
        json!({ "apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": { "name": name }, "spec": spec })
    };
    let (code, a) = client.json(Method::POST, WIDGETS, widget("a", json!({ "size": 1, "nope": true }))).await;
    assert_eq!((code, &a["spec"]), (StatusCode::CREATED, &json!({ "size": 1, "color": "red" })), "{a}");
    let strictly = format!("{WIDGETS}?fieldValidation=Strict");
    let (code, refused) = client.json(Method::POST, &strictly, widget("b", json!({ "size": 1, "nope": true }))).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    let message = refused["message"].as_str().expect("a message");
    assert!(message.ends_with("strict decoding error: unknown field \"spec.nope\""), "{message}");
    let (code, refused) = client.json(Method::POST, WIDGETS, widget("b", json!({ "size": 9 }))).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let message = "Widget.example.com \"b\" is invalid: spec.size: Invalid value: 9: \
        spec.size in body should be less than or equal to 5";
    assert_eq!(refused["message"], message);
    let (code, refused) = client.json(Method::POST, WIDGETS, widget("b", json!({}))).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");

    client.json(Method::POST, WIDGETS, widget("blue", json!({ "size": 2, "color": "blue" }))).await;
    let (_, blue) = client.json(Method::GET, &format!("{WIDGETS}?fieldSelector=spec.color%3Dblue"), Value::Null).await;
    assert_eq!(
        (blue["items"].as_array().map(Vec::len), &blue["items"][0]["metadata"]["name"]),
        (Some(1), &json!("blue"))
    );
    let (code, refused) =
        client.json(Method::GET, &format!("{WIDGETS}?fieldSelector=spec.size%3D1"), Value::Null).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert!(
        refused["message"].as_str().is_some_and(|m| m.ends_with("field label not supported: spec.size")),
        "{refused}"
    );

    let apply = |manager: &str| format!("{WIDGETS}/s?fieldManager={manager}");
    let part = |name: &str, n: i64| json!({ "size": 1, "parts": [{ "name": name, "n": n }] });
    let patch = "application/apply-patch+yaml";
    let (code, one) = client.send(Method::PATCH, &apply("one"), patch, widget("s", part("x", 1))).await;
    assert_eq!(code, StatusCode::CREATED, "{one}");
    let (code, two) = client.send(Method::PATCH, &apply("two"), patch, widget("s", part("y", 2))).await;
    assert_eq!(code, StatusCode::OK, "{two}");
    assert_eq!(two["spec"]["parts"], json!([{ "name": "x", "n": 1 }, { "name": "y", "n": 2 }]), "merged by key");
    let (code, conflict) = client.send(Method::PATCH, &apply("two"), patch, widget("s", part("x", 3))).await;
    assert_eq!(code, StatusCode::CONFLICT, "{conflict}");
}
