//! Versions that a webhook converts, through the whole request path: the webhook is a real one, on the loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::custom_resources::established;
use super::{Client, Watch};

/// A webhook that joins `host` and `port` of v2 into `hostPort` of v1, and takes them apart again.
struct Webhook {
    address: SocketAddr,
    ca: String,
    calls: Arc<AtomicUsize>,
}

impl Webhook {
    async fn start() -> Self {
        let pair = component::tls::pki::self_signed("webhook", &["127.0.0.1".into()], time::OffsetDateTime::now_utc())
            .expect("a certificate");
        let key = component::tls::certified_key(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes()).expect("a key");
        let resolver = Arc::new(component::tls::Fixed(Arc::new(key)));
        let config = component::tls::server_config(resolver, None).expect("a configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counted) = (acceptor.clone(), counted.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.expect("a handshake");
                    let service = service_fn(move |request| answer(request, counted.clone()));
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self { address, ca: STANDARD.encode(&pair.cert_pem), calls }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn definition(&self) -> Value {
        let version = |name: &str, storage: bool, fields: &[&str]| {
            let properties: serde_json::Map<String, Value> =
                fields.iter().map(|field| (field.to_string(), json!({ "type": "string" }))).collect();
            let selectable: Vec<Value> =
                fields.iter().map(|field| json!({ "jsonPath": format!(".{field}") })).collect();
            json!({ "name": name, "served": true, "storage": storage, "selectableFields": selectable,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": properties } } })
        };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": "peers.example.com" },
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": { "plural": "peers", "kind": "Peer" },
                "versions": [version("v1", true, &["hostPort"]), version("v2", false, &["host", "port"])],
                "conversion": { "strategy": "Webhook", "webhook": {
                    "conversionReviewVersions": ["v1"],
                    "clientConfig": { "url": format!("https://{}/convert", self.address), "caBundle": self.ca },
                } },
            },
        })
    }
}

async fn answer(request: Request<Incoming>, calls: Arc<AtomicUsize>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    calls.fetch_add(1, Ordering::SeqCst);
    let mut review: Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes()).expect("a review");
    let mut objects = review["request"]["objects"].take();
    for object in objects.as_array_mut().into_iter().flatten() {
        object["apiVersion"] = review["request"]["desiredAPIVersion"].clone();
        let members = object.as_object_mut().expect("an object");
        match members.remove("hostPort") {
            Some(joined) => {
                let (host, port) = joined.as_str().and_then(|j| j.split_once(':')).unwrap_or_default();
                members.extend([("host".to_string(), host.into()), ("port".to_string(), port.into())]);
            }
            None => {
                let parts = [members.remove("host"), members.remove("port")];
                let parts = parts.map(|part| part.and_then(|p| p.as_str().map(str::to_owned)).unwrap_or_default());
                members.insert("hostPort".into(), parts.join(":").into());
            }
        }
    }
    let response =
        json!({ "uid": review["request"]["uid"], "result": { "status": "Success" }, "convertedObjects": objects });
    let answer = json!({ "apiVersion": review["apiVersion"], "kind": review["kind"], "response": response });
    Ok(Response::new(Full::new(answer.to_string().into())))
}

const V1: &str = "/apis/example.com/v1/namespaces/default/peers";
const V2: &str = "/apis/example.com/v2/namespaces/default/peers";

fn peer(name: &str, host: &str, port: &str) -> Value {
    json!({ "apiVersion": "example.com/v2", "kind": "Peer", "metadata": { "name": name }, "host": host, "port": port })
}

async fn names(client: &mut Client, path: &str) -> Vec<String> {
    let (code, list) = client.json(Method::GET, path, Value::Null).await;
    assert_eq!(code, StatusCode::OK, "{list}");
    let items = list["items"].as_array().into_iter().flatten();
    items.map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

async fn event(watch: &mut Watch) -> (String, String, Value) {
    let event = watch.next().await.expect("an event");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    (text(&event["type"]), text(&event["object"]["metadata"]["name"]), event["object"].clone())
}

#[tokio::test]
async fn fields_select_in_the_version_that_is_asked_for() {
    let webhook = Webhook::start().await;
    let mut client = Client::new().await;
    established(&mut client, webhook.definition()).await;
    let mut of_host = client.another().await.watch(&format!("{V2}?watch=true&fieldSelector=host%3Da")).await;
    let mut stored = client.another().await.watch(&format!("{V1}?watch=true&fieldSelector=hostPort%3Da:80")).await;
    for (name, host, port) in [("one", "a", "80"), ("two", "a", "81"), ("three", "b", "80")] {
        let (code, made) = client.json(Method::POST, V2, peer(name, host, port)).await;
        assert_eq!((code, &made["port"]), (StatusCode::CREATED, &json!(port)), "{made}");
    }
    assert_eq!(names(&mut client, &format!("{V2}?fieldSelector=host%3Da")).await, ["one", "two"]);
    assert_eq!(names(&mut client, &format!("{V2}?fieldSelector=host%3Da&limit=1")).await, ["one"]);
    assert_eq!(names(&mut client, &format!("{V2}?fieldSelector=host%3Da,port%21%3D80")).await, ["two"]);
    assert_eq!(names(&mut client, &format!("{V1}?fieldSelector=hostPort%3Da:81")).await, ["two"]);
    let (code, refused) = client.json(Method::GET, &format!("{V2}?fieldSelector=hostPort%3Da"), Value::Null).await;
    assert_eq!((code, &refused["message"]), (StatusCode::BAD_REQUEST, &json!("field label not supported: hostPort")));

    let merge = "application/merge-patch+json";
    let (code, _) = client.send(Method::PATCH, &format!("{V2}/one"), merge, json!({ "host": "b" })).await;
    assert_eq!(code, StatusCode::OK);
    let (code, _) = client.json(Method::DELETE, &format!("{V2}?fieldSelector=host%3Da"), Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(names(&mut client, V2).await, ["one", "three"], "only what was selected is deleted");
    for (kind, name) in [("ADDED", "one"), ("ADDED", "two"), ("DELETED", "one"), ("DELETED", "two")] {
        let (seen, of, object) = event(&mut of_host).await;
        assert_eq!((seen.as_str(), of.as_str()), (kind, name));
        assert_eq!((&object["apiVersion"], &object["host"]), (&json!("example.com/v2"), &json!("a")));
    }
    for kind in ["ADDED", "DELETED"] {
        let (seen, of, object) = event(&mut stored).await;
        assert_eq!((seen.as_str(), of.as_str(), &object["hostPort"]), (kind, "one", &json!("a:80")));
    }
}

#[tokio::test]
async fn a_webhook_is_asked_once_for_an_object_and_not_for_what_is_in_the_version() {
    let webhook = Webhook::start().await;
    let mut client = Client::new().await;
    established(&mut client, webhook.definition()).await;
    let old =
        json!({ "apiVersion": "example.com/v1", "kind": "Peer", "metadata": { "name": "old" }, "hostPort": "a:1" });
    let (code, _) = client.json(Method::POST, V1, old).await;
    assert_eq!((code, names(&mut client, V1).await.len(), webhook.calls()), (StatusCode::CREATED, 1, 0));
    for _ in 0..3 {
        assert_eq!(names(&mut client, &format!("{V2}?fieldSelector=port%3D1")).await, ["old"]);
        let mut watch = client.another().await.watch(&format!("{V2}?watch=true")).await;
        assert_eq!(event(&mut watch).await.2["host"], "a");
    }
    assert_eq!(webhook.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_are_told_in_the_version_that_they_wrote() {
    let webhook = Webhook::start().await;
    let mut client = Client::new().await;
    established(&mut client, webhook.definition()).await;
    let apply = "application/apply-patch+yaml";
    let path = |version: &str, manager: &str| format!("{version}/a?fieldManager={manager}");
    let old = |joined: &str| json!({ "apiVersion": "example.com/v1", "kind": "Peer", "metadata": { "name": "a" }, "hostPort": joined });
    let (code, _) = client.send(Method::PATCH, &path(V2, "new"), apply, peer("a", "h", "1")).await;
    assert_eq!(code, StatusCode::CREATED);
    let (code, same) = client.send(Method::PATCH, &path(V1, "old"), apply, old("h:1")).await;
    assert_eq!(code, StatusCode::OK, "{same}");
    let (code, refused) = client.send(Method::PATCH, &path(V1, "old"), apply, old("h:2")).await;
    assert_eq!(code, StatusCode::CONFLICT, "{refused}");
    let causes = refused["details"]["causes"].as_array().expect("causes");
    let told: Vec<(&str, &str)> =
        causes.iter().map(|c| (c["field"].as_str().unwrap_or(""), c["message"].as_str().unwrap_or(""))).collect();
    assert_eq!(told, [(".port", "conflict with \"new\"")]);

    let merge = "application/merge-patch+json";
    let change = json!({ "hostPort": "h:3" });
    let (code, _) = client.send(Method::PATCH, &path(V1, "hand"), merge, change).await;
    assert_eq!(code, StatusCode::OK);
    let (_, read) = client.json(Method::GET, &format!("{V2}/a"), Value::Null).await;
    let fields = |manager: &str| {
        let entries = read["metadata"]["managedFields"].as_array().into_iter().flatten();
        entries.clone().find(|entry| entry["manager"] == manager).map(|entry| entry["fieldsV1"].clone())
    };
    assert_eq!(fields("new"), Some(json!({ "f:host": {} })), "{read}");
    assert_eq!((fields("old"), fields("hand")), (None, Some(json!({ "f:hostPort": {} }))));
}
