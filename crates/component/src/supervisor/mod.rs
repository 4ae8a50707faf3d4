//! The supervisor: every task of the process has a name, an owner and a policy for its failure.
//!
//! A [`Supervisor`] is a handle to one node of a tree. Who holds it starts tasks in it, and who stops it stops them:
//! its children first, then its own tasks, each level within a deadline; what is left then is aborted and named.
//!
//! | started by | when it panics |
//! |---|---|
//! | [`Supervisor::restarting`] | it runs again after a back-off; the same if it returns an error |
//! | [`Supervisor::receiving`] | it runs again after a back-off, with the messages that wait |
//! | [`Supervisor::vital`] | the whole tree is stopped and [`Supervisor::finish`] says why; the same if it returns an error |
//! | [`Supervisor::one_shot`], [`detached`] | that task ends; who awaits the [`Task`] is told |
//! | [`Supervisor::blocking`], [`blocking`], [`Supervisor::thread`], [`thread`] | as with a one-shot, for work that blocks its thread |
//!
//! Each panic is counted (`ferry_task_panics_total`), and logged with the task's name and its place in the source. A task
//! that panics again and again fails the health checks by its name ([`troubled`]) until it has run well for a while.
//! The lint of `cargo xtask tidy` refuses a task or a thread that is started any other way.

mod caught;
mod inbox;
mod ledger;
mod name;
mod restart;
mod task;
mod tree;

use std::{future::Future, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

pub use caught::{guarded, guarded_future};
pub use inbox::Inbox;
pub use ledger::{metrics, troubled};
pub use name::Name;
pub use task::{AbortOnDrop, Ended, Executor, Task, Thread, blocking, detached, executor, thread};
use tree::{Node, Root};

/// What a restarting or vital task returns: nothing, or an error that counts as a failure.
pub trait Outcome: Send + 'static {
    /// As a result.
    fn into_result(self) -> anyhow::Result<()>;
}

impl Outcome for () {
    fn into_result(self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl<E: Into<anyhow::Error> + Send + 'static> Outcome for Result<(), E> {
    fn into_result(self) -> anyhow::Result<()> {
        self.map_err(Into::into)
    }
}

/// A handle to a node of the tree of tasks. Cheap to clone; clones are the same node.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<Node>);

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// The root of a new tree. Must be called inside a tokio runtime.
    pub fn new() -> Self {
        Self::under(&CancellationToken::new())
    }

    /// The root of a new tree that is stopped, in order, once `cancel` is cancelled. Must be called inside a tokio
    /// runtime.
    pub fn under(cancel: &CancellationToken) -> Self {
        Self(Root::start(cancel.child_token()))
    }

    /// A node below this one: it is stopped, and its tasks have ended, before this one's tasks are told to end.
    pub fn child(&self, name: impl Into<Name>) -> Self {
        self.child_within(name, tree::DRAIN)
    }

    /// As [`Supervisor::child`], whose own tasks have this long to end after they were told to.
    pub fn child_within(&self, name: impl Into<Name>, drain: Duration) -> Self {
        Self(Node::below(&self.0, name.into(), drain))
    }

    /// Cancelled when this node's tasks have to end.
    pub fn token(&self) -> CancellationToken {
        self.0.token().clone()
    }

    /// Runs `future` until this node's tasks have to end, then drops it.
    pub async fn until_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        self.0.token().run_until_cancelled(future).await
    }

    /// Runs what `make` makes, and after a panic or an error again: with a back-off that doubles, has a cap, and begins
    /// anew once the task ran well for a while. A return without error is its end.
    ///
    /// Each run gets a node of its own, below this one, for the tasks that it starts; they end before it runs again. The
    /// task is told to end by that node's [`Supervisor::token`].
    pub fn restarting<M, F>(&self, name: impl Into<Name>, make: M) -> Task<()>
    where
        M: FnMut(Supervisor) -> F + Send + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let name = name.into();
        ledger::known(&name);
        self.0.start(name.clone(), restart::run(self.clone(), name, make))
    }

    /// Runs what `make` makes, once. Its panic or error stops the whole tree, and [`Supervisor::finish`] returns it.
    ///
    /// It too gets a node of its own.
    pub fn vital<M, F>(&self, name: impl Into<Name>, make: M) -> Task<()>
    where
        M: FnOnce(Supervisor) -> F + Send + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let name = name.into();
        ledger::known(&name);
        self.0.start(name.clone(), restart::vital(self.clone(), name, make))
    }

    /// Runs `future`; its panic ends it and nothing else. Such as a connection or a request's copy loop.
    pub fn one_shot<F>(&self, name: impl Into<Name>, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.0.start(name.into(), future)
    }

    /// Runs `work`, which blocks its thread for a while, on one of the runtime's threads for that.
    pub fn blocking<T: Send + 'static>(
        &self,
        name: impl Into<Name>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Task<T> {
        let name = name.into();
        task::on_pool(Some(self.0.enter(name.clone())), name, work)
    }

    /// Runs `work`, which blocks its thread for good, on a thread of its own, inside this runtime.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn thread<T: Send + 'static>(
        &self,
        name: impl Into<Name>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<Task<T>> {
        let name = name.into();
        task::on_thread(self.0.enter(name.clone()), name, work)
    }

    /// Stops this node: its children, then its own tasks; returns when all have ended or their time is over.
    pub async fn shutdown(&self) {
        tree::shutdown(self.0.clone()).await;
    }

    /// Tells the whole tree to end, and returns at once.
    pub fn stop(&self) {
        self.0.root().stop();
    }

    /// Cancelled as soon as the whole tree was told to end, before any of its tasks is.
    pub fn stopping(&self) -> CancellationToken {
        self.0.root().stopping().clone()
    }

    /// Waits until the whole tree was told to end and its tasks have ended.
    ///
    /// # Errors
    /// A vital task failed: which, and why.
    pub async fn finish(&self) -> anyhow::Result<()> {
        self.0.root().finished().await
    }
}

#[cfg(test)]
mod tests;
