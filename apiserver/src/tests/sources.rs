//! A third route source: dispatch, discovery and OpenAPI take it as it is.

use std::sync::Arc;

use async_trait::async_trait;
use endpoints::Call;
use endpoints::sources::{Endpoint, Entry, Found, Group, GroupVersion, Input, Part, Source};
use endpoints::virtual_::Virtual;
use http::{Method, Response, StatusCode};
use machinery::gvk::{GroupResource, GroupVersionKind};
use machinery::status::StatusError;
use model::descriptions::Texts;
use model::request_info::RequestInfo;
use model::resource::{Resource, Verb};
use negotiation::Body;
use serde_json::{Value, json};
use writes::admission::Chain;
use writes::strategy::{Kind, WriteContext};

use super::{Client, no_nodes};
use crate::start::{Store, own_sources};

const GROUP: &str = "echo.example.com";

/// A kind that stores nothing (`v1`), and code that takes whole requests (`v2`).
struct Third {
    kind: Kind,
    input: Input,
}

impl Third {
    fn new() -> Self {
        Self { kind: Resource::virtual_(GROUP, "v1", "echoes", "Echo", &[Verb::Get]).into(), input: Arc::new(()) }
    }
}

impl Source for Third {
    fn find(&self, group: &str, version: &str, resource: &str) -> Found {
        match (group, version, resource) {
            (GROUP, "v1", "echoes") => Found::Kind(self.kind.clone()),
            (GROUP, "v2", "echoes") => Found::Whole(Arc::new(Whole)),
            (GROUP, "v1" | "v2", _) => Found::Nothing,
            _ => Found::Elsewhere,
        }
    }

    fn handler(&self, resource: &GroupResource, _: &str) -> Option<&dyn Virtual> {
        (resource.resource == "echoes").then_some(&Echo)
    }

    fn groups(&self) -> Vec<Group> {
        vec![Group { name: GROUP.into(), priority: 17_790, versions: vec!["v2".into(), "v1".into()] }]
    }

    fn resources(&self, group: &str, version: &str) -> Option<Vec<Entry>> {
        (group == GROUP && matches!(version, "v1" | "v2")).then(|| {
            vec![Entry {
                resource: "echoes".into(),
                singular: "echo".into(),
                namespaced: true,
                kind: GroupVersionKind::new(GROUP, version.to_owned(), "Echo"),
                verbs: vec!["get".into()],
                short_names: vec!["ec".into()],
                categories: Vec::new(),
                storage_version_hash: String::new(),
                parts: vec![Part {
                    name: "scale".into(),
                    kind: GroupVersionKind::new("autoscaling", "v1", "Scale"),
                    verbs: vec!["get".into()],
                }],
            }]
        })
    }

    fn documents(&self) -> Vec<String> {
        vec![format!("apis/{GROUP}/v1")]
    }

    fn document(&self, name: &str, _: &Texts) -> Option<Value> {
        let operation = json!({"get": {
            "operationId": "readEcho", "x-kubernetes-action": "get", "responses": {"200": {"description": "OK"}},
        }});
        let schema = json!({"Echo": {"type": "object", "x-too-much": true}});
        (name == format!("apis/{GROUP}/v1")).then(
            || json!({"paths": {"/apis/echo.example.com/v1/echoes": operation}, "components": {"schemas": schema}}),
        )
    }

    fn reduced(&self, mut document: Value) -> Value {
        document["components"]["schemas"]["Echo"] = json!({"type": "object"});
        document
    }

    fn inputs(&self, _: Option<GroupVersion<'_>>) -> Vec<Input> {
        vec![self.input.clone()]
    }

    fn facts(&self, _: Option<GroupVersion<'_>>, tell: &mut dyn FnMut(&str)) {
        tell("the third");
    }
}

struct Echo;

#[async_trait]
impl Virtual for Echo {
    async fn serve(
        &self,
        _: &endpoints::Server,
        _: &WriteContext<'_>,
        info: &RequestInfo,
        _: Value,
    ) -> Result<Value, StatusError> {
        Ok(json!({"apiVersion": "echo.example.com/v1", "kind": "Echo", "metadata": {"name": info.name}}))
    }
}

struct Whole;

#[async_trait]
impl Endpoint for Whole {
    async fn serve(&self, call: Call) -> Result<Response<Body>, StatusError> {
        let said = json!({"verb": call.info.verb, "subresource": call.info.subresource, "user": call.user().name});
        Ok(negotiation::json_response(StatusCode::ACCEPTED, said.to_string().into_bytes()))
    }
}

async fn client() -> Client {
    let sources = |registry: &Arc<writes::Registry>| {
        let mut sources = own_sources(registry);
        sources.push(Arc::new(Third::new()));
        sources
    };
    Client::over(Store::Memory, Box::new(sources), Chain::default(), no_nodes()).await
}

#[tokio::test]
async fn a_further_source_is_dispatched_to() {
    let mut client = client().await;
    let mut asked = async |method, path: &str| client.send(method, path, "", Value::Null).await;
    let (code, echo) = asked(Method::GET, "/apis/echo.example.com/v1/namespaces/default/echoes/a").await;
    assert_eq!((code, &echo["kind"], &echo["metadata"]["name"]), (StatusCode::OK, &json!("Echo"), &json!("a")));
    let (code, _) = asked(Method::DELETE, "/apis/echo.example.com/v1/namespaces/default/echoes/a").await;
    assert_eq!(code, StatusCode::METHOD_NOT_ALLOWED);
    let (code, said) = asked(Method::DELETE, "/apis/echo.example.com/v2/namespaces/default/echoes/a/any").await;
    let want = json!({"verb": "delete", "subresource": "any", "user": "tester"});
    assert_eq!((code, said), (StatusCode::ACCEPTED, want));
    for nothing in ["/apis/echo.example.com/v1/others", "/apis/echo.example.com/v3/echoes"] {
        assert_eq!(asked(Method::GET, nothing).await.0, StatusCode::NOT_FOUND, "{nothing}");
    }
}

#[tokio::test]
async fn a_further_source_is_discovered() {
    let mut client = client().await;
    let (_, groups) = client.send(Method::GET, "/apis", "", Value::Null).await;
    let names: Vec<&str> = groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(names[..4], ["apiregistration.k8s.io", "apps", GROUP, "events.k8s.io"]);
    let (_, group) = client.send(Method::GET, "/apis/echo.example.com", "", Value::Null).await;
    assert_eq!(group["preferredVersion"]["version"], "v2");
    let (_, list) = client.send(Method::GET, "/apis/echo.example.com/v1", "", Value::Null).await;
    assert_eq!(list["resources"][0]["shortNames"], json!(["ec"]));
    assert_eq!(list["resources"][1]["name"], "echoes/scale");
    assert_eq!(list["resources"][1]["group"], "autoscaling");
    let (_, root) = client.send(Method::GET, "/", "", Value::Null).await;
    assert!(root["paths"].as_array().unwrap().contains(&json!("/apis/echo.example.com/v2")));
}

#[tokio::test]
async fn a_further_source_is_in_openapi() {
    let mut client = client().await;
    let (_, index) = client.send(Method::GET, "/openapi/v3", "", Value::Null).await;
    let place = index["paths"]["apis/echo.example.com/v1"]["serverRelativeURL"].as_str().unwrap();
    let (code, document) = client.send(Method::GET, place, "", Value::Null).await;
    assert_eq!((code, &document["components"]["schemas"]["Echo"]["x-too-much"]), (StatusCode::OK, &json!(true)));
    let (_, old) = client.send(Method::GET, "/openapi/v2", "", Value::Null).await;
    assert_eq!(old["definitions"]["Echo"], json!({"type": "object"}));
    assert_eq!(old["paths"]["/apis/echo.example.com/v1/echoes"]["get"]["operationId"], "readEcho");
    let (code, _) = client.send(Method::GET, "/openapi/v3/apis/echo.example.com/v2", "", Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}
