//! Server-side apply, and managedFields of other writes, as clients see them.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Client;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MERGE: &str = "application/merge-patch+json";

async fn apply(client: &mut Client, path: &str, config: Value) -> (StatusCode, Value) {
    client.send(Method::PATCH, path, "application/apply-patch+yaml", config).await
}

fn deployment(spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
        "spec": {
            "selector": { "matchLabels": { "app": "x" } },
            "template": {
                "metadata": { "labels": { "app": "x" } },
                "spec": { "containers": [{ "name": "c", "image": "i" }] },
            },
        },
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    object
}

fn entry<'v>(object: &'v Value, manager: &str) -> &'v Value {
    let entries = object["metadata"]["managedFields"].as_array().map_or(&[][..], Vec::as_slice);
    entries.iter().find(|e| e["manager"] == manager).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn an_apply_creates_updates_and_leaves_alone() {
    let mut client = Client::new().await;
    let path = &format!("{DEPLOYMENTS}/d?fieldManager=a");
    let (code, made) = apply(&mut client, path, deployment(json!({ "replicas": 2 }))).await;
    assert_eq!((code, &made["spec"]["strategy"]["type"]), (StatusCode::CREATED, &json!("RollingUpdate")), "{made}");
    let fields = &entry(&made, "a")["fieldsV1"]["f:spec"];
    assert_eq!((&fields["f:replicas"], fields.get("f:strategy")), (&json!({}), None), "nobody applied the default");
    let (code, same) = apply(&mut client, path, deployment(json!({ "replicas": 2 }))).await;
    assert_eq!((code, &same), (StatusCode::OK, &made), "nothing is written");
    let (_, dry) = apply(&mut client, &format!("{path}&dryRun=All"), deployment(json!({ "replicas": 9 }))).await;
    assert_eq!(dry["spec"]["replicas"], 9);
    let (code, scaled) = apply(&mut client, path, deployment(json!({ "replicas": 3 }))).await;
    assert_eq!((code, &scaled["metadata"]["generation"]), (StatusCode::OK, &json!(2)), "the dry run kept nothing");
    let (_, plain) = apply(&mut client, path, deployment(json!({}))).await;
    assert_eq!(plain["spec"]["replicas"], 1, "what nobody applies any more is defaulted");
}

#[tokio::test]
async fn conflicts_name_the_manager_and_the_field() {
    let mut client = Client::new().await;
    let (_, _) = client.json(Method::POST, DEPLOYMENTS, deployment(json!({ "replicas": 1 }))).await;
    let path = &format!("{DEPLOYMENTS}/d?fieldManager=b");
    let (code, refused) = apply(&mut client, path, deployment(json!({ "replicas": 5 }))).await;
    assert_eq!((code, &refused["reason"]), (StatusCode::CONFLICT, &json!("Conflict")));
    let message = r#"Apply failed with 1 conflict: conflict with "tester" using apps/v1: .spec.replicas"#;
    assert_eq!(refused["message"], message);
    let cause = json!({
        "reason": "FieldManagerConflict",
        "message": "conflict with \"tester\" using apps/v1", "field": ".spec.replicas",
    });
    assert_eq!(refused["details"]["causes"], json!([cause]));
    let (code, forced) = apply(&mut client, &format!("{path}&force=true"), deployment(json!({ "replicas": 5 }))).await;
    assert_eq!((code, &forced["spec"]["replicas"]), (StatusCode::OK, &json!(5)));
    assert_eq!(entry(&forced, "tester")["fieldsV1"]["f:spec"].get("f:replicas"), None);
}

#[tokio::test]
async fn what_is_wrong_with_an_apply_is_said() {
    let mut client = Client::new().await;
    let path = &format!("{DEPLOYMENTS}/d?fieldManager=a");
    let (code, refused) = apply(&mut client, &format!("{DEPLOYMENTS}/d"), deployment(json!({}))).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let message =
        r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#;
    assert_eq!(refused["message"], message);
    let changed = |change: fn(&mut Value)| {
        let mut object = deployment(json!({}));
        change(&mut object);
        object
    };
    for (config, code, message) in [
        (changed(|o| o["kind"] = json!("Foo")), 400, "invalid object type: apps/v1, Kind=Foo"),
        (
            changed(|o| o["metadata"]["name"] = json!("e")),
            400,
            "the name of the object (e) does not match the name on the URL (d)",
        ),
        (
            changed(|o| o["metadata"] = json!({})),
            400,
            "the name of the object (d based on URL) was undeterminable: name must be provided",
        ),
        (changed(|o| o["metadata"]["managedFields"] = json!([{}])), 400, "metadata.managedFields must be nil"),
        (
            changed(|o| o["metadata"]["uid"] = json!("u")),
            409,
            "Operation cannot be fulfilled on deployments.apps \"d\": uid mismatch: the provided object specified uid u, and no existing object was found",
        ),
        (
            changed(|o| o["spec"]["foo"] = json!(1)),
            500,
            "failed to create typed patch object (/d; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema",
        ),
        (
            changed(|o| o["spec"]["replicas"] = json!("x")),
            500,
            "failed to create typed patch object (/d; apps/v1, Kind=Deployment): .spec.replicas: expected numeric (int or float), got string",
        ),
        (
            json!([]),
            400,
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
    ] {
        let (status, refused) = apply(&mut client, path, config).await;
        assert_eq!((status.as_u16(), refused["message"].as_str()), (code, Some(message)), "{refused}");
    }
    let (code, refused) = client.send(Method::PATCH, path, "application/apply-patch+cbor", json!("x")).await;
    assert_eq!((code, &refused["reason"]), (StatusCode::UNSUPPORTED_MEDIA_TYPE, &json!("UnsupportedMediaType")));
    let (code, _) = apply(&mut client, &format!("{DEPLOYMENTS}/d/status?fieldManager=a"), deployment(json!({}))).await;
    assert_eq!(code, StatusCode::NOT_FOUND, "a part is not made without its object");
}

#[tokio::test]
async fn parts_have_owners_of_their_own() {
    let mut client = Client::new().await;
    let (_, _) =
        apply(&mut client, &format!("{DEPLOYMENTS}/d?fieldManager=a"), deployment(json!({ "replicas": 1 }))).await;
    let status = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "labels": { "no": "owner" } }, "spec": { "replicas": 9 }, "status": { "replicas": 1 },
    });
    let (code, object) = apply(&mut client, &format!("{DEPLOYMENTS}/d/status?fieldManager=s"), status).await;
    assert_eq!((code, &object["spec"]["replicas"]), (StatusCode::OK, &json!(1)), "{object}");
    let own = entry(&object, "s");
    assert_eq!(
        (&own["subresource"], &own["fieldsV1"]),
        (&json!("status"), &json!({ "f:status": { "f:replicas": {} } }))
    );

    let scale = |replicas| json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "d" }, "spec": { "replicas": replicas } });
    let path = &format!("{DEPLOYMENTS}/d/scale?fieldManager=sc");
    let (code, answer) = client.json(Method::PUT, path, scale(4)).await;
    assert_eq!((code, &answer["spec"]["replicas"]), (StatusCode::OK, &json!(4)), "{answer}");
    let (_, object) = client.json(Method::GET, &format!("{DEPLOYMENTS}/d"), Value::Null).await;
    let own = entry(&object, "sc");
    assert_eq!(
        (&own["subresource"], &own["apiVersion"], &own["fieldsV1"]),
        (&json!("scale"), &json!("apps/v1"), &json!({ "f:spec": { "f:replicas": {} } }))
    );
    let (code, refused) = apply(&mut client, &format!("{DEPLOYMENTS}/d/scale?fieldManager=sa"), scale(5)).await;
    assert_eq!(code, StatusCode::CONFLICT);
    let message = r#"Apply failed with 1 conflict: conflict with "sc" with subresource "scale" using autoscaling/v1: .spec.replicas"#;
    assert_eq!(refused["message"], message);
    let path = &format!("{DEPLOYMENTS}/d/scale?fieldManager=sa&force=true");
    let (code, _) = apply(&mut client, path, scale(5)).await;
    assert_eq!(code, StatusCode::OK);
    let (_, object) = client.json(Method::GET, &format!("{DEPLOYMENTS}/d"), Value::Null).await;
    assert_eq!((&entry(&object, "sa")["operation"], entry(&object, "sc")), (&json!("Apply"), &Value::Null));
}

#[tokio::test]
async fn clients_may_set_managed_fields_and_forget_them() {
    let mut client = Client::new().await;
    let (_, _) = client.json(Method::POST, DEPLOYMENTS, deployment(json!({}))).await;
    let path = &format!("{DEPLOYMENTS}/d?fieldManager=m");
    let list = |manager: &str| json!([{ "manager": manager, "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:replicas": {} } } }]);
    let (_, set) =
        client.send(Method::PATCH, path, MERGE, json!({ "metadata": { "managedFields": list("own") } })).await;
    assert_eq!(set["metadata"]["managedFields"], list("own"));
    let broken = json!({ "metadata": { "managedFields": [{ "manager": "x", "operation": "No" }] } });
    let (_, kept) = client.send(Method::PATCH, path, MERGE, broken).await;
    assert_eq!(kept["metadata"]["managedFields"], list("own"), "what makes no sense is passed over");
    for nothing in [json!([{}]), json!([])] {
        let (_, _) =
            client.send(Method::PATCH, path, MERGE, json!({ "metadata": { "managedFields": list("own") } })).await;
        let (_, reset) =
            client.send(Method::PATCH, path, MERGE, json!({ "metadata": { "managedFields": nothing } })).await;
        assert_eq!(reset["metadata"].get("managedFields"), None);
    }
    let (_, untracked) = client.send(Method::PATCH, path, MERGE, json!({ "spec": { "replicas": 3 } })).await;
    assert_eq!(untracked["metadata"].get("managedFields"), None, "an untracked object stays one");
    let (_, applied) = apply(&mut client, path, deployment(json!({}))).await;
    assert_eq!(entry(&applied, "before-first-apply")["operation"], "Update");
}

#[tokio::test]
async fn nobody_owns_what_the_server_fills_in_or_a_zero() {
    let mut client = Client::new().await;
    let job = json!({
        "metadata": { "name": "j" },
        "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } } },
    });
    let (_, job) = client.json(Method::POST, "/apis/batch/v1/namespaces/default/jobs", job).await;
    assert!(job["spec"]["selector"]["matchLabels"].is_object(), "{job}");
    assert_eq!(entry(&job, "tester")["fieldsV1"]["f:spec"].get("f:selector"), None);
    let (_, made) = client.json(Method::POST, DEPLOYMENTS, deployment(json!({ "paused": false }))).await;
    assert_eq!(entry(&made, "tester")["fieldsV1"]["f:spec"].get("f:paused"), None);
    let path = &format!("{DEPLOYMENTS}/d");
    let (_, same) = client.send(Method::PATCH, path, MERGE, json!({ "spec": { "paused": false } })).await;
    assert_eq!(same, made);
}
