//! The node's address: that by which the default route leaves; else the first of a link that is up; else one of Ferry's
//! own. A machine without a network (a laptop that is offline, a new network namespace) has neither an address that a
//! Service may lead to nor a route for the Services' addresses. There a link of Ferry's own carries both, and `ferry down`
//! takes it away.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::Command;

use anyhow::{Context, bail};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

use super::{BRIDGE, KUBERNETES_IP, SERVICE_RANGE};

/// Ferry's own link: a bridge without ports, since not every kernel has dummy devices.
pub const LINK: &str = "ferry-node";
/// The address on it, beside the ranges of Services and pods.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 95, 0, 1);
/// A host outside: its route is the default route. Nothing is sent there.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// What the machine's network offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// The address by which the default route leaves.
    routed: Option<Ipv4Addr>,
    /// The first address of a link that is up.
    linked: Option<Ipv4Addr>,
    /// The address by which packets to Services leave, before the proxy turns them.
    to_services: Option<Ipv4Addr>,
}

/// The node's address, and whether Ferry's own link has to be there.
fn decide(seen: Seen) -> (Ipv4Addr, bool) {
    let other = |address: &Ipv4Addr| *address != OWN && !address.is_loopback() && !address.is_unspecified();
    let address = seen.routed.filter(other).or(seen.linked.filter(other)).unwrap_or(OWN);
    let detour = match seen.to_services {
        // By Ferry's own link, from an earlier start: the default route will do, if there is one now.
        Some(OWN) => seen.routed.filter(other).is_none(),
        by => by.filter(other).is_none(),
    };
    (address, address == OWN || detour)
}

/// Finds the node's address, and makes or removes Ferry's own link; a word about it where it was made.
pub fn settle() -> anyhow::Result<(IpAddr, Option<String>)> {
    let IpAddr::V4(kubernetes) = KUBERNETES_IP else { bail!("Services have IPv4 addresses") };
    let seen =
        Seen { routed: source_towards(OUTSIDE), linked: first_linked(), to_services: source_towards(kubernetes) };
    let (address, link) = decide(seen);
    if !link {
        remove();
        return Ok((address.into(), None));
    }
    make().with_context(|| {
        format!("making the link {LINK}, which a machine without a default route needs; give it such a route, or the right to make links")
    })?;
    let word = match address == OWN {
        true => format!("no network but loopback: the node has the address {OWN}, on a link of its own ({LINK})"),
        false => format!("no default route: packets to Services take a link of their own ({LINK})"),
    };
    Ok((address.into(), Some(word)))
}

/// Removes the link where it is there.
pub fn remove() {
    if exists() {
        let _ = ip(&["link", "delete", LINK]);
    }
}

/// Asked of the kernel: `/sys` may be that of another network namespace.
fn exists() -> bool {
    if_nametoindex(LINK).is_ok()
}

fn make() -> anyhow::Result<()> {
    // In a new network namespace loopback is down, and with it every address of one's own.
    ip(&["link", "set", "lo", "up"])?;
    if !exists() {
        ip(&["link", "add", LINK, "type", "bridge"])?;
    }
    ip(&["address", "replace", &format!("{OWN}/32"), "dev", LINK])?;
    ip(&["link", "set", LINK, "up"])?;
    ip(&["route", "replace", SERVICE_RANGE, "dev", LINK, "src", &OWN.to_string()])
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output().context("running ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The address that packets to a host would have; `None` without a route. Connecting a datagram socket sends nothing.
fn source_towards(host: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((host, 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// The first address of a link that is up; the pods' bridge and tunnel, and Ferry's own link, do not count.
fn first_linked() -> Option<Ipv4Addr> {
    getifaddrs().ok()?.find_map(|link| {
        let up = link.flags.contains(InterfaceFlags::IFF_UP) && !link.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let address = link.address?.as_sockaddr_in()?.ip();
        (up && ![BRIDGE, LINK, network::DEVICE].contains(&link.interface_name.as_str()) && !address.is_link_local())
            .then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_network_comes_first() {
        let (wired, bridge, loopback) =
            (Ipv4Addr::new(192, 0, 2, 10), Ipv4Addr::new(172, 17, 0, 1), Ipv4Addr::LOCALHOST);
        for (routed, linked, to_services, expect) in [
            (Some(wired), Some(bridge), Some(wired), (wired, false)),
            // A default route, but nothing leads to Services (a blackhole).
            (Some(wired), Some(bridge), None, (wired, true)),
            (None, Some(bridge), None, (bridge, true)),
            // Offline.
            (None, None, None, (OWN, true)),
            (Some(loopback), None, Some(loopback), (OWN, true)),
            // Offline, at the second start: the link is there.
            (None, None, Some(OWN), (OWN, true)),
            // Online again.
            (Some(wired), Some(wired), Some(OWN), (wired, false)),
        ] {
            assert_eq!(decide(Seen { routed, linked, to_services }), expect, "{routed:?} {linked:?} {to_services:?}");
        }
    }
}
