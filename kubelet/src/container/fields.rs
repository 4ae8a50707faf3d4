//! The downward API: fields of the pod and resources of its containers as text. Upstream: pkg/fieldpath, pkg/api/v1/resource.

use crate::{pod, quantity};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

/// What the node knows better than the pod's object.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeFacts {
    pub(crate) host_ips: Vec<String>,
    pub(crate) pod_ips: Vec<String>,
    /// Allocatable, which stands in for a limit that is not set.
    pub(crate) cpu_milli: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) ephemeral_bytes: i64,
}

pub(crate) fn field(pod: &Pod, path: &str, facts: &NodeFacts) -> Result<String, String> {
    let spec = pod::spec(pod);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Ok(match path {
        "metadata.name" => pod::name(pod).to_owned(),
        "metadata.namespace" => pod::namespace(pod).to_owned(),
        "metadata.uid" => pod::uid(pod).to_owned(),
        "metadata.labels" => map(&pod.metadata.labels),
        "metadata.annotations" => map(&pod.metadata.annotations),
        "spec.nodeName" => text(&spec.node_name),
        "spec.serviceAccountName" => text(&spec.service_account_name),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        "status.phase" => pod::phase(pod).to_owned(),
        "spec.host" => text(&spec.node_name),
        other => match subscript(other) {
            Some(("metadata.labels", key)) => {
                pod.metadata.labels.as_ref().and_then(|l| l.get(key)).cloned().unwrap_or_default()
            }
            Some(("metadata.annotations", key)) => pod::annotation(pod, key).unwrap_or_default().to_owned(),
            _ => return Err(format!("unsupported fieldPath: {other}")),
        },
    })
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    let (base, key) = path.strip_suffix("']")?.split_once("['")?;
    Some((base, key))
}

/// `key="value"` lines, sorted, values quoted as Go quotes.
fn map(map: &Option<std::collections::BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.iter().flatten().map(|(k, v)| format!("{k}={}", quoted(v))).collect();
    lines.join("\n")
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// A container's request or limit, in units of the divisor, rounded up.
pub(crate) fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    facts: &NodeFacts,
) -> Result<String, String> {
    let named = selector.container_name.as_deref().filter(|n| !n.is_empty());
    let found;
    let container = match (named, own) {
        (Some(name), _) => {
            found = pod::find(pod, name).ok_or_else(|| format!("container {name} not found"))?.1;
            &*found
        }
        (None, Some(container)) => container,
        (None, None) => return Err("container name is missing".into()),
    };
    let (list, name) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| format!("unsupported container resource : {}", selector.resource))?;
    let set = match list {
        "limits" => quantity::limit(&container.resources, name),
        "requests" => quantity::request(&container.resources, name),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let cpu = name == "cpu";
    let default = match (list, name) {
        ("limits", "cpu") => facts.cpu_milli,
        ("limits", "memory") => facts.memory_bytes,
        ("limits", "ephemeral-storage") => facts.ephemeral_bytes,
        (_, "cpu" | "memory" | "ephemeral-storage") => 0,
        (_, name) if name.starts_with("hugepages-") => 0,
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let amount = match set {
        Some(q) if cpu => quantity::milli(q),
        Some(q) => quantity::value(q),
        None => default,
    };
    let divisor = selector.divisor.as_ref().map_or(0, |d| if cpu { quantity::milli(d) } else { quantity::value(d) });
    let divisor = if divisor == 0 { if cpu { 1000 } else { 1 } } else { divisor };
    Ok((i128::from(amount) + i128::from(divisor) - 1).div_euclid(i128::from(divisor)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_and_resources() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"a": "1\"2", "b": "x"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}}]}
        }))
        .expect("a pod");
        let facts = NodeFacts { cpu_milli: 2000, memory_bytes: 1 << 30, ..Default::default() };
        assert_eq!(field(&pod, "metadata.labels", &facts).as_deref(), Ok("a=\"1\\\"2\"\nb=\"x\""));
        assert_eq!(field(&pod, "metadata.labels['b']", &facts).as_deref(), Ok("x"));
        for (resource_name, divisor, expected) in [
            ("limits.cpu", "0", "2"),
            ("limits.cpu", "1m", "1500"),
            ("limits.memory", "1Mi", "64"),
            ("requests.cpu", "1", "0"),
            ("limits.memory", "0", "67108864"),
        ] {
            let selector: ResourceFieldSelector =
                serde_json::from_value(json!({"resource": resource_name, "divisor": divisor})).expect("a selector");
            assert_eq!(
                resource(&pod, pod::spec(&pod).containers.first(), &selector, &facts).as_deref(),
                Ok(expected),
                "{resource_name}"
            );
        }
    }
}
