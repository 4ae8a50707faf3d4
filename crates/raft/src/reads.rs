//! ReadIndex: how far a member has to have applied the log before it may answer a read.
//!
//! The leader says how far, after a majority has confirmed that it leads; no clock and no lease is trusted. All reads that came
//! before a question was sent share its answer; those that come meanwhile wait for the next.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use parking_lot::Mutex;
use storage::{Error, Result};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::network::{Answer, Ask, Lane};
use crate::node::{Leader, Node};

/// One try.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(20);

/// Reads that wait for a round.
#[derive(Default)]
pub(crate) struct Reads {
    waiting: Mutex<Vec<Waiter>>,
    changed: Notify,
}

struct Waiter {
    until: Instant,
    reply: oneshot::Sender<Result<u64>>,
}

/// The index, from a round that begins after this call; in bounded time.
async fn index(node: &Node) -> Result<u64> {
    let (reply, answer) = oneshot::channel();
    let until = Instant::now() + node.options.times.patience;
    node.reads.waiting.lock().push(Waiter { until, reply });
    node.reads.changed.notify_one();
    match tokio::time::timeout_at(until + ATTEMPT, answer).await {
        Ok(Ok(index)) => index,
        Ok(Err(_)) => Err(Error::Closed),
        Err(_) => Err(unconfirmed("in time")),
    }
}

/// Waits until this member may answer a read that is asked for now.
pub(crate) async fn confirm(node: &Node) -> Result<()> {
    let until = Instant::now() + node.options.times.patience;
    let index = index(node).await?;
    match tokio::time::timeout_at(until.max(Instant::now() + RETRY), node.applied(index)).await {
        Ok(applied) => applied,
        Err(_) => Err(Error::Unavailable("this member is behind the cluster".to_owned())),
    }
}

/// The leader's answer to another member's question; `None` if this one does not lead.
pub(crate) async fn answer(node: &Node) -> Option<Result<u64>> {
    if node.leader() != Leader::Me {
        return None;
    }
    Some(index(node).await)
}

fn unconfirmed(why: &str) -> Error {
    Error::Unavailable(format!("no majority of the cluster confirms what is current: {why}"))
}

/// Asks for everybody who waits, round after round.
pub(crate) async fn run(node: Arc<Node>) {
    loop {
        let changed = node.reads.changed.notified();
        let waiting = std::mem::take(&mut *node.reads.waiting.lock());
        if waiting.is_empty() {
            changed.await;
            continue;
        }
        match round(&node).await {
            Ok(index) => waiting.into_iter().for_each(|waiter| drop(waiter.reply.send(Ok(index)))),
            Err(error) => {
                let now = Instant::now();
                for waiter in waiting {
                    if waiter.until <= now {
                        drop(waiter.reply.send(Err(error.clone())));
                    } else if !waiter.reply.is_closed() {
                        node.reads.waiting.lock().push(waiter);
                    }
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn round(node: &Node) -> Result<u64> {
    let leader = node.leader();
    match &leader {
        Leader::Nobody => Err(unconfirmed("there is no leader")),
        Leader::Me => match tokio::time::timeout(ATTEMPT, node.raft.get_read_linearizer(ReadPolicy::ReadIndex)).await {
            Ok(Ok(linearizer)) => Ok(linearizer.read_log_id().index()),
            Ok(Err(error)) => Err(unconfirmed(&error.to_string())),
            Err(_) => Err(unconfirmed("no answer")),
        },
        Leader::Other(id, address) => {
            let asked = tokio::select! {
                asked = node.peers.ask((*id, address), Lane::Log, ATTEMPT, Ask::ReadIndex) => asked,
                () = node.leader_changes(&leader) => return Err(unconfirmed("the leader changed")),
            };
            match asked {
                Ok(Answer::ReadIndex(index)) => Ok(index),
                Ok(_) => Err(unconfirmed("an answer to another question")),
                Err(reached) => Err(unconfirmed(&format!("{reached:?}"))),
            }
        }
    }
}
