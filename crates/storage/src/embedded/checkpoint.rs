//! Writes the state at a revision to a file of its own, so that the log before it can go; and reads such a file.
//!
//! It runs on a thread of its own and reads the state in pieces: versions at that revision stay where they are as long as
//! nobody trims above it, and nobody does while one of these runs. It syncs as it goes, so that the writers' own syncs never
//! wait for the whole of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use super::reader::{Batch, Reader};
use super::record::{FileId, HEADER_BYTES, Record, begin_batch};
use super::segments::{corrupt, disk_error};
use super::state::State;
use crate::disk::DiskFile;
use crate::{Result, Revision};

/// Keys read under one hold of the lock.
const PAGE_KEYS: usize = 256;
/// A batch is written when it has grown so large.
const BATCH_BYTES: usize = 1 << 20;
/// Synced after so much.
const SYNC_BYTES: u64 = 4 << 20;
/// A checkpoint's number has it and a segment's can't.
pub const FLAG: u64 = 1 << 63;

/// A checkpoint that was written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// It is the state at this revision.
    pub revision: Revision,
    /// The file's length.
    pub bytes: u64,
}

/// Writes and syncs the state at `revision` to an empty file; `number` is the file's identity, `head` is what another log
/// (the replicated one) has to say of it. Stops early, with an error, when `stop` is set.
pub fn write(
    file: &dyn DiskFile,
    state: &RwLock<State>,
    revision: Revision,
    (salt, number): (u64, u64),
    head: Option<Bytes>,
    stop: &AtomicBool,
) -> io::Result<Checkpoint> {
    let id = FileId { salt, number: number | FLAG };
    file.write_at(0, &id.header())?;
    let (mut end, mut synced, mut keys) = (HEADER_BYTES as u64, 0, 0u32);
    let mut after: Option<Arc<str>> = None;
    let mut batch = Vec::new();
    let mut head = head.map(|bytes| Record::Head { bytes });
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        begin_batch(&mut batch);
        if let Some(head) = head.take() {
            head.encode(&mut batch);
        }
        let mut done = false;
        while batch.len() < BATCH_BYTES && !done {
            let page = state.read().page(after.as_deref(), revision, PAGE_KEYS);
            done = page.len() < PAGE_KEYS;
            keys += page.len() as u32;
            after = page.last().map(|kv| kv.key.clone()).or(after);
            page.iter().for_each(|kv| Record::Put((**kv).clone()).encode(&mut batch));
        }
        if done {
            Record::Checkpoint { revision, keys }.encode(&mut batch);
        }
        id.finish_batch(end, &mut batch);
        file.write_at(end, &batch)?;
        end += batch.len() as u64;
        if done || end - synced > SYNC_BYTES {
            file.sync()?;
            synced = end;
        }
        if done {
            return Ok(Checkpoint { revision, bytes: end });
        }
    }
}

/// Reads the checkpoint of that number into an empty state; returns its head too.
pub fn read(file: &dyn DiskFile, name: &str, number: u64, state: &mut State) -> Result<(Checkpoint, Option<Bytes>)> {
    let io = |e| disk_error(&format!("reading {name}"), &e);
    let mut reader = match Reader::open(file).map_err(io)? {
        Ok(reader) if reader.id().number == number | FLAG => reader,
        Ok(_) => return Err(corrupt(name, 0, "header of another file")),
        Err(problem) => return Err(corrupt(name, 0, problem.as_deref().unwrap_or("no valid header"))),
    };
    let (mut keys, mut head) = (0u32, None);
    loop {
        let offset = reader.offset();
        let Batch::Records(mut records) = reader.next().map_err(io)? else {
            return Err(corrupt(name, offset, "checkpoint has no end"));
        };
        while !records.is_empty() {
            let record = Record::decode(&mut records).map_err(|e| corrupt(name, offset, &e))?;
            match record {
                Record::Put(kv) => {
                    keys += 1;
                    state.load(kv);
                }
                Record::Head { bytes } if keys == 0 && head.is_none() => head = Some(bytes),
                Record::Checkpoint { revision, keys: k } if k == keys => {
                    state.loaded(revision);
                    return Ok((Checkpoint { revision, bytes: file.length().map_err(io)? }, head));
                }
                _ => return Err(corrupt(name, offset, "record out of place in a checkpoint")),
            }
        }
    }
}

/// The head alone, without the state.
pub fn read_head(file: &dyn DiskFile, name: &str) -> Result<Option<Bytes>> {
    let io = |e| disk_error(&format!("reading {name}"), &e);
    let mut reader = match Reader::open(file).map_err(io)? {
        Ok(reader) => reader,
        Err(problem) => return Err(corrupt(name, 0, problem.as_deref().unwrap_or("no valid header"))),
    };
    let Batch::Records(mut records) = reader.next().map_err(io)? else {
        return Err(corrupt(name, HEADER_BYTES as u64, "checkpoint has no end"));
    };
    match Record::decode(&mut records).map_err(|e| corrupt(name, HEADER_BYTES as u64, &e))? {
        Record::Head { bytes } => Ok(Some(bytes)),
        _ => Ok(None),
    }
}
