//! Numbered files of batches, of which the last is written to: what the engine's own log and the replicated log
//! (`crates/raft`) are made of. It knows files, batches and syncs, and nothing of what is in a batch.
//!
//! What makes it safe is an order. A batch is written only after the one before it is synced; so in the last segment a
//! damaged batch with nothing whole behind it was never acknowledged and is cut off, and a damaged batch anywhere else is
//! corruption, which is reported and never guessed around. A segment is used only after its header and its name are synced.
//!
//! After a failed write or sync nobody knows what the disk holds behind the last good batch, so the next commit first cuts
//! the file back to it and syncs; until that works, writes fail. That is also how a full disk is survived.

use std::io;
use std::sync::Arc;

use super::reader::{Batch, Reader};
use super::record::{FileId, HEADER_BYTES, begin_batch};
use crate::disk::{Disk, DiskFile};
use crate::{Error, Result};

/// A batch buffer larger than this is given back after use.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// Which files of a directory a log's segments are.
#[derive(Debug, Clone, Copy)]
pub struct Naming {
    /// What their names begin with; a number of 16 hexadecimal digits follows.
    pub prefix: &'static str,
    /// Set in the number that a file has in its header, so that no log takes another's file for its own.
    pub flag: u64,
}

impl Naming {
    /// The file of that number.
    pub fn name(self, number: u64) -> String {
        format!("{}{number:016x}", self.prefix)
    }

    /// The number in a file's name.
    pub fn number(self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(self.prefix)?;
        (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    }
}

/// The segments of a log. A segment's `last` is the highest position (a revision, an index) that was committed to it.
pub struct Segments {
    disk: Arc<dyn Disk>,
    naming: Naming,
    salt: u64,
    limit_bytes: u64,
    active: Active,
    /// Oldest first.
    sealed: Vec<Sealed>,
    batch: Vec<u8>,
}

/// The segment that is written to.
struct Active {
    file: Box<dyn DiskFile>,
    id: FileId,
    /// Where the next batch goes: everything before it is synced.
    end: u64,
    last: i64,
    /// Something failed: there may be anything behind `end`.
    dirty: bool,
}

struct Sealed {
    number: u64,
    last: i64,
    bytes: u64,
}

/// A segment that was read.
pub struct Segment {
    active: Active,
    /// A crash left something behind the end.
    cut: bool,
    /// There is no later file: it may be written to.
    newest: bool,
}

/// An error of the disk in the store's words.
pub fn disk_error(doing: &str, error: &io::Error) -> Error {
    let text = format!("{doing}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full(text),
        _ => Error::Unavailable(text),
    }
}

/// What is in a file can't be what was written.
pub fn corrupt(file: &str, offset: u64, what: &str) -> Error {
    Error::Corrupt(format!("{file} at byte {offset}: {what}"))
}

/// Reads one segment: calls `batch` with each whole batch's place and records. `None`: a crash came before the header of the
/// last segment was durable, so it holds nothing, and it is made again.
pub fn read_segment(
    disk: &dyn Disk,
    naming: Naming,
    number: u64,
    last: bool,
    mut batch: impl FnMut(u64, &[u8]) -> std::result::Result<(), String>,
) -> Result<Option<Segment>> {
    let name = naming.name(number);
    let io = |e| disk_error(&format!("reading {name}"), &e);
    let file = disk.open(&name).map_err(io)?;
    let mut reader = match Reader::open(&*file).map_err(io)? {
        Ok(reader) if reader.id().number == number | naming.flag => reader,
        Ok(_) => return Err(corrupt(&name, 0, "header of another file")),
        Err(None) if last && file.length().map_err(io)? <= HEADER_BYTES as u64 => return Ok(None),
        Err(None) => return Err(corrupt(&name, 0, "no valid header")),
        Err(Some(problem)) => return Err(corrupt(&name, 0, &problem)),
    };
    let (end, cut) = loop {
        let offset = reader.offset();
        match reader.next().map_err(io)? {
            Batch::End => break (offset, false),
            Batch::Damaged => {
                if !last {
                    return Err(corrupt(&name, offset, "damaged batch"));
                }
                if let Some(whole) = reader.find_batch_after(offset).map_err(io)? {
                    let what = format!("damaged batch, with a whole one behind it at {whole}");
                    return Err(corrupt(&name, offset, &what));
                }
                break (offset, true);
            }
            Batch::Records(bytes) => batch(offset, bytes).map_err(|e| corrupt(&name, offset, &e))?,
        }
    };
    let id = reader.id();
    drop(reader);
    Ok(Some(Segment { active: Active { file, id, end, last: 0, dirty: false }, cut, newest: last }))
}

/// Reads the batch at a place again; gives its records to `batch`.
pub fn read_batch<T>(
    disk: &dyn Disk,
    naming: Naming,
    (number, offset): (u64, u64),
    batch: impl FnOnce(&[u8]) -> std::result::Result<T, String>,
) -> io::Result<T> {
    let name = naming.name(number);
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{name} at byte {offset}: {what}"));
    let file = disk.open(&name)?;
    let mut reader = match Reader::open(&*file)? {
        Ok(reader) if reader.id().number == number | naming.flag => reader,
        _ => return Err(damaged("header of another file")),
    };
    reader.seek(offset);
    match reader.next()? {
        Batch::Records(bytes) => batch(bytes).map_err(|e| damaged(&e)),
        Batch::Damaged | Batch::End => Err(damaged("damaged batch")),
    }
}

impl Segment {
    /// Cuts off what a crash left, and of the last segment makes last what it holds: a process that was killed leaves what
    /// the system has and the disk may not, and before anybody is shown it, it is made to last.
    pub fn mend(&self, name: &str) -> Result<()> {
        let file = &self.active.file;
        if self.cut {
            tracing::info!(file = %name, offset = self.active.end, "cutting off a write that a crash interrupted");
            file.truncate(self.active.end).map_err(|e| disk_error(&format!("cutting {name}"), &e))?;
        }
        if self.newest {
            file.sync().map_err(|e| disk_error(&format!("syncing {name}"), &e))?;
        }
        Ok(())
    }
}

impl Segments {
    /// Goes on with segments that were read and mended (oldest first, each with its last position); the last is written to
    /// as long as there is room in it. `salt` is for the files made from now on, `first` the number of the first if there is none.
    pub fn resume(
        disk: Arc<dyn Disk>,
        naming: Naming,
        (salt, first): (u64, u64),
        limit_bytes: u64,
        read: Vec<(Segment, i64)>,
    ) -> io::Result<Self> {
        let mut active = None;
        let mut sealed: Vec<Sealed> = Vec::new();
        for (Segment { active: mut segment, newest, .. }, last) in read {
            segment.last = last;
            if newest && segment.end < limit_bytes {
                active = Some(segment);
            } else {
                sealed.push(Sealed { number: segment.id.number & !naming.flag, last, bytes: segment.end });
            }
        }
        let active = match active {
            Some(active) => active,
            None => create(&*disk, naming, salt, sealed.last().map_or(first, |s| s.number + 1))?,
        };
        Ok(Self { disk, naming, salt, limit_bytes, active, sealed, batch: Vec::new() })
    }

    /// Begins a batch; returns the buffer that records are encoded into.
    pub fn begin(&mut self) -> &mut Vec<u8> {
        begin_batch(&mut self.batch);
        &mut self.batch
    }

    /// Mends what a failure left, and begins the next segment where the last one is full. Returns whether the next batch is
    /// the first of its segment.
    pub fn prepare(&mut self) -> io::Result<bool> {
        if self.active.dirty {
            self.active.file.truncate(self.active.end)?;
            self.active.file.sync()?;
            self.active.dirty = false;
        }
        if self.active.end >= self.limit_bytes {
            let number = self.active.id.number & !self.naming.flag;
            let next = create(&*self.disk, self.naming, self.salt, number + 1)?;
            let full = std::mem::replace(&mut self.active, next);
            self.active.last = full.last;
            self.sealed.push(Sealed { number, last: full.last, bytes: full.end });
        }
        Ok(self.active.end == HEADER_BYTES as u64)
    }

    /// Writes the batch and syncs it. `last` is the highest position in it.
    pub fn commit(&mut self, last: i64) -> io::Result<()> {
        self.prepare()?;
        let active = &mut self.active;
        active.id.finish_batch(active.end, &mut self.batch);
        active.dirty = true;
        active.file.write_at(active.end, &self.batch)?;
        active.file.sync()?;
        active.dirty = false;
        active.end += self.batch.len() as u64;
        active.last = active.last.max(last);
        if self.batch.capacity() > BUFFER_KEPT_BYTES {
            self.batch = Vec::new();
        }
        Ok(())
    }

    /// Where the next batch goes, once `prepare` has been called: the segment's number, and the offset.
    pub fn place(&self) -> (u64, u64) {
        (self.active.id.number & !self.naming.flag, self.active.end)
    }

    /// The closed segments, oldest first: the last position in each, and its bytes.
    pub fn sealed(&self) -> impl Iterator<Item = (i64, u64)> {
        self.sealed.iter().map(|s| (s.last, s.bytes))
    }

    /// The bytes of the closed segments that hold nothing above a position.
    pub fn bytes_up_to(&self, position: i64) -> u64 {
        self.sealed.iter().filter(|s| s.last <= position).map(|s| s.bytes).sum()
    }

    /// Removes the closed segments that hold nothing above a position.
    pub fn remove_up_to(&mut self, position: i64) -> io::Result<()> {
        while let Some(oldest) = self.sealed.first().filter(|s| s.last <= position) {
            self.disk.remove(&self.naming.name(oldest.number))?;
            self.sealed.remove(0);
        }
        Ok(())
    }
}

fn create(disk: &dyn Disk, naming: Naming, salt: u64, number: u64) -> io::Result<Active> {
    let id = FileId { salt, number: number | naming.flag };
    let file = disk.create(&naming.name(number))?;
    file.write_at(0, &id.header())?;
    file.sync()?;
    disk.sync_directory()?;
    Ok(Active { file, id, end: HEADER_BYTES as u64, last: 0, dirty: false })
}
