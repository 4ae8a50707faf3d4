//! From nodes and links to routes.
//!
//! A node whose address is in the subnet of one of this machine's links is reached by a plain route; any other one through
//! the tunnel (VXLAN), if it has published its end. What a node says of itself is not trusted further than that: ranges that
//! overlap those of an older node, or that hold this machine's own addresses, get no route.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Endpoint, Mac, Node};
use crate::config::Mode;
use crate::{PORT, VNI};

/// What the tunnel puts before a packet: Ethernet, IP, UDP, VXLAN.
const OVERHEAD_IPV4: u32 = 50;
const OVERHEAD_IPV6: u32 = 70;
/// Of a machine whose link is not found.
const USUAL_MTU: u32 = 1500;

/// A link of this machine, but those of its pods and the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// It carries packets.
    pub up: bool,
    /// Its addresses, with the length of the subnet's prefix.
    pub addresses: Vec<IpNet>,
}

/// What is decided for this node alone.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// Its name.
    pub name: &'a str,
    /// How other nodes are reached.
    pub mode: Mode,
    /// The largest packet of a pod, if it is not to be worked out.
    pub mtu: Option<u32>,
    /// The cluster's ranges, where they are known.
    pub cluster: &'a [IpNet],
}

/// What the node has to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The ranges of its own pods; none as long as it was given none.
    pub ranges: Vec<IpNet>,
    /// The largest packet of a pod, in bytes.
    pub mtu: u32,
    /// The addresses of all pods: what goes from one of them to another keeps its source.
    pub cluster: Vec<IpNet>,
    /// Its end of the tunnel.
    pub device: Option<Device>,
    /// How the ranges of other nodes are reached.
    pub routes: BTreeMap<IpNet, Route>,
    /// Neighbours through the tunnel: the gateways of its routes.
    pub neighbours: BTreeMap<IpAddr, Mac>,
    /// To which node the tunnel sends what is for a neighbour.
    pub forwarding: BTreeMap<Mac, IpAddr>,
    /// What the other nodes have to know.
    pub endpoint: Option<Endpoint>,
    /// What is wrong, in one line each, by the node that it is about.
    pub faults: BTreeSet<(String, String)>,
}

/// The tunnel's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its address.
    pub mac: Mac,
    /// Where what it sends comes from.
    pub local: IpAddr,
    /// Its largest packet, in bytes.
    pub mtu: u32,
    /// Its addresses: those from which this machine speaks to pods of other nodes.
    pub addresses: Vec<IpAddr>,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The next machine.
    pub gateway: IpAddr,
    /// By which link.
    pub way: Way,
}

/// The link of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// That one.
    Link(u32),
    /// The tunnel.
    Tunnel,
}

/// What the node has to have, out of all nodes and its own links.
pub fn compile(nodes: &BTreeMap<String, Node>, links: &[Link], own: &Own<'_>) -> Plan {
    let this = nodes.get(own.name).cloned().unwrap_or_default();
    let local = underlay(&this);
    let mtu = link_mtu(&this, links);
    let overhead = if local.is_some_and(|address| address.is_ipv6()) { OVERHEAD_IPV6 } else { OVERHEAD_IPV4 };
    let through = mtu.saturating_sub(overhead);
    let all = if matches!(own.mode, Mode::Auto | Mode::Vxlan) { through } else { mtu };
    let mut plan = Plan { ranges: this.ranges.clone(), mtu: own.mtu.unwrap_or(all), ..Plan::default() };
    if own.mode == Mode::None {
        return plan;
    }
    let mut others: Vec<&Node> = nodes.values().filter(|node| node.name != own.name).collect();
    others.sort_by(|a, b| (&a.since, &a.name).cmp(&(&b.since, &b.name)));
    let mut taken: Vec<(IpNet, &str)> = this.ranges.iter().map(|range| (*range, own.name)).collect();
    let mut tunnel = own.mode == Mode::Vxlan;
    for node in &others {
        // Whoever has an end of the tunnel may have to send through it.
        tunnel |= own.mode == Mode::Auto && node.endpoint.is_some();
        for range in &node.ranges {
            if let Some(fault) = unusable(*range, &taken, links) {
                plan.faults.insert((node.name.clone(), fault));
                continue;
            }
            taken.push((*range, &node.name));
            if own.mode != Mode::Vxlan
                && let Some(route) = direct(node, *range, links)
            {
                plan.routes.insert(*range, route);
            } else if own.mode == Mode::Routes {
                let fault = format!("{range} has no route: no link of this machine has the node's subnet");
                plan.faults.insert((node.name.clone(), fault));
            } else {
                tunnel = true;
                plan.through_tunnel(node, *range, local);
            }
        }
    }
    let cluster =
        if own.cluster.is_empty() { taken.iter().map(|(range, _)| *range).collect() } else { own.cluster.to_vec() };
    plan.cluster = IpNet::aggregate(&cluster);
    if let Some(local) = local.filter(|_| tunnel) {
        let mac = Mac::of_node(own.name);
        let addresses = this.ranges.iter().map(IpNet::network).collect();
        plan.device = Some(Device { mac, local, mtu: through, addresses });
        plan.endpoint = Some(Endpoint { vni: VNI, port: PORT, mac, address: local });
    }
    plan
}

impl Plan {
    /// Until a node has published its end there is no way to it.
    fn through_tunnel(&mut self, node: &Node, range: IpNet, local: Option<IpAddr>) {
        let Some(endpoint) = node.endpoint else { return };
        if endpoint.vni != VNI || endpoint.port != PORT {
            let fault = format!("its end of the tunnel is {}:{}, and not {VNI}:{PORT}", endpoint.vni, endpoint.port);
            self.faults.insert((node.name.clone(), fault));
            return;
        }
        if local.is_none_or(|local| local.is_ipv4() != endpoint.address.is_ipv4()) {
            let fault = format!("this machine has no address of the family of {}", endpoint.address);
            self.faults.insert((node.name.clone(), fault));
            return;
        }
        match self.forwarding.get(&endpoint.mac) {
            Some(address) if *address != endpoint.address => {
                let fault = format!("another node has its link's address {} too", endpoint.mac);
                self.faults.insert((node.name.clone(), fault));
                return;
            }
            _ => {}
        }
        let gateway = range.network();
        self.forwarding.insert(endpoint.mac, endpoint.address);
        self.neighbours.insert(gateway, endpoint.mac);
        self.routes.insert(range, Route { gateway, way: Way::Tunnel });
    }
}

/// The address between which tunnels are: IPv4, if there is one.
fn underlay(node: &Node) -> Option<IpAddr> {
    let of = |v4: bool| node.addresses.iter().find(move |address| address.is_ipv4() == v4);
    of(true).or(of(false)).copied()
}

/// The largest packet of the link that has the node's address.
fn link_mtu(node: &Node, links: &[Link]) -> u32 {
    let has = |link: &&Link| link.addresses.iter().any(|net| node.addresses.contains(&net.addr()));
    links.iter().find(has).map_or(USUAL_MTU, |link| link.mtu)
}

/// Why a range gets no route.
fn unusable(range: IpNet, taken: &[(IpNet, &str)], links: &[Link]) -> Option<String> {
    let overlaps = |other: &IpNet| other.contains(&range) || range.contains(other);
    if let Some((other, node)) = taken.iter().find(|(other, _)| overlaps(other)) {
        return Some(format!("{range} has no route: it overlaps {other} of the node {node}"));
    }
    let own = links.iter().flat_map(|link| &link.addresses).find(|net| range.contains(&net.addr()));
    own.map(|net| format!("{range} has no route: it holds this machine's own address {}", net.addr()))
}

/// By a link whose subnet the node is in; of several, that of the longest prefix.
fn direct(node: &Node, range: IpNet, links: &[Link]) -> Option<Route> {
    let gateway = *node.addresses.iter().find(|address| address.is_ipv4() == range.addr().is_ipv4())?;
    let nets = links.iter().filter(|link| link.up).flat_map(|link| link.addresses.iter().map(move |net| (net, link)));
    let near = nets
        .filter(|(net, _)| net.contains(&gateway) && net.addr() != gateway && net.prefix_len() < net.max_prefix_len());
    let (_, link) = near.max_by_key(|(net, _)| net.prefix_len())?;
    Some(Route { gateway, way: Way::Link(link.index) })
}
