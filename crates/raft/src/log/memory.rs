//! The log in memory: what readers see, which may be ahead of the disk.

use std::collections::VecDeque;
use std::io;

use openraft::EntryPayload;

use super::record::{Head, Record};
use crate::types::{Entry, LogId, Vote};

/// See the module. An entry shares its values with the state, so that the log costs little beside it.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    purged: Option<LogId>,
    /// One after the other.
    entries: VecDeque<Entry>,
}

impl Memory {
    /// What these records make.
    pub(super) fn replay(records: Vec<Record>) -> Result<Self, String> {
        let mut memory = Self::default();
        // Segments go as a whole, so what is left can begin before what was purged, and a head before the purge it did not know.
        for record in &records {
            if let Record::Head(Head { purged, .. }) = record {
                memory.purged = memory.purged.max(*purged);
            }
        }
        match records.first() {
            None => {}
            Some(Record::Head(Head { last, .. })) if last.is_none_or(|last| last < memory.floor()) => {}
            _ => return Err("its beginning is missing".to_owned()),
        }
        for record in records {
            match record {
                Record::Head(Head { vote, committed, .. }) => {
                    memory.vote = vote;
                    memory.committed = memory.committed.max(committed);
                }
                Record::Entry(entry) if entry.log_id.index < memory.floor() => {}
                Record::Entry(entry) if entry.log_id.index == memory.next() => memory.entries.push_back(entry),
                Record::Entry(entry) => {
                    return Err(format!("entry {} follows entry {:?}", entry.log_id.index, memory.last()));
                }
                Record::Truncate { keep } => memory.truncate(keep),
            }
        }
        // It was remembered before the entries were synced.
        memory.committed = memory.committed.min(memory.last());
        Ok(memory)
    }

    fn floor(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }

    fn first(&self) -> u64 {
        self.entries.front().map_or(self.floor(), |entry| entry.log_id.index)
    }

    fn next(&self) -> u64 {
        self.entries.back().map_or(self.floor(), |entry| entry.log_id.index + 1)
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.log_id).or(self.purged)
    }

    pub(super) fn entries(&self, from: u64, to: u64, bytes: usize) -> io::Result<Vec<Entry>> {
        let (from, to) = (from.max(self.first()), to.min(self.next()));
        let (mut taken, mut size) = (Vec::new(), 0);
        for index in from..to {
            let at = usize::try_from(index - self.first()).map_err(io::Error::other)?;
            let entry = &self.entries[at];
            if !taken.is_empty() && size >= bytes {
                break;
            }
            size += bytes_of(entry);
            taken.push(entry.clone());
        }
        Ok(taken)
    }

    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            // An empty log takes its first entry where it comes.
            let empty = self.entries.is_empty() && self.purged.is_none();
            if !empty && entry.log_id.index != self.next() {
                let what = format!("entry {} follows entry {:?}", entry.log_id.index, self.last());
                return Err(io::Error::other(what));
            }
            self.entries.push_back(entry.clone());
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, keep: Option<u64>) {
        let left = keep.map_or(0, |keep| (keep + 1).saturating_sub(self.first()));
        self.entries.truncate(usize::try_from(left).unwrap_or(usize::MAX));
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        while self.entries.front().is_some_and(|entry| entry.log_id.index <= upto.index) {
            self.entries.pop_front();
        }
        self.purged = self.purged.max(Some(upto));
        if self.entries.capacity() > 1024 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }
}

pub(super) fn bytes_of(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(command) => command.0.iter().map(|operation| operation.bytes()).sum(),
        _ => 64,
    }
}
