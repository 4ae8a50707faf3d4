//! Blocks of addresses, some taken out of others, as ranges that lie apart: the only ones that a set takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netfilter::tables::Version;

/// From one address to another, itself included; both of one family.
pub type Range = (IpAddr, IpAddr);

/// Addresses of both families: ranges in order, with something between them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nets(Vec<Range>);

/// The family of an address.
pub fn version(ip: IpAddr) -> Version {
    if ip.is_ipv4() { Version::V4 } else { Version::V6 }
}

impl Nets {
    /// Adds a block without those that are taken out of it.
    pub fn add(&mut self, block: IpNet, except: &[IpNet]) {
        let mut except: Vec<Range> = except.iter().map(|net| (net.network(), net.broadcast())).collect();
        except.sort_unstable();
        let last = block.broadcast();
        let mut from = Some(block.network());
        for (first, behind) in except {
            let Some(start) = from.filter(|start| version(*start) == version(first) && behind >= *start) else {
                continue;
            };
            if first > last {
                break;
            }
            if let Some(before) = before(first).filter(|before| *before >= start) {
                self.0.push((start, before));
            }
            from = after(behind);
        }
        self.0.extend(from.filter(|start| *start <= last).map(|start| (start, last)));
        self.0.sort_unstable();
        self.0 = joined(&self.0);
    }

    /// Those of a family.
    pub fn of(&self, of: Version) -> impl Iterator<Item = Range> {
        self.0.iter().copied().filter(move |(first, _)| version(*first) == of)
    }

    /// Whether an address is in there.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.of(version(ip)).any(|(first, last)| (first..=last).contains(&ip))
    }

    /// Whether all of a family are.
    pub fn are_all(&self, of: Version) -> bool {
        let all: Range = match of {
            Version::V4 => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()),
            Version::V6 => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from(u128::MAX).into()),
        };
        self.of(of).eq([all])
    }
}

/// Ranges in order that overlap or touch, put together.
fn joined(ranges: &[Range]) -> Vec<Range> {
    let mut out: Vec<Range> = Vec::new();
    for &(first, last) in ranges {
        match out.last_mut().filter(|(_, end)| version(*end) == version(first)) {
            Some((_, end)) if after(*end).is_none_or(|next| first <= next) => *end = last.max(*end),
            _ => out.push((first, last)),
        }
    }
    out
}

fn after(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(ip) => ip.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

fn before(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().checked_sub(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(ip) => ip.to_bits().checked_sub(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(blocks: &[(&str, &[&str])], expected: &str) {
        let mut nets = Nets::default();
        for (block, except) in blocks {
            let except: Vec<IpNet> = except.iter().map(|net| net.parse().unwrap()).collect();
            nets.add(block.parse().unwrap(), &except);
        }
        let ranges = nets.0.iter().map(|(first, last)| format!("{first}-{last}"));
        assert_eq!(ranges.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn blocks_without_what_is_taken_out() {
        check(&[("10.0.0.0/8", &[])], "10.0.0.0-10.255.255.255");
        check(&[("10.1.2.3/8", &[])], "10.0.0.0-10.255.255.255");
        check(&[("10.0.0.0/8", &["10.1.0.0/16"])], "10.0.0.0-10.0.255.255 10.2.0.0-10.255.255.255");
        // At its edges, side by side, in each other, all of it.
        check(&[("10.0.0.0/8", &["10.0.0.0/16", "10.255.0.0/16"])], "10.1.0.0-10.254.255.255");
        check(
            &[("10.0.0.0/8", &["10.2.0.0/16", "10.1.0.0/16", "10.1.1.0/24"])],
            "10.0.0.0-10.0.255.255 10.3.0.0-10.255.255.255",
        );
        check(&[("10.0.0.0/31", &["10.0.0.0/32", "10.0.0.1/32"])], "");
        // To the last address there is.
        check(&[("0.0.0.0/0", &["255.255.255.255/32", "0.0.0.0/32"])], "0.0.0.1-255.255.255.254");
        check(&[("128.0.0.0/1", &[])], "128.0.0.0-255.255.255.255");
        // What lies elsewhere takes nothing out.
        check(&[("10.0.0.0/8", &["fd00::/8", "11.0.0.0/8", "9.0.0.0/8"])], "10.0.0.0-10.255.255.255");
        check(&[("fd00::/126", &["fd00::1/128"])], "fd00::-fd00:: fd00::2-fd00::3");
    }

    #[test]
    fn what_one_block_takes_out_another_may_have() {
        check(&[("10.0.0.0/30", &["10.0.0.1/32"]), ("10.0.0.1/32", &[])], "10.0.0.0-10.0.0.3");
        check(&[("fd00::/127", &[]), ("10.0.0.0/31", &[])], "10.0.0.0-10.0.0.1 fd00::-fd00::1");
        check(&[("255.255.255.255/32", &[]), ("::/128", &[])], "255.255.255.255-255.255.255.255 ::-::");
    }

    #[test]
    fn all_of_a_family() {
        let mut nets = Nets::default();
        nets.add("0.0.0.0/1".parse().unwrap(), &[]);
        assert!(!nets.are_all(Version::V4));
        nets.add("128.0.0.0/1".parse().unwrap(), &[]);
        assert!(nets.are_all(Version::V4) && !nets.are_all(Version::V6));
        nets.add("::/0".parse().unwrap(), &[]);
        assert!(nets.are_all(Version::V6) && nets.contains("fe80::1".parse().unwrap()));
    }
}
