//! The bytes of everything that is kept or sent, in this store's own form: what openraft's types look like inside may change
//! from one of its releases to the next, and a log must outlive that.
//!
//! Numbers are little-endian; a text or a run of bytes has its length (u32) before it; what may be missing has a byte 0 or 1
//! before it. Whoever keeps or sends such bytes says the version before them ([`VERSION`]).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::EntryPayload;

use crate::command::Command;
use crate::types::{Entry, LeaderId, LogId, Member, Membership, NodeId, SnapshotMeta, StoredMembership, Vote};

/// The form that this version writes.
pub const VERSION: u16 = 1;

/// Why bytes can't be read.
pub type Broken = String;

/// What has a form.
pub trait Encode: Sized {
    /// Appends it.
    fn encode(&self, out: &mut Vec<u8>);
    /// Takes one off the front.
    fn decode(input: &mut Input) -> Result<Self, Broken>;

    /// All of it.
    fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.into()
    }

    /// From exactly these bytes.
    fn from_bytes(bytes: Bytes) -> Result<Self, Broken> {
        let mut input = Input(bytes);
        let value = Self::decode(&mut input)?;
        if input.0.is_empty() { Ok(value) } else { Err(format!("{} bytes too many", input.0.len())) }
    }
}

/// Bytes that are read from the front.
pub struct Input(pub Bytes);

impl Input {
    /// The next `length` bytes, as a part of the whole.
    pub fn take(&mut self, length: usize) -> Result<Bytes, Broken> {
        if self.0.len() < length {
            return Err("it ends too early".to_owned());
        }
        Ok(self.0.split_to(length))
    }

    /// How many things follow, each of at least one byte: a bound on what is allocated for them.
    fn count(&mut self) -> Result<usize, Broken> {
        let count = u32::decode(self)? as usize;
        if count > self.0.len() { Err("more things than bytes".to_owned()) } else { Ok(count) }
    }
}

macro_rules! numbers {
    ($($number:ty)*) => { $(
        impl Encode for $number {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
            fn decode(input: &mut Input) -> Result<Self, Broken> {
                let bytes = input.take(size_of::<Self>())?;
                Ok(Self::from_le_bytes(bytes[..].try_into().expect("as many as were taken")))
            }
        }
    )* };
}

numbers! { u8 u16 u32 u64 u128 i64 }

impl Encode for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("{other} is no truth value")),
        }
    }
}

impl Encode for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("messages are limited").encode(out);
        out.extend(&self[..]);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        let length = u32::decode(input)? as usize;
        input.take(length)
    }
}

impl Encode for String {
    fn encode(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("messages are limited").encode(out);
        out.extend(self.as_bytes());
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        let bytes = Bytes::decode(input)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| "text is not UTF-8".to_owned())
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        if bool::decode(input)? { T::decode(input).map(Some) } else { Ok(None) }
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("messages are limited").encode(out);
        self.iter().for_each(|value| value.encode(out));
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        (0..input.count()?).map(|_| T::decode(input)).collect()
    }
}

impl<T: Encode + Ord> Encode for BTreeSet<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("messages are limited").encode(out);
        self.iter().for_each(|value| value.encode(out));
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        (0..input.count()?).map(|_| T::decode(input)).collect()
    }
}

impl<K: Encode + Ord, V: Encode> Encode for BTreeMap<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("messages are limited").encode(out);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        (0..input.count()?).map(|_| Ok((K::decode(input)?, V::decode(input)?))).collect()
    }
}

impl Encode for LogId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.leader_id.encode(out);
        self.index.encode(out);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Ok(LogId { leader_id: LeaderId::decode(input)?, index: u64::decode(input)? })
    }
}

impl Encode for LeaderId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.term.encode(out);
        self.node_id.encode(out);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Ok(LeaderId { term: u64::decode(input)?, node_id: u64::decode(input)? })
    }
}

impl Encode for Vote {
    fn encode(&self, out: &mut Vec<u8>) {
        self.leader_id.encode(out);
        self.committed.encode(out);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Ok(Vote { leader_id: LeaderId::decode(input)?, committed: bool::decode(input)? })
    }
}

impl Encode for Member {
    fn encode(&self, out: &mut Vec<u8>) {
        self.address.encode(out);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Ok(Member { address: String::decode(input)? })
    }
}

impl Encode for Membership {
    fn encode(&self, out: &mut Vec<u8>) {
        self.get_joint_config().encode(out);
        let nodes: BTreeMap<NodeId, Member> = self.nodes().map(|(id, node)| (*id, node.clone())).collect();
        nodes.encode(out);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        let configs = Vec::<BTreeSet<NodeId>>::decode(input)?;
        let nodes = BTreeMap::<NodeId, Member>::decode(input)?;
        if configs.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(configs, nodes).map_err(|e| format!("members: {e}"))
    }
}

impl Encode for StoredMembership {
    fn encode(&self, out: &mut Vec<u8>) {
        self.log_id().encode(out);
        self.membership().encode(out);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Ok(StoredMembership::new(Option::decode(input)?, Membership::decode(input)?))
    }
}

impl Encode for SnapshotMeta {
    fn encode(&self, out: &mut Vec<u8>) {
        self.last_log_id.encode(out);
        self.last_membership.encode(out);
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        Ok(SnapshotMeta { last_log_id: Option::decode(input)?, last_membership: StoredMembership::decode(input)? })
    }
}

impl Encode for Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        self.log_id.encode(out);
        match &self.payload {
            EntryPayload::Blank => out.push(0),
            EntryPayload::Normal(command) => {
                out.push(1);
                command.encode(out);
            }
            EntryPayload::Membership(membership) => {
                out.push(2);
                membership.encode(out);
            }
        }
    }
    fn decode(input: &mut Input) -> Result<Self, Broken> {
        let log_id = LogId::decode(input)?;
        let payload = match u8::decode(input)? {
            0 => EntryPayload::Blank,
            1 => EntryPayload::Normal(Command::decode(input)?),
            2 => EntryPayload::Membership(Membership::decode(input)?),
            other => return Err(format!("entry of unknown kind {other}")),
        };
        Ok(Entry { log_id, payload })
    }
}
