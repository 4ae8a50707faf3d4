//! The questions of members to each other, their answers, and their bytes.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, VoteRequest, VoteResponse,
};

use crate::codec::{Broken, Encode, Input, VERSION};
use crate::command::{self, Operation};
use crate::types::{LogId, NodeId, SnapshotMeta, Types, Vote};

/// A question with who asks whom. A message to the wrong cluster or member is refused before it is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// 0 where the sender is of no cluster yet.
    pub(crate) cluster: u128,
    pub(crate) from: NodeId,
    /// 0 where the sender does not know who is at an address.
    pub(crate) to: NodeId,
    pub(crate) ask: Ask,
}

/// A question.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    Transfer(TransferLeaderRequest<Types>),
    /// A snapshot begins; what was sent of an earlier one is forgotten.
    SnapshotBegin {
        meta: SnapshotMeta,
        bytes: u64,
    },
    /// Its next bytes.
    SnapshotPart {
        offset: u64,
        data: Bytes,
    },
    /// Its end: it is to be installed.
    SnapshotEnd {
        vote: Vote,
    },
    /// Operations for the log, of the leader.
    Propose(Vec<Operation>),
    /// Up to where a member has to have applied the log to answer a read that was asked for before this question.
    ReadIndex,
    /// A new member wants a number; of the leader.
    Join {
        token: u128,
        address: String,
    },
    /// A learner that has caught up is to be a voter; of the leader.
    Promote(NodeId),
    /// A member is to go; of the leader.
    Remove(NodeId),
    /// Another member is to lead; of the leader.
    Lead(NodeId),
    /// How far the members are; of the leader.
    Progress,
    /// The sender is reached at another address from now on; of the leader.
    Move {
        node: NodeId,
        address: String,
    },
}

/// How far a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) node: NodeId,
    /// The last index that it is known to have.
    pub(crate) matched: Option<u64>,
    /// Milliseconds since it was last heard of.
    pub(crate) silent_ms: Option<u64>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Append(AppendEntriesResponse<Types>),
    Vote(VoteResponse<Types>),
    Transfer(Result<(), TransferLeaderError<Types>>),
    Snapshot(Vote),
    /// Each operation's own.
    Proposed(Vec<Result<command::Answer, storage::Error>>),
    ReadIndex(u64),
    Joined {
        cluster: u128,
        node: NodeId,
    },
    Done,
    Progress {
        last: u64,
        members: Vec<Place>,
    },
    Refused(Refusal),
}

/// Why a question is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The sender is of another cluster.
    #[error("the member is of another cluster ({theirs:032x}, not {ours:032x})")]
    Cluster { ours: u128, theirs: u128 },
    /// There is another member at the address.
    #[error("the address is that of member {0}")]
    Member(NodeId),
    /// The sender was removed.
    #[error("member {0} was removed from the cluster; to join again, empty its data directory")]
    Removed(NodeId),
    /// Another member leads, or none; nothing was done.
    #[error("the member does not lead")]
    NotLeader { leader: Option<NodeId>, address: Option<String> },
    /// Not now, or not at all; nothing was done.
    #[error("{0}")]
    Not(String),
    /// It is open what was done.
    #[error("{0}")]
    Unknown(String),
}

macro_rules! by_parts {
    ($type:ty { $($field:ident),* }) => {
        impl Encode for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
            }
            fn decode(input: &mut Input) -> Result<Self, Broken> {
                $(let $field = Encode::decode(input)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}

by_parts! { AppendEntriesRequest<Types> { vote, prev_log_id, leader_commit, entries } }
by_parts! { VoteRequest<Types> { vote, last_log_id, leadership_transfer } }
by_parts! { VoteResponse<Types> { vote, vote_granted, last_log_id } }
by_parts! { Place { node, matched, silent_ms } }

impl Encode for Envelope {
    fn encode(&self, out: &mut Vec<u8>) {
        VERSION.encode(out);
        self.cluster.encode(out);
        self.from.encode(out);
        self.to.encode(out);
        self.ask.encode(out);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        version(input)?;
        let (cluster, from, to) = (u128::decode(input)?, u64::decode(input)?, u64::decode(input)?);
        Ok(Self { cluster, from, to, ask: Ask::decode(input)? })
    }
}

fn version(input: &mut Input) -> Result<(), Broken> {
    match u16::decode(input)? {
        VERSION => Ok(()),
        other => Err(format!("messages of form {other} are not known to this version")),
    }
}

impl Encode for Ask {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Append(request) => {
                out.push(1);
                request.encode(out);
            }
            Self::Vote(request) => {
                out.push(2);
                request.encode(out);
            }
            Self::PreVote(request) => {
                out.push(3);
                request.encode(out);
            }
            Self::Transfer(request) => {
                out.push(4);
                request.from_leader().encode(out);
                request.to_node_id().encode(out);
                request.last_log_id().copied().encode(out);
            }
            Self::SnapshotBegin { meta, bytes } => {
                out.push(5);
                meta.encode(out);
                bytes.encode(out);
            }
            Self::SnapshotPart { offset, data } => {
                out.push(6);
                offset.encode(out);
                data.encode(out);
            }
            Self::SnapshotEnd { vote } => {
                out.push(7);
                vote.encode(out);
            }
            Self::Propose(operations) => {
                out.push(8);
                operations.encode(out);
            }
            Self::ReadIndex => out.push(9),
            Self::Join { token, address } => {
                out.push(10);
                token.encode(out);
                address.encode(out);
            }
            Self::Promote(node) => {
                out.push(11);
                node.encode(out);
            }
            Self::Remove(node) => {
                out.push(12);
                node.encode(out);
            }
            Self::Lead(node) => {
                out.push(13);
                node.encode(out);
            }
            Self::Progress => out.push(14),
            Self::Move { node, address } => {
                out.push(15);
                node.encode(out);
                address.encode(out);
            }
        }
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Ok(match u8::decode(input)? {
            1 => Self::Append(Encode::decode(input)?),
            2 => Self::Vote(Encode::decode(input)?),
            3 => Self::PreVote(Encode::decode(input)?),
            4 => {
                let (from, to) = (Vote::decode(input)?, u64::decode(input)?);
                Self::Transfer(TransferLeaderRequest::new(from, to, Option::<LogId>::decode(input)?))
            }
            5 => Self::SnapshotBegin { meta: Encode::decode(input)?, bytes: u64::decode(input)? },
            6 => Self::SnapshotPart { offset: u64::decode(input)?, data: Bytes::decode(input)? },
            7 => Self::SnapshotEnd { vote: Vote::decode(input)? },
            8 => Self::Propose(Vec::decode(input)?),
            9 => Self::ReadIndex,
            10 => Self::Join { token: u128::decode(input)?, address: String::decode(input)? },
            11 => Self::Promote(u64::decode(input)?),
            12 => Self::Remove(u64::decode(input)?),
            13 => Self::Lead(u64::decode(input)?),
            14 => Self::Progress,
            15 => Self::Move { node: u64::decode(input)?, address: String::decode(input)? },
            other => return Err(format!("question of unknown kind {other}")),
        })
    }
}

impl Encode for Answer {
    fn encode(&self, out: &mut Vec<u8>) {
        VERSION.encode(out);
        match self {
            Self::Append(AppendEntriesResponse::Success) => out.push(1),
            Self::Append(AppendEntriesResponse::PartialSuccess(last)) => {
                out.push(2);
                last.encode(out);
            }
            Self::Append(AppendEntriesResponse::Conflict) => out.push(3),
            Self::Append(AppendEntriesResponse::HigherVote(vote)) => {
                out.push(4);
                vote.encode(out);
            }
            Self::Vote(response) => {
                out.push(5);
                response.encode(out);
            }
            Self::Transfer(Ok(())) => out.push(6),
            Self::Transfer(Err(TransferLeaderError::VoteChanged { expected, actual })) => {
                out.push(7);
                expected.encode(out);
                actual.encode(out);
            }
            Self::Transfer(Err(TransferLeaderError::LogNotFlushed { expected, actual })) => {
                out.push(8);
                expected.encode(out);
                actual.encode(out);
            }
            Self::Snapshot(vote) => {
                out.push(9);
                vote.encode(out);
            }
            Self::Proposed(answers) => {
                out.push(10);
                answers.encode(out);
            }
            Self::ReadIndex(index) => {
                out.push(11);
                index.encode(out);
            }
            Self::Joined { cluster, node } => {
                out.push(12);
                cluster.encode(out);
                node.encode(out);
            }
            Self::Done => out.push(13),
            Self::Progress { last, members } => {
                out.push(14);
                last.encode(out);
                members.encode(out);
            }
            Self::Refused(refusal) => {
                out.push(15);
                refusal.encode(out);
            }
        }
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        version(input)?;
        Ok(match u8::decode(input)? {
            1 => Self::Append(AppendEntriesResponse::Success),
            2 => Self::Append(AppendEntriesResponse::PartialSuccess(Option::decode(input)?)),
            3 => Self::Append(AppendEntriesResponse::Conflict),
            4 => Self::Append(AppendEntriesResponse::HigherVote(Vote::decode(input)?)),
            5 => Self::Vote(Encode::decode(input)?),
            6 => Self::Transfer(Ok(())),
            7 => {
                let (expected, actual) = (Vote::decode(input)?, Vote::decode(input)?);
                Self::Transfer(Err(TransferLeaderError::VoteChanged { expected, actual }))
            }
            8 => {
                let (expected, actual) = (Option::decode(input)?, Option::decode(input)?);
                Self::Transfer(Err(TransferLeaderError::LogNotFlushed { expected, actual }))
            }
            9 => Self::Snapshot(Vote::decode(input)?),
            10 => Self::Proposed(Vec::decode(input)?),
            11 => Self::ReadIndex(u64::decode(input)?),
            12 => Self::Joined { cluster: u128::decode(input)?, node: u64::decode(input)? },
            13 => Self::Done,
            14 => Self::Progress { last: u64::decode(input)?, members: Vec::decode(input)? },
            15 => Self::Refused(Refusal::decode(input)?),
            other => return Err(format!("answer of unknown kind {other}")),
        })
    }
}

impl Encode for Result<command::Answer, storage::Error> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_ok().encode(out);
        match self {
            Ok(answer) => answer.encode(out),
            Err(error) => error.encode(out),
        }
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Ok(if bool::decode(input)? { Ok(Encode::decode(input)?) } else { Err(Encode::decode(input)?) })
    }
}

impl Encode for Refusal {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Cluster { ours, theirs } => {
                out.push(1);
                ours.encode(out);
                theirs.encode(out);
            }
            Self::Member(node) => {
                out.push(2);
                node.encode(out);
            }
            Self::Removed(node) => {
                out.push(3);
                node.encode(out);
            }
            Self::NotLeader { leader, address } => {
                out.push(4);
                leader.encode(out);
                address.encode(out);
            }
            Self::Not(why) => {
                out.push(5);
                why.encode(out);
            }
            Self::Unknown(why) => {
                out.push(6);
                why.encode(out);
            }
        }
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Ok(match u8::decode(input)? {
            1 => Self::Cluster { ours: u128::decode(input)?, theirs: u128::decode(input)? },
            2 => Self::Member(u64::decode(input)?),
            3 => Self::Removed(u64::decode(input)?),
            4 => Self::NotLeader { leader: Option::decode(input)?, address: Option::decode(input)? },
            5 => Self::Not(String::decode(input)?),
            6 => Self::Unknown(String::decode(input)?),
            other => return Err(format!("refusal of unknown kind {other}")),
        })
    }
}
