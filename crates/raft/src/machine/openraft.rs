//! The replica as openraft's state machine, and the log as its log.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, IOFlushed, LogState, RaftLogStorage, RaftStateMachine, Snapshot};
use openraft::{OptionalSend, RaftLogReader, RaftSnapshotBuilder};

use super::{Replica, SnapshotData};
use crate::log::Log;
use crate::types::{Entry, LogId, Member, NodeId, SnapshotMeta, StoredMembership, Types, Vote};

/// Entries read at once for a follower: about a message's worth.
const READ_BYTES: usize = 4 << 20;

type BuiltSnapshot = openraft::alias::SnapshotOf<Types, SnapshotData>;

/// See the module.
#[derive(Clone)]
pub struct Machine(pub Arc<Replica>);

/// Hands out the snapshot that is on disk, or writes one.
pub struct SnapshotBuilder {
    replica: Arc<Replica>,
    write: bool,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<BuiltSnapshot, io::Error> {
        if self.write {
            self.replica.write_snapshot(None).await?;
        }
        let current = self.replica.current()?;
        let (meta, snapshot) = current.ok_or_else(|| io::Error::other("there is no snapshot"))?;
        Ok(Snapshot { meta, snapshot })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.0.last(), self.0.configuration().membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let answers = self.0.apply(entry).map_err(io::Error::other)?;
            if let Some(responder) = responder {
                responder.send(answers);
            }
        }
        Ok(())
    }

    /// Snapshots are written beside openraft, which would end at a full disk: it is told of those that are there.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        let there = self.0.inner().snapshot.is_some();
        (force || there).then(|| SnapshotBuilder { replica: self.0.clone(), write: force })
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { replica: self.0.clone(), write: true }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        self.0.install(meta.clone(), snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<BuiltSnapshot>, io::Error> {
        Ok(self.0.current()?.map(|(meta, snapshot)| Snapshot::<_, NodeId, Member, _> { meta, snapshot }))
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, READ_BYTES).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.vote())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let (last_purged_log_id, last_log_id) = self.ends();
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        Log::save_vote(self, *vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        Log::save_committed(self, committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.committed())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        Log::append(self, entries.into_iter().collect(), callback)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.truncate(last.map(|last| last.index)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        Log::purge(self, upto)
    }
}
