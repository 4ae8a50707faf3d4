//! The request path end to end, over an in-process connection: no sockets, an in-memory store, everybody allowed.

mod admission;
mod answers;
mod apply;
mod conversion;
mod custom_resources;
mod deletes;
mod hang_up;
mod kinds;
mod lost_store;
mod messages;
mod metrics;
mod policy_params;
mod resource_metrics;
mod resource_quota;
mod sources;
mod validation;
mod websockets;
use std::sync::Arc;

use access::authn::{Authenticator, Peer};
use access::authz::{Attributes, Authorizer, Decision};
use bytes::Bytes;
use endpoints::connect::Nodes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use model::user::UserInfo;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use writes::admission::Chain;

use crate::start::{Access, Config, MakeSources, Running, Store, own_sources, start};

/// Knows connections by their identity only.
struct ByPeer;

#[async_trait::async_trait]
impl Authenticator for ByPeer {
    async fn authenticate(&self, _: &http::request::Parts, peer: &Peer) -> Result<Option<UserInfo>, String> {
        let user = peer.identity.as_deref().cloned();
        match user.as_ref().map(|user| user.name.as_str()) {
            Some(REFUSED) => Err("for a test".into()),
            Some(PANICS) => panic!("for a test"),
            Some(NEVER) => std::future::pending().await,
            _ => Ok(user),
        }
    }
}

/// What the authenticator does with a user of that name.
const REFUSED: &str = "refused";
const PANICS: &str = "panics";
const NEVER: &str = "never";

struct Everybody;

impl Authorizer for Everybody {
    fn authorize(&self, _: &Attributes<'_>) -> Decision {
        Decision::Allow(String::new())
    }
}

/// Dials kubelets, and knows no address of one.
fn no_nodes() -> Nodes {
    let tls = crate::command::kubelet_client(None, None).expect("no file is read");
    Nodes { tls: tls.clone(), backend_tls: tls, address_types: Vec::new() }
}

pub(crate) struct Client {
    running: Running,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn new() -> Self {
        Self::admitting(Chain::default()).await
    }

    /// A client of a server with those admission plugins.
    pub(crate) async fn admitting(admission: Chain) -> Self {
        Self::with(admission, no_nodes()).await
    }

    /// A client of a server with those admission plugins, which dials kubelets like that.
    pub(crate) async fn with(admission: Chain, nodes: Nodes) -> Self {
        Self::over(Store::Memory, Box::new(own_sources), admission, nodes).await
    }

    /// A client of a server over that store, with those route sources.
    pub(crate) async fn over(store: Store, sources: MakeSources, admission: Chain, nodes: Nodes) -> Self {
        let config = Config {
            store,
            listen: None,
            access: Box::new(move |registry| {
                let (authenticator, authorizer) = (Arc::new(ByPeer), Arc::new(Everybody));
                let lookup: Arc<dyn model::lookup::Lookup> = registry.clone();
                let rbac = Arc::new(access::authz::rbac::Rbac::new(lookup));
                let tokens = Arc::new(access::authn::bearer::Tokens::new(Vec::new(), Vec::new()));
                Ok(Access { authenticator, authorizer, admission, rbac, tokens, issuer: None })
            }),
            sources,
            nodes,
            times: Default::default(),
            max_requests_inflight: 10,
            max_mutating_requests_inflight: 10,
            bootstrap: Box::new(|_| Box::pin(async { Ok(()) })),
            presence: None,
            leaving: Default::default(),
        };
        let running = start(config, CancellationToken::new()).await.expect("starts");
        running.ready().await;
        Self::of(running, "tester").await
    }

    /// Another connection to the same server.
    pub(crate) async fn another(&self) -> Self {
        self.named("tester").await
    }

    /// A connection of another user.
    pub(crate) async fn named(&self, user: &str) -> Self {
        Self::of(self.running.clone(), user).await
    }

    async fn of(running: Running, user: &str) -> Self {
        let user = UserInfo { name: user.into(), ..UserInfo::default() };
        let stream = running.in_process(user).connect().await.expect("connects");
        let (sender, _) = component::http1::handshake("a test's connection", stream).await.expect("handshake");
        Self { running, sender }
    }

    pub(crate) async fn send(&mut self, method: Method, path: &str, content: &str, body: Value) -> (StatusCode, Value) {
        let (code, answer, _) = self.warned(method, path, content, body).await;
        (code, answer)
    }

    /// An answer with the texts of its warnings.
    pub(crate) async fn warned(
        &mut self,
        method: Method,
        path: &str,
        content: &str,
        body: Value,
    ) -> (StatusCode, Value, Vec<String>) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(method, path, content, &body).await
    }

    /// The same for a body that need not be JSON.
    pub(crate) async fn raw(
        &mut self,
        method: Method,
        path: &str,
        content: &str,
        body: &str,
    ) -> (StatusCode, Value, Vec<String>) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let request = Request::builder().method(method).uri(path).header("content-type", content);
        let request = request.header("user-agent", "tester/1").body(Full::new(body)).expect("request");
        self.sender.ready().await.expect("connection");
        let response = self.sender.send_request(request).await.expect("answer");
        let code = response.status();
        let warnings = response.headers().get_all("warning").into_iter();
        let warnings = warnings.map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned()).collect();
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into()), warnings)
    }

    /// A GET's headers and text.
    pub(crate) async fn text(&mut self, path: &str) -> (http::HeaderMap, String) {
        let request = Request::get(path).header("user-agent", "tester/1").body(Full::new(Bytes::new()));
        self.sender.ready().await.expect("connection");
        let response = self.sender.send_request(request.expect("request")).await.expect("answer");
        let headers = response.headers().clone();
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        (headers, String::from_utf8_lossy(&bytes).into())
    }

    /// A GET's answer in another form.
    pub(crate) async fn accepting(&mut self, path: &str, accept: &str) -> Value {
        let request = Request::get(path).header("user-agent", "tester/1").header("accept", accept);
        self.sender.ready().await.expect("connection");
        let response = self.sender.send_request(request.body(Full::new(Bytes::new())).expect("request")).await;
        let bytes = response.expect("answer").into_body().collect().await.expect("body").to_bytes();
        serde_json::from_slice(&bytes).expect("json")
    }

    /// A watch, which takes the connection.
    pub(crate) async fn watch(mut self, path: &str) -> Watch {
        let request = Request::get(path).body(Full::new(Bytes::new())).expect("request");
        self.sender.ready().await.expect("connection");
        let body = self.sender.send_request(request).await.expect("answer").into_body();
        Watch { body, text: String::new(), _client: self }
    }

    pub(crate) async fn json(&mut self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(method, path, "application/json", body).await
    }
}

/// Events as they come.
pub(crate) struct Watch {
    body: hyper::body::Incoming,
    text: String,
    _client: Client,
}

impl Watch {
    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let event = serde_json::from_str(line).expect("json");
                self.text = rest.to_string();
                return Some(event);
            }
            let frame = self.body.frame().await?.expect("frame").into_data().expect("data");
            self.text.push_str(std::str::from_utf8(&frame).expect("utf-8"));
        }
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let mut client = Client::new().await;
    let map = json!({ "metadata": { "name": "a", "labels": { "x": "1" } }, "data": { "k": "v" } });
    let (code, created) = client.json(Method::POST, MAPS, map.clone()).await;
    assert_eq!(code, StatusCode::CREATED, "{created}");
    assert_eq!((&created["kind"], &created["metadata"]["namespace"]), (&json!("ConfigMap"), &json!("default")));
    let (code, again) = client.json(Method::POST, MAPS, map).await;
    assert_eq!((code, &again["reason"]), (StatusCode::CONFLICT, &json!("AlreadyExists")));

    let path = &format!("{MAPS}/a");
    let (code, got) = client.json(Method::GET, path, Value::Null).await;
    assert_eq!((code, &got), (StatusCode::OK, &created));
    let mut changed = created.clone();
    changed["data"]["k"] = json!("w");
    let (code, updated) = client.json(Method::PUT, path, changed.clone()).await;
    assert_eq!((code, &updated["data"]["k"]), (StatusCode::OK, &json!("w")));
    let (code, stale) = client.json(Method::PUT, path, changed).await;
    assert_eq!((code, &stale["reason"]), (StatusCode::CONFLICT, &json!("Conflict")), "{stale}");

    let merge = "application/merge-patch+json";
    let (code, patched) = client.send(Method::PATCH, path, merge, json!({ "data": { "k": null, "n": "1" } })).await;
    assert_eq!((code, &patched["data"]), (StatusCode::OK, &json!({ "n": "1" })));
    let revision = &patched["metadata"]["resourceVersion"];
    let (_, same) = client.send(Method::PATCH, path, merge, json!({ "data": { "n": "1" } })).await;
    assert_eq!(&same["metadata"]["resourceVersion"], revision, "a write that changes nothing writes nothing");

    let (_, list) = client.json(Method::GET, &format!("{MAPS}?labelSelector=x%3D1"), Value::Null).await;
    assert_eq!((list["kind"].clone(), list["items"].as_array().map(Vec::len)), (json!("ConfigMapList"), Some(1)));
    let (_, list) =
        client.json(Method::GET, "/api/v1/configmaps?fieldSelector=metadata.name%21%3Da", Value::Null).await;
    assert_eq!(list["items"], json!([]));

    let (code, status) = client.json(Method::DELETE, path, Value::Null).await;
    assert_eq!((code, &status["status"]), (StatusCode::OK, &json!("Success")));
    let (code, gone) = client.json(Method::GET, path, Value::Null).await;
    assert_eq!((code, &gone["message"]), (StatusCode::NOT_FOUND, &json!("configmaps \"a\" not found")));
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let mut client = Client::new().await;
    let map = json!({ "metadata": { "name": "a", "finalizers": ["example.com/x"] } });
    client.json(Method::POST, MAPS, map).await;
    let path = &format!("{MAPS}/a");
    let (code, marked) = client.json(Method::DELETE, path, Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
    let (code, _) = client.json(Method::GET, path, Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    let remove = json!([{ "op": "remove", "path": "/metadata/finalizers" }]);
    let (code, last) = client.send(Method::PATCH, path, "application/json-patch+json", remove).await;
    assert_eq!(code, StatusCode::OK, "{last}");
    let (code, _) = client.json(Method::GET, path, Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn lists_page_at_one_revision() {
    let mut client = Client::new().await;
    for n in 0..5 {
        client.json(Method::POST, MAPS, json!({ "metadata": { "name": format!("m{n}") } })).await;
    }
    let (_, first) = client.json(Method::GET, &format!("{MAPS}?limit=2"), Value::Null).await;
    assert_eq!(first["metadata"]["remainingItemCount"], json!(3));
    client.json(Method::DELETE, &format!("{MAPS}/m3"), Value::Null).await;
    let token = first["metadata"]["continue"].as_str().expect("a token").to_string();
    let (_, rest) = client.json(Method::GET, &format!("{MAPS}?continue={token}"), Value::Null).await;
    let names: Vec<&Value> = rest["items"].as_array().expect("items").iter().map(|i| &i["metadata"]["name"]).collect();
    assert_eq!(names, ["m2", "m3", "m4"], "the page shows the state of the first");
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_watch_tells_every_change_and_what_leaves_the_selection() {
    let mut client = Client::new().await;
    let (_, list) = client.json(Method::GET, MAPS, Value::Null).await;
    let revision = list["metadata"]["resourceVersion"].as_str().expect("revision").to_string();
    client.json(Method::POST, MAPS, json!({ "metadata": { "name": "a", "labels": { "x": "1" } } })).await;
    let merge = "application/merge-patch+json";
    let path = &format!("{MAPS}/a");
    client.send(Method::PATCH, path, merge, json!({ "data": { "k": "v" } })).await;
    client.send(Method::PATCH, path, merge, json!({ "metadata": { "labels": { "x": "2" } } })).await;
    client.json(Method::DELETE, path, Value::Null).await;
    let watch = format!("{MAPS}?watch=true&resourceVersion={revision}&labelSelector=x%3D1");
    let request = Request::get(watch).body(Full::new(Bytes::new())).expect("request");
    let mut body = client.sender.send_request(request).await.expect("answer").into_body();
    let mut text = String::new();
    while text.lines().count() < 3 {
        let frame = body.frame().await.expect("open").expect("frame").into_data().expect("data");
        text.push_str(std::str::from_utf8(&frame).expect("utf-8"));
    }
    let events: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("json")).collect();
    let kinds: Vec<&Value> = events.iter().map(|e| &e["type"]).collect();
    assert_eq!(kinds, ["ADDED", "MODIFIED", "DELETED"]);
    assert_eq!(events[2]["object"]["metadata"]["labels"]["x"], "1", "the object as it was in the selection");
    drop(client.running);
}

#[tokio::test]
async fn bad_input_is_told_in_upstreams_words() {
    let mut client = Client::new().await;
    for (path, body, code, message) in [
        (
            MAPS,
            json!({ "metadata": {} }),
            422,
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            MAPS,
            json!({ "kind": "Pod", "apiVersion": "v1" }),
            400,
            "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion",
        ),
        (
            MAPS,
            json!({ "apiVersion": "apps/v1", "kind": "ConfigMap" }),
            400,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"apps/v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (
            MAPS,
            json!({ "metadata": { "name": "a", "namespace": "b" } }),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        ("/api/v1/namespaces/default/none", json!({}), 404, "the server could not find the requested resource"),
    ] {
        let (got, status) = client.json(Method::POST, path, body).await;
        assert_eq!((got.as_u16(), status["message"].as_str().unwrap_or_default()), (code, message), "{status}");
    }
    let strict = &format!("{MAPS}?fieldValidation=Strict");
    let (code, status) = client.json(Method::POST, strict, json!({ "metadata": { "name": "a" }, "nope": 1 })).await;
    assert_eq!(code, 400);
    let expected =
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"nope\"";
    assert_eq!(status["message"], expected);
}
