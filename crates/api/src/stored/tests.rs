//! Values of a shared store: read in every form and version, written as upstream writes them.

use serde_json::{Value, json};

use super::*;

fn v1(group: &str, kind: &str) -> GroupVersionKind {
    GroupVersionKind::new(group, "v1", kind)
}

#[test]
fn definitions_are_read_and_written_as_upstream_stores_them() {
    let stored = json!({
        "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1beta1", "metadata": {"name": "xs.example.org"},
        "spec": {
            "group": "example.org", "version": "v1", "scope": "Cluster", "names": {"plural": "xs", "kind": "X"},
            "validation": {"openAPIV3Schema": {"type": "object"}},
            "versions": [
                {"name": "v1", "served": true, "storage": true},
                {"name": "v2", "served": true, "storage": false,
                    "additionalPrinterColumns": [{"name": "N", "type": "integer", "JSONPath": ".spec.n"}]},
            ],
            "conversion": {"strategy": "Webhook", "conversionReviewVersions": ["v1"], "webhookClientConfig": {"url": "https://192.0.2.1"}},
            "preserveUnknownFields": false,
        },
    });
    let (served, beta) = (v1("apiextensions.k8s.io", "CustomResourceDefinition"), "v1beta1");
    let bytes = serde_json::to_vec(&stored).unwrap();
    let read = read(&bytes, &served).unwrap();
    let spec = &read["spec"];
    assert_eq!(read["apiVersion"], "apiextensions.k8s.io/v1");
    assert_eq!(spec["versions"][0]["schema"], json!({"openAPIV3Schema": {"type": "object"}}));
    assert_eq!(spec["versions"][1]["additionalPrinterColumns"][0]["jsonPath"], ".spec.n");
    assert_eq!(spec["conversion"]["webhook"]["conversionReviewVersions"], json!(["v1"]));
    assert_eq!((spec.get("validation"), spec.get("version")), (None, None));
    let beta = GroupVersionKind::new("apiextensions.k8s.io", beta, "CustomResourceDefinition");
    let again = write(&read, &served, &beta, Form::Json).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&again).unwrap(), stored);
}

#[test]
fn what_cannot_be_read_whole_is_an_error() {
    let config = v1("", "ConfigMap");
    let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v"}});
    for form in [Form::Json, Form::Protobuf] {
        let bytes = write(&map, &config, &config, form).unwrap();
        assert_eq!(read(&bytes, &config), Ok(map.clone()));
        let secret = read(&bytes, &v1("", "Secret")).unwrap_err().0;
        assert_eq!(secret, "no kind \"ConfigMap\" of version \"v1\" is known that could be a Secret");
    }
    let unknown = br#"{"kind":"ConfigMap","apiVersion":"v9"}"#;
    assert!(read(unknown, &config).unwrap_err().0.contains("\"v9\""));
    // Encrypted at rest by an upstream server.
    assert!(read(b"k8s:enc:aescbc:v1:key1:\x00\xff", &config).is_err());
    assert!(read(b"k8s\0\xff", &config).is_err());
}

#[test]
fn an_autoscaler_of_an_old_version_is_converted() {
    let (old, new) = (
        v1("autoscaling", "HorizontalPodAutoscaler"),
        GroupVersionKind::new("autoscaling", "v2", "HorizontalPodAutoscaler"),
    );
    let hpa = json!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v1", "metadata": {"name": "a"},
        "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}});
    let bytes = write(&hpa, &old, &old, Form::Protobuf).unwrap();
    assert_eq!(read(&bytes, &new).unwrap()["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
}
