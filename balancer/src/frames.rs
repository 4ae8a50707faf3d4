//! Frames on the link: ARP (RFC 826, 5227), neighbour discovery (RFC 4861), and the announcers' own heartbeats. Pure.
//!
//! A heartbeat is an ARP frame too, of the operation that RFC 5494 leaves to experiments: so it passes wherever ARP does,
//! and nowhere else. Whether announcers hear each other is then the question whether they answer for one link; and who can
//! make a heartbeat up can answer ARP itself, so a secret would protect nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A hardware address.
pub type Mac = [u8; 6];
/// A node, as heartbeats name it.
pub type NodeId = [u8; 8];

const BROADCAST: Mac = [0xff; 6];
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
/// OP_EXP1 of RFC 5494.
const EXPERIMENT: u16 = 24;
const MAGIC: &[u8; 8] = b"ferrylb1";
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// It never crossed a router.
const HOP_LIMIT: u8 = 255;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asks who has an address.
    Asks {
        /// The address.
        target: IpAddr,
        /// Who asks; unspecified where it has no address yet.
        source: IpAddr,
        /// Its hardware address.
        mac: Mac,
    },
    /// Somebody says that it has an address.
    Claims {
        /// The address.
        address: IpAddr,
        /// Its hardware address.
        mac: Mac,
    },
    /// An announcer is there.
    Beats {
        /// Its node.
        node: NodeId,
        /// It ends now.
        leaving: bool,
        /// Its hardware address.
        mac: Mac,
    },
}

/// Reads a frame with its Ethernet header; none if it does not matter.
pub fn read(frame: &[u8]) -> Option<Heard> {
    match u16::from_be_bytes(array(frame, 12)?) {
        ARP => read_arp(frame.get(14..)?),
        IPV6 => read_neighbour(array(frame, 6)?, frame.get(14..)?),
        _ => None,
    }
}

fn read_arp(body: &[u8]) -> Option<Heard> {
    if body.get(..6)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let operation = u16::from_be_bytes(array(body, 6)?);
    let (mac, source): (Mac, [u8; 4]) = (array(body, 8)?, array(body, 14)?);
    let (source, target) = (Ipv4Addr::from(source), Ipv4Addr::from(array::<4>(body, 24)?));
    match operation {
        EXPERIMENT if body.get(28..36)? == MAGIC => {
            Some(Heard::Beats { node: array(body, 36)?, leaving: *body.get(44)? != 0, mac })
        }
        REQUEST if source != target => Some(Heard::Asks { target: target.into(), source: source.into(), mac }),
        REQUEST | REPLY => Some(Heard::Claims { address: source.into(), mac }),
        _ => None,
    }
}

fn read_neighbour(from: Mac, packet: &[u8]) -> Option<Heard> {
    let (source, message) = (Ipv6Addr::from(array::<16>(packet, 8)?), packet.get(40..)?);
    if packet[6] != ICMPV6 || packet[7] != HOP_LIMIT {
        return None;
    }
    let target = Ipv6Addr::from(array::<16>(message, 8)?);
    match message[0] {
        SOLICITATION => Some(Heard::Asks { target: target.into(), source: source.into(), mac: from }),
        ADVERTISEMENT => Some(Heard::Claims { address: target.into(), mac: from }),
        _ => None,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The answer to who asks for `target`; none if it asks in a family that the address is not of.
pub fn answer(mac: Mac, target: IpAddr, source: IpAddr, to: Mac) -> Option<Vec<u8>> {
    match (target, source) {
        (IpAddr::V4(target), IpAddr::V4(source)) => Some(arp(to, REPLY, (mac, target), (to, source))),
        // It has no address yet, and looks whether anybody has this one.
        (IpAddr::V6(target), IpAddr::V6(source)) if source.is_unspecified() => Some(advertisement(mac, target, None)),
        (IpAddr::V6(target), IpAddr::V6(source)) => Some(advertisement(mac, target, Some((source, to)))),
        _ => None,
    }
}

/// Tells the whole link that an address is here. Some hosts heed ARP's requests and some its replies (kube-vip#80): both.
pub fn announcement(mac: Mac, address: IpAddr) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(ip) => {
            vec![arp(BROADCAST, REQUEST, (mac, ip), ([0; 6], ip)), arp(BROADCAST, REPLY, (mac, ip), (mac, ip))]
        }
        IpAddr::V6(ip) => vec![advertisement(mac, ip, None)],
    }
}

/// Tells the other announcers that this one is there, or ends.
pub fn heartbeat(mac: Mac, own: Option<Ipv4Addr>, node: NodeId, leaving: bool) -> Vec<u8> {
    let own = own.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let mut frame = arp(BROADCAST, EXPERIMENT, (mac, own), ([0; 6], own));
    frame.extend(MAGIC);
    frame.extend(node);
    frame.push(u8::from(leaving));
    frame
}

fn ethernet(to: Mac, from: Mac, kind: u16) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes()].concat()
}

fn arp(to: Mac, operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = ethernet(to, sender.0, ARP);
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    for (mac, ip) in [sender, target] {
        frame.extend(mac);
        frame.extend(ip.octets());
    }
    frame
}

/// An advertisement for who asked, or for all.
fn advertisement(mac: Mac, target: Ipv6Addr, asked: Option<(Ipv6Addr, Mac)>) -> Vec<u8> {
    let (destination, to) = asked.unwrap_or((ALL_NODES, [0x33, 0x33, 0, 0, 0, 1]));
    // Override what is known; solicited, if it was.
    let flags = if asked.is_some() { 0x60 } else { 0x20 };
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    // The target's link-layer address, of eight bytes.
    message.extend([2, 1]);
    message.extend(mac);
    let sum = checksum(target, destination, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ethernet(to, mac, IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    frame.extend([ICMPV6, HOP_LIMIT]);
    frame.extend(target.octets());
    frame.extend(destination.octets());
    frame.extend(message);
    frame
}

fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let mut bytes = [source.octets(), destination.octets()].concat();
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend([0, 0, 0, ICMPV6]);
    bytes.extend(message);
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The group that is asked for an address (RFC 4291): a network card, and a switch that snoops, let nothing else through.
pub fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Mac = [2, 0, 0, 0, 0, 1];
    const THERE: Mac = [2, 0, 0, 0, 0, 2];

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn questions_are_read_and_answered() {
        let asks = arp(BROADCAST, REQUEST, (THERE, Ipv4Addr::new(192, 0, 2, 9)), ([0; 6], Ipv4Addr::new(192, 0, 2, 1)));
        let heard = Heard::Asks { target: ip("192.0.2.1"), source: ip("192.0.2.9"), mac: THERE };
        assert_eq!(read(&asks), Some(heard));
        let answered = answer(HERE, ip("192.0.2.1"), ip("192.0.2.9"), THERE).unwrap();
        assert_eq!(answered[..6], THERE);
        assert_eq!(read(&answered), Some(Heard::Claims { address: ip("192.0.2.1"), mac: HERE }));
        let answered = answer(HERE, ip("2001:db8::1"), ip("fe80::9"), THERE).unwrap();
        assert_eq!(read(&answered), Some(Heard::Claims { address: ip("2001:db8::1"), mac: HERE }));
        assert_eq!((answered.len(), answered[58] & 0x40), (86, 0x40), "solicited");
        // One that only looks whether the address is free is told with all others.
        let answered = answer(HERE, ip("2001:db8::1"), ip("::"), THERE).unwrap();
        assert_eq!((&answered[..6], answered[58] & 0x40), (&[0x33, 0x33, 0, 0, 0, 1][..], 0));
        assert_eq!(answer(HERE, ip("2001:db8::1"), ip("192.0.2.9"), THERE), None);
    }

    #[test]
    fn an_announcement_claims_and_asks_nothing() {
        for address in ["192.0.2.1", "2001:db8::1"].map(ip) {
            for frame in announcement(HERE, address) {
                assert_eq!(read(&frame), Some(Heard::Claims { address, mac: HERE }));
            }
        }
    }

    #[test]
    fn heartbeats_survive_the_padding_of_short_frames() {
        let mut frame = heartbeat(HERE, None, *b"12345678", true);
        frame.resize(60, 0);
        assert_eq!(read(&frame), Some(Heard::Beats { node: *b"12345678", leaving: true, mac: HERE }));
    }

    #[test]
    fn what_is_cut_short_or_came_over_a_router_is_nothing() {
        let whole = advertisement(HERE, Ipv6Addr::LOCALHOST, None);
        for frame in [whole, heartbeat(HERE, None, [0; 8], false), announcement(HERE, ip("192.0.2.1")).remove(0)] {
            for length in 0..frame.len() {
                // Only the option at the end of an advertisement is not looked at.
                assert!(read(&frame[..length]).is_none() || length >= 42, "{length}");
            }
        }
        let mut far = advertisement(HERE, Ipv6Addr::LOCALHOST, None);
        far[21] = 254;
        assert_eq!(read(&far), None);
    }

    #[test]
    fn an_advertisement_has_the_right_checksum() {
        let frame = advertisement(HERE, "2001:db8::1".parse().unwrap(), None);
        let body = &frame[14..];
        let addresses = (Ipv6Addr::from(array::<16>(body, 8).unwrap()), Ipv6Addr::from(array::<16>(body, 24).unwrap()));
        // With its own sum in it a message sums up to nothing.
        assert_eq!(checksum(addresses.0, addresses.1, &body[40..]), 0);
    }

    #[test]
    fn the_group_of_an_address_has_its_last_three_bytes() {
        assert_eq!(
            solicited_node("2001:db8::12:3456".parse().unwrap()),
            "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap()
        );
    }
}
