//! Who the members are, and changing it: one change at a time, as openraft asks for, and by the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant as _};
use storage::{Error, Result};
use tokio::time::Instant;

use crate::command::{Answer, Operation};
use crate::network::{self, Ask, Lane, Place, Reached, Refusal};
use crate::node::{Leader, Node};
use crate::types::{Member, NodeId, StoredMembership};

/// A learner that lacks no more entries than these has caught up.
const CAUGHT_UP: u64 = 64;
/// How long a change of members may take.
const PATIENCE: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_millis(50);

/// A member as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its number.
    pub id: NodeId,
    /// Where it is.
    pub address: String,
    /// Whether it counts for a majority. If not, it is a learner that catches up.
    pub voter: bool,
    /// How many entries of the leader's log it lacks; `None` if that is not known now.
    pub lag: Option<u64>,
    /// How long it has not been heard of by the leader; `None` if that is not known now.
    pub silent: Option<Duration>,
}

/// The cluster as this member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The cluster's name: random, made when it began.
    pub cluster: String,
    /// This member.
    pub id: NodeId,
    /// Who leads; `None` while nobody does, or none that this member can reach.
    pub leader: Option<NodeId>,
    /// How often there was an election.
    pub term: u64,
    /// The last entry that this member has applied.
    pub applied: u64,
    /// All members.
    pub members: Vec<MemberStatus>,
    /// Why this member's disk takes nothing now.
    pub trouble: Option<String>,
}

/// Whether a member counts for a majority. While voters are changed a majority of those before and of those after is needed: who
/// is only among the one or the other is not yet, or not any more, what it is to be.
pub(crate) fn votes(membership: &StoredMembership, id: NodeId) -> bool {
    let configs = membership.get_joint_config();
    !configs.is_empty() && configs.iter().all(|voters| voters.contains(&id))
}

fn unavailable(why: impl ToString) -> Error {
    Error::Unavailable(why.to_string())
}

/// Does something that only the leader does, wherever that is.
pub(crate) async fn of_leader(node: &Node, ask: Ask) -> Result<network::Answer> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let why = match node.leader() {
            Leader::Nobody => "the store's cluster has no leader".to_owned(),
            Leader::Me => return as_leader(node, &ask).await,
            Leader::Other(id, address) => {
                match node.peers.ask((id, &address), Lane::Log, PATIENCE, ask.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(Reached::Refused(refusal @ Refusal::NotLeader { .. })) => refusal.to_string(),
                    Err(Reached::Refused(refusal)) => return Err(unavailable(refusal)),
                    Err(Reached::Perhaps(error)) => error.to_string(),
                }
            }
        };
        if Instant::now() + RETRY > deadline {
            return Err(unavailable(why));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// As `of_leader`, where the leader may not know how to reach this member: the others say who it is.
pub(crate) async fn of_anybody(node: &Node, ask: Ask) -> Result<network::Answer> {
    if node.leader() != Leader::Nobody {
        return of_leader(node, ask).await;
    }
    let members = node.replica.members();
    let others = members.nodes().filter(|(id, _)| **id != node.me);
    let mut candidates: Vec<(NodeId, String)> = others.map(|(id, member)| (*id, member.address.clone())).collect();
    let (mut asked, mut why) = (BTreeSet::new(), "there is no other member".to_owned());
    while let Some((id, address)) = candidates.pop() {
        if !asked.insert((id, address.clone())) {
            continue;
        }
        match node.peers.ask((id, &address), Lane::Log, PATIENCE, ask.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(Reached::Refused(Refusal::NotLeader { leader: Some(leader), address: Some(address) })) => {
                candidates.push((leader, address));
            }
            Err(Reached::Refused(refusal)) => why = refusal.to_string(),
            Err(Reached::Perhaps(error)) => why = error.to_string(),
        }
    }
    Err(unavailable(why))
}

async fn as_leader(node: &Node, ask: &Ask) -> Result<network::Answer> {
    match ask {
        Ask::Join { token, address } => {
            let joined = let_in(node, *token, address.clone()).await?;
            Ok(network::Answer::Joined { cluster: node.cluster, node: joined })
        }
        Ask::Promote(member) => promote(node, *member).await.map(|()| network::Answer::Done),
        Ask::Remove(member) => remove(node, *member).await.map(|()| network::Answer::Done),
        Ask::Lead(member) => hand_over(node, *member).await.map(|()| network::Answer::Done),
        Ask::Move { node: member, address } => {
            relocate(node, *member, address.clone()).await.map(|()| network::Answer::Done)
        }
        Ask::Progress => {
            let (last, members) = places(node);
            Ok(network::Answer::Progress { last, members })
        }
        _ => Err(unavailable("not a question about members")),
    }
}

/// Puts an operation into the log.
async fn propose(node: &Node, operation: Operation) -> Result<Answer> {
    node.proposals.push(operation)?.await.unwrap_or(Err(Error::Closed))
}

/// Changes the members; waits for a change that is under way.
async fn change(node: &Node, changes: ChangeMembers<NodeId, Member>, retain: bool) -> Result<()> {
    let changing = async {
        loop {
            match node.raft.change_membership(changes.clone(), retain).await {
                Ok(_) => return Ok(()),
                Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::InProgress(_),
                ))) => tokio::time::sleep(RETRY).await,
                Err(error) => return Err(unavailable(format!("the members are not changed: {error}"))),
            }
        }
    };
    let late = || Err(unavailable("no majority of the cluster confirmed the change of members in time"));
    tokio::time::timeout(PATIENCE, changing).await.unwrap_or_else(|_| late())
}

/// Gives a new member its number, and begins to bring it up to date, as a learner. Again for who asks again.
pub(crate) async fn let_in(node: &Node, token: u128, address: String) -> Result<NodeId> {
    let Answer::Enrolled(id) = propose(node, Operation::Enrol { token }).await? else {
        return Err(unavailable("an answer to another question"));
    };
    let known = node.raft.server_metrics().borrow_watched().membership_config.get_node(&id).cloned();
    let member = Member { address };
    let nodes = BTreeMap::from([(id, member.clone())]);
    match known {
        Some(known) if known == member => {}
        Some(_) => change(node, ChangeMembers::SetNodes(nodes), true).await?,
        None => change(node, ChangeMembers::AddNodes(nodes), true).await?,
    }
    Ok(id)
}

/// A member is reached at another address.
pub(crate) async fn relocate(node: &Node, id: NodeId, address: String) -> Result<()> {
    let known = node.raft.server_metrics().borrow_watched().membership_config.get_node(&id).cloned();
    let member = Member { address };
    match known {
        Some(known) if known == member => Ok(()),
        Some(_) => {
            // Its agreement may be needed for that.
            node.peers.moved.lock().insert(id, member.address.clone());
            let changed = change(node, ChangeMembers::SetNodes(BTreeMap::from([(id, member)])), true).await;
            node.peers.moved.lock().remove(&id);
            changed
        }
        None => Err(unavailable(format!("there is no member {id}"))),
    }
}

/// Makes a learner that has caught up a voter.
pub(crate) async fn promote(node: &Node, id: NodeId) -> Result<()> {
    let membership = node.raft.server_metrics().borrow_watched().membership_config.clone();
    if membership.get_node(&id).is_none() {
        return Err(unavailable(format!("there is no member {id}")));
    }
    if votes(&membership, id) {
        return Ok(());
    }
    let (last, places) = places(node);
    let matched = places.iter().find(|place| place.node == id).and_then(|place| place.matched);
    match matched.map(|matched| last.saturating_sub(matched)) {
        Some(lag) if lag <= CAUGHT_UP => {}
        Some(lag) => return Err(unavailable(format!("member {id} has not caught up yet: it lacks {lag} entries"))),
        None => return Err(unavailable(format!("member {id} has not been heard of yet"))),
    }
    change(node, ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await
}

/// Whether a change of voters is half done: the leader that did it may be gone.
pub(crate) fn half_done(node: &Node) -> bool {
    node.raft.server_metrics().borrow_watched().membership_config.get_joint_config().len() > 1
}

/// Ends a change of voters that is half done.
pub(crate) async fn finish(node: &Node) -> Result<()> {
    change(node, ChangeMembers::AddVoterIds(BTreeSet::new()), true).await
}

/// Removes a member for good.
pub(crate) async fn remove(node: &Node, id: NodeId) -> Result<()> {
    let membership = node.raft.server_metrics().borrow_watched().membership_config.clone();
    if membership.get_node(&id).is_some() {
        let voters: BTreeSet<_> = membership.voter_ids().collect();
        let ids = BTreeSet::from([id]);
        if !voters.contains(&id) {
            change(node, ChangeMembers::RemoveNodes(ids), false).await?;
        } else if voters.len() == 1 {
            return Err(unavailable("the last voter can't be removed"));
        } else {
            change(node, ChangeMembers::RemoveVoters(ids), false).await?;
        }
    } else if id >= node.replica.configuration().facts.next {
        return Err(unavailable(format!("there is no member {id}")));
    }
    propose(node, Operation::Forget { node: id }).await.map(drop)
}

/// Has another member lead.
pub(crate) async fn hand_over(node: &Node, to: NodeId) -> Result<()> {
    if to == node.me {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    while node.leader() == Leader::Me {
        node.raft.trigger().transfer_leader(to).await.map_err(unavailable)?;
        // Refused while the other has not caught up: asked again.
        let changes = node.leader_changes(&Leader::Me);
        drop(tokio::time::timeout(Duration::from_secs(1), changes).await);
        if Instant::now() > deadline {
            return Err(unavailable(format!("member {to} does not take over")));
        }
    }
    Ok(())
}

/// If this member leads, has the one lead that is the nearest to it.
pub(crate) async fn yield_leadership(node: &Node) {
    if node.leader() != Leader::Me {
        return;
    }
    let (_, places) = places(node);
    let voters: Vec<_> = node.raft.server_metrics().borrow_watched().membership_config.voter_ids().collect();
    let others = places.iter().filter(|place| place.node != node.me && voters.contains(&place.node));
    let heard = others.filter(|place| place.silent_ms.is_some_and(|silent| silent < 1_000));
    if let Some(best) = heard.max_by_key(|place| place.matched) {
        drop(node.raft.trigger().transfer_leader(best.node).await);
        node.leader_changes(&Leader::Me).await;
    }
}

/// How far the members are, by the leader.
pub(crate) fn places(node: &Node) -> (u64, Vec<Place>) {
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let last = metrics.last_log_index.unwrap_or(0);
    let replication = metrics.replication.clone().unwrap_or_default();
    let heartbeat = metrics.heartbeat.clone().unwrap_or_default();
    let members = metrics.membership_config.nodes().map(|(id, _)| {
        let own = *id == node.me;
        let matched = if own { Some(last) } else { replication.get(id).copied().flatten().map(|at| at.index) };
        let heard = heartbeat.get(id).cloned().flatten();
        let silent = heard.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
        Place { node: *id, matched, silent_ms: if own { Some(0) } else { silent } }
    });
    (last, members.collect())
}

/// The cluster as a member sees it; what only the leader knows is asked of it.
pub(crate) async fn status(node: &Node) -> Status {
    let progress = match node.leader() {
        Leader::Me => Some(places(node)),
        Leader::Other(id, address) => {
            match node.peers.ask((id, &address), Lane::Log, Duration::from_secs(1), Ask::Progress).await {
                Ok(network::Answer::Progress { last, members }) => Some((last, members)),
                _ => None,
            }
        }
        Leader::Nobody => None,
    };
    let metrics = node.raft.metrics().borrow_watched().clone();
    let members = metrics.membership_config.nodes().map(|(id, member)| {
        let place = progress
            .as_ref()
            .and_then(|(last, places)| places.iter().find(|place| place.node == *id).map(|place| (*last, *place)));
        MemberStatus {
            id: *id,
            address: member.address.clone(),
            voter: votes(&metrics.membership_config, *id),
            lag: place.and_then(|(last, place)| place.matched.map(|matched| last.saturating_sub(matched))),
            silent: place.and_then(|(_, place)| place.silent_ms).map(Duration::from_millis),
        }
    });
    Status {
        cluster: format!("{:032x}", node.cluster),
        id: node.me,
        leader: metrics.current_leader,
        term: metrics.current_term,
        applied: node.replica.last().map_or(0, |last| last.index),
        members: members.collect(),
        trouble: node.log.trouble().map(|trouble| trouble.to_string()),
    }
}
