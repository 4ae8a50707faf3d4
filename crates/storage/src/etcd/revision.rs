//! The current revision for all who ask: a consistent read from a cache needs one, and hundreds of them come at a time.
//!
//! An answer may only serve those who asked before its request was sent, so there is one request under way and a queue:
//! whoever asks meanwhile gets the next one's answer.

use std::sync::Arc;

use component::supervisor::{detached, guarded_future};
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
        Self::reading(move || read(transport.clone()))
    }

    /// A request that panics fails those who wait for it, and no later one.
    fn reading<F>(read: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Revision>> + Send + 'static,
    {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<Result<Revision>>>(QUEUE);
        detached("etcd-revision", async move {
            let mut waiting = Vec::new();
            while asked.recv_many(&mut waiting, QUEUE).await > 0 {
                let answer = guarded_future("etcd-revision", read()).await;
                let answer = answer.unwrap_or_else(|ended| Err(Error::Unavailable(ended.to_string())));
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

async fn read(transport: Arc<Transport>) -> Result<Revision> {
    // Linearizable as any range is; of a key that can't be there, so that nothing is read.
    let request = pb::RangeRequest { key: vec![0], count_only: true, ..Default::default() };
    let answer =
        transport.call(Retry::Always, request, async |channel, r| transport::kv(channel).range(r).await).await?;
    Ok(transport.seen(answer.header.as_ref()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_request_that_panics_fails_those_who_wait_and_the_next_one_is_answered() {
        let before = AtomicBool::new(false);
        let revision = SharedRevision::reading(move || {
            let again = before.swap(true, Ordering::SeqCst);
            async move {
                assert!(again, "not yet");
                Ok(7)
            }
        });
        let failed = revision.get().await;
        assert!(
            matches!(&failed, Err(Error::Unavailable(why)) if why.contains("etcd-revision panicked")),
            "{failed:?}"
        );
        assert_eq!(revision.get().await, Ok(7));
    }
}
