//! What a member does by itself: lets go of history, writes snapshots, deletes what has expired (as the leader), becomes a
//! voter when it has caught up, ends changes of members that another leader began, hands leadership over when its disk takes
//! nothing, and notices when it is broken.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::Instant;

use crate::command::{Answer, Operation};
use crate::members;
use crate::network::Ask;
use crate::node::{Leader, Node};

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(200);
/// Keys deleted at once.
const EXPIRED_MOST: usize = 1_024;
/// A leader whose disk takes nothing for so long lets another lead.
const TROUBLE: Duration = Duration::from_secs(1);
/// A change of members takes two entries; whoever began it is gone if the second does not come for so long.
const HALF_DONE: Duration = Duration::from_secs(3);
/// After a snapshot that could not be written.
const PAUSE: Duration = Duration::from_secs(5);

/// See the module; until the member ends.
pub(crate) async fn run(node: Arc<Node>) {
    let mut not_before = Instant::now();
    let (mut trouble_since, mut half_done_since) = (None, None);
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = node.proposals.look() => {}
        }
        expire(&node).await;
        node.replica.trim();
        if Instant::now() >= not_before && !snapshot(&node).await {
            not_before = Instant::now() + PAUSE;
        }
        let half_done = node.leader() == Leader::Me && members::half_done(&node);
        half_done_since = half_done.then(|| half_done_since.unwrap_or_else(Instant::now));
        if half_done_since.is_some_and(|since: Instant| since.elapsed() > HALF_DONE)
            && let Err(error) = members::finish(&node).await
        {
            tracing::warn!(%error, "a change of members that another leader began can't be ended");
        }
        trouble_since = node.log.trouble().map(|_| trouble_since.unwrap_or_else(Instant::now));
        if trouble_since.is_some_and(|since: Instant| since.elapsed() > TROUBLE) && node.leader() == Leader::Me {
            tracing::warn!("this member's disk takes nothing: another is to lead");
            drop(tokio::time::timeout(TROUBLE, members::yield_leadership(&node)).await);
        }
    }
}

/// Writes a snapshot if that frees enough; `false` if it can't be written now.
async fn snapshot(node: &Node) -> bool {
    let Some((mark, live)) = node.replica.snapshot_worth() else { return true };
    let gain = node.options.storage.checkpoint_gain_bytes;
    if node.log.reclaimable_bytes(mark.log_id.index) < 2 * live + gain {
        return true;
    }
    if let Err(error) = node.replica.write_snapshot(Some(mark)).await {
        tracing::warn!(%error, "no snapshot was written; the log stays as it is");
        return false;
    }
    // Its log goes up to there; if openraft has ended, so has this.
    drop(node.raft.trigger().snapshot().await);
    true
}

/// Deletes what has expired: by the leader's clock, and as an ordinary delete.
async fn expire(node: &Node) {
    let now = node.options.storage.clock.unix_seconds();
    let expired = node.replica.take_expired(now, EXPIRED_MOST);
    if expired.is_empty() {
        return;
    }
    if node.leader() != Leader::Me {
        return node.replica.put_back(expired);
    }
    let mut waiting = Vec::new();
    for (time, (key, mod_revision)) in expired {
        let answer = node.proposals.push(Operation::Delete { key: key.clone(), mod_revision });
        waiting.push(((time, (key, mod_revision)), answer));
    }
    let mut failed = Vec::new();
    for (expiry, answer) in waiting {
        let done = match answer {
            Ok(answer) => answer.await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        if !matches!(done, Some(Answer::Write(_))) {
            failed.push(expiry);
        }
    }
    node.replica.put_back(failed);
}

/// Sees to it that the others have this member's address and, a learner, that it becomes a voter.
pub(crate) async fn introduce(node: Arc<Node>) {
    let advertise = &node.options.advertise;
    loop {
        let membership = node.replica.configuration().membership.clone();
        // Not a member yet, as far as this one's log goes: it is being brought up to date.
        if let Some(known) = membership.get_node(&node.me) {
            let ask = if known.address != *advertise {
                Ask::Move { node: node.me, address: advertise.clone() }
            } else if !members::votes(&membership, node.me) {
                Ask::Promote(node.me)
            } else {
                return;
            };
            if let Err(error) = members::of_anybody(&node, ask).await {
                tracing::debug!(%error, "not introduced yet");
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Says why this member is broken, when it is.
pub(crate) async fn watch(node: Arc<Node>) {
    let (mut metrics, mut removed) = (node.raft.server_metrics(), node.peers.removed.subscribe());
    loop {
        if *removed.borrow() || node.replica.configuration().facts.removed.contains(&node.me) {
            let why = "was removed from the cluster; to join again, empty its data directory";
            return node.fail(format!("member {} {why}", node.me));
        }
        if let Err(fatal) = &node.raft.metrics().borrow_watched().running_state {
            return node.fail(format!("the replicated store has ended: {fatal}"));
        }
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() {
                let fatal = node.raft.metrics().borrow_watched().running_state.clone();
                let why = fatal.err().map_or_else(|| "it was stopped".to_owned(), |fatal| fatal.to_string());
                return node.fail(format!("the replicated store has ended: {why}"));
            },
            _ = removed.changed() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
