//! Services as environment variables. Upstream: pkg/kubelet/envvars/envvars.go.

use k8s_openapi::api::core::v1::Service;
use std::{collections::BTreeMap, sync::Arc};

/// For a pod of that namespace: its own Services if it wants links, and the API server's Service always.
pub(crate) fn variables(services: &[Arc<Service>], namespace: &str, links: bool) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let (Some(name), own) = (service.metadata.name.as_deref(), service.metadata.namespace.as_deref()) else {
            continue;
        };
        if address(service).is_none() {
            continue;
        }
        if own == Some(namespace) && links {
            chosen.insert(name, service);
        } else if own == Some("default") && name == "kubernetes" {
            chosen.entry(name).or_insert(service);
        }
    }
    chosen.values().flat_map(|s| of(s)).collect()
}

fn address(service: &Service) -> Option<&str> {
    let spec = service.spec.as_ref()?;
    spec.cluster_ip
        .as_deref()
        .filter(|ip| !ip.is_empty() && *ip != "None" && spec.type_.as_deref() != Some("ExternalName"))
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn of(service: &Service) -> Vec<(String, String)> {
    let (Some(ip), Some(name)) = (address(service), service.metadata.name.as_deref()) else { return Vec::new() };
    let ports = service.spec.as_ref().and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let Some(first) = ports.first() else { return Vec::new() };
    let prefix = upper(name);
    let joined = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let mut list = vec![
        (format!("{prefix}_SERVICE_HOST"), ip.to_owned()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            list.push((format!("{prefix}_SERVICE_PORT_{}", upper(port_name)), port.port.to_string()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP");
        let lower = protocol.to_lowercase();
        let url = format!("{lower}://{joined}:{}", port.port);
        if index == 0 {
            list.push((format!("{prefix}_PORT"), url.clone()));
        }
        let base = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        list.push((base.clone(), url));
        list.push((format!("{base}_PROTO"), lower));
        list.push((format!("{base}_PORT"), port.port.to_string()));
        list.push((format!("{base}_ADDR"), ip.to_owned()));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn docker_links() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "my-db", "namespace": "ns"},
            "spec": {"clusterIP": "10.0.0.5", "ports": [{"name": "sql", "port": 5432}]}
        }))
        .expect("a service");
        let all = variables(&[Arc::new(service)], "ns", true);
        let lines: Vec<String> = all.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            lines,
            [
                "MY_DB_PORT=tcp://10.0.0.5:5432",
                "MY_DB_PORT_5432_TCP=tcp://10.0.0.5:5432",
                "MY_DB_PORT_5432_TCP_ADDR=10.0.0.5",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_SERVICE_HOST=10.0.0.5",
                "MY_DB_SERVICE_PORT=5432",
                "MY_DB_SERVICE_PORT_SQL=5432",
            ]
        );
        assert!(variables(&[], "ns", true).is_empty());
    }
}
