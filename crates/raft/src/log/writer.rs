//! The log's one thread: it takes all that waits, makes one batch of it, syncs it, and tells everybody in it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use storage::engine::{Segments, disk_error};
use tokio::sync::oneshot;

use super::memory::Place;
use super::record::{Head, Record};
use super::{Shared, closed};
use crate::types::{Entry, LogId, Types, Vote};

/// A batch takes no more once it has so many bytes.
const BATCH_BYTES: usize = 8 << 20;
/// A disk that refuses is tried again after this.
const RETRY: Duration = Duration::from_millis(100);

/// What is asked of the log.
pub(super) enum Wish {
    Append(Vec<Entry>, IOFlushed<Types>),
    Vote(Vote, oneshot::Sender<()>),
    Truncate(Option<u64>, oneshot::Sender<()>),
    Purge(LogId),
}

/// What waits for the writer, and the one place where it waits. What comes is bounded by who asks: openraft has a bound on
/// what it has under way.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<(VecDeque<Wish>, bool)>,
    changed: Condvar,
}

impl Queue {
    pub(super) fn push(&self, wish: Wish) -> io::Result<()> {
        let mut inner = self.inner.lock();
        if inner.1 {
            return Err(closed());
        }
        inner.0.push_back(wish);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    fn take(&self) -> Option<VecDeque<Wish>> {
        let mut inner = self.inner.lock();
        while inner.0.is_empty() && !inner.1 {
            self.changed.wait(&mut inner);
        }
        if inner.1 { None } else { Some(std::mem::take(&mut inner.0)) }
    }

    /// Waits before a disk is tried again; returns whether it is to be.
    fn pause(&self) -> bool {
        let mut inner = self.inner.lock();
        if !inner.1 {
            self.changed.wait_for(&mut inner, RETRY);
        }
        !inner.1
    }

    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.1 = true;
        let waiting = std::mem::take(&mut inner.0);
        drop(inner);
        drop(waiting);
        self.changed.notify_all();
    }
}

pub(super) fn run(shared: &Shared, mut segments: Segments) {
    // However this thread ends, nobody waits for it in vain.
    let _close = CloseOnDrop(shared);
    let mut head = {
        let memory = shared.memory.lock();
        let last = memory.last().map(|last| last.index);
        Head { vote: memory.vote, committed: memory.committed, purged: memory.purged(), last }
    };
    publish(shared, &segments);
    while let Some(mut wishes) = shared.queue.take() {
        while !wishes.is_empty() {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while bytes < BATCH_BYTES {
                let Some(wish) = wishes.pop_front() else { break };
                bytes += size(&wish);
                batch.push(wish);
            }
            let committed = shared.memory.lock().committed;
            if !write(shared, &mut segments, &mut head, &batch, committed) {
                return;
            }
            for wish in batch {
                match wish {
                    Wish::Append(_, done) => done.io_completed(Ok(())),
                    Wish::Vote(_, done) | Wish::Truncate(_, done) => drop(done.send(())),
                    Wish::Purge(_) => {}
                }
            }
        }
    }
}

fn size(wish: &Wish) -> usize {
    match wish {
        Wish::Append(entries, _) => entries.iter().map(super::memory::bytes_of).sum(),
        _ => 64,
    }
}

/// Writes a batch, however often that has to be tried; `false` if the log is closed meanwhile.
fn write(shared: &Shared, segments: &mut Segments, head: &mut Head, batch: &[Wish], committed: Option<LogId>) -> bool {
    let mut next = Head { committed, ..*head };
    let mut changed = false;
    for wish in batch {
        match wish {
            Wish::Vote(vote, _) => (next.vote, changed) = (Some(*vote), true),
            Wish::Purge(upto) => {
                (next.purged, changed) = (next.purged.max(Some(*upto)), true);
                next.last = next.last.max(Some(upto.index));
            }
            Wish::Append(entries, _) => next.last = entries.last().map(|entry| entry.log_id.index).or(next.last),
            Wish::Truncate(keep, _) => next.last = *keep,
        }
    }
    let mut told = false;
    loop {
        let place = match attempt(segments, *head, next, changed, batch) {
            Ok(place) => place,
            Err(error) => {
                let error = disk_error("writing to the replicated log", &error);
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the log can't be written; trying until it can");
                }
                *shared.trouble.lock() = Some(error);
                if !shared.queue.pause() {
                    return false;
                }
                continue;
            }
        };
        let mut memory = shared.memory.lock();
        for wish in batch {
            if let Wish::Append(entries, _) = wish {
                memory.written(entries, place);
            }
        }
        memory.forget();
        break;
    }
    *head = next;
    if told {
        tracing::info!("the log can be written again");
        *shared.trouble.lock() = None;
    }
    if changed && let Some(purged) = head.purged {
        // What can't be removed now is removed at a later purge.
        if let Err(error) = segments.remove_up_to(purged.index.cast_signed()) {
            tracing::warn!(%error, "a file of the log can't be removed");
        }
    }
    publish(shared, segments);
    true
}

fn attempt(segments: &mut Segments, before: Head, next: Head, changed: bool, batch: &[Wish]) -> io::Result<Place> {
    let first = segments.prepare()?;
    let place = segments.place();
    let mut last = 0;
    let out = segments.begin();
    // A segment says by itself what those before it said: they may go.
    if first {
        Record::Head(before).encode(out);
    }
    for wish in batch {
        match wish {
            Wish::Append(entries, _) => {
                for entry in entries {
                    Record::encode_entry(entry, out);
                    last = last.max(entry.log_id.index.cast_signed());
                }
            }
            Wish::Truncate(keep, _) => Record::Truncate { keep: *keep }.encode(out),
            Wish::Vote(..) | Wish::Purge(_) => {}
        }
    }
    // Votes and purges commute with entries within a batch, which is valid as a whole or not at all.
    if changed || next.committed != before.committed {
        Record::Head(next).encode(out);
    }
    segments.commit(last)?;
    Ok(place)
}

fn publish(shared: &Shared, segments: &Segments) {
    *shared.reclaimable.lock() = segments.sealed().collect();
}

struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}
