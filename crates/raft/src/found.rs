//! How a member begins: as the first of a new cluster (with what the embedded engine kept in its directory, if anything), as
//! one that joins, or as the only one left of a cluster that has lost the others.
//!
//! A store that begins has an entry behind it that no log holds: the first snapshot stands for it, so that a member that joins
//! gets the keys that there were, and not an empty log from its beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::Vote as VoteOf;
use storage::disk::Disk;
use storage::engine::{self, State, disk_error};
use storage::{EmbeddedOptions, Error, Revision};

use crate::codec::Encode;
use crate::identity::{Identity, unique};
use crate::log::{Beginning, Log};
use crate::machine::{self, Facts, Head, Replica};
use crate::network::{Answer, Ask, Envelope, Lane, Network, Refusal};
use crate::types::{LogId, Member, Membership, NodeId, SnapshotMeta, StoredMembership, log_id};

/// Between two rounds of asking to be let in.
const JOIN_PAUSE: Duration = Duration::from_millis(300);
const JOIN_PATIENCE: Duration = Duration::from_secs(5);

/// The first snapshot of a cluster whose only voter is `node`.
fn first(node: NodeId, address: &str, last: LogId, facts: Facts) -> storage::Result<Head> {
    let member = Member { address: address.to_owned() };
    let membership = Membership::new(vec![BTreeSet::from([node])], BTreeMap::from([(node, member)]))
        .map_err(|e| Error::Corrupt(format!("members: {e}")))?;
    let meta = SnapshotMeta { last_log_id: Some(last), last_membership: StoredMembership::new(Some(last), membership) };
    Ok(Head { meta, facts })
}

/// Makes the member on this disk the first of a new cluster, in place: what the embedded engine kept there becomes the
/// cluster's. Its own files go only when the new ones are durable.
pub fn found(disk: &Arc<dyn Disk>, options: &EmbeddedOptions, address: &str) -> storage::Result<Identity> {
    let state = engine::adopt(disk, options)?.unwrap_or_else(|| State::new(options.history_limits()));
    let mut facts = Facts::default();
    let node = facts.enrol(unique());
    let last = log_id(1, node, 0);
    machine::found(&**disk, state, &first(node, address, last, facts)?)?;
    let vote = VoteOf { leader_id: last.leader_id, committed: true };
    Log::create(disk, Beginning { vote: Some(vote), purged: Some(last) })?;
    // From here on the directory is the replicated store's.
    let identity = Identity::Member { cluster: unique(), node };
    identity.save(disk)?;
    Ok(identity)
}

/// Removes what the embedded engine kept in a directory that the replicated store has taken over.
pub fn tidy(disk: &Arc<dyn Disk>) -> storage::Result<()> {
    engine::remove(&**disk).map_err(|e| disk_error("removing the embedded store's files", &e))
}

/// Asks the members at these addresses to be let in, until one does.
pub async fn join(
    disk: &Arc<dyn Disk>,
    network: &Arc<dyn Network>,
    options: &EmbeddedOptions,
    addresses: &[String],
    own: &str,
) -> storage::Result<Identity> {
    if engine::adopt(disk, options).is_ok_and(|state| state.is_some()) {
        let what = "the data directory holds a store of its own; a member that joins begins with an empty one";
        return Err(Error::Corrupt(what.to_owned()));
    }
    let token = match Identity::load(&**disk)? {
        Some(Identity::Joining { token }) => token,
        _ => {
            let token = unique();
            Identity::Joining { token }.save(disk)?;
            token
        }
    };
    let mut told = false;
    loop {
        let mut candidates: Vec<String> = addresses.to_vec();
        let mut why = String::new();
        while let Some(address) = candidates.pop() {
            let ask = Ask::Join { token, address: own.to_owned() };
            let question = Envelope { cluster: 0, from: 0, to: 0, ask }.to_bytes();
            let asked = tokio::time::timeout(JOIN_PATIENCE, network.ask(&address, Lane::Log, question)).await;
            let answer = match asked {
                Ok(Ok(bytes)) => Answer::from_bytes(bytes),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            };
            match answer {
                Ok(Answer::Joined { cluster, node }) => {
                    Log::create(disk, Beginning::default())?;
                    let identity = Identity::Member { cluster, node };
                    identity.save(disk)?;
                    return Ok(identity);
                }
                Ok(Answer::Refused(Refusal::NotLeader { address: Some(leader), .. }))
                    if !candidates.contains(&leader) && leader != address =>
                {
                    candidates.push(leader);
                }
                Ok(other) => why = format!("{address}: {other:?}"),
                Err(error) => why = format!("{address}: {error}"),
            }
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%why, "no member lets this one in yet; trying until one does");
        }
        tokio::time::sleep(JOIN_PAUSE).await;
    }
}

/// What became of a cluster that had lost too many members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Members that are struck off. They can't come back with what they have.
    pub removed: Vec<(NodeId, String)>,
    /// The newest revision that there is now.
    pub revision: Revision,
    /// Entries at the end of the log that this member had not been told are committed. They are kept: if they were not, their
    /// callers were told that it is open what became of them.
    pub unconfirmed: u64,
}

/// Makes the member on this disk the only one of a new cluster, with all that it has. What other members acknowledged and did
/// not pass on to this one is lost: nobody can know what it was. Not while the member runs.
pub fn recover(disk: &Arc<dyn Disk>, options: &EmbeddedOptions, address: &str) -> storage::Result<Recovered> {
    let Some(Identity::Member { node, .. }) = Identity::load(&**disk)? else {
        return Err(Error::Corrupt("the data directory holds no member of a cluster".to_owned()));
    };
    // First of all no member of the old cluster takes this one for one of its own any more. A crash from here on leaves a member
    // without a quorum, which can be recovered again.
    Identity::Member { cluster: unique(), node }.save(disk)?;
    let replica = Replica::open(disk.clone(), options.history_limits())?;
    let log = Log::open(disk.clone(), u64::MAX)?;
    let (committed, vote) = (log.committed(), log.vote());
    let from = replica.last().map_or(0, |last| last.index + 1);
    let entries = log.entries(from, u64::MAX, usize::MAX).map_err(|e| disk_error("reading the log", &e))?;
    log.close();
    for entry in entries {
        replica.apply(entry).map_err(Error::Corrupt)?;
    }
    let before = replica.last().unwrap_or_else(|| log_id(0, node, 0));
    let term = before.leader_id.term.max(vote.map_or(0, |vote| vote.leader_id.term)) + 1;
    let last = log_id(term, node, before.index + 1);
    let configuration = replica.configuration();
    let mut facts = configuration.facts.clone();
    let others = configuration.membership.nodes().filter(|(id, _)| **id != node);
    let removed: Vec<_> = others.map(|(id, member)| (*id, member.address.clone())).collect();
    removed.iter().for_each(|(id, _)| facts.forget(*id));
    let revision = replica.revision();
    let state = std::mem::replace(&mut *replica.view.state.write(), State::new(options.history_limits()));
    machine::found(&**disk, state, &first(node, address, last, facts)?)?;
    let vote = VoteOf { leader_id: last.leader_id, committed: true };
    Log::create(disk, Beginning { vote: Some(vote), purged: Some(last) })?;
    let known = committed.map_or(0, |committed| committed.index);
    Ok(Recovered { removed, revision, unconfirmed: before.index.saturating_sub(known) })
}
