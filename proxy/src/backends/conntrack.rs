//! Flows of UDP that the kernel still sends to an endpoint that is gone.
//!
//! TCP notices by itself; a UDP client that keeps its socket would go on talking to nobody for as long as it talks.
//! After a change of a UDP Service the flows whose destination is the Service, and whose endpoint no longer serves, are
//! deleted, as upstream does (`pkg/proxy/conntrack`). The kernel is asked by netlink: the tool `conntrack` is rarely
//! installed.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{recv, sendto, setsockopt, socket, sockopt};

use crate::model::{Family, Protocol, ServicePort};

/// One flow: where it was sent, and who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The destination before translation.
    pub destination: SocketAddr,
    /// Who answers: the destination after translation.
    pub responder: SocketAddr,
    /// The original tuple, as the kernel wrote it (the name to delete it by).
    tuple: Vec<u8>,
    zone: Option<u16>,
}

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
    pub fn is_stale(&self, flow: &Flow) -> bool {
        let misses =
            |endpoints: Option<&HashSet<SocketAddr>>| endpoints.is_some_and(|all| !all.contains(&flow.responder));
        misses(self.addresses.get(&flow.destination)) || misses(self.node_ports.get(&flow.destination.port()))
    }
}

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
const FLAG_DUMP: u16 = 0x300;
const NESTED: u16 = 0x8000;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ZONE: u16 = 18;
const UDP: u8 = 17;

/// Deletes the stale UDP flows of a family; returns how many. Blocks: for a blocking thread.
///
/// # Errors
/// The kernel has no connection tracking interface, or we may not use it.
pub fn clean(family: Family, serving: &Serving) -> std::io::Result<usize> {
    if serving.is_empty() {
        return Ok(0);
    }
    let socket = Socket::open()?;
    let stale: Vec<Flow> = socket.dump(family)?.into_iter().filter(|flow| serving.is_stale(flow)).collect();
    for flow in &stale {
        socket.delete(family, flow)?;
    }
    Ok(stale.len())
}

struct Socket(std::os::fd::OwnedFd);

impl Socket {
    fn open() -> std::io::Result<Socket> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
        let patience = nix::sys::time::TimeVal::new(5, 0);
        setsockopt(&fd, sockopt::ReceiveTimeout, &patience)?;
        let _ = setsockopt(&fd, sockopt::RcvBuf, &(1 << 20));
        Ok(Socket(fd))
    }

    fn send(&self, kind: u16, flags: u16, family: Family, attributes: &[u8]) -> std::io::Result<()> {
        let mut message = Vec::with_capacity(20 + attributes.len());
        message.extend((20 + attributes.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((FLAG_REQUEST | flags).to_ne_bytes());
        message.extend([0; 8]); // sequence, port
        message.extend([if family == Family::V4 { 2 } else { 10 }, 0, 0, 0]);
        message.extend(attributes);
        sendto(self.0.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    }

    fn dump(&self, family: Family) -> std::io::Result<Vec<Flow>> {
        self.send(GET, FLAG_DUMP, family, &[])?;
        let (mut flows, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let n = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (kind, body) in messages(&buffer[..n]) {
                match kind {
                    DONE => return Ok(flows),
                    ERROR => errno(body)?,
                    _ => flows.extend(body.get(4..).and_then(parse)),
                }
            }
        }
    }

    fn delete(&self, family: Family, flow: &Flow) -> std::io::Result<()> {
        let mut attributes = Vec::new();
        put(&mut attributes, TUPLE_ORIGINAL | NESTED, &flow.tuple);
        if let Some(zone) = flow.zone {
            put(&mut attributes, ZONE, &zone.to_be_bytes());
        }
        self.send(DELETE, FLAG_ACK, family, &attributes)?;
        let mut buffer = [0; 4096];
        let n = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for (kind, body) in messages(&buffer[..n]) {
            if kind == ERROR {
                match errno(body) {
                    // It ended by itself meanwhile.
                    Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENOENT as i32) => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }
}

fn errno(body: &[u8]) -> std::io::Result<()> {
    match body.first_chunk::<4>().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(std::io::Error::from_raw_os_error(code.wrapping_neg())),
        None => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// The netlink messages in a datagram: type and body.
fn messages(mut data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*data.first_chunk::<4>()?) as usize;
        let kind = u16::from_ne_bytes([*data.get(4)?, *data.get(5)?]);
        let body = data.get(16..length)?;
        data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The attributes in a body: type without flags, and value.
fn attributes(mut data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(*data.first_chunk::<2>()?) as usize;
        let kind = u16::from_ne_bytes([*data.get(2)?, *data.get(3)?]) & 0x3fff;
        let value = data.get(4..length)?;
        data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend((4 + value.len() as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn find(data: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(data).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// A UDP flow; `None` for other protocols and for what can't be read.
fn parse(body: &[u8]) -> Option<Flow> {
    let original = find(body, TUPLE_ORIGINAL)?;
    let reply = find(body, TUPLE_REPLY)?;
    if find(find(original, 2)?, 1)? != [UDP] {
        return None;
    }
    let zone = find(body, ZONE).and_then(|zone| Some(u16::from_be_bytes(*zone.first_chunk::<2>()?)));
    Some(Flow {
        destination: end(original, [2, 4], 3)?,
        responder: end(reply, [1, 3], 2)?,
        tuple: original.to_vec(),
        zone,
    })
}

/// One end of a tuple; `ip` are the attribute numbers of the IPv4 and the IPv6 address, `port` that of the port.
fn end(tuple: &[u8], ip: [u16; 2], port: u16) -> Option<SocketAddr> {
    let (addresses, ports) = (find(tuple, 1)?, find(tuple, 2)?);
    let v4 = find(addresses, ip[0]).and_then(|ip| Some(IpAddr::from(*ip.first_chunk::<4>()?)));
    let v6 = || find(addresses, ip[1]).and_then(|ip| Some(IpAddr::from(*ip.first_chunk::<16>()?)));
    let port = u16::from_be_bytes(*find(ports, port)?.first_chunk::<2>()?);
    Some(SocketAddr::new(v4.or_else(v6)?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: [u8; 4], destination: [u8; 4], ports: [u16; 2], protocol: u8) -> Vec<u8> {
        let (mut ip, mut proto, mut out) = (Vec::new(), Vec::new(), Vec::new());
        put(&mut ip, 1, &source);
        put(&mut ip, 2, &destination);
        put(&mut proto, 1, &[protocol]);
        put(&mut proto, 2, &ports[0].to_be_bytes());
        put(&mut proto, 3, &ports[1].to_be_bytes());
        put(&mut out, 1 | NESTED, &ip);
        put(&mut out, 2 | NESTED, &proto);
        out
    }

    fn flow(protocol: u8) -> Vec<u8> {
        let mut body = Vec::new();
        put(&mut body, TUPLE_ORIGINAL | NESTED, &tuple([10, 244, 1, 2], [10, 96, 0, 10], [4000, 53], protocol));
        put(&mut body, TUPLE_REPLY | NESTED, &tuple([10, 244, 1, 9], [10, 244, 1, 2], [5353, 4000], protocol));
        body
    }

    #[test]
    fn reads_the_kernels_messages() {
        let read = parse(&flow(UDP)).unwrap();
        assert_eq!(read.destination, "10.96.0.10:53".parse().unwrap());
        assert_eq!(read.responder, "10.244.1.9:5353".parse().unwrap());
        assert!(parse(&flow(6)).is_none());
        for cut in 0..flow(UDP).len() {
            let _ = parse(&flow(UDP)[..cut]);
        }
    }

    #[test]
    fn a_flow_is_stale_if_its_endpoint_no_longer_serves() {
        let check = |service: &str, endpoint: &str| {
            let endpoints = HashSet::from([endpoint.parse().unwrap()]);
            let serving = Serving {
                addresses: HashMap::from([(service.parse().unwrap(), endpoints)]),
                node_ports: HashMap::new(),
            };
            serving.is_stale(&parse(&flow(UDP)).unwrap())
        };
        assert!(!check("10.96.0.10:53", "10.244.1.9:5353"));
        assert!(check("10.96.0.10:53", "10.244.1.8:5353"));
        assert!(!check("10.96.0.11:53", "10.244.1.8:5353"));
    }
}
