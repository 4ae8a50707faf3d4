//! What plugins get beside the object, through the whole request path: options, warnings, audit annotations, decoding again,
//! and a second pass.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use machinery::status::StatusError;
use parking_lot::Mutex;
use serde_json::{Value, json};
use writes::admission::{Chain, Plugin, Request};

use super::Client;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Notes the options of every write of a ConfigMap by a client.
#[derive(Clone, Default)]
struct Options(Arc<Mutex<Vec<Value>>>);

#[async_trait]
impl Plugin for Options {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.is("", "configmaps")
    }

    async fn validate(&self, request: &Request<'_>, _: &Value) -> Result<(), StatusError> {
        self.0.lock().push(request.options());
        Ok(())
    }
}

#[tokio::test]
async fn plugins_get_the_options_as_they_were_sent() {
    let options = Options::default();
    let mut client = Client::admitting(Chain::new(vec![Box::new(options.clone())])).await;
    let map = json!({"metadata": {"name": "a", "finalizers": ["example.com/x"]}});
    let (code, made) = client.json(Method::POST, &format!("{MAPS}?fieldManager=me"), map.clone()).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let path = format!("{MAPS}/a");
    client.json(Method::PUT, &format!("{path}?dryRun=All&fieldValidation=Strict"), map).await;
    let patch = json!({"data": {"k": "v"}});
    client.send(Method::PATCH, &format!("{path}?fieldManager=you"), "application/merge-patch+json", patch).await;
    let uid = &made["metadata"]["uid"];
    let delete = json!({"propagationPolicy": "Foreground", "gracePeriodSeconds": 3, "preconditions": {"uid": uid}});
    client.json(Method::DELETE, &path, delete).await;
    client.json(Method::DELETE, &format!("{path}?orphanDependents=true"), Value::Null).await;
    let of = |kind: &str, rest: Value| {
        let mut object = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    };
    assert_eq!(
        *options.0.lock(),
        [
            of("CreateOptions", json!({"fieldManager": "me"})),
            of("UpdateOptions", json!({"dryRun": ["All"], "fieldValidation": "Strict"})),
            of("UpdateOptions", json!({"fieldManager": "you"})),
            of(
                "DeleteOptions",
                json!({"propagationPolicy": "Foreground", "gracePeriodSeconds": 3, "preconditions": {"uid": uid}})
            ),
            of("DeleteOptions", json!({"orphanDependents": true})),
        ]
    );
}

/// Counts the containers that it sees, in a label, as often as it is asked; keeps how often that was.
struct Counts;

#[async_trait]
impl Plugin for Counts {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.creates() && request.is_whole("", "pods")
    }

    async fn admit(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), StatusError> {
        let passes = request.kept(|passes: &mut u32| {
            *passes += 1;
            *passes
        });
        assert_eq!(request.reinvoked(), passes == 2);
        let seen = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
        pod["metadata"]["labels"] = json!({"seen": seen.to_string(), "passes": passes.to_string()});
        Ok(())
    }
}

/// Adds a container as a webhook does, by a patch of the JSON, once.
struct Injects(Value);

#[async_trait]
impl Plugin for Injects {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.creates() && request.is_whole("", "pods")
    }

    async fn admit(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), StatusError> {
        if request.reinvoked() {
            return Ok(());
        }
        let mut patched = pod.clone();
        patched["spec"]["containers"].as_array_mut().expect("containers").push(self.0.clone());
        *pod = request.decode(patched)?;
        request.warn("a container was added");
        request.annotate("injects.example.com/container", "side");
        request.annotate("injects.example.com/container", "another");
        request.reinvoke();
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>, _: &Value) -> Result<(), StatusError> {
        assert_eq!(request.kind().to_string(), "/v1, Kind=Pod");
        Ok(())
    }
}

async fn injected(container: Value) -> (StatusCode, Value, Vec<String>) {
    let mut client = Client::admitting(Chain::new(vec![Box::new(Counts), Box::new(Injects(container))])).await;
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    client.warned(Method::POST, PODS, "application/json", pod).await
}

#[tokio::test]
async fn what_a_plugin_adds_is_decoded_and_defaulted_and_seen_by_those_before_it() {
    let (code, pod, warnings) = injected(json!({"name": "side", "image": "x:1", "nonsense": 7})).await;
    assert_eq!(code, StatusCode::CREATED, "{pod}");
    assert_eq!(pod["metadata"]["labels"], json!({"seen": "2", "passes": "2"}));
    let side = &pod["spec"]["containers"][1];
    assert_eq!((&side["imagePullPolicy"], &side["nonsense"]), (&json!("IfNotPresent"), &Value::Null), "{side}");
    assert!(warnings.contains(&r#"299 - "a container was added""#.to_owned()), "{warnings:?}");
}

#[tokio::test]
async fn what_a_plugin_makes_has_to_be_an_object_of_the_kind() {
    let (code, status, _) = injected(json!({"name": 7})).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR, "{status}");
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.contains("cannot unmarshal number into Go struct field Container"), "{message}");
}
