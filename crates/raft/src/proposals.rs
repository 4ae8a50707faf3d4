//! From callers' wishes to entries of the log: all that waits becomes one entry, by the leader; another member hands what waits
//! to the leader. There is no delay to tune: while entries are under way, wishes gather.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use parking_lot::Mutex;
use storage::{Error, Result};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

use crate::command::{Answer, Command, Operation};
use crate::network::{self, Ask, Lane, Reached, Refusal};
use crate::node::{Leader, Node};

/// An entry takes up to so many operations, and no more once it has so many bytes.
const ENTRY_OPERATIONS: usize = 1_024;
const ENTRY_BYTES: usize = 4 << 20;
/// Entries under way at once.
const UNDER_WAY: usize = 3;
/// Waiting operations beyond these are refused.
const LIMIT_OPERATIONS: usize = 65_536;
const LIMIT_BYTES: usize = 256 << 20;
/// Between two tries to find a leader that takes them.
const RETRY: Duration = Duration::from_millis(20);

/// Who waits for an answer.
pub(crate) struct Pending {
    operation: Operation,
    reply: oneshot::Sender<Result<Answer>>,
}

/// What waits for the log.
#[derive(Default)]
pub(crate) struct Proposals {
    inner: Mutex<Waiting>,
    changed: Notify,
    /// Somebody wants the time to be looked at.
    look: Notify,
}

#[derive(Default)]
struct Waiting {
    operations: VecDeque<Pending>,
    bytes: usize,
    closed: bool,
}

impl Proposals {
    /// Hands in an operation.
    pub(crate) fn push(&self, operation: Operation) -> Result<oneshot::Receiver<Result<Answer>>> {
        let (reply, answer) = oneshot::channel();
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Error::Closed);
        }
        if inner.operations.len() >= LIMIT_OPERATIONS || inner.bytes >= LIMIT_BYTES {
            return Err(Error::Unavailable("too many writes are waiting for the cluster".to_owned()));
        }
        inner.bytes += operation.bytes();
        inner.operations.push_back(Pending { operation, reply });
        drop(inner);
        self.changed.notify_one();
        Ok(answer)
    }

    /// Makes the member look at its clock now: for tests that move one.
    pub(crate) fn wake(&self) {
        self.look.notify_one();
    }

    /// Waits for [`Proposals::wake`].
    pub(crate) async fn look(&self) {
        self.look.notified().await;
    }

    async fn take(&self) -> Option<Vec<Pending>> {
        loop {
            let changed = self.changed.notified();
            {
                let mut inner = self.inner.lock();
                if inner.closed {
                    return None;
                }
                let (mut taken, mut bytes) = (Vec::new(), 0);
                while taken.len() < ENTRY_OPERATIONS && bytes < ENTRY_BYTES {
                    let Some(pending) = inner.operations.pop_front() else { break };
                    let size = pending.operation.bytes();
                    inner.bytes -= size;
                    // Nobody waits for it any more, and it is not begun.
                    if !pending.reply.is_closed() {
                        bytes += size;
                        taken.push(pending);
                    }
                }
                if !taken.is_empty() {
                    return Some(taken);
                }
            }
            changed.await;
        }
    }

    /// Refuses operations from now on, and drops those that wait, which tells their callers.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let waiting = std::mem::take(&mut inner.operations);
        drop(inner);
        drop(waiting);
        self.changed.notify_one();
    }
}

/// Takes what waits to the log until the proposals are closed.
pub(crate) async fn run(node: Arc<Node>, tasks: component::supervisor::Supervisor) {
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    loop {
        let Ok(permit) = under_way.clone().acquire_owned().await else { return };
        let Some(batch) = node.proposals.take().await else { return };
        let (node, own) = (node.clone(), tasks.clone());
        drop(tasks.one_shot("raft-proposal", async move {
            own.until_stopped(propose(&node, batch)).await;
            drop(permit);
        }));
    }
}

/// What is known of a batch that was handed to a leader.
enum Attempt {
    Answered(Vec<Result<Answer>>),
    /// Nothing was done with it.
    Again(Error),
    /// It ended, for all of it alike.
    Ended(Error),
}

async fn propose(node: &Node, batch: Vec<Pending>) {
    let (operations, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|p| (p.operation, p.reply)).unzip();
    let command = Command(operations.into());
    let deadline = Instant::now() + node.options.times.patience;
    let answers = loop {
        match attempt(node, &command, deadline).await {
            Attempt::Answered(answers) => break answers,
            Attempt::Again(error) if Instant::now() + RETRY >= deadline => break vec![Err(error); replies.len()],
            Attempt::Again(_) => tokio::time::sleep(RETRY).await,
            Attempt::Ended(error) => break vec![Err(error); replies.len()],
        }
    };
    for (reply, answer) in replies.into_iter().zip(answers) {
        drop(reply.send(answer));
    }
}

fn open(what: &str) -> Error {
    Error::Unavailable(format!("{what}; the write may have been done"))
}

async fn attempt(node: &Node, command: &Command, deadline: Instant) -> Attempt {
    match node.leader() {
        Leader::Nobody => Attempt::Again(Error::Unavailable("the store's cluster has no leader".to_owned())),
        Leader::Me => lead(node, command, deadline).await,
        leader @ Leader::Other(..) => forward(node, command, deadline, leader).await,
    }
}

/// As the leader: an entry of its own.
async fn lead(node: &Node, command: &Command, deadline: Instant) -> Attempt {
    // Its own disk takes nothing: a promise would be kept by the others alone.
    if let Some(trouble) = node.log.trouble() {
        return Attempt::Ended(trouble);
    }
    match tokio::time::timeout_at(deadline, node.raft.client_write(command.clone())).await {
        Ok(Ok(response)) => Attempt::Answered(response.data.into_iter().map(Ok).collect()),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
            Attempt::Again(Error::Unavailable(format!("the member does not lead any more: {forward}")))
        }
        Ok(Err(RaftError::APIError(error))) => Attempt::Ended(open(&error.to_string())),
        Ok(Err(RaftError::Fatal(_))) => Attempt::Ended(Error::Closed),
        Err(_) => Attempt::Ended(open("no majority of the cluster confirmed it in time")),
    }
}

/// As another member: the leader's.
async fn forward(node: &Node, command: &Command, deadline: Instant, leader: Leader) -> Attempt {
    let Leader::Other(id, address) = &leader else { return Attempt::Again(Error::Closed) };
    let ask = Ask::Propose(command.0.to_vec());
    let patience = deadline.saturating_duration_since(Instant::now());
    let asked = tokio::select! {
        asked = node.peers.ask((*id, address), Lane::Log, patience, ask) => asked,
        // It may be a leader that is gone, and would be waited for in vain.
        () = node.leader_changes(&leader) => return Attempt::Ended(open("the leader changed meanwhile")),
    };
    match asked {
        Ok(network::Answer::Proposed(answers)) if answers.len() == command.0.len() => Attempt::Answered(answers),
        Ok(_) => Attempt::Ended(open("the leader's answer is not one to the question")),
        Err(Reached::Refused(Refusal::Unknown(why))) => Attempt::Ended(open(&why)),
        Err(Reached::Refused(refusal @ Refusal::Removed(_))) => Attempt::Ended(Error::Unavailable(refusal.to_string())),
        Err(Reached::Refused(refusal)) => Attempt::Again(Error::Unavailable(refusal.to_string())),
        Err(Reached::Perhaps(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Attempt::Again(Error::Unavailable(format!("the leader can't be reached: {error}")))
        }
        Err(Reached::Perhaps(error)) => Attempt::Ended(open(&format!("the leader did not answer: {error}"))),
    }
}
