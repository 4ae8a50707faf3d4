//! Answers to other members.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use openraft::Snapshot;
use openraft::error::RaftError;
use storage::disk::DiskFile;
use tokio::sync::Mutex;

use crate::codec::Encode;
use crate::machine::SnapshotData;
use crate::network::{Answer, Answers, Ask, Envelope, Refusal};
use crate::node::{Leader, Node};
use crate::types::{NodeId, SnapshotMeta, Vote};
use crate::{members, reads};

/// What was received is synced after so much.
const SYNC_BYTES: u64 = 4 << 20;

/// See the module.
pub(crate) struct Server {
    node: Arc<Node>,
    /// The snapshot that is being received: one at a time.
    incoming: Mutex<Option<Incoming>>,
}

struct Incoming {
    from: NodeId,
    meta: SnapshotMeta,
    file: Box<dyn DiskFile>,
    bytes: u64,
    at: u64,
    synced: u64,
}

#[async_trait]
impl Answers for Server {
    async fn answer(&self, question: Bytes) -> Option<Bytes> {
        let envelope = match Envelope::from_bytes(question) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::warn!(%error, "a message of another member can't be read");
                return None;
            }
        };
        let answer = match self.refusal(&envelope) {
            Some(refusal) => Answer::Refused(refusal),
            None => self.respond(envelope.from, envelope.ask).await.unwrap_or_else(Answer::Refused),
        };
        Some(answer.to_bytes())
    }
}

impl Server {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, incoming: Mutex::default() }
    }

    /// Why a message is not for this member, or not from one that may ask.
    fn refusal(&self, envelope: &Envelope) -> Option<Refusal> {
        if let (Ask::Join { .. }, 0) = (&envelope.ask, envelope.cluster) {
            return None;
        }
        if envelope.cluster != self.node.cluster {
            return Some(Refusal::Cluster { ours: self.node.cluster, theirs: envelope.cluster });
        }
        if self.node.replica.configuration().facts.removed.contains(&envelope.from) {
            return Some(Refusal::Removed(envelope.from));
        }
        (envelope.to != self.node.me && envelope.to != 0).then_some(Refusal::Member(self.node.me))
    }

    async fn respond(&self, from: NodeId, ask: Ask) -> Result<Answer, Refusal> {
        let node = &self.node;
        match ask {
            Ask::Append(request) => node.raft.append_entries(request).await.map(Answer::Append).map_err(ended),
            Ask::Vote(request) => node.raft.vote(request).await.map(Answer::Vote).map_err(ended),
            Ask::PreVote(request) => node.raft.pre_vote(request).await.map(Answer::Vote).map_err(ended),
            Ask::Transfer(request) => {
                let done = node.raft.handle_transfer_leader(request).await;
                done.map(Answer::Transfer).map_err(|e| Refusal::Not(e.to_string()))
            }
            Ask::SnapshotBegin { meta, bytes } => self.begin(from, meta, bytes).await,
            Ask::SnapshotPart { offset, data } => self.part(from, offset, data).await,
            Ask::SnapshotEnd { vote } => self.end(from, vote).await,
            Ask::Propose(operations) => {
                self.leads()?;
                let waiting: Vec<_> = operations.into_iter().map(|operation| node.proposals.push(operation)).collect();
                let answers = waiting.into_iter().map(|waiting| async move {
                    match waiting {
                        Ok(answer) => answer.await.unwrap_or(Err(storage::Error::Closed)),
                        Err(error) => Err(error),
                    }
                });
                Ok(Answer::Proposed(join_all(answers).await))
            }
            Ask::ReadIndex => match reads::answer(node).await {
                None => Err(self.not_leader()),
                Some(Ok(index)) => Ok(Answer::ReadIndex(index)),
                Some(Err(error)) => Err(Refusal::Not(error.to_string())),
            },
            Ask::Join { token, address } => {
                self.leads()?;
                let joined = members::let_in(node, token, address).await.map_err(|e| Refusal::Not(e.to_string()))?;
                Ok(Answer::Joined { cluster: node.cluster, node: joined })
            }
            Ask::Promote(member) => {
                self.leads()?;
                members::promote(node, member).await.map_err(|e| Refusal::Not(e.to_string()))?;
                Ok(Answer::Done)
            }
            Ask::Remove(member) => {
                self.leads()?;
                members::remove(node, member).await.map_err(|e| Refusal::Not(e.to_string()))?;
                Ok(Answer::Done)
            }
            Ask::Lead(member) => {
                self.leads()?;
                members::hand_over(node, member).await.map_err(|e| Refusal::Not(e.to_string()))?;
                Ok(Answer::Done)
            }
            Ask::Move { node: member, address } => {
                self.leads()?;
                members::relocate(node, member, address).await.map_err(|e| Refusal::Not(e.to_string()))?;
                Ok(Answer::Done)
            }
            Ask::Progress => {
                self.leads()?;
                let (last, members) = members::places(node);
                Ok(Answer::Progress { last, members })
            }
        }
    }

    fn leads(&self) -> Result<(), Refusal> {
        if self.node.leader() == Leader::Me { Ok(()) } else { Err(self.not_leader()) }
    }

    fn not_leader(&self) -> Refusal {
        match self.node.leader() {
            Leader::Other(leader, address) => Refusal::NotLeader { leader: Some(leader), address: Some(address) },
            Leader::Me | Leader::Nobody => Refusal::NotLeader { leader: None, address: None },
        }
    }

    async fn begin(&self, from: NodeId, meta: SnapshotMeta, bytes: u64) -> Result<Answer, Refusal> {
        let mut incoming = self.incoming.lock().await;
        *incoming = None;
        let index = meta.last_log_id.ok_or_else(|| Refusal::Not("a snapshot of nothing".to_owned()))?.index;
        let replica = self.node.replica.clone();
        let file = blocking(move || replica.receive(index)).await?;
        *incoming = Some(Incoming { from, meta, file, bytes, at: 0, synced: 0 });
        Ok(Answer::Done)
    }

    async fn part(&self, from: NodeId, offset: u64, data: Bytes) -> Result<Answer, Refusal> {
        let mut slot = self.incoming.lock().await;
        let mut incoming = slot
            .take()
            .filter(|incoming| incoming.from == from && incoming.at == offset)
            .ok_or_else(|| Refusal::Not("that snapshot is not being received".to_owned()))?;
        let written = blocking(move || {
            incoming.file.write_at(offset, &data)?;
            incoming.at += data.len() as u64;
            if incoming.at - incoming.synced >= SYNC_BYTES {
                incoming.file.sync()?;
                incoming.synced = incoming.at;
            }
            Ok(incoming)
        });
        *slot = Some(written.await?);
        Ok(Answer::Done)
    }

    async fn end(&self, from: NodeId, vote: Vote) -> Result<Answer, Refusal> {
        let incoming = self.incoming.lock().await.take();
        let incoming = incoming
            .filter(|incoming| incoming.from == from && incoming.at == incoming.bytes)
            .ok_or_else(|| Refusal::Not("that snapshot was not received as a whole".to_owned()))?;
        let replica = self.node.replica.clone();
        let index = incoming.meta.last_log_id.map_or(0, |last| last.index);
        // Read before openraft is told of it: what is broken is refused, and nothing has changed.
        let received = blocking(move || replica.received(&*incoming.file, index).map_err(io::Error::other)).await?;
        if received.head.meta != incoming.meta {
            return Err(Refusal::Not("the snapshot is another than was said".to_owned()));
        }
        let snapshot = Snapshot { meta: incoming.meta, snapshot: SnapshotData::Received(received) };
        let response = self.node.raft.install_full_snapshot(vote, snapshot).await;
        response.map(|response| Answer::Snapshot(response.vote)).map_err(|e| Refusal::Unknown(e.to_string()))
    }
}

fn ended<E: std::error::Error>(error: RaftError<crate::types::Types, E>) -> Refusal {
    Refusal::Unknown(error.to_string())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Refusal> {
    let done = component::supervisor::blocking("raft-receive", work).await;
    let done = done.unwrap_or_else(|ended| Err(io::Error::other(ended)));
    done.map_err(|error| Refusal::Not(format!("receiving a snapshot: {error}")))
}
