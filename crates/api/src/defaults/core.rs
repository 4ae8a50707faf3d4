//! The rest of the core group: Service, ReplicationController, volumes and claims, Namespace, Node, LimitRange.

use machinery::json::Fields;
use serde_json::{Map, Value, json};

use super::{Row, each, empty, inner, inner_if, or, or_zero};

pub(super) const RULES: &[Row] = &[
    ("core.v1", "ReplicationController", replication_controller),
    ("core.v1", "Service", service),
    ("core.v1", "Secret", secret),
    ("core.v1", "NodeSpec", node_spec),
    ("core.v1", "PodStatus", |m| one_and_list(m, "podIP", "podIPs", |ip| json!({"ip": ip}))),
    ("core.v1", "PersistentVolume", persistent_volume),
    ("core.v1", "PersistentVolumeClaim", |m| or_zero(inner(m, "status"), "phase", "Pending")),
    ("core.v1", "PersistentVolumeClaimSpec", |m| or(m, "volumeMode", "Filesystem")),
    ("core.v1", "Endpoints", endpoints),
    ("core.v1", "Namespace", namespace),
    ("core.v1", "NamespaceStatus", |m| or_zero(m, "phase", "Active")),
    ("core.v1", "NodeStatus", node_status),
    ("core.v1", "LimitRangeItem", limit_range_item),
];

fn replication_controller(rc: &mut Map<String, Value>) {
    let labels = rc.get("spec").and_then(|s| s.pointer("/template/metadata/labels")).cloned();
    let Some(labels) = labels.filter(Value::is_object) else { return };
    or_zero(inner(rc, "spec"), "selector", labels.clone());
    or_zero(inner(rc, "metadata"), "labels", labels);
}

// `stringData` is for writing: upstream's conversion moves it over what is in `data`.
fn secret(secret: &mut Map<String, Value>) {
    use base64::Engine;
    if let Some(Value::Object(given)) = secret.remove("stringData") {
        for (key, value) in given {
            let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
            inner(secret, "data").insert(key, encoded.into());
        }
    }
    or_zero(secret, "type", "Opaque");
}

fn node_spec(spec: &mut Map<String, Value>) {
    one_and_list(spec, "podCIDR", "podCIDRs", std::convert::identity);
}

/// A field that was one and has become a list: the one is the list's first, and wins where they differ, as it is what
/// older clients write.
fn one_and_list(map: &mut Map<String, Value>, one: &str, list: &str, item: fn(Value) -> Value) {
    let first = map.get(list).and_then(|list| list.get(0)).cloned();
    match map.get(one).filter(|one| one.as_str().is_some_and(|text| !text.is_empty())).cloned() {
        Some(value) if first.as_ref() != Some(&item(value.clone())) => {
            map.insert(list.to_owned(), json!([item(value)]));
        }
        Some(_) => {}
        None => {
            let text = first.as_ref().map(|first| first.get("ip").unwrap_or(first));
            if let Some(text) = text.filter(|text| text.is_string()).cloned() {
                map.insert(one.to_owned(), text);
            }
        }
    }
}

fn service(service: &mut Map<String, Value>) {
    let spec = inner(service, "spec");
    or_zero(spec, "sessionAffinity", "None");
    match spec.text("sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let set = spec.get("sessionAffinityConfig").and_then(|c| c.pointer("/clientIP/timeoutSeconds")).is_some();
            if !set {
                spec.insert("sessionAffinityConfig".into(), json!({"clientIP": {"timeoutSeconds": 10800}}));
            }
        }
        _ => {}
    }
    or_zero(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        or_zero(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or(json!(0));
        or_zero(port, "targetPort", number);
    }
    let kind = spec.text("type").to_owned();
    let external =
        matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && !empty(spec, "externalIPs"));
    if external {
        or_zero(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        or(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        or(spec, "allocateLoadBalancerNodePorts", true);
        let ingress = inner_if(service, "status").and_then(|s| inner_if(s, "loadBalancer"));
        for point in ingress.into_iter().flat_map(|b| each(b, "ingress")) {
            if !empty(point, "ip") {
                or(point, "ipMode", "VIP");
            }
        }
    }
}

fn persistent_volume(volume: &mut Map<String, Value>) {
    or_zero(inner(volume, "status"), "phase", "Pending");
    let spec = inner(volume, "spec");
    or_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
    or(spec, "volumeMode", "Filesystem");
}

fn endpoints(endpoints: &mut Map<String, Value>) {
    for subset in each(endpoints, "subsets") {
        for port in each(subset, "ports") {
            or_zero(port, "protocol", "TCP");
        }
    }
}

/// The label by which selectors find a namespace by name. A generated name is labelled when it has been generated.
fn namespace(namespace: &mut Map<String, Value>) {
    let Some(metadata) = inner_if(namespace, "metadata") else { return };
    let name = metadata.text("name").to_owned();
    if !name.is_empty() {
        inner(metadata, "labels").insert("kubernetes.io/metadata.name".into(), Value::String(name));
    }
}

fn node_status(status: &mut Map<String, Value>) {
    if let Some(capacity) = status.get("capacity").cloned() {
        or(status, "allocatable", capacity);
    }
}

/// For containers: limits default to the maximum, requests to the limits or the minimum.
fn limit_range_item(item: &mut Map<String, Value>) {
    if item.text("type") != "Container" {
        return;
    }
    let amounts =
        |item: &Map<String, Value>, name: &str| item.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut limits = amounts(item, "default");
    let mut requests = amounts(item, "defaultRequest");
    for (name, amount) in amounts(item, "max") {
        limits.entry(name).or_insert(amount);
    }
    for (name, amount) in limits.clone().into_iter().chain(amounts(item, "min")) {
        requests.entry(name).or_insert(amount);
    }
    for (key, list) in [("default", limits), ("defaultRequest", requests)] {
        if !list.is_empty() {
            item.insert(key.into(), Value::Object(list));
        }
    }
}
