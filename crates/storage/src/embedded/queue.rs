//! What callers hand to the writer thread, and the one place where that thread waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::checkpoint::Checkpoint;
use crate::{Error, Expect, Outcome, Result, Revision};

/// Waiting writes beyond these are refused. Callers wait for their answers, so only a disk that hangs gets here.
const LIMIT_OPERATIONS: usize = 65_536;
const LIMIT_BYTES: usize = 512 << 20;

/// One wish.
pub(super) enum Operation {
    Put {
        key: Arc<str>,
        value: Bytes,
        expect: Expect,
        /// Unix seconds, 0 for never.
        expiry: i64,
        reply: oneshot::Sender<Result<Outcome>>,
    },
    Delete {
        key: Arc<str>,
        mod_revision: Revision,
        reply: oneshot::Sender<Result<Outcome>>,
    },
    Compact {
        revision: Revision,
        reply: oneshot::Sender<Result<()>>,
    },
    CheckpointEnded(std::io::Result<Checkpoint>),
}

impl Operation {
    fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            _ => 0,
        }
    }
}

#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Operation>,
    bytes: usize,
    woken: bool,
    closed: bool,
}

impl Queue {
    pub(super) fn push(&self, operation: Operation) -> Result<()> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Error::Closed);
        }
        let own = matches!(operation, Operation::CheckpointEnded(_));
        if !own && (inner.waiting.len() >= LIMIT_OPERATIONS || inner.bytes >= LIMIT_BYTES) {
            return Err(Error::Unavailable("too many writes are waiting for the disk".to_owned()));
        }
        inner.bytes += operation.bytes();
        inner.waiting.push_back(operation);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for operations, for `timeout`, or for `wake`; takes operations up to about the limits given. `None` once
    /// closed.
    pub(super) fn take(&self, timeout: Option<Duration>, operations: usize, bytes: usize) -> Option<Vec<Operation>> {
        let mut inner = self.inner.lock();
        while inner.waiting.is_empty() && !inner.woken && !inner.closed {
            match timeout {
                Some(timeout) => {
                    if self.changed.wait_for(&mut inner, timeout).timed_out() {
                        break;
                    }
                }
                None => self.changed.wait(&mut inner),
            }
        }
        if inner.closed {
            return None;
        }
        inner.woken = false;
        let (mut taken, mut size) = (Vec::new(), 0);
        while taken.len() < operations && size < bytes {
            let Some(operation) = inner.waiting.pop_front() else { break };
            size += operation.bytes();
            taken.push(operation);
        }
        inner.bytes -= size;
        if inner.waiting.is_empty() && inner.waiting.capacity() > 1024 {
            inner.waiting = VecDeque::new();
        }
        Some(taken)
    }

    /// Makes the writer look at the time.
    pub(super) fn wake(&self) {
        self.inner.lock().woken = true;
        self.changed.notify_one();
    }

    /// Refuses operations from now on, and drops those that wait, which tells their callers.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let (waiting, _) = (std::mem::take(&mut inner.waiting), std::mem::take(&mut inner.bytes));
        drop(inner);
        drop(waiting);
        self.changed.notify_one();
    }
}
