//! The append-only log: numbered segments, a batch a sync, and at most one checkpoint that stands for the segments before it.
//!
//! What makes it safe is an order. A batch is written only after the one before it is synced; so in the last segment a
//! damaged batch with nothing whole behind it was never acknowledged and is cut off, and a damaged batch anywhere else is
//! corruption, which is reported and never guessed around. A segment is used only after its header and its name are synced.
//! A checkpoint gets its name only after its contents are synced, and segments go only after that name is.
//!
//! After a failed write or sync nobody knows what the disk holds behind the last good batch, so the next commit first cuts
//! the file back to it and syncs; until that works, writes fail. That is also how a full disk is survived.

use std::io;
use std::sync::Arc;

use super::reader::{Batch, Reader};
use super::record::{FileId, HEADER_BYTES, Record, begin_batch};
use super::replay;
use super::state::State;
use crate::disk::{Disk, DiskFile};
use crate::{Error, Result, Revision};

/// A batch buffer larger than this is given back after use.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

pub(super) struct Log {
    disk: Arc<dyn Disk>,
    salt: u64,
    segment_limit_bytes: u64,
    active: Active,
    /// Oldest first.
    sealed: Vec<Segment>,
    checkpoint: Option<Checkpoint>,
    batch: Vec<u8>,
}

pub(super) struct Active {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) id: FileId,
    /// Where the next batch goes: everything before it is synced.
    pub(super) end: u64,
    pub(super) last_revision: Revision,
    /// Something failed: there may be anything behind `end`.
    pub(super) dirty: bool,
}

struct Segment {
    number: u64,
    last_revision: Revision,
    bytes: u64,
}

/// A checkpoint's place on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) revision: Revision,
    pub(super) bytes: u64,
}

pub(super) fn segment_name(number: u64) -> String {
    format!("log-{number:016x}")
}

pub(super) fn checkpoint_name(revision: Revision) -> String {
    format!("checkpoint-{revision:016x}")
}

/// A checkpoint's identity: its number can't be a segment's.
pub(super) fn checkpoint_id(salt: u64, revision: Revision) -> FileId {
    FileId { salt, number: revision.cast_unsigned() | 1 << 63 }
}

fn number_in(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// An error of the disk in the store's words.
pub(super) fn disk_error(doing: &str, error: &io::Error) -> Error {
    let text = format!("{doing}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full(text),
        _ => Error::Unavailable(text),
    }
}

impl Log {
    /// Opens the log and replays it into `state`: first the checkpoint, then the segments in order, without what the
    /// checkpoint already stands for. `salt` is for the files made from now on.
    pub(super) fn open(disk: Arc<dyn Disk>, segment_limit_bytes: u64, salt: u64, state: &mut State) -> Result<Self> {
        let io = |e| disk_error("opening the store", &e);
        let names = disk.list().map_err(io)?;
        let mut checkpoints: Vec<_> = names.iter().filter_map(|n| number_in(n, "checkpoint-")).collect();
        let mut numbers: Vec<_> = names.iter().filter_map(|n| number_in(n, "log-")).collect();
        checkpoints.sort_unstable();
        numbers.sort_unstable();

        let newest = checkpoints.pop().map(u64::cast_signed);
        let checkpoint = newest.map(|revision| read_checkpoint(&*disk, revision, state)).transpose()?;
        let covered = newest.unwrap_or(0);

        let mut sealed = Vec::new();
        let mut active = None;
        replay::segments(&*disk, &numbers, covered, state, |segment, last| {
            if last && segment.end < segment_limit_bytes {
                active = Some(segment);
            } else {
                let (number, last_revision) = (segment.id.number, segment.last_revision);
                sealed.push(Segment { number, last_revision, bytes: segment.end });
            }
        })?;
        // As for the last segment's contents: before anything goes that these names stand for.
        disk.sync_directory().map_err(io)?;
        // Left by a crash: what was being written, and what the checkpoint made superfluous. Nothing depends on them.
        for name in names
            .iter()
            .filter(|n| n.ends_with(".tmp"))
            .cloned()
            .chain(checkpoints.into_iter().map(|c| checkpoint_name(c.cast_signed())))
        {
            disk.remove(&name).map_err(io)?;
        }
        let active = match active {
            Some(active) => active,
            None => create_segment(&*disk, salt, sealed.last().map_or(1, |s| s.number + 1)).map_err(io)?,
        };
        Ok(Self { disk, salt, segment_limit_bytes, active, sealed, checkpoint, batch: Vec::new() })
    }

    /// Begins a batch; returns the buffer that records are encoded into.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        begin_batch(&mut self.batch);
        &mut self.batch
    }

    /// Writes the batch and syncs it. `last_revision` is the newest in it.
    pub(super) fn commit(&mut self, last_revision: Revision) -> io::Result<()> {
        if self.active.dirty {
            self.active.file.truncate(self.active.end)?;
            self.active.file.sync()?;
            self.active.dirty = false;
        }
        if self.active.end >= self.segment_limit_bytes {
            let next = create_segment(&*self.disk, self.salt, self.active.id.number + 1)?;
            let full = std::mem::replace(&mut self.active, next);
            self.active.last_revision = full.last_revision;
            self.sealed.push(Segment { number: full.id.number, last_revision: full.last_revision, bytes: full.end });
        }
        let active = &mut self.active;
        active.id.finish_batch(active.end, &mut self.batch);
        active.dirty = true;
        active.file.write_at(active.end, &self.batch)?;
        active.file.sync()?;
        active.dirty = false;
        active.end += self.batch.len() as u64;
        active.last_revision = active.last_revision.max(last_revision);
        if self.batch.capacity() > BUFFER_KEPT_BYTES {
            self.batch = Vec::new();
        }
        Ok(())
    }

    /// What a checkpoint at `revision` would let go of.
    pub(super) fn reclaimable_bytes(&self, revision: Revision) -> u64 {
        self.checkpoint.map_or(0, |c| c.bytes)
            + self.sealed.iter().filter(|s| s.last_revision <= revision).map(|s| s.bytes).sum::<u64>()
    }

    /// Takes over a checkpoint that is written and synced: gives it its name, and removes what it stands for.
    pub(super) fn adopt(&mut self, checkpoint: Checkpoint) -> io::Result<()> {
        let name = checkpoint_name(checkpoint.revision);
        self.disk.rename(&format!("{name}.tmp"), &name)?;
        self.disk.sync_directory()?;
        let before = self.checkpoint.replace(checkpoint);
        if let Some(before) = before.filter(|b| b.revision != checkpoint.revision) {
            self.disk.remove(&checkpoint_name(before.revision))?;
        }
        while let Some(oldest) = self.sealed.first().filter(|s| s.last_revision <= checkpoint.revision) {
            self.disk.remove(&segment_name(oldest.number))?;
            self.sealed.remove(0);
        }
        Ok(())
    }
}

fn create_segment(disk: &dyn Disk, salt: u64, number: u64) -> io::Result<Active> {
    let id = FileId { salt, number };
    let file = disk.create(&segment_name(number))?;
    file.write_at(0, &id.header())?;
    file.sync()?;
    disk.sync_directory()?;
    Ok(Active { file, id, end: HEADER_BYTES as u64, last_revision: 0, dirty: false })
}

pub(super) fn corrupt(file: &str, offset: u64, what: &str) -> Error {
    Error::Corrupt(format!("{file} at byte {offset}: {what}"))
}

fn read_checkpoint(disk: &dyn Disk, revision: Revision, state: &mut State) -> Result<Checkpoint> {
    let name = checkpoint_name(revision);
    let io = |e| disk_error(&format!("reading {name}"), &e);
    let file = disk.open(&name).map_err(io)?;
    let mut reader = match Reader::open(&*file).map_err(io)? {
        Ok(reader) if reader.id() == checkpoint_id(reader.id().salt, revision) => reader,
        Ok(_) => return Err(corrupt(&name, 0, "header of another file")),
        Err(problem) => return Err(corrupt(&name, 0, problem.as_deref().unwrap_or("no valid header"))),
    };
    let mut keys = 0u32;
    loop {
        let offset = reader.offset();
        let Batch::Records(mut records) = reader.next().map_err(io)? else {
            return Err(corrupt(&name, offset, "checkpoint has no end"));
        };
        while !records.is_empty() {
            let record = Record::decode(&mut records).map_err(|e| corrupt(&name, offset, &e))?;
            match record {
                Record::Put(kv) => {
                    keys += 1;
                    state.load(kv);
                }
                Record::Checkpoint { revision: r, keys: k } if (r, k) == (revision, keys) => {
                    state.loaded(revision);
                    return Ok(Checkpoint { revision, bytes: file.length().map_err(io)? });
                }
                _ => return Err(corrupt(&name, offset, "record out of place in a checkpoint")),
            }
        }
    }
}
