//! The kinds around the workloads through the whole request path: what a client hears, and which parts of an object a write
//! takes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Client;

const MERGE: &str = "application/merge-patch+json";

async fn create(client: &mut Client, path: &str, object: Value) -> Value {
    let (code, answer, warnings) = client.warned(Method::POST, path, "application/json", object).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    assert_eq!(warnings, [""; 0], "{path}");
    answer
}

async fn refused(client: &mut Client, path: &str, object: Value, want: &str) {
    let (code, answer) = client.json(Method::POST, path, object).await;
    assert_eq!((code, &answer["message"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(want)), "{answer}");
}

fn flow_schema() -> Value {
    let rule = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]});
    let subject = json!({"kind": "User", "user": {"name": "u"}});
    let spec = json!({"priorityLevelConfiguration": {"name": "p"}, "rules": [{"subjects": [subject], "resourceRules": [rule]}]});
    json!({"metadata": {"name": "f", "labels": {"a": "b"}}, "spec": spec})
}

#[tokio::test]
async fn kinds_are_refused_in_upstreams_words() {
    let mut client = Client::new().await;
    refused(
        &mut client,
        "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
        json!({"metadata": {"name": "i"}}),
        "Ingress.networking.k8s.io \"i\" is invalid: spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
    )
    .await;
    refused(
        &mut client,
        "/apis/networking.k8s.io/v1/ipaddresses",
        json!({"metadata": {"name": "10.1.1.01"}, "spec": {"parentRef": {"resource": "services", "name": "s"}}}),
        "IPAddress.networking.k8s.io \"10.1.1.01\" is invalid: metadata.name: Invalid value: \"10.1.1.01\": must not have leading 0s",
    )
    .await;
    // A fault of autoscaling/v1 is told by the fields that the server works with.
    refused(
        &mut client,
        "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
        json!({"metadata": {"name": "h"}, "spec": {"minReplicas": 0, "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
        "HorizontalPodAutoscaler.autoscaling \"h\" is invalid: [spec.minReplicas: Invalid value: 0: must be greater than or equal to 1, spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas]",
    )
    .await;
    refused(
        &mut client,
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        json!({"metadata": {"name": "c"}, "webhooks": [{
            "name": "a.b.c", "clientConfig": {"url": "https://x"}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "matchConditions": [{"name": "m", "expression": "object.x"}],
        }]}),
        "ValidatingWebhookConfiguration.admissionregistration.k8s.io \"c\" is invalid: webhooks[0].matchConditions[0].expression: Invalid value: \"object.x\": must evaluate to bool but got dyn",
    )
    .await;
}

#[tokio::test]
async fn a_status_is_written_alone() {
    let mut client = Client::new().await;
    let path = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    create(&mut client, path, flow_schema()).await;
    let written = json!({
        "metadata": {"labels": {"a": "c"}, "annotations": {"x": "y"}, "finalizers": ["a/b"]},
        "spec": {"matchingPrecedence": 7},
        "status": {"conditions": [{"type": "Dangling", "status": "True"}]},
    });
    let (code, updated) = client.send(Method::PATCH, &format!("{path}/f/status"), MERGE, written.clone()).await;
    assert_eq!((code, &updated["status"]["conditions"][0]["type"]), (StatusCode::OK, &json!("Dangling")), "{updated}");
    assert_eq!(updated["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!((updated["metadata"].get("annotations"), updated["metadata"].get("finalizers")), (None, None));
    assert_eq!(updated["spec"]["matchingPrecedence"], 1000);
    let (code, updated) = client.send(Method::PATCH, &format!("{path}/f"), MERGE, written).await;
    assert_eq!((code, &updated["metadata"]["generation"]), (StatusCode::OK, &json!(2)), "{updated}");
    assert_eq!(updated["metadata"]["labels"], json!({"a": "c"}));
}

#[tokio::test]
async fn a_certificate_request_is_approved_and_signed_by_its_parts() {
    let mut client = Client::new().await;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]).expect("parameters");
    let pem = parameters.serialize_request(&key).expect("a request").pem().expect("PEM");
    let certificate = STANDARD.encode(parameters.self_signed(&key).expect("a certificate").pem());
    let spec = json!({"request": STANDARD.encode(pem), "signerName": "example.com/s", "usages": ["any"], "username": "somebody"});
    let made = create(
        &mut client,
        path,
        json!({"metadata": {"name": "r"}, "spec": spec, "status": {"certificate": certificate}}),
    )
    .await;
    assert_eq!((&made["spec"]["username"], &made["status"]), (&json!("tester"), &json!({})), "{made}");

    let path = &format!("{path}/r");
    let change = json!({"spec": {"signerName": "other.com/s"}, "status": {"certificate": certificate}});
    let (code, updated) = client.send(Method::PATCH, path, MERGE, change).await;
    assert_eq!((code, &updated["spec"], &updated["status"]), (StatusCode::OK, &made["spec"], &made["status"]));

    let approved =
        json!({"status": {"certificate": certificate, "conditions": [{"type": "Approved", "status": "True"}]}});
    let (code, answer) = client.send(Method::PATCH, &format!("{path}/status"), MERGE, approved.clone()).await;
    let message = "CertificateSigningRequest.certificates.k8s.io \"r\" is invalid: status.conditions: Forbidden: updates may not add a condition of type \"Approved\"";
    assert_eq!((code, &answer["message"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(message)));
    let (code, updated) = client.send(Method::PATCH, &format!("{path}/approval"), MERGE, approved).await;
    assert_eq!((code, updated["status"].get("certificate")), (StatusCode::OK, None), "{updated}");
    assert!(updated["status"]["conditions"][0]["lastTransitionTime"].is_string(), "{updated}");
    let signed = json!({"status": {"certificate": certificate}});
    let (code, updated) = client.send(Method::PATCH, &format!("{path}/status"), MERGE, signed).await;
    assert_eq!((code, &updated["status"]["certificate"]), (StatusCode::OK, &json!(certificate)), "{updated}");
}

#[tokio::test]
async fn an_api_service_of_this_server_is_available_at_once() {
    let mut client = Client::new().await;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let of = |group: &str, service: Value| {
        let spec = json!({"group": group, "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1, "service": service});
        json!({"metadata": {"name": format!("v1.{group}")}, "spec": spec})
    };
    let local = create(&mut client, path, of("a.example.com", Value::Null)).await;
    let condition = &local["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"]),
        (&json!("Available"), &json!("True"), &json!("Local"))
    );
    let remote = create(&mut client, path, of("b.example.com", json!({"namespace": "n", "name": "s"}))).await;
    assert_eq!(remote["status"], json!({}), "{remote}");
    assert_eq!(remote["spec"]["service"]["port"], 443);
}

#[tokio::test]
async fn ingresses_and_policies_are_warned_of() {
    let mut client = Client::new().await;
    let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let annotated = json!({"metadata": {"name": "i", "annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {"rules": [{"host": "a.b"}]}});
    let (code, answer, warnings) = client.warned(Method::POST, path, "application/json", annotated).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    assert_eq!(
        warnings,
        [
            r#"299 - "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead""#
        ]
    );
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "2001:db8:0::1"}]}}});
    let (code, answer, warnings) = client.warned(Method::PATCH, &format!("{path}/i/status"), MERGE, status).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    assert!(warnings[0].contains("should be in RFC 5952 canonical format"), "{warnings:?}");
}
