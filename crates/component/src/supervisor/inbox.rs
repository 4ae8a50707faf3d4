//! A task that takes messages from a channel, and goes on with those that wait after it panicked.

use std::{future::Future, sync::Arc};

use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

use super::{Name, Supervisor};

/// The receiving end of such a task's channel. It is the same in each run, and had by one at a time.
pub type Inbox<T> = OwnedMutexGuard<mpsc::Receiver<T>>;

impl Supervisor {
    /// A channel for `limit` messages, and a [`Supervisor::restarting`] task that takes them: a panic costs the message
    /// in hand and none that waits. The task ends when it is told to, or when the last sender is dropped.
    pub fn receiving<T, M, F>(&self, name: impl Into<Name>, limit: usize, make: M) -> mpsc::Sender<T>
    where
        T: Send + 'static,
        M: Fn(Inbox<T>, Supervisor) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(limit);
        let (receiver, make) = (Arc::new(Mutex::new(receiver)), Arc::new(make));
        self.restarting(name, move |own| {
            let (receiver, make) = (receiver.clone(), make.clone());
            async move {
                let inbox = receiver.lock_owned().await;
                own.until_stopped(make(inbox, own.clone())).await;
            }
        });
        sender
    }
}
