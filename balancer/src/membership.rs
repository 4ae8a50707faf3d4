//! Whom this node hears on the link, and when it counts as there itself: pure, with the time passed in.
//!
//! Nobody votes and nobody asks the API server: who is heard is there, who is silent for [`SILENCE`] is not, who says that
//! it leaves has left. A node whose link is cut hears nobody, and answers where nobody asks; once it hears the others again
//! all work out the same. The control plane may be away for as long as it wants.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::frames::NodeId;

/// Between two heartbeats.
pub const BEAT: Duration = Duration::from_millis(400);
/// Three beats that are not heard, and some time for a machine that is busy.
pub const SILENCE: Duration = Duration::from_millis(1500);
/// The most nodes that are listened to; what others say is dropped.
pub const MOST: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct Membership {
    own: NodeId,
    /// From then on this node counts. Before, it listens: else it would take for silent those whom it has not heard yet.
    joins: Instant,
    heard: BTreeMap<NodeId, Instant>,
}

impl Membership {
    /// A node that begins to listen.
    pub fn new(own: NodeId, now: Instant) -> Membership {
        Membership { own, joins: now + SILENCE, heard: BTreeMap::new() }
    }

    /// Whether this node counts as there: it sends heartbeats, and answers.
    pub fn has_joined(&self, now: Instant) -> bool {
        now >= self.joins
    }

    /// A heartbeat. True if the node was not there before: what its neighbours know may be stale.
    pub fn hear(&mut self, node: NodeId, leaving: bool, now: Instant) -> bool {
        if node == self.own {
            return false;
        }
        if leaving {
            self.heard.remove(&node);
            return false;
        }
        let room = self.heard.len() < MOST;
        match self.heard.get_mut(&node) {
            Some(at) => {
                let was_silent = now.duration_since(*at) >= SILENCE;
                *at = now;
                was_silent
            }
            None if room => self.heard.insert(node, now).is_none(),
            None => false,
        }
    }

    /// Who is there. Those who have been silent for too long are forgotten.
    pub fn there(&mut self, now: Instant) -> BTreeSet<NodeId> {
        self.heard.retain(|_, at| now.duration_since(*at) < SILENCE);
        let own = self.has_joined(now).then_some(self.own);
        self.heard.keys().copied().chain(own).collect()
    }

    /// When the next one is silent for too long, or this node joins, if nothing is heard until then.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        let joins = Some(self.joins).filter(|joins| *joins > now);
        self.heard.values().map(|at| *at + SILENCE).chain(joins).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeId = [0; 8];
    const OTHER: NodeId = [1; 8];

    #[test]
    fn a_node_listens_before_it_counts() {
        let now = Instant::now();
        let mut members = Membership::new(OWN, now);
        assert_eq!((members.there(now), members.next_change(now)), (BTreeSet::new(), Some(now + SILENCE)));
        assert!(members.hear(OTHER, false, now + BEAT));
        assert_eq!(members.there(now + BEAT), [OTHER].into());
        assert_eq!(members.there(now + SILENCE), [OWN, OTHER].into());
    }

    #[test]
    fn a_silent_node_is_gone_and_one_that_leaves_at_once() {
        let now = Instant::now();
        let mut members = Membership::new(OWN, now);
        let later = now + SILENCE * 2;
        assert!(members.hear(OTHER, false, later));
        assert!(!members.hear(OTHER, false, later + BEAT));
        assert_eq!(members.next_change(later + BEAT), Some(later + BEAT + SILENCE));
        assert_eq!(members.there(later + BEAT + SILENCE), [OWN].into());
        // It is heard again, and what it answered for meanwhile is to be said anew.
        assert!(members.hear(OTHER, false, later + SILENCE * 3));
        assert!(!members.hear(OTHER, true, later + SILENCE * 3));
        assert_eq!(members.there(later + SILENCE * 3), [OWN].into());
    }

    #[test]
    fn an_echo_is_nobody() {
        let now = Instant::now();
        let mut members = Membership::new(OWN, now);
        assert!(!members.hear(OWN, true, now));
        assert_eq!(members.there(now + SILENCE), [OWN].into());
    }
}
