//! Caches that join and leave a running feed: over a store in memory, with writes going on.

use std::sync::Arc;

use component::supervisor::Supervisor;
use model::resource::Resource;
use storage::{EmbeddedStore, Expect, Storage};
use tokio_util::sync::CancellationToken;

use super::*;

const PREFIX: &str = "example.com/widgets";

fn row() -> Arc<Resource> {
    Arc::new(Resource::stored("example.com", "v1", "widgets", "Widget", PREFIX))
}

async fn put(store: &dyn Storage, n: usize) {
    let body = format!(r#"{{"kind":"T","apiVersion":"v1","metadata":{{"name":"w{n}","uid":"{n}"}}}}"#);
    store.put(&format!("/registry/{PREFIX}/ns/w{n:04}"), body.into(), Expect::Absent, None).await.expect("stored");
}

#[tokio::test]
async fn a_cache_that_joins_misses_nothing_and_doubles_nothing() {
    let store: Arc<dyn Storage> = Arc::new(EmbeddedStore::in_memory());
    let cancel = CancellationToken::new();
    let feed = start(store.clone(), [], Arc::new(|_, value| Ok(value.clone())), &Supervisor::new(), cancel.clone())
        .await
        .expect("starts");
    assert!(feed.cache(PREFIX).is_none());
    for n in 0..50 {
        put(&*store, n).await;
    }
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 50..500 {
                put(&*store, n).await;
            }
        }
    });
    feed.join(row()).await;
    let cache = feed.cache(PREFIX).expect("joined");
    let start = cache.snapshot();
    let mut watcher = cache.watch(start.revision).expect("at its revision");
    let mut seen = start.objects.len();
    writer.await.expect("wrote");
    feed.caught_up().await.expect("caught up");
    assert_eq!(cache.len(), 500);
    while seen < 500 {
        let batch = watcher.next().await.expect("in the window");
        assert!(batch.iter().all(|change| change.kind == ChangeKind::Added), "each comes once");
        seen += batch.len();
    }
    assert_eq!(seen, 500);
    cancel.cancel();
}

#[tokio::test]
async fn watches_end_when_a_cache_leaves_or_is_replaced() {
    let store: Arc<dyn Storage> = Arc::new(EmbeddedStore::in_memory());
    let feed =
        start(store.clone(), [], Arc::new(|_, value| Ok(value.clone())), &Supervisor::new(), CancellationToken::new())
            .await
            .expect("starts");
    feed.join(row()).await;
    let first = feed.cache(PREFIX).expect("joined");
    put(&*store, 1).await;
    feed.caught_up().await.expect("caught up");
    let mut watcher = first.watch(first.snapshot().revision - 1).expect("in the window");

    feed.join(row()).await;
    let second = feed.cache(PREFIX).expect("replaced");
    assert!(first.is_closed() && !second.is_closed());
    assert_eq!(second.len(), 1, "what was stored before is there at once");
    assert_eq!(watcher.next().await.expect("kept").len(), 1, "what came before the end is still told");
    let end = std::future::poll_fn(|cx| watcher.poll_next(cx)).await;
    assert!(end.expect("no gap").is_none());

    feed.leave(PREFIX).await;
    assert!(second.is_closed() && feed.cache(PREFIX).is_none());
}

#[tokio::test]
async fn a_closed_feed_ends_watches_and_those_that_begin_later() {
    let store: Arc<dyn Storage> = Arc::new(EmbeddedStore::in_memory());
    let feed =
        start(store.clone(), [], Arc::new(|_, value| Ok(value.clone())), &Supervisor::new(), CancellationToken::new())
            .await
            .expect("starts");
    feed.join(row()).await;
    let cache = feed.cache(PREFIX).expect("joined");
    let mut early = cache.watch(cache.snapshot().revision).expect("in the window");
    let end = tokio::spawn(async move { std::future::poll_fn(|cx| early.poll_next(cx)).await });
    tokio::task::yield_now().await;
    feed.close();
    assert!(end.await.expect("no panic").expect("no gap").is_none(), "who waits is woken");

    feed.join(row()).await;
    let later = feed.cache(PREFIX).expect("replaced");
    let mut late = later.watch(later.snapshot().revision).expect("in the window");
    assert!(std::future::poll_fn(|cx| late.poll_next(cx)).await.expect("no gap").is_none());
    put(&*store, 1).await;
    feed.caught_up().await.expect("caches are still fed");
    assert_eq!(later.len(), 1);
}
