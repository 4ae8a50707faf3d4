//! What is replicated beside keys: who the members are, and which numbers were given out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::codec::{Broken, Encode, Input, VERSION};
use crate::types::{NodeId, SnapshotMeta, StoredMembership};

/// Numbers of members. One that was given out is never given out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The next number.
    pub next: NodeId,
    /// Who asked for which: who asks again, because the answer was lost, gets the same.
    pub enrolled: BTreeMap<u128, NodeId>,
    /// Members that were removed: they are told so when they come.
    pub removed: BTreeSet<NodeId>,
}

impl Default for Facts {
    fn default() -> Self {
        Self { next: 1, enrolled: BTreeMap::new(), removed: BTreeSet::new() }
    }
}

impl Facts {
    /// A number for who asks with this token.
    pub fn enrol(&mut self, token: u128) -> NodeId {
        let next = &mut self.next;
        *self.enrolled.entry(token).or_insert_with(|| {
            *next += 1;
            *next - 1
        })
    }

    /// Strikes a member off.
    pub fn forget(&mut self, node: NodeId) {
        self.enrolled.retain(|_, enrolled| *enrolled != node);
        self.removed.insert(node);
    }
}

/// All that is replicated beside keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Who the members are.
    pub membership: StoredMembership,
    /// Their numbers.
    pub facts: Facts,
}

/// What a snapshot says before its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What openraft wants to know of it.
    pub meta: SnapshotMeta,
    /// Numbers of members.
    pub facts: Facts,
}

impl Encode for Head {
    fn encode(&self, out: &mut Vec<u8>) {
        VERSION.encode(out);
        self.meta.encode(out);
        self.facts.next.encode(out);
        self.facts.enrolled.encode(out);
        self.facts.removed.encode(out);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        let version = u16::decode(input)?;
        if version != VERSION {
            return Err(format!("form {version} is not known to this version"));
        }
        let meta = SnapshotMeta::decode(input)?;
        let (next, enrolled, removed) = (u64::decode(input)?, BTreeMap::decode(input)?, BTreeSet::decode(input)?);
        Ok(Self { meta, facts: Facts { next, enrolled, removed } })
    }
}

impl Head {
    /// From a checkpoint's head; the error is in words.
    pub fn parse(bytes: Option<Bytes>) -> Result<Self, Broken> {
        Self::from_bytes(bytes.ok_or("it is no snapshot of a replicated store")?)
    }
}
