//! The link: which interface it is, and its frames. A packet socket for ARP, another for neighbour solicitations, and a
//! membership in the groups that these are sent to.
//!
//! No address is put on the interface. So nothing but Services answers there, nothing on the node takes it for its own, and
//! a process that is killed leaves nothing behind that goes on answering: sockets and memberships go with it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use anyhow::{Context, bail};
use nix::sys::socket::LinkAddr;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;

use crate::frames::{Mac, solicited_node};

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// A frame is longer only if it is none of ours.
const LONGEST: usize = 2048;

/// An interface that frames go through.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Its first IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    at: LinkAddr,
}

impl Interface {
    /// The one of that name, or the first that has one of these addresses.
    ///
    /// # Errors
    /// There is none, or it is not Ethernet.
    pub fn find(name: Option<&str>, addresses: &[IpAddr]) -> anyhow::Result<Interface> {
        let all: Vec<_> = nix::ifaddrs::getifaddrs().context("the interfaces of this machine")?.collect();
        let ip = |interface: &nix::ifaddrs::InterfaceAddress| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
        };
        let with = || all.iter().find(|i| ip(i).is_some_and(|ip| addresses.contains(&ip)));
        let Some(name) = name.map(str::to_owned).or_else(|| Some(with()?.interface_name.clone())) else {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            bail!("no interface has one of the node's addresses ({}): name one with --interface", addresses.join(", "));
        };
        let mut named = all.iter().filter(|interface| interface.interface_name == name);
        let Some(at) = named.find_map(|interface| interface.address?.as_link_addr().copied()) else {
            bail!("there is no interface {name}: name another with --interface");
        };
        /// ARPHRD_ETHER.
        const ETHERNET: u16 = 1;
        let Some(mac) = at.addr().filter(|_| at.hatype() == ETHERNET && at.halen() == 6) else {
            bail!("the interface {name} is not Ethernet, and has no ARP: name another with --interface");
        };
        let ipv4 = all.iter().filter(|i| i.interface_name == name).find_map(|i| match ip(i) {
            Some(IpAddr::V4(ip)) => Some(ip),
            _ => None,
        });
        Ok(Interface { name, mac, ipv4, at })
    }

    /// Whether it is still the same one, with the same address.
    pub fn is_there(&self) -> bool {
        Interface::find(Some(&self.name), &[])
            .is_ok_and(|now| now.mac == self.mac && now.at.ifindex() == self.at.ifindex())
    }
}

/// Its sockets.
#[derive(Debug)]
pub struct Link {
    arp: UdpSocket,
    neighbours: UdpSocket,
    groups: Groups,
}

impl Link {
    /// Opens the sockets, in the network namespace of this thread. Inside a runtime.
    ///
    /// # Errors
    /// The kernel does not let us.
    pub fn open(interface: &Interface) -> anyhow::Result<Link> {
        let opened = || -> io::Result<Link> {
            let neighbours = packets(IPV6, interface, &SOLICITATIONS)?;
            let (socket, of) = (Socket::new(Domain::IPV6, Type::DGRAM.cloexec(), None).ok(), BTreeMap::new());
            let groups = Groups { index: interface.at.ifindex() as u32, socket, of };
            Ok(Link { arp: packets(ARP, interface, &[])?, neighbours, groups })
        };
        opened().with_context(|| format!("frames of {} (CAP_NET_RAW is needed)", interface.name))
    }

    /// The next frame.
    ///
    /// # Errors
    /// The interface is gone.
    pub async fn next(&self) -> io::Result<Vec<u8>> {
        tokio::select! {
            frame = receive(&self.arp) => frame,
            frame = receive(&self.neighbours) => frame,
        }
    }

    /// Sends a frame. That the link is down is no error: there is nobody to tell.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let socket = if frame.get(12..14) == Some(&IPV6.to_be_bytes()) { &self.neighbours } else { &self.arp };
        match socket.try_send(frame) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NetworkDown) => Ok(()),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(()),
            sent => sent.map(drop),
        }
    }

    /// Has the interface listen for questions about an address.
    pub fn listen_for(&mut self, address: IpAddr) {
        if let IpAddr::V6(ip) = address {
            self.groups.join(solicited_node(ip));
        }
    }

    /// Ends that.
    pub fn no_longer(&mut self, address: IpAddr) {
        if let IpAddr::V6(ip) = address {
            self.groups.leave(solicited_node(ip));
        }
    }
}

/// Groups of neighbour discovery, each with how many addresses are in it.
#[derive(Debug)]
struct Groups {
    index: u32,
    /// Bound to no port; none on a machine without IPv6.
    socket: Option<Socket>,
    of: BTreeMap<Ipv6Addr, usize>,
}

impl Groups {
    fn join(&mut self, group: Ipv6Addr) {
        let count = self.of.entry(group).or_default();
        *count += 1;
        if *count > 1 {
            return;
        }
        let joined = self.socket.as_ref().map(|socket| socket.join_multicast_v6(&group, self.index));
        if let Some(Err(error)) = joined {
            tracing::warn!(%group, %error, "not in the group of an address: it may not be found on this link");
        }
    }

    fn leave(&mut self, group: Ipv6Addr) {
        let Some(count) = self.of.get_mut(&group) else { return };
        *count -= 1;
        if *count == 0 {
            self.of.remove(&group);
            // A membership that could not be had can't be given up.
            let _ = self.socket.as_ref().map(|socket| socket.leave_multicast_v6(&group, self.index));
        }
    }
}

/// Lets pass what asks for a neighbour or answers that, and nothing else of IPv6.
const SOLICITATIONS: [SockFilter; 7] = {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    [
        // The next header, behind 14 bytes of Ethernet's: ICMPv6.
        SockFilter::new(LOAD_BYTE, 0, 0, 14 + 6),
        SockFilter::new(JUMP_EQUAL, 0, 4, 58),
        // Its type.
        SockFilter::new(LOAD_BYTE, 0, 0, 14 + 40),
        SockFilter::new(JUMP_EQUAL, 1, 0, 135),
        SockFilter::new(JUMP_EQUAL, 0, 1, 136),
        SockFilter::new(RETURN, 0, 0, LONGEST as u32),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
};

/// A packet socket. Reading, sending and waiting are the same calls as with a bound datagram socket: the runtime takes it for
/// one.
fn packets(protocol: u16, interface: &Interface, filter: &[SockFilter]) -> io::Result<UdpSocket> {
    let kind = Type::RAW.nonblocking().cloexec();
    let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(i32::from(protocol.to_be()))))?;
    if !filter.is_empty() {
        socket.attach_filter(filter)?;
    }
    // The address names no protocol: the socket keeps its own.
    nix::sys::socket::bind(socket.as_raw_fd(), &interface.at)?;
    // Until then it heard all interfaces.
    while (&socket).read(&mut [0; LONGEST]).is_ok() {}
    UdpSocket::from_std(socket.into())
}

async fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; LONGEST];
    loop {
        match socket.recv(&mut frame).await {
            Ok(length) => {
                frame.truncate(length);
                return Ok(frame);
            }
            // Said once, when the link goes down.
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
            Err(error) => return Err(error),
        }
    }
}
