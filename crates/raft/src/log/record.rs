//! The bytes of the replicated log: what is in a batch.

use bytes::Bytes;

use crate::codec::{Broken, Encode, Input, VERSION};
use crate::types::{Entry, LogId, Vote};

/// One thing that happened to the log.
#[derive(Debug, Clone)]
pub(super) enum Record {
    /// All that is not entries: at the beginning of each segment, and whenever something of it changes.
    Head(Head),
    /// The next entry.
    Entry(Entry),
    /// Entries after this index are gone; all of them if there is none.
    Truncate { keep: Option<u64> },
}

/// See [`Record::Head`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    /// The index of the last entry before this record.
    pub(super) last: Option<u64>,
}

impl Record {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Head(Head { vote, committed, purged, last }) => {
                out.push(1);
                VERSION.encode(out);
                vote.encode(out);
                committed.encode(out);
                purged.encode(out);
                last.encode(out);
            }
            Self::Entry(entry) => Self::encode_entry(entry, out),
            Self::Truncate { keep } => {
                out.push(3);
                keep.encode(out);
            }
        }
    }

    /// As `encode`, of an entry that need not be cloned.
    pub(super) fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
        out.push(2);
        entry.encode(out);
    }

    /// The records of a batch.
    pub(super) fn all(bytes: &[u8]) -> Result<Vec<Self>, Broken> {
        let mut input = Input(Bytes::copy_from_slice(bytes));
        let mut records = Vec::new();
        while !input.0.is_empty() {
            records.push(match u8::decode(&mut input)? {
                1 => {
                    let version = u16::decode(&mut input)?;
                    if version != VERSION {
                        return Err(format!("form {version} is not known to this version"));
                    }
                    let vote = Option::decode(&mut input)?;
                    let (committed, purged) = (Option::decode(&mut input)?, Option::decode(&mut input)?);
                    Self::Head(Head { vote, committed, purged, last: Option::decode(&mut input)? })
                }
                2 => Self::Entry(Entry::decode(&mut input)?),
                3 => Self::Truncate { keep: Option::decode(&mut input)? },
                other => return Err(format!("record of unknown kind {other}")),
            });
        }
        Ok(records)
    }
}
