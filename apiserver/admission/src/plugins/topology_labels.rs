//! PodTopologyLabels: a pod is told its node's zone and region by labels, when it is bound.

use async_trait::async_trait;
use machinery::json::Fields;
use machinery::status::StatusError;
use model::resources::NODES;
use serde_json::{Map, Value};
use writes::admission::{Plugin, Request};

const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// See the module.
pub struct PodTopologyLabels;

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.creates() && request.is("", "pods") && matches!(request.subresource, None | Some("binding"))
    }

    async fn admit(&self, request: &Request<'_>, obj: &mut Value) -> Result<(), StatusError> {
        let node = match request.subresource {
            None => obj.sub("spec").text("nodeName"),
            Some(_) if obj.sub("target").text("kind") == "Node" => obj.sub("target").text("name"),
            Some(_) => "",
        };
        if node.is_empty() {
            return Ok(());
        }
        let Some(node) = request.registry.get(&NODES, None, node) else { return Ok(()) };
        for label in LABELS {
            let Some(value) = node["metadata"]["labels"].get(label) else { continue };
            let labels = &mut obj["metadata"]["labels"];
            if !labels.is_object() {
                *labels = Map::new().into();
            }
            labels[label] = value.clone();
        }
        Ok(())
    }
}
