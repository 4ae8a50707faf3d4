//! The engine's log: segments, a batch a sync, and at most one checkpoint that stands for the segments before it.
//!
//! A checkpoint gets its name only after its contents are synced, and segments go only after that name is. What makes the
//! segments safe is said in `segments`.

use std::io;
use std::sync::Arc;

use super::checkpoint::{self, Checkpoint};
use super::replay;
use super::segments::{Naming, Segments, disk_error};
use super::state::State;
use crate::disk::Disk;
use crate::{Result, Revision};

/// The files of the engine's log.
pub(super) const SEGMENTS: Naming = Naming { prefix: "log-", flag: 0 };
const CHECKPOINTS: Naming = Naming { prefix: "checkpoint-", flag: checkpoint::FLAG };

pub(super) struct Log {
    disk: Arc<dyn Disk>,
    segments: Segments,
    checkpoint: Option<Checkpoint>,
}

/// The name of the checkpoint at a revision.
pub(super) fn checkpoint_name(revision: Revision) -> String {
    CHECKPOINTS.name(revision.cast_unsigned())
}

/// Whether a file of that name belongs to the engine's log.
pub(super) fn is_own(name: &str) -> bool {
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    SEGMENTS.number(name).is_some() || CHECKPOINTS.number(name).is_some()
}

impl Log {
    /// Opens the log and replays it into `state`: first the checkpoint, then the segments in order, without what the
    /// checkpoint already stands for. `salt` is for the files made from now on.
    pub(super) fn open(disk: Arc<dyn Disk>, segment_limit_bytes: u64, salt: u64, state: &mut State) -> Result<Self> {
        let io = |e| disk_error("opening the store", &e);
        let names = disk.list().map_err(io)?;
        let mut checkpoints: Vec<_> = names.iter().filter_map(|n| CHECKPOINTS.number(n)).collect();
        let mut numbers: Vec<_> = names.iter().filter_map(|n| SEGMENTS.number(n)).collect();
        checkpoints.sort_unstable();
        numbers.sort_unstable();

        let newest = checkpoints.pop().map(u64::cast_signed);
        let checkpoint = newest.map(|revision| read_checkpoint(&*disk, revision, state)).transpose()?;
        let covered = newest.unwrap_or(0);

        let mut read = Vec::new();
        replay::segments(&*disk, &numbers, covered, state, |segment| read.push(segment))?;
        // As for the last segment's contents: before anything goes that these names stand for.
        disk.sync_directory().map_err(io)?;
        // Left by a crash: what was being written, and what the checkpoint made superfluous. Nothing depends on them.
        for name in names
            .iter()
            .filter(|n| n.ends_with(".tmp") && is_own(n))
            .cloned()
            .chain(checkpoints.into_iter().map(|c| checkpoint_name(c.cast_signed())))
        {
            disk.remove(&name).map_err(io)?;
        }
        let segments = Segments::resume(disk.clone(), SEGMENTS, (salt, 1), segment_limit_bytes, read).map_err(io)?;
        Ok(Self { disk, segments, checkpoint })
    }

    /// Begins a batch; returns the buffer that records are encoded into.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        self.segments.begin()
    }

    /// Writes the batch and syncs it. `last_revision` is the newest in it.
    pub(super) fn commit(&mut self, last_revision: Revision) -> io::Result<()> {
        self.segments.commit(last_revision)
    }

    /// What a checkpoint at `revision` would let go of.
    pub(super) fn reclaimable_bytes(&self, revision: Revision) -> u64 {
        self.checkpoint.map_or(0, |c| c.bytes) + self.segments.bytes_up_to(revision)
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
        self.segments.remove_up_to(checkpoint.revision)
    }
}

fn read_checkpoint(disk: &dyn Disk, revision: Revision, state: &mut State) -> Result<Checkpoint> {
    let name = checkpoint_name(revision);
    let file = disk.open(&name).map_err(|e| disk_error(&format!("reading {name}"), &e))?;
    let (checkpoint, head) = checkpoint::read(&*file, &name, revision.cast_unsigned(), state)?;
    match head {
        None if checkpoint.revision == revision => Ok(checkpoint),
        _ => Err(super::segments::corrupt(&name, 0, "checkpoint of another log")),
    }
}
