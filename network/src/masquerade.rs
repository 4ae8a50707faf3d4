//! What pods send out of the cluster has this machine's address as its source; what they send to each other keeps theirs, on
//! whichever nodes they are: network policies and the programs themselves go by it.
//!
//! One rule in a table of its own, with the cluster's ranges as a set. It is of a `nat` chain, which sees the first packet of
//! a flow: the others cost nothing. It comes at the priority of the proxy's; what that has translated already stays so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netfilter::tables::{Element, Field, Hook, Kind, Point, Set, Statement, Table, Type, Version};
use netfilter::{Change, Transaction};

/// The tables' name, of either family.
const NAME: &str = "ferry-network";
const SET: &str = "cluster";
const CHAIN: &str = "postrouting";
/// It is always empty: whether it is there tells whether the table is.
const ALIVE: &str = "alive";
/// As the kernel's own `srcnat`.
const PRIORITY: i32 = 100;

/// The families, with what goes to many: that leaves as it is.
pub const FAMILIES: [Version; 2] = [Version::V4, Version::V6];

fn multicast(version: Version) -> IpNet {
    let (address, length) = match version {
        Version::V4 => (IpAddr::from(Ipv4Addr::new(224, 0, 0, 0)), 4),
        Version::V6 => (IpAddr::from(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
    };
    IpNet::new_assert(address, length)
}

fn table(version: Version) -> Table {
    Table { version, name: NAME.to_owned() }
}

/// Those of a family.
pub fn of_family(ranges: &[IpNet], version: Version) -> Vec<IpNet> {
    ranges.iter().copied().filter(|range| range.addr().is_ipv4() == (version == Version::V4)).collect()
}

/// The table anew, in the transaction in which an old one goes. The ranges are of its family and do not overlap.
pub fn create(version: Version, ranges: &[IpNet]) -> Transaction {
    let of = || table(version);
    let set = Set { ranges: true, ..Set::of(SET, [Type::Address(version)]) };
    let [source, destination] = [Field::Source(version), Field::Destination(version)];
    let rule = vec![
        Statement::In(vec![source], SET.to_owned(), true),
        Statement::In(vec![destination], SET.to_owned(), false),
        Statement::Within(destination, multicast(version), false),
        Statement::Masquerade,
    ];
    let hook = Hook { kind: Kind::Nat, point: Point::Postrouting, priority: PRIORITY };
    let mut made = remove(version);
    made.extend([
        Change::AddTable(of()),
        Change::AddSet(of(), set.clone()),
        Change::AddElements(of(), set, ranges.iter().map(|range| Element::net(*range)).collect()),
        Change::AddChain(of(), ALIVE.to_owned(), None),
        Change::AddChain(of(), CHAIN.to_owned(), Some(hook)),
        Change::AddRule(of(), CHAIN.to_owned(), rule),
    ]);
    made
}

/// There is no table afterwards, and it is no error if there was none.
pub fn remove(version: Version) -> Transaction {
    let mut gone = Transaction::default();
    gone.extend([Change::AddTable(table(version)), Change::DeleteTable(table(version))]);
    gone
}

/// Changes nothing, and is refused where the table is gone.
pub fn sign_of_life(version: Version) -> Transaction {
    let mut sign = Transaction::default();
    sign.push(Change::FlushChain(table(version), ALIVE.to_owned()));
    sign
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn one_rule_and_the_ranges_as_a_set() {
        let ranges = ["10.244.0.0/16", "fd00::/48"].map(|text| text.parse().unwrap());
        let show = |version| create(version, &of_family(&ranges, version)).to_string();
        expect![[r#"
            add table ip ferry-network
            delete table ip ferry-network
            add table ip ferry-network
            add set ip ferry-network cluster { type ipv4_addr ; flags interval ; }
            add element ip ferry-network cluster { 10.244.0.0-10.244.255.255 }
            add chain ip ferry-network alive
            add chain ip ferry-network postrouting { type nat hook postrouting priority 100 ; }
            add rule ip ferry-network postrouting ip saddr @cluster ip daddr != @cluster ip daddr != 224.0.0.0/4 masquerade fully-random
        "#]]
        .assert_eq(&show(Version::V4));
        assert!(show(Version::V6).contains("{ fd00::-fd00::ffff:ffff:ffff:ffff:ffff }"));
    }
}
