//! Flows of UDP that the kernel still sends to an endpoint that is gone.
//!
//! TCP notices by itself; a UDP client that keeps its socket would go on talking to nobody for as long as it talks.
//! After a change of a UDP Service the flows whose destination is the Service, and whose endpoint no longer serves, are
//! cut, as upstream does (`pkg/proxy/conntrack`).

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use netfilter::Socket;
use netfilter::flows::Flow;

use super::nftables::version;
use crate::model::{Family, Protocol, ServicePort};

/// The destinations of UDP Services with the endpoints that still serve.
#[derive(Debug, Default)]
pub struct Serving {
    addresses: HashMap<SocketAddr, HashSet<SocketAddr>>,
    node_ports: HashMap<u16, HashSet<SocketAddr>>,
}

impl Serving {
    /// Adds a service port, if it is a UDP one with endpoints.
    pub fn add(&mut self, port: &ServicePort) {
        if port.protocol != Protocol::Udp || port.endpoints.serving.is_empty() {
            return;
        }
        let endpoints: HashSet<SocketAddr> = port.endpoints.serving.iter().copied().collect();
        for ip in [port.cluster_ip].iter().chain(&port.external_ips).chain(&port.load_balancer_ips) {
            self.addresses.insert(SocketAddr::new(*ip, port.port), endpoints.clone());
        }
        if let Some(node_port) = port.node_port {
            self.node_ports.insert(node_port, endpoints);
        }
    }

    /// Whether there is anything to look for.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.node_ports.is_empty()
    }

    /// Whether a flow goes to a Service, but to none of its endpoints.
    fn is_stale(&self, destination: SocketAddr, responder: SocketAddr) -> bool {
        let misses = |endpoints: Option<&HashSet<SocketAddr>>| endpoints.is_some_and(|all| !all.contains(&responder));
        misses(self.addresses.get(&destination)) || misses(self.node_ports.get(&destination.port()))
    }
}

/// Cuts the stale UDP flows of a family; returns how many. Blocks: for a blocking thread.
///
/// # Errors
/// The kernel has no connection tracking interface, or we may not use it.
pub fn clean(socket: &mut Socket, family: Family, serving: &Serving) -> std::io::Result<usize> {
    if serving.is_empty() {
        return Ok(0);
    }
    let mut stale: Vec<Flow> = socket.udp_flows(version(family))?;
    stale.retain(|flow| serving.is_stale(flow.destination, flow.responder));
    stale.iter().try_for_each(|flow| socket.cut(flow))?;
    Ok(stale.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_stale_if_its_endpoint_no_longer_serves() {
        let check = |service: &str, endpoint: &str| {
            let endpoints = HashSet::from([endpoint.parse().unwrap()]);
            let serving = Serving {
                addresses: HashMap::from([(service.parse().unwrap(), endpoints)]),
                node_ports: HashMap::new(),
            };
            serving.is_stale("10.96.0.10:53".parse().unwrap(), "10.244.1.9:5353".parse().unwrap())
        };
        assert!(!check("10.96.0.10:53", "10.244.1.9:5353"));
        assert!(check("10.96.0.10:53", "10.244.1.8:5353"));
        assert!(!check("10.96.0.11:53", "10.244.1.8:5353"));
    }
}
