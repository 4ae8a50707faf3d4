//! Workers: they take keys and call the reconciler until cancelled.
//!
//! A panic of the reconciler is a failure of that key and of nothing else: the workers never end before they are told.

use std::{fmt::Debug, future::Future, hash::Hash};

use component::supervisor::{Name, guarded_future};
use tokio_util::sync::CancellationToken;

use crate::Queue;

/// Runs `n` workers of the controller `name` on `queue` and returns when `cancel` came and the work in hand is finished.
///
/// The queue counts under that name from now on. An error of `reconcile` is logged, and its key comes back rate-limited; so it is with a panic, which is counted and
/// logged as `reconcile/<name>`. Success forgets a key's failures.
pub async fn run_workers<T, F, Fut>(name: &str, queue: &Queue<T>, n: usize, cancel: CancellationToken, reconcile: F)
where
    T: Hash + Eq + Clone + Debug + Send + 'static,
    F: Fn(T) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    queue.named(name);
    let (reconcile, name) = (&reconcile, &Name::from(("reconcile", name)));
    let worker = || async move {
        while let Some(key) = queue.get().await {
            let outcome = guarded_future(name.clone(), async { reconcile(key.clone()).await }).await;
            match outcome.map_err(anyhow::Error::from).flatten() {
                Ok(()) => queue.forget(&key),
                Err(error) => {
                    let error = error.downcast_ref().map_or_else(|| format!("{error:#}"), client::message);
                    tracing::info!(?key, error, "reconciliation failed, retrying");
                    queue.add_rate_limited(key.clone());
                }
            }
            queue.done(&key);
        }
    };
    let shut_down = async {
        cancel.cancelled().await;
        queue.shut_down();
    };
    futures::join!(futures::future::join_all((0..n).map(|_| worker())), shut_down);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use parking_lot::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failing_key_is_tried_again_until_it_succeeds() {
        let (queue, cancel, tries) = (Queue::new(), CancellationToken::new(), AtomicU32::new(0));
        queue.add("a");
        run_workers("test", &queue, 2, cancel.clone(), |_| async {
            if tries.fetch_add(1, Ordering::Relaxed) < 3 {
                anyhow::bail!("not yet");
            }
            cancel.cancel();
            Ok(())
        })
        .await;
        assert_eq!(tries.load(Ordering::Relaxed), 4);
        assert_eq!(queue.num_requeues(&"a"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_whose_reconciliation_panics_comes_again_later_and_the_others_go_on() {
        let (queue, cancel, done) = (Queue::new(), CancellationToken::new(), Mutex::new(vec![]));
        queue.add("a");
        queue.add("b");
        let (workers, seen) = (queue.clone(), &done);
        run_workers("test", &queue, 1, cancel.clone(), |key| {
            let failed = workers.num_requeues(&key);
            // Before there is a future, and in it.
            assert!(key != "a" || failed != 0, "made to panic");
            let cancel = cancel.clone();
            async move {
                assert!(key != "a" || failed != 1, "made to panic");
                seen.lock().push((key, failed));
                if key == "a" {
                    cancel.cancel();
                }
                Ok(())
            }
        })
        .await;
        assert_eq!(*done.lock(), [("b", 0), ("a", 2)]);
    }
}
