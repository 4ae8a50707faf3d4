//! Asking other members: for openraft, and for this store's own questions.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2, Snapshot};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Answer, Ask, Envelope, Lane, Network, Refusal};
use crate::codec::Encode;
use crate::machine::{Replica, SnapshotData};
use crate::types::{Member, NodeId, SnapshotMeta, Types, Vote};

/// An append with entries waits for the other's disk.
const APPEND_PATIENCE: Duration = Duration::from_secs(3);
/// A part of a snapshot, and its reading at the end.
const PART_PATIENCE: Duration = Duration::from_secs(10);
const INSTALL_PATIENCE: Duration = Duration::from_secs(300);
const PART_BYTES: usize = 1 << 20;

/// How a question ended that got no answer.
#[derive(Debug)]
pub(crate) enum Reached {
    /// It may have arrived.
    Perhaps(io::Error),
    /// It arrived, and is refused.
    Refused(Refusal),
}

/// The other members, for one of them.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) network: Arc<dyn Network>,
    pub(crate) cluster: u128,
    pub(crate) me: NodeId,
    /// Told when others say that this member was removed.
    pub(crate) removed: watch::Sender<bool>,
    /// Another said that it is of another cluster: told once.
    pub(crate) stranger: Arc<AtomicBool>,
    /// Where members are, by the log: openraft keeps a connection to where one was.
    pub(crate) replica: Arc<Replica>,
    /// Where members said that they have moved to, until the log says so.
    pub(crate) moved: Arc<Mutex<BTreeMap<NodeId, String>>>,
}

impl Peers {
    /// Asks a member, for at most so long.
    pub(crate) async fn ask(
        &self,
        (to, address): (NodeId, &str),
        lane: Lane,
        patience: Duration,
        ask: Ask,
    ) -> Result<Answer, Reached> {
        let question = Envelope { cluster: self.cluster, from: self.me, to, ask }.to_bytes();
        let asked = tokio::time::timeout(patience, self.network.ask(address, lane, question)).await;
        let bytes = match asked {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(Reached::Perhaps(error)),
            Err(_) => return Err(Reached::Perhaps(io::ErrorKind::TimedOut.into())),
        };
        match Answer::from_bytes(bytes) {
            Ok(Answer::Refused(refusal)) => {
                if refusal == Refusal::Removed(self.me) {
                    self.removed.send_replace(true);
                }
                if let Refusal::Cluster { .. } = refusal
                    && !self.stranger.swap(true, Ordering::Relaxed)
                {
                    tracing::error!(%address, %refusal, "this member's data directory belongs to another cluster");
                }
                Err(Reached::Refused(refusal))
            }
            Ok(answer) => Ok(answer),
            Err(broken) => Err(Reached::Perhaps(io::Error::other(broken))),
        }
    }
}

/// One other member.
pub(crate) struct Peer {
    peers: Peers,
    node: NodeId,
    member: Member,
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, node: NodeId, member: &Member) -> Peer {
        Peer { peers: self.clone(), node, member: member.clone() }
    }
}

impl Peer {
    async fn ask(&self, lane: Lane, patience: Duration, ask: Ask) -> Result<Answer, Reached> {
        let moved = self.peers.moved.lock().get(&self.node).cloned();
        let known = || self.peers.replica.members().get_node(&self.node).map(|member| member.address.clone());
        let address = moved.or_else(known).unwrap_or_else(|| self.member.address.clone());
        self.peers.ask((self.node, &address), lane, patience, ask).await
    }

    fn failed(&self, action: RPCTypes, patience: Duration, reached: Reached) -> RPCError<Types> {
        match reached {
            Reached::Perhaps(error) if error.kind() == io::ErrorKind::TimedOut => {
                RPCError::Timeout(Timeout { action, id: self.peers.me, target: self.node, timeout: patience })
            }
            Reached::Perhaps(error) => RPCError::Unreachable(Unreachable::new(&error)),
            Reached::Refused(refusal) => RPCError::Unreachable(Unreachable::new(&refusal)),
        }
    }

    async fn call<T>(
        &self,
        action: RPCTypes,
        patience: Duration,
        ask: Ask,
        take: impl FnOnce(Answer) -> Option<T>,
    ) -> Result<T, RPCError<Types>> {
        let answer =
            self.ask(Lane::Log, patience, ask).await.map_err(|reached| self.failed(action, patience, reached))?;
        take(answer)
            .ok_or_else(|| RPCError::Network(NetworkError::new(&io::Error::other("an answer to another question"))))
    }

    async fn send_snapshot(&self, vote: Vote, meta: SnapshotMeta, data: SnapshotData) -> Result<Vote, Reached> {
        let SnapshotData::File { file, bytes } = data else {
            return Err(Reached::Perhaps(io::Error::other("only files are sent")));
        };
        self.ask(Lane::Snapshot, PART_PATIENCE, Ask::SnapshotBegin { meta, bytes }).await?;
        let mut offset = 0;
        let mut buffer = vec![0; PART_BYTES];
        while offset < bytes {
            // The page cache has most of it: this is quicker than a thread for each part.
            let read = file.read_at(offset, &mut buffer).map_err(Reached::Perhaps)?;
            if read == 0 {
                return Err(Reached::Perhaps(io::ErrorKind::UnexpectedEof.into()));
            }
            let data = Bytes::copy_from_slice(&buffer[..read]);
            self.ask(Lane::Snapshot, PART_PATIENCE, Ask::SnapshotPart { offset, data }).await?;
            offset += read as u64;
        }
        match self.ask(Lane::Snapshot, INSTALL_PATIENCE, Ask::SnapshotEnd { vote }).await? {
            Answer::Snapshot(vote) => Ok(vote),
            _ => Err(Reached::Perhaps(io::Error::other("an answer to another question"))),
        }
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let patience = if rpc.entries.is_empty() { option.soft_ttl() } else { APPEND_PATIENCE };
        self.call(RPCTypes::AppendEntries, patience, Ask::Append(rpc), |answer| match answer {
            Answer::Append(response) => Some(response),
            _ => None,
        })
        .await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(RPCTypes::Vote, option.soft_ttl(), Ask::Vote(rpc), |answer| match answer {
            Answer::Vote(response) => Some(response),
            _ => None,
        })
        .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(RPCTypes::Vote, option.soft_ttl(), Ask::PreVote(rpc), |answer| match answer {
            Answer::Vote(response) => Some(response),
            _ => None,
        })
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<crate::types::LeaderId, NodeId, Member, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot.meta, snapshot.snapshot) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(Reached::Perhaps(error)) => Err(StreamingError::Unreachable(Unreachable::new(&error))),
                Err(Reached::Refused(refusal)) => Err(StreamingError::Unreachable(Unreachable::new(&refusal))),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.call(RPCTypes::TransferLeader, option.soft_ttl(), Ask::Transfer(request), |answer| match answer {
            Answer::Transfer(response) => Some(response),
            _ => None,
        })
        .await
    }
}
