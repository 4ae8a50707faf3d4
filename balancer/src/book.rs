//! Who has which address, and who gets which: pure, over what all Services say together.
//!
//! An address is given only after every Service's status is in the book: a controller that gave out addresses while it
//! still read gave away what another Service had (metallb#1774, metallb#2443). What a status says is kept as long as the
//! pool has it and nobody senior does; what was given and is not yet seen in a status counts as had.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::claim::Claim;
use crate::family::Family;
use crate::pool::Pool;

/// How long what was given counts though the status does not say it.
const UNSEEN: Duration = Duration::from_secs(60);

/// Why a Service does not get an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The pool has none left, or never had one.
    Empty(Vec<Family>),
    /// A wish that is no address.
    Nonsense(String),
    /// A wish of a family that the Service is not of.
    OtherFamily(IpAddr),
    /// The pool does not have what was wished for.
    NotInPool(IpAddr),
    /// Another has it.
    Taken(IpAddr, String),
    /// With the nodes' own addresses: another has a port.
    PortTaken(String, i32, String),
}

impl Refused {
    /// For the Service's events.
    pub fn message(&self, pool: Option<&Pool>) -> String {
        let pool = pool.map(ToString::to_string).unwrap_or_default();
        match self {
            Refused::Empty(families) => {
                let families: Vec<String> = families.iter().map(ToString::to_string).collect();
                format!("no {} address is left in the pool {pool}", families.join(" and no "))
            }
            Refused::Nonsense(text) => format!("the wished address {text:?} is none"),
            Refused::OtherFamily(ip) => format!("the wished address {ip} is of no family of the Service"),
            Refused::NotInPool(ip) => format!("the wished address {ip} is not in the pool {pool}"),
            Refused::Taken(ip, by) => format!("the wished address {ip} is taken by {by}"),
            Refused::PortTaken(protocol, port, by) => {
                format!("the port {port}/{protocol} of the nodes' addresses is taken by {by}")
            }
        }
    }
}

/// A Service in the book.
#[derive(Debug, Clone)]
struct Entry {
    claim: Claim,
    version: u64,
    /// What it was given, and when, until its status says so.
    given: Option<(Vec<IpAddr>, Instant)>,
}

impl Entry {
    fn has(&self, now: Instant) -> &[IpAddr] {
        match &self.given {
            Some((addresses, at)) if now.duration_since(*at) < UNSEEN => addresses,
            _ => &self.claim.status,
        }
    }
}

/// See the module. Services are known by their UIDs.
#[derive(Debug, Default)]
pub struct Book {
    entries: HashMap<String, Entry>,
    /// Who is where: of all that is in statuses, given, or routed by users.
    by_address: HashMap<IpAddr, BTreeSet<String>>,
    /// The nodes' own addresses.
    nodes: BTreeSet<IpAddr>,
}

impl Book {
    /// A Service as it is at a version; of an older one than is known nothing is taken. True if its addresses are others
    /// now than those it had or was given: somebody else wrote them. Where it is `ours` it still has the former ones then,
    /// until it is given some: nobody takes an address, or loses one, by what is written into a status.
    pub fn observe(&mut self, uid: &str, claim: Claim, version: u64, ours: bool, now: Instant) -> bool {
        let known = self.entries.get(uid);
        if known.is_some_and(|entry| entry.version > version) {
            return false;
        }
        let news = known.is_some_and(|entry| {
            entry.claim.status != claim.status && (entry.given.is_none() || entry.has(now) != claim.status)
        });
        let had = known.map(|entry| entry.has(now).to_vec()).filter(|had| news && ours && !had.is_empty());
        let given = had.map(|had| (had, now)).or_else(|| known.and_then(|entry| entry.given.clone()));
        let given = given.filter(|(given, _)| *given != claim.status);
        for ip in known.map(|entry| entry.claim.status.clone()).unwrap_or_default() {
            self.leave(ip, uid);
        }
        let given_now = given.iter().flat_map(|(given, _)| given);
        for ip in claim.status.iter().chain(&claim.external).chain(given_now) {
            self.by_address.entry(*ip).or_default().insert(uid.to_owned());
        }
        self.entries.insert(uid.to_owned(), Entry { claim, version, given });
        news
    }

    /// A Service that is gone.
    pub fn forget(&mut self, uid: &str) {
        let Some(entry) = self.entries.remove(uid) else { return };
        let given = entry.given.into_iter().flat_map(|(given, _)| given);
        for ip in entry.claim.status.into_iter().chain(entry.claim.external).chain(given) {
            self.leave(ip, uid);
        }
    }

    fn leave(&mut self, ip: IpAddr, uid: &str) {
        if let Some(there) = self.by_address.get_mut(&ip) {
            there.remove(uid);
            if there.is_empty() {
                self.by_address.remove(&ip);
            }
        }
    }

    /// What no Service gets, whatever the pool says. True if that is news.
    pub fn set_nodes(&mut self, addresses: BTreeSet<IpAddr>) -> bool {
        let news = self.nodes != addresses;
        self.nodes = addresses;
        news
    }

    /// It has none any more.
    pub fn release(&mut self, uid: &str, now: Instant) {
        if let Some(entry) = self.entries.get_mut(uid) {
            let had = entry.has(now).to_vec();
            entry.given = Some((Vec::new(), now));
            for ip in had {
                self.leave(ip, uid);
            }
        }
    }

    /// The Service's name.
    pub fn name(&self, uid: &str) -> Option<&str> {
        self.entries.get(uid).map(|entry| entry.claim.name.as_str())
    }

    /// What a Service has.
    pub fn has(&self, uid: &str, now: Instant) -> &[IpAddr] {
        self.entries.get(uid).map(|entry| entry.has(now)).unwrap_or_default()
    }

    /// Those who have an address of these besides `uid`, and can't have it together with it.
    pub fn rivals(&self, uid: &str, now: Instant) -> Vec<String> {
        let Some(entry) = self.entries.get(uid) else { return Vec::new() };
        let on = |ip: &IpAddr| self.by_address.get(ip).into_iter().flatten();
        let others: BTreeSet<&String> = entry.has(now).iter().flat_map(on).filter(|other| *other != uid).collect();
        let clash = |other: &&&String| {
            let there = self.entries.get(**other);
            there.is_some_and(|there| {
                !there.claim.shares_with(&entry.claim) && there.has(now).iter().any(|ip| entry.has(now).contains(ip))
            })
        };
        others.iter().filter(clash).map(|other| (*other).clone()).collect()
    }

    /// Who keeps a Service from an address: a node, or another Service that has it and does not share, or that is its
    /// senior where both have it.
    fn holder(&self, ip: IpAddr, uid: &str, me: &Claim, keeps: bool, now: Instant) -> Option<String> {
        if self.nodes.contains(&ip) {
            return Some("a node".to_owned());
        }
        let others = self.by_address.get(&ip).into_iter().flatten().filter(|other| *other != uid);
        let others = others.filter_map(|other| self.entries.get(other));
        let blocks = |other: &&Entry| {
            let routed = other.claim.external.contains(&ip);
            let there = other.has(now).contains(&ip) && !other.claim.shares_with(me);
            routed || (there && !(keeps && me.seniority < other.claim.seniority))
        };
        others.into_iter().find(blocks).map(|other| other.claim.name.clone())
    }

    /// Gives a Service its addresses of a pool: those it wishes for, those it has, or the first free ones.
    ///
    /// # Errors
    /// Why it gets none. It keeps what it has.
    pub fn give(&mut self, uid: &str, pool: &Pool, now: Instant) -> Result<Vec<IpAddr>, Refused> {
        let Some(entry) = self.entries.get(uid) else { return Ok(Vec::new()) };
        let (me, had) = (&entry.claim, entry.has(now));
        if let Some(text) = me.nonsense.first() {
            return Err(Refused::Nonsense(text.clone()));
        }
        if let Some(ip) = me.wished.iter().find(|ip| !me.families.contains(&Family::of(**ip))) {
            return Err(Refused::OtherFamily(*ip));
        }
        let (mut addresses, mut missing) = (Vec::new(), Vec::new());
        for family in &me.families {
            let of_family = |ip: &&IpAddr| Family::of(**ip) == *family;
            if let Some(ip) = me.wished.iter().find(of_family) {
                if !pool.contains(*ip) {
                    return Err(Refused::NotInPool(*ip));
                }
                if let Some(by) = self.holder(*ip, uid, me, had.contains(ip), now) {
                    return Err(Refused::Taken(*ip, by));
                }
                addresses.push(*ip);
                continue;
            }
            let free = |ip: &IpAddr, keeps: bool| self.holder(*ip, uid, me, keeps, now).is_none();
            let kept = had.iter().filter(of_family).find(|ip| pool.contains(**ip) && free(ip, true)).copied();
            let shared =
                || self.shared(me).filter(|ip| of_family(&ip) && pool.contains(*ip)).find(|ip| free(ip, false));
            let found = kept.or_else(shared).or_else(|| pool.addresses(*family).find(|ip| free(ip, false)));
            match found {
                Some(ip) => addresses.push(ip),
                None => missing.push(*family),
            }
        }
        if addresses.is_empty() || (!missing.is_empty() && !me.prefers_both) {
            return Err(Refused::Empty(missing));
        }
        self.note(uid, &addresses, now);
        Ok(addresses)
    }

    /// Addresses of those who share with it, in order.
    fn shared(&self, me: &Claim) -> impl Iterator<Item = IpAddr> {
        let with = self.entries.values().filter(|other| other.claim.shares_with(me));
        let all: BTreeSet<IpAddr> = with.flat_map(|other| other.claim.status.iter().copied()).collect();
        all.into_iter()
    }

    /// Gives a Service the nodes' addresses, if none of its ports is another's or the nodes' own.
    ///
    /// # Errors
    /// One is.
    pub fn give_nodes(
        &mut self,
        uid: &str,
        addresses: &[IpAddr],
        reserved: &BTreeSet<(String, i32)>,
        now: Instant,
    ) -> Result<Vec<IpAddr>, Refused> {
        let Some(entry) = self.entries.get(uid) else { return Ok(Vec::new()) };
        let me = &entry.claim;
        if let Some((protocol, port)) = me.ports.intersection(reserved).next() {
            return Err(Refused::PortTaken(protocol.clone(), *port, "the node itself".to_owned()));
        }
        let keeps = !entry.has(now).is_empty();
        let others = self.entries.iter().filter(|(other, _)| *other != uid).map(|(_, other)| other);
        for other in others.filter(|other| !other.has(now).is_empty()) {
            let senior = !keeps || other.claim.seniority < me.seniority;
            if let Some((protocol, port)) = me.ports.intersection(&other.claim.ports).next().filter(|_| senior) {
                return Err(Refused::PortTaken(protocol.clone(), *port, other.claim.name.clone()));
            }
        }
        let of_family = |family: Family| addresses.iter().copied().filter(move |ip| Family::of(*ip) == family);
        let addresses: Vec<IpAddr> = me.families.iter().copied().flat_map(of_family).collect();
        self.note(uid, &addresses, now);
        Ok(addresses)
    }

    fn note(&mut self, uid: &str, addresses: &[IpAddr], now: Instant) {
        for ip in addresses {
            self.by_address.entry(*ip).or_default().insert(uid.to_owned());
        }
        if let Some(entry) = self.entries.get_mut(uid) {
            let news = entry.claim.status != addresses;
            entry.given = news.then(|| (addresses.to_vec(), now));
        }
    }
}

#[cfg(test)]
mod tests;
