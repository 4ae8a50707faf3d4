//! Deletes that do not end at once, and what becomes of dependents.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Client;

/// An object with a finalizer, and the path of its kind in the version that it is deleted in.
async fn created(client: &mut Client, path: &str, spec: Value) {
    let object = json!({ "metadata": { "name": "a", "finalizers": ["example.com/x"] }, "spec": spec });
    let (code, answer) = client.json(Method::POST, path, object).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
}

#[tokio::test]
async fn a_delete_in_another_version_keeps_what_that_version_lacks() {
    let mut client = Client::new().await;
    let of = |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    let metric = json!({ "type": "Resource",
        "resource": { "name": "memory", "target": { "type": "Utilization", "averageUtilization": 50 } } });
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "d" });
    let spec = json!({ "maxReplicas": 3, "scaleTargetRef": target, "metrics": [metric] });
    created(&mut client, &of("v2"), spec).await;
    let (code, marked) = client.json(Method::DELETE, &format!("{}/a", of("v1")), Value::Null).await;
    assert_eq!((code, &marked["apiVersion"]), (StatusCode::OK, &json!("autoscaling/v1")), "{marked}");
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
    let (_, kept) = client.json(Method::GET, &format!("{}/a", of("v2")), Value::Null).await;
    assert_eq!(kept["spec"]["metrics"], json!([metric]), "{kept}");
    assert!(kept["metadata"]["deletionTimestamp"].is_string(), "{kept}");
    let remove = json!([{ "op": "remove", "path": "/metadata/finalizers" }]);
    let path = &format!("{}/a", of("v1"));
    let (code, last) = client.send(Method::PATCH, path, "application/json-patch+json", remove).await;
    assert_eq!((code, &last["apiVersion"]), (StatusCode::OK, &json!("autoscaling/v1")));
    let (code, _) = client.json(Method::GET, path, Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn dependents_of_old_kinds_stay_where_nothing_is_said() {
    let template = json!({ "metadata": { "labels": { "a": "b" } },
        "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } });
    let mut always = template.clone();
    always["spec"]["restartPolicy"] = json!("Always");
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let controllers = "/api/v1/namespaces/default/replicationcontrollers";
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let selector = json!({ "matchLabels": { "a": "b" } });
    let warning = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
        remove them or set propagationPolicy=Orphan to suppress this warning";
    let options = |policy: &str| json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy });
    let orphan = json!(["example.com/x", "orphan"]);
    let own = json!(["example.com/x"]);
    for (path, spec, body, finalizers, told) in [
        (jobs, json!({ "template": template }), Value::Null, &orphan, Some(warning)),
        (jobs, json!({ "template": template }), options("Background"), &own, None),
        (jobs, json!({ "template": template }), options("Orphan"), &orphan, None),
        (controllers, json!({ "template": always, "selector": { "a": "b" } }), Value::Null, &orphan, None),
        (controllers, json!({ "template": always, "selector": { "a": "b" } }), options("Background"), &own, None),
        (sets, json!({ "template": always, "selector": selector }), Value::Null, &own, None),
    ] {
        let mut client = Client::new().await;
        created(&mut client, path, spec).await;
        let path = format!("{path}/a");
        let (code, marked, warnings) = client.warned(Method::DELETE, &path, "application/json", body.clone()).await;
        assert_eq!((code, &marked["metadata"]["finalizers"]), (StatusCode::OK, finalizers), "{path} {body}");
        let expect: Vec<String> = told.into_iter().map(|text| format!("299 - \"{text}\"")).collect();
        assert_eq!(warnings, expect, "{path} {body}");
    }
}
