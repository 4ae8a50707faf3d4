//! From the API's objects. What can't be understood allows nothing: a rule for it matches no packet, and a subject that can't
//! be told from others is one.
//!
//! Defaults are the server's (`pkg/apis/networking/v1/defaults.go`), for objects that are older than they.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as ApiSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use machinery::selector::LabelSelector;
use netfilter::tables::Transport;

use super::{DnsEndpoint, Peers, Pod, Policy, Ports, Rule, Scope, Selection};

/// A pod, if policies can say something of it: one of the host's network has the node's address and is not told from it, one
/// that has ended may have lost its address to another.
pub fn pod(pod: &v1::Pod, node: &str) -> Option<Pod> {
    let (spec, status, meta) = (pod.spec.as_ref()?, pod.status.as_ref()?, &pod.metadata);
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if spec.host_network == Some(true) || ended {
        return None;
    }
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let ips: Vec<IpAddr> = listed.chain(status.pod_ip.as_deref()).filter_map(|ip| ip.parse().ok()).collect();
    let mut apart: Vec<IpAddr> = Vec::new();
    ips.into_iter().for_each(|ip| {
        if !apart.contains(&ip) {
            apart.push(ip)
        }
    });
    if apart.is_empty() {
        return None;
    }
    // Containers that start before the others and stay, too.
    let stays = |container: &&v1::Container| container.restart_policy.as_deref() == Some("Always");
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(stays));
    let mut found = Pod {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        since: meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
        labels: meta.labels.clone().unwrap_or_default(),
        ips: apart,
        ports: Default::default(),
        local: spec.node_name.as_deref() == Some(node),
    };
    for port in containers.flat_map(|container| container.ports.iter().flatten()) {
        let number = u16::try_from(port.container_port).ok().filter(|number| *number > 0);
        if let (Some(name), Some(number), Some(transport)) = (&port.name, number, transport(port.protocol.as_deref())) {
            found.ports.entry((transport, name.clone())).or_insert(number);
        }
    }
    Some(found)
}

fn transport(name: Option<&str>) -> Option<Transport> {
    match name {
        None | Some("" | "TCP") => Some(Transport::Tcp),
        Some("UDP") => Some(Transport::Udp),
        Some("SCTP") => Some(Transport::Sctp),
        Some(_) => None,
    }
}

/// A policy.
pub fn policy(policy: &NetworkPolicy) -> Policy {
    let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
    let spec = policy.spec.clone().unwrap_or_default();
    let types = spec.policy_types.unwrap_or_default();
    let has = |name: &str| types.iter().any(|one| one == name);
    let default = types.is_empty();
    let of = |peers: Option<Vec<NetworkPolicyPeer>>, ports: Option<Vec<NetworkPolicyPort>>| {
        let some = |all: &Vec<_>| !all.is_empty();
        Rule {
            peers: peers.filter(|all| !all.is_empty()).map(|all| read_peers(namespace, &all)),
            ports: ports.filter(some).map(|all| read_ports(&all)),
        }
    };
    let (incoming, outgoing) = (spec.ingress.unwrap_or_default(), spec.egress.unwrap_or_default());
    let egress = has("Egress") || default && !outgoing.is_empty();
    Policy {
        // A policy always has one; where it does not, all are isolated.
        subjects: match &spec.pod_selector {
            Some(subjects) => selector(subjects).unwrap_or_default(),
            None => LabelSelector::everything(),
        },
        ingress: (has("Ingress") || default)
            .then(|| incoming.into_iter().map(|rule| of(rule.from, rule.ports)).collect()),
        egress: egress.then(|| outgoing.into_iter().map(|rule| of(rule.to, rule.ports)).collect()),
    }
}

/// As the API has it, with requirements in an order of their own, so that equal ones are the same.
fn selector(of: &ApiSelector) -> Option<LabelSelector> {
    let parsed = serde_json::to_value(of).ok().and_then(|value| LabelSelector::from_value(Some(&value)).ok());
    let Some(LabelSelector::All(mut requirements)) = parsed else {
        tracing::warn!(selector = ?of, "a policy's selector can't be understood");
        return None;
    };
    for requirement in &mut requirements {
        requirement.values.sort_unstable();
        requirement.values.dedup();
    }
    requirements.sort_by_cached_key(|requirement| format!("{requirement:?}"));
    requirements.dedup();
    Some(LabelSelector::All(requirements))
}

fn read_peers(namespace: &str, peers: &[NetworkPolicyPeer]) -> Peers {
    let mut out = Peers::default();
    for peer in peers {
        match (&peer.pod_selector, &peer.namespace_selector, &peer.ip_block) {
            (None, None, Some(block)) => add_block(&mut out, block),
            (pods, namespaces, None) if pods.is_some() || namespaces.is_some() => {
                let pods = pods.as_ref().map_or(Some(LabelSelector::everything()), selector);
                let own = || Some(Scope::Own(namespace.to_owned()));
                let namespaces = namespaces.as_ref().map_or_else(own, |of| selector(of).map(Scope::Labelled));
                if let (Some(pods), Some(namespaces)) = (pods, namespaces) {
                    let selection = Selection { namespaces, pods };
                    if !out.pods.contains(&selection) {
                        out.pods.push(selection);
                    }
                }
            }
            // A sort of peer that a later version has, or two at once: nobody.
            _ => {}
        }
    }
    out
}

fn add_block(to: &mut Peers, block: &IPBlock) {
    let except: Option<Vec<IpNet>> = block.except.iter().flatten().map(|net| net.parse().ok()).collect();
    match (block.cidr.parse(), except) {
        (Ok(net), Some(except)) => to.nets.add(net, &except),
        _ => tracing::warn!(?block, "a policy's block of addresses can't be understood, and allows nothing"),
    }
}

fn read_ports(ports: &[NetworkPolicyPort]) -> Ports {
    let mut out = Ports::default();
    for port in ports {
        let Some(transport) = transport(port.protocol.as_deref()) else { continue };
        let number = |number: i32| u16::try_from(number).ok().filter(|number| *number > 0);
        match (&port.port, port.end_port) {
            (None, None) => out.add(transport, 0, u16::MAX),
            (Some(IntOrString::Int(first)), end) => {
                if let (Some(first), Some(last)) = (number(*first), number(end.unwrap_or(*first)))
                    && first <= last
                {
                    out.add(transport, first, last);
                }
            }
            (Some(IntOrString::String(name)), None) if !name.is_empty() => {
                out.named.insert((transport, name.clone()));
            }
            // An end without a beginning, or behind a name.
            _ => {}
        }
    }
    out
}

/// Where an EndpointSlice of the DNS's Service leads.
pub fn dns_endpoints(slice: &EndpointSlice) -> Vec<DnsEndpoint> {
    let mut out = Vec::new();
    for endpoint in slice.endpoints.iter().flatten() {
        let is_pod = endpoint.target_ref.as_ref().is_some_and(|target| target.kind.as_deref() == Some("Pod"));
        for port in slice.ports.iter().flatten() {
            let number = port.port.and_then(|port| u16::try_from(port).ok());
            let (Some(port_number), Some(transport)) = (number, transport(port.protocol.as_deref())) else { continue };
            out.extend(endpoint.addresses.iter().filter_map(|ip| ip.parse().ok()).map(|ip| DnsEndpoint {
                ip,
                port: port_number,
                transport,
                name: port.name.clone().unwrap_or_default(),
                is_pod,
            }));
        }
    }
    out
}
