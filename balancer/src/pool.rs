//! The addresses that Services may get: ranges and CIDRs, in the order in which they are written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, bail};
use ipnet::IpNet;

use crate::family::Family;

/// The most ranges that a pool may have.
const MOST_RANGES: usize = 1000;

/// See the module. Addresses are given out from the first range's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// First and last address, of one family.
    ranges: Vec<(IpAddr, IpAddr)>,
    /// As it was written.
    text: String,
}

impl Pool {
    /// Reads `192.0.2.100-192.0.2.120`, `2001:db8::/120`, `192.0.2.7`.
    ///
    /// Of a CIDR the addresses are left out that can't be a host's where the link has that prefix: the first and the last
    /// of an IPv4 network, the first of an IPv6 one. Whoever means them writes a range.
    ///
    /// # Errors
    /// It is not written like that.
    pub fn parse(ranges: &[String]) -> anyhow::Result<Pool> {
        let texts: Vec<&str> = ranges.iter().map(|range| range.trim()).filter(|range| !range.is_empty()).collect();
        if texts.is_empty() || texts.len() > MOST_RANGES {
            bail!("a pool has 1 to {MOST_RANGES} ranges of addresses, and not {}", texts.len());
        }
        let parsed = texts.iter().map(|text| {
            let range = range(text).with_context(|| {
                format!("not a range of addresses: \"{text}\" (as 192.0.2.100-192.0.2.120, or 2001:db8::/120)")
            })?;
            let usable = |ip: &IpAddr| !ip.is_loopback() && !ip.is_multicast() && !ip.is_unspecified();
            if !usable(&range.0) || !usable(&range.1) || number(range.0) > number(range.1) {
                bail!("no address of this range can be a Service's: \"{text}\"");
            }
            Ok(range)
        });
        Ok(Pool { ranges: parsed.collect::<anyhow::Result<_>>()?, text: texts.join(",") })
    }

    /// Whether the address is one of the pool's.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let within = |first: IpAddr, last: IpAddr| {
            Family::of(first) == Family::of(ip) && (number(first)..=number(last)).contains(&number(ip))
        };
        self.ranges.iter().any(|(first, last)| within(*first, *last))
    }

    /// Whether it has addresses of a family.
    pub fn has(&self, family: Family) -> bool {
        self.ranges.iter().any(|(first, _)| Family::of(*first) == family)
    }

    /// Its addresses of a family, in order.
    pub fn addresses(&self, family: Family) -> impl Iterator<Item = IpAddr> + '_ {
        let of_family = self.ranges.iter().filter(move |(first, _)| Family::of(*first) == family);
        of_family.flat_map(move |(first, last)| (number(*first)..=number(*last)).map(move |at| address(at, family)))
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn range(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Ok(ip) = text.parse() {
        return Some((ip, ip));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        let (first, last) = (number(net.network()), number(net.broadcast()));
        let family = Family::of(net.network());
        let (skip_first, skip_last) = match family {
            Family::V4 => (net.prefix_len() <= 30, net.prefix_len() <= 30),
            Family::V6 => (net.prefix_len() <= 127, false),
        };
        return Some((address(first + u128::from(skip_first), family), address(last - u128::from(skip_last), family)));
    }
    let (first, last) = text.split_once('-')?;
    let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (Family::of(first) == Family::of(last)).then_some((first, last))
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn address(number: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(number as u32).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(text: &str) -> anyhow::Result<Pool> {
        Pool::parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn addresses_come_in_the_order_in_which_they_are_written() {
        let check = |text: &str, family: Family, expect: &[&str]| {
            let found: Vec<String> = pool(text).unwrap().addresses(family).map(|ip| ip.to_string()).collect();
            assert_eq!(found, expect, "{text}");
        };
        check("192.0.2.9-192.0.2.11,192.0.2.1", Family::V4, &["192.0.2.9", "192.0.2.10", "192.0.2.11", "192.0.2.1"]);
        check("192.0.2.0/30", Family::V4, &["192.0.2.1", "192.0.2.2"]);
        check("192.0.2.0/31", Family::V4, &["192.0.2.0", "192.0.2.1"]);
        check("192.0.2.255/32", Family::V4, &["192.0.2.255"]);
        check("2001:db8::/126, 192.0.2.1", Family::V6, &["2001:db8::1", "2001:db8::2", "2001:db8::3"]);
        check("2001:db8::/126", Family::V4, &[]);
        let large = pool("2001:db8::/64").unwrap();
        assert_eq!(large.addresses(Family::V6).next(), Some("2001:db8::1".parse().unwrap()));
        assert!(large.contains("2001:db8::ffff:1".parse().unwrap()) && !large.contains("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for text in ["", "x", "192.0.2.1-", "192.0.2.1-2001:db8::1", "192.0.2.0/33"] {
            assert!(pool(text).is_err(), "{text}");
        }
        for text in ["192.0.2.9-192.0.2.1", "127.0.0.1", "224.0.0.1-224.0.0.9", "::1"] {
            let why = pool(text).unwrap_err().to_string();
            assert_eq!(why, format!("no address of this range can be a Service's: \"{text}\""));
        }
    }
}
