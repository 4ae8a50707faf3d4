//! What is created: pods of an ordinary size and shape, in namespaces of the bench's own.

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::connection::{Connection, JSON};

/// A namespace and what a pod in it needs; kept if it is there already.
pub(crate) async fn namespace(connection: &mut Connection, name: &str) -> anyhow::Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    // Upstream's ServiceAccount admission wants one, and here runs no controller that would make it.
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}});
    for (path, body) in
        [("/api/v1/namespaces".to_owned(), namespace), (format!("/api/v1/namespaces/{name}/serviceaccounts"), account)]
    {
        let body = Bytes::from(body.to_string());
        if let Err(error) = connection.call(Method::POST, &path, Some((JSON, body))).await
            && !error.to_string().contains("AlreadyExists")
        {
            return Err(error);
        }
    }
    Ok(())
}

/// A pod's bytes but for its name: what is sent is a copy, so that the generator's share of the machine stays small.
pub(crate) struct Template {
    bytes: Vec<u8>,
    name: std::ops::Range<usize>,
}

impl Template {
    /// A pod as a ReplicaSet makes them, in JSON: about 1.3 KB. All names are as long as `name`.
    pub(crate) fn json(namespace: &str, name: &str) -> Self {
        Self::of(pod(namespace, name).to_string().into_bytes(), name)
    }

    /// The same pod in protobuf.
    pub(crate) fn protobuf(namespace: &str, name: &str) -> Self {
        let schema = api::schema::of_object("v1", "Pod").expect("the table has pods");
        let mut out = Vec::new();
        api::protobuf::encode(&pod(namespace, name), schema, &mut out);
        Self::of(out, name)
    }

    /// An object in JSON, which has its name once.
    pub(crate) fn of_object(object: &Value, name: &str) -> Self {
        Self::of(object.to_string().into_bytes(), name)
    }

    fn of(bytes: Vec<u8>, name: &str) -> Self {
        let at = bytes.windows(name.len()).position(|w| w == name.as_bytes()).expect("the pod has its name");
        Self { bytes, name: at..at + name.len() }
    }

    /// The pod of that name.
    pub(crate) fn named(&self, name: &str) -> Bytes {
        let mut bytes = self.bytes.clone();
        bytes[self.name.clone()].copy_from_slice(name.as_bytes());
        bytes.into()
    }
}

/// A pod as a ReplicaSet makes them, which nobody schedules and nothing is mounted into.
fn pod(namespace: &str, name: &str) -> Value {
    let mut spec = spec();
    spec["schedulerName"] = "nobody".into();
    spec["automountServiceAccountToken"] = false.into();
    spec["terminationGracePeriodSeconds"] = 0.into();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9f", "app.kubernetes.io/part-of": "bench"},
            "annotations": annotations(),
        },
        "spec": spec,
    })
}

/// What workloads make pods of: as above, for the scheduler, with a token.
pub(crate) fn pod_template(app: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app, "app.kubernetes.io/part-of": "bench"}, "annotations": annotations()},
        "spec": spec(),
    })
}

fn annotations() -> Value {
    json!({"checksum/config": "d2c76cf8a1d2d7ab0c3a4b1f9f3b6f8f64a3ab35ed55f4b1c2d8a8e1f0c9b7a6"})
}

fn spec() -> Value {
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "timeoutSeconds": 1});
    json!({
        "containers": [{
            "name": "web", "image": "registry.example/web:1.27.3",
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [
                {"name": "LOG_LEVEL", "value": "info"},
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "livenessProbe": probe, "readinessProbe": probe,
            "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}, {"name": "cache", "mountPath": "/var/cache/web"}],
        }],
        "volumes": [{"name": "config", "configMap": {"name": "web"}}, {"name": "cache", "emptyDir": {}}],
        "tolerations": [
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        ],
    })
}

/// The collection of pods in a namespace.
pub(crate) fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}
