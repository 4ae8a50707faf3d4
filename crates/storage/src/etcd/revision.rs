//! The current revision for all who ask: a consistent read from a cache needs one, and hundreds of them come at a time.
//!
//! An answer may only serve those who asked before its request was sent, so there is one request under way and a queue:
//! whoever asks meanwhile gets the next one's answer.

use std::sync::Arc;

use proto::etcd::etcdserverpb as pb;
use tokio::sync::{mpsc, oneshot};

use super::transport::{self, Retry, Transport};
use crate::{Error, Result, Revision};

/// Askers that wait; callers beyond them wait to ask.
const QUEUE: usize = 1_024;

pub(super) struct SharedRevision(mpsc::Sender<oneshot::Sender<Result<Revision>>>);

impl SharedRevision {
    /// Starts the task that asks; it ends when this is dropped.
    pub(super) fn start(transport: Arc<Transport>) -> Self {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<Result<Revision>>>(QUEUE);
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            while asked.recv_many(&mut waiting, QUEUE).await > 0 {
                let answer = read(&transport).await;
                waiting.drain(..).for_each(|w| drop(w.send(answer.clone())));
            }
        });
        Self(ask)
    }

    pub(super) async fn get(&self) -> Result<Revision> {
        let (reply, answer) = oneshot::channel();
        self.0.send(reply).await.map_err(|_| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

async fn read(transport: &Transport) -> Result<Revision> {
    // Linearizable as any range is; of a key that can't be there, so that nothing is read.
    let request = pb::RangeRequest { key: vec![0], count_only: true, ..Default::default() };
    let answer =
        transport.call(Retry::Always, request, async |channel, r| transport::kv(channel).range(r).await).await?;
    Ok(transport.seen(answer.header.as_ref()))
}
