//! Making the node's object, and bringing an old one up to date. Upstream: kubelet_node_status.go.

use crate::{config::Config, node::machine::Machine, objects::api_message};
use k8s_openapi::{
    api::core::v1::{Node, NodeSpec, NodeStatus, Taint},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Labels that a kubelet sets by itself.
fn own_labels(config: &Config, machine: &Machine) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), config.hostname.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), machine.architecture.to_owned()),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("beta.kubernetes.io/arch".to_owned(), machine.architecture.to_owned()),
    ]);
    labels.extend(config.node_labels.iter().cloned());
    labels
}

pub(crate) fn new_node(config: &Config, machine: &Machine, status: NodeStatus) -> Node {
    let taints: Vec<Taint> = config
        .file
        .register_with_taints
        .iter()
        .map(|t| Taint {
            key: t.key.clone(),
            value: (!t.value.is_empty()).then(|| t.value.clone()),
            effect: t.effect.clone(),
            time_added: None,
        })
        .collect();
    let provider = &config.file.provider_id;
    Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(own_labels(config, machine)),
            annotations: Some(
                [("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned())].into(),
            ),
            ..Default::default()
        },
        spec: Some(NodeSpec {
            taints: (!taints.is_empty()).then_some(taints),
            provider_id: (!provider.is_empty()).then(|| provider.clone()),
            ..Default::default()
        }),
        status: Some(status),
    }
}

/// Tries until it works: nothing else can be done before.
pub(crate) async fn register(client: &Client, config: &Config, machine: &Machine, status: &NodeStatus) -> Node {
    let api = Api::<Node>::all(client.clone());
    let mut pause = Duration::from_millis(100);
    loop {
        match try_register(&api, config, machine, status).await {
            Ok(node) => return node,
            Err(error) => tracing::error!(
                node = config.node_name,
                error = api_message(&error),
                "unable to register node with API server"
            ),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(7));
    }
}

async fn try_register(
    api: &Api<Node>,
    config: &Config,
    machine: &Machine,
    status: &NodeStatus,
) -> Result<Node, kube::Error> {
    match api.create(&PostParams::default(), &new_node(config, machine, status.clone())).await {
        Err(kube::Error::Api(error)) if error.code == 409 => {}
        other => return other,
    }
    let node = api.get(&config.node_name).await?;
    let held = node.metadata.labels.clone().unwrap_or_default();
    let wanted = own_labels(config, machine);
    let labels: Map<String, Value> =
        wanted.into_iter().filter(|(k, v)| held.get(k) != Some(v)).map(|(k, v)| (k, Value::String(v))).collect();
    if labels.is_empty() {
        return Ok(node);
    }
    api.patch(&config.node_name, &PatchParams::default(), &Patch::Strategic(json!({"metadata": {"labels": labels}})))
        .await
}

/// A field's value as a patch. Objects are merged: what is no longer there is named with null.
fn changed(old: Option<&Value>, new: &Value) -> Value {
    let mut patch = new.clone();
    if let (Some(Value::Object(old)), Value::Object(patch)) = (old, &mut patch) {
        for key in old.keys() {
            patch.entry(key).or_insert(Value::Null);
        }
    }
    patch
}

/// Writes the status where it differs.
pub(crate) async fn report(
    client: &Client,
    name: &str,
    old: &NodeStatus,
    new: &NodeStatus,
) -> Result<Node, kube::Error> {
    let (Value::Object(old), Value::Object(new)) =
        (serde_json::to_value(old).unwrap_or_default(), serde_json::to_value(new).unwrap_or_default())
    else {
        return Api::<Node>::all(client.clone()).get(name).await;
    };
    let mut status = Map::new();
    for (key, value) in &new {
        if old.get(key) != Some(value) {
            status.insert(key.clone(), changed(old.get(key), value));
        }
    }
    // Addresses are merged by their type: say that this is the whole list.
    if let Some(Value::Array(list)) = status.get_mut("addresses") {
        list.push(json!({"$patch": "replace"}));
    }
    let api = Api::<Node>::all(client.clone());
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(json!({"status": status}))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_what_is_gone() {
        let (old, new) = (json!({"cpu": "2", "example.com/gone": "1"}), json!({"cpu": "4"}));
        assert_eq!(changed(Some(&old), &new), json!({"cpu": "4", "example.com/gone": null}));
        assert_eq!(changed(None, &new), new);
        assert_eq!(changed(Some(&json!([1, 2])), &json!([2])), json!([2]));
    }
}
