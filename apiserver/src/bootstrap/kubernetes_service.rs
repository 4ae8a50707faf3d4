//! The `kubernetes` Service: how pods reach the API server. Its cluster IP is the first of the service range, its only
//! endpoint the address that the server advertises. Follows `pkg/controlplane/controller/kubernetesservice` and
//! `pkg/controlplane/reconcilers` (one server owns the endpoints; leases for several are a later issue).

use std::net::IpAddr;

use ipnet::IpNet;
use machinery::gvk::GroupResource;
use machinery::status::StatusError;
use serde_json::{Value, json};
use writes::Registry;

use super::{default_range, ensure};

/// What the Service is made of.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The ranges that cluster IPs come from, the primary one first.
    pub service_ranges: Vec<IpNet>,
    /// The address that the server is reached at.
    pub advertise: IpAddr,
    /// The port that the server is reached at.
    pub port: u16,
}

/// The first usable address of a range: the API server's own cluster IP.
pub fn first_address(range: &IpNet) -> Option<IpAddr> {
    match range {
        IpNet::V4(net) => Some(IpAddr::V4((u32::from(net.network()) + 1).into())),
        IpNet::V6(net) => Some(IpAddr::V6((u128::from(net.network()) + 1).into())),
    }
}

/// Makes the Service, its EndpointSlice and its Endpoints what they should be.
pub async fn run(registry: &Registry, facts: &Facts) -> Result<(), StatusError> {
    let Some(cluster_ip) = facts.service_ranges.first().and_then(first_address) else { return Ok(()) };
    default_range::run(registry, &facts.service_ranges).await?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "kubernetes", "namespace": "default", "labels": labels() },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": cluster_ip.to_string(),
            "ipFamilyPolicy": "SingleStack",
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": facts.port }],
            "sessionAffinity": "None",
        },
    });
    ensure(registry, &GroupResource::new("", "services"), vec![service], |_, _| None).await?;
    if facts.advertise.is_loopback() {
        // Validation refuses it as an endpoint, rightly: in a pod it is the pod's own.
        tracing::warn!(
            "no address but loopback, so that the `kubernetes` Service has no endpoint: give one with --advertise-address"
        );
        return Ok(());
    }
    let family = if facts.advertise.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": "kubernetes", "namespace": "default", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": family,
        "endpoints": [{ "addresses": [facts.advertise.to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": facts.port, "protocol": "TCP" }],
    });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": { "name": "kubernetes", "namespace": "default", "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } },
        "subsets": [{
            "addresses": [{ "ip": facts.advertise.to_string() }],
            "ports": [{ "name": "https", "port": facts.port, "protocol": "TCP" }],
        }],
    });
    ensure(registry, &GroupResource::new("discovery.k8s.io", "endpointslices"), vec![slice], |a, b| {
        replaced(a, b, "endpoints")
    })
    .await?;
    ensure(registry, &GroupResource::new("", "endpoints"), vec![endpoints], |a, b| replaced(a, b, "subsets")).await
}

fn labels() -> Value {
    json!({ "component": "apiserver", "provider": "kubernetes" })
}

/// The existing object with the expected addresses and ports; `None` where it has them.
fn replaced(existing: &Value, expected: &Value, field: &str) -> Option<Value> {
    if existing[field] == expected[field] && existing["ports"] == expected["ports"] {
        return None;
    }
    let mut next = existing.clone();
    for key in [field, "ports"] {
        if let Some(value) = expected.get(key) {
            next[key] = value.clone();
        }
    }
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_has_the_first_address_of_the_range() {
        for (range, expect) in
            [("10.96.0.0/16", "10.96.0.1"), ("10.43.128.0/17", "10.43.128.1"), ("fd00::/108", "fd00::1")]
        {
            assert_eq!(first_address(&range.parse().expect("range")).map(|a| a.to_string()).as_deref(), Some(expect));
        }
    }
}
