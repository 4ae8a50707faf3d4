//! The log in memory: what readers see, which may be ahead of the disk. Of entries that are written and committed only the
//! newest stay here, so that a log that waits for a snapshot does not take the memory of all its values; the others are read
//! from their batches again, by who lags so far behind.

use std::collections::VecDeque;
use std::io;

use openraft::EntryPayload;

use super::record::{Head, Record};
use crate::types::{Entry, LogId, Vote};

/// Where a batch is: the segment's number, and the offset in it.
pub(super) type Place = (u64, u64);

/// See the module.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    purged: Option<LogId>,
    /// One after the other.
    slots: VecDeque<Slot>,
    /// Those before this index are not in memory.
    kept: u64,
    kept_bytes: usize,
    /// What may be in memory.
    limit_bytes: usize,
}

/// An entry.
struct Slot {
    log_id: LogId,
    bytes: usize,
    entry: Option<Entry>,
    /// Where it is on disk, once it is.
    place: Option<Place>,
}

/// An entry that is read.
pub(super) enum Found {
    Here(Entry),
    There(LogId, Place),
}

impl Memory {
    /// What these records, each with its place, make.
    pub(super) fn replay(records: Vec<(Place, Record)>, limit_bytes: usize) -> Result<Self, String> {
        let mut memory = Self { limit_bytes, ..Self::default() };
        // Segments go as a whole, so what is left can begin before what was purged, and a head before the purge it did not know.
        for (_, record) in &records {
            if let Record::Head(Head { purged, .. }) = record {
                memory.purged = memory.purged.max(*purged);
            }
        }
        match records.first() {
            None => {}
            Some((_, Record::Head(Head { last, .. }))) if last.is_none_or(|last| last < memory.floor()) => {}
            _ => return Err("its beginning is missing".to_owned()),
        }
        for (place, record) in records {
            match record {
                Record::Head(Head { vote, committed, .. }) => {
                    memory.vote = vote;
                    memory.committed = memory.committed.max(committed);
                }
                Record::Entry(entry) if entry.log_id.index < memory.floor() => {}
                Record::Entry(entry) if entry.log_id.index == memory.next() => {
                    memory.push(entry, Some(place));
                    memory.forget();
                }
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
        self.slots.front().map_or(self.floor(), |slot| slot.log_id.index)
    }

    fn next(&self) -> u64 {
        self.slots.back().map_or(self.floor(), |slot| slot.log_id.index + 1)
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.slots.back().map(|slot| slot.log_id).or(self.purged)
    }

    /// The entries of these indices that there are; at most about so many bytes, and at least one.
    pub(super) fn entries(&self, from: u64, to: u64, bytes: usize) -> Vec<Found> {
        let (from, to) = (from.max(self.first()), to.min(self.next()));
        let (mut found, mut size) = (Vec::new(), 0);
        for index in from..to {
            if !found.is_empty() && size >= bytes {
                break;
            }
            let Some(slot) = self.at(index).map(|at| &self.slots[at]) else { break };
            size += slot.bytes;
            found.push(match (&slot.entry, slot.place) {
                (Some(entry), _) => Found::Here(entry.clone()),
                (None, Some(place)) => Found::There(slot.log_id, place),
                (None, None) => break,
            });
        }
        found
    }

    /// Whether an entry has been purged.
    pub(super) fn is_purged(&self, index: u64) -> bool {
        index < self.floor()
    }

    fn at(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first())?).ok().filter(|at| *at < self.slots.len())
    }

    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        for entry in entries {
            // An empty log takes its first entry where it comes.
            let empty = self.slots.is_empty() && self.purged.is_none();
            if !empty && entry.log_id.index != self.next() {
                let what = format!("entry {} follows entry {:?}", entry.log_id.index, self.last());
                return Err(io::Error::other(what));
            }
            self.push(entry.clone(), None);
        }
        Ok(())
    }

    fn push(&mut self, entry: Entry, place: Option<Place>) {
        let bytes = bytes_of(&entry);
        self.kept_bytes += bytes;
        self.slots.push_back(Slot { log_id: entry.log_id, bytes, entry: Some(entry), place });
    }

    /// These entries are on disk.
    pub(super) fn written(&mut self, entries: &[Entry], place: Place) {
        for entry in entries {
            // Another may be in its place meanwhile, or none.
            let Some(at) = self.at(entry.log_id.index) else { continue };
            let slot = &mut self.slots[at];
            if slot.log_id == entry.log_id {
                slot.place = Some(place);
            }
        }
    }

    /// Lets go of the oldest entries beyond what is kept, if they are on disk and need not be applied any more soon.
    pub(super) fn forget(&mut self) {
        self.kept = self.kept.max(self.first());
        while self.kept_bytes > self.limit_bytes {
            let committed = self.committed.is_some_and(|committed| committed.index >= self.kept);
            let Some(slot) = self.at(self.kept).map(|at| &mut self.slots[at]) else { return };
            if slot.place.is_none() || !committed {
                return;
            }
            if slot.entry.take().is_some() {
                self.kept_bytes -= slot.bytes;
            }
            self.kept += 1;
        }
    }

    fn gone(&mut self, slot: Option<Slot>) {
        if let Some(Slot { bytes, entry: Some(_), .. }) = slot {
            self.kept_bytes -= bytes;
        }
    }

    pub(super) fn truncate(&mut self, keep: Option<u64>) {
        while self.slots.back().is_some_and(|slot| keep.is_none_or(|keep| slot.log_id.index > keep)) {
            let slot = self.slots.pop_back();
            self.gone(slot);
        }
        self.kept = self.kept.min(self.next());
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        while self.slots.front().is_some_and(|slot| slot.log_id.index <= upto.index) {
            let slot = self.slots.pop_front();
            self.gone(slot);
        }
        self.purged = self.purged.max(Some(upto));
        if self.slots.capacity() > 1024 && self.slots.len() * 4 < self.slots.capacity() {
            self.slots.shrink_to(self.slots.len() * 2);
        }
    }
}

pub(super) fn bytes_of(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(command) => command.0.iter().map(|operation| operation.bytes()).sum(),
        _ => 64,
    }
}
