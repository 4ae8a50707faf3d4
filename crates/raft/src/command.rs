//! What an entry of the log asks for, and what becomes of it.
//!
//! An entry holds many operations: those of all callers that waited for the log at the same moment share one entry, and so one
//! sync on each member. Operations are undecided. Each member decides them when it applies the entry, from the same state by
//! the same function, and comes to the same end; so a leader needs to know nothing of what is under way, and a change of
//! leaders can't bring two opinions of one compare-and-swap (`docs/decisions/012`).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use storage::{Error, Expect, KeyValue, Outcome, Revision};

use crate::codec::{Broken, Encode, Input};
use crate::types::NodeId;

/// One wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A key's value.
    Put {
        /// Which.
        key: Arc<str>,
        /// The value.
        value: Bytes,
        /// What must be true of it.
        expect: Expect,
        /// Unix seconds by the proposer's clock, 0 for never.
        expiry: i64,
    },
    /// A key's end: a caller's wish, or that of the leader's clock.
    Delete {
        /// Which.
        key: Arc<str>,
        /// Where it was last written.
        mod_revision: Revision,
    },
    /// History is forgotten up to here.
    Compact {
        /// Up to and with this one.
        revision: Revision,
    },
    /// A number for a new member. Who asks twice with the same token gets the same.
    Enrol {
        /// Made by who wants to join, once.
        token: u128,
    },
    /// A member was removed: its number is void.
    Forget {
        /// Whose.
        node: NodeId,
    },
}

impl Operation {
    /// About what it takes in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Put { key, value, .. } => key.len() + value.len(),
                Self::Delete { key, .. } => key.len(),
                _ => 0,
            }
    }
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of a put or delete.
    Write(Outcome),
    /// Of a compaction.
    Compacted,
    /// Of a compaction in the future: the newest revision.
    Future(Revision),
    /// Of an enrolment.
    Enrolled(NodeId),
    /// Of a removal.
    Forgotten,
}

/// The operations of an entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(pub Arc<[Operation]>);

/// Their answers, in the same order.
pub type Answers = Vec<Answer>;

impl fmt::Debug for Command {
    // Values can be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} operations)", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} operations", self.0.len())
    }
}

impl Encode for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        u32::try_from(self.0.len()).expect("batches are limited").encode(out);
        self.0.iter().for_each(|operation| operation.encode(out));
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Vec::decode(input).map(|operations| Self(operations.into()))
    }
}

fn key(input: &mut Input) -> Result<Arc<str>, Broken> {
    let bytes = Bytes::decode(input)?;
    std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| "key is not UTF-8".to_owned())
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    u32::try_from(text.len()).expect("keys are limited when they come in").encode(out);
    out.extend(text.as_bytes());
}

/// Its own allocation: it may outlive all its neighbours.
fn value(input: &mut Input) -> Result<Bytes, Broken> {
    Bytes::decode(input).map(|part| Bytes::copy_from_slice(&part))
}

impl Encode for Operation {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put { key, value, expect, expiry } => {
                out.push(1);
                encode_text(key, out);
                let revision = match expect {
                    Expect::Absent => None,
                    Expect::ModRevision(revision) => Some(*revision),
                };
                revision.encode(out);
                expiry.encode(out);
                value.encode(out);
            }
            Self::Delete { key, mod_revision } => {
                out.push(2);
                encode_text(key, out);
                mod_revision.encode(out);
            }
            Self::Compact { revision } => {
                out.push(3);
                revision.encode(out);
            }
            Self::Enrol { token } => {
                out.push(4);
                token.encode(out);
            }
            Self::Forget { node } => {
                out.push(5);
                node.encode(out);
            }
        }
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Ok(match u8::decode(input)? {
            1 => {
                let key = key(input)?;
                let expect = Option::decode(input)?.map_or(Expect::Absent, Expect::ModRevision);
                let expiry = i64::decode(input)?;
                Self::Put { key, value: value(input)?, expect, expiry }
            }
            2 => Self::Delete { key: key(input)?, mod_revision: i64::decode(input)? },
            3 => Self::Compact { revision: i64::decode(input)? },
            4 => Self::Enrol { token: u128::decode(input)? },
            5 => Self::Forget { node: u64::decode(input)? },
            other => return Err(format!("operation of unknown kind {other}")),
        })
    }
}

impl Encode for Answer {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Write(Outcome::Done { revision }) => {
                out.push(1);
                revision.encode(out);
            }
            Self::Write(Outcome::Conflict { current, revision }) => {
                out.push(2);
                current.encode(out);
                revision.encode(out);
            }
            Self::Compacted => out.push(3),
            Self::Future(revision) => {
                out.push(4);
                revision.encode(out);
            }
            Self::Enrolled(node) => {
                out.push(5);
                node.encode(out);
            }
            Self::Forgotten => out.push(6),
        }
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Ok(match u8::decode(input)? {
            1 => Self::Write(Outcome::Done { revision: i64::decode(input)? }),
            2 => Self::Write(Outcome::Conflict { current: Option::decode(input)?, revision: i64::decode(input)? }),
            3 => Self::Compacted,
            4 => Self::Future(i64::decode(input)?),
            5 => Self::Enrolled(u64::decode(input)?),
            6 => Self::Forgotten,
            other => return Err(format!("answer of unknown kind {other}")),
        })
    }
}

impl Encode for KeyValue {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(&self.key, out);
        self.mod_revision.encode(out);
        self.create_revision.encode(out);
        self.version.encode(out);
        self.lease.encode(out);
        self.value.encode(out);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        let key = key(input)?;
        let (mod_revision, create_revision) = (i64::decode(input)?, i64::decode(input)?);
        let (version, lease) = (i64::decode(input)?, i64::decode(input)?);
        Ok(Self { key, mod_revision, create_revision, version, lease, value: value(input)? })
    }
}

impl Encode for Error {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut text = |kind: u8, text: &str| {
            out.push(kind);
            encode_text(text, out);
        };
        match self {
            Self::TooLarge(what) => text(1, what),
            Self::Unavailable(what) => text(2, what),
            Self::Full(what) => text(3, what),
            Self::Corrupt(what) => text(4, what),
            Self::Closed => text(5, ""),
            Self::Compacted { floor } => {
                out.push(6);
                floor.encode(out);
            }
            Self::FutureRevision { current } => {
                out.push(7);
                current.encode(out);
            }
        }
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        let kind = u8::decode(input)?;
        Ok(match kind {
            6 => Self::Compacted { floor: i64::decode(input)? },
            7 => Self::FutureRevision { current: i64::decode(input)? },
            _ => {
                let text = String::decode(input)?;
                match kind {
                    1 => Self::TooLarge(text),
                    2 => Self::Unavailable(text),
                    3 => Self::Full(text),
                    4 => Self::Corrupt(text),
                    // A member that ends is not there; the store of who asked goes on.
                    5 => Self::Unavailable("the member that was asked is closing".to_owned()),
                    other => return Err(format!("error of unknown kind {other}")),
                }
            }
        })
    }
}
