//! Writes the state at the compaction floor to a file of its own, so that the log before it can go.
//!
//! It runs on a thread of its own and reads the state in pieces: versions at the floor stay where they are as long as the
//! writer does not trim, and the writer does not while one of these runs. It syncs as it goes, so that the writers' own
//! syncs never wait for the whole of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::log::{Checkpoint, checkpoint_id, checkpoint_name};
use super::record::{HEADER_BYTES, Record, begin_batch};
use super::state::State;
use crate::Revision;
use crate::disk::Disk;

/// Keys read under one hold of the lock.
const PAGE_KEYS: usize = 256;
/// A batch is written when it has grown so large.
const BATCH_BYTES: usize = 1 << 20;
/// Synced after so much.
const SYNC_BYTES: u64 = 4 << 20;

/// Writes and syncs the checkpoint and its temporary name. Stops early, with an error, when `stop` is set.
pub(super) fn write(
    disk: &dyn Disk,
    state: &RwLock<State>,
    revision: Revision,
    salt: u64,
    stop: &AtomicBool,
) -> io::Result<Checkpoint> {
    let id = checkpoint_id(salt, revision);
    let file = disk.create(&format!("{}.tmp", checkpoint_name(revision)))?;
    file.write_at(0, &id.header())?;
    let (mut end, mut synced, mut keys) = (HEADER_BYTES as u64, 0, 0u32);
    let mut after: Option<Arc<str>> = None;
    let mut batch = Vec::new();
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        begin_batch(&mut batch);
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
            // The temporary name may have been another file's, of a checkpoint that failed: nobody may rename that one.
            disk.sync_directory()?;
            return Ok(Checkpoint { revision, bytes: end });
        }
    }
}
