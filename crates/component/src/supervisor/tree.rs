//! The tree: who owns which tasks, and the order in which they end.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, task::AbortHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Name, Task, task::on_runtime};

/// How long a node's tasks may take to end unless it is said otherwise.
pub(super) const DRAIN: Duration = Duration::from_secs(30);

/// What the whole tree shares.
#[derive(Debug)]
pub(super) struct Root {
    stop: CancellationToken,
    drained: CancellationToken,
    failure: Mutex<Option<anyhow::Error>>,
}

#[derive(Debug)]
pub(super) struct Node {
    name: Name,
    root: Arc<Root>,
    parent: Option<(u64, Arc<Node>)>,
    token: CancellationToken,
    stopping: AtomicBool,
    drain: Duration,
    inside: Mutex<Inside>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    children: HashMap<u64, Weak<Node>>,
    tasks: HashMap<u64, (Name, Option<AbortHandle>)>,
}

impl Root {
    /// A root node whose tree is stopped in order once `stop` is cancelled.
    pub(super) fn start(stop: CancellationToken) -> Arc<Node> {
        let root = Arc::new(Root { stop, drained: CancellationToken::new(), failure: Mutex::default() });
        let node = Arc::new(Node::new("root".into(), root.clone(), None, CancellationToken::new(), DRAIN));
        let weak = Arc::downgrade(&node);
        // The supervisor's own: it ends with the tree, which it does not keep.
        tokio::spawn(async move {
            root.stop.cancelled().await;
            if let Some(node) = weak.upgrade() {
                shutdown(node).await;
            }
            root.drained.cancel();
        });
        node
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// The first failure is the reason; what follows from it is not.
    pub(super) fn fail(&self, error: anyhow::Error) {
        if !self.stop.is_cancelled() {
            self.failure.lock().get_or_insert(error);
        }
        self.stop.cancel();
    }

    pub(super) async fn finished(&self) -> anyhow::Result<()> {
        self.drained.cancelled().await;
        self.failure.lock().take().map_or(Ok(()), Err)
    }
}

impl Node {
    fn new(
        name: Name,
        root: Arc<Root>,
        parent: Option<(u64, Arc<Node>)>,
        token: CancellationToken,
        drain: Duration,
    ) -> Node {
        let (stopping, inside) = (AtomicBool::new(token.is_cancelled()), Mutex::default());
        Node { name, root, parent, token, stopping, drain, inside, idle: Notify::new() }
    }

    pub(super) fn below(parent: &Arc<Node>, name: Name, drain: Duration) -> Arc<Node> {
        let mut inside = parent.inside.lock();
        inside.next += 1;
        let id = inside.next;
        let token = CancellationToken::new();
        // Late: those before it have been told already.
        if parent.token.is_cancelled() {
            token.cancel();
        }
        let node = Arc::new(Node::new(name, parent.root.clone(), Some((id, parent.clone())), token, drain));
        inside.children.insert(id, Arc::downgrade(&node));
        node
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Counts a task as this node's until the entry is dropped.
    pub(super) fn enter(self: &Arc<Self>, name: Name) -> Entry {
        let mut inside = self.inside.lock();
        inside.next += 1;
        let id = inside.next;
        inside.tasks.insert(id, (name, None));
        Entry { id, node: self.clone() }
    }

    pub(super) fn start<F>(self: &Arc<Self>, name: Name, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let entry = self.enter(name.clone());
        let id = entry.id;
        let task = on_runtime(Some(entry), name, future);
        if let Some((_, abort)) = self.inside.lock().tasks.get_mut(&id) {
            *abort = task.abort_handle();
        }
        task
    }

    fn children(&self) -> Vec<Arc<Node>> {
        self.inside.lock().children.values().filter_map(Weak::upgrade).collect()
    }

    /// Tells everything in and below this node to end, at once and in no order.
    pub(super) fn cancel_all(&self) {
        self.stopping.store(true, Ordering::Release);
        self.token.cancel();
        self.children().iter().for_each(|child| child.cancel_all());
    }

    async fn ended(&self) {
        loop {
            let mut woken = std::pin::pin!(self.idle.notified());
            woken.as_mut().enable();
            if self.inside.lock().tasks.is_empty() {
                return;
            }
            woken.await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some((id, parent)) = &self.parent {
            parent.inside.lock().children.remove(id);
        }
    }
}

/// A task's place in its node.
#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    node: Arc<Node>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut inside = self.node.inside.lock();
        // What it removes is dropped after the lock: an abort handle may be a task's last trace.
        let removed = inside.tasks.remove(&self.id);
        let idle = inside.tasks.is_empty();
        drop(inside);
        drop(removed);
        if idle {
            self.node.idle.notify_waiters();
        }
    }
}

/// Stops a node: first what is below it, then its own tasks; those that take too long are aborted and named.
pub(super) fn shutdown(node: Arc<Node>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        node.stopping.store(true, Ordering::Release);
        all(node.children().into_iter().map(shutdown).collect()).await;
        node.token.cancel();
        // Those that were made meanwhile.
        all(node.children().into_iter().map(shutdown).collect()).await;
        if timeout(node.drain, node.ended()).await.is_ok() {
            return;
        }
        let left: Vec<(Name, Option<AbortHandle>)> = node.inside.lock().tasks.values().cloned().collect();
        let names: Vec<String> = left.iter().map(|(name, _)| name.to_string()).collect();
        tracing::warn!(of = %node.name, tasks = names.join(", "), "tasks were cut off: they did not end in time");
        left.iter().filter_map(|(_, abort)| abort.as_ref()).for_each(AbortHandle::abort);
    })
}

async fn all(mut futures: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
