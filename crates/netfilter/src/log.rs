//! Packets that rules tell of (`linux/netfilter/nfnetlink_log.h`): each is told to who listens to its group.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    Socket,
    netlink::{ACK, Head, Message, find},
    sessions::text,
};

/// `NFNL_SUBSYS_ULOG`, as the high byte of its messages' types, and both of these.
const PACKET: u16 = 4 << 8;
const CONFIG: u16 = 4 << 8 | 1;
/// `NFULNL_CFG_CMD_BIND`, `NFULNL_COPY_PACKET`.
const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
/// Of a packet this much is told: the headers, with some options.
const BYTES: u32 = 128;

/// A packet that a rule told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The rule's words.
    pub words: String,
    /// Where it comes from; the port is 0 where there are none.
    pub source: SocketAddr,
    /// Where it goes, likewise.
    pub destination: SocketAddr,
    /// The transport protocol's number.
    pub protocol: u8,
}

/// Who listens to a group. Packets that nobody takes in time are lost.
#[derive(Debug)]
pub struct Log(Socket);

impl Log {
    /// In the network namespace of this thread.
    ///
    /// # Errors
    /// Somebody listens to that group (which the kernel answers as if it did not let us), there is no such log, or the kernel
    /// does not let us.
    pub fn open(group: u16) -> io::Result<Self> {
        let mut socket = Socket::open()?;
        let head = || Head { kind: CONFIG, flags: ACK, resource: group, ..Head::default() };
        socket.send(head(), |out| out.bytes(1, &[BIND]))?;
        socket.receive(|_| false)?;
        let [a, b, c, d] = BYTES.to_be_bytes();
        socket.send(head(), |out| out.bytes(2, &[a, b, c, d, COPY_PACKET, 0]))?;
        socket.receive(|_| false)?;
        Ok(Self(socket))
    }

    /// The packets that were told next; none if `patience` is over. It blocks for that long.
    ///
    /// # Errors
    /// The kernel tells nothing any more.
    pub fn next(&mut self, patience: Duration) -> io::Result<Vec<Seen>> {
        let mut seen = Vec::new();
        self.0.received(patience, |message| {
            if message.kind == PACKET {
                seen.extend(parse(message));
            }
        })?;
        Ok(seen)
    }
}

fn parse(message: &Message<'_>) -> Option<Seen> {
    let body = message.attributes();
    let words = find(body, 10).and_then(text).unwrap_or_default();
    let (addresses, protocol, transport) = headers(find(body, 9)?)?;
    let port = |at: usize| {
        let has_ports = matches!(protocol, 6 | 17 | 132);
        let port = transport.get(at..).and_then(|rest| rest.first_chunk::<2>()).filter(|_| has_ports);
        port.map_or(0, |port| u16::from_be_bytes(*port))
    };
    let [source, destination] = addresses;
    Some(Seen {
        words,
        source: SocketAddr::new(source, port(0)),
        destination: SocketAddr::new(destination, port(2)),
        protocol,
    })
}

/// Source and destination, the transport protocol, and what is behind the headers before it.
fn headers(packet: &[u8]) -> Option<([IpAddr; 2], u8, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
            let rest = packet.get(usize::from(packet[0] & 15) * 4..).unwrap_or_default();
            Some(([address(12)?, address(16)?], *packet.get(9)?, rest))
        }
        6 => {
            let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
            let (mut next, mut rest) = (*packet.get(6)?, packet.get(40..).unwrap_or_default());
            // Options by hop, routing and options by destination say how long they are; a fragment's header is 8 bytes.
            while let 0 | 43 | 44 | 60 = next {
                let [following, length] = *rest.first_chunk::<2>()?;
                let length = if next == 44 { 8 } else { 8 + usize::from(length) * 8 };
                (next, rest) = (following, rest.get(length..)?);
            }
            Some(([address(8)?, address(24)?], next, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Writer;

    fn told(packet: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(Head { kind: PACKET, ..Head::default() }, |out| {
            out.text(10, "egress");
            out.bytes(9, packet);
        });
        writer.into_bytes()
    }

    fn read(packet: &[u8]) -> Option<Seen> {
        parse(&Message::all(&told(packet)).next()?)
    }

    fn v4(protocol: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 244, 1, 2, 10, 244, 1, 3];
        packet.extend([0x9c, 0x40, 0, 80]);
        packet
    }

    fn v6(next: u8, more: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 20, next, 64];
        packet.extend("fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        packet.extend("fd00::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
        packet.extend(more);
        packet.extend([0x9c, 0x40, 0, 80]);
        packet
    }

    #[test]
    fn addresses_and_ports_of_both_families() {
        let seen = read(&v4(6)).unwrap();
        assert_eq!((seen.words.as_str(), seen.protocol), ("egress", 6));
        assert_eq!(
            (seen.source, seen.destination),
            ("10.244.1.2:40000".parse().unwrap(), "10.244.1.3:80".parse().unwrap())
        );
        assert_eq!(read(&v4(1)).unwrap().destination, "10.244.1.3:0".parse().unwrap(), "an echo has no ports");
        let plain = read(&v6(17, &[])).unwrap();
        assert_eq!((plain.destination, plain.protocol), ("[fd00::2]:80".parse().unwrap(), 17));
        // Behind options of eight bytes.
        assert_eq!(read(&v6(60, &[17, 0, 0, 0, 0, 0, 0, 0])).unwrap(), plain);
    }

    #[test]
    fn what_is_cut_off_is_no_packet_or_has_no_ports() {
        for packet in [v4(6), v6(17, &[]), v6(0, &[17, 9, 0, 0, 0, 0, 0, 0])] {
            for cut in 0..packet.len() {
                if let Some(seen) = read(&packet[..cut]) {
                    assert!(cut >= 20 && seen.destination.port() == 0, "{seen:?}");
                }
            }
        }
    }
}
