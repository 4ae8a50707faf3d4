//! Rows of the core group's other kinds, and the ones that many kinds share.

use jiff::Timestamp;
use machinery::json::Fields;
use machinery::meta;
use serde_json::Value;

use super::{age, condition, count, deleting, joined, labels, list_at, name, number, since, some_of, text_or};

pub(crate) fn name_and_age(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

pub(crate) fn component_status(status: &Value, _now: Timestamp) -> Vec<Value> {
    let healthy = condition(status, "/conditions", "Healthy");
    let word = match healthy {
        Some(c) if c["status"] == "True" => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    };
    let part = |key: &str| healthy.and_then(|c| c[key].as_str()).unwrap_or_default().into();
    vec![name(status), word.into(), part("message"), part("error")]
}

pub(crate) fn config_map(map: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(map), (count(map, "/data") + count(map, "/binaryData")).into(), age(map, now)]
}

pub(crate) fn secret(secret: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(secret), secret.text("type").into(), count(secret, "/data").into(), age(secret, now)]
}

pub(crate) fn namespace(namespace: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(namespace), namespace.sub("status").text("phase").into(), age(namespace, now)]
}

pub(crate) fn endpoints(endpoints: &Value, now: Timestamp) -> Vec<Value> {
    let (mut list, mut total) = (Vec::new(), 0);
    for subset in endpoints.list("subsets") {
        let addresses: Vec<&str> = subset.list("addresses").iter().filter_map(|a| a["ip"].as_str()).collect();
        let ports = subset.list("ports");
        if ports.is_empty() {
            total += addresses.len();
            list.extend(addresses.iter().map(|ip| (*ip).to_owned()));
        }
        for port in ports {
            total += addresses.len();
            list.extend(addresses.iter().map(|ip| host_port(ip, number(port, "/port"))));
        }
    }
    let text = if endpoints.list("subsets").is_empty() { "<none>".into() } else { some_of(&list, 3, total) };
    vec![name(endpoints), text.into(), age(endpoints, now)]
}

fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

pub(crate) fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let first = match event.text("firstTimestamp") {
        "" => since(event.text("eventTime"), now),
        time => since(time, now),
    };
    let mut last = match event.text("lastTimestamp") {
        "" => first.clone(),
        time => since(time, now),
    };
    let mut seen = number(event, "/count").max(1);
    if event.has("series") {
        last = since(event.sub("series").text("lastObservedTime"), now);
        seen = number(event, "/series/count");
    }
    let kind = event.sub("involvedObject").text("kind").to_lowercase();
    let target = match event.sub("involvedObject").text("name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let either = |a: &str, b: &str| if a.is_empty() { b.to_owned() } else { a.to_owned() };
    let component = either(event.sub("source").text("component"), event.text("reportingComponent"));
    let instance = either(event.sub("source").text("host"), event.text("reportingInstance"));
    let source = if instance.is_empty() { component } else { format!("{component}, {instance}") };
    vec![
        last.into(),
        event.text("type").into(),
        event.text("reason").into(),
        target.into(),
        event.sub("involvedObject").text("fieldPath").into(),
        source.into(),
        event.text("message").trim().into(),
        first.into(),
        seen.into(),
        name(event),
    ]
}

pub(crate) fn node(node: &Value, now: Timestamp) -> Vec<Value> {
    let mut status = match condition(node, "/status/conditions", "Ready") {
        Some(ready) if ready["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node.at("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| -> Value {
        let found = condition(node, "/status/addresses", kind).and_then(|a| a["address"].as_str());
        found.unwrap_or("<none>").into()
    };
    let mut kernel = match node.at("/status/nodeInfo").text("kernelVersion") {
        "" => "<unknown>".to_owned(),
        version => version.to_owned(),
    };
    let architecture = node.at("/status/nodeInfo").text("architecture");
    if !architecture.is_empty() {
        kernel.push_str(&format!(" ({architecture})"));
    }
    vec![
        name(node),
        status.into(),
        roles(node).into(),
        age(node, now),
        node.at("/status/nodeInfo").text("kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        text_or(node, "/status/nodeInfo/osImage", "<unknown>"),
        kernel.into(),
        text_or(node, "/status/nodeInfo/containerRuntimeVersion", "<unknown>"),
    ]
}

fn roles(node: &Value) -> String {
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        None => None,
    };
    let labels = node.sub("metadata").object("labels").into_iter().flatten();
    let mut roles: Vec<String> = labels.filter_map(role).filter(|r| !r.is_empty()).collect();
    roles.sort();
    roles.dedup();
    if roles.is_empty() { "<none>".into() } else { roles.join(",") }
}

fn access_modes(object: &Value, path: &str) -> String {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| list_at(object, path).iter().any(|m| m == mode);
    short.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// The class by annotation, as it once was, or by field.
fn storage_class(object: &Value) -> Value {
    let class = meta::annotation(object, "volume.beta.kubernetes.io/storage-class");
    class.unwrap_or_else(|| object.sub("spec").text("storageClassName")).into()
}

fn phase(object: &Value) -> Value {
    if deleting(object) { "Terminating".into() } else { object.sub("status").text("phase").into() }
}

pub(crate) fn persistent_volume(volume: &Value, now: Timestamp) -> Vec<Value> {
    let claim = match volume.at("/spec/claimRef") {
        Some(claim) => format!("{}/{}", claim.text("namespace"), claim.text("name")),
        _ => String::new(),
    };
    vec![
        name(volume),
        text_or(volume, "/spec/capacity/storage", "0"),
        access_modes(volume, "/spec/accessModes").into(),
        volume.sub("spec").text("persistentVolumeReclaimPolicy").into(),
        phase(volume),
        claim.into(),
        storage_class(volume),
        text_or(volume, "/spec/volumeAttributesClassName", "<unset>"),
        volume.sub("status").text("reason").into(),
        age(volume, now),
        text_or(volume, "/spec/volumeMode", "<unset>"),
    ]
}

pub(crate) fn persistent_volume_claim(claim: &Value, now: Timestamp) -> Vec<Value> {
    let bound = !claim.sub("spec").text("volumeName").is_empty();
    let (capacity, modes) = match bound {
        true => (text_or(claim, "/status/capacity/storage", "0"), access_modes(claim, "/status/accessModes").into()),
        false => ("".into(), "".into()),
    };
    vec![
        name(claim),
        phase(claim),
        claim.sub("spec").text("volumeName").into(),
        capacity,
        modes,
        storage_class(claim),
        text_or(claim, "/spec/volumeAttributesClassName", "<unset>"),
        age(claim, now),
        text_or(claim, "/spec/volumeMode", "<unset>"),
    ]
}

pub(crate) fn resource_quota(quota: &Value, now: Timestamp) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in quota.sub("status").object("hard").into_iter().flatten() {
        let used =
            quota.sub("status").object("used").and_then(|u| u.get(resource)).and_then(Value::as_str).unwrap_or("0");
        let list = if resource.starts_with("limits.") { &mut limits } else { &mut requests };
        list.push(format!("{resource}: {used}/{}", hard.as_str().unwrap_or("0")));
    }
    vec![name(quota), requests.join(", ").into(), limits.join(", ").into(), age(quota, now)]
}

pub(crate) fn service(service: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| {
        let (number, protocol) = (number(port, "/port"), port.text("protocol"));
        match port["nodePort"].as_i64() {
            Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    };
    let ports = service.sub("spec").list("ports").iter().map(port).collect::<Vec<_>>().join(",");
    vec![
        name(service),
        service.sub("spec").text("type").into(),
        text_or(service, "/spec/clusterIPs/0", "<none>"),
        external_ip(service).into(),
        if ports.is_empty() { "<none>".into() } else { ports.into() },
        age(service, now),
        labels(service, "/spec/selector"),
    ]
}

fn external_ip(service: &Value) -> String {
    let external = joined(service, "/spec/externalIPs");
    match service.sub("spec").text("type") {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".into(),
        "ClusterIP" | "NodePort" => external,
        "LoadBalancer" => {
            let parts = [load_balancer(service), external];
            let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
            if parts.is_empty() { "<pending>".into() } else { parts.join(",") }
        }
        "ExternalName" => service.sub("spec").text("externalName").into(),
        _ => "<unknown>".into(),
    }
}

/// Addresses of a load balancer, sorted.
pub(crate) fn load_balancer(object: &Value) -> String {
    let address = |point: &Value| match (point.text("ip"), point.text("hostname")) {
        ("", host) => host.to_owned(),
        (ip, _) => ip.to_owned(),
    };
    let mut all: Vec<String> =
        object.at("/status/loadBalancer").list("ingress").iter().map(address).filter(|a| !a.is_empty()).collect();
    all.sort();
    all.dedup();
    all.join(",")
}
