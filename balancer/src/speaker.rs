//! What an announcer says: pure, with the time passed in. It hears frames, and learns of what the API has; it answers for
//! the addresses that are its own, tells the link of those that have become so, and beats.
//!
//! An address that is taken over is told of several times, since nobody confirms it; then every now and then, which mends
//! what a neighbour kept from a split that nobody noticed. It is also told of again when another announcer is heard that was
//! silent: both may have answered meanwhile (metallb#584).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::election::Table;
use crate::frames::{self, Heard, Mac, NodeId};
use crate::membership::{BEAT, MOST, Membership};

/// When an address is told of after it was taken over.
const TOLD: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(150),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// And from then on.
const TOLD_AGAIN: Duration = Duration::from_secs(30);
/// Addresses that are told of at once, and the pause before the next ones: a link whose queue is full drops what is sent.
const AT_ONCE: usize = 64;
const PACE: Duration = Duration::from_millis(5);
/// At most so often against another that claims an address: two that defend one would drown the link (RFC 5227).
const DEFENCE: Duration = Duration::from_secs(10);

/// An address that this node answers for.
#[derive(Debug)]
struct Owned {
    /// How often it was told of since it was taken over.
    told: usize,
    due: Instant,
    /// When it was defended last.
    defended: Option<Instant>,
}

/// What changed about who answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// This node answers for these now.
    pub taken: Vec<IpAddr>,
    /// And for these no longer.
    pub yielded: Vec<IpAddr>,
}

/// See the module.
#[derive(Debug)]
pub struct Speaker {
    mac: Mac,
    own_ip: Option<Ipv4Addr>,
    node: NodeId,
    members: Membership,
    table: Arc<Table>,
    /// Who was there at the last election; none if there was none on this table.
    elected_by: Option<BTreeSet<NodeId>>,
    owned: BTreeMap<IpAddr, Owned>,
    /// The hardware addresses of other announcers.
    peers: BTreeSet<Mac>,
    next_beat: Instant,
    next_told: Instant,
}

impl Speaker {
    /// One that begins to listen.
    pub fn new(mac: Mac, own_ip: Option<Ipv4Addr>, node: NodeId, now: Instant) -> Speaker {
        let members = Membership::new(node, now);
        let (table, owned, peers) = (Arc::default(), BTreeMap::new(), BTreeSet::new());
        Speaker { mac, own_ip, node, members, table, elected_by: None, owned, peers, next_beat: now, next_told: now }
    }

    /// What the API has now.
    pub fn set_table(&mut self, table: Arc<Table>) {
        self.table = table;
        self.elected_by = None;
    }

    /// A frame; what it is to be answered with.
    pub fn hear(&mut self, heard: Heard, now: Instant) -> Vec<Vec<u8>> {
        match heard {
            Heard::Asks { target, source, mac } if mac != self.mac && self.owned.contains_key(&target) => {
                frames::answer(self.mac, target, source, mac).into_iter().collect()
            }
            Heard::Beats { node, leaving, mac } if mac != self.mac => {
                if self.members.hear(node, leaving, now) {
                    if self.peers.len() >= MOST {
                        self.peers.clear();
                    }
                    self.peers.insert(mac);
                    self.owned.values_mut().for_each(|owned| (owned.told, owned.due) = (0, now));
                    // It need not wait to know who is here.
                    self.next_beat = self.next_beat.min(now);
                }
                Vec::new()
            }
            Heard::Claims { address, mac } if mac != self.mac => self.defend(address, mac, now),
            _ => Vec::new(),
        }
    }

    fn defend(&mut self, address: IpAddr, mac: Mac, now: Instant) -> Vec<Vec<u8>> {
        let Some(owned) = self.owned.get_mut(&address) else { return Vec::new() };
        if owned.defended.is_some_and(|at| now.duration_since(at) < DEFENCE) {
            return Vec::new();
        }
        owned.defended = Some(now);
        // Another announcer's may be on the way still when it has yielded.
        if !self.peers.contains(&mac) {
            let other: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            tracing::warn!(%address, mac = other.join(":"), "somebody else claims an address that this node answers for");
        }
        frames::announcement(self.mac, address)
    }

    /// Works out who answers for what now. An address is given up before it is known who has it.
    pub fn elect(&mut self, now: Instant) -> Moved {
        let there = self.members.there(now);
        if self.elected_by.as_ref() == Some(&there) {
            return Moved::default();
        }
        let mine = if there.contains(&self.node) { self.table.owned_by(self.node, &there) } else { BTreeSet::new() };
        let yielded: Vec<IpAddr> = self.owned.keys().copied().filter(|address| !mine.contains(address)).collect();
        for address in &yielded {
            self.owned.remove(address);
        }
        self.elected_by = Some(there);
        let taken: Vec<IpAddr> = mine.into_iter().filter(|address| !self.owned.contains_key(address)).collect();
        for address in &taken {
            self.owned.insert(*address, Owned { told: 0, due: now, defended: None });
        }
        Moved { taken, yielded }
    }

    /// What is to be said now without being asked.
    pub fn say(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut said = Vec::new();
        if self.members.has_joined(now) && now >= self.next_beat {
            said.push(frames::heartbeat(self.mac, self.own_ip, self.node, false));
            self.next_beat = now + BEAT;
        }
        if now >= self.next_told {
            let mut due = self.owned.iter_mut().filter(|(_, owned)| now >= owned.due);
            for (address, owned) in due.by_ref().take(AT_ONCE) {
                said.extend(frames::announcement(self.mac, *address));
                owned.told += 1;
                let pause = match (TOLD.get(owned.told), TOLD.get(owned.told - 1)) {
                    (Some(next), Some(last)) => *next - *last,
                    _ => TOLD_AGAIN,
                };
                owned.due = now + pause;
            }
            if due.next().is_some() {
                self.next_told = now + PACE;
            }
        }
        said
    }

    /// When there is something to elect or to say, if nothing is heard until then.
    pub fn due(&self, now: Instant) -> Instant {
        let beat = Some(self.next_beat).filter(|_| self.members.has_joined(now));
        let told = self.owned.values().map(|owned| owned.due.max(self.next_told));
        told.chain(beat).chain(self.members.next_change(now)).min().unwrap_or(now + BEAT)
    }

    /// Its last words: it answers for nothing any more, and the others need not wait until it is silent.
    pub fn leave(&mut self) -> Vec<u8> {
        self.owned.clear();
        frames::heartbeat(self.mac, self.own_ip, self.node, true)
    }
}

#[cfg(test)]
mod tests;
