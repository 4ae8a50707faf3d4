//! How members speak with each other: questions and answers, as bytes, over something that carries them.
//!
//! What carries them is a trait, so that tests can cut, delay and reorder it; in a cluster it is `tls`. What is asked is in
//! `message`; `peers` asks for openraft, and `crate::server` answers.

mod message;
mod peers;
pub mod tls;

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use message::{Answer, Ask, Envelope, Place, Refusal};
pub(crate) use peers::{Peers, Reached};

/// No message is larger: an entry has at most the largest value and a batch beside it.
pub const MESSAGE_LIMIT_BYTES: usize = 64 << 20;

/// What must not wait for what: messages of one lane share a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Everything but snapshots.
    Log,
    /// Snapshots.
    Snapshot,
}

/// What carries questions to other members, and theirs to this one.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Asks the member at an address, and returns its answer. Whoever asks bounds the time. Fails with
    /// `ErrorKind::ConnectionRefused` or another error before anything was sent, if that is known; an error after that leaves open
    /// whether the question arrived.
    async fn ask(&self, address: &str, lane: Lane, question: Bytes) -> io::Result<Bytes>;

    /// From now on, hands the questions of others to `answers`, until [`Network::close`] is called.
    async fn serve(&self, answers: Arc<dyn Answers>) -> io::Result<()>;

    /// Takes no more questions, breaks all connections, and lets go of who answers.
    fn close(&self);
}

/// Who answers questions.
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// The answer; `None` if the question can't be read, and whoever sent it should be left.
    async fn answer(&self, question: Bytes) -> Option<Bytes>;
}
