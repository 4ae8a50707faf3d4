//! What openraft is told of this store's types: the one place where its generics are filled in.

use std::fmt;

#[allow(deprecated)] // its new home is a crate of its own, whose only content this is
use openraft::impls::TokioRuntime;

use crate::command::{Answers, Command};

openraft::declare_raft_types!(
    /// The types of this store's log.
    pub Types:
        D = Command,
        R = Answers,
        NodeId = u64,
        Node = Member,
        AsyncRuntime = TokioRuntime,
);

/// Where a member is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// `IP:PORT` at which the others reach it.
    pub address: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// A member's number. Never used again for another.
pub type NodeId = u64;
pub(crate) type LeaderId = openraft::alias::LeaderIdOf<Types>;
pub(crate) type LogId = openraft::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type Entry = openraft::alias::EntryOf<Types>;
pub(crate) type Membership = openraft::Membership<NodeId, Member>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;

/// A log position from its parts.
pub(crate) fn log_id(term: u64, node: NodeId, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id: node }, index }
}
