//! Snapshots as files: written from the state, received from a leader, read at the start.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::Revision;
use storage::disk::{Disk, DiskFile};
use storage::engine::{Naming, State, checkpoint, corrupt, disk_error};

use super::{Configuration, Head, Mark, Replica};
use crate::codec::Encode;
use crate::types::SnapshotMeta;

/// The files; the number is the index of the last entry.
pub const SNAPSHOTS: Naming = Naming { prefix: "raft-snapshot-", flag: 0 };
const COPY_BYTES: usize = 1 << 20;

/// The snapshot that is on disk.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) meta: SnapshotMeta,
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// A snapshot's contents, as openraft hands them about.
pub enum SnapshotData {
    /// In a file, which is open and can be read even if its name goes.
    File {
        /// The file.
        file: Box<dyn DiskFile>,
        /// Its length.
        bytes: u64,
    },
    /// Received, synced, and read.
    Received(Box<Received>),
}

/// See [`SnapshotData::Received`].
pub struct Received {
    name: String,
    bytes: u64,
    state: State,
    /// What it says of itself.
    pub head: Head,
}

/// Reads a snapshot into a new state.
fn read(file: &dyn DiskFile, name: &str, number: u64, replica: &Replica) -> storage::Result<(State, Head, u64)> {
    let mut state = State::new(replica.limits);
    let (checkpoint, head) = checkpoint::read(file, name, number, &mut state)?;
    let head = Head::parse(head).map_err(|e| corrupt(name, 0, &e))?;
    match head.meta.last_log_id {
        last if last.map_or(0, |last| last.index) == number => Ok((state, head, checkpoint.bytes)),
        _ => Err(corrupt(name, 0, "it is of another place in the log")),
    }
}

/// Writes a snapshot that no log led to: where a store begins. `name` is its final name, and durable, when this returns.
pub fn found(disk: &dyn Disk, state: State, head: &Head) -> storage::Result<()> {
    let io = |e| disk_error("writing the first snapshot", &e);
    let last = head.meta.last_log_id.ok_or_else(|| corrupt("snapshot", 0, "it is of no place in the log"))?;
    let (name, revision) = (SNAPSHOTS.name(last.index), state.revision());
    let temporary = format!("{name}.tmp");
    let file = disk.create(&temporary).map_err(io)?;
    let (state, stop) = (parking_lot::RwLock::new(state), false.into());
    checkpoint::write(&*file, &state, revision, (0, last.index), Some(head.to_bytes()), &stop).map_err(io)?;
    disk.sync_directory().map_err(io)?;
    disk.rename(&temporary, &name).map_err(io)?;
    disk.sync_directory().map_err(io)
}

impl Replica {
    /// Takes over the newest snapshot on disk, and removes what a crash left.
    pub(super) fn restore(&self) -> storage::Result<()> {
        let io = |e| disk_error("opening the snapshot", &e);
        let names = self.disk.list().map_err(io)?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| SNAPSHOTS.number(name)).collect();
        numbers.sort_unstable();
        let newest = numbers.pop();
        if let Some(number) = newest {
            let name = SNAPSHOTS.name(number);
            let file = self.disk.open(&name).map_err(io)?;
            let (state, head, bytes) = read(&*file, &name, number, self)?;
            self.adopt(state, head, Kept { meta: SnapshotMeta::default(), name, bytes });
            self.disk.sync_directory().map_err(io)?;
        }
        let left = names.iter().filter(|name| name.starts_with(SNAPSHOTS.prefix) && name.ends_with(".tmp")).cloned();
        for name in left.chain(numbers.into_iter().map(|number| SNAPSHOTS.name(number))) {
            self.disk.remove(&name).map_err(io)?;
        }
        Ok(())
    }

    /// Goes on from a snapshot that is on disk under its name.
    fn adopt(&self, state: State, head: Head, kept: Kept) {
        let mut inner = self.inner();
        let revision = state.revision();
        inner.expiries.clear();
        for kv in state.expiring() {
            inner.expiries.entry(kv.lease).or_default().push((kv.key.clone(), kv.mod_revision));
        }
        let before = std::mem::replace(&mut *self.view.state.write(), state);
        let last = head.meta.last_log_id;
        inner.last = last;
        inner.marks = last.map(|log_id| Mark { log_id, revision }).into_iter().collect();
        let membership = head.meta.last_membership.clone();
        self.members.store(Arc::new(membership.clone()));
        let configuration = Configuration { membership, facts: head.facts };
        inner.configurations = [(last, Arc::new(configuration))].into_iter().collect();
        inner.snapshot = Some(Kept { meta: head.meta, ..kept });
        drop(inner);
        drop(before);
        self.applied.send_replace(last.map_or(0, |last| last.index + 1));
        self.view.watchers.wake_all();
    }

    /// The snapshot that is on disk, opened.
    pub(super) fn current(&self) -> io::Result<Option<(SnapshotMeta, SnapshotData)>> {
        let inner = self.inner();
        let Some(kept) = &inner.snapshot else { return Ok(None) };
        // Under the lock: who replaces it removes the file afterwards.
        let file = self.disk.open(&kept.name)?;
        Ok(Some((kept.meta.clone(), SnapshotData::File { file, bytes: kept.bytes })))
    }

    /// Writes a snapshot of the state after an entry (see [`Replica::snapshot_worth`]; the newest if none is given), on a
    /// thread for that.
    pub async fn write_snapshot(self: &Arc<Self>, mark: Option<Mark>) -> io::Result<()> {
        let _one = self.snapshots.lock().await;
        let (revision, head) = {
            let mut inner = self.inner();
            let newest = inner.marks.back().copied();
            // A snapshot that was installed meanwhile may have gone past it.
            let mark = mark.filter(|mark| inner.marks.front().is_some_and(|first| first.log_id <= mark.log_id));
            let mark = mark.or(newest);
            let last_log_id = mark.map(|mark| mark.log_id);
            let configuration = inner.configuration_at(last_log_id);
            let meta = SnapshotMeta { last_log_id, last_membership: configuration.membership.clone() };
            let head = Head { meta, facts: configuration.facts.clone() };
            let revision = mark.map_or_else(|| self.revision(), |mark| mark.revision);
            inner.writing = Some(revision);
            (revision, head)
        };
        let replica = self.clone();
        let written =
            component::supervisor::blocking("raft-snapshot", move || replica.write_file(revision, &head)).await;
        self.inner().writing = None;
        written.unwrap_or_else(|ended| Err(io::Error::other(ended)))
    }

    fn write_file(&self, revision: Revision, head: &Head) -> io::Result<()> {
        let last = head.meta.last_log_id;
        let index = last.map_or(0, |last| last.index);
        let name = SNAPSHOTS.name(index);
        let temporary = format!("{name}.tmp");
        let written = || -> io::Result<u64> {
            let file = self.disk.create(&temporary)?;
            let (id, head) = ((self.salt, index), Some(head.to_bytes()));
            let written = checkpoint::write(&*file, &self.view.state, revision, id, head, &self.stop_snapshot)?;
            self.disk.sync_directory()?;
            self.disk.rename(&temporary, &name)?;
            self.disk.sync_directory()?;
            Ok(written.bytes)
        };
        let bytes = match written() {
            Ok(bytes) => bytes,
            Err(error) => {
                // It takes room that others may need.
                drop(self.disk.remove(&temporary));
                return Err(error);
            }
        };
        let mut inner = self.inner();
        let before = inner.snapshot.replace(Kept { meta: head.meta.clone(), name: name.clone(), bytes });
        while inner.marks.front().is_some_and(|first| Some(first.log_id) < last) {
            inner.marks.pop_front();
        }
        drop(inner);
        if let Some(before) = before.filter(|before| before.name != name) {
            self.disk.remove(&before.name)?;
        }
        Ok(())
    }

    /// Begins to receive a snapshot that ends with the entry of that index.
    pub fn receive(&self, index: u64) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(&incoming(index))
    }

    /// Reads what was received, which is synced then; takes a while, and blocks.
    pub fn received(&self, file: &dyn DiskFile, index: u64) -> storage::Result<Box<Received>> {
        let name = incoming(index);
        file.sync().map_err(|e| disk_error("receiving a snapshot", &e))?;
        let (state, head, bytes) = read(file, &name, index, self)?;
        Ok(Box::new(Received { name, bytes, state, head }))
    }

    /// Goes on from a snapshot of another member.
    pub(super) async fn install(self: &Arc<Self>, meta: SnapshotMeta, data: SnapshotData) -> io::Result<()> {
        let index = meta.last_log_id.map_or(0, |last| last.index);
        self.stop_snapshot.store(true, Ordering::Relaxed);
        let _one = self.snapshots.lock().await;
        self.stop_snapshot.store(false, Ordering::Relaxed);
        let replica = self.clone();
        let work = move || -> io::Result<()> {
            let Received { name: temporary, bytes, state, head } = *match data {
                SnapshotData::Received(received) => received,
                SnapshotData::File { file, bytes } => {
                    let copy = replica.receive(index)?;
                    let (mut at, mut buffer) = (0, vec![0; COPY_BYTES]);
                    while at < bytes {
                        let read = file.read_at(at, &mut buffer)?;
                        if read == 0 {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                        copy.write_at(at, &buffer[..read])?;
                        at += read as u64;
                    }
                    replica.received(&*copy, index).map_err(io::Error::other)?
                }
            };
            let name = SNAPSHOTS.name(index);
            replica.disk.sync_directory()?;
            replica.disk.rename(&temporary, &name)?;
            replica.disk.sync_directory()?;
            let before = replica.inner().snapshot.clone();
            replica.adopt(state, head, Kept { meta: SnapshotMeta::default(), name: name.clone(), bytes });
            if let Some(before) = before.filter(|before| before.name != name) {
                replica.disk.remove(&before.name)?;
            }
            Ok(())
        };
        component::supervisor::blocking("raft-install", work).await.unwrap_or_else(|e| Err(io::Error::other(e)))
    }

    /// The revision of the newest state.
    pub fn revision(&self) -> Revision {
        self.view.state.read().revision()
    }
}

/// Where a snapshot is received: beside what this member writes itself.
fn incoming(index: u64) -> String {
    format!("{}.incoming.tmp", SNAPSHOTS.name(index))
}
