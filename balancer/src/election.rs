//! Which node answers for which address: pure, and the same wherever it is worked out of the same.
//!
//! Each address goes to the node that draws highest for it (rendezvous hashing) among those that may: so a node that comes
//! or goes moves only its own addresses, and no node has to agree with another on anything but who is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::frames::NodeId;

/// What of a node bears on whether it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its kubelet says that it is well.
    pub ready: bool,
    /// Its label, or that it is being removed, keeps load balancers from it.
    pub excluded: bool,
}

/// Addresses and nodes, as the API has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// For each address the nodes that have endpoints of all its Services whose policy is `Local`; none where no Service of
    /// its has that policy.
    pub addresses: BTreeMap<IpAddr, Option<BTreeSet<NodeId>>>,
    /// All nodes.
    pub nodes: BTreeMap<NodeId, Candidate>,
}

/// A node's name in heartbeats, made of its UID: no two clusters on a link have the same.
pub fn node_id(uid: &str) -> NodeId {
    let digest: [u8; 32] = Sha256::digest(uid.as_bytes()).into();
    let mut id = NodeId::default();
    id.copy_from_slice(&digest[..8]);
    id
}

impl Table {
    /// Who answers for an address, of those who are heard. Best a node that is ready and, with the policy `Local`, has an
    /// endpoint. Where no node has one, any that is ready: its proxy refuses, which tells clients more than silence does. And
    /// where none is ready, any that is heard: that the control plane is away, or takes all for lost, must not stop traffic.
    pub fn owner(&self, address: IpAddr, heard: &BTreeSet<NodeId>) -> Option<NodeId> {
        let local = self.addresses.get(&address)?;
        let there = || heard.iter().filter_map(|id| Some((*id, self.nodes.get(id)?)));
        let included = || there().filter(|(_, node)| !node.excluded);
        let ready = || included().filter(|(_, node)| node.ready).map(|(id, _)| id);
        let has_endpoint = |id: &NodeId| local.as_ref().is_none_or(|nodes| nodes.contains(id));
        let best = |ids: &mut dyn Iterator<Item = NodeId>| ids.max_by_key(|id| (draw(address, id), *id));
        best(&mut ready().filter(has_endpoint))
            .or_else(|| best(&mut ready()))
            .or_else(|| best(&mut included().map(|(id, _)| id)))
    }

    /// The addresses that a node answers for.
    pub fn owned_by(&self, node: NodeId, heard: &BTreeSet<NodeId>) -> BTreeSet<IpAddr> {
        self.addresses.keys().copied().filter(|address| self.owner(*address, heard) == Some(node)).collect()
    }
}

fn draw(address: IpAddr, node: &NodeId) -> u64 {
    let mut hash = Sha256::new();
    match address {
        IpAddr::V4(ip) => hash.update(ip.octets()),
        IpAddr::V6(ip) => hash.update(ip.octets()),
    }
    hash.update(node);
    let digest: [u8; 32] = hash.finalize().into();
    digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Candidate = Candidate { ready: true, excluded: false };

    fn id(number: u8) -> NodeId {
        node_id(&number.to_string())
    }

    fn table(addresses: u8, nodes: u8) -> Table {
        Table {
            addresses: (0..addresses).map(|at| (IpAddr::from([192, 0, 2, at]), None)).collect(),
            nodes: (0..nodes).map(|number| (id(number), WELL)).collect(),
        }
    }

    fn all(table: &Table) -> BTreeSet<NodeId> {
        table.nodes.keys().copied().collect()
    }

    #[test]
    fn every_address_has_one_node_and_every_node_its_part() {
        let table = table(200, 4);
        let heard = all(&table);
        let parts: Vec<usize> = heard.iter().map(|node| table.owned_by(*node, &heard).len()).collect();
        assert_eq!(parts.iter().sum::<usize>(), 200);
        assert!(parts.iter().all(|part| (25..=75).contains(part)), "{parts:?}");
    }

    #[test]
    fn a_node_that_goes_moves_its_own_addresses_and_no_others() {
        let table = table(100, 4);
        let heard = all(&table);
        let left: BTreeSet<NodeId> = heard.iter().copied().filter(|node| *node != id(2)).collect();
        for address in table.addresses.keys() {
            let before = table.owner(*address, &heard).unwrap();
            let after = table.owner(*address, &left).unwrap();
            assert!(if before == id(2) { after != id(2) } else { after == before });
        }
    }

    #[test]
    fn who_answers_is_ready_has_endpoints_and_is_heard() {
        let address = IpAddr::from([192, 0, 2, 0]);
        let check = |change: &dyn Fn(&mut Table), heard: &[u8], expect: &[u8]| {
            let mut table = table(1, 3);
            change(&mut table);
            let heard = heard.iter().map(|number| id(*number)).collect();
            let owner = table.owner(address, &heard);
            let expect: Vec<NodeId> = expect.iter().map(|number| id(*number)).collect();
            assert!(if expect.is_empty() { owner.is_none() } else { owner.is_some_and(|o| expect.contains(&o)) });
        };
        let local = |nodes: &[u8]| {
            let nodes: BTreeSet<NodeId> = nodes.iter().map(|number| id(*number)).collect();
            move |table: &mut Table| drop(table.addresses.insert(address, Some(nodes.clone())))
        };
        let set = |number: u8, to: Candidate| {
            move |table: &mut Table| {
                table.nodes.insert(id(number), to);
            }
        };
        check(&|_| {}, &[], &[]);
        check(&|_| {}, &[1], &[1]);
        check(&set(1, Candidate { excluded: true, ..WELL }), &[1], &[]);
        check(&set(1, Candidate { ready: false, ..WELL }), &[0, 1], &[0]);
        check(&set(1, Candidate { ready: false, ..WELL }), &[1], &[1]);
        check(&local(&[2]), &[0, 1, 2], &[2]);
        // The only one that has endpoints is silent, and none has any.
        check(&local(&[2]), &[0, 1], &[0, 1]);
        check(&local(&[]), &[0, 1, 2], &[0, 1, 2]);
        // A cluster of another's, on the same link.
        check(&|_| {}, &[1, 9], &[1]);
    }
}
