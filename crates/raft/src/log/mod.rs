//! The replicated log on disk: the votes and entries of this member, synced before anybody is told of them.
//!
//! One file format for all of it, the engine's segments of batches: what openraft asks for (entries, a vote, a cut, what may go)
//! is a record, records are written in the order in which they were asked for, and all that wait share a batch and its sync.
//! One thread writes (`writer`); who reads, reads memory (`memory`), where an entry is as soon as it was handed over.
//!
//! A disk that refuses is no reason to end: the writer tries again until it can, and says so meanwhile ([`Log::trouble`]), so
//! that nothing new is promised. What was handed over before stays handed over.

mod memory;
mod record;
mod writer;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use storage::Error;
use storage::disk::Disk;
use storage::engine::{Naming, Segments, disk_error, read_batch, read_segment};
use tokio::sync::oneshot;

use crate::types::{Entry, LogId, Types, Vote};
use memory::{Found, Memory, Place};
use record::{Head, Record};
use writer::{Queue, Wish};

/// The files.
pub(crate) const SEGMENTS: Naming = Naming { prefix: "raft-log-", flag: 1 << 62 };

/// The log. Clones are the same log.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    disk: Arc<dyn Disk>,
    memory: Mutex<Memory>,
    queue: Queue,
    /// Why the disk takes nothing now.
    trouble: Mutex<Option<Error>>,
    /// What there is on disk, by what a snapshot would let go of; see `writer`.
    reclaimable: Mutex<Vec<(i64, u64)>>,
    thread: Mutex<Option<component::supervisor::Thread<()>>>,
}

/// What a log begins with.
#[derive(Debug, Clone, Default)]
pub struct Beginning {
    /// The vote.
    pub vote: Option<Vote>,
    /// Everything up to here is in a snapshot.
    pub purged: Option<LogId>,
}

impl Log {
    /// Opens the log on a disk, made if missing. Fails with `Corrupt` rather than losing anything that was acknowledged.
    pub fn open(disk: Arc<dyn Disk>, segment_limit_bytes: u64) -> storage::Result<Self> {
        let names = disk.list().map_err(|e| disk_error("opening the replicated log", &e))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| SEGMENTS.number(name)).collect();
        numbers.sort_unstable();
        // Files are removed oldest first, but a crash can bring back any of them: what is before a gap was let go of. A file says
        // what those before it held, so one that is missing where it is needed is noticed.
        let run = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]).map_or(0, |at| at + 1);
        let left: Vec<u64> = numbers.drain(..run).collect();
        let (mut segments, mut records) = (Vec::new(), Vec::new());
        for (at, &number) in numbers.iter().enumerate() {
            let name = SEGMENTS.name(number);
            let mut last = 0;
            let segment = read_segment(&*disk, SEGMENTS, number, at + 1 == numbers.len(), |offset, bytes| {
                for record in Record::all(bytes)? {
                    if let Record::Entry(entry) = &record {
                        last = last.max(entry.log_id.index.cast_signed());
                    }
                    records.push(((number, offset), record));
                }
                Ok(())
            })?;
            if let Some(segment) = segment {
                segment.mend(&name)?;
                segments.push((segment, last));
            }
        }
        disk.sync_directory().map_err(|e| disk_error("opening the replicated log", &e))?;
        // As many as a file has.
        let kept = usize::try_from(segment_limit_bytes).unwrap_or(usize::MAX);
        let memory = Memory::replay(records, kept).map_err(|e| Error::Corrupt(format!("the replicated log: {e}")))?;
        for number in left {
            disk.remove(&SEGMENTS.name(number)).map_err(|e| disk_error("opening the replicated log", &e))?;
        }
        let salt = RandomState::new().hash_one(0);
        let segments = Segments::resume(disk.clone(), SEGMENTS, (salt, 1), segment_limit_bytes, segments)
            .map_err(|e| disk_error("opening the replicated log", &e))?;
        let log = Self(Arc::new(Shared {
            disk,
            memory: Mutex::new(memory),
            queue: Queue::default(),
            trouble: Mutex::default(),
            reclaimable: Mutex::default(),
            thread: Mutex::default(),
        }));
        let shared = log.0.clone();
        let thread = component::supervisor::thread("raft-log", move || writer::run(&shared, segments))
            .map_err(|e| Error::Unavailable(format!("starting the log's thread: {e}")))?;
        *log.0.thread.lock() = Some(thread);
        Ok(log)
    }

    /// A new log in the place of whatever is there. Not while one is open.
    pub fn create(disk: &Arc<dyn Disk>, beginning: Beginning) -> storage::Result<()> {
        let io = |e| disk_error("making the replicated log", &e);
        let before: Vec<u64> = disk.list().map_err(io)?.iter().filter_map(|name| SEGMENTS.number(name)).collect();
        // With a gap before it, which says that what is there is let go of; and only then is it.
        let number = before.iter().max().map_or(1, |last| last + 2);
        let id = (RandomState::new().hash_one(0), number);
        let mut segments = Segments::resume(disk.clone(), SEGMENTS, id, u64::MAX, Vec::new()).map_err(io)?;
        let purged = beginning.purged;
        let head = Head { vote: beginning.vote, committed: purged, purged, last: purged.map(|last| last.index) };
        Record::Head(head).encode(segments.begin());
        segments.commit(0).map_err(io)?;
        for number in before {
            disk.remove(&SEGMENTS.name(number)).map_err(io)?;
        }
        disk.sync_directory().map_err(io)
    }

    /// The vote that was saved last.
    pub fn vote(&self) -> Option<Vote> {
        self.0.memory.lock().vote
    }

    /// What is known to be committed, as of the last batch that was written.
    pub fn committed(&self) -> Option<LogId> {
        self.0.memory.lock().committed
    }

    /// The last entry that was purged, and the last one that there is.
    pub fn ends(&self) -> (Option<LogId>, Option<LogId>) {
        let memory = self.0.memory.lock();
        (memory.purged(), memory.last())
    }

    /// The entries of these indices that there are; at most about so many bytes, and at least one. May read the disk.
    pub fn entries(&self, from: u64, to: u64, bytes: usize) -> io::Result<Vec<Entry>> {
        let found = self.0.memory.lock().entries(from, to, bytes);
        self.fetch(found)
    }

    /// As `entries`, without waiting for the disk on a thread of the runtime.
    pub async fn read(&self, from: u64, to: u64, bytes: usize) -> io::Result<Vec<Entry>> {
        let found = self.0.memory.lock().entries(from, to, bytes);
        if found.iter().all(|found| matches!(found, Found::Here(_))) {
            return self.fetch(found);
        }
        let log = self.clone();
        let read = component::supervisor::blocking("raft-log-read", move || log.fetch(found)).await;
        read.unwrap_or_else(|ended| Err(io::Error::other(ended)))
    }

    fn fetch(&self, found: Vec<Found>) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(found.len());
        // Neighbours are in one batch.
        let mut batch: (Option<Place>, Vec<Entry>) = (None, Vec::new());
        for found in found {
            let (log_id, place) = match found {
                Found::Here(entry) => {
                    entries.push(entry);
                    continue;
                }
                Found::There(log_id, place) => (log_id, place),
            };
            if batch.0 != Some(place) {
                let read = read_batch(&*self.0.disk, SEGMENTS, place, |bytes| {
                    let records = Record::all(bytes)?.into_iter();
                    Ok(records.filter_map(|r| if let Record::Entry(entry) = r { Some(entry) } else { None }).collect())
                });
                match read {
                    Ok(read) => batch = (Some(place), read),
                    // It was let go of meanwhile, and so was what is before it.
                    Err(_) if self.0.memory.lock().is_purged(log_id.index) => {
                        entries.clear();
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            let entry = batch.1.iter().find(|entry| entry.log_id == log_id);
            entries
                .push(entry.cloned().ok_or_else(|| io::Error::other(format!("entry {log_id} is not where it was")))?);
        }
        Ok(entries)
    }

    /// Saves a vote: synced when this returns.
    pub async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        let (done, saved) = oneshot::channel();
        // Seen only once it is durable: a reader asks whether its leader still leads, and a moment too long does no harm.
        self.0.queue.push(Wish::Vote(vote, done))?;
        saved.await.map_err(|_| closed())?;
        self.0.memory.lock().vote = Some(vote);
        Ok(())
    }

    /// Remembers what is committed; it reaches the disk with the next batch.
    pub fn save_committed(&self, committed: Option<LogId>) {
        let mut memory = self.0.memory.lock();
        memory.committed = memory.committed.max(committed);
    }

    /// Appends entries: they can be read when this returns, and are synced when `done` is called.
    pub fn append(&self, entries: Vec<Entry>, done: IOFlushed<Types>) -> io::Result<()> {
        self.0.memory.lock().append(&entries)?;
        self.0.queue.push(Wish::Append(entries, done))
    }

    /// Cuts off the entries after an index: synced when this returns. A snapshot that is installed next must not come back
    /// after a crash beside entries that conflict with it.
    pub async fn truncate(&self, keep: Option<u64>) -> io::Result<()> {
        self.0.memory.lock().truncate(keep);
        let (done, cut) = oneshot::channel();
        self.0.queue.push(Wish::Truncate(keep, done))?;
        cut.await.map_err(|_| closed())
    }

    /// Lets go of the entries up to one, which a snapshot stands for.
    pub fn purge(&self, upto: LogId) -> io::Result<()> {
        self.0.memory.lock().purge(upto);
        self.0.queue.push(Wish::Purge(upto))
    }

    /// Why the disk takes nothing now, if it does not.
    pub fn trouble(&self) -> Option<Error> {
        self.0.trouble.lock().clone()
    }

    /// About how many bytes a snapshot at an index would let go of.
    pub fn reclaimable_bytes(&self, index: u64) -> u64 {
        self.0.reclaimable.lock().iter().filter(|(last, _)| *last <= index.cast_signed()).map(|(_, bytes)| bytes).sum()
    }

    /// Ends the thread: what waits is not written.
    pub fn close(&self) {
        self.0.queue.close();
        if let Some(thread) = self.0.thread.lock().take() {
            drop(thread.join());
        }
    }
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}
