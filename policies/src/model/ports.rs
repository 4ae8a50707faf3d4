//! Ports that a rule names: ranges of numbers that lie apart, and names that each destination has numbers of its own for.

use std::collections::{BTreeMap, BTreeSet};

use netfilter::tables::Transport;

/// Any of these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports {
    /// From one number to another, itself included, in order and with something between them.
    pub ranges: BTreeMap<Transport, Vec<(u16, u16)>>,
    /// Names.
    pub named: BTreeSet<(Transport, String)>,
}

impl Ports {
    /// Adds all from `first` to `last`.
    pub fn add(&mut self, transport: Transport, first: u16, last: u16) {
        let ranges = self.ranges.entry(transport).or_default();
        ranges.push((first, last));
        ranges.sort_unstable();
        let mut out: Vec<(u16, u16)> = Vec::new();
        for &(first, last) in ranges.iter() {
            match out.last_mut() {
                Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = last.max(*end),
                _ => out.push((first, last)),
            }
        }
        *ranges = out;
    }

    /// Whether a number of a protocol is one of the ranges'.
    pub fn contains(&self, transport: Transport, port: u16) -> bool {
        let mut ranges = self.ranges.get(&transport).into_iter().flatten();
        ranges.any(|(first, last)| (*first..=*last).contains(&port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_are_one() {
        let mut ports = Ports::default();
        for (first, last) in [(80, 80), (90, 100), (81, 82), (95, 110), (65535, 65535), (1, 1)] {
            ports.add(Transport::Tcp, first, last);
        }
        ports.add(Transport::Udp, 0, u16::MAX);
        ports.add(Transport::Udp, 53, 53);
        assert_eq!(ports.ranges[&Transport::Tcp], [(1, 1), (80, 82), (90, 110), (65535, 65535)]);
        assert_eq!(ports.ranges[&Transport::Udp], [(0, u16::MAX)]);
        assert!(ports.contains(Transport::Tcp, 110) && !ports.contains(Transport::Tcp, 111));
        assert!(!ports.contains(Transport::Sctp, 80));
    }
}
