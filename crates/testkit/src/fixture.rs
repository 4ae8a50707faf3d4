//! Objects to test with, made from the schema: what is required, with values that validation lets through.

use api::schema::{self, Field, Shape, Type};
use machinery::gvk::GroupVersionKind;
use serde_json::{Map, Value, json};

/// A small valid object of a kind; `None` where there is no such kind.
pub fn fixture(kind: &GroupVersionKind, name: &str, namespace: Option<&str>) -> Option<Value> {
    let ty = schema::of(kind)?;
    let mut object = required(ty, 0);
    let api_version =
        if kind.group.is_empty() { kind.version.clone() } else { format!("{}/{}", kind.group, kind.version) };
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.kind.clone().into());
    let mut metadata = json!({"name": name, "labels": {"fixture": "yes"}});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    object.insert("metadata".into(), metadata);
    let mut object = Value::Object(object);
    if let Some(more) = details(&kind.kind, name, namespace) {
        merge(&mut object, more);
    }
    Some(object)
}

fn required(ty: &'static Type, depth: usize) -> Map<String, Value> {
    let wanted = |f: &&Field| f.required || (depth == 0 && f.name == "spec" && !f.pointer);
    ty.fields.iter().filter(wanted).map(|f| (f.name.to_owned(), value(&f.shape, depth + 1))).collect()
}

fn value(shape: &Shape, depth: usize) -> Value {
    match shape {
        Shape::String(_) => "x".into(),
        Shape::Int32(_) | Shape::Int64(_) | Shape::Double | Shape::IntOrString => 1.into(),
        Shape::Bool => true.into(),
        Shape::Bytes => "eA==".into(),
        Shape::Time => "2026-01-02T03:04:05Z".into(),
        Shape::MicroTime => "2026-01-02T03:04:05.000000Z".into(),
        Shape::Duration => "1m0s".into(),
        Shape::Quantity => "1".into(),
        Shape::Raw | Shape::FieldsV1 | Shape::Json => json!({}),
        Shape::Strings => json!(["x"]),
        Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => json!({}),
        Shape::Object(id) => Value::Object(required(id.get(), depth)),
        Shape::List(item) => json!([value(item, depth)]),
        Shape::Map(item) => json!({"x": value(item, depth)}),
    }
}

/// A certificate request in PEM, as base64 of JSON.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlITE1IUUNBUUF3RWpFUU1BNEdBMVVFQXd3SFptbDRkSFZ5WlRCWk1CTUdCeXFHU000OUFnRUdDQ3FHU000OQpBd0VIQTBJQUJDVm1hZmlFclN5M2FhYUNIbGN0S1dvMVFSZldjR3QyY3RSVzlsNDhKdiswZXBaYWdyWTBzQnI1CkRVNUdpY2RTS1diS0xKVXlzYVpwU3Z5MjRNbjlBOXFnQURBS0JnZ3Foa2pPUFFRREFnTkhBREJFQWlCSXJzMkIKdDZsMWZIN0tveXg0N1hTOG9pbk0wR3VpVk9ITHRCV05RUDg4S3dJZ2NlS1YwdmsvWC9qWllFa1NRdDlqUFU1MQpyY3k1bktac0NhWHd4amQycXpvPQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";

/// What an admission policy is for.
fn matched() -> Value {
    json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]})
}

/// What validation asks beyond the schema.
fn details(kind: &str, name: &str, namespace: Option<&str>) -> Option<Value> {
    let template = || json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "example.com/c:1"}]}});
    let selected = || json!({"selector": {"matchLabels": {"a": "b"}}, "template": template()});
    let spec = match kind {
        "Pod" => json!({"containers": [{"name": "c", "image": "example.com/c:1"}]}),
        "Deployment" | "ReplicaSet" | "DaemonSet" => selected(),
        "StatefulSet" => {
            let mut spec = selected();
            spec["serviceName"] = "x".into();
            spec
        }
        "ReplicationController" => json!({"selector": {"a": "b"}, "template": template()}),
        "LimitRange" => json!({"limits": [{"type": "Container", "default": {"cpu": "1"}}]}),
        "Job" => {
            json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example.com/c:1"}]}}})
        }
        "CronJob" => {
            json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "example.com/c:1"}]}}}}})
        }
        // Headless: an address would have to be allocated from a range, which a test server need not have.
        "Service" => json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        "PersistentVolumeClaim" => {
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}})
        }
        "PersistentVolume" => {
            json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}})
        }
        "VolumeAttachment" => json!({"source": {"persistentVolumeName": "x"}}),
        "ResourceSlice" => json!({"allNodes": true}),
        "APIService" => {
            let (version, group) = name.split_once('.')?;
            json!({"version": version, "group": group, "groupPriorityMinimum": 1000, "versionPriority": 15})
        }
        "HorizontalPodAutoscaler" => {
            json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, "maxReplicas": 3})
        }
        "CertificateSigningRequest" => {
            json!({"request": REQUEST, "usages": ["client auth"], "signerName": "example.com/signer"})
        }
        "IngressClass" => json!({"controller": "example.com/c"}),
        "Ingress" => json!({"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}),
        "ServiceCIDR" => json!({"cidrs": ["192.0.2.0/24"]}),
        "ValidatingAdmissionPolicy" => json!({"matchConstraints": matched(), "validations": [{"expression": "true"}]}),
        "MutatingAdmissionPolicy" => json!({"matchConstraints": matched(), "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: \"remove\", path: \"/spec/x\"}]"}}]}),
        "ValidatingAdmissionPolicyBinding" => json!({"policyName": "x", "validationActions": ["Deny"]}),
        "MutatingAdmissionPolicyBinding" => json!({"policyName": "x"}),
        "PriorityLevelConfiguration" => json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}),
        "VolumeAttributesClass" => return Some(json!({"parameters": {"a": "b"}})),
        "PodTemplate" => return Some(json!({"template": template()})),
        "ControllerRevision" => return Some(json!({"data": {"a": "b"}, "revision": 1})),
        "RoleBinding" | "ClusterRoleBinding" => {
            return Some(json!({"roleRef": {"kind": "ClusterRole", "name": "view"}}));
        }
        "EndpointSlice" => return Some(json!({"addressType": "IPv4", "endpoints": []})),
        "Event" => {
            return Some(json!({"involvedObject": {"namespace": namespace}, "regarding": {"namespace": namespace},
            "eventTime": "2026-01-02T03:04:05.000000Z", "type": "Normal", "reason": "Tested", "action": "Test",
            "reportingController": "example.com/c", "reportingComponent": "example.com/c", "reportingInstance": "c"}));
        }
        "CustomResourceDefinition" => {
            let (plural, group) = name.split_once('.')?;
            return Some(
                json!({"spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": "Fixture"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
            );
        }
        _ => return None,
    };
    Some(json!({"spec": spec}))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
