//! Writes the decision: a Binding posted to the pod.

use kube::api::{Api, PostParams};
use serde_json::json;

use crate::framework::extension::{Bind, Binding, Plugin};

/// See the module.
pub struct DefaultBinder;

#[async_trait::async_trait]
impl Bind for DefaultBinder {
    async fn bind(&self, binding: &Binding) -> Result<(), String> {
        let pod = &binding.pod;
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(binding.client.clone(), &pod.namespace);
        let body = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": &*pod.name, "namespace": &*pod.namespace, "uid": &*pod.uid},
            "target": {"kind": "Node", "name": &*binding.node_name},
        });
        pods.create_subresource::<_, serde_json::Value>("binding", &pod.name, &PostParams::default(), &body)
            .await
            .map(|_| ())
            .map_err(|error| match error {
                kube::Error::Api(status) => status.message,
                other => other.to_string(),
            })
    }
}

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }

    fn bind(&self) -> Option<&dyn Bind> {
        Some(self)
    }
}
