//! Flows that the kernel knows (`linux/netfilter/nfnetlink_conntrack.h`).

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use nix::errno::Errno;

use crate::{
    Socket,
    netlink::{ACK, Attributes, DONE, DUMP, Head, find},
    tables::Version,
};

/// `NFNL_SUBSYS_CTNETLINK`, as the high byte of its messages' types, and two of these.
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;

/// `enum ctattr_type`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ZONE: u16 = 18;
const UDP: u8 = 17;

/// A flow of UDP: where it was sent, and who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The destination before translation.
    pub destination: SocketAddr,
    /// Who answers: the destination after translation.
    pub responder: SocketAddr,
    version: Version,
    /// The original tuple, as the kernel wrote it (the name to delete it by).
    tuple: Vec<u8>,
    zone: Option<Vec<u8>>,
}

impl Socket {
    /// All flows of UDP of a family.
    ///
    /// # Errors
    /// The kernel has no connection tracking interface, or we may not use it.
    pub fn udp_flows(&mut self, version: Version) -> io::Result<Vec<Flow>> {
        self.send(Head { kind: GET, flags: DUMP, family: version.number(), ..Head::default() }, |_| ())?;
        let mut flows = Vec::new();
        self.receive(|message| {
            if message.kind == DONE {
                return true;
            }
            flows.extend(parse(version, message.attributes()));
            false
        })?;
        Ok(flows)
    }

    /// Has the kernel forget a flow: what comes of it next is a new one.
    ///
    /// # Errors
    /// The kernel does not let us. That it has ended by itself is none.
    pub fn cut(&mut self, flow: &Flow) -> io::Result<()> {
        let head = Head { kind: DELETE, flags: ACK, family: flow.version.number(), ..Head::default() };
        self.send(head, |out: &mut Attributes<'_>| {
            out.raw(ORIGINAL, &flow.tuple);
            flow.zone.iter().for_each(|zone| out.bytes(ZONE, zone));
        })?;
        match self.receive(|_| false) {
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(()),
            other => other,
        }
    }
}

/// `None` for other protocols and for what can't be read.
fn parse(version: Version, body: &[u8]) -> Option<Flow> {
    let (original, reply) = (find(body, ORIGINAL)?, find(body, REPLY)?);
    if find(find(original, 2)?, 1)? != [UDP] {
        return None;
    }
    Some(Flow {
        destination: end(original, [2, 4], 3)?,
        responder: end(reply, [1, 3], 2)?,
        version,
        tuple: original.to_vec(),
        zone: find(body, ZONE).map(<[u8]>::to_vec),
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
    use crate::netlink::{Message, Writer};

    fn flow(protocol: u8) -> Vec<u8> {
        let tuple = |source: [u8; 4], destination: [u8; 4], ports: [u16; 2]| {
            move |out: &mut Attributes<'_>| {
                out.nested(1, |ip| {
                    ip.bytes(1, &source);
                    ip.bytes(2, &destination);
                });
                out.nested(2, |transport| {
                    transport.bytes(1, &[protocol]);
                    transport.bytes(2, &ports[0].to_be_bytes());
                    transport.bytes(3, &ports[1].to_be_bytes());
                });
            }
        };
        let mut writer = Writer::default();
        writer.message(Head::default(), |out| {
            out.nested(ORIGINAL, tuple([10, 244, 1, 2], [10, 96, 0, 10], [4000, 53]));
            out.nested(REPLY, tuple([10, 244, 1, 9], [10, 244, 1, 2], [5353, 4000]));
        });
        writer.into_bytes()
    }

    #[test]
    fn reads_the_kernels_messages() {
        let read = |bytes: &[u8]| parse(Version::V4, Message::all(bytes).next()?.attributes());
        let udp = read(&flow(UDP)).unwrap();
        assert_eq!(udp.destination, "10.96.0.10:53".parse().unwrap());
        assert_eq!(udp.responder, "10.244.1.9:5353".parse().unwrap());
        assert!(read(&flow(6)).is_none());
        let attributes = flow(UDP)[crate::netlink::HEADERS..].to_vec();
        for cut in 0..attributes.len() {
            let _ = parse(Version::V4, &attributes[..cut]);
        }
    }
}
