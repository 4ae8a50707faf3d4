//! A started task: what awaits it, aborts it, and starts it where no owner's handle can reach.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    Name,
    caught::{Caught, Panic, catch, install_hook},
    tree::Entry,
};

/// Why a task gave no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It panicked; the text names it and says why.
    Panicked(String),
    /// It was aborted.
    Aborted,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Panicked(why) => f.write_str(why),
            Self::Aborted => f.write_str("the task was aborted"),
        }
    }
}

impl std::error::Error for Ended {}

/// A task that runs; awaiting it gives what it returned. Dropping this lets it run on.
#[derive(Debug)]
pub struct Task<T> {
    name: Name,
    handle: Handle<T>,
}

#[derive(Debug)]
enum Handle<T> {
    Task(JoinHandle<Result<T, Panic>>),
    Thread(oneshot::Receiver<Result<T, Panic>>),
}

impl<T> Task<T> {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Drops the task's future at its next await. What blocks its thread is not ended.
    pub fn abort(&self) {
        if let Handle::Task(handle) = &self.handle {
            handle.abort();
        }
    }

    /// Whether it is over.
    pub fn is_finished(&self) -> bool {
        match &self.handle {
            Handle::Task(handle) => handle.is_finished(),
            Handle::Thread(receiver) => !receiver.is_empty() || receiver.is_terminated(),
        }
    }

    /// Aborts the task when the answer is dropped.
    pub fn abort_on_drop(self) -> AbortOnDrop<T> {
        AbortOnDrop(self)
    }

    pub(super) fn abort_handle(&self) -> Option<tokio::task::AbortHandle> {
        match &self.handle {
            Handle::Task(handle) => Some(handle.abort_handle()),
            Handle::Thread(_) => None,
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &mut self.handle {
            Handle::Task(handle) => ready!(Pin::new(handle).poll(cx)).ok(),
            Handle::Thread(receiver) => ready!(Pin::new(receiver).poll(cx)).ok(),
        };
        Poll::Ready(match outcome {
            Some(Ok(value)) => Ok(value),
            Some(Err(panic)) => Err(Ended::Panicked(format!("the task {} panicked: {panic}", self.name))),
            None => Err(Ended::Aborted),
        })
    }
}

/// A task that does not outlive this; awaiting it gives what it returned.
#[derive(Debug)]
pub struct AbortOnDrop<T>(Task<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Starts a one-shot task that nobody waits for at the end: what it serves (a connection, a stream's other half) ends it.
/// Where a handle is at hand, [`super::Supervisor::one_shot`] is better.
pub fn detached<F>(name: impl Into<Name>, future: F) -> Task<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    on_runtime(None, name.into(), future)
}

/// Runs `work`, which blocks its thread for a while; its caller awaits it.
pub fn blocking<T: Send + 'static>(name: impl Into<Name>, work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    on_pool(None, name.into(), work)
}

/// A thread that one who blocks waits for.
#[derive(Debug)]
pub struct Thread<T> {
    name: Name,
    handle: std::thread::JoinHandle<Result<T, Panic>>,
}

impl<T> Thread<T> {
    /// Waits for its end, blocking the caller's thread.
    ///
    /// # Errors
    /// It panicked.
    pub fn join(self) -> Result<T, Ended> {
        let panicked =
            |why: &dyn std::fmt::Display| Ended::Panicked(format!("the thread {} panicked: {why}", self.name));
        match self.handle.join() {
            Ok(outcome) => outcome.map_err(|panic| panicked(&panic)),
            Err(_) => Err(panicked(&"outside of its work")),
        }
    }
}

/// Runs `work` on a thread of its own, where there may be no runtime; its caller joins it.
///
/// # Errors
/// The system gives no thread.
pub fn thread<T: Send + 'static>(
    name: impl Into<Name>,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<Thread<T>> {
    install_hook();
    let name = name.into();
    let named = name.clone();
    let handle = std::thread::Builder::new().name(name.label().to_owned()).spawn(move || catch(&named, work))?;
    Ok(Thread { name, handle })
}

pub(super) fn on_runtime<F>(entry: Option<Entry>, name: Name, future: F) -> Task<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let handle = Handle::Task(tokio::spawn(Caught::new(name.clone(), entry, future)));
    Task { name, handle }
}

pub(super) fn on_pool<T: Send + 'static>(
    entry: Option<Entry>,
    name: Name,
    work: impl FnOnce() -> T + Send + 'static,
) -> Task<T> {
    install_hook();
    let named = name.clone();
    let handle = tokio::task::spawn_blocking(move || {
        let _entry = entry;
        catch(&named, work)
    });
    Task { name, handle: Handle::Task(handle) }
}

pub(super) fn on_thread<T: Send + 'static>(
    entry: Entry,
    name: Name,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<Task<T>> {
    install_hook();
    let (sender, receiver) = oneshot::channel();
    let (named, runtime) = (name.clone(), tokio::runtime::Handle::current());
    std::thread::Builder::new().name(name.label().to_owned()).spawn(move || {
        let (_entry, _inside) = (entry, runtime.enter());
        // Nobody may be waiting for it.
        let _ = sender.send(catch(&named, work));
    })?;
    Ok(Task { name, handle: Handle::Thread(receiver) })
}

/// Starts the tasks that an HTTP library wants to start: each stream of a connection is one.
#[derive(Clone, Debug)]
pub struct Executor(Name);

/// An executor whose tasks are one-shots of that name. They end with the connection that they serve.
pub fn executor(name: impl Into<Name>) -> Executor {
    Executor(name.into())
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        detached(self.0.clone(), future);
    }
}
