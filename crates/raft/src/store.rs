//! The store that all of it makes: [`Storage`] on one of several members.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use component::supervisor::{Ended, Supervisor};
use storage::disk::Disk;
use storage::engine::{KEY_LIMIT_BYTES, disk_error, expiry, open_watch};
use storage::{Error, Expect, KeyValue, Outcome, RangeOptions, RangeResult, Result, Revision, Storage, WatchStream};

use crate::command::{Answer, Operation};
use crate::identity::Identity;
use crate::members::{self, Status};
use crate::network::{self, Ask, Network};
use crate::node::{Node, Options};
use crate::server::Server;
use crate::types::NodeId;
use crate::{found, house, proposals, reads};

/// A member of a replicated store. Reads and watches are answered by its own copy (a read after the leader has said how far that
/// has to be); writes go through the leader's log. Dropping it ends it without a farewell; [`RaftStore::close`] waits.
pub struct RaftStore {
    node: Arc<Node>,
    network: Arc<dyn Network>,
    tasks: Supervisor,
}

impl fmt::Debug for RaftStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftStore").field("id", &self.node.me).finish_non_exhaustive()
    }
}

/// Runs what `make` makes as long as the member lives.
fn keep<F>(tasks: &Supervisor, name: &'static str, make: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    drop(tasks.restarting(name, move |own| {
        let work = make();
        async move {
            own.until_stopped(work).await;
        }
    }));
}

impl RaftStore {
    /// Opens the member on a disk. An empty disk, or one with a store of the embedded engine (which is taken over in place),
    /// begins a cluster of one, or with `join` asks to be let into one, until it is (so this can take long; dropping the
    /// future ends it). Returns when the member answers others; it may have no leader yet.
    ///
    /// # Errors
    /// `Corrupt` if the disk holds what can't be, or another's; `Full` and `Unavailable` if it can't be read or written.
    pub async fn open(disk: Arc<dyn Disk>, network: Arc<dyn Network>, options: Options) -> Result<Self> {
        let identity = match Identity::load(&*disk)? {
            Some(identity @ Identity::Member { .. }) => identity,
            None if options.join.is_empty() => found::found(&disk, &options.storage, &options.advertise)?,
            None | Some(Identity::Joining { .. }) if !options.join.is_empty() => {
                found::join(&disk, &network, &options.storage, &options.join, &options.advertise).await?
            }
            _ => {
                let what = "this member was on its way into a cluster; start it with the addresses to join";
                return Err(Error::Corrupt(what.to_owned()));
            }
        };
        found::tidy(&disk)?;
        let node = Node::start(disk, network.clone(), options, identity).await?;
        let tasks = Supervisor::new();
        let (one, two) = (node.clone(), tasks.clone());
        keep(&tasks, "raft-proposals", move || proposals::run(one.clone(), two.clone()));
        let (one, two) = (node.clone(), node.clone());
        keep(&tasks, "raft-reads", move || reads::run(one.clone()));
        keep(&tasks, "raft-house", move || house::run(two.clone()));
        let (one, two) = (node.clone(), node.clone());
        keep(&tasks, "raft-introduction", move || house::introduce(one.clone()));
        keep(&tasks, "raft-watch", move || house::watch(two.clone()));
        let served = network.serve(Arc::new(Server::new(node.clone()))).await;
        let store = Self { node, network, tasks };
        if let Err(error) = served {
            store.close().await;
            return Err(disk_error("listening for other members", &error));
        }
        Ok(store)
    }

    /// Ends the member in good order: if it leads, another is to lead first, so that nobody has to notice that it is gone.
    pub async fn retire(&self) {
        let yielding = members::yield_leadership(&self.node);
        drop(tokio::time::timeout(std::time::Duration::from_secs(1), yielding).await);
        self.close().await;
    }

    /// Ends the member: fails writes that wait, ends the watches, answers nobody any more.
    pub async fn close(&self) {
        self.end();
        // It may be waiting for a disk that takes nothing: then the log ends first.
        let patience = std::time::Duration::from_secs(1);
        if tokio::time::timeout(patience, self.node.raft.shutdown()).await.is_err() {
            self.node.log.close();
            drop(self.node.raft.shutdown().await);
        }
        self.node.log.close();
        self.tasks.shutdown().await;
    }

    fn end(&self) {
        self.network.close();
        self.node.ended.cancel();
        self.node.proposals.close();
        self.node.replica.view.close();
        self.tasks.stop();
    }

    /// Makes the member look at its clock now: for tests that move one.
    pub fn wake(&self) {
        self.node.proposals.wake();
    }

    /// The cluster as this member sees it.
    pub async fn status(&self) -> Status {
        members::status(&self.node).await
    }

    /// Reserves a number for a member at an address and begins to look for it there, as a learner. (One that is started with
    /// addresses to join does this itself.)
    ///
    /// # Errors
    /// `Unavailable` if the cluster does not agree in time; asking again with the same token is safe.
    pub async fn add_learner(&self, token: u128, address: &str) -> Result<NodeId> {
        let ask = Ask::Join { token, address: address.to_owned() };
        match members::of_leader(&self.node, ask).await? {
            network::Answer::Joined { node, .. } => Ok(node),
            other => Err(Error::Unavailable(format!("an answer to another question: {other:?}"))),
        }
    }

    /// Makes a learner that has caught up a voter. (A member that joins asks for this itself.)
    ///
    /// # Errors
    /// `Unavailable` if it has not caught up, or the cluster does not agree in time; asking again is safe.
    pub async fn promote(&self, id: NodeId) -> Result<()> {
        members::of_leader(&self.node, Ask::Promote(id)).await.map(drop)
    }

    /// Removes a member for good: what it has on its disk is of no cluster any more.
    ///
    /// # Errors
    /// `Unavailable` if it is the last voter, or the cluster does not agree in time; asking again is safe.
    pub async fn remove(&self, id: NodeId) -> Result<()> {
        members::of_leader(&self.node, Ask::Remove(id)).await.map(drop)
    }

    /// Has that member lead, for example before this one is stopped.
    ///
    /// # Errors
    /// `Unavailable` if it does not take over in time.
    pub async fn transfer_leadership(&self, to: NodeId) -> Result<()> {
        members::of_leader(&self.node, Ask::Lead(to)).await.map(drop)
    }

    async fn submit(&self, operation: Operation) -> Result<Answer> {
        let answer = self.node.proposals.push(operation)?;
        // A little more than the proposal has itself: it knows better what became of it.
        let patience = self.node.options.times.patience * 2;
        let answered = tokio::time::timeout(patience, self.node.ended.run_until_cancelled(answer));
        match answered.await {
            Ok(Some(Ok(answer))) => answer,
            Ok(None | Some(Err(_))) => Err(Error::Closed),
            Err(_) => Err(Error::Unavailable("the cluster is too slow; the write may have been done".to_owned())),
        }
    }

    async fn write(&self, operation: Operation) -> Result<Outcome> {
        match self.submit(operation).await? {
            Answer::Write(outcome) => Ok(outcome),
            other => Err(Error::Unavailable(format!("an answer to another question: {other:?}"))),
        }
    }

    async fn confirm(&self) -> Result<()> {
        self.node.replica.view.open()?;
        let confirmed = self.node.ended.run_until_cancelled(reads::confirm(&self.node)).await;
        confirmed.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for RaftStore {
    fn drop(&mut self) {
        self.end();
        self.node.log.close();
    }
}

#[async_trait]
impl Storage for RaftStore {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        self.confirm().await?;
        let state = self.node.replica.view.state.read();
        Ok((state.get(key).map(|kv| (**kv).clone()), state.revision()))
    }

    async fn range(&self, prefix: &str, options: RangeOptions) -> Result<RangeResult> {
        // What was at a revision that is here stays so: nobody has to be asked.
        let here = options.revision.is_some_and(|revision| revision <= self.node.replica.revision());
        if here {
            self.node.replica.view.open()?;
        } else {
            self.confirm().await?;
        }
        self.node.replica.view.state.read().range(prefix, &options)
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl_seconds: Option<u64>) -> Result<Outcome> {
        if key.len() > KEY_LIMIT_BYTES {
            return Err(Error::TooLarge(format!("key of {} bytes; the limit is {KEY_LIMIT_BYTES}", key.len())));
        }
        let options = &self.node.options.storage;
        let limit = options.value_limit_bytes.min(32 << 20);
        if value.len() > limit {
            return Err(Error::TooLarge(format!("value of {} bytes; the limit is {limit}", value.len())));
        }
        let expiry = ttl_seconds.map_or(0, |ttl| expiry(options.clock.unix_seconds(), ttl));
        self.write(Operation::Put { key: key.into(), value, expect, expiry }).await
    }

    async fn delete(&self, key: &str, mod_revision: Revision) -> Result<Outcome> {
        self.write(Operation::Delete { key: key.into(), mod_revision }).await
    }

    async fn revision(&self) -> Result<Revision> {
        self.confirm().await?;
        Ok(self.node.replica.revision())
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        self.node.replica.view.open()?;
        open_watch(&self.node.replica.view, prefix, from)
    }

    fn request_progress(&self, prefix: &str) {
        let (node, prefix) = (self.node.clone(), prefix.to_owned());
        let own = self.tasks.clone();
        drop(self.tasks.one_shot("raft-progress", async move {
            // This member may be behind what is current at the time of this call.
            if let Some(Ok(())) = own.until_stopped(reads::confirm(&node)).await {
                node.replica.view.watchers.request_progress(&prefix);
            }
        }));
    }

    fn reports_progress(&self) -> bool {
        true
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn failed(&self) -> Ended {
        let mut failure = self.node.failure.subscribe();
        match failure.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone()) {
            Some(ended) => ended,
            // The sender lives as long as the store.
            None => std::future::pending().await,
        }
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        match self.submit(Operation::Compact { revision }).await? {
            // Here too, and not only on the leader, before this returns.
            Answer::Compacted => self.confirm().await,
            Answer::Future(current) => Err(Error::FutureRevision { current }),
            other => Err(Error::Unavailable(format!("an answer to another question: {other:?}"))),
        }
    }
}
