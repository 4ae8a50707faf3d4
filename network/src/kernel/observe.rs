//! What there is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{RouteMessageBuilder, packet_route::route::RouteHeader};

use super::{DEVICE, Kernel, PROTOCOL, said};
use crate::model::{Link, Mac};

/// What there is of what concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Links, but loopback, the tunnel and those that were to be left out.
    pub links: Vec<Link>,
    /// The tunnel's device.
    pub tunnel: Option<Tunnel>,
    /// Our routes: gateway and link.
    pub routes: Vec<(IpNet, Option<IpAddr>, Option<u32>)>,
    /// The tunnel's permanent neighbours.
    pub neighbours: BTreeMap<IpAddr, Mac>,
    /// Where the tunnel sends what is for a link's address.
    pub forwarding: BTreeSet<(Mac, IpAddr)>,
}

/// A device for a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// The kernel's number of it.
    pub index: u32,
    /// It carries packets.
    pub up: bool,
    /// Its largest packet, in bytes.
    pub mtu: u32,
    /// Its link's address.
    pub mac: Option<Mac>,
    /// Its addresses.
    pub addresses: BTreeSet<IpNet>,
    /// Where what it sends comes from.
    pub local: Option<IpAddr>,
    /// The network's number.
    pub vni: u32,
    /// The port on which it listens.
    pub port: u16,
    /// It sends to whom it has heard of.
    pub learning: bool,
}

/// What there is; links of these names do not count.
///
/// # Errors
/// The kernel does not tell.
pub async fn observe(kernel: &Kernel, without: &[&str]) -> anyhow::Result<Observed> {
    let mut seen = Observed::default();
    let mut addresses = addresses(kernel).await?;
    let all: Vec<LinkMessage> = kernel.0.link().get().execute().try_collect().await.map_err(said)?;
    for message in all {
        let Some(name) = name(&message) else { continue };
        let index = message.header.index;
        let its = addresses.remove(&index).unwrap_or_default();
        if name == DEVICE {
            seen.tunnel = Some(tunnel(&message, its));
        } else if !message.header.flags.contains(LinkFlags::Loopback) && !without.contains(&name) {
            let up = message.header.flags.contains(LinkFlags::Up);
            seen.links.push(Link { index, name: name.to_owned(), mtu: mtu(&message), up, addresses: its });
        }
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        seen.routes.extend(routes(kernel, family).await?);
    }
    if let Some(tunnel) = &seen.tunnel {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            seen.neighbours.extend(neighbours(kernel, family, tunnel.index).await?);
        }
        seen.forwarding = neighbours(kernel, AddressFamily::Bridge, tunnel.index)
            .await?
            .into_iter()
            .map(|(ip, mac)| (mac, ip))
            .collect();
    }
    Ok(seen)
}

/// The number of a link.
pub(super) async fn index(kernel: &Kernel, wanted: &str) -> anyhow::Result<Option<u32>> {
    let all: Vec<LinkMessage> = kernel.0.link().get().execute().try_collect().await.map_err(said)?;
    Ok(all.iter().find(|message| name(message) == Some(wanted)).map(|message| message.header.index))
}

pub(super) fn name(message: &LinkMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn mtu(message: &LinkMessage) -> u32 {
    let found = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    found.unwrap_or_default()
}

fn tunnel(message: &LinkMessage, addresses: Vec<IpNet>) -> Tunnel {
    let mut tunnel = Tunnel {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        mtu: mtu(message),
        addresses: addresses.into_iter().collect(),
        ..Tunnel::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => tunnel.mac = Mac::from_bytes(bytes),
            LinkAttribute::LinkInfo(infos) => {
                let data = infos.iter().filter_map(|info| match info {
                    LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
                    _ => None,
                });
                for of_vxlan in data.flatten() {
                    match of_vxlan {
                        InfoVxlan::Id(id) => tunnel.vni = *id,
                        InfoVxlan::Port(port) => tunnel.port = *port,
                        InfoVxlan::Local(address) => tunnel.local = Some((*address).into()),
                        InfoVxlan::Local6(address) => tunnel.local = Some((*address).into()),
                        InfoVxlan::Learning(is) => tunnel.learning = *is,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    tunnel
}

/// Of all links; those of a link alone (`fe80::`) are left out.
async fn addresses(kernel: &Kernel) -> anyhow::Result<BTreeMap<u32, Vec<IpNet>>> {
    let mut found: BTreeMap<u32, Vec<IpNet>> = BTreeMap::new();
    let mut all = std::pin::pin!(kernel.0.address().get().execute());
    while let Some(message) = all.try_next().await.map_err(said)? {
        // Where both are there, the first is this machine's, and the second its peer's.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        let Some(address) = local.or(address) else { continue };
        let of_link = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if let Some(net) = IpNet::new(address, message.header.prefix_len).ok().filter(|_| !of_link) {
            found.entry(message.header.index).or_default().push(net);
        }
    }
    Ok(found)
}

async fn routes(kernel: &Kernel, family: AddressFamily) -> anyhow::Result<Vec<(IpNet, Option<IpAddr>, Option<u32>)>> {
    let mut wanted = RouteMessageBuilder::<IpAddr>::new().protocol(RouteProtocol::Other(PROTOCOL)).build();
    wanted.header.address_family = family;
    wanted.header.table = RouteHeader::RT_TABLE_MAIN;
    let mut found = Vec::new();
    let mut all = std::pin::pin!(kernel.0.route().get(wanted).execute());
    while let Some(message) = all.try_next().await.map_err(said)? {
        // A kernel that does not filter lists all.
        if is_ours(&message) {
            found.extend(route(&message, family));
        }
    }
    Ok(found)
}

/// Whether we made the route.
pub(super) fn is_ours(message: &RouteMessage) -> bool {
    message.header.protocol == RouteProtocol::Other(PROTOCOL) && message.header.table == RouteHeader::RT_TABLE_MAIN
}

fn route(message: &RouteMessage, family: AddressFamily) -> Option<(IpNet, Option<IpAddr>, Option<u32>)> {
    let address = |address: &RouteAddress| match address {
        RouteAddress::Inet(v4) => Some(IpAddr::from(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::from(*v6)),
        _ => None,
    };
    let any: IpAddr = if family == AddressFamily::Inet { [0; 4].into() } else { [0u16; 8].into() };
    let (mut to, mut gateway, mut link) = (any, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(destination) => to = address(destination)?,
            RouteAttribute::Gateway(by) => gateway = address(by),
            RouteAttribute::Oif(index) => link = Some(*index),
            _ => {}
        }
    }
    Some((IpNet::new(to, message.header.destination_prefix_length).ok()?, gateway, link))
}

/// Addresses and the links' addresses that they are at: permanent neighbours of a link, or where a tunnel sends to.
async fn neighbours(kernel: &Kernel, family: AddressFamily, index: u32) -> anyhow::Result<Vec<(IpAddr, Mac)>> {
    let mut request = kernel.0.neighbours().get().set_address_family(family);
    request.message_mut().attributes.push(NeighbourAttribute::IfIndex(index));
    let mut found = Vec::new();
    let mut all = std::pin::pin!(request.execute());
    while let Some(message) = all.try_next().await.map_err(said)? {
        if message.header.ifindex != index || message.header.state != NeighbourState::Permanent {
            continue;
        }
        let (mut ip, mut mac) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some(IpAddr::from(*v4)),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some(IpAddr::from(*v6)),
                NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => ip = of_bytes(bytes),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::from_bytes(bytes),
                _ => {}
            }
        }
        found.extend(ip.zip(mac));
    }
    Ok(found)
}

fn of_bytes(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(*bytes.first_chunk::<4>()?)),
        16 => Some(IpAddr::from(*bytes.first_chunk::<16>()?)),
        _ => None,
    }
}
