//! `defaultbinder/default_binder_test.go`: what is posted where, and what comes of an answer.

use std::sync::Arc;

use expect_test::expect;
use http::{Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{World, pod};
use crate::{
    events::Recorder,
    framework::{extension::Binding, under_way::UnderWay},
};

/// Binds a pod on a server that gives this answer; returns the request, and what the plugin says.
async fn bound(code: u16, answer: Value) -> (String, Result<(), String>) {
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = seen.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (noted, answer) = (noted.clone(), answer.to_string());
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect_bytes().await?;
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            *noted.lock() = format!("{line}\n{body}");
            let response = Response::builder().status(code).body(Body::from(answer.into_bytes()));
            Ok::<_, kube::Error>(response.expect("a response"))
        }
    });
    let mut world = World::new("DefaultBinder", json!(null));
    let pod = world.cache.read_pod(&pod("foo", json!({"namespace": "ns", "uid": "1-2-3"})));
    let client = kube::Client::new(service, "default");
    let node_name: Arc<str> = Arc::from("foohost.kubernetes.mydomain.com");
    let under_way = Arc::new(UnderWay::new(pod.clone(), node_name.clone(), Vec::new()));
    let (kept, recorder, metrics) = (Arc::default(), Recorder::unheard(), Arc::default());
    let binding = Binding { client, pod, node_name, kept, under_way, recorder, metrics };
    let result = world.plugin.bind().expect("it binds").bind(&binding).await;
    (seen.lock().clone(), result)
}

#[tokio::test]
async fn a_binding_is_posted_to_the_pod() {
    let (request, result) = bound(201, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})).await;
    expect![[r#"
        POST /api/v1/namespaces/ns/pods/foo/binding?
        {"apiVersion":"v1","kind":"Binding","metadata":{"name":"foo","namespace":"ns","uid":"1-2-3"},"target":{"kind":"Node","name":"foohost.kubernetes.mydomain.com"}}"#]]
    .assert_eq(&request);
    assert_eq!(result, Ok(()));
}

#[tokio::test]
async fn a_refusal_is_told_in_the_servers_words() {
    let message = "Operation cannot be fulfilled on pods/binding \"foo\": pod foo is already assigned to node \"a\"";
    let answer = json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": message});
    assert_eq!(bound(409, answer).await.1, Err(message.to_owned()));
}
