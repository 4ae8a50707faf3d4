//! An API server of a hundred lines: objects by path, watches, strategic merge patches, and the events that were told.

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::{Client, client::Body};
use machinery::patch::strategic;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, convert::Infallible, sync::Arc};
use tokio::sync::watch;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// Path, sort of change, object after it; the place in the list is the revision less one.
    log: Vec<(String, &'static str, Value)>,
    events: Vec<String>,
    /// How many more writes of a status panic, in the caller's own task.
    panics: u32,
}

#[derive(Clone)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
    revision: Arc<watch::Sender<usize>>,
}

/// Where an object lives.
fn path_of(object: &Value) -> String {
    let kind = object["kind"].as_str().expect("a kind");
    let version = object["apiVersion"].as_str().expect("a version");
    let base = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
    let namespace = object["metadata"]["namespace"].as_str().map(|n| format!("/namespaces/{n}")).unwrap_or_default();
    format!("{base}{namespace}/{}s/{}", kind.to_lowercase(), object["metadata"]["name"].as_str().expect("a name"))
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(status).header("content-type", "application/json").body(body).expect("a response")
}

fn refusal(code: u16, reason: &str, message: String) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code});
    json_answer(StatusCode::from_u16(code).expect("a code"), &status)
}

fn within(path: &str, collection: &str, query: &str) -> bool {
    let (base, plural) = collection.rsplit_once('/').expect("a collection");
    let all_namespaces = path.starts_with(&format!("{base}/namespaces/")) && path.contains(&format!("/{plural}/"));
    let here = path.starts_with(&format!("{collection}/")) || all_namespaces;
    let name = query.split('&').find_map(|q| q.strip_prefix("fieldSelector=metadata.name%3D"));
    here && name.is_none_or(|name| path.ends_with(&format!("/{name}")))
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), revision: Arc::new(watch::Sender::new(0)) }
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                server.trap(&request);
                Ok::<_, Infallible>(server.answer(request).await)
            }
        });
        Client::new(service, "default")
    }

    /// The next writes of a status panic.
    pub(crate) fn panics(&self, times: u32) {
        self.state.lock().panics = times;
    }

    fn trap(&self, request: &Request<Body>) {
        if request.uri().path().ends_with("/status") {
            let left = &mut self.state.lock().panics;
            let sprung = std::mem::replace(left, left.saturating_sub(1)) > 0;
            assert!(!sprung, "a trap in a write of a status");
        }
    }

    /// Creates or replaces the object; those who watch are told.
    pub(crate) fn put(&self, object: Value) -> Value {
        self.write(path_of(&object), object)
    }

    /// Changes a pod, as some other client would.
    pub(crate) fn change_pod(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let path = format!("/api/v1/namespaces/n/pods/{name}");
        let mut pod = self.state.lock().objects.get(&path).cloned().expect("a pod");
        change(&mut pod);
        self.write(path, pod);
    }

    /// As a client's deletion leaves the pod until the kubelet has ended it.
    pub(crate) fn delete_pod(&self, name: &str, grace_secs: i64) {
        self.change_pod(name, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_secs);
        });
    }

    pub(crate) fn pod(&self, name: &str) -> Option<Value> {
        self.state.lock().objects.get(&format!("/api/v1/namespaces/n/pods/{name}")).cloned()
    }

    /// `Warning Unhealthy: message`, in the order in which they came; a repeated one once.
    pub(crate) fn events(&self) -> Vec<String> {
        self.state.lock().events.clone()
    }

    pub(crate) fn remove(&self, path: &str) {
        let mut state = self.state.lock();
        if let Some(object) = state.objects.remove(path) {
            state.log.push((path.to_owned(), "DELETED", object));
            self.revision.send_replace(state.log.len());
        }
    }

    fn write(&self, path: String, mut object: Value) -> Value {
        let mut state = self.state.lock();
        let sort = if state.objects.contains_key(&path) { "MODIFIED" } else { "ADDED" };
        object["metadata"]["resourceVersion"] = json!((state.log.len() + 1).to_string());
        state.objects.insert(path.clone(), object.clone());
        state.log.push((path, sort, object.clone()));
        self.revision.send_replace(state.log.len());
        object
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let event = path.contains("/events");
        match parts.method {
            Method::GET if query.split('&').any(|q| q == "watch=true") => self.watch(&path, &query),
            Method::GET => self.get(&path, &query),
            Method::POST if event => {
                let word = |key: &str| body[key].as_str().unwrap_or_default();
                let told = format!("{} {}: {}", word("type"), word("reason"), word("message"));
                self.state.lock().events.push(told);
                let stored = self.write(path_of(&body), body);
                json_answer(StatusCode::CREATED, &stored)
            }
            Method::POST => {
                let object = self.write(path_of(&body), body);
                json_answer(StatusCode::CREATED, &object)
            }
            Method::PATCH | Method::PUT => self.change(&path, body, parts.method == Method::PATCH),
            Method::DELETE => {
                self.remove(&path);
                json_answer(StatusCode::OK, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            other => refusal(405, "MethodNotAllowed", format!("{other} is not served")),
        }
    }

    fn get(&self, path: &str, query: &str) -> Answer {
        let state = self.state.lock();
        if let Some(object) = state.objects.get(path) {
            return json_answer(StatusCode::OK, object);
        }
        // A collection's name is a plural; an object's place has an even number of parts after the version.
        let parts = path.trim_start_matches("/api/v1/").trim_start_matches("/apis/").split('/').count();
        if parts.is_multiple_of(2) {
            return refusal(404, "NotFound", format!("{path:?} not found"));
        }
        let items: Vec<&Value> = state.objects.iter().filter(|(p, _)| within(p, path, query)).map(|(_, o)| o).collect();
        let metadata = json!({"resourceVersion": state.log.len().to_string()});
        json_answer(StatusCode::OK, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
    }

    fn watch(&self, path: &str, query: &str) -> Answer {
        let from = query.split('&').find_map(|q| q.strip_prefix("resourceVersion=")?.parse().ok()).unwrap_or(0);
        let (server, path, query) = (self.clone(), path.to_owned(), query.to_owned());
        let changes = stream::unfold((from, self.revision.subscribe()), move |(at, mut revision)| {
            let (server, path, query) = (server.clone(), path.clone(), query.clone());
            async move {
                revision.wait_for(|now| *now > at).await.ok()?;
                let state = server.state.lock();
                let fresh = state.log[at..].iter().filter(|(p, ..)| within(p, &path, &query));
                let lines: String =
                    fresh.map(|(_, sort, o)| format!("{{\"type\":\"{sort}\",\"object\":{o}}}\n")).collect();
                Some((Ok(Frame::data(Bytes::from(lines))), (state.log.len(), revision.clone())))
            }
        });
        let body = StreamBody::new(changes.boxed()).boxed_unsync();
        Response::builder().header("content-type", "application/json").body(body).expect("a response")
    }

    fn change(&self, path: &str, body: Value, patch: bool) -> Answer {
        let path = path.trim_end_matches("/status").to_owned();
        let Some(old) = self.state.lock().objects.get(&path).cloned() else {
            return refusal(404, "NotFound", format!("{path:?} not found"));
        };
        let uid = &body["metadata"]["uid"];
        if !uid.is_null() && *uid != old["metadata"]["uid"] {
            return refusal(409, "Conflict", "the UID in the precondition does not match the UID in record".into());
        }
        if !patch {
            return json_answer(StatusCode::OK, &self.write(path, body));
        }
        let kind = old["kind"].as_str().expect("a kind");
        let schema = ::api::patch::TypeSchema(::api::schema::kind("", "v1", kind).expect("a core kind"));
        match strategic::apply(old, body, &schema) {
            Ok(new) => json_answer(StatusCode::OK, &self.write(path, new)),
            Err(error) => refusal(400, "BadRequest", format!("{error:?}")),
        }
    }
}
