//! Ranges of cluster IPs: what is in one.
//!
//! Upstream: `pkg/api/servicecidr`.

use std::net::IpAddr;

use ipnet::IpNet;

/// Whether an address can be allocated from a range: the network's own can not, nor the broadcast of IPv4.
pub(crate) fn allocates(range: &IpNet, ip: &IpAddr) -> bool {
    let broadcast = matches!(range, IpNet::V4(_)) && range.broadcast() == *ip;
    range.contains(ip) && range.network() != *ip && !broadcast
}

/// Whether two ranges have an address in common: one contains the other.
pub(crate) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_range_are_not_allocated() {
        let check = |range: &str, ip: &str, want: bool| {
            let (range, ip): (IpNet, IpAddr) = (range.parse().unwrap(), ip.parse().unwrap());
            assert_eq!(allocates(&range, &ip), want, "{range} {ip}");
        };
        check("192.168.0.0/24", "192.168.0.0", false);
        check("192.168.0.0/24", "192.168.0.1", true);
        check("192.168.0.0/24", "192.168.0.254", true);
        check("192.168.0.0/24", "192.168.0.255", false);
        check("192.168.0.0/24", "192.168.1.1", false);
        check("192.168.0.1/32", "192.168.0.1", false);
        check("2001:db8::/96", "2001:db8::", false);
        check("2001:db8::/96", "2001:db8::ffff:ffff", true);
        check("2001:db8::/96", "192.168.0.1", false);
    }

    #[test]
    fn ranges_overlap_where_one_is_in_the_other() {
        let check = |a: &str, b: &str, want: bool| {
            let (a, b): (IpNet, IpNet) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((overlap(&a, &b), overlap(&b, &a)), (want, want), "{a} {b}");
        };
        check("10.0.0.0/8", "10.1.0.0/16", true);
        check("10.0.0.0/16", "10.0.0.0/16", true);
        check("10.0.0.0/16", "10.1.0.0/16", false);
        check("10.0.0.0/8", "fd00::/8", false);
    }
}
