//! Doing what has to change. One change that the kernel refuses keeps no other from being made.

use std::net::IpAddr;

use anyhow::Context;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol};
use rtnetlink::{Error, RouteMessageBuilder};

use super::{Change, DEVICE, Kernel, PROTOCOL, errno, observe, said};
use crate::model::Mac;

impl Kernel {
    /// Makes the changes.
    ///
    /// # Errors
    /// The first that the kernel refused, after all others were tried.
    pub async fn apply(&self, changes: &[Change]) -> anyhow::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let tunnel = observe::index(self, DEVICE).await?;
        let mut first = Ok(());
        for change in changes {
            let done = self.make(change, tunnel.unwrap_or_default()).await;
            if first.is_ok() {
                first = done.with_context(|| format!("{change:?}"));
            }
        }
        first
    }

    async fn make(&self, change: &Change, tunnel: u32) -> anyhow::Result<()> {
        let neighbours = self.0.neighbours();
        let done = match *change {
            Change::Forward(mac, to) => {
                let entry = neighbours.add_bridge(tunnel, &mac.0).destination(to).flags(NeighbourFlags::Own);
                entry.state(NeighbourState::Permanent).replace().execute().await
            }
            Change::Neighbour(ip, mac) => {
                neighbours.add(tunnel, ip).link_layer_address(&mac.0).replace().execute().await
            }
            Change::Unforward(mac, to) => gone(neighbours.del(forwarding(tunnel, mac, to)).execute().await),
            Change::Unneighbour(ip) => gone(neighbours.del(neighbour(tunnel, ip)).execute().await),
            Change::Route { to, gateway, index, onlink, replace } => {
                let route = self.0.route().add(route(to, Some(gateway), Some(index), onlink)?);
                let done = if replace { route.replace() } else { route }.execute().await;
                if done.as_ref().is_err_and(|error| errno(error) == nix::libc::EEXIST) {
                    anyhow::bail!(
                        "somebody else's route to {to} is there, and is left alone: remove it (ip route del {to})"
                    );
                }
                done
            }
            Change::Unroute(to, gateway, index) => {
                gone(self.0.route().del(route(to, gateway, index, false)?).execute().await)
            }
        };
        done.map_err(said)
    }
}

/// What is to go may have gone.
fn gone(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if [nix::libc::ENOENT, nix::libc::ESRCH].contains(&errno(&error)) => Ok(()),
        done => done,
    }
}

fn route(to: IpNet, gateway: Option<IpAddr>, index: Option<u32>, onlink: bool) -> anyhow::Result<RouteMessage> {
    let mut route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to.addr(), to.prefix_len())?
        .protocol(RouteProtocol::Other(PROTOCOL));
    if let Some(gateway) = gateway {
        route = route.gateway(gateway)?;
    }
    if let Some(index) = index {
        route = route.output_interface(index);
    }
    if onlink {
        route = route.onlink();
    }
    Ok(route.build())
}

fn neighbour(index: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::Destination(address(ip)));
    message
}

fn forwarding(index: u32, mac: Mac, to: IpAddr) -> NeighbourMessage {
    let mut message = neighbour(index, to);
    message.header.family = AddressFamily::Bridge;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message
}

fn address(ip: IpAddr) -> NeighbourAddress {
    match ip {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    }
}
