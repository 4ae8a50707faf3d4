//! A cluster's range of pods' addresses, cut into ranges of one size for nodes: which are taken, and the next free one.
//!
//! Upstream: `pkg/controller/nodeipam/ipam/cidrset`.

use std::{net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

use crate::metrics;

/// Of IPv6, a node's prefix is at most this much longer than the cluster's.
const MOST_BITS_IPV6: u8 = 16;

/// What is taken of one range of the cluster.
#[derive(Debug)]
pub(super) struct CidrSet {
    cluster: IpNet,
    /// Of nodes' ranges, in bits.
    prefix: u8,
    /// A bit for each node's range; those that are missing are free.
    used: Vec<u64>,
    taken: u64,
    next: u64,
}

impl CidrSet {
    /// # Errors
    /// Nodes' ranges are larger than the cluster's, or too many.
    pub(super) fn new(cluster: IpNet, prefix: u8) -> anyhow::Result<Self> {
        let cluster = cluster.trunc();
        anyhow::ensure!(
            (cluster.prefix_len()..=cluster.max_prefix_len()).contains(&prefix),
            "Controller: Invalid --cluster-cidr, mask size of cluster CIDR must be less than or equal to \
             --node-cidr-mask-size configured for CIDR family"
        );
        anyhow::ensure!(
            matches!(cluster, IpNet::V4(_)) || prefix - cluster.prefix_len() <= MOST_BITS_IPV6,
            "New CIDR set failed; the node CIDR size is too big"
        );
        let set = Self { cluster, prefix, used: vec![], taken: 0, next: 0 };
        let most = i64::try_from(set.most()).unwrap_or(i64::MAX);
        metrics::NODE_RANGES_MOST.with(&[&cluster.to_string()]).set(most);
        Ok(set)
    }

    /// How many ranges there are for nodes.
    pub(super) fn most(&self) -> u64 {
        1 << (self.prefix - self.cluster.prefix_len())
    }

    /// Takes a free range: the next one after the one that was taken last.
    ///
    /// # Errors
    /// All are taken.
    pub(super) fn allocate(&mut self) -> anyhow::Result<IpNet> {
        let most = self.most();
        anyhow::ensure!(
            self.taken < most,
            "CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range"
        );
        let (mut index, mut passed) = (self.next, 0_u32);
        while self.is_used(index) {
            index = (index + 1) % most;
            passed += 1;
        }
        metrics::NODE_RANGE_TRIES.with(&[&self.cluster.to_string()]).observe(passed.into());
        self.next = (index + 1) % most;
        self.mark(index, true);
        Ok(self.range(index))
    }

    /// Notes that all ranges with addresses of `range` are taken, also if they were.
    ///
    /// # Errors
    /// It is not of the cluster's range.
    pub(super) fn occupy(&mut self, range: &IpNet) -> anyhow::Result<()> {
        self.indexes(range)?.for_each(|index| self.mark(index, true));
        Ok(())
    }

    /// Notes that all ranges with addresses of `range` are free.
    ///
    /// # Errors
    /// It is not of the cluster's range.
    pub(super) fn release(&mut self, range: &IpNet) -> anyhow::Result<()> {
        self.indexes(range)?.for_each(|index| self.mark(index, false));
        Ok(())
    }

    /// The range of which this gives parts, and the share of the parts that are taken.
    pub(super) fn share(&self) -> ([String; 1], f64) {
        ([self.cluster.to_string()], self.taken as f64 / self.most() as f64)
    }

    /// Whether the two have an address in common.
    pub(super) fn overlaps(&self, range: &IpNet) -> bool {
        crate::util::cidr::overlap(&self.cluster, range)
    }

    fn indexes(&self, range: &IpNet) -> anyhow::Result<RangeInclusive<u64>> {
        let range = range.trunc();
        anyhow::ensure!(self.overlaps(&range), "cidr {range} is out the range of cluster cidr {}", self.cluster);
        if range.prefix_len() <= self.cluster.prefix_len() {
            return Ok(0..=self.most() - 1);
        }
        let index = |ip| u64::try_from((number(ip) - number(self.cluster.network())) >> self.free_bits());
        Ok(index(range.network())?..=index(range.broadcast())?)
    }

    fn range(&self, index: u64) -> IpNet {
        let first = number(self.cluster.network()) + (u128::from(index) << self.free_bits());
        let ip = match self.cluster {
            IpNet::V4(_) => IpAddr::V4(u32::try_from(first).unwrap_or_default().into()),
            IpNet::V6(_) => IpAddr::V6(first.into()),
        };
        IpNet::new_assert(ip, self.prefix)
    }

    /// The bits of an address that are the node's to give.
    fn free_bits(&self) -> u32 {
        u32::from(self.cluster.max_prefix_len() - self.prefix)
    }

    fn is_used(&self, index: u64) -> bool {
        let (word, bit) = place(index);
        self.used.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn mark(&mut self, index: u64, used: bool) {
        let (word, bit) = place(index);
        if self.is_used(index) == used {
            return;
        }
        if self.used.len() <= word {
            self.used.resize(word + 1, 0);
        }
        self.used[word] ^= bit;
        self.taken = if used { self.taken + 1 } else { self.taken - 1 };
        let counted = if used { &metrics::NODE_RANGES_TAKEN } else { &metrics::NODE_RANGES_RELEASED };
        counted.with(&[&self.cluster.to_string()]).add(1);
    }
}

fn place(index: u64) -> (usize, u64) {
    ((index / 64) as usize, 1 << (index % 64))
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(cluster: &str, prefix: u8) -> CidrSet {
        CidrSet::new(cluster.parse().unwrap(), prefix).unwrap()
    }

    fn range(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn drained(set: &mut CidrSet) -> Vec<String> {
        std::iter::from_fn(|| set.allocate().ok()).map(|range| range.to_string()).collect()
    }

    #[test]
    fn all_ranges_are_given_out_once() {
        let check = |cluster: &str, prefix: u8, want: &[&str]| {
            let mut set = set(cluster, prefix);
            assert_eq!(set.most(), want.len() as u64);
            assert_eq!(drained(&mut set), want, "{cluster} {prefix}");
        };
        check("127.123.234.0/30", 30, &["127.123.234.0/30"]);
        check(
            "127.123.234.0/30",
            32,
            &["127.123.234.0/32", "127.123.234.1/32", "127.123.234.2/32", "127.123.234.3/32"],
        );
        check("10.1.0.0/23", 24, &["10.1.0.0/24", "10.1.1.0/24"]);
        check("beef:1234::/31", 32, &["beef:1234::/32", "beef:1235::/32"]);
        // Over the middle of an address.
        check(
            "2001:db8:1234:3::/63",
            65,
            &["2001:db8:1234:2::/65", "2001:db8:1234:2:8000::/65", "2001:db8:1234:3::/65", "2001:db8:1234:3:8000::/65"],
        );
        check("::/127", 128, &["::/128", "::1/128"]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let check = |cluster: &str, prefix: u8, good: bool| {
            assert_eq!(CidrSet::new(range(cluster), prefix).is_ok(), good, "{cluster} {prefix}");
        };
        check("10.0.0.0/16", 16, true);
        check("10.0.0.0/16", 15, false);
        check("10.0.0.0/16", 33, false);
        check("0.0.0.0/0", 32, true);
        check("fd00::/48", 64, true);
        check("fd00::/47", 64, false);
        check("fd00::/48", 129, false);
    }

    #[test]
    fn what_is_released_comes_again_after_the_others() {
        let mut set = set("10.0.0.0/22", 24);
        assert_eq!(set.allocate().unwrap(), range("10.0.0.0/24"));
        assert_eq!(set.allocate().unwrap(), range("10.0.1.0/24"));
        set.release(&range("10.0.0.0/24")).unwrap();
        set.release(&range("10.0.0.0/24")).unwrap();
        assert_eq!(drained(&mut set), ["10.0.2.0/24", "10.0.3.0/24", "10.0.0.0/24"]);
        set.release(&range("10.0.0.0/8")).unwrap();
        assert_eq!(drained(&mut set).len(), 4);
    }

    #[test]
    fn what_is_occupied_is_not_given_out() {
        let check = |occupied: &str, want: &[&str]| {
            let mut set = set("10.0.0.0/22", 24);
            set.occupy(&range(occupied)).unwrap();
            set.occupy(&range(occupied)).unwrap();
            assert_eq!(drained(&mut set), want, "{occupied}");
        };
        let all = ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"];
        check("10.0.0.0/24", &all[1..]);
        check("10.0.2.0/24", &[all[0], all[1], all[3]]);
        check("10.0.2.64/26", &[all[0], all[1], all[3]]);
        check("10.0.0.0/23", &all[2..]);
        check("10.0.0.0/22", &[]);
        check("10.0.0.0/8", &[]);
        let mut v6 = set("fd00:0:0:4::/62", 64);
        v6.occupy(&range("fd00:0:0:5::/64")).unwrap();
        assert_eq!(drained(&mut v6), ["fd00:0:0:4::/64", "fd00:0:0:6::/64", "fd00:0:0:7::/64"]);
    }

    #[test]
    fn what_is_of_another_range_is_told() {
        let mut set = set("10.0.0.0/22", 24);
        for other in ["10.1.0.0/24", "fd00::/64"] {
            let why = set.occupy(&range(other)).unwrap_err().to_string();
            assert_eq!(why, format!("cidr {other} is out the range of cluster cidr 10.0.0.0/22"));
            assert!(set.release(&range(other)).is_err());
        }
        assert_eq!(drained(&mut set).len(), 4);
    }
}
