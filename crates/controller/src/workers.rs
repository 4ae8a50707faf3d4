//! Workers: they take keys and call the reconciler until cancelled.

use std::{fmt::Debug, future::Future, hash::Hash};

use tokio_util::sync::CancellationToken;

use crate::Queue;

/// Runs `n` workers on `queue` and returns when `cancel` came and the work in hand is finished.
///
/// An error of `reconcile` is logged, and its key comes back rate-limited; success forgets its failures.
pub async fn run_workers<T, F, Fut>(queue: &Queue<T>, n: usize, cancel: CancellationToken, reconcile: F)
where
    T: Hash + Eq + Clone + Debug + Send + 'static,
    F: Fn(T) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let reconcile = &reconcile;
    let worker = || async move {
        while let Some(key) = queue.get().await {
            match reconcile(key.clone()).await {
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

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failing_key_is_tried_again_until_it_succeeds() {
        let (queue, cancel, tries) = (Queue::new(), CancellationToken::new(), AtomicU32::new(0));
        queue.add("a");
        run_workers(&queue, 2, cancel.clone(), |_| async {
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
}
