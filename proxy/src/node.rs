//! What the proxy reads off its node: addresses, zone, pod ranges, and whether load balancers should still use it.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1;

use crate::backends::nftables::NodePortAddresses;
use crate::model::Family;

/// The part of a Node that the rules depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeInfo {
    /// Its addresses, the preferred one of each family first.
    pub ips: Vec<IpAddr>,
    /// `topology.kubernetes.io/zone`.
    pub zone: String,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
    /// It is being removed: load balancers are told to look elsewhere.
    pub leaving: bool,
}

impl NodeInfo {
    /// Reads a Node. Internal addresses come before external ones, as upstream prefers them.
    pub fn of(node: &v1::Node) -> NodeInfo {
        let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
        let of_type = |kind: &'static str| {
            let addresses = addresses.into_iter().flatten().filter(move |address| address.type_ == kind);
            addresses.filter_map(|address| address.address.parse().ok())
        };
        let spec = node.spec.as_ref();
        let zone = node.metadata.labels.as_ref().and_then(|labels| labels.get("topology.kubernetes.io/zone"));
        let taints = spec.and_then(|spec| spec.taints.as_ref());
        NodeInfo {
            ips: of_type("InternalIP").chain(of_type("ExternalIP")).collect(),
            zone: zone.cloned().unwrap_or_default(),
            pod_cidrs: spec
                .and_then(|spec| spec.pod_cidrs.as_ref())
                .into_iter()
                .flatten()
                .filter_map(|cidr| cidr.parse().ok())
                .collect(),
            leaving: node.metadata.deletion_timestamp.is_some()
                || taints.into_iter().flatten().any(|taint| taint.key == "ToBeDeletedByClusterAutoscaler"),
        }
    }

    /// The preferred address of a family.
    pub fn ip(&self, family: Family) -> Option<IpAddr> {
        self.ips.iter().copied().find(|ip| Family::of(ip) == family)
    }
}

/// The addresses that accept node ports: `configured` is `--nodeport-addresses`, where nothing and `primary` mean the
/// node's preferred addresses, and ranges mean the addresses `on_host` within them.
pub fn node_port_addresses(configured: &[String], node: &NodeInfo, on_host: &[IpAddr]) -> NodePortAddresses {
    let mut ips: Vec<IpAddr> = Vec::new();
    let primary = || [Family::V4, Family::V6].into_iter().filter_map(|family| node.ip(family));
    if configured.is_empty() {
        ips.extend(primary());
    }
    for entry in configured {
        match entry.parse::<IpNet>() {
            Ok(range) if range.prefix_len() == 0 => return NodePortAddresses::All,
            Ok(range) => ips.extend(on_host.iter().filter(|ip| range.contains(*ip))),
            Err(_) => ips.extend(primary()),
        }
    }
    ips.sort();
    ips.dedup();
    NodePortAddresses::Ips(ips)
}

/// The addresses of this machine's interfaces.
pub fn host_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    });
    addresses.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeInfo {
        let node = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "za"}},
            "spec": {"podCIDRs": ["10.244.1.0/24"]},
            "status": {"addresses": [{"type": "ExternalIP", "address": "203.0.113.1"}, {"type": "Hostname", "address": "n1"},
                {"type": "InternalIP", "address": "192.0.2.10"}, {"type": "InternalIP", "address": "fd00::a"}]},
        }));
        NodeInfo::of(&node.unwrap())
    }

    #[test]
    fn reads_addresses_zone_and_ranges() {
        let node = node();
        assert_eq!(node.ip(Family::V4), Some("192.0.2.10".parse().unwrap()));
        assert_eq!(node.ip(Family::V6), Some("fd00::a".parse().unwrap()));
        assert_eq!((node.zone.as_str(), node.pod_cidrs.len(), node.leaving), ("za", 1, false));
    }

    #[test]
    fn node_port_addresses_of_every_form() {
        let host = ["127.0.0.1", "192.0.2.10", "10.0.0.1"].map(|ip| ip.parse().unwrap());
        let check = |configured: &[&str], expected: &[&str]| {
            let configured: Vec<String> = configured.iter().map(|s| (*s).to_owned()).collect();
            let expected = expected.iter().map(|ip| ip.parse().unwrap()).collect();
            assert_eq!(node_port_addresses(&configured, &node(), &host), NodePortAddresses::Ips(expected));
        };
        check(&[], &["192.0.2.10", "fd00::a"]);
        check(&["primary"], &["192.0.2.10", "fd00::a"]);
        check(&["10.0.0.0/8"], &["10.0.0.1"]);
        let all = node_port_addresses(&["0.0.0.0/0".into()], &node(), &host);
        assert_eq!(all, NodePortAddresses::All);
    }
}
